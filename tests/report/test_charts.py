"""Figures as SVG: valid XML whose coordinates say what the numbers say."""

import itertools
import math
import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st

from alexnet.report.charts import Curve, Dot, dot_plot, line_chart, ticks

SVG = "{http://www.w3.org/2000/svg}"


def parts(text: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text).iter(f"{SVG}{tag}"))


def labels(text: str) -> dict[str, ElementTree.Element]:
    return {element.text or "": element for element in parts(text, "text")}


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ticks_are_few_round_and_inside(low, span):
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in found)
    steps = {round(b - a, 9) for a, b in itertools.pairwise(found)}
    if steps:
        step = max(steps)
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - k) for k in (1, 2, 5, 10)) < 1e-3


def test_a_curve_goes_where_the_axes_say():
    text = line_chart("t", [Curve("a", (0, 10), (0, 50))], x_label="x", y_label="y")
    (line,) = parts(text, "polyline")
    (x0, y0), (x1, y1) = ([float(v) for v in point.split(",")] for point in line.attrib["points"].split())
    named = labels(text)
    assert abs(float(named["0"].attrib["y"]) - 4 - y0) < 20
    assert abs(float(named["10"].attrib["x"]) - x1) < 0.2
    at_40 = float(named["40"].attrib["y"]) - 4  # labels stand 4 pixels below their line
    assert abs((y0 + 0.8 * (y1 - y0)) - at_40) < 0.2
    assert x0 < x1


def test_curves_of_one_name_look_alike_and_gaps_stay_gaps():
    nan = math.nan
    curves = [Curve("a", (1, 2, 3, 4), (1, nan, 2, 3)), Curve("b", (1, 2), (1, 2)), Curve("a", (1, 2), (3, 3))]
    text = line_chart("t & u", curves, x_label="x", y_label="y")
    lines = parts(text, "polyline")
    assert [line.attrib["points"].count(",") for line in lines] == [1, 2, 2, 2]
    styles = [line.attrib["style"] for line in lines]
    assert styles[0] == styles[1] == styles[2] != styles[3]
    assert [element.text for element in parts(text, "text")].count("a") == 1


def test_a_dot_lies_in_the_middle_of_its_interval_and_the_paper_beside_it():
    dot = Dot("no-lrn", 1.0, -1.0, 3.0, text="+1.0", marks=(("paper", 1.4), ("2012", 1.0)))
    text = dot_plot("t", [dot], x_label="points")
    (circle,) = parts(text, "circle")
    ((low, high),) = (
        [float(e.attrib[k]) for k in ("x1", "x2")] for e in parts(text, "line") if e.attrib["stroke-width"] == "2"
    )
    assert abs(float(circle.attrib["cx"]) - (low + high) / 2) < 0.11
    diamond = parts(text, "polygon")[0].attrib["points"].split()
    at = sum(float(point.split(",")[0]) for point in diamond) / 4
    assert abs((at - low) / (high - low) - (1.4 + 1) / 4) < 0.005
    assert {"the paper", "its notebook"} <= set(labels(text))


def test_nothing_to_draw_is_said():
    assert "nothing to draw" in line_chart("t", [], x_label="x", y_label="y")
    assert "nothing to draw" in dot_plot("t", [Dot("a", math.nan)], x_label="x")

"""Charts of many runs as SVG text: curves in one chart, and dots with their confidence intervals.

The SVG is written without a plotting library, so the same numbers give the same bytes with every version of every
library. Colors are the CSS variables of the page with a fallback value, so a chart works inside a page and as a file.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLORS = ("var(--blue,#0072b2)", "var(--orange,#b84d00)", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7f7f7f")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
INK, MUTED, LINE = "var(--ink,#1b1f24)", "var(--muted,#59636e)", "var(--line,#c9d0d8)"


@dataclass(frozen=True)
class Curve:
    """One line of a chart. Points that are not finite are gaps. Lines of one name share style and legend entry."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot: a mean, its interval if there is one, and published values to compare with."""

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    text: str = ""  # shown to the right of the plot
    marks: tuple[tuple[str, float], ...] = ()  # (kind, value): "paper" is a diamond, "2012" a cross


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Returns round numbers within [low, high], at most `most` of them: multiples of 1, 2 or 5 times a power of ten."""
    span = max(high - low, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * k for k in (1, 2, 5, 10, 20) if span / (power * k) <= most - 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def line_chart(
    title: str,
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    level: float | None = None,
    zero: bool = True,
) -> str:
    """Draws curves in one chart, with a legend below it.

    Args:
        level: a y value to mark with a dotted line.
        zero: whether the y axis starts at 0.
    """
    points = [(x, y) for c in curves for x, y in zip(c.x, c.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if not points:
        return svg(title, 520, 60, [text(10, 35, f"{title}: nothing to draw yet")])
    left, right, top, height, width = 56, 14, 34, 230, 520
    xs, ys = [x for x, _ in points], [y for _, y in points] + ([] if level is None else [level])
    x0, x1 = min(xs), max(max(xs), min(xs) + 1e-9)
    y0, y1 = (0.0 if zero else min(ys)), max(ys)
    y1 = y1 + 0.04 * max(y1 - y0, 1e-9)
    plot_width, plot_height = width - left - right, height

    def position(x: float, y: float) -> tuple[float, float]:
        return left + plot_width * (x - x0) / (x1 - x0), top + plot_height * (1 - (y - y0) / (y1 - y0))

    parts = [text(left, 20, title, weight="bold")]
    for y in ticks(y0, y1):
        _, pixel = position(x0, y)
        parts += [
            rule(left, pixel, width - right, pixel),
            text(left - 6, pixel + 4, f"{y:g}", anchor="end", color=MUTED),
        ]
    for x in ticks(x0, x1, 8):
        pixel, _ = position(x, y0)
        parts.append(text(pixel, top + plot_height + 16, f"{x:g}", anchor="middle", color=MUTED))
    parts.append(text(left + plot_width / 2, top + plot_height + 34, x_label, anchor="middle"))
    parts.append(
        f'<text x="14" y="{top + plot_height / 2:.1f}" transform="rotate(-90 14 {top + plot_height / 2:.1f})" '
        f'text-anchor="middle" font-size="12" style="fill:{INK}">{escape(y_label)}</text>'
    )
    if level is not None:
        _, pixel = position(x0, level)
        parts.append(rule(left, pixel, width - right, pixel, color=INK, dash="2 4"))
    legend_top = top + plot_height + 54
    names = list(dict.fromkeys(curve.name for curve in curves))
    for i, name in enumerate(names):
        color, dash = COLORS[i % len(COLORS)], DASHES[i // len(COLORS) % len(DASHES)]
        for segment in (segment for curve in curves if curve.name == name for segment in _segments(curve)):
            points_text = " ".join(f"{x:.1f},{y:.1f}" for x, y in (position(*p) for p in segment))
            parts.append(f'<polyline points="{points_text}" fill="none" stroke-width="1.8" {_stroke(color, dash)}/>')
            if len(segment) <= 40:
                parts += [_marker(*position(*p), i, color) for p in segment]
        row, column = divmod(i, 2)
        x, y = left + column * 230, legend_top + 17 * row
        parts += [rule(x, y - 4, x + 24, y - 4, color=color, dash=dash), _marker(x + 12, y - 4, i, color)]
        parts.append(text(x + 30, y, name))
    return svg(title, width, legend_top + 17 * math.ceil(len(names) / 2), parts)


def dot_plot(title: str, dots: Sequence[Dot], *, x_label: str) -> str:
    """Draws one dot per row with its interval as a line. Zero is marked; diamonds and crosses are published values."""
    values = [v for d in dots for v in (d.mean, d.low, d.high, *(m for _, m in d.marks)) if v is not None]
    values = [v for v in values if math.isfinite(v)]
    if not values:
        return svg(title, 520, 60, [text(10, 35, f"{title}: nothing to draw yet")])
    left = max(120, 30 + 7 * max(len(dot.name) for dot in dots))  # about 7 pixels per letter
    plot_width, right, top, step = 300, 170, 46, 22
    low, high = min(0.0, *values), max(0.0, *values)
    margin = 0.05 * max(high - low, 1e-9)
    low, high = low - margin, high + margin
    bottom = top + step * len(dots)

    def position(value: float) -> float:
        return left + plot_width * (value - low) / (high - low)

    parts = [text(10, 20, title, weight="bold")]
    for value in ticks(low, high):
        pixel = position(value)
        parts += [
            rule(pixel, top - 10, pixel, bottom),
            text(pixel, bottom + 16, f"{value:g}", anchor="middle", color=MUTED),
        ]
    parts += [rule(position(0), top - 10, position(0), bottom, color=INK)]
    parts.append(text(left + plot_width / 2, bottom + 34, x_label, anchor="middle"))
    for i, dot in enumerate(dots):
        y = top + step * i + 4
        parts.append(text(left - 10, y + 4, dot.name, anchor="end"))
        parts.append(text(left + plot_width + 12, y + 4, dot.text, color=MUTED))
        for kind, value in dot.marks:
            parts.append(_diamond(position(value), y) if kind == "paper" else _cross(position(value), y))
        if not math.isfinite(dot.mean):
            continue
        if dot.low is not None and dot.high is not None:
            parts.append(rule(position(dot.low), y, position(dot.high), y, color=COLORS[0], width=2))
        parts.append(_marker(position(dot.mean), y, 0, COLORS[0], radius=4))
    kinds = {kind for d in dots for kind, _ in d.marks}
    x = left
    for kind, draw in (("paper", _diamond), ("2012", _cross)):
        if kind in kinds:
            parts += [
                draw(x, bottom + 52),
                text(x + 10, bottom + 56, {"paper": "the paper", "2012": "its notebook"}[kind]),
            ]
            x += 110
    return svg(title, left + plot_width + right, bottom + (66 if kinds else 44), parts)


def svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    """Builds an SVG document of that size in pixels, with the page's background (white in a file)."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="system-ui,sans-serif" '
        f'style="background:var(--card,#fff)">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "", color: str = INK) -> str:
    """Draws a text at (x, y)."""
    bold = f' font-weight="{weight}"' if weight else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}"{bold} style="fill:{color}">'
        f"{escape(words)}</text>"
    )


def rule(x1: float, y1: float, x2: float, y2: float, *, color: str = LINE, dash: str = "", width: float = 1) -> str:
    """Draws a straight line."""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke-width="{width:g}" {_stroke(color, dash)}/>'


def _segments(curve: Curve) -> list[list[tuple[float, float]]]:
    segments: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(curve.x, curve.y, strict=True):
        if math.isfinite(y):
            segments[-1].append((x, y))
        elif segments[-1]:
            segments.append([])
    return [segment for segment in segments if segment]


def _stroke(color: str, dash: str) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'style="stroke:{color}"{dashed}'


def _marker(x: float, y: float, number: int, color: str, radius: float = 3) -> str:
    if number % 3 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" style="fill:{color}"/>'
    if number % 3 == 1:
        corner = f'x="{x - radius:.1f}" y="{y - radius:.1f}"'
        return f'<rect {corner} width="{2 * radius:g}" height="{2 * radius:g}" style="fill:{color}"/>'
    corners = f"{x:.1f},{y - radius:.1f} {x - radius:.1f},{y + radius:.1f} {x + radius:.1f},{y + radius:.1f}"
    return f'<polygon points="{corners}" style="fill:{color}"/>'


def _diamond(x: float, y: float) -> str:
    corners = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
    return f'<polygon points="{corners}" fill="none" stroke-width="1.6" style="stroke:{COLORS[1]}"/>'


def _cross(x: float, y: float) -> str:
    return "".join(rule(x - 4, y - s, x + 4, y + s, color=COLORS[2], width=1.6) for s in (4, -4))

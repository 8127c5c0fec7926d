"""The lines of docs/claims.md that have an interval again, from the rows of the studies, by NumPy and SciPy alone."""

import json
import math
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from scipy import stats

from harness import ROOT
from harness.claims_page import PAGE, by_arm, lines_of

LINES = {line[0]: line for line in lines_of(PAGE, 6)}
SMALLEST = 0.01  # of an error, or of a loss in nats
Row = Mapping
Sample = list[float]


def rows_of(study: str) -> list[Row]:
    path = ROOT / f"results/{study}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def error(row: Row) -> float:
    """Top-1 error of one view on the test images, or where there are none on the validation images."""
    return row["results"]["test" if "test" in row["results"] else "val"]["1"]["top1_error"]


def train_error(row: Row) -> float:
    return row["results"]["train"]["1"]["top1_error"]


def gap(row: Row) -> float:
    return error(row) - train_error(row)


def first_loss(row: Row) -> float:
    return row["curve"][0]["train_loss"]


def samples(study: str, arm: str, measure: Callable, base: str = "base", recipe: str = "") -> tuple[Sample, Sample]:
    """What the runs of an arm and of its base measured."""
    rows = [row for row in rows_of(study) if recipe in ("", row["base"])]
    return [measure(r) for r in rows if r["variant"] == arm], [measure(r) for r in rows if r["variant"] == base]


def folded(arm: str) -> tuple[Sample, Sample]:
    """The error over all images of every repetition that has its five folds, from the first look on."""
    out = []
    for variant in (arm, "base"):
        rows = [row for row in rows_of("photos_folds") if row["variant"] == variant]
        seeds = {seed: [row for row in rows if row["seed"] == seed] for seed in {row["seed"] for row in rows}}
        wrong = {
            seed: sum(error(r) * r["data"]["pictures"]["val"] for r in folds) / 3781  # images of all parts
            for seed, folds in seeds.items()
            if len(folds) == 5
        }
        out.append(list(wrong.values()))
    return (out[0], out[1]) if len(out[0]) >= 3 and len(out[1]) >= 6 else ([], [])  # the first look


def families() -> dict[str, dict[str, tuple[Sample, Sample]]]:
    """Study -> line of the page -> the samples that it compares. The p values of a study are corrected together."""
    photos = {
        line: samples("ingredients_photos", name[1], error)
        for line in LINES
        if (name := re.search(r"\(([a-z0-9-]+), photos\)$", line))
    }
    decay = next(line for line in photos if "(no-decay, photos)" in line)
    photos[decay] = samples("ingredients_photos", "no-decay", train_error)
    for line, arm, measure in (
        ("networks with overlapping pooling overfit slightly less (photos)", "plain-pooling", gap),
        ("biases of 1 speed up the early stages (photos)", "bias-0", first_loss),
    ):
        photos[line] = samples("ingredients_photos", arm, measure)
    four = "normalization lowers the error of a four-layer network on CIFAR-10: net of 18 %, on and off"
    lenet = "LeNet with ReLU errs more than AlexNet on"
    return {
        "ingredients_photos": photos,
        "lrn_cifar": {
            four: samples("lrn_cifar", "no-lrn", error, recipe="cifar-18pct"),
            "the same: net of 11 %, on and off": samples("lrn_cifar", "no-lrn", error, recipe="cifar-11pct"),
        },
        "overfitting": {
            f"without {what} the network overfits substantially": samples("overfitting", arm, gap)
            for what, arm in (("crops, flips and color noise", "no-augmentation"), ("dropout", "no-dropout"))
        },
        "lenet_alexnet": {
            f"{lenet} {where}": samples("lenet_alexnet", f"LeNet, ReLU, {kind}", error, f"AlexNet, {kind}")
            for where, kind in (("small gray images", "grey 28"), ("photos", "photos 56"))
        },
        "photos_folds": {
            line: folded(re.findall(r"\(([a-z-]+)\)$", line)[0]) for line in LINES if line.startswith("photos in five")
        },
    }


FAMILIES = families()
BESIDE = {  # lines that repeat a cell of the table beside the verdicts: arm and column
    "networks with overlapping pooling overfit slightly less (CIFAR-10)": ("plain-pooling", 4),
    "weight decay lowers the training error (CIFAR-10)": ("no-decay", 3),
    "biases of 1 speed up the early stages (CIFAR-10)": ("bias-0", 5),
}


def holm(values: list[float], p: float) -> float:
    """A p value of a family after Holm's correction."""
    return max(min(1, (len(values) - i) * q) for i, q in enumerate(sorted(values)) if q <= p)


def ruled(effect: float, low: float, high: float, p: float) -> str:
    """The rule of the page for a claim that the effect is positive."""
    if p < 0.05 and low * high > 0:
        return "supported" if effect > 0 else "contradicted"
    return "too small to matter here" if max(-low, high) <= SMALLEST else "undecided"


def test_no_line_with_an_interval_is_left_out():
    compared = {name for name, line in LINES.items() if re.search(r"\d+ against \d+ runs", line[4])}
    assert set(RACES) <= compared
    judged = {line for family in FAMILIES.values() for line, both in family.items() if all(both)}
    assert compared - set(RACES) == judged | BESIDE.keys()


@pytest.mark.parametrize("line", BESIDE)
def test_a_secondary_measure_is_the_same_in_both_tables_and_has_no_verdict(line):
    arm, column = BESIDE[line]
    assert f" {by_arm(PAGE, 6, 0)[arm][column]} " in LINES[line][4]
    assert LINES[line][5].startswith("interval only")


@pytest.mark.filterwarnings("ignore:Precision loss occurred")  # tanh: three runs that never learn have one error
@pytest.mark.parametrize("study", FAMILIES)
def test_effects_intervals_and_verdicts(study):
    family = {line: both for line, both in FAMILIES[study].items() if min(map(len, both)) > 1}
    tests = {line: stats.ttest_ind(*both, equal_var=False) for line, both in family.items()}
    values = [found.pvalue for found in tests.values()] + [1.0] * (len(FAMILIES[study]) - len(family))
    for line, (arm, base) in family.items():
        effect, ends = np.mean(arm) - np.mean(base), tests[line].confidence_interval()
        shown = re.search(
            r"([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\] (points|nats), (\d+) against (\d+)", LINES[line][4]
        )
        assert shown, LINES[line]
        scale = 100 if shown[4] == "points" else 1
        expected = scale * np.array([effect, ends.low, ends.high])
        assert [float(v) for v in shown.groups()[:3]] == pytest.approx(expected, abs=0.0051), line
        assert [int(v) for v in shown.groups()[4:]] == [len(arm), len(base)]
        verdict = ruled(effect, ends.low, ends.high, holm(values, tests[line].pvalue))
        assert LINES[line][5].startswith(verdict), LINES[line]


def test_ten_views_of_photos():
    rows = rows_of("ten_views")
    gains = [row["results"]["test"]["10"]["top1_error"] - error(row) for row in rows]
    found = stats.ttest_1samp(gains, 0)
    ends = found.confidence_interval()
    line = next(line for name, line in LINES.items() if name.startswith("ten views err less than one"))
    shown = re.match(r"([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\] points, (\d+) runs", line[4])
    expected = 100 * np.array([np.mean(gains), ends.low, ends.high])
    assert [float(v) for v in shown.groups()[:3]] == pytest.approx(expected, abs=0.0051)
    assert int(shown[4]) == len(rows)
    assert line[5].startswith(ruled(-np.mean(gains), -ends.high, -ends.low, found.pvalue))


# Runs to a goal, some of which end before


def needed(rows: list[Row], reached: Callable) -> np.ndarray:
    """Epochs to the goal; infinity for runs that did not get there."""
    return np.array([next((e["epoch"] for e in row["curve"] if reached(e)), math.inf) for row in rows])


def race_of(line: str) -> tuple[list[Row], list[Row], Callable]:
    """The slow runs and the fast ones of a line, and what says that an epoch has reached the goal."""
    if line == "dropout doubles the iterations":
        rows, sorts, goal = rows_of("dropout_iterations"), ("base", "no-dropout"), math.log(10) / 2
        slow, fast = ([row for row in rows if row["variant"] == sort] for sort in sorts)
        return slow, fast, lambda e: e["val_loss"] <= goal
    rows = [row for row in rows_of("figure_1") if row["until_train_error"] is not None]
    sorts = ("sigmoid" if "sigmoid" in line else "tanh", "relu")
    slow, fast = ([row for row in rows if row["variant"] == sort] for sort in sorts)
    return slow, fast, lambda e: e["train_top1_error"] <= 0.25


def log_rank(line: str) -> float:
    slow, fast, reached = race_of(line)
    censored = []
    for rows in (slow, fast):
        times = needed(rows, reached)
        given = [row["settings"]["epochs"] for row, time in zip(rows, times, strict=True) if math.isinf(time)]
        censored.append(stats.CensoredData(uncensored=times[np.isfinite(times)], right=given))
    return stats.logrank(*censored).pvalue


RACES = [name for name, line in LINES.items() if "times the epochs" in line[4]]


@pytest.mark.parametrize("line", RACES)
def test_how_many_times_as_many_epochs(line):
    *rows, reached = race_of(line)
    slow, fast = (needed(mine, reached) for mine in rows)
    text, verdict = LINES[line][4:]
    shown = re.match(r"(at least )?([\d.]+) \[([\d.]+), ([\d.]+|endless)\] times the epochs", text)
    assert f"{len(slow)} against {len(fast)} runs" in text
    p = log_rank(line)
    assert f"log-rank p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}" in text
    low, high = float(shown[3]), math.inf if shown[4] == "endless" else float(shown[4])
    if np.isinf(np.median(slow)):
        given = min(row["settings"]["epochs"] for row in rows[0])
        assert shown[1], "it is a bound"
        assert float(shown[2]) == pytest.approx((given + 1) / np.median(fast), abs=0.0051)
    else:
        assert not shown[1]
        assert float(shown[2]) == pytest.approx(np.median(slow) / np.median(fast), abs=0.0051)
        drawn = stats.bootstrap(
            (slow, fast),
            lambda a, b, axis: np.median(a, axis) / np.median(b, axis),
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert (low, high) == pytest.approx((drawn.low, drawn.high), rel=0.05)
    recorded = {"six times sooner": 6, "dropout doubles the iterations": 2}.get(line)
    if recorded:
        held = "undecided" if shown[1] else "supported"
        assert verdict.startswith(held if low <= recorded <= high else "contradicted")
    else:
        others = [log_rank(name) for name in RACES if name.startswith("ReLU")]
        assert verdict.startswith(ruled_race(low, high, holm(others, p)))


def ruled_race(low: float, high: float, p: float) -> str:
    """The rule of the page for a claim that one sort takes longer; a tenth of the epochs does not matter."""
    if p < 0.05 and (low > 1 or high < 1):
        return "supported" if low > 1 else "contradicted"
    return "too small to matter here" if low >= 1 / 1.1 and high <= 1.1 else "undecided"


# Runs that leave the plateau


def test_how_many_runs_train():
    line = next(line for name, line in LINES.items() if name.startswith("which activations leave the plateau"))
    rows = [row for row in rows_of("which_train") if not row["variant"].startswith("choice")]
    told = {
        f"{part.partition(':')[0]}, {start}": counted
        for part in line[4].split("; ")
        for start, *counted in re.findall(r"(\w+) (\d+) of (\d+) \[(\d+), (\d+)\] %", part)
    }
    assert told.keys() == {row["variant"] for row in rows}
    for variant, counted in told.items():
        mine = [row for row in rows if row["variant"] == variant]
        done = [row for row in mine if row["outcome"] == "finished"]
        trained = sum(row["curve"][-1]["train_loss"] < 0.9 * math.log(10) for row in done)
        ends = stats.binomtest(trained, len(mine)).proportion_ci()
        assert [int(v) for v in counted] == [trained, len(mine), round(100 * ends.low), round(100 * ends.high)]


def test_how_many_runs_leave_the_plateau_with_the_weights_of_the_text():
    line = next(line for name, line in LINES.items() if name.startswith("sigma .01 in every layer and biases"))
    rows = rows_of("will_it_train")
    for start in ("paper: sigma .01, biases 1", "source"):
        left = [row["leaves_plateau_in_epoch"] for row in rows if row["start"].startswith(start)]
        ends = stats.binomtest(sum(e is not None for e in left), len(left)).proportion_ci()
        epochs = ", ".join(str(e or "never") for e in left)
        assert (
            f"in epochs {epochs} of 20 ({100 * ends.low:.0f} to {100 * ends.high:.0f} % of all runs would)" in line[4]
        )

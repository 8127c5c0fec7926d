"""The tables of the ingredients again, from the rows, by NumPy and SciPy alone; and on rows whose truth is known."""

import json
import re

import numpy as np
import pytest
from scipy import stats

from alexnet.experiments import answers
from harness import ROOT
from harness.claims_page import PAGE, by_arm, lines_of
from studies.claims import leading, measures, secondary
from studies.paper import evidence

ROWS = [json.loads(line) for line in (ROOT / "results/evidence_cifar.jsonl").read_text().splitlines()]
FINAL = [row for row in ROWS if not row["variant"].startswith(evidence.CHOICE)]


def made_up(seeds: int = 8, images: int = 2_000, effect: float = 0.0, arms=tuple(evidence.ARMS)):
    """Rows of the plan's study in which one arm is worse by `effect` and all others are as the base."""
    rng = np.random.default_rng(18)
    difficulty = rng.standard_normal(images)
    out = []
    for variant, count in [("base", 4 * seeds), *((arm, seeds) for arm in arms)]:
        for seed in range(count):
            wrong = difficulty + 0.5 * rng.standard_normal(images) > 0.5
            if variant == "no-lrn":
                wrong |= rng.random(images) < effect / 0.67
            both = {"top1_error": float(wrong.mean()), answers.WRONG: answers.pack(wrong)}
            found = {"val": {"1": both, "10": both}, "train": {"1": {"top1_error": 0.2}}}
            out.append(
                {
                    "base": "small-cifar",
                    "variant": variant,
                    "seed": seed,
                    "outcome": "finished",
                    "results": found,
                    "data": {"classes": 10, "pictures": {"val": images}},
                    "settings": {},
                    "environment": {"processor": "A"},
                    "curve": [{"epoch": 1, "train_loss": 2.0}],
                    "until_train_error": None,
                    "commit": "1234567",
                }
            )
    return out


def recomputed(rows) -> dict[str, tuple[float, float, float]]:
    """Arm -> effect, half of the analytic interval and p value, by NumPy and SciPy alone; machines are blocks."""

    def masks(variant: str, machine: str) -> np.ndarray:
        mine = [row for row in rows if row["variant"] == variant and row["environment"]["processor"] == machine]
        chance = np.full(mine[0]["data"]["pictures"]["val"] if mine else 0, 0.9)  # of a run that diverged
        return np.array([answers.wrong_of(row, "val") if row["results"] else chance for row in mine], float)

    machines = sorted({row["environment"]["processor"] for row in rows})
    out = {}
    for arm in evidence.ARMS:
        blocks = [(masks(arm, machine), masks("base", machine)) for machine in machines]
        blocks = [(a, b) for a, b in blocks if len(a) and len(b)]
        if not blocks:
            continue
        counts = np.array([[len(y) for y in block] for block in blocks])
        freedom = counts.sum(0) - len(blocks)
        spread = np.array([[((y.mean(1) - y.mean()) ** 2).sum() for y in block] for block in blocks]).sum(0) / freedom
        weights = 1 / (spread / counts).sum(1)
        weights /= weights.sum()
        share = (weights[:, None] ** 2 / counts).sum(0)
        on_images = weights @ np.array([a.mean(0) - b.mean(0) for a, b in blocks])
        images = len(on_images)
        rest = np.array(
            [[((y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()) ** 2).sum() for y in block] for block in blocks]
        ).sum(0)
        noise = (share * rest / freedom / (images - 1)).sum() / images
        parts = np.array([*(spread * share), max(0.0, on_images.var(ddof=1) / images - noise)])
        f = parts.sum() ** 2 / (parts**2 / [*freedom, images - 1]).sum()
        error, effect = np.sqrt(parts.sum()), on_images.mean()
        out[arm] = (effect, stats.t.ppf(0.975, f) * error, 2 * stats.t.sf(abs(effect) / error, f))
    return out


def check_leading(table: dict[str, list[str]], rows) -> int:
    """Effect, interval, Holm over fourteen and verdict of every line that has one; says how many have."""
    expected = recomputed(rows)
    ordered = sorted(p for _, _, p in expected.values())
    judged = 0
    for arm, (effect, half, p) in expected.items():
        line = table[arm]
        runs = [sum(row["variant"] == name for row in rows) for name in (arm, "base")]
        assert float(line[2]) == pytest.approx(100 * effect, abs=0.0051)
        assert line[4] == f"{runs[0]} / {runs[1]}"
        if runs[0] < 8:
            assert line[6] == "not measured yet"
            continue
        judged += 1
        low, high = (float(v) for v in line[3].strip("[]").split(", "))
        assert (low, high) == pytest.approx((100 * (effect - half), 100 * (effect + half)), abs=15 * half)
        corrected = max(min(1, (14 - i) * q) for i, q in enumerate(ordered) if q <= p)
        if corrected < 0.05 and low * high > 0:
            verdict = "supported" if effect > 0 else "contradicted"
        else:
            verdict = "too small to matter here" if max(-low, high) <= 1 else "undecided"
        assert line[6].startswith(verdict), line
    return judged


def test_the_leading_table_again_with_scipy():
    """The rows of the plan, made up: the effect, the analytic interval, Holm over fourteen, and the verdict."""
    rows = made_up(effect=0.05)
    studies = {name: [] for name in measures.NAMES} | {leading.STUDY: rows}
    table = by_arm(leading.table(studies))
    assert check_leading(table, rows) == 14
    assert table["no-lrn"][4] == "8 / 32"
    assert table["no-lrn"][6].startswith("supported")
    assert "does not hold the value of 2012" in table["no-lrn"][6]  # 5 points, not 1.4
    assert table["ten-views"][6].startswith("beside the family; the interval does not hold")


def test_the_leading_table_of_the_page_again_with_scipy():
    """The same of the committed rows and the committed page."""
    assert check_leading(by_arm(PAGE), FINAL) == len(evidence.ARMS)


def test_ten_views_against_one_again_with_scipy():
    """On the same networks: the chance in seeds and in images, with the degrees of freedom of both."""
    base = [row for row in FINAL if row["variant"] == "base" and row["results"]]
    gain = np.array([answers.wrong_of(row, "val", 10) - 1.0 * answers.wrong_of(row, "val") for row in base])
    n, images = gain.shape
    rest = ((gain - gain.mean(1, keepdims=True) - gain.mean(0) + gain.mean()) ** 2).sum() / (n - 1) / (images - 1)
    parts = np.array([gain.mean(1).var(ddof=1) / n, gain.mean(0).var(ddof=1) / images - rest / n / images])
    assert parts[1] > 0
    freedom = parts.sum() ** 2 / (parts**2 / [n - 1, images - 1]).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum())
    line = by_arm(PAGE)["ten-views"]
    assert float(line[2]) == pytest.approx(100 * gain.mean(), abs=0.0051)
    low, high = (float(v) for v in line[3].strip("[]").split(", "))
    assert (low, high) == pytest.approx((100 * (gain.mean() - half), 100 * (gain.mean() + half)), abs=15 * half)
    assert line[4] == str(n)
    assert ("does not hold" in line[6]) == (not low <= -1.5 <= high)


def test_what_stands_beside_the_verdicts_again_with_scipy():
    """Of the rows of one machine: Welch's interval of every secondary measure, taken from the rows by name."""
    machine = FINAL[0]["environment"]["processor"]
    rows = [row for row in FINAL if row["environment"]["processor"] == machine and row["results"]]
    table = by_arm(secondary.table({name: [] for name in measures.NAMES} | {leading.STUDY: rows}), 6, 0)

    def values(arm: str) -> np.ndarray:
        """A column for each measure: points, nats, points, points, nats."""
        out = []
        for row in rows:
            if row["variant"] == arm:
                test, train = (row["results"][split]["1"] for split in ("val", "train"))
                gap = test["top1_error"] - train["top1_error"]
                points = [100 * v for v in (test["top5_error"], train["top1_error"], gap)]
                out.append([points[0], test["log_loss"], *points[1:], row["curve"][0]["train_loss"]])
        return np.array(out)

    for arm in evidence.ARMS:
        found = stats.ttest_ind(values(arm), values("base"), equal_var=False)
        ends = found.confidence_interval()
        effect = values(arm).mean(0) - values("base").mean(0)
        for cell, *expected in zip(table[arm][1:], effect, ends.low, ends.high, strict=True):
            assert [float(v) for v in re.findall(r"[+-][\d.]+", cell)] == pytest.approx(expected, abs=0.0051)


def test_nothing_is_said_of_an_arm_before_the_first_look_of_the_plan():
    studies = {name: [] for name in measures.NAMES} | {leading.STUDY: made_up(seeds=7, images=200, effect=0.5)}
    lines = lines_of(leading.table(studies), 7)
    assert {line[6] for line in lines[:-1]} <= {"verdict", "---", "not measured yet"}

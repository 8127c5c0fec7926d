"""Ablations that go on until their intervals are narrow: who gets more seeds, and what is said in the end."""

import numpy as np
import pytest
from scipy import stats

import alexnet as face
from alexnet.errors import UsageError
from alexnet.experiments import answers, sequential
from alexnet.experiments.ablation import effects
from alexnet.experiments.runner import Job
from alexnet.experiments.verdicts import Verdict
from alexnet.recipes.ingredients import Variant, variants_of
from harness.small_runs import TINY

VARIANTS = (Variant("no-lrn", ()), Variant("tanh", ()))
JOBS = [Job("D", "r", name, (), seed) for seed in range(30) for name in ("base", "no-lrn", "tanh")]


def rows_of(seeds: dict[str, int], spread: dict[str, float], effect: dict[str, float] | None = None):
    rng = np.random.default_rng(5)
    images = rng.random(5_000)
    out = []
    for variant, count in seeds.items():
        shape = stats.norm.ppf((np.arange(count) + 0.5) / count)
        for seed, luck in enumerate(rng.permutation(shape)):
            error = 0.3 + spread.get(variant, 0.001) * luck + (effect or {}).get(variant, 0.0)
            wrong = images < error
            values = {"top1_error": float(wrong.mean()), answers.WRONG: answers.pack(wrong)}
            more = {"data": {"classes": 10, "pictures": {"val": 5_000}}, "settings": {}, "environment": {}}
            more |= {"outcome": "finished", "start_values": {}}
            out.append({"variant": variant, "seed": seed, "results": {"val": {"1": values}}, **more})
    return out


def seeds_of(jobs):
    return {name: sum(job.variant == name for job in jobs) for name in ("base", "no-lrn", "tanh")}


@pytest.mark.parametrize(
    ("spread", "effect", "most", "expected"),
    [
        ({}, {}, 30, {"base": 6, "no-lrn": 6, "tanh": 6}),
        ({"tanh": 0.03}, {}, 30, {"base": 8, "no-lrn": 6, "tanh": 8}),
        ({"tanh": 0.03}, {"tanh": -0.05}, 30, {"base": 8, "no-lrn": 6, "tanh": 8}),  # however large the effect is
        ({"base": 0.03}, {}, 30, {"base": 8, "no-lrn": 8, "tanh": 8}),
        ({"tanh": 0.03}, {}, 7, {"base": 7, "no-lrn": 6, "tanh": 7}),
        ({}, {"tanh": 0.4}, 30, {"base": 6, "no-lrn": 6, "tanh": 6}),  # 5,000 images cannot be narrower
    ],
)
def test_only_what_is_wide_gets_more_seeds(spread, effect, most, expected):
    assert seeds_of(sequential.wanted(JOBS, [], VARIANTS, 1.0, most)) == dict.fromkeys(expected, 6)
    rows = rows_of(dict.fromkeys(expected, 6), spread, effect)
    assert seeds_of(sequential.wanted(JOBS, rows, VARIANTS, 1.0, most)) == expected
    without_last = [row for row in rows if (row["variant"], row["seed"]) != ("base", 5)]
    assert seeds_of(sequential.wanted(JOBS, without_last, VARIANTS, 1.0, most)) == dict.fromkeys(expected, 6)


def test_undecided_is_told_from_no_effect():
    rows = rows_of({"base": 6, "no-lrn": 6, "tanh": 6}, {"tanh": 0.03}, {"no-lrn": 0.001})
    no_lrn, tanh = effects(rows, VARIANTS, "val")
    assert no_lrn.judged.verdict == Verdict.TOO_SMALL
    assert tanh.judged.verdict == Verdict.UNDECIDED
    assert tanh.judged.seeds_needed is not None
    assert tanh.judged.seeds_needed > 30
    large = rows_of({"base": 6, "no-lrn": 6}, {}, {"no-lrn": 0.05})
    assert [each.judged.verdict for each in effects(large, VARIANTS, "val")] == [
        Verdict.SUPPORTED,
        Verdict.NOT_MEASURED,
    ]


def test_the_cost_that_is_foretold():
    for spread, until in ((0.3, 0.6), (1.0, 0.6), (2.0, 1.0)):
        n = sequential.seeds_for(spread, until)

        def half(n: int, spread: float = spread) -> float:
            return float(stats.t.ppf(0.975, 2 * n - 2) * spread * np.sqrt(2 / n))

        assert half(n) <= until < half(n - 1)


@pytest.mark.parametrize("until", [0.0, -1.0, 100.0, float("nan"), float("inf")])
def test_a_half_width_that_no_interval_has(until):
    with pytest.raises(UsageError, match="--until"):
        sequential.check_until(until)


def test_an_ablation_with_until_runs_looks_and_says(photos, tmp_path, alexnet, monkeypatch):
    monkeypatch.setattr(sequential, "FIRST", 2)
    typed = [*TINY, "optim.schedule=constant", "epochs=1", "augment.flip=false"]
    arguments = (
        "ablate",
        photos,
        *typed,
        "--vary",
        "dropout=0",
        "--until",
        "30",
        "--seeds",
        "3",
        "--out",
        tmp_path / "a",
    )
    shown = alexnet(*arguments, "--dry-run")
    assert shown.code == 0, shown.err
    assert "for all 6 runs at most" in shown.out
    assert "seeds that +-30 points take" in shown.out
    done = alexnet(*arguments)
    assert done.code == 0, done.err
    assert any(str(verdict) in done.out for verdict in Verdict)
    plan = face.ablate(photos, vary="dropout=0", until=30, seeds=3, changes=typed, out=tmp_path / "a")
    assert plan.next_look() == []
    assert {len([r for r in plan.rows if r["variant"] == name]) for name in ("base", "dropout=0")} <= {2, 3}
    assert plan.effects()[0].variant == variants_of("dropout=0")[0].name
    assert plan.matters == 50
    refused = alexnet("ablate", photos, "--vary", "no-lrn", "--until", "0")
    assert refused.code == 2
    assert "E298" in refused.err

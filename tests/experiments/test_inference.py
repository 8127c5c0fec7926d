"""Intervals over seeds and images: against SciPy, against brute force, and how often they hold the truth."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hypothesis
from scipy import stats

from alexnet.experiments import answers, samples
from alexnet.experiments.inference import Sample, estimate, holm
from alexnet.experiments.verdicts import Verdict, judge

RNG = np.random.default_rng(18)


def networks(runs: int, images: np.ndarray, shift: float = 0.0, seeds: float = 0.03) -> np.ndarray:
    """Simulated answers: wrong where difficulty, the luck of the seed and that of both together pass a threshold."""
    luck = seeds * RNG.standard_normal((runs, 1)) + 0.7 * RNG.standard_normal((runs, len(images)))
    return images + luck + shift > 0.8


def test_without_answers_to_every_image_it_is_welchs_interval():
    for counts in ((3, 3), (6, 24), (2, 9), (30, 4)):
        a, b = (RNG.normal(0.3, 0.02, n) for n in counts)
        found = estimate([(Sample(a), Sample(b))])
        expected = stats.ttest_ind(a, b, equal_var=False)
        ends = expected.confidence_interval()
        assert found is not None
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=1e-12)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
        assert found.freedom == pytest.approx(expected.df)


@given(hypothesis.lists(hypothesis.floats(-1, 1), min_size=2, max_size=12))
def test_the_interval_of_one_sample_is_that_of_scipy(values):
    found = estimate([(Sample(np.array(values)),)])
    assert found is not None
    scale = stats.sem(values)
    if scale > 1e-12:
        ends = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scale)
        assert (found.low, found.high) == pytest.approx(ends, abs=1e-9)
        assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=1e-9)


def test_one_run_has_no_interval():
    found = estimate([(Sample(np.array([0.25])),)])
    assert found is not None
    assert (found.effect, found.low, found.high, found.half_width) == (0.25, None, None, None)


def test_the_parts_of_the_variance_by_brute_force():
    images = RNG.standard_normal(300)
    a, b = networks(4, images), networks(7, images)
    found = estimate([(Sample.of(a), Sample.of(b))])
    assert found is not None
    noise = 0.0
    for y in (a.astype(float), b.astype(float)):
        residual = y - y.mean(1, keepdims=True) - y.mean(0, keepdims=True) + y.mean()
        noise += (residual**2).sum() / ((len(y) - 1) * 299) / len(y) / 300
    over_images = np.var(a.mean(0) - b.mean(0), ddof=1) / 300
    assert found.of_images == pytest.approx(max(0.0, over_images - noise), abs=1e-12)
    errors = a.mean(1), b.mean(1)
    parts = [e.var(ddof=1) / len(e) for e in errors] + [found.of_images]
    freedom = sum(parts) ** 2 / sum(v * v / f for v, f in zip(parts, (3, 6, 299), strict=True))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    effect = errors[0].mean() - errors[1].mean()
    assert found.analytic == pytest.approx((effect - half, effect + half), abs=1e-9)
    assert (found.low, found.high) == pytest.approx(found.analytic, abs=0.12 * half)  # six seeds draw roughly


def test_the_order_of_the_images_moves_no_interval():
    """Sums in another order end in other last bits, as those of another processor do."""
    rng = np.random.default_rng(4)
    difficulty = rng.random(10_000)
    arm, base = (rng.random((runs, 10_000)) < share * difficulty for runs, share in ((10, 0.9), (40, 0.5)))
    expected = estimate([(Sample.of(arm), Sample.of(base))])
    assert expected is not None
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(10_000)
        found = estimate([(Sample.of(arm[:, order]), Sample.of(base[:, order]))])
        assert found is not None
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_bootstrap_holds_the_truth_in_95_of_100():
    """Both arms and the images are drawn anew: coverage over what an experiment repeated elsewhere would find."""
    spread = 0.49 + 0.03**2
    truth = NormalDist().cdf(-0.8 / math.sqrt(1.09 + spread)) - NormalDist().cdf(-0.8 / math.sqrt(1 + spread))
    held = {"bootstrap": 0, "analytic": 0}
    times = 200
    for _ in range(times):
        images = RNG.standard_normal(250)
        harder = images + 0.3 * RNG.standard_normal(250)
        a, b = networks(6, harder), networks(24, images)
        found = estimate([(Sample.of(a), Sample.of(b))], draws=500)
        assert found is not None
        assert found.analytic is not None
        held["bootstrap"] += found.holds(truth)
        held["analytic"] += found.analytic[0] <= truth <= found.analytic[1]
    low, high = stats.binom.ppf([0.0005, 0.9995], times, 0.95)
    assert low <= held["bootstrap"] <= high
    assert low <= held["analytic"] <= high


def test_blocks_are_compared_within_and_joined():
    """Another machine shifts arm and base alike; pooled blindly the effect would be that of the machines."""
    a, b = RNG.normal(0.30, 0.005, 12), RNG.normal(0.28, 0.005, 40)
    there = RNG.normal(0.40, 0.005, 4), RNG.normal(0.38, 0.005, 6)
    found = estimate([(Sample(a), Sample(b)), tuple(map(Sample, there))])
    assert found is not None
    assert found.blocks == 2
    assert found.counts == (16, 46)
    assert found.effect == pytest.approx(0.02, abs=0.006)
    # by hand: variances pooled within blocks, weights by inverse variance
    va = (11 * a.var(ddof=1) + 3 * there[0].var(ddof=1)) / 14
    vb = (39 * b.var(ddof=1) + 5 * there[1].var(ddof=1)) / 44
    v = np.array([va / 12 + vb / 40, va / 4 + vb / 6])
    d = np.array([a.mean() - b.mean(), there[0].mean() - there[1].mean()])
    w = (1 / v) / (1 / v).sum()
    assert found.effect == pytest.approx(float(w @ d))
    assert found.heterogeneity == pytest.approx(stats.chi2.sf(((d - w @ d) ** 2 / v).sum(), 1))
    assert estimate([(Sample(a), Sample(b[:0]))]) is None


def test_holms_correction_by_hand_and_with_hypotheses_that_have_no_p_yet():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})  # Wikipedia's example of the method
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.004, "b": None}, family=14)["a"] == pytest.approx(14 * 0.004)
    assert holm({"a": 0.5, "b": 0.9})["b"] == 1
    p = sorted(RNG.uniform(0, 0.1, 9))
    by_hand = np.maximum.accumulate([min(1.0, (9 - i) * v) for i, v in enumerate(p)])
    assert list(holm({str(v): v for v in p}).values()) == pytest.approx(list(by_hand))


@pytest.mark.parametrize(
    ("effect", "spread", "direction", "verdict"),
    [
        (0.02, 0.002, 1, Verdict.SUPPORTED),
        (0.02, 0.002, -1, Verdict.CONTRADICTED),
        (-0.02, 0.002, -1, Verdict.SUPPORTED),
        (-0.02, 0.002, 1, Verdict.CONTRADICTED),
        (0.0005, 0.002, 1, Verdict.TOO_SMALL),
        (-0.0005, 0.002, 1, Verdict.TOO_SMALL),
        (0.006, 0.002, 1, Verdict.SUPPORTED),  # and smaller than what matters
        (0.01, 0.03, 1, Verdict.UNDECIDED),
        (-0.01, 0.03, 1, Verdict.UNDECIDED),
    ],
)
def test_verdicts(effect, spread, direction, verdict):
    shape = stats.norm.ppf((np.arange(8) + 0.5) / 8)
    a, b = Sample(0.3 + effect + spread * shape), Sample(0.3 + spread * shape)
    judged = judge(estimate([(a, b)]), direction, 0.01, None, 0.006)
    assert judged.verdict == verdict
    assert judged.small == (effect == 0.006)
    assert (judged.seeds_needed is not None) == (verdict == Verdict.UNDECIDED)


def test_what_the_correction_takes_away_and_what_was_not_measured():
    a, b = (Sample(RNG.normal(m, 0.004, 8)) for m in (0.33, 0.30))
    found = estimate([(a, b)])
    assert judge(found, 1, 0.01, 0.2, 0.006).verdict == Verdict.UNDECIDED
    assert judge(found, 1, 0.9, 0.2, 0.006).verdict == Verdict.TOO_SMALL
    assert judge(None, 1, 0.01, None, 0.006).verdict == Verdict.NOT_MEASURED
    one = estimate([(Sample(np.array([0.3])), Sample(np.array([0.2, 0.3])))])
    assert one is not None
    assert judge(one, 1, 0.01, None, 0.006).verdict == Verdict.NOT_MEASURED


def test_the_runs_that_would_decide():
    a, b = Sample(np.array([0.30, 0.34, 0.32])), Sample(np.array([0.30, 0.31, 0.35, 0.32, 0.29, 0.33]))
    found = estimate([(a, b)])
    assert found is not None
    n = found.runs_for(0.006)
    assert n is not None

    def half(n: int) -> float:
        va, vb = a.values.var(ddof=1) / n, b.values.var(ddof=1) / (2 * n)
        freedom = (va + vb) ** 2 / (va**2 / (n - 1) + vb**2 / (2 * n - 1))
        return float(stats.t.ppf(0.975, freedom) * math.sqrt(va + vb))

    assert half(n) <= 0.006 < half(n - 1)
    few = estimate([(Sample.of(RNG.random((5, 40)) < 0.5), Sample.of(RNG.random((5, 40)) < 0.2))])
    assert few is not None
    assert few.of_images is not None
    assert few.of_images == 0 or few.runs_for(1e-4) is None


def test_the_runs_that_would_decide_where_the_base_has_far_fewer():
    a, b = Sample(np.array([0.30, 0.34, 0.32, 0.31, 0.33, 0.35])), Sample(np.array([0.30, 0.31]))
    found = estimate([(a, b)])
    assert found is not None

    def half(n: int) -> float:
        va, vb = a.values.var(ddof=1) / n, b.values.var(ddof=1) / (n / 3)
        freedom = (va + vb) ** 2 / (va**2 / (n - 1) + vb**2 / (n / 3 - 1))
        return float(stats.t.ppf(0.975, freedom) * math.sqrt(va + vb))

    n = found.runs_for(0.006)
    assert n is not None
    assert half(n) <= 0.006 < half(n - 1)
    assert found.runs_for(10.0) == 6  # two of the base, with which a spread begins
    assert judge(found, 1, 0.02, 0.2, 0.006).verdict == Verdict.UNDECIDED


def test_answers_to_a_single_image_have_welchs_interval():
    a, b = (np.array(values, float) for values in ([1, 0, 1, 1, 0], [0, 0, 1]))
    found = estimate([(Sample.of(a[:, None]), Sample.of(b[:, None]))])
    ends = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert found is not None
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.of_images is None


def test_base_against_base_differs_in_about_5_of_100():
    images = RNG.standard_normal(200)
    base = networks(40, images)
    times, found = 200, 0
    for _ in range(times):
        order = RNG.permutation(40)
        half = estimate([(Sample.of(base[order[:20]]), Sample.of(base[order[20:]]))], draws=500)
        assert half is not None
        found += not half.holds(0.0)
    low, high = stats.binom.ppf([0.0005, 0.9995], times, 0.05)
    assert low <= found <= high


def test_which_images_were_wrong_survives_writing():
    for count in (1, 7, 8, 9, 10_000):
        wrong = RNG.random(count) < 0.3
        assert np.array_equal(answers.unpack(answers.pack(wrong), count), wrong)
    assert answers.pack(np.array([True, False, False, False, False, False, False, True, True])) == "gYA="  # 0x81 0x80


def row(variant: str, wrong: np.ndarray | None, processor: str = "A", **environment: str):
    values = {} if wrong is None else {"top1_error": float(wrong.mean()), answers.WRONG: answers.pack(wrong)}
    return {
        "variant": variant,
        "results": {} if wrong is None else {"test": {"1": values, "10": values}},
        "data": {"classes": 10, "pictures": {"test": 40}},
        "settings": {},
        "environment": {"processor": processor, **environment},
    }


def test_rows_become_blocks_and_a_run_that_diverged_counts_with_chance():
    wrong = RNG.random((9, 40)) < 0.3
    arm = [row("a", wrong[0]), row("a", wrong[1], "B"), row("a", None)]
    base = [row("base", w) for w in wrong[2:6]] + [row("base", wrong[6], "A", card="H100")]
    (block,) = samples.blocks_of(arm, base, "test")  # B and the card have no pair
    assert block[0].values == pytest.approx([wrong[0].mean(), 0.9])
    assert block[0].by_image is not None
    assert np.allclose(block[1].values, wrong[2:6].mean(1))
    assert samples.place_of({**arm[0], "settings": {"precision": "bfloat16"}}) != samples.place_of(arm[0])
    (views,) = samples.views_of(base[:4], "test", 10)
    assert np.allclose(views[0].values, 0)
    old = {**base[0], "results": {"test": {"1": {"top1_error": 0.25}}}}
    assert samples.sample_of([old, base[1]], "test").by_image is None

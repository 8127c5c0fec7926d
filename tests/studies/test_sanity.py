"""The check of the analysis on itself, on made-up runs whose truth is known; the page makes it on the real ones."""

import numpy as np
import pytest
from scipy import stats

from alexnet.experiments import answers
from alexnet.experiments.inference import Sample, estimate
from studies.claims import sanity

IMAGES = 500


@pytest.fixture(scope="module")
def base():
    """Forty runs: images of different difficulty, seeds of different luck, and both together."""
    rng = np.random.default_rng(3)
    luck = 0.01 * rng.standard_normal((40, 1)) + 0.4 * rng.standard_normal((40, IMAGES))
    return (rng.standard_normal(IMAGES) + luck > 0.6).astype(np.float32)


def within(found: int, times: int, share: float) -> bool:
    low, high = stats.binom.ppf([0.0005, 0.9995], times, share)
    return bool(low <= found <= high)


def test_the_base_differs_from_itself_in_about_5_of_100(base):
    found = sanity.base_against_base(base)
    assert within(found.found, found.times, 0.05)
    assert found.interval == pytest.approx(stats.binomtest(found.found, found.times).proportion_ci(), abs=1e-9)


@pytest.mark.parametrize("effect", [0.01, 0.014])
def test_a_planted_effect_is_found_as_often_as_promised(base, effect):
    found = sanity.planted(base, effect, times=100)
    assert 0.2 < found.expected < 0.98  # a power that could be missed
    assert within(found.found, found.times, found.expected)


def test_the_promised_power_is_that_of_a_t_test(base):
    arm, rest = base[:20], base[20:]
    of_images = estimate([(Sample.of(arm), Sample.of(rest))], draws=1).of_images
    for effect in (0.01, 0.02):
        noise = np.sqrt((arm.mean(1).var(ddof=1) + rest.mean(1).var(ddof=1) + effect / IMAGES) / 20 + of_images)
        expected = stats.nct.sf(stats.t.ppf(0.975, 38), 38, effect / noise)
        assert sanity._power(arm, rest, effect) == pytest.approx(expected, abs=0.03)


def test_runs_of_one_seed_are_compared_as_scipy_does():
    rng = np.random.default_rng(4)
    luck = rng.standard_normal(30)
    base, arm = (dict(enumerate(luck + rng.standard_normal(30))) for _ in range(2))
    found = sanity.same_seed([arm], base)
    expected = stats.pearsonr(list(arm.values()), list(base.values())).statistic
    assert (found.correlation, found.pairs) == (pytest.approx(expected), 30)
    assert found.chance < 0.02
    # An arm more that is the base turned round, and a hundred points worse; a seed without a partner does not count.
    turned = {seed: 100 - error for seed, error in base.items()} | {99: 0.0}
    both = sanity.same_seed([arm, turned], base)
    about = [np.array(list(x.values())[:30]) - np.mean(list(x.values())[:30]) for x in (arm, turned, base)]
    by_hand = (
        (about[0] + about[1]) @ about[2] / np.sqrt(((about[0] ** 2 + about[1] ** 2).sum()) * 2 * (about[2] ** 2).sum())
    )
    assert (both.correlation, both.pairs) == (pytest.approx(by_hand), 60)


def test_runs_that_share_nothing_but_their_seed_seldom_seem_alike():
    rng = np.random.default_rng(5)
    draws = [[dict(enumerate(rng.standard_normal(10))) for _ in range(4)] for _ in range(60)]
    seem = sum(sanity.same_seed(arms, base).chance < 0.1 for base, *arms in draws)
    assert within(seem, len(draws), 0.1)


def test_what_the_page_says(base, monkeypatch):
    def row(wrong: np.ndarray, processor: str = "A", variant: str = "base", seed: int = 0):
        values = {"top1_error": float(wrong.mean()), answers.WRONG: answers.pack(wrong > 0)}
        return {
            "variant": variant,
            "seed": seed,
            "results": {"val": {"1": values}},
            "data": {"classes": 10, "pictures": {"val": IMAGES}},
            "settings": {},
            "environment": {"processor": processor},
        }

    few = [row(wrong) for wrong in base[:11]]
    assert sanity.in_words(few).startswith("Not measured yet")
    assert sanity.in_words([*few, row(base[11], "B")]).startswith("Not measured yet")  # machines are not mixed
    monkeypatch.setattr(sanity, "base_against_base", lambda y: sanity.Checked(len(y) - 1, 200, 0.05))
    monkeypatch.setattr(sanity, "planted", lambda y: sanity.Checked(170, 200, 0.846))
    monkeypatch.setattr(sanity, "same_seed", lambda arms, base: sanity.Paired(-0.07, sum(map(len, arms)), 0.42))
    arms = [row(base[seed], variant=arm, seed=seed) for arm in ("tanh", "no-lrn") for seed in range(3)]
    text = sanity.in_words([*(row(wrong, seed=seed) for seed, wrong in enumerate(base[:12])), *arms])
    assert "differs 11 times of 200 (3 to 10 %); it should in 5 %" in text
    assert "is found 170 times of 200 (79 to 90 %); it should be in 85 %" in text
    assert "with one seed is -0.07 over 6 pairs, and those of 42 % of random pairings are as far from zero" in text

"""Times to a goal: SciPy's log-rank test, medians by hand, and how often the interval holds the true ratio."""

import math

import numpy as np
import pytest
from scipy import stats

from alexnet.experiments.races import Run, log_rank, ratio


def runs(*epochs: int, cap: int = 60):
    """Runs that reach the goal in so many epochs, or would, beyond the cap."""
    return [Run(min(e, cap), e <= cap) for e in epochs]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("cap", [6, 15, 60])
def test_the_log_rank_test_is_that_of_scipy(seed, cap):
    rng = np.random.default_rng(seed)
    first, second = (runs(*rng.geometric(p, n).tolist(), cap=cap) for p, n in ((0.1, 9), (0.2, 12)))

    def told(of):
        reached, ended = ([r.epochs for r in of if r.reached is kind] for kind in (True, False))
        return stats.CensoredData(uncensored=reached, right=ended)

    assert log_rank(first, second) == pytest.approx(stats.logrank(told(first), told(second)).pvalue, rel=1e-9)


def test_nothing_is_known_where_no_run_arrives():
    assert log_rank(runs(70, 80), runs(90, 99)) == 1.0
    assert ratio(runs(9, 9), runs(70, 80, 5)) is None  # half of the fast ones or more
    assert ratio(runs(9), runs(3, 3)) is None


def test_the_ratio_of_the_medians_by_hand():
    found = ratio(runs(12, 16, 14), runs(2, 4))
    assert found is not None
    assert (found.value, found.bound, found.counts, found.censored) == (14 / 3, False, (3, 2), (0, 0))
    assert 3 <= found.low <= found.value <= found.high <= 8  # 12 / 4 and 16 / 2 are the ends of all draws
    assert found.holds(5)
    assert not found.holds(9)


def test_a_bound_where_half_of_the_slow_runs_do_not_arrive():
    found = ratio(runs(50, 70, 80, 55), runs(5, 5, 5))
    assert found is not None
    assert found.bound
    assert found.value == 58 / 5  # of 50, 55, 61 and 61, the least that those given 60 may take
    assert found.low <= 58 / 5
    assert math.isinf(found.high)
    none = ratio(runs(70, 80, 90), runs(5, 5, 5))
    assert none is not None
    assert (none.value, none.low, none.high) == (61 / 5, 61 / 5, math.inf)


def test_a_bound_is_no_more_than_the_ratio_that_longer_runs_would_have_shown():
    fast = runs(*[5] * 10)
    bound, whole = (ratio(runs(*[20] * 5, *[61] * 5, cap=cap), fast) for cap in (60, 61))
    assert bound is not None
    assert whole is not None
    assert (bound.value, bound.bound) == (8.1, True)  # (20 + 61) / 2 epochs, by 5
    assert (whole.value, whole.bound) == (8.1, False)
    assert bound.low <= 8.1


def test_a_draw_whose_fast_runs_do_not_arrive_says_nothing_for_the_claim():
    found = ratio(runs(20, 20, 20, 20), runs(5, 5, 5, 5, 70, 70))
    assert found is not None
    assert found.low == 0.0  # a tenth of the draws have more than half endless
    assert found.value == 4.0


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        slow, fast = (runs(*np.ceil(rng.lognormal(math.log(m), 0.15, 10)).astype(int).tolist()) for m in (30, 10))
        found = ratio(slow, fast, draws=500)
        assert found is not None
        held += found.holds(30.5 / 10.5)  # rounding up adds half an epoch to each median
    assert 180 <= held <= 200

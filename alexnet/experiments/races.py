"""How long runs take to reach a goal when some end before it: the ratio of two medians, and the log-rank test.

A run that ended before the goal is censored: all that is known is that it needs more epochs than it was given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet.experiments.distributions import SHARE, chi_square_p

DRAWS = 10_000


@dataclass(frozen=True)
class Run:
    """One run: the epochs to the goal, or those it was given without reaching it."""

    epochs: int
    reached: bool


@dataclass(frozen=True)
class Ratio:
    """How many times as long one sort of runs takes as another: of the medians, with its 95 % interval.

    Where half of the slow runs or more are censored, `value` is a lower bound; so is `low` where `high` is infinite.
    """

    value: float
    bound: bool
    low: float
    high: float  # infinite if the draws do not say how large it may be
    p: float  # of the log-rank test: that both sorts reach the goal alike
    counts: tuple[int, int]  # runs of the slow sort, and of the fast
    censored: tuple[int, int]  # of them, those that ended before the goal

    def holds(self, value: float) -> bool:
        """Whether the interval holds a value."""
        return self.low <= value <= self.high


def ratio(slow: Sequence[Run], fast: Sequence[Run], draws: int = DRAWS) -> Ratio | None:
    """Compares two sorts of runs.

    The interval holds the middle 95 % of the ratios of runs drawn again (percentile bootstrap). Censored runs count as
    endless in the medians, so it does not depend on how many epochs they were given beyond the median.

    Returns:
        None if there are fewer than two of either sort, or half of the fast ones or more are censored: then nothing
        can be said.

    >>> found = ratio([Run(6, True), Run(8, True), Run(7, True)], [Run(2, True), Run(2, True), Run(3, True)])
    >>> found.value, found.low >= 2, found.high <= 4
    (3.5, True, True)
    """
    if min(len(slow), len(fast)) < 2:
        return None
    slow_median, fast_median = (float(np.median(_endless(runs))) for runs in (slow, fast))
    if math.isinf(fast_median):
        return None
    bound = math.isinf(slow_median)
    # A median rises with each of its runs, and a censored one takes at least an epoch more than it was given.
    least = float(np.median([run.epochs + (not run.reached) for run in slow])) if bound else slow_median
    rng = np.random.default_rng(0)
    drawn = [np.median(rng.choice(_endless(runs), (draws, len(runs))), axis=1) for runs in (slow, fast)]
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isinf(drawn[1]), 0.0, drawn[0] / drawn[1])  # nothing is known of such a draw
    tail = (1 - SHARE) / 2
    low, high = np.quantile(ratios, (tail, 1 - tail), method="inverted_cdf").tolist()
    value, counts = least / fast_median, (len(slow), len(fast))
    censored = (sum(not run.reached for run in slow), sum(not run.reached for run in fast))
    return Ratio(value, bound, min(low, value), high, log_rank(slow, fast), counts, censored)


def log_rank(first: Sequence[Run], second: Sequence[Run]) -> float:
    """The p value that two sorts of runs reach the goal alike (Mantel 1966): 1 if no run of either reaches it."""
    surplus, variance = 0.0, 0.0
    for epoch in sorted({run.epochs for run in (*first, *second) if run.reached}):
        mine, others = (sum(run.epochs >= epoch for run in runs) for runs in (first, second))
        events, own = (sum(run.reached and run.epochs == epoch for run in runs) for runs in ((*first, *second), first))
        total = mine + others
        surplus += own - events * mine / total
        if total > 1:
            variance += events * (mine / total) * (others / total) * (total - events) / (total - 1)
    return chi_square_p(surplus**2 / variance, 1) if variance > 0 else 1.0


def _endless(runs: Sequence[Run]) -> npt.NDArray[np.float64]:
    return np.array([run.epochs if run.reached else math.inf for run in runs])

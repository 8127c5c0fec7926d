"""Statistics of paired runs and paired answers: Student's confidence interval of a mean, McNemar's exact test."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval; a single value has no interval."""

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes zero: then chance does not explain the sign of the difference."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def student_share(t: float, freedom: int) -> float:
    """The probability that |T| <= t, where T has Student's t distribution with `freedom` degrees of freedom.

    Computed with the finite sums for integer degrees of freedom: Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2 == 1
    term = cosine if is_odd else 1.0
    total = 0.0
    for power in range(2 if is_odd else 1, freedom, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total


def student_quantile(share: float, freedom: int) -> float:
    """The t for which |T| <= t has the probability `share` (in 0..1, exclusive)."""
    low, high = 0.0, 1.0
    while student_share(high, freedom) < share:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_share(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def mean_interval(values: Sequence[float], share: float = 0.95) -> Interval:
    """Computes the mean of independent values and its t interval; a single value has no interval.

    For a paired difference, the values are the differences of the pairs.
    """
    mean = statistics.fmean(values)
    count = len(values)
    if count < 2:
        return Interval(mean, None, None, count)
    half = student_quantile(share, count - 1) * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value of McNemar's exact test, in [0, 1].

    If two networks are equally good, an image that only one of them classifies correctly belongs to either network with
    probability one half; images on which both are right or both are wrong carry no information.

    Args:
        only_first: images that only the first network classifies correctly.
        only_second: images that only the second network classifies correctly.
    """
    total = only_first + only_second
    tail, ways = 0, 1  # integers: how many of the 2**total outcomes are at least so uneven
    for k in range(min(only_first, only_second) + 1):
        tail += ways
        ways = ways * (total - k) // (k + 1)
    p: float = 2 * tail / 2**total
    return min(1.0, p)


def wilson_interval(successes: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927).

    Unlike p ± 2 standard errors, it is also valid for few images and for a proportion of 0 or 1.
    """
    z = 1.959963984540054
    share, shrink = successes / count, 1 + z * z / count
    center = (share + z * z / (2 * count)) / shrink
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / shrink
    return max(0.0, center - half), min(1.0, center + half)

"""What paired runs and paired answers prove: Student's interval of a mean difference, McNemar's exact test."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds it with 95 % confidence; one value alone has none."""

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference has a sign that chance does not explain."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def student_share(t: float, freedom: int) -> float:
    """The probability that |T| <= t for Student's T with so many degrees of freedom.

    The finite sums for whole numbers of degrees: Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(2 if odd else 1, freedom, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def student_quantile(share: float, freedom: int) -> float:
    """The t for which |T| <= t with probability `share` (in 0..1, exclusive)."""
    low, high = 0.0, 1.0
    while student_share(high, freedom) < share:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_share(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def mean_interval(values: Sequence[float], share: float = 0.95) -> Interval:
    """The mean of independent values and its t interval; None for its ends with a single value.

    For a paired difference, the values are the differences of the pairs.
    """
    mean = statistics.fmean(values)
    count = len(values)
    if count < 2:
        return Interval(mean, None, None, count)
    half = student_quantile(share, count - 1) * statistics.stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p of McNemar's exact test, in [0, 1].

    If two networks are equally good, each picture that only one of them gets right falls to either with probability
    one half; pictures on which both agree say nothing.

    Args:
        only_first: pictures that the first alone gets right.
        only_second: pictures that the second alone gets right.
    """
    total = only_first + only_second
    tail, ways = 0, 1  # whole numbers: how many of the 2**total ways are so uneven
    for k in range(min(only_first, only_second) + 1):
        tail += ways
        ways = ways * (total - k) // (k + 1)
    p: float = 2 * tail / 2**total
    return min(1.0, p)

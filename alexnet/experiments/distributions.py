"""The distributions behind intervals and tests: Student's t for any degrees of freedom, chi square, and the binomial.

Written out, so that judging an experiment needs no further library; a test compares them with SciPy.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

SHARE = 0.95  # of all intervals
_TINY = 1e-300


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    fraction, c, d = 1.0, 1.0, 0.0  # Lentz's method, from the first denominator on
    for i in range(10_000):
        m = i // 2
        if i == 0:
            term = 1.0
        elif i % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _not_zero(1 + term * d)
        c = _not_zero(1 + term / c)
        step = c * d
        fraction *= step
        if i and abs(step - 1) < 1e-15:
            break
    return front * (fraction - 1) / a


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def student_p(t: float, freedom: float) -> float:
    """The probability that |T| > |t|, where T has Student's t distribution with `freedom` degrees of freedom."""
    return incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def student_t(freedom: float, share: float = SHARE) -> float:
    """The t for which |T| <= t has the probability `share`.

    Newton's method from the normal quantile, which lies below; the share is concave in t, so no step goes too far.
    """
    t = NormalDist().inv_cdf((1 + share) / 2)
    scale = 2 * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    for _ in range(100):
        density = scale * (1 + t * t / freedom) ** (-(freedom + 1) / 2)
        step = (share - 1 + student_p(t, freedom)) / density
        t += step
        if abs(step) < 1e-12 * t:
            break
    return t


def chi_square_p(value: float, freedom: int) -> float:
    """The probability that a chi-square variable with that many degrees of freedom exceeds the value.

    The finite sums for integer degrees of freedom: Abramowitz and Stegun, 26.4.4 and 26.4.5.
    """
    half = value / 2
    p = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    for k in range(4 - freedom % 2, freedom + 1, 2):
        p += math.exp(-half + (k / 2 - 1) * math.log(half) - math.lgamma(k / 2)) if half > 0 else 0.0
    return min(1.0, p)


def clopper_pearson(successes: int, count: int, share: float = SHARE) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper and Pearson 1934): what neither tail of the binomial excludes."""
    tail = (1 - share) / 2
    low = 0.0 if successes == 0 else _rising(lambda x: incomplete_beta(x, successes, count - successes + 1), tail)
    high = (
        1.0 if successes == count else _rising(lambda x: incomplete_beta(x, successes + 1, count - successes), 1 - tail)
    )
    return low, high


def _rising(function: Callable[[float], float], value: float, high: float = 1.0) -> float:
    """The x >= 0 at which a rising function has the value, by bisection."""
    low = 0.0
    while function(high) < value:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if function(middle) < value else (low, middle)
    return (low + high) / 2

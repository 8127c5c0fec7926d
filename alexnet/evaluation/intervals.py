"""Statistics of answers to images: McNemar's exact test of two networks, and the interval of a share of them."""

import math


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

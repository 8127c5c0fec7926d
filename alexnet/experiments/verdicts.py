"""What an interval says of a claim, in the same words everywhere."""

from dataclasses import dataclass
from enum import StrEnum

from alexnet.experiments.inference import Estimate

FAMILY_ERROR = 0.05  # the probability of one false verdict or more in a family whose effects are all zero


class Verdict(StrEnum):
    """What is known of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    TOO_SMALL = "too small to matter here"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured yet"
    UNTESTABLE = "not testable at this scale"


@dataclass(frozen=True)
class Judged:
    """A verdict and what belongs to it."""

    verdict: Verdict
    adjusted_p: float | None = None  # by Holm's method over the family
    seeds_needed: int | None = None  # of the arm, if undecided: with the spread found, the half-width would be the aim
    small: bool = False  # supported or contradicted, and yet smaller than what matters


def judge(found: Estimate | None, direction: int, smallest: float, adjusted_p: float | None, aim: float) -> Judged:
    """Judges a claimed sign.

    Args:
        direction: +1 if the effect is said to be above zero, -1 if below.
        smallest: the smallest effect that matters, in the unit of the effect.
        adjusted_p: the p value after the correction for the family; None if the claim stands alone.
        aim: the half-width at which one would stop.
    """
    if found is None or found.low is None or found.high is None or found.p is None:
        return Judged(Verdict.NOT_MEASURED)
    p = found.p if adjusted_p is None else adjusted_p
    within = -smallest <= found.low and found.high <= smallest
    if p < FAMILY_ERROR and (found.low > 0 or found.high < 0):
        as_claimed = (found.low > 0) == (direction > 0)
        return Judged(Verdict.SUPPORTED if as_claimed else Verdict.CONTRADICTED, p, small=within)
    if within:
        return Judged(Verdict.TOO_SMALL, p)
    return Judged(Verdict.UNDECIDED, p, found.runs_for(aim))

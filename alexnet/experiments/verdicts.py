"""What an interval says of a claim, in the same words everywhere."""

from dataclasses import dataclass
from enum import StrEnum

from alexnet.experiments.inference import Estimate

MATTERS = 0.01  # the smallest effect that matters if nothing else is said, as a share of the images: 1 point
AIM = 0.6  # the half-width that would decide, as a share of the smallest effect that matters
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


def in_words(judged: Judged, found: Estimate | None = None) -> str:
    """A verdict with what belongs to it: how many runs of the arm would make the interval narrow."""
    if judged.small:
        return "supported, and small" if judged.verdict == Verdict.SUPPORTED else "contradicted, and small"
    if judged.verdict != Verdict.UNDECIDED or found is None:
        return str(judged.verdict)
    excludes = found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)
    alone = f"; by itself the interval excludes 0, corrected p = {judged.adjusted_p or 0:.2f}" if excludes else ""
    if judged.seeds_needed is None:
        return f"undecided{alone}; more seeds cannot decide it, only more test images"
    if judged.seeds_needed <= found.counts[0]:
        return f"undecided{alone}, as narrow as was planned"
    return f"undecided{alone}; {judged.seeds_needed:,} seeds would do"

"""Whether the analysis can be trusted: runs of the base alone must not differ, and a planted effect must be found.

Also whether runs of one seed are alike in arm and base, in which case they should have been compared as pairs. All
of it uses the runs that there are and draws from them again and again. The same functions judge made-up runs in the
tests.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alexnet.experiments.distributions import clopper_pearson, student_p, student_t
from alexnet.experiments.inference import Sample, estimate
from alexnet.experiments.results import Row
from alexnet.experiments.samples import by_place, sample_of
from alexnet.recipes.ingredients import BASE
from studies.claims import measures
from studies.paper.evidence import ARMS

TIMES = 200
PLANTED = 0.01  # 1 point
LEAST = 12  # runs of the base on one machine
QUICK = (
    300  # draws of the bootstrap; the verdicts of two hundred comparisons do not hang on the last digit of an interval
)
PAIRINGS = 2000  # drawn at random, to see how far from zero chance takes a correlation


@dataclass(frozen=True)
class Checked:
    """How often a difference was found, of how many comparisons, and how often it should be."""

    found: int
    times: int
    expected: float

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's interval of the share found."""
        return clopper_pearson(self.found, self.times)


@dataclass(frozen=True)
class Paired:
    """How alike runs of one seed are in arm and base."""

    correlation: float  # of their errors, those of an arm about their mean, over all arms
    pairs: int
    chance: float  # share of random pairings whose correlation is as far from zero or farther, in (0, 1]


def same_seed(arms: Sequence[Mapping[int, float]], base: Mapping[int, float]) -> Paired:
    """Compares the errors of arms (seed -> error) with those of the base for the same seeds."""
    seeds = [np.array(sorted(arm.keys() & base.keys())) for arm in arms]
    errors = [np.array([arm[seed] for seed in own]) for arm, own in zip(arms, seeds, strict=True)]
    places = {seed: place for place, seed in enumerate(sorted(set().union(*seeds)))}
    where = [np.array([places[seed] for seed in own]) for own in seeds]
    rng = np.random.default_rng(3)
    of_base = np.array([base[seed] for seed in places])
    found = _correlation(errors, [of_base[own] for own in where])
    drawn = [
        _correlation(errors, [other[own] for own in where])
        for other in (rng.permutation(of_base) for _ in range(PAIRINGS))
    ]
    as_far = sum(abs(one) >= abs(found) for one in drawn)
    return Paired(found, sum(map(len, errors)), (1 + as_far) / (1 + PAIRINGS))


def _correlation(arms: Sequence[np.ndarray], bases: Sequence[np.ndarray]) -> float:
    arm = np.concatenate([errors - errors.mean() for errors in arms])
    base = np.concatenate([errors - errors.mean() for errors in bases])
    return float(arm @ base / np.sqrt((arm @ arm) * (base @ base)))


def base_against_base(by_image: np.ndarray, times: int = TIMES) -> Checked:
    """The base (runs, images) split at random in two: how often its halves are found to differ."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(times):
        order = rng.permutation(len(by_image))
        half = len(by_image) // 2
        found += _differs(by_image[order[:half]], by_image[order[half:]])
    return Checked(found, times, 0.05)


def planted(by_image: np.ndarray, effect: float = PLANTED, times: int = TIMES) -> Checked:
    """The base split in two, and in one half random images that were right made wrong: how often that is found.

    The power that is promised is that of a t test at the standard error which the split halves have without the plant.
    """
    rng = np.random.default_rng(2)
    found, powers = 0, []
    for _ in range(times):
        order = rng.permutation(len(by_image))
        half = len(by_image) // 2
        arm, rest = by_image[order[:half]].copy(), by_image[order[half:]]
        powers.append(_power(arm, rest, effect))
        for run in arm:
            right = np.flatnonzero(run == 0)
            run[rng.choice(right, round(effect * len(run)), replace=False)] = 1
        found += _differs(arm, rest)
    return Checked(found, times, float(np.mean(powers)))


def _differs(arm: np.ndarray, base: np.ndarray) -> bool:
    result = estimate([(Sample.of(arm), Sample.of(base))], draws=QUICK)
    return result is not None and not result.holds(0.0)


def _power(arm: np.ndarray, base: np.ndarray, effect: float) -> float:
    """About the share of t tests that find an effect: Student's distribution, shifted by the effect."""
    result = estimate([(Sample.of(arm), Sample.of(base))], draws=1)
    assert result is not None
    assert result.freedom is not None
    variance = sum(s / n for s, n in zip(result.spread, result.counts, strict=True)) + (result.of_images or 0.0)
    # flipped images differ from run to run: each adds the variance of an answer to that of its run
    variance += effect / arm.shape[1] / len(arm)
    reach = effect / math.sqrt(variance) - student_t(result.freedom)
    tail = student_p(reach, result.freedom) / 2
    return 1 - tail if reach > 0 else tail


def checked(rows: Sequence[Row]) -> tuple[Checked, Checked, Paired] | None:
    """The checks on the runs of the plan's study, on the machine with most runs; None while there are too few."""
    most = max(by_place([row for row in rows if row["variant"] in (BASE, *ARMS)]).values(), key=len, default=[])
    split = measures.split_of(most)
    variants = {arm: [row for row in most if row["variant"] == arm] for arm in (BASE, *ARMS)}
    base = sample_of(variants[BASE], split)
    if len(variants[BASE]) < LEAST or base.by_image is None:
        return None
    errors = {
        arm: dict(zip((row["seed"] for row in own), sample_of(own, split).values.tolist(), strict=True))
        for arm, own in variants.items()
        if len(own) > 1
    }
    paired = same_seed([errors[arm] for arm in ARMS if arm in errors], errors[BASE])
    return base_against_base(base.by_image), planted(base.by_image), paired


def in_words(rows: Sequence[Row]) -> str:
    """A paragraph for the page."""
    found = checked(rows)
    if found is None:
        return "Not measured yet: it takes runs of the base."
    *both, paired = found
    told = [f"{c.found} times of {c.times} ({100 * c.interval[0]:.0f} to {100 * c.interval[1]:.0f} %)" for c in both]
    return (
        f"The base against itself, split at random in two, differs {told[0]}; it should in 5 %. "
        f"An effect of 1 point planted in one half is found {told[1]}; it should be in {100 * both[1].expected:.0f} %. "
        f"The correlation of the errors of arm and base with one seed is {paired.correlation:+.2f} over {paired.pairs} "
        f"pairs, and those of {100 * paired.chance:.0f} % of random pairings are as far from zero or farther."
    )

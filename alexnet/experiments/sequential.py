"""An ablation that goes on until its intervals are narrow enough, and then says what is known.

Only the width of an interval decides whether a variant gets more seeds, never its sign or size, so the looks cost no
error rate but that of estimating the width. Runs are not paired: over seeds a variant and its base hardly correlate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from alexnet.errors import UsageError
from alexnet.experiments import results
from alexnet.experiments.distributions import student_t
from alexnet.experiments.inference import Estimate, estimate, holm
from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from alexnet.experiments.samples import blocks_of, views_of
from alexnet.experiments.verdicts import AIM, Judged, judge
from alexnet.recipes.ingredients import BASE, Variant

FIRST, MORE, MOST = 6, 2, 30  # seeds before the first look, between two looks, and at most


@dataclass(frozen=True)
class Decided:
    """What is known of a variant: that it adds to the error of the base is the claim."""

    variant: str
    found: Estimate | None
    judged: Judged


def check_until(until: float) -> None:
    """Refuses a half-width that no interval has.

    Raises:
        UsageError: E298.
    """
    if not 0 < until < 100:
        raise UsageError(
            f"--until {until:g}: the half-width of an interval in points is above 0 and below 100",
            fix="For example --until 0.6.",
            code="E298",
        )


def looked_at(rows: Sequence[Row], variant: Variant, seeds: int, views: int = 1) -> Estimate | None:
    """The effect of a variant by its first seeds, in [-1, 1]."""
    first = [row for row in rows if row["seed"] < seeds]
    base = [row for row in first if row["variant"] == BASE]
    split = results.reported_split(first)
    if variant.views != 1:
        return estimate(views_of(base, split, variant.views))
    return estimate(blocks_of([row for row in first if row["variant"] == variant.name], base, split, views))


def seeds_wanted(rows: Sequence[Row], variant: Variant, until: float, most: int, views: int = 1) -> int:
    """How many seeds a variant gets, by the rows that are there: two more while its interval is wide.

    Args:
        until: the half-width, in points.
    """
    have = {(row["variant"], row["seed"]) for row in rows}
    names = [BASE] if variant.views != 1 else [BASE, variant.name]
    seeds = min(FIRST, most)
    while seeds < most and all((name, seed) in have for name in names for seed in range(seeds)):
        found = looked_at(rows, variant, seeds, views)
        if found is None or found.half_width is None:
            break
        if found.half_width <= until / 100 or found.runs_for(until / 100) is None:
            break
        seeds = min(most, seeds + MORE)
    return seeds


def wanted(
    jobs: Sequence[Job], rows: Sequence[Row], variants: Sequence[Variant], until: float, most: int, views: int = 1
) -> list[Job]:
    """The runs of all looks so far and of the next, seed by seed; the base gets as many as any variant."""
    seeds = {variant.name: seeds_wanted(rows, variant, until, most, views) for variant in variants}
    seeds[BASE] = max(seeds.values(), default=min(FIRST, most))
    return [job for job in jobs if job.seed < seeds.get(job.variant, 0)]


def decide(rows: Sequence[Row], variants: Sequence[Variant], until: float, views: int = 1) -> list[Decided]:
    """Estimate and verdict of every variant, with Holm's correction over all of them.

    What matters is 1 / 0.6 of the half-width: then an interval around zero that is narrow enough lies within it.
    """
    found = {variant.name: looked_at(rows, variant, MOST * 1_000, views) for variant in variants}
    adjusted = holm({name: None if value is None else value.p for name, value in found.items()})
    aim = until / 100
    return [Decided(name, value, judge(value, 1, aim / AIM, adjusted[name], aim)) for name, value in found.items()]


def seeds_for(spread: float, until: float, most: int = 10_000) -> int:
    """How many seeds of base and variant give a half-width, both in points, for a standard deviation between seeds."""
    n = 2
    while n < most and student_t(2 * n - 2) * spread * math.sqrt(2 / n) > until:
        n += 1
    return n

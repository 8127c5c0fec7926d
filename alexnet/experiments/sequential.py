"""An ablation that goes on until its intervals are narrow enough.

Only the width of an interval decides whether a variant gets more seeds, never its sign or size, so the looks cost no
error rate but that of estimating the width.
"""

import math
from collections.abc import Sequence

from alexnet.errors import UsageError
from alexnet.experiments import results
from alexnet.experiments.ablation import added
from alexnet.experiments.distributions import student_t
from alexnet.experiments.inference import Estimate
from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from alexnet.recipes.ingredients import BASE, Variant

FIRST, MORE, MOST = 6, 2, 30  # seeds before the first look, between two looks, and at most


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
    return added(first, variant, "top1_error", results.reported_split(first), views)


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


def seeds_for(spread: float, until: float, most: int = 10_000) -> int:
    """How many seeds of base and variant give a half-width, both in points, for a standard deviation between seeds."""
    n = 2
    while n < most and student_t(2 * n - 2) * spread * math.sqrt(2 / n) > until:
        n += 1
    return n

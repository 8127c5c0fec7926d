"""Computes what each ingredient is worth: paired differences of variants over the rows of a results file."""

from collections.abc import Sequence
from dataclasses import dataclass

from alexnet.errors import UsageError
from alexnet.evaluation.intervals import Interval, mean_interval
from alexnet.experiments import results
from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from alexnet.recipes.ingredients import BASE, BY_NAME, Ingredient, Points, Variant

MEASURES = ("top1_error", "top5_error", "train_error")


@dataclass(frozen=True)
class Effect:
    """The change of error of a variant against the base, over the seeds that both have; positive is worse."""

    variant: str
    seeds: tuple[int, ...]
    differences: dict[str, Interval]  # measure in MEASURES -> paired difference, in [-1, 1]; absent if not measured
    diverged: int  # number of runs of the variant that diverged
    same_start: float | None  # share of the parameter tensors with the same initial weights as in the base
    ingredient: Ingredient | None  # published facts about the change, if it is a known ingredient


def jobs_of(
    data: str,
    base: str,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    common: Sequence[str] = (),
    **options: object,
) -> list[Job]:
    """Lists the runs of an ablation, seed by seed, so that an unfinished ablation can already be compared.

    Args:
        common: changes of the base for every run.
        options: further fields of Job.
    """
    if not seeds:
        raise UsageError("--seeds 0: nothing to run", fix="--seeds 3 runs seeds 0, 1 and 2.", code="E298")
    trained = [Variant(BASE, ()), *(v for v in variants if v.views == 1)]
    return [
        Job(data, base, v.name, (*common, *v.changes), seed, **options)  # type: ignore[arg-type]
        for seed in seeds
        for v in trained
    ]


def effects(rows: Sequence[Row], variants: Sequence[Variant], split: str, views: int = 1) -> list[Effect]:
    """Computes the effect of every variant that has rows.

    Args:
        rows: rows of one base and one dataset, including the variant `base`.
        split: the split whose top-1 and top-5 errors are compared; train_error is on the training images, evaluated
            like test images.
        views: number of views, except for variants that are an evaluation with another number.
    """
    base = {row["seed"]: row for row in rows if row["variant"] == BASE and row["results"]}
    out = []
    for variant in variants:
        tested_views = views if variant.views == 1 else variant.views
        with_variant = {row["seed"]: row for row in rows if row["variant"] == variant.name}
        tested = with_variant if variant.views == 1 else base
        diverged = sum(row["outcome"] == "diverged" for row in tested.values())
        seeds = tuple(sorted(seed for seed in tested if seed in base and tested[seed]["results"]))
        differences = {}
        for measure in MEASURES:
            values = []
            for seed in seeds:
                new = _error(tested[seed], measure, split, tested_views)
                old = _error(base[seed], measure, split, views)
                if new is not None and old is not None:
                    values.append(new - old)
            if values:
                differences[measure] = mean_interval(values)
        shares = [_same_start(tested[seed], base[seed]) for seed in seeds]
        if tested:
            ingredient = BY_NAME.get(variant.name)
            share = sum(shares) / len(shares) if shares else None
            out.append(Effect(variant.name, seeds, differences, diverged, share, ingredient))
    return out


def unchanged(jobs: Sequence[Job], keys: Sequence[str]) -> list[str]:
    """Returns the variants that equal the base, because the base already has that ingredient."""
    base = {key for job, key in zip(jobs, keys, strict=True) if job.variant == BASE}
    return sorted({j.variant for j, key in zip(jobs, keys, strict=True) if j.variant != BASE and key in base})


def rows_for(rows: Sequence[Row], jobs: Sequence[Job], keys: Sequence[str]) -> list[Row]:
    """Returns the row of each finished job, with the variant name of the job; in the order of the jobs."""
    by_key = {results.row_key(row): row for row in rows}
    return [{**by_key[key], "variant": job.variant} for job, key in zip(jobs, keys, strict=True) if key in by_key]


def _error(row: Row, measure: str, split: str, views: int) -> float | None:
    if measure == "train_error":
        return results.error(row, "top1_error", "train")
    return results.error(row, measure, split, views)


def _same_start(row: Row, base: Row) -> float:
    hashes, base_hashes = row["start_values"], base["start_values"]
    return sum(1 for name, value in hashes.items() if base_hashes.get(name) == value) / max(1, len(hashes))


def interval(value: Interval | None) -> str:
    """Formats a difference in [-1, 1] as percentage points with its confidence interval."""
    if value is None:
        return "-"
    text = f"{100 * value.mean:+.1f}"
    if value.low is None or value.high is None:
        return text
    return f"{text} [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"


def claimed(points: Points | None) -> str:
    """Formats published percentage points: top-1 / top-5."""
    if points is None:
        return ""
    return " / ".join(f"{p:+g}" if p else "0" for p in (points.top1, points.top5) if p is not None)


def remarks(effect: Effect) -> str:
    """Returns what a reader must know besides the numbers."""
    texts = []
    if effect.diverged:
        texts.append(f"{effect.diverged} diverged")
    if effect.same_start is not None and effect.same_start < 1:
        texts.append(f"{100 * effect.same_start:.0f} % of the tensors have the same initial weights")
    return "; ".join(texts)

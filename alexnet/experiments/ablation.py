"""What each ingredient is worth: the paired effects of variants over the rows of a results file."""

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
    """What a variant adds to the errors of the base, over the seeds that both have; positive is worse."""

    variant: str
    seeds: tuple[int, ...]
    differences: dict[str, Interval]  # measure of MEASURES -> paired difference, in [-1, 1]; absent if not measured
    diverged: int  # runs of the variant that gave no network
    same_start: float | None  # share of the learned tensors that start from the same values as in the base
    ingredient: Ingredient | None  # what is known of it, where it is one


def jobs_of(
    data: str,
    base: str,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    common: Sequence[str] = (),
    **options: object,
) -> list[Job]:
    """The runs of an ablation, seed by seed, so that a part of them compares something too.

    Args:
        common: changes of the base that hold for every run.
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


def effects(found: Sequence[Row], variants: Sequence[Variant], split: str, views: int = 1) -> list[Effect]:
    """The effect of every variant that has rows.

    Args:
        found: rows of one base and one set of pictures, the variant `base` among them.
        split: whose top-1 and top-5 errors are compared; train_error is of the training pictures, looked at as test
            pictures are.
        views: with which, but for variants that are an evaluation with others.
    """
    base = {row["seed"]: row for row in found if row["variant"] == BASE and row["results"]}
    out = []
    for variant in variants:
        looked = views if variant.views == 1 else variant.views
        own = {row["seed"]: row for row in found if row["variant"] == variant.name}
        mine = own if variant.views == 1 else base
        diverged = sum(row["outcome"] == "diverged" for row in mine.values())
        seeds = tuple(sorted(seed for seed in mine if seed in base and mine[seed]["results"]))
        differences = {}
        for measure in MEASURES:
            values = []
            for seed in seeds:
                new, old = _figure(mine[seed], measure, split, looked), _figure(base[seed], measure, split, views)
                if new is not None and old is not None:
                    values.append(new - old)
            if values:
                differences[measure] = mean_interval(values)
        shares = [_same_start(mine[seed], base[seed]) for seed in seeds]
        if mine:
            known = BY_NAME.get(variant.name)
            share = sum(shares) / len(shares) if shares else None
            out.append(Effect(variant.name, seeds, differences, diverged, share, known))
    return out


def unchanged(jobs: Sequence[Job], keys: Sequence[str]) -> list[str]:
    """Variants that are the base itself, because it has that ingredient already."""
    base = {key for job, key in zip(jobs, keys, strict=True) if job.variant == BASE}
    return sorted({j.variant for j, key in zip(jobs, keys, strict=True) if j.variant != BASE and key in base})


def rows_for(found: Sequence[Row], jobs: Sequence[Job], keys: Sequence[str]) -> list[Row]:
    """The row of each job that is done, under the job's own name; in the order of the jobs."""
    by_key = {results.row_key(row): row for row in found}
    return [{**by_key[key], "variant": job.variant} for job, key in zip(jobs, keys, strict=True) if key in by_key]


def _figure(row: Row, measure: str, split: str, views: int) -> float | None:
    if measure == "train_error":
        return results.error(row, "top1_error", "train")
    return results.error(row, measure, split, views)


def _same_start(row: Row, base: Row) -> float:
    mine, theirs = row["start_values"], base["start_values"]
    return sum(1 for name, value in mine.items() if theirs.get(name) == value) / max(1, len(mine))


def interval(value: Interval | None) -> str:
    """A difference in [-1, 1] as points with its interval."""
    if value is None:
        return "-"
    text = f"{100 * value.mean:+.1f}"
    if value.low is None or value.high is None:
        return text
    return f"{text} [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"


def claimed(points: Points | None) -> str:
    """Published points: top-1 / top-5."""
    if points is None:
        return ""
    return " / ".join(f"{p:+g}" if p else "0" for p in (points.top1, points.top5) if p is not None)


def remarks(effect: Effect) -> str:
    """What a reader must know beside the figures."""
    said = []
    if effect.diverged:
        said.append(f"{effect.diverged} diverged")
    if effect.same_start is not None and effect.same_start < 1:
        said.append(f"{100 * effect.same_start:.0f} % of the tensors start alike")
    return "; ".join(said)

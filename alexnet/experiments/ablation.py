"""Computes what each ingredient is worth: what variants add to the errors of their base, by the rows of their runs.

Runs with one seed are no pairs: their errors hardly correlate (studies/PLAN.md), and an interval of pairs is wider.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from alexnet.errors import UsageError
from alexnet.experiments import results
from alexnet.experiments.inference import Estimate, estimate, holm
from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from alexnet.experiments.samples import blocks_of, by_place, changes_of, values_of, views_of
from alexnet.experiments.verdicts import AIM, MATTERS, Judged, in_words, judge
from alexnet.recipes.ingredients import BASE, BY_NAME, Ingredient, Points, Variant

MEASURES = ("top1_error", "top5_error", "train_error")


@dataclass(frozen=True)
class Effect:
    """What a variant adds to the errors of the base, and what is known of it; positive is worse."""

    variant: str
    found: dict[str, Estimate]  # measure in MEASURES -> what is added, in [-1, 1]; absent if not measured
    judged: Judged  # the claim is the sign of 2012 where there is one, else that the variant adds to the top-1 error
    diverged: int  # number of runs of the variant that diverged
    same_start: float | None  # share of the parameter tensors with the same initial weights as in the base
    ingredient: Ingredient | None  # published facts about the change, if it is a known ingredient
    apart: bool = False  # whether there are runs of both, on no machine and in no precision that both share


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


def effects(
    rows: Sequence[Row], variants: Sequence[Variant], split: str, views: int = 1, matters: float = 100 * MATTERS
) -> list[Effect]:
    """Computes the effect of every variant, with verdicts that are corrected for their number (Holm).

    Args:
        rows: rows of one base and one dataset, including the variant `base`.
        split: the split whose top-1 and top-5 errors are compared; train_error is on the training images, evaluated
            like test images.
        views: number of views, except for variants that are an evaluation with another number.
        matters: the smallest effect that matters, in points; a half-width of 0.6 of it decides.
    """
    found: dict[str, dict[str, Estimate]] = {}
    for variant in variants:
        values = {measure: added(rows, variant, measure, split, views) for measure in MEASURES}
        found[variant.name] = {measure: value for measure, value in values.items() if value is not None}
    top1 = {name: measures.get("top1_error") for name, measures in found.items()}
    adjusted = holm({name: None if value is None else value.p for name, value in top1.items()})
    smallest = matters / 100
    base = {row["seed"]: row for row in rows if row["variant"] == BASE}
    out = []
    for variant in variants:
        mine = base if variant.views != 1 else {row["seed"]: row for row in rows if row["variant"] == variant.name}
        shares = [_same_start(row, base[seed]) for seed, row in mine.items() if seed in base]
        out.append(
            Effect(
                variant.name,
                found[variant.name],
                judge(top1[variant.name], _sign(variant.name), smallest, adjusted[variant.name], AIM * smallest),
                sum(row["outcome"] == "diverged" for row in mine.values()),
                sum(shares) / len(shares) if shares else None,
                BY_NAME.get(variant.name),
                variant.views == 1 and _apart(rows, variant.name),
            )
        )
    return out


def _apart(rows: Sequence[Row], variant: str) -> bool:
    """Whether a variant and the base have runs, and no machine and precision computed some of each."""
    mine, base = (by_place([row for row in rows if row["variant"] == name]).keys() for name in (variant, BASE))
    return bool(mine and base) and mine.isdisjoint(base)


def added(rows: Sequence[Row], variant: Variant, measure: str, split: str, views: int = 1) -> Estimate | None:
    """What a variant adds to a measure of the base, in [-1, 1]; more views, to that of one view of the same networks.

    A run that diverged counts with chance in the top-1 error, and is left out of the other measures.
    """
    base = [row for row in rows if row["variant"] == BASE]
    mine = [row for row in rows if row["variant"] == variant.name]
    if measure == "top1_error":
        return estimate(
            blocks_of(mine, base, split, views) if variant.views == 1 else views_of(base, split, variant.views)
        )
    if variant.views == 1:
        return estimate(values_of(mine, base, lambda row: _error(row, measure, split, views)))
    return estimate(changes_of(base, lambda row: _gain(row, measure, split, variant.views)))


def unchanged(jobs: Sequence[Job], keys: Sequence[str]) -> list[str]:
    """Returns the variants that equal the base, because the base already has that ingredient."""
    base = {key for job, key in zip(jobs, keys, strict=True) if job.variant == BASE}
    return sorted({j.variant for j, key in zip(jobs, keys, strict=True) if j.variant != BASE and key in base})


def rows_for(rows: Sequence[Row], jobs: Sequence[Job], keys: Sequence[str]) -> list[Row]:
    """Returns the row of each finished job, with the variant name of the job; in the order of the jobs."""
    by_key = {results.row_key(row): row for row in rows}
    return [{**by_key[key], "variant": job.variant} for job, key in zip(jobs, keys, strict=True) if key in by_key]


def _sign(name: str) -> int:
    points = in_2012(BY_NAME.get(name))
    return -1 if points is not None and points < 0 else 1


def _error(row: Row, measure: str, split: str, views: int) -> float | None:
    if measure == "train_error":
        return results.error(row, "top1_error", "train")
    return results.error(row, measure, split, views)


def _gain(row: Row, measure: str, split: str, views: int) -> float | None:
    many, one = (None if measure == "train_error" else results.error(row, measure, split, n) for n in (views, 1))
    return None if many is None or one is None else many - one


def _same_start(row: Row, base: Row) -> float:
    hashes, base_hashes = row["start_values"], base["start_values"]
    return sum(1 for name, value in hashes.items() if base_hashes.get(name) == value) / max(1, len(hashes))


def interval(value: Estimate | None) -> str:
    """Formats a difference in [-1, 1] as percentage points with its confidence interval."""
    if value is None:
        return "-"
    text = f"{100 * value.effect:+z.1f}"
    if value.low is None or value.high is None:
        return text
    return f"{text} [{100 * value.low:+z.1f}, {100 * value.high:+z.1f}]"


def counts(effect: Effect) -> str:
    """How many runs an effect is of: of the variant / of the base, or those of the base alone."""
    value = effect.found.get("top1_error")
    return "" if value is None else " / ".join(map(str, value.counts))


def one_run(effect: Effect) -> bool:
    """Whether the top-1 error has no interval, because it is of one run."""
    value = effect.found.get("top1_error")
    return value is not None and value.low is None


def verdict(effect: Effect) -> str:
    """What is known of the top-1 error, in words."""
    return in_words(effect.judged, effect.found.get("top1_error"))


def in_2012(ingredient: Ingredient | None) -> float | None:
    """The points of top-1 error that an ingredient adds by the paper, else by its notebook."""
    published = (ingredient.paper or ingredient.notebook) if ingredient else None
    return None if published is None else published.top1


def claimed(points: Points | None) -> str:
    """Formats published percentage points: top-1 / top-5."""
    if points is None:
        return ""
    return " / ".join(f"{p:+g}" if p else "0" for p in (points.top1, points.top5) if p is not None)


def remarks(effect: Effect) -> str:
    """Returns what a reader must know besides the numbers."""
    texts = []
    if effect.apart:
        texts.append(
            f"base and {effect.variant} were computed on different machines or in different precision, and are not "
            "compared: run one of them again where the other ran"
        )
    if effect.diverged:
        texts.append(f"{effect.diverged} diverged")
    if effect.same_start is not None and effect.same_start < 1:
        texts.append(f"{100 * effect.same_start:.0f} % of the tensors have the same initial weights")
    return "; ".join(texts)

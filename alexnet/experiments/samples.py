"""From rows of results to samples: the runs of each arm by machine and precision, with their answers to the images."""

from collections.abc import Callable, Sequence

import numpy as np

from alexnet.experiments import results
from alexnet.experiments.answers import wrong_of
from alexnet.experiments.inference import Block, Sample
from alexnet.experiments.results import Row

Place = tuple[str, str]


def place_of(row: Row) -> Place:
    """What computed a run: the card or the model of the processor, and the precision. Rounding differs between them."""
    facts = row.get("environment") or {}
    machine = facts.get("card") or facts.get("processor") or "unknown"
    return str(machine), str(row["settings"].get("precision", "float32"))


def chance_error(row: Row) -> float:
    """The error of a network that answers at random: what a run that diverged counts with."""
    return 1 - 1 / int(row["data"]["classes"])


def sample_of(rows: Sequence[Row], split: str, views: int = 1) -> Sample:
    """The top-1 errors of runs, and if every row has them, on every image; those that diverged count with chance."""
    answers = [_answers(row, split, views) for row in rows]
    known = [a for a in answers if a is not None]
    if rows and len(known) == len(rows) and len({len(a) for a in known}) == 1:
        return Sample.of(np.stack(known))
    errors = [results.error(row, "top1_error", split, views) if row["results"] else chance_error(row) for row in rows]
    return Sample(np.array([e for e in errors if e is not None], np.float64))


def _answers(row: Row, split: str, views: int) -> np.ndarray | None:
    if not row["results"]:
        return np.full(row["data"]["pictures"][split], chance_error(row), np.float32)
    found = wrong_of(row, split, views)
    return None if found is None else found.astype(np.float32)


def by_place(rows: Sequence[Row]) -> dict[Place, list[Row]]:
    """Machine and precision -> rows, in their order."""
    out: dict[Place, list[Row]] = {}
    for row in rows:
        out.setdefault(place_of(row), []).append(row)
    return out


def blocks_of(arm: Sequence[Row], base: Sequence[Row], split: str, views: int = 1) -> list[Block]:
    """A block for each place that has runs of both."""
    mine, theirs = by_place(arm), by_place(base)
    return [
        (sample_of(mine[place], split, views), sample_of(theirs[place], split, views))
        for place in mine
        if place in theirs
    ]


def values_of(arm: Sequence[Row], base: Sequence[Row], value: Callable[[Row], float | None]) -> list[Block]:
    """The same of any other figure of a run; runs without it are left out, and images are not drawn."""
    mine, theirs = by_place(arm), by_place(base)
    return [(_figures(mine[place], value), _figures(theirs[place], value)) for place in mine if place in theirs]


def changes_of(rows: Sequence[Row], value: Callable[[Row], float | None]) -> list[Block]:
    """A figure of each run that is a difference by itself: one sample in each block."""
    return [(_figures(mine, value),) for mine in by_place(rows).values()]


def _figures(rows: Sequence[Row], value: Callable[[Row], float | None]) -> Sample:
    found = [value(row) for row in rows]
    return Sample(np.array([v for v in found if v is not None], np.float64))


def views_of(base: Sequence[Row], split: str, views: int) -> list[Block]:
    """What more views add to the error of one, on the same networks: one sample in each block."""
    out: list[Block] = []
    for rows in by_place([row for row in base if row["results"]]).values():
        many, one = sample_of(rows, split, views), sample_of(rows, split)
        if many.count != one.count:
            continue
        if many.by_image is not None and one.by_image is not None:
            out.append((Sample(many.values - one.values, many.by_image - one.by_image),))
        else:
            out.append((Sample(many.values - one.values),))
    return out

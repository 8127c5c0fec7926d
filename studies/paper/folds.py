"""Cross-validation: the rows of the folds of a repetition are one run, whose error is that over all images."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alexnet.experiments import results
from alexnet.experiments.inference import Estimate, Sample, estimate
from alexnet.experiments.results import Row
from alexnet.experiments.samples import Place, chance_error, place_of
from alexnet.recipes.ingredients import BASE

FOLDS = 5


def effect(found: Sequence[Row], variant: str, base: str = BASE) -> Estimate | None:
    """What a variant adds to the error of the base, over whole repetitions; their images are not drawn.

    A repetition that one machine began and another ended is one of the first, so that no fold is lost.
    """
    mine, theirs = (_by_place([row for row in found if row["variant"] == name]) for name in (variant, base))
    return estimate([(Sample(mine[place]), Sample(theirs[place])) for place in mine if place in theirs])


def _by_place(rows: Sequence[Row]) -> dict[Place, NDArray[np.float64]]:
    """Where a repetition began -> the error of each over all images."""
    by_seed: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_seed[row["seed"]].append(row)
    errors: dict[Place, list[float]] = defaultdict(list)
    for folds in by_seed.values():
        if len(folds) == FOLDS:
            images = [row["data"]["pictures"]["val"] for row in folds]
            errors[place_of(folds[0])].append(float(np.average([_error(row) for row in folds], weights=images)))
    return {place: np.array(values, np.float64) for place, values in errors.items()}


def _error(row: Row) -> float:
    error = results.error(row, "top1_error", "val") if row["results"] else chance_error(row)
    assert error is not None
    return error

"""Cross-validation: the rows of the folds of a repetition are one run, whose error is that over all images."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from alexnet.experiments import results
from alexnet.experiments.inference import Estimate, Sample, estimate
from alexnet.experiments.results import Row
from alexnet.experiments.samples import by_place, chance_error
from alexnet.recipes.ingredients import BASE

FOLDS = 5


def effect(found: Sequence[Row], variant: str, base: str = BASE) -> Estimate | None:
    """What a variant adds to the error of the base, over whole repetitions; their images are not drawn."""
    mine, theirs = (by_place([row for row in found if row["variant"] == name]) for name in (variant, base))
    return estimate([(_repetitions(mine[place]), _repetitions(theirs[place])) for place in mine if place in theirs])


def _repetitions(rows: Sequence[Row]) -> Sample:
    by_seed: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_seed[row["seed"]].append(row)
    errors = []
    for folds in by_seed.values():
        if len(folds) == FOLDS:
            images = [row["data"]["pictures"]["val"] for row in folds]
            errors.append(float(np.average([_error(row) for row in folds], weights=images)))
    return Sample(np.array(errors, np.float64))


def _error(row: Row) -> float:
    error = results.error(row, "top1_error", "val") if row["results"] else chance_error(row)
    assert error is not None
    return error

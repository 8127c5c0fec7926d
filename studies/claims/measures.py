"""What the rows of the studies say, as estimates: the effects, races and gains that figures and claims are made of."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet.experiments import results
from alexnet.experiments.inference import Estimate, estimate
from alexnet.experiments.races import Ratio, Run, ratio
from alexnet.experiments.results import Row
from alexnet.experiments.samples import blocks_of, by_place, values_of, views_of
from alexnet.recipes.ingredients import BASE

Rows = Sequence[Row]
Studies = Mapping[str, Rows]

NAMES = (
    *("evidence_cifar", "figure_1", "lrn_cifar", "ingredients_photos", "ten_views", "overfitting", "will_it_train"),
    *("lenet_alexnet", "ensemble", "dropout_iterations", "which_train", "photos_folds"),
)


def load(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """study -> its rows, in the order of NAMES; empty where nothing was run yet."""
    return {name: results.read(folder / f"{name}.jsonl") for name in NAMES}


def split_of(found: Rows) -> str:
    """The split that a study reports."""
    return results.reported_split([row for row in found if row.get("results")])


def arm_and_base(found: Rows, variant: str, base: str = BASE) -> tuple[list[Row], list[Row]]:
    """The rows of a variant, and those that it is compared with."""
    return [row for row in found if row["variant"] == variant], [row for row in found if row["variant"] == base]


def effect(found: Rows, variant: str, recipe: str | None = None, base: str = BASE) -> Estimate | None:
    """What a variant adds to the top-1 error of the base, in [-1, 1]; runs are not pairs.

    Args:
        recipe: only the rows of this recipe.
    """
    mine, theirs = arm_and_base([row for row in found if recipe in (None, row["base"])], variant, base)
    return estimate(blocks_of(mine, theirs, split_of([*mine, *theirs])))


def difference(found: Rows, variant: str, value: Callable[[Row], float | None], base: str = BASE) -> Estimate | None:
    """The difference of any figure of the finished runs of a variant and the base."""
    mine, theirs = arm_and_base([row for row in found if row["results"]], variant, base)
    return estimate(values_of(mine, theirs, value))


def ten_views(found: Rows) -> Estimate | None:
    """What ten views add to the error of one, on the same networks of one variant."""
    return estimate(views_of(found, split_of(found), 10))


def view_gains(studies: Studies) -> dict[str, Estimate]:
    """ "base, variant (study)" -> what ten views add to the error of one, for every network that was looked at so."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for study, found in studies.items():
        for row in found:
            if row.get("results") and row.get("seed") is not None:
                groups[f"{row['base']}, {row['variant']} ({study})"].append(row)
    gains = {name: ten_views(mine) for name, mine in groups.items()}
    return {name: found for name, found in gains.items() if found is not None}


def races(found: Rows, of: str = "variant") -> dict[str, list[Run]]:
    """Sort -> its runs: the epochs to the training error that they were to reach, or those that they were given.

    Args:
        of: the field of a row that says which sort it is.
    """
    out: dict[str, list[Run]] = defaultdict(list)
    for row in found:
        error = row["until_train_error"]
        if error is not None:
            reached = [e["epoch"] for e in row["curve"] if e["train_top1_error"] <= error]
            given = int(row["settings"]["epochs"])
            out[row[of]].append(Run(reached[0], True) if reached else Run(given, False))
    return dict(out)


def race_ratio(found: Rows, slow: str, fast: str = "relu") -> Ratio | None:
    """How many times as many epochs `slow` needs to the training error of Figure 1."""
    times = races(found)
    return ratio(times.get(slow, []), times.get(fast, []))


def dropout_ratio(found: Rows) -> Ratio | None:
    """How many times as many epochs dropout needs to half of the first training loss, looked at without it."""
    sorts: dict[str, list[Run]] = defaultdict(list)
    for row in found:
        goal = math.log(row["data"]["classes"]) / 2
        reached = [e["epoch"] for e in row["curve"] if e["val_loss"] <= goal]
        sorts[row["variant"]].append(Run(reached[0], True) if reached else Run(int(row["settings"]["epochs"]), False))
    return ratio(sorts[BASE], sorts["no-dropout"])


def places(found: Rows) -> list[str]:
    """The machines and precisions of rows."""
    return [", ".join(place) for place in by_place(found)]


def uncommitted(found: Rows) -> int:
    """How many rows were made by sources that were not committed as they were."""
    return sum(str(row.get("commit")).endswith("-dirty") for row in found)


def overfit(row: Row) -> float | None:
    """Held-out error less training error at the end, both looked at as test images are; in [-1, 1]."""
    held_out, own = (results.error(row, "top1_error", split) for split in (split_of([row]), "train"))
    return None if held_out is None or own is None else held_out - own


def train_error(row: Row) -> float | None:
    """The error on the training images at the end, looked at as test images are; in [0, 1]."""
    return results.error(row, "top1_error", "train")


def first_loss(row: Row) -> float | None:
    """The training loss of the first epoch."""
    return float(row["curve"][0]["train_loss"]) if row["curve"] else None

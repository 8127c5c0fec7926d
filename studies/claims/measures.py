"""What the rows of the studies say, as numbers: the effects, races and gains that figures and claims are made of."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet.evaluation.intervals import Interval, mean_interval
from alexnet.experiments import results
from alexnet.experiments.ablation import Effect, effects
from alexnet.experiments.results import Row
from alexnet.recipes.ingredients import BASE, Variant

Rows = Sequence[Row]
Studies = Mapping[str, Rows]

NAMES = (
    *("figure_1", "lrn_cifar", "ingredients_cifar", "ingredients_photos", "ten_views", "overfitting", "will_it_train"),
    *("lenet_alexnet", "ensemble"),
)


def load(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """study -> its rows, in the order of NAMES; empty where nothing was run yet."""
    return {name: results.read(folder / f"{name}.jsonl") for name in NAMES}


def split_of(found: Rows) -> str:
    """The split that a study reports."""
    return results.reported_split([row for row in found if row.get("results")])


def effects_of(found: Rows, base: str | None = None) -> list[Effect]:
    """The paired effects of a study's variants, in the order of their first rows; ten views last.

    Args:
        base: only the rows of this recipe.
    """
    mine = [row for row in found if base is None or row["base"] == base]
    names = dict.fromkeys(row["variant"] for row in mine if row["variant"] != BASE)
    variants = [Variant(name, tuple()) for name in names]
    if any(results.error(row, "top1_error", split_of(mine), 10) is not None for row in mine):
        variants.append(Variant("ten-views", (), views=10))
    return effects(mine, variants, split_of(mine))


def effect(found: Rows, variant: str, base: str | None = None) -> Effect | None:
    """The effect of one variant, or None."""
    return next((e for e in effects_of(found, base) if e.variant == variant), None)


def races(found: Rows) -> dict[str, dict[int, tuple[int, bool]]]:
    """figure_1: activation -> seed -> (epochs to the training error, whether it was reached).

    One that never got there, or diverged, counts with one epoch more than it was given: at least so many.
    """
    out: dict[str, dict[int, tuple[int, bool]]] = defaultdict(dict)
    for row in found:
        error = row["until_train_error"]
        if error is None:
            continue
        reached = [e["epoch"] for e in row["curve"] if e["train_top1_error"] <= error]
        cap = int(row["settings"]["epochs"])
        out[row["variant"]][row["seed"]] = (reached[0], True) if reached else (cap + 1, False)
    return dict(out)


def race_ratio(found: Rows, slow: str, fast: str = "relu") -> tuple[Interval, bool] | None:
    """How many times as many epochs `slow` needs: the geometric mean and its interval, and whether all got there."""
    times = races(found)
    seeds = sorted(set(times.get(slow, {})) & set(times.get(fast, {})))
    if not seeds:
        return None
    logs = mean_interval([math.log(times[slow][s][0] / times[fast][s][0]) for s in seeds])
    ends = [None if end is None else math.exp(end) for end in (logs.low, logs.high)]
    exact = all(times[name][s][1] for name in (slow, fast) for s in seeds)
    return Interval(math.exp(logs.mean), *ends, logs.count), exact


def view_gains(studies: Studies) -> dict[str, dict[str, Interval]]:
    """ "base, variant (study)" -> measure -> what ten views add to the error of one, over the seeds of that network."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for study, found in studies.items():
        for row in found:
            if row.get("results") and row.get("seed") is not None:
                groups[f"{row['base']}, {row['variant']} ({study})"].append(row)
    out: dict[str, dict[str, Interval]] = {}
    for name, mine in groups.items():
        split = split_of(mine)
        for measure in ("top1_error", "top5_error"):
            pairs = [(results.error(r, measure, split, 10), results.error(r, measure, split, 1)) for r in mine]
            values = [ten - one for ten, one in pairs if ten is not None and one is not None]
            if values:
                out.setdefault(name, {})[measure] = mean_interval(values)
    return out


def paired(found: Rows, variant: str, value: Any, base: str = BASE) -> Interval | None:
    """The paired difference of any figure: `value(row)` of a variant less that of the base, over common seeds."""
    mine = {row["seed"]: row for row in found if row["variant"] == variant and row["results"]}
    theirs = {row["seed"]: row for row in found if row["variant"] == base and row["results"]}
    seeds = sorted(set(mine) & set(theirs))
    return mean_interval([value(mine[s]) - value(theirs[s]) for s in seeds]) if seeds else None


def overfit(row: Row) -> float:
    """Held-out error less training error at the end, both looked at as test images are; in [-1, 1]."""
    held_out, own = (results.error(row, "top1_error", split) for split in (split_of([row]), "train"))
    assert held_out is not None
    assert own is not None
    return held_out - own


def rise(row: Row) -> float:
    """How far the held-out error at the end lies above its lowest value on the way; in [0, 1]."""
    errors = [epoch["val_top1_error"] for epoch in row["curve"] if "val_top1_error" in epoch]
    return float(errors[-1] - min(errors))


def first_loss(row: Row) -> float:
    """The training loss of the first epoch."""
    return float(row["curve"][0]["train_loss"])

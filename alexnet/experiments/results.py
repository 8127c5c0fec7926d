"""The results file: one JSON object per line and run, with everything needed to repeat the run and to judge it.

A row contains the recipe (the fields that differ from the defaults, and the sha256 of all fields), the seed, the
fingerprint of the dataset, machine, versions, commit, the metrics of every epoch and the final errors, in [0, 1]. Rows
are only appended. A run is identified by its recipe and dataset, not by its name, so the same run is never done twice.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alexnet.recipes.recipe import Recipe, differences
from alexnet.storage.files import read_rows

Row = Mapping[str, Any]
Place = tuple[str, str | None]  # what computed a run: cpu, cuda or mps, and the name of the card
CPU: Place = ("cpu", None)


def settings(recipe: Recipe) -> dict[str, Any]:
    """Returns the fields in which a recipe differs from the default recipe, without its name.

    The result stays the same when a later version adds a field whose default changes nothing.
    """
    changed = {field: value for field, (_, value) in differences(recipe, Recipe()).items() if field != "name"}
    return dict(json.loads(json.dumps(changed)))


def recipe_sha256(recipe: Recipe) -> str:
    """Computes the sha256 of all fields except the name, defaults included."""
    values = asdict(recipe)
    del values["name"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def key_of(recipe: Recipe, fingerprint: str, until: float | None = None, place: Place = CPU) -> str:
    """Identifies a run: its settings, its dataset, the training error at which it may stop, and its place.

    The settings hold the precision. What a CPU computed has the key that it had when there was nothing else.
    """
    return _key(settings(recipe), fingerprint, until, place)


def row_key(row: Row) -> str:
    """Computes the same key for a row."""
    facts = row.get("environment", {})
    place = (facts.get("device", "cpu"), facts.get("card"))
    return _key(row["settings"], row["data"]["fingerprint"], row.get("until_train_error"), place)


def _key(values: Mapping[str, Any], fingerprint: str, until: float | None, place: Place) -> str:
    parts = [values, fingerprint, until, *(() if place[0] == "cpu" else place)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a results file in order; none if there is no file. Lines broken by a crash are left out."""
    return read_rows(path)[0]


def command(base: str, changes: Sequence[str], seed: int, labels: Path | None = None) -> str:
    """Returns the command that repeats a run; DATA stands for the folder of the images."""
    table = ["--labels", str(labels)] * (labels is not None)
    return shlex.join(["alexnet", "train", "DATA", "--recipe", base, *table, *changes, f"seed={seed}"])


def error(row: Row, measure: str, split: str, views: int = 1) -> float | None:
    """Returns a measured value of a row, or None if it was not measured.

    Args:
        measure: top1_error or top5_error, in [0, 1], or log_loss.
    """
    values = row.get("results", {}).get(split, {}).get(str(views), {})
    value = values.get(measure)
    return None if value is None else float(value)


def reported_split(rows: Iterable[Row]) -> str:
    """Returns the split that tables report: test if every finished row has it, else val, else train."""
    splits_of_rows = [set(row["results"]) for row in rows if row.get("results")]
    return next(
        (name for name in ("test", "val") if splits_of_rows and all(name in splits for splits in splits_of_rows)),
        "train",
    )

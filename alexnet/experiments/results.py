"""The results file: one JSON object a line and run, complete enough to repeat the run and to judge it.

A row holds the recipe (only where it differs from the default record, and the sha256 of the whole), the seed, the
fingerprint of the pictures, machine, versions, commit, the curve of the epochs and the errors at the end, in [0, 1].
The file is only ever appended to. A run is known by its recipe and pictures, not by its name: the same run is never
done twice.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alexnet.recipes.recipe import Recipe, differences
from alexnet.storage.jsonl import read_rows

Row = Mapping[str, Any]


def settings(recipe: Recipe) -> dict[str, Any]:
    """The fields in which a recipe differs from the default record, without its name.

    A field that a later version adds, at a default that changes nothing, leaves this as it is.
    """
    found = {field: value for field, (_, value) in differences(recipe, Recipe()).items() if field != "name"}
    return dict(json.loads(json.dumps(found)))


def recipe_sha256(recipe: Recipe) -> str:
    """sha256 of every field but the name, defaults included."""
    values = asdict(recipe)
    del values["name"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def key_of(recipe: Recipe, fingerprint: str, until: float | None = None) -> str:
    """What a run is: its settings, its pictures, and the training error at which it may stop; sha256."""
    return _key(settings(recipe), fingerprint, until)


def row_key(row: Row) -> str:
    """The same, of a row."""
    return _key(row["settings"], row["data"]["fingerprint"], row.get("until_train_error"))


def _key(values: Mapping[str, Any], fingerprint: str, until: float | None) -> str:
    return hashlib.sha256(json.dumps([values, fingerprint, until], sort_keys=True).encode()).hexdigest()


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a results file in order; none if there is no file. A line torn by a crash is left out."""
    return read_rows(path)[0]


def command(base: str, changes: Sequence[str], seed: int) -> str:
    """What one would type to repeat a run; DATA stands for the folder of the pictures."""
    return shlex.join(["alexnet", "train", "DATA", "--recipe", base, *changes, f"seed={seed}"])


def error(row: Row, measure: str, split: str, views: int = 1) -> float | None:
    """A figure of a row in [0, 1], or None where it was not measured.

    Args:
        measure: top1_error, top5_error or log_loss.
    """
    figures = row.get("results", {}).get(split, {}).get(str(views), {})
    value = figures.get(measure)
    return None if value is None else float(value)


def reported_split(rows: Iterable[Row]) -> str:
    """The split that tables report: test where every finished row has one, else val, else train."""
    found = [set(row["results"]) for row in rows if row.get("results")]
    return next((name for name in ("test", "val") if found and all(name in splits for splits in found)), "train")

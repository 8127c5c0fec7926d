"""metrics.jsonl -> what each epoch of a run was like, whatever a crash or a resumption did to the file."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet.runs.run import RunFolder
from alexnet.storage.files import disk_errors
from alexnet.storage.jsonl import read_rows

Rows = Sequence[Mapping[str, Any]]


def read_epochs(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Epoch rows in order of epoch, and the number of lines that could not be read."""
    rows, unreadable = read_rows(path)
    # A resumed run may repeat an epoch: the later row is the one that counts.
    epochs = {row["epoch"]: row for row in rows if row.get("kind") == "epoch" and isinstance(row.get("epoch"), int)}
    return [epochs[epoch] for epoch in sorted(epochs)], unreadable


def best_epoch(rows: Rows) -> int | None:
    """The epoch of lowest validation top-1 error, on ties of lowest loss, then the first; None without validation."""
    scores = [(number(row.get("val_top1_error")), number(row.get("val_loss")), row["epoch"]) for row in rows]
    finite = [(error, loss if math.isfinite(loss) else math.inf, at) for error, loss, at in scores if error == error]
    return min(finite)[2] if finite else None


def series(rows: Rows, key: str) -> tuple[list[int], list[float]]:
    """Epochs that report `key` and their values; a value that is not finite stays as NaN, a gap in the curve."""
    present = [row for row in rows if key in row]
    return [row["epoch"] for row in present], [number(row[key]) for row in present]


def number(value: object) -> float:
    """The value as a finite float, or NaN for whatever cannot be plotted or averaged."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return math.nan


def append_metrics(run: RunFolder, row: Mapping[str, Any]) -> None:
    """Adds one line to metrics.jsonl."""
    with disk_errors(f"writing {run.folder / 'metrics.jsonl'}"), (run.folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(dict(row)) + "\n")


def read_metrics(run: RunFolder) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a line torn by a crash is left out."""
    return read_rows(run.folder / "metrics.jsonl")[0]


def epochs_of(run: RunFolder) -> list[dict[str, Any]]:
    """The epochs of a run so far, in order."""
    found = {row["epoch"]: row for row in read_metrics(run) if row.get("kind") == "epoch"}
    return [found[epoch] for epoch in sorted(found)]

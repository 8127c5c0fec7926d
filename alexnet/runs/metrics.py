"""Reads and appends metrics.jsonl, the rows of a run; a crash or a resumed run does not spoil what is read."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet.runs.run import RunFolder
from alexnet.storage.files import disk_errors, read_rows

Rows = Sequence[Mapping[str, Any]]


def read_epochs(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Reads the epoch rows in order of epoch; also returns the number of lines that could not be read."""
    rows, unreadable = read_rows(path)
    # A resumed run may repeat an epoch: the later row counts.
    epochs = {row["epoch"]: row for row in rows if row.get("kind") == "epoch" and isinstance(row.get("epoch"), int)}
    return [epochs[epoch] for epoch in sorted(epochs)], unreadable


def best_epoch(rows: Rows) -> int | None:
    """The epoch with the lowest validation top-1 error, then lowest loss, then the first; None without validation."""
    scores = [(number(row.get("val_top1_error")), number(row.get("val_loss")), row["epoch"]) for row in rows]
    ranked = [(error, loss if math.isfinite(loss) else math.inf, at) for error, loss, at in scores if error == error]
    return min(ranked)[2] if ranked else None


def series(rows: Rows, key: str) -> tuple[list[int], list[float]]:
    """Returns the epochs that have `key` and their values; values that are not finite become NaN, gaps in the curve."""
    present = [row for row in rows if key in row]
    return [row["epoch"] for row in present], [number(row[key]) for row in present]


def number(value: object) -> float:
    """Converts a value to a finite float, or to NaN if it cannot be plotted or averaged."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return math.nan


def append_metrics(run: RunFolder, row: Mapping[str, Any]) -> None:
    """Appends one row to metrics.jsonl."""
    with disk_errors(f"writing {run.folder / 'metrics.jsonl'}"), (run.folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(dict(row)) + "\n")


def read_metrics(run: RunFolder) -> list[dict[str, Any]]:
    """Reads the rows of metrics.jsonl; an incomplete last line after a crash is left out."""
    return read_rows(run.folder / "metrics.jsonl")[0]


def epochs_of(run: RunFolder) -> list[dict[str, Any]]:
    """Reads the epoch rows of a run so far, in order."""
    epochs = {row["epoch"]: row for row in read_metrics(run) if row.get("kind") == "epoch"}
    return [epochs[epoch] for epoch in sorted(epochs)]

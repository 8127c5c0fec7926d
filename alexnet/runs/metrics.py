"""Reads and appends metrics.jsonl, the rows of a run; a crash or a resumed run does not spoil what is read."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet.runs.run import RunFolder
from alexnet.storage.files import disk_errors, parse_rows

TEXTS = ("kind", "conv1")  # of the row of an epoch; all other values are numbers

BALANCED_ERROR = "val_balanced_error"  # of rows of runs whose best network is chosen by it

Rows = Sequence[Mapping[str, Any]]


def rows_in(text: str) -> tuple[list[dict[str, Any]], int]:
    """The rows in the content of metrics.jsonl that are of a form which alexnet writes, and how many lines are not."""
    rows, unreadable = parse_rows(text)
    ours = [row for row in rows if _is_row(row)]
    return ours, unreadable + len(rows) - len(ours)


def _is_row(row: Mapping[str, Any]) -> bool:
    """Whether what is read of a row has the type with which it is written."""
    if not isinstance(row.get("kind"), str):
        return False
    if row["kind"] != "epoch":
        return True
    numbers = (value for name, value in row.items() if name not in TEXTS)
    return (
        type(row.get("epoch")) is int
        and type(row.get("step", 0)) is int
        and all(type(value) in (int, float, type(None)) for value in numbers)
        and all(isinstance(row.get(name, ""), str) for name in TEXTS)
    )


def read_epochs(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Reads the epoch rows in order of epoch; also returns the number of lines that could not be read."""
    rows, unreadable = _rows_of(path)
    # A resumed run may repeat an epoch: the later row counts.
    epochs = {row["epoch"]: row for row in rows if row["kind"] == "epoch"}
    return [epochs[epoch] for epoch in sorted(epochs)], unreadable


def best_epoch(rows: Rows) -> int | None:
    """The epoch whose network a run keeps as its best; None without validation.

    It has the lowest validation error, with balanced classes the mean of theirs, then the lowest loss, then it is the
    first.
    """
    errors = [row.get(BALANCED_ERROR, row.get("val_top1_error")) for row in rows]
    scores = [
        (number(error), number(row.get("val_loss")), row["epoch"]) for error, row in zip(errors, rows, strict=True)
    ]
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
    return _rows_of(run.folder / "metrics.jsonl")[0]


def epochs_of(run: RunFolder) -> list[dict[str, Any]]:
    """Reads the epoch rows of a run so far, in order."""
    epochs = {row["epoch"]: row for row in read_metrics(run) if row["kind"] == "epoch"}
    return [epochs[epoch] for epoch in sorted(epochs)]


def _rows_of(path: Path) -> tuple[list[dict[str, Any]], int]:
    return rows_in(path.read_text("utf-8", errors="replace")) if path.exists() else ([], 0)

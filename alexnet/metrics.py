"""metrics.jsonl -> what each epoch of a run was like, whatever a crash or a resumption did to the file."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of the file in order, and the number of lines that are none (a crash can tear the last one)."""
    rows: list[dict[str, Any]] = []
    unreadable = 0
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            unreadable += bool(line.strip())
    return rows, unreadable


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

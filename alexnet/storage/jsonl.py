"""Reads and appends to files with one JSON object per line; skips a line that a crash left incomplete."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet.storage.files import disk_errors


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Returns the rows of the file in order, and the number of unreadable lines (a crash can cut off the last one)."""
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


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row.

    Raises:
        ResourceError: the file cannot be written.
    """
    with disk_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() and _ends_in_mid_line(path):
                file.write(b"\n")  # otherwise this row would join the incomplete one
            file.write(json.dumps(dict(row), ensure_ascii=False).encode() + b"\n")


def _ends_in_mid_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"

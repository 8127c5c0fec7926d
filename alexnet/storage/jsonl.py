"""Files of one JSON object a line: appended to, and read past a line that a crash has torn."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet.storage.files import disk_errors


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


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Adds a row.

    Raises:
        ResourceError: the disk refuses.
    """
    with disk_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() and _torn(path):
                file.write(b"\n")  # the row of a crash must not swallow this one
            file.write(json.dumps(dict(row), ensure_ascii=False).encode() + b"\n")


def _torn(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"

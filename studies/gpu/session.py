"""One command of the day: how long it may take, its rows, on the disk as soon as they exist, and its table."""

import faulthandler
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from alexnet.kernels.device import finish
from alexnet.storage.files import write_file
from studies.gpu.place import place

MARGIN = 20  # seconds before the end in which nothing new is begun
WIDTH = 80


class Refused(Exception):
    """Something that was typed or found and cannot be used; the message says what to do."""


@dataclass
class Session:
    """What a command was asked, what it has found, and how much time is left.

    Args:
        seconds: after which the command must have ended.
        out: the folder of NAME.json.
    """

    name: str
    device: torch.device
    seconds: float
    out: Path
    tiny: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    complete: bool = False

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.machine = place(self.device)
        self.write()

    @property
    def left(self) -> float:
        """Seconds until it must stop by itself."""
        return self.began + self.seconds - MARGIN - time.monotonic()

    def over(self) -> bool:
        """Whether nothing new may be begun."""
        return self.left <= 0

    def row(self, **values: Any) -> dict[str, Any]:
        """Adds a row and writes the file."""
        self.rows.append({k: _rounded(v) for k, v in values.items()})
        self.write()
        return self.rows[-1]

    def write(self) -> None:
        """Writes what is known so far."""
        content = {
            "command": shlex.join(["python", "-m", "studies.gpu", *sys.argv[1:]]),
            "machine": self.machine,
            "seconds": round(time.monotonic() - self.began, 1),
            "complete": self.complete,
            "tiny": self.tiny,
            **self.facts,
            "rows": self.rows,
        }
        write_file(self.out / f"{self.name}.json", (json.dumps(content, indent=1) + "\n").encode())

    def end(self, columns: Sequence[str]) -> str:
        """Marks the command as complete if it had the time, and returns its table."""
        self.complete = not self.over()
        self.write()
        where = self.machine["card"] or self.machine["device"]
        state = "complete" if self.complete else "stopped by the clock"
        spent = f"{time.monotonic() - self.began:.0f} s"
        head = f"{self.name}: {len(self.rows)} rows, {state} after {spent}; {where}, commit {self.machine['commit']}"
        shown = [row for row in self.rows if row.get("failed") or not row.get("test")]  # single tests only if they fail
        return f"{head[:WIDTH]}\n{table(columns, shown)}"


def guard(seconds: float) -> None:
    """Ends the process when its time is over even if the device hangs; rows are on the disk by then."""
    faulthandler.dump_traceback_later(max(seconds - MARGIN / 4, 1), exit=True)


def release() -> None:
    """Takes the guard away."""
    faulthandler.cancel_dump_traceback_later()


def timed(call: Callable[[], Any], device: torch.device, repeats: int = 1) -> Callable[[], float]:
    """Seconds of one call, from an idle device to an idle device; with repeats their mean, as one stream of work."""

    def turn() -> float:
        finish(device)
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        finish(device)
        return (time.perf_counter() - start) / repeats

    return turn


def attempt(session: Session, what: str, call: Callable[[], Any]) -> Any:
    """Calls; where that fails, adds a row that says how, and returns None: one failure must not cost the rest."""
    try:
        return call()
    except Exception as error:  # of any library on the way: the day goes on
        if session.device.type == "cuda" and isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        lines = str(error).strip().splitlines()
        session.row(what=what, failed=f"{type(error).__name__}: {lines[0] if lines else ''}"[:300])
        return None


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], width: int = WIDTH) -> str:
    """Rows as lines of at most `width` characters; the first column gives way, what failed is said in its place."""
    shown = [[_shown(row.get(name)) for name in columns] for row in rows]
    whole = [list(columns), *(cells for cells, row in zip(shown, rows, strict=True) if not row.get("failed"))]
    others = [max(len(cells[i]) for cells in whole) for i in range(1, len(columns))]
    longest = max(len(cells[0]) for cells in (list(columns), *shown))
    first = max(8, min(longest, width - sum(others) - 2 * len(others)))
    lines = []
    for cells, row in zip((list(columns), *shown), ({}, *rows), strict=True):
        head = (cells[0] if len(cells[0]) <= first else f"{cells[0][: first - 1]}~").ljust(first)
        rest = [cell.rjust(size) for cell, size in zip(cells[1:], others, strict=True)]
        if row.get("failed"):
            rest = [f"failed: {row['failed']}"]
        lines.append("  ".join([head, *rest]).rstrip()[:width])
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value

"""Files of cells: Python whose parts begin with a line `# %% [name]`, as editors with a "run cell" know it."""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_MARK = re.compile(r"^# %% \[([^\]]+)\]\s*$")
_ANY_MARK = re.compile(r"^# %%")


@dataclass(frozen=True)
class Cell:
    """A part of a file: its name, its code, and the line of the file where the code begins."""

    name: str
    code: str
    line: int


def split_cells(text: str) -> dict[str, Cell]:
    """The named cells of a file, in its order; what stands before the first, or in a cell without a name, is left out.

    Raises:
        ValueError: two cells have one name.
    """
    cells: dict[str, Cell] = {}
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if _ANY_MARK.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        mark = _MARK.match(lines[start])
        if mark is None or mark[1] == "markdown":
            continue
        if mark[1] in cells:
            raise ValueError(f"two cells are called [{mark[1]}]")
        body = lines[start + 1 : end]
        first = next((i for i, line in enumerate(body) if line.strip()), 0)
        cells[mark[1]] = Cell(mark[1], "\n".join(body[first:]).rstrip() + "\n", start + 2 + first)
    return cells


def read_cells(path: Path) -> dict[str, Cell]:
    """The named cells of a file in UTF-8."""
    return split_cells(path.read_text(encoding="utf-8"))

"""Files of cells: Python whose parts begin with a line `# %% [name]`, as editors with a "run cell" know it."""

import ast
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

_MARK = re.compile(r"^# %% \[([^\]]+)\]\s*$")
_ANY_MARK = re.compile(r"^# %%")
_PARSING = threading.Lock()


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


@lru_cache
def parsed(code: str) -> ast.Module:
    """The syntax tree of some code, which is only to be read; one thread at a time makes one.

    CPython 3.11 counts the depth of the tree that it makes for all threads together, so that two of them fail with a
    SystemError: https://github.com/python/cpython/issues/106905.
    """
    with _PARSING:
        return ast.parse(code)


def assigned(code: str) -> set[str]:
    """The names that a cell gives values to, without those within its functions."""
    return {name for name, _ in _assignments(parsed(code))}


def typed(cells: Iterable[Cell]) -> dict[str, Any]:
    """The names that the cells give a value only once, and a typed one, as `side = 224`: they have it before any run.

    Of `2 if small else 10` it is what the whole lesson takes, the second one.
    """
    values: dict[str, list[Any]] = {}
    for cell in cells:
        for name, value in _assignments(parsed(cell.code)):
            values.setdefault(name, []).append(value)
    return {name: each[0] for name, each in values.items() if len(each) == 1 and each[0] is not _COMPUTED}


_COMPUTED = object()


def _assignments(tree: ast.AST) -> Iterator[tuple[str, Any]]:
    """Names with their typed values, or `_COMPUTED`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda | ast.GeneratorExp | ast.ListComp):
            continue
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=False))
            for each, given in pairs:
                names = [n.id for n in ast.walk(each) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
                for name in names:
                    yield name, _literal(given) if isinstance(each, ast.Name) else _COMPUTED
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, _COMPUTED
        else:
            yield from _assignments(node)


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.IfExp) and ast.unparse(node.test) == "small":
        node = node.orelse
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return _COMPUTED
    return value if isinstance(value, int | float | str) else _COMPUTED  # a list or dict is filled later

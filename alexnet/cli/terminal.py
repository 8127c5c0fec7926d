"""Tables and lines on the terminal."""

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from alexnet.api.bars import console, prose_width
from alexnet.errors import DataError
from alexnet.language.speak import said, tell
from alexnet.text import printable, wrapped

SHORT = 20  # letters of a cell


def say(text: str) -> None:
    """One line, wrapped by the terminal."""
    console().print(Text(printable(said(text))))


def explain(text: str, hang: int = 0) -> None:
    """A sentence or several, wrapped at words: as wide as the terminal is, in a file or a pipe at 80 columns.

    Args:
        hang: columns that the lines after the first are indented by.
    """
    show(said(text), hang)


def show(told: str, hang: int = 0) -> None:
    """What is said already, wrapped as `explain` does it."""
    out = console()
    out.print(Text(wrapped(printable(told), prose_width(out), hang)), soft_wrap=True)


def note(text: str) -> None:
    """One line beside the answer, which programs read from standard output."""
    console(stderr=True).print(Text(printable(said(f"note: {text}"))), soft_wrap=True)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, whole: Collection[str] = ()
) -> None:
    """Prints a table; the first `left` columns are text, the others figures.

    A cell of one word is a name or a figure, and the same in every language.

    Args:
        whole: columns whose cells are not divided over lines, if they are short.
    """
    table = Table(
        title=said(title) or None, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD
    )
    for i, column in enumerate(columns):
        justify: JustifyMethod = "left" if i < left else "right"
        short = all(len(row[i]) <= SHORT for row in rows)
        table.add_column(said(column), justify=justify, overflow="fold", no_wrap=short and column in whole)
    for row in rows:
        table.add_row(*(Text(printable(said(cell) if " " in cell else cell)) for cell in row))
    console().print(table)


def print_json(record: Any, indent: int | None = None) -> None:
    """Prints JSON, with names as they are where standard output has all letters, else with the escapes of JSON."""
    print(json.dumps(record, indent=indent, ensure_ascii=not has_all_letters()))


def has_all_letters() -> bool:
    """Whether standard output can show every letter; one in cp1252, for example, cannot."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def note_left_out(*images: str | Path) -> None:
    """Says on standard error what of some folders is not looked at; answers go to standard output."""
    from alexnet.api.image_input import left_out

    for note in left_out(*images):
        tell(f"alexnet: {printable(note)}", stderr=True)


def refuse_unread(unread: int, count: int) -> None:
    """Ends a command with an error if some images could not be read, after all others are done.

    Raises:
        DataError: some of the images could not be read.
    """
    if unread:
        raise DataError(
            f"{unread} of {count} images could not be read; the reasons are above",
            fix="Replace them, or leave them out.",
            code="E352",
        )

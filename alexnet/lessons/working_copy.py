"""The reader's own copy of a lesson: a plain .py in cells, or a notebook; and the answers that are read from it."""

import json
from pathlib import Path
from typing import Any

from alexnet.errors import UsageError
from alexnet.lessons.cells import Cell, split_cells
from alexnet.lessons.lesson import Lesson
from alexnet.lessons.prose import has_values, unwrap
from alexnet.lessons.words import words_of
from alexnet.storage.files import parse_json

NOTEBOOK = ".ipynb"


def copy_name(lesson: Lesson, notebook: bool = False) -> str:
    """The name of the reader's file of a lesson."""
    return f"lesson_{lesson.number:02}{NOTEBOOK if notebook else '.py'}"


def pieces(lesson: Lesson, language: str) -> list[tuple[str, str, str]]:
    """The copy as (kind, name, text): `markdown`; `code`, a cell of the lesson; `tell`, prose with values; `exercise`.

    What answers the questions is left out, but for the prose that the reader's own run tells.
    """
    prose, words = lesson.prose[language], words_of(language)
    parts = [("code", "words", preamble(lesson, language))]
    text = lesson.cells
    for block in prose.blocks:
        if block.kind == "text":
            parts.append(("tell" if has_values(block.text) else "markdown", "", block.text))
        elif block.kind == "cell":
            parts.append(("code", block.name, text[block.name].code))
            if block.text:
                parts.append(("tell" if has_values(block.text) else "markdown", "", f"*{block.text}*"))
        elif block.kind == "predict":
            parts.append(("markdown", "", f"**{words['predict']}** {block.text}\n\n> {words['your guess']}"))
        elif block.kind == "answer":
            parts.append(("tell", "", f"**{words['answer']}** {block.text}"))
        elif block.kind == "exercise":
            parts.append(("markdown", "", block.text))
            parts.append(("exercise", block.name, lesson.exercises[block.name].start.code))
    title = parts.index(next(part for part in parts if part[0] in ("markdown", "tell")))
    parts.insert(title + 1, ("markdown", "", words["how"].format(number=lesson.number)))
    parts.insert(title + 1, parts.pop(0))
    return parts


def preamble(lesson: Lesson, language: str) -> str:
    """The first cell of every copy: what the others find already there, and letters for Chinese in figures."""
    words = words_of(language)
    labels = lesson.prose[language].labels
    lines = [f"# {words['preamble']}", "labels = {"]
    lines += [f"    {json.dumps(name)}: {json.dumps(text, ensure_ascii=False)}," for name, text in labels.items()]
    lines += ["}", f"small = False  # {words['small']}", "", "import logging", "", "import matplotlib", ""]
    fonts = ["DejaVu Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "SimHei"]
    lines += ['matplotlib.rcParams["font.sans-serif"] = [', *(f'    "{font}",' for font in fonts), "]"]
    lines += ['logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)']
    return "\n".join(lines) + "\n"


def as_python(lesson: Lesson, language: str) -> str:
    """The copy as a Python file: prose as comments, what has values as `print`, so that a run tells its own."""
    parts = []
    for kind, name, text in pieces(lesson, language):
        if kind == "markdown":
            comment = "\n".join(f"# {line}".rstrip() for line in text.splitlines())
            parts.append(f"# %% [markdown]\n{comment}\n")
        elif kind == "tell":
            parts.append(f"# %%\n{_telling(text)}")
        else:
            parts.append(f"# %% [{'exercise ' if kind == 'exercise' else ''}{name}]\n{text}")
    return "\n".join(parts)


def _telling(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    prefix = "f" if has_values(text) else ""
    return f'print({prefix}"""\n{escaped}\n""")\n'


def as_notebook(lesson: Lesson, language: str) -> dict[str, Any]:
    """The copy as a notebook, not yet run."""
    cells = []
    for number, (kind, name, text) in enumerate(pieces(lesson, language)):
        if kind == "markdown":
            cells.append(markdown_cell(number, unwrap(text)))
        else:
            code = _telling(unwrap(text)) if kind == "tell" else text
            title = f"# %% [exercise {name}]\n" if kind == "exercise" else ""
            cells.append(code_cell(number, title + code.rstrip("\n")))
    return notebook(cells, language)


def markdown_cell(number: int, text: str) -> dict[str, Any]:
    """A cell of prose, in the form of nbformat 4.5."""
    return {"cell_type": "markdown", "id": f"cell-{number}", "metadata": {}, "source": _lines(text)}


def code_cell(number: int, code: str, outputs: Any = (), count: int | None = None) -> dict[str, Any]:
    """A cell of code, with its outputs if it has run."""
    cell = {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "source": _lines(code)}
    return cell | {"outputs": list(outputs), "execution_count": count}


def notebook(cells: list[dict[str, Any]], language: str) -> dict[str, Any]:
    """A whole notebook for Python 3."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}, "alexnet": {"language": language}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def read_answers(path: Path, lesson: Lesson) -> dict[str, Cell]:
    """The reader's answers by the name of their exercise, from a .py or a notebook; those that are gone are left out.

    Raises:
        UsageError: it is no file in UTF-8, no notebook, or holds no exercise of this lesson.
    """
    fix = f"alexnet learn {lesson.number} --fresh writes the lesson anew and keeps your file beside it."
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == NOTEBOOK:
            cells = parse_json(text)["cells"]
            text = "\n".join(f"{''.join(cell['source'])}\n# %%" for cell in cells if cell["cell_type"] == "code")
        found = split_cells(text)
    except (UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} cannot be read as a lesson ({type(error).__name__})", fix=fix, code="E2053"
        ) from error
    except ValueError as error:  # of JSON, or two cells of one name
        raise UsageError(f"{path} cannot be read as a lesson: {error}", fix=fix, code="E2053") from error
    answers = {name: cell for name in lesson.exercises if (cell := found.get(f"exercise {name}")) is not None}
    if not answers:
        raise UsageError(f"{path} holds no exercise of lesson {lesson.number}", fix=fix, code="E2052")
    return answers


def write_copy(lesson: Lesson, language: str, folder: Path, *, as_note: bool, fresh: bool) -> tuple[Path, bool]:
    """Writes the reader's copy; one that is there stays, and with `fresh` it gets another name. Also whether it is new.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = folder / copy_name(lesson, as_note)
    text = json.dumps(as_notebook(lesson, language), ensure_ascii=False, indent=1) if as_note else ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and not fresh:
            return path, False
        if path.exists():
            number = 1
            while (old := path.with_name(f"{path.stem}.old-{number}{path.suffix}")).exists():
                number += 1
            path.rename(old)
        path.write_text(text or as_python(lesson, language), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", fix="Name another folder with --folder.", code="E2054"
        ) from error
    return path, True


def find_copy(lesson: Lesson, place: Path) -> Path:
    """The reader's file of a lesson in a folder, the one that was changed last; or the file that is named itself.

    Raises:
        UsageError: there is none.
    """
    if place.is_file():
        return place
    files = [path for each in (False, True) if (path := place / copy_name(lesson, each)).is_file()]
    if not files:
        raise UsageError(
            f"there is no {copy_name(lesson)} in {place}",
            fix=f"alexnet learn {lesson.number} writes it; --folder says where yours is.",
            code="E2051",
        )
    return max(files, key=lambda path: path.stat().st_mtime)

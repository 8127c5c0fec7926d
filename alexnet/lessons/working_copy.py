"""The reader's own copy of a lesson: a plain .py in cells, or a notebook; and the answers that are read from it."""

import json
from pathlib import Path
from typing import Any

from alexnet.errors import UsageError
from alexnet.lessons.cells import Cell, assigned, split_cells, typed
from alexnet.lessons.lesson import Lesson
from alexnet.lessons.prose import filled, unwrap, values_in, without_values
from alexnet.lessons.words import words_of
from alexnet.storage.files import parse_json

NOTEBOOK = ".ipynb"


def copy_name(lesson: Lesson, notebook: bool = False) -> str:
    """The name of the reader's file of a lesson."""
    return f"lesson_{lesson.number:02}{NOTEBOOK if notebook else '.py'}"


class _Pieces:
    """The pieces of a copy while they are put together: prose waits until a cell above it computes its values."""

    def __init__(self, lesson: Lesson):
        self.parts: list[tuple[str, str, str]] = []
        self.constants = typed(lesson.cells.values())
        self._known: set[str] = set()
        self._waiting: list[tuple[str, str]] = []

    def code(self, name: str, code: str) -> None:
        self.parts.append(("code", name, code))
        self._known |= assigned(code)
        waiting, self._waiting = self._waiting, []
        for caption_of, text in waiting:
            self.prose(text, caption_of)

    def prose(self, text: str, caption_of: str = "") -> None:
        """Adds prose by paragraphs; from the first one on whose values are not there yet, it waits."""
        paragraphs = text.split("\n\n")
        for place, paragraph in enumerate(paragraphs):
            told = filled(paragraph, self.constants) if set(values_in(paragraph)) <= set(self.constants) else paragraph
            values = set(values_in(told))
            if self._waiting or values - self._known:
                self._waiting.append((caption_of, "\n\n".join(paragraphs[place:])))
                return
            kind = "tell" if values else "markdown"
            if place and self.parts[-1][:2] == (kind, caption_of):
                told = f"{self.parts.pop()[2]}\n\n{told}"
            self.parts.append((kind, caption_of, told))

    def question(self, text: str) -> None:
        """Adds a question, which stands before the cells that answer it: what they compute is `…` in it."""
        waiting, self._waiting = self._waiting, []
        self.prose(without_values(text, set(values_in(text)) - self._known - set(self.constants)))
        self._waiting = waiting


def pieces(lesson: Lesson, language: str) -> list[tuple[str, str, str]]:
    """The copy as (kind, name, text): `markdown`; `code`, a cell of the lesson; `tell`, prose with values; `exercise`.

    What answers the questions is left out, but for the prose that the reader's own run tells. Prose has a name where it
    is the caption of that cell's figure.
    """
    prose, words = lesson.prose[language], words_of(language)
    made = _Pieces(lesson)
    for block in prose.blocks:
        if block.kind == "text":
            made.prose(block.text)
            if block is prose.blocks[0]:
                made.prose(words["how"].format(number=lesson.number))
                made.code("words", preamble(lesson, language))
        elif block.kind == "cell":
            made.code(block.name, lesson.cells[block.name].code)
            if block.text:
                made.prose(f"*{block.text}*", block.name)
        elif block.kind == "predict":
            made.question(f"**{words['predict']}** {block.text}\n\n> {words['your_guess']}")
        elif block.kind == "answer":
            made.prose(f"**{words['answer']}** {block.text}")
        elif block.kind == "exercise":
            made.prose(block.text)
            made.parts.append(("exercise", block.name, lesson.exercises[block.name].start.code))
    return made.parts


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


def _telling(text: str, show: str = "print") -> str:
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    prefix = "f" if values_in(text) else ""
    return f'{show}({prefix}"""\n{escaped}\n""")\n'


def as_notebook(lesson: Lesson, language: str) -> dict[str, Any]:
    """The copy as a notebook, not yet run; the code of prose with values is folded, and its run shows the prose."""
    cells = []
    for number, (kind, name, text) in enumerate(pieces(lesson, language)):
        if name and kind in ("markdown", "tell"):  # here the code does not show its name
            text = f"`{name}`: {text}"
        if kind == "markdown":
            cells.append(markdown_cell(number, unwrap(text)))
        elif kind == "tell":
            cell = code_cell(number, _telling(unwrap(text), "Markdown").rstrip("\n"))
            cells.append(cell | {"metadata": {"jupyter": {"source_hidden": True}}})
        else:
            title = f"# %% [exercise {name}]\n" if kind == "exercise" else ""
            shown = "from IPython.display import Markdown\n\n" if name == "words" else ""
            cells.append(code_cell(number, title + shown + text.rstrip("\n")))
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

"""Runs the cells of a lesson, and keeps what they print and draw.

The one place that runs code as text: that of the lessons, which comes with the package, and the reader's own.
"""

import contextlib
import copy
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet.lessons.cells import Cell
from alexnet.lessons.lesson import Lesson

# Text stays text, so that a browser finds letters for it in every language; the same drawing gives the same bytes.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "alexnet",
    "figure.figsize": (7.0, 3.4),
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# matplotlib has no Chinese letters of its own, and here no window; neither matters where text stays text.
_QUIET = ("Glyph .* missing from", "Matplotlib currently does not support", ".*non-interactive.*")


@dataclass(frozen=True)
class Output:
    """What a cell printed, and its figures as SVG."""

    text: str
    figures: tuple[str, ...]


@dataclass(frozen=True)
class Executed:
    """A lesson that has run: the values of its names, and by language what each cell gave."""

    lesson: Lesson
    values: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, Output]]
    worked: Mapping[str, Mapping[str, Any]]  # by exercise, what the right answer computes
    small: bool = False


def run_code(cell: Cell, namespace: dict[str, Any], file: str) -> None:
    """Runs a cell in a namespace; errors name the file and its line."""
    exec(compile("\n" * (cell.line - 1) + cell.code, file, "exec"), namespace)


def run_cell(cell: Cell, namespace: dict[str, Any], file: str) -> Output:
    """Runs a cell, and takes what it prints and draws."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    printed = io.StringIO()
    with warnings.catch_warnings(), matplotlib.rc_context(_STYLE), contextlib.redirect_stdout(printed):
        for message in _QUIET:
            warnings.filterwarnings("ignore", message=message)
        try:
            run_code(cell, namespace, file)
            figures = tuple(_svg(pyplot.figure(number)) for number in pyplot.get_fignums())
        finally:
            pyplot.close("all")
    return Output(printed.getvalue(), figures)


def _svg(figure: Any) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", file.getvalue(), flags=re.DOTALL)


def first_namespace(lesson: Lesson, language: str, small: bool) -> dict[str, Any]:
    """What cells find already there: the words of the language, and whether they are to take a quick look only."""
    return {"__name__": "lesson", "labels": lesson.prose[language].labels, "small": small}


def needed(lesson: Lesson, names: Sequence[str], language: str = "en", small: bool = False) -> dict[str, Any]:
    """The namespace after some cells of a lesson, as the lesson has them."""
    namespace = first_namespace(lesson, language, small)
    for name in names:
        run_cell(lesson.cells[name], namespace, f"{lesson.name}/code.py")
    return namespace


def uses_labels(cell: Cell) -> bool:
    """Whether a cell draws or prints words, so that it gives something else in each language."""
    return re.search(r"(?<![.\w])labels\b", cell.code) is not None


def run_lesson(lesson: Lesson, *, small: bool = False) -> Executed:
    """Runs all cells once; those with words once more for each further language, without keeping what they compute."""
    languages = list(lesson.prose)
    namespace = first_namespace(lesson, languages[0], small)
    outputs: dict[str, dict[str, Output]] = {language: {} for language in languages}
    file = f"{lesson.name}/code.py"
    for name, cell in lesson.cells.items():
        for language in languages[1:] if uses_labels(cell) else ():
            trial = namespace | {"labels": lesson.prose[language].labels}
            outputs[language][name] = run_cell(cell, trial, file)
        first = run_cell(cell, namespace, file)
        for language in languages:
            outputs[language].setdefault(name, first)
    worked = {}
    for name, exercise in lesson.exercises.items():
        answer = copy.copy(namespace)
        run_cell(exercise.right, answer, f"{lesson.name}/exercises.py")
        worked[name] = answer
    return Executed(lesson, namespace, outputs, worked, small)

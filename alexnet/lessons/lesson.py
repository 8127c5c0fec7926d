"""What lies in `course/`: one folder for each lesson, with its code, its exercises and its two texts."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from alexnet.errors import UsageError
from alexnet.lessons.cells import Cell, read_cells
from alexnet.lessons.prose import Prose, read_prose

LANGUAGES = ("en", "zh")
COURSE = Path(__file__).parent / "course"
SETUP = "setup"  # the cell that runs before everything else, exercises too

_HEADER = re.compile(r"^(\w+) (start|right|check|nearly|wrong)(?: (\w+))?(?:: ([\w ]+))?$")


@dataclass(frozen=True)
class Exercise:
    """A question that answers are judged for: what the reader begins with, what judges it, and answers of each kind.

    `nearly` and `wrong` are by the reason that `check` gives, which the prose explains in `@say EXERCISE.REASON`.
    """

    name: str
    needs: tuple[str, ...]  # cells of the lesson that run before it
    start: Cell
    check: Cell
    right: Cell
    nearly: Mapping[str, Cell]
    wrong: Mapping[str, Cell]


@dataclass(frozen=True)
class Lesson:
    """One lesson; nothing of it has run."""

    number: int
    name: str
    folder: Path
    cells: Mapping[str, Cell]
    prose: Mapping[str, Prose]
    exercises: Mapping[str, Exercise]

    @cached_property
    def edition(self) -> str:
        """A checksum of its files: a page of another edition may show other code than this one."""
        files = sorted(path for path in self.folder.iterdir() if path.suffix in (".md", ".py"))
        return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]


def read_exercises(path: Path) -> dict[str, Exercise]:
    """The exercises of a file whose cells are `[NAME start: CELLS]`, `right`, `check`, `nearly REASON`, `wrong REASON`.

    Raises:
        ValueError: a cell has another name, or an exercise lacks one of its parts.
    """
    parts: dict[str, dict[str, Cell]] = {}
    needs: dict[str, tuple[str, ...]] = {}
    answers: dict[tuple[str, str], dict[str, Cell]] = {}
    for header, cell in read_cells(path).items():
        mark = _HEADER.match(header)
        if mark is None or (mark[2] in ("nearly", "wrong")) != bool(mark[3]):
            raise ValueError(f"{path}: [{header}] is no part of an exercise")
        name, part, reason, cells = mark.groups()
        if reason:
            answers.setdefault((name, part), {})[reason] = cell
        else:
            parts.setdefault(name, {})[part] = cell
        if part == "start":
            needs[name] = (SETUP, *(cells or "").split())
    for name, found in parts.items():
        if missing := {"start", "right", "check"} - set(found):
            raise ValueError(f"{path}: the exercise {name} has no {', '.join(sorted(missing))}")
    return {
        name: Exercise(
            name,
            needs[name],
            found["start"],
            found["check"],
            found["right"],
            nearly=answers.get((name, "nearly"), {}),
            wrong=answers.get((name, "wrong"), {}),
        )
        for name, found in parts.items()
    }


def read_lesson(folder: Path) -> Lesson:
    """Reads a folder such as `01_lenet_to_alexnet`."""
    number, _, name = folder.name.partition("_")
    return Lesson(
        int(number),
        name,
        folder,
        read_cells(folder / "code.py"),
        {language: read_prose(folder / f"{language}.md") for language in LANGUAGES},
        read_exercises(folder / "exercises.py"),
    )


@cache
def all_lessons() -> tuple[Lesson, ...]:
    """All lessons there are, by their numbers."""
    return tuple(read_lesson(folder) for folder in sorted(COURSE.glob("[0-9][0-9]_*")))


def find_lesson(number: str) -> Lesson:
    """The lesson of this number, or of this name.

    Raises:
        UsageError: there is none.
    """
    for lesson in all_lessons():
        if number in (str(lesson.number), f"{lesson.number:02}", lesson.name):
            return lesson
    raise UsageError(
        f"there is no lesson {number!r}", fix="alexnet learn lists the lessons; name one by its number.", code="E2050"
    )

"""`alexnet learn`: the lessons, the reader's copy of one, and what is right in it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from alexnet.errors import UsageError
from alexnet.language.speak import spoken

if TYPE_CHECKING:
    from alexnet.lessons.exercises import Judgement
    from alexnet.lessons.lesson import Lesson

WIDTH = 80


def learn(
    what: str = "",
    lesson: str = "",
    *,
    answer: bool = False,
    exercise: str | None = None,
    folder: Path = Path("lessons"),
    notebook: bool = False,
    fresh: bool = False,
    format: Literal["text", "json"] = "text",
) -> None:
    """List the lessons, open one as a file of your own, or check the exercises in it.

    For example:
      alexnet learn                   the lessons, and how far you are
      alexnet learn 1                 writes lessons/lesson_01.py, to be read, run and changed
      alexnet learn check 1           what is right in it, what is not, and why
      alexnet learn 1 --answer        worked solutions

    Parameters
    ----------
    what
        Number of a lesson, or check.
    lesson
        After check: the number of the lesson.
    answer
        Show worked solutions, computed here.
    exercise
        Check or show only this exercise.
    folder
        Where your files are; for check also one file.
    notebook
        Write a notebook for Jupyter instead of a Python file.
    fresh
        Write the lesson anew; what you have changed is kept under another name.
    format
        Of a check: text or json.
    """
    from alexnet.lessons.lesson import find_lesson

    language = spoken()
    if lesson and what != "check":
        raise UsageError(
            f"alexnet learn {what} has no use for {lesson!r}",
            fix="alexnet learn opens a lesson, alexnet learn check judges one.",
            code="E2056",
        )
    if not what:
        _list(language)
        return
    chosen = find_lesson(lesson if what == "check" else what)
    if exercise is not None and exercise not in chosen.exercises:
        raise UsageError(
            f"lesson {chosen.number} has no exercise {exercise!r}",
            fix=f"It has {', '.join(chosen.exercises)}.",
            code="E2057",
        )
    if answer:
        _answer(chosen, language, exercise)
    elif what == "check":
        _check(chosen, language, folder, exercise, format)
    else:
        _open(chosen, language, folder, notebook, fresh)


def _say(text: str = "", indent: int = 0) -> None:
    """Text in at most 80 columns, wrapped by what letters are wide."""
    from rich.padding import Padding
    from rich.text import Text

    from alexnet.api.bars import console
    from alexnet.text import printable

    screen = console()
    width = min(screen.width, WIDTH)
    screen.print(Padding(Text(printable(text, keep="\n")), (0, 0, 0, indent)), width=width)


def _list(language: str) -> None:
    from alexnet.cli.terminal import print_table
    from alexnet.lessons.lesson import all_lessons
    from alexnet.lessons.record import read_record, solved
    from alexnet.lessons.words import words_of

    words, record = words_of(language), read_record()
    rows = []
    first_open = None
    for lesson in all_lessons():
        done, count = solved(lesson, record), len(lesson.exercises)
        if done < count and first_open is None:
            first_open = lesson.number
        rows.append((str(lesson.number), lesson.prose[language].title, words["of"].format(solved=done, count=count)))
    print_table(words["lessons"], ("", words["column_lesson"], words["column_exercises"]), rows, left=2)
    _say(words["open"].format(number=first_open or 1))


def _open(lesson: "Lesson", language: str, folder: Path, notebook: bool, fresh: bool) -> None:
    from alexnet.lessons.words import words_of
    from alexnet.lessons.working_copy import write_copy

    words = words_of(language)
    path, new = write_copy(lesson, language, folder, as_note=notebook, fresh=fresh)
    prose = lesson.prose[language]
    command = f"alexnet learn check {lesson.number}"
    if folder != Path("lessons"):
        command += f" --folder {folder}"
    _say(words["written" if new else "there"].format(number=lesson.number, title=prose.title))
    _say(prose.summary)
    _say()
    _say(words["file"].format(path=path))
    _say(words["step_edit"])
    _say(words["step_notebook" if notebook else "step_run"].format(path=path))
    _say(words["step_check"].format(command=command))
    _say(words["step_answer"].format(number=lesson.number))


def _check(lesson: "Lesson", language: str, folder: Path, exercise: str | None, format: str) -> None:
    from alexnet.cli.terminal import print_json
    from alexnet.lessons.check import check_answers
    from alexnet.lessons.lesson import all_lessons
    from alexnet.lessons.record import record_file, remember
    from alexnet.lessons.words import words_of
    from alexnet.lessons.working_copy import find_copy, read_answers

    words = words_of(language)
    path = find_copy(lesson, folder)
    answers = read_answers(path, lesson)
    if format == "text":
        _say(words["checking"].format(number=lesson.number, title=lesson.prose[language].title))
        _say(words["file"].format(path=path))
    wanted = [exercise] if exercise else list(lesson.exercises)
    judgements = []
    for judgement in check_answers(lesson, answers, wanted):
        judgements.append(judgement)
        if format == "text":
            _tell(lesson, language, judgement)
    right = [each.exercise for each in judgements if each.status == "right"]
    if not remember(lesson, right):
        print(words["not_kept"].format(path=record_file()), file=sys.stderr)
    if format == "json":
        print_json({"lesson": lesson.number, "exercises": [_row(lesson, language, each) for each in judgements]})
        return
    _say()
    if len(right) < len(wanted):
        _say(words["some_right"].format(solved=len(right), count=len(wanted), number=lesson.number))
        return
    after = next((each.number for each in all_lessons() if each.number > lesson.number), None)
    following = words["last"] if after is None else f"alexnet learn {after}"
    _say(words["all_right"].format(count=len(wanted), next=following))


def _tell(lesson: "Lesson", language: str, judgement: "Judgement") -> None:
    from alexnet.lessons.explain import explained, heading
    from alexnet.lessons.words import words_of

    marks = {"right": "✓", "nearly": "~", "missing": "·"}
    title = heading(lesson, language, judgement.exercise)
    _say()
    words = words_of(language)
    judged = words["judged"].format(title=title, status=words[judgement.status])
    _say(f"{marks.get(judgement.status, '✗')} {judged}")
    for paragraph in explained(lesson, language, judgement):
        _say(paragraph, indent=2)


def _row(lesson: "Lesson", language: str, judgement: "Judgement") -> dict[str, object]:
    from alexnet.lessons.explain import explained

    said = explained(lesson, language, judgement)
    return {"exercise": judgement.exercise, "status": judgement.status, "said": said, "line": judgement.line or None}


def _answer(lesson: "Lesson", language: str, exercise: str | None) -> None:
    from alexnet.lessons.explain import heading, worked

    for name in [exercise] if exercise else lesson.exercises:
        _say(heading(lesson, language, name))
        _say()
        print("".join(f"    {line}" for line in lesson.exercises[name].right.code.splitlines(keepends=True)))
        for paragraph in worked(lesson, language, name):
            _say(paragraph, indent=2)
        _say()

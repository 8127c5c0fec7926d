"""Judges an answer: right, nearly right, wrong, missing, or code that does not run; always with a reason.

`check(answer)` of an exercise returns None where the answer is right, else the name of a reason, or the name and the
values that the reason's text refers to.
"""

import ast
import contextlib
import io
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from alexnet.lessons.cells import Cell, parsed
from alexnet.lessons.execute import run_cell
from alexnet.lessons.lesson import Exercise

Status = Literal["right", "nearly", "wrong", "missing", "error", "slow", "ended", "absent"]

READER = "<your answer>"


@dataclass(frozen=True)
class Judgement:
    """What is said of one answer.

    `reason` is one of the exercise's own (`nearly`, `wrong`), the name that has no value yet (`missing`), or what
    Python says (`error`); `line` is the line of the reader's file.
    """

    exercise: str
    status: Status
    reason: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    line: int = 0


class Unanswered(Exception):
    """A name of the answer that is still as the exercise began."""


class Answer:
    """What the reader's cell defines: `answer.side`, as a value or a function that may not return nothing."""

    def __init__(self, names: Mapping[str, Any]):
        self._names = names

    def __getattr__(self, name: str) -> Any:
        value = self._names.get(name, ...)
        if value is ... or value is None:
            raise Unanswered(name)
        if callable(value) and not isinstance(value, type) and getattr(value, "__module__", "") == "lesson":
            return _answering(name, value)
        return value


def _answering(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        if result is ... or result is None:
            raise Unanswered(name)
        return result

    return call


def asked_names(exercise: Exercise) -> list[str]:
    """The names that an answer must define: those of the cell it begins with."""
    names = []
    for node in parsed(exercise.start.code).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names


def judge(exercise: Exercise, answer: Cell, before: Mapping[str, Any]) -> Judgement:
    """Runs an answer after the cells it needs (`before`, which stays as it is), and says how right it is."""
    namespace = dict(before)
    checker = dict(before)
    run_cell(exercise.check, checker, "exercises.py")
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            run_cell(answer, namespace, READER)
            for name in asked_names(exercise):
                if namespace.get(name, ...) is ...:
                    raise Unanswered(name)
            said = checker["check"](Answer(namespace))
    except Unanswered as unanswered:
        return Judgement(exercise.name, "missing", str(unanswered), line=answer.line)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: the reader's code may do anything
        return Judgement(exercise.name, "error", _told(error), line=_line_of(error, answer))
    if said is None:
        return Judgement(exercise.name, "right")
    reason, values = said if isinstance(said, tuple) else (said, {})
    return Judgement(exercise.name, "nearly" if reason in exercise.nearly else "wrong", reason, values)


def _told(error: BaseException) -> str:
    name = type(error).__name__
    words = error.msg if isinstance(error, SyntaxError) else str(error).strip().split("\n")[0][:200]
    return f"{name}: {words}" if words else name


def _line_of(error: BaseException, answer: Cell) -> int:
    """The last line of the reader's own code that an error has passed."""
    if isinstance(error, SyntaxError) and error.filename == READER:
        return error.lineno or answer.line
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == READER), answer.line)

"""Checks the reader's file in a process of its own, so that no loop without an end and no exit stops the check."""

import io
import json
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from alexnet.lessons.cells import Cell
from alexnet.lessons.execute import needed
from alexnet.lessons.exercises import Judgement, judge
from alexnet.lessons.lesson import Lesson, find_lesson

SECONDS = 30.0  # for one answer
STARTING = 300.0  # for PyTorch to load and for the cells of the lesson that an answer needs


def check_answers(
    lesson: Lesson, answers: Mapping[str, Cell], wanted: Sequence[str], *, seconds: float = SECONDS
) -> Iterator[Judgement]:
    """Judges exercises of a lesson, one by one; an answer gets so many seconds."""
    waiting = []
    for name in wanted:
        if name in answers:
            waiting.append(name)
        else:
            yield Judgement(name, "absent")
    while waiting:
        for judgement in _by_one_process(lesson, {name: answers[name] for name in waiting}, seconds):
            waiting.remove(judgement.exercise)
            yield judgement


def _by_one_process(lesson: Lesson, answers: Mapping[str, Cell], seconds: float) -> Iterator[Judgement]:
    """Judges until all are done, or one took too long or ended the process; at least one."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, lesson.name), daemon=True)
    process.start()
    there.close()
    try:
        for name, cell in answers.items():
            try:
                here.send_bytes(json.dumps({"exercise": name, **asdict(cell)}).encode())
                if not here.poll(STARTING):
                    yield Judgement(name, "slow", line=cell.line)
                    return
                here.recv_bytes()  # what it needs has run
                if not here.poll(seconds):
                    yield Judgement(name, "slow", line=cell.line, values={"seconds": seconds})
                    return
                yield Judgement(**json.loads(here.recv_bytes()))
            except (EOFError, OSError):
                yield Judgement(name, "ended", line=cell.line)
                return
    finally:
        here.close()
        process.kill()
        process.join()


def _work(there: Connection, name: str) -> None:
    """The other process: gets an answer, says when what it needs has run, and sends the judgement."""
    sys.stdin, sys.stderr = io.StringIO(), io.StringIO()
    lesson = find_lesson(name)
    before: dict[tuple[str, ...], dict[str, Any]] = {}
    while True:
        try:
            task = json.loads(there.recv_bytes())
        except (EOFError, OSError):
            return
        exercise = lesson.exercises[task.pop("exercise")]
        if exercise.needs not in before:
            before[exercise.needs] = needed(lesson, exercise.needs)
        there.send_bytes(b"ready")
        judgement = judge(exercise, Cell(**task), before[exercise.needs])
        there.send_bytes(json.dumps(asdict(judgement), default=_plain).encode())


def _plain(value: Any) -> Any:
    """Numbers of NumPy and PyTorch as those of Python; anything else as its words."""
    return value.item() if hasattr(value, "item") else str(value)

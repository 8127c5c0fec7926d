"""A judgement in the reader's words: what is right, what is not and why, and a hint; worked solutions."""

import re
from typing import Any

from alexnet.lessons.execute import needed, run_cell
from alexnet.lessons.exercises import Judgement
from alexnet.lessons.lesson import Lesson
from alexnet.lessons.prose import filled, unwrap
from alexnet.lessons.words import words_of

WITH_HINT = ("nearly", "wrong", "missing")


def heading(lesson: Lesson, language: str, exercise: str) -> str:
    """The heading of an exercise, with the name that its cell has."""
    first = lesson.prose[language].of("exercise", exercise).splitlines()[0]
    return f"{first.lstrip('# ')} [{exercise}]"


def explained(lesson: Lesson, language: str, judgement: Judgement) -> list[str]:
    """The paragraphs that say why an answer is not right; none for one that is."""
    words, prose = words_of(language), lesson.prose[language]
    exercise = lesson.exercises[judgement.exercise]
    told = []
    if judgement.status in ("nearly", "wrong"):
        told = [filled(prose.of("say", f"{exercise.name}.{judgement.reason}"), judgement.values)]
    elif judgement.status != "right":
        values: dict[str, Any] = {"reason": judgement.reason, "line": judgement.line, "exercise": exercise.name} | dict(
            judgement.values
        )
        told = [words[f"why_{judgement.status}"].format(**({"seconds": 0.0} | values))]
        if judgement.reason.startswith("NameError"):
            told.append(words["why_NameError"].format(needs=", ".join(exercise.needs)))
    if judgement.status in WITH_HINT:
        told.append(words["hint_is"].format(text=prose.of("hint", exercise.name)))
    return [paragraph for text in told for paragraph in plain(text)]


def worked(lesson: Lesson, language: str, exercise: str) -> list[str]:
    """The paragraphs beside a worked solution, with what it computes here."""
    chosen = lesson.exercises[exercise]
    values = needed(lesson, chosen.needs, language)
    run_cell(chosen.right, values, "exercises.py")
    return plain(filled(lesson.prose[language].of("worked", exercise), values))


def plain(text: str) -> list[str]:
    """Markdown as paragraphs for a terminal: lines joined, code and emphasis without their marks."""
    text = unwrap(re.sub(r"`|\*\*", "", text))
    return [paragraph.replace("\n", " ") for paragraph in text.split("\n\n") if paragraph.strip()]

"""How far the reader is: one small JSON in the user's folder, which may be deleted."""

import contextlib
import json
import os
from pathlib import Path

from alexnet.lessons.lesson import Lesson
from alexnet.storage.files import parse_json, write_file


def record_file() -> Path:
    """$ALEXNET_HOME/lessons.json, else .alexnet/lessons.json in the user's folder."""
    # Of a user who has no home folder, as in some containers, nothing can be expanded: the folder of the call, then.
    home = os.path.expanduser("~")
    return Path(os.environ.get("ALEXNET_HOME") or Path("." if home == "~" else home, ".alexnet")) / "lessons.json"


def read_record() -> dict[str, list[str]]:
    """By the name of a lesson, its exercises that were answered right; nothing where the record is damaged."""
    try:
        record = parse_json(record_file().read_text(encoding="utf-8"))
        return {str(lesson): [str(name) for name in names] for lesson, names in record.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def solved(lesson: Lesson, record: dict[str, list[str]]) -> int:
    """How many exercises of a lesson were answered right."""
    return sum(name in record.get(lesson.name, []) for name in lesson.exercises)


def remember(lesson: Lesson, right: list[str]) -> bool:
    """Adds exercises that were answered right; false if the user's folder cannot be written, which stops nothing."""
    record = read_record()
    record[lesson.name] = sorted({*record.get(lesson.name, []), *right})
    with contextlib.suppress(OSError):
        record_file().parent.mkdir(parents=True, exist_ok=True)
        write_file(record_file(), json.dumps(record, indent=1).encode())
        return True
    return False

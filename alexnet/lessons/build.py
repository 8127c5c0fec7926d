"""Executes the lessons and writes what is published: `python -m alexnet.lessons.build`, or `make lessons`.

python -m alexnet.lessons.build --out build/lessons     all of them, whole
python -m alexnet.lessons.build 1 2 --small             two of them, a quick look
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from alexnet.lessons.execute import Executed, run_lesson
from alexnet.lessons.lesson import LANGUAGES, Lesson, all_lessons, find_lesson
from alexnet.lessons.notebook import executed_notebook
from alexnet.lessons.site import write_site
from alexnet.lessons.slides import write_slides
from alexnet.text import duration


def build(lessons: Sequence[Lesson], out: Path, *, small: bool, told: Callable[[str], None]) -> Path:
    """Executes lessons once; writes notebooks, pages and slides in all languages, and returns the page to open."""
    done: list[Executed] = []
    for lesson in lessons:
        start = time.monotonic()
        executed = run_lesson(lesson, small=small)
        for language in LANGUAGES:
            folder = out / "notebooks" / language
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(executed_notebook(executed, language), ensure_ascii=False, indent=1)
            (folder / f"{lesson.number:02}_{lesson.name}.ipynb").write_text(text + "\n", encoding="utf-8")
        done.append(executed)
        told(f"lesson {lesson.number} {lesson.name}: {duration(time.monotonic() - start)}")
    write_slides(done, out / "slides")
    return write_site(done, out / "site")


def main() -> None:
    """Reads the command line and builds."""
    parser = argparse.ArgumentParser(
        description="Executes lessons; writes notebooks, pages and slides in both languages."
    )
    parser.add_argument("lessons", nargs="*", help="numbers; without one, all")
    parser.add_argument("--out", type=Path, default=Path("build/lessons"))
    parser.add_argument("--small", action="store_true", help="a quick look: less training, other numbers")
    chosen = parser.parse_args()
    lessons = [find_lesson(number) for number in chosen.lessons] or all_lessons()
    print("open", build(lessons, chosen.out, small=chosen.small, told=print))


if __name__ == "__main__":
    main()

"""The page docs/d2l.md: what its code prints, and the measured answers to the exercises of Dive into Deep Learning.

python -m studies.d2l measure        # runs the worked solutions at full size, rows to results/d2l.jsonl; some minutes
python -m studies.d2l write          # runs the code of the page, and writes outputs and table into both languages

`measure 7.batch 8.direct` takes only these. A row replaces the older one of the same exercise.
"""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
from typing import Any

import torch

from alexnet.lessons.execute import needed, run_cell
from alexnet.lessons.lesson import find_lesson
from alexnet.lessons.prose import filled
from alexnet.runs.environment import commit
from harness import ROOT
from studies.d2l_exercises import ROWS

RESULTS = ROOT / "results/d2l.jsonl"
PAGES = {"en": ROOT / "docs/d2l.md", "zh": ROOT / "docs/d2l.zh-CN.md"}
HEADS = {
    "en": ("exercise", "1.0", "zh", "lesson, exercise", "measured answer"),
    "zh": ("练习", "1.0", "中文版", "课与练习", "测得的答案"),
}


def measure(names: list[str]) -> None:
    """Runs worked solutions at full size, and writes their numbers."""
    rows = {row["exercise"]: row for row in read_rows()}
    source = commit()
    for name in names or sorted({name for row in ROWS for name in row.exercises}):
        lesson = find_lesson(name.partition(".")[0])
        exercise = lesson.exercises[name.partition(".")[2]]
        values = needed(lesson, exercise.needs)
        run_cell(exercise.right, values, "exercises.py")
        numbers = {key: float(value) for key, value in values.items() if _is_number(value)}
        used = {key for row in ROWS for key in row.values(name)}
        rows[name] = {
            "exercise": name,
            "values": {key: numbers[key] for key in sorted(used)},
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "commit": source,
        }
        text = "".join(json.dumps(row) + "\n" for _, row in sorted(rows.items()))
        RESULTS.write_text(text)
        print(name, rows[name]["values"], flush=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_rows() -> list[dict[str, Any]]:
    """The rows that were measured."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def place(name: str) -> str:
    """Where an exercise stands: the lesson, the number of the exercise in it, and its name."""
    number, _, exercise = name.partition(".")
    position = list(find_lesson(number).exercises).index(exercise) + 1
    return f"{number}, {position} `{exercise}`"


def table(language: str) -> str:
    """The exercises with the answers that the rows give."""
    values = {
        f"{row['exercise'].partition('.')[2]}_{key}": value
        for row in read_rows()
        for key, value in row["values"].items()
    }
    lines = ["| " + " | ".join(HEADS[language]) + " |", "|---|---|---|---|---|"]
    for asked in ROWS:
        places = "; ".join(place(name) for name in asked.exercises)
        answer = filled(asked.answer[language], values)
        lines.append(f"| {asked.asked[language]} | {asked.book} | {asked.chinese} | {places} | {answer} |")
    return "\n".join(lines) + "\n"


def with_table(text: str, language: str) -> str:
    """A page with its table of exercises written anew."""
    head, begin, rest = text.partition("<!-- exercises -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    return head + begin + table(language) + end + tail


def with_outputs(text: str) -> str:
    """A page with what its Python prints written into the blocks that follow; runs all of it."""
    namespace: dict[str, Any] = {"__name__": "page"}
    done = []
    for part in re.split(r"(```python\n.*?```\n\n```text\n.*?```)", text, flags=re.DOTALL):
        if code := re.match(r"```python\n(.*?)```", part, re.DOTALL):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code[1], "docs/d2l.md", "exec"), namespace)
            part = f"```python\n{code[1]}```\n\n```text\n{printed.getvalue()}```"
        done.append(part)
    return "".join(done)


def code_blocks(text: str) -> list[str]:
    """The Python of a page and what it prints."""
    return re.findall(r"```python\n.*?```\n\n```text\n.*?```", text, re.DOTALL)


def write() -> None:
    """Writes outputs and tables into both pages."""
    for language, path in PAGES.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            page = with_outputs(path.read_text())
        path.write_text(with_table(page, language))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    command, *names = sys.argv[1:] or ["write"]
    measure(names) if command == "measure" else write()

"""docs/d2l.md: its code prints what it shows, its exercises exist, its figures are those of the measured rows."""

import contextlib
import re

import pytest

from alexnet.lessons.lesson import all_lessons
from studies.d2l import PAGES, code_blocks, read_rows, table, with_outputs, with_table
from studies.d2l_exercises import ROWS

TEXTS = {language: path.read_text(encoding="utf-8") for language, path in PAGES.items()}


def test_its_code_prints_what_is_shown(tmp_path):
    with contextlib.chdir(tmp_path):
        assert code_blocks(with_outputs(TEXTS["en"])) == code_blocks(TEXTS["en"])


def test_both_languages_have_the_same_code_calls_and_links():
    english, chinese = (re.sub(r"  # .*", "", "\n".join(code_blocks(TEXTS[name]))) for name in ("en", "zh"))
    assert english == chinese != ""
    for pattern in (r"`[^`\n]+`", r"^## ", r"^\| ---", r"\]\(\.\./[^)]+\)"):
        prose = (re.sub(r"```.*?```|<!-- exercises.*end -->", "", text, flags=re.DOTALL) for text in TEXTS.values())
        english, chinese = (sorted(re.findall(pattern, text, re.MULTILINE)) for text in prose)
        assert english == chinese, pattern


@pytest.mark.parametrize("language", TEXTS)
def test_the_answers_are_those_that_were_measured(language):
    assert with_table(TEXTS[language], language) == TEXTS[language]
    assert "{" not in table(language)


def test_every_exercise_of_both_editions_stands_in_it_once_and_leads_to_one_of_ours():
    ours = {f"{lesson.number}.{name}" for lesson in all_lessons() for name in lesson.exercises}
    assert {name for row in ROWS for name in row.exercises} <= ours
    for edition, chapters in (("book", {"7.6": 5, "8.1": 8}), ("chinese", {"6.6": 4, "7.1": 5})):
        named = [getattr(row, edition) for row in ROWS if getattr(row, edition)]
        numbers = [(text[:3], int(number)) for text in named for number in re.findall(r"\d+", text[4:])]
        assert sorted(numbers) == [(chapter, n) for chapter, count in chapters.items() for n in range(1, count + 1)]


def test_every_value_of_an_answer_was_measured():
    rows = {row["exercise"]: row["values"] for row in read_rows()}
    for row in ROWS:
        for name in row.exercises:
            assert row.values(name) <= rows.get(name, {}).keys(), name


def test_every_call_of_ours_in_the_table_exists():
    import alexnet

    calls = set(re.findall(r"`alexnet\.(\w+)", TEXTS["en"]))
    assert calls
    assert all(hasattr(alexnet, call) for call in calls)

"""What reads the lessons: prose and exercises of the right form, values filled in, words in both languages."""

import gc
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from alexnet.lessons.cells import Cell, assigned, parsed, typed
from alexnet.lessons.lesson import LANGUAGES, all_lessons, read_exercises
from alexnet.lessons.prose import Block, filled, read_prose, unwrap, values_in, without_values
from alexnet.lessons.words import WORDS, words_of


@pytest.mark.parametrize(
    "text",
    ["no heading", "# T\n\nS\n\n@cel x", "# T\n\nS\n@cell", "# T\n\nS\n@text x", "@text\n# T", "# T\nS", "", "@"],
)
def test_prose_that_is_not_of_the_form_is_refused(tmp_path, text):
    (tmp_path / "en.md").write_text(text)
    with pytest.raises(ValueError, match=r"en\.md"):
        read_prose(tmp_path / "en.md")


@pytest.mark.parametrize(
    "header", ["a start]\n# %% [a right", "a begin", "a nearly", "a start x", "start", "a right: b c]\n# %% [a check"]
)
def test_exercises_that_are_not_whole_are_refused(tmp_path, header):
    (tmp_path / "exercises.py").write_text(f"# %% [{header}]\nx = 1\n")
    with pytest.raises(ValueError, match="exercises"):
        read_exercises(tmp_path / "exercises.py")


def test_a_value_that_no_cell_computes_is_refused():
    assert filled("{a:.1%} of {b} and { this } {}", {"a": 0.25, "b": 3}) == "25.0% of 3 and { this } {}"
    with pytest.raises(ValueError, match=r"\{c\}"):
        filled("{c}", {"a": 1})
    assert Block("text", "", "{a} {b:,}", 1).values == ["a", "b"]


def test_lines_in_chinese_are_joined_without_a_space_and_others_stay():
    assert unwrap("图像，\n然后 a\nb 卷\n\n积\n- c") == "图像，然后 a\nb 卷\n\n积\n- c"


def test_the_words_around_the_lessons_are_in_the_catalogue_with_the_same_fields():
    english, chinese = (words_of(language) for language in LANGUAGES)
    assert english == WORDS
    for name, text in english.items():
        assert sorted(re.findall(r"{([^}]+)}", text)) == sorted(re.findall(r"{([^}]+)}", chinese[name])), name
        assert chinese[name] != text, name


@pytest.mark.parametrize(
    ("code", "names", "values"),
    [
        ("side = 224", {"side"}, {"side": 224}),
        ("a, b = 1, 2.5  # of the paper", {"a", "b"}, {"a": 1, "b": 2.5}),
        ("a, b = 1, f()", {"a", "b"}, {"a": 1}),
        ("a, b = pair", {"a", "b"}, {}),
        ("a, (b, c) = 1, (2, 3)", {"a", "b", "c"}, {"a": 1}),
        ("a = b = 3", {"a", "b"}, {}),
        ("epochs = 2 if small else 10", {"epochs"}, {"epochs": 10}),
        ("epochs = 2 if quick else 10", {"epochs"}, {}),
        ("n = -1e-4", {"n"}, {"n": -1e-4}),
        ("n = 2 * 3", {"n"}, {}),
        ("n = 1\nn = 2", {"n"}, {}),
        ("n = 1\nn += 1", {"n"}, {}),
        ("n = 1\nfor n in range(3):\n    m = 4", {"n", "m"}, {"m": 4}),
        ("with open(f) as g:\n    h = 5", {"g", "h"}, {"h": 5}),
        ("def f():\n    x = 1\n    return x", set(), {}),
        ("sides = {}\nsides[1] = 2", {"sides"}, {}),
        ("rows = [1, 2]", {"rows"}, {}),
        ("name = 'conv1'", {"name"}, {"name": "conv1"}),
        ("x = [y for y in z]", {"x"}, {}),
        ("x = {y: w for y in z}", {"x"}, {}),
        ("print(first := 3)", {"first"}, {}),
        ("names[0] = 1\nthing.part = 2", set(), {}),
    ],
)
def test_names_of_a_cell_and_those_whose_value_is_typed(code, names, values):
    assert assigned(code) == names
    assert typed([Cell("a", code, 1)]) == values
    assert typed([Cell("a", code, 1), Cell("b", "".join(f"{name} = 0\n" for name in names), 1)]) == {}


def test_values_that_are_not_there_yet_are_left_out():
    assert without_values("{a:.1%} of {b}, {a}", {"a"}) == "… of {b}, …"
    assert values_in("{a:.1%} of {b} `{c}` {D}") == ["a", "b", "c"]


def test_threads_may_read_code_at_the_same_time():
    """Python 3.11 fails here without the lock; the garbage collector is where its threads take turns in the middle."""

    def take_turns(*_):
        sum(range(200))

    codes = [cell.code for lesson in all_lessons() for cell in lesson.cells.values()]
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    gc.callbacks.append(take_turns)
    try:
        gc.set_threshold(20)
        sys.setswitchinterval(1e-6)
        parsed.cache_clear()
        with ThreadPoolExecutor(4) as pool:
            read = [pool.submit(parsed.__wrapped__, code) for _ in range(2) for code in codes]
        assert all(each.result().body for each in read)
    finally:
        gc.callbacks.remove(take_turns)
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)

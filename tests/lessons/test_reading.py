"""What reads the lessons: prose and exercises of the right form, values filled in, words in both languages."""

import re

import pytest

from alexnet.lessons.lesson import LANGUAGES, read_exercises
from alexnet.lessons.prose import Block, filled, read_prose, unwrap
from alexnet.lessons.words import WORDS


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


def test_the_words_around_the_lessons_exist_in_both_languages_with_the_same_fields():
    fields = {each: {name: re.findall(r"{(\w+)", text) for name, text in WORDS[each].items()} for each in LANGUAGES}
    assert fields["en"].keys() == fields["zh"].keys()
    for name in fields["en"]:
        assert sorted(fields["en"][name]) == sorted(fields["zh"][name]), name

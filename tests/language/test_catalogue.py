"""The Chinese catalogue: every message of the source is in it, with all its values, in Chinese."""

import re
from pathlib import Path

import pytest

from alexnet.language.words import words_of
from harness.labels import LABELS
from harness.messages import CATALOGUE, messages, read, wrong_places

ENTRIES = read()
MESSAGES = messages()
CHINESE = re.compile(r"[\u4e00-\u9fff]")
FOREIGN = ("E279",)  # what other libraries say, in their words
SAID = (Path(__file__).parents[1] / "project/errors.txt").read_text().rstrip("\n").split("\n\n")


def test_every_message_has_a_translation():
    lacking = [template for template in MESSAGES if not ENTRIES.get(template)]
    assert not lacking, f"make messages, then translate in {CATALOGUE.name}"


def test_no_translation_is_of_a_message_that_is_gone():
    assert set(ENTRIES) <= set(MESSAGES)


def test_every_value_has_its_place():
    wrong = {
        template: fault
        for template, message in MESSAGES.items()
        if (fault := wrong_places(message, ENTRIES.get(template, template)))
    }
    assert not wrong


def test_labels_are_said_in_chinese():
    say = words_of("zh")
    assert [label for label in LABELS if say(label) == label] == []


@pytest.mark.parametrize("number", range(len(SAID)), ids=lambda number: SAID[number][:5])
def test_every_error_is_said_in_chinese(number):
    first, *rest = SAID[number].splitlines()
    if first[:4] not in FOREIGN and not re.search(r"[: ] ?\.\.\.$", first):
        assert CHINESE.search(words_of("zh")(first)), first
    fix = "\n".join(rest)
    if re.search(
        r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", re.sub(r"`[^`]*`|^(pip|alexnet) .*", "", fix)
    ):  # more than a command
        assert CHINESE.search(words_of("zh")(fix)), fix

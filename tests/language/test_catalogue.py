"""The Chinese catalogue: every message of the source is in it, with all its values, in Chinese."""

import re
from functools import cache
from pathlib import Path

import pytest

from alexnet.language.words import words_of
from harness import messages as source
from harness.labels import LABELS
from harness.messages import CATALOGUE, Message, read, wrong_places

CHINESE = re.compile(r"[\u4e00-\u9fff]")
FOREIGN = ("E279",)  # what other libraries say, in their words
SAID = (Path(__file__).parents[1] / "project/errors.txt").read_text().rstrip("\n").split("\n\n")


@cache
def messages() -> dict[str, Message]:
    """The messages of the source."""
    return source.messages()


entries = cache(read)  # the catalogue: message -> translation


def test_every_message_has_a_translation():
    lacking = [template for template in messages() if not entries().get(template)]
    assert not lacking, f"make messages, then translate in {CATALOGUE.name}"


def test_no_translation_is_of_a_message_that_is_gone():
    assert set(entries()) <= set(messages())


def test_every_value_has_its_place():
    wrong = {
        template: fault
        for template, message in messages().items()
        if (fault := wrong_places(message, entries().get(template, template)))
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

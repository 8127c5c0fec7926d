"""What the demo names next: a command that opens lesson 1 as it can be typed there, in the reader's language."""

import sys

import pytest

from alexnet.cli.demo import first_lesson
from alexnet.language.speak import said, speaking


@pytest.mark.parametrize(
    ("typed", "found", "spoken", "variable", "command"),
    [
        (".venv/bin/alexnet", False, "en", "", ".venv/bin/alexnet learn 1"),  # make demo, nothing activated
        (".venv/bin/alexnet", False, "zh", "", ".venv/bin/alexnet learn 1 --lang zh"),
        (".venv/bin/alexnet", False, "zh", "zh", ".venv/bin/alexnet learn 1"),  # the variable says it next time, too
        ("/opt/bin/alexnet", True, "en", "", "alexnet learn 1"),
        ("/opt/bin/alexnet", True, "zh", "", "alexnet learn 1 --lang zh"),
        ("/opt/bin/alexnet", True, "en", "zh", "alexnet learn 1 --lang en"),
        ("/opt/alexnet/__main__.py", False, "en", "", "alexnet learn 1"),
    ],
)
def test_the_command_for_lesson_1(typed, found, spoken, variable, command, monkeypatch):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, "C")
    monkeypatch.setenv("ALEXNET_LANG", variable)
    monkeypatch.setattr(sys, "argv", [typed, "demo"])
    monkeypatch.setattr("shutil.which", lambda name: typed if found else None)
    with speaking(spoken):
        assert first_lesson() == command
        line = said(f"Next:  {first_lesson():29} the first lesson: from LeNet to AlexNet")
    assert command in line
    assert ("第一课" in line) == (spoken == "zh")

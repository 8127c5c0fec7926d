"""A value that is missing is named as it was typed, also under a Cyclopts that does not say what was typed."""

import sys
from types import SimpleNamespace

import pytest

from alexnet.cli.main import _typed_keyword

OUT, RUN = SimpleNamespace(names=("--out", "-o")), SimpleNamespace(names=("RUN", "--run"))


@pytest.mark.parametrize(
    ("typed", "argument", "keyword"),
    [
        ("train photos --out", OUT, "--out"),
        ("train photos -o", OUT, "-o"),
        ("predict --run", RUN, "--run"),
        ("predict", RUN, None),  # a positional argument
        ("predict --runs x", RUN, None),  # another name that begins alike
        ("train out", OUT, None),
        ("", OUT, None),
        ("train --out", None, None),
    ],
)
def test_the_name_before_a_missing_value_is_found_in_what_was_typed(monkeypatch, typed, argument, keyword):
    monkeypatch.setattr(sys, "argv", ["alexnet", *typed.split()])
    assert _typed_keyword(SimpleNamespace(argument=argument)) == keyword


@pytest.mark.parametrize("keyword", ["-o", None])
def test_a_newer_cyclopts_says_it(monkeypatch, keyword):
    monkeypatch.setattr(sys, "argv", ["alexnet", "train", "--out"])
    assert _typed_keyword(SimpleNamespace(argument=OUT, keyword=keyword)) == keyword


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict",), "E202 alexnet predict needs RUN"),
        (("evaluate",), "E202 alexnet evaluate needs RUN"),
        (("train", "photos", "--out"), "E202 --out needs a value"),
        (("serve", "run", "--port"), "E202 --port needs a value"),
    ],
)
def test_the_command_line_names_it(alexnet, words, said):
    outcome = alexnet(*words)
    assert (outcome.code, outcome.err.splitlines()[0]) == (2, f"alexnet: {said}")

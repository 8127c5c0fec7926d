"""JSON that anybody may have written is read at one place, which knows one kind of error."""

import re

import pytest

from alexnet.storage.files import parse_json
from harness import ROOT

DEEP = 100_000
HOSTILE = {
    "brackets": "[" * DEEP,
    "brackets that close": "[" * DEEP + "]" * DEEP,
    "records": '{"a":' * DEEP,
    "a list in a record": '{"a": 1, "b": ' + "[" * DEEP + "]" * DEEP + "}",
    "a number of 400 digits": '{"a": 1' + "0" * 400 + "}",
    "the same below zero": "[-1" + "0" * 400 + "]",
    "a number of 5,000 digits": "9" * 5000,
    "not UTF-8": b"\xff\xfe{}",
    "nothing": "",
    "cut off": '{"a": [1, 2',
    "two of them": "{} {}",
}
INNOCENT = {
    "{}": {},
    "[" * 400 + "]" * 400: None,
    '{"seed": 18446744073709551616}': {"seed": 1 << 64},
    "[1" + "0" * 300 + "]": [10**300],
    "[-0, 1.5, -2e3, true, null]": [0, 1.5, -2000.0, True, None],
    '"' + "[" * DEEP + '"': "[" * DEEP,
    '"' + "9" * 5000 + '"': "9" * 5000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_json_that_one_can_work_with_is_a_value_error(name):
    with pytest.raises(ValueError):  # noqa: PT011 - of any words
        parse_json(HOSTILE[name])


@pytest.mark.parametrize("number", range(len(INNOCENT)))
def test_what_looks_alike_is_read(number):
    text, value = list(INNOCENT.items())[number]
    assert value is None or parse_json(text) == value
    assert parse_json(text.encode()) == parse_json(text)


def test_nothing_else_reads_json_but_what_this_program_has_just_written():
    own = {
        "storage/files.py",
        *("lessons/check.py", "data/image_guard.py", "data/guarded_decoding.py", "weights/pickles.py"),  # its processes
        "serving/json_body.py",  # counts values, and refuses the same errors
    }
    of_values = re.compile(r"json\.loads\((json\.dumps|to_json)\(")
    found = set()
    for path in (ROOT / "alexnet").rglob("*.py"):
        if "json.load" in of_values.sub("", path.read_text()):
            found.add(path.relative_to(ROOT / "alexnet").as_posix())
    assert {name for name in found if "lessons/course" not in name} == own

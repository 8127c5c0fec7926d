"""What a reader meets: the list, a file of their own, and a kind word for whatever stands in it."""

import json
import pwd
import re

import pytest

from alexnet.language.choose import choose_language
from alexnet.lessons.cells import Cell
from alexnet.lessons.check import check_answers
from alexnet.lessons.execute import needed
from alexnet.lessons.exercises import judge
from alexnet.lessons.explain import explained
from alexnet.lessons.lesson import LANGUAGES, find_lesson

LESSON = find_lesson("1")
SIDE = LESSON.exercises["side"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ALEXNET_LANG", raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def ready() -> dict:
    return needed(LESSON, SIDE.needs)


MISTAKES = [
    ("def output_side(:\n    pass", "error", "SyntaxError", 1),
    ("x = 1\n  y = 2", "error", "IndentationError", 2),
    ("def output_side(*a):\n    return (1", "error", "SyntaxError", 2),
    ("output_side = 'a' + 1", "error", "TypeError", 1),
    ("def output_side(image, kernel, stride, padding):\n    return image / 0", "error", "ZeroDivisionError", 2),
    ("def output_side(image):\n    return 1", "error", "TypeError", 1),
    ("output_side = 5", "error", "TypeError", 1),
    ("def output_side(*a):\n    return sidee", "error", "NameError", 2),
    ("def output_side(*a):\n    return output_side(*a)", "error", "RecursionError", 2),
    ("import nowhere_at_all", "error", "ModuleNotFoundError", 1),
    ("raise SystemExit('bye')", "error", "SystemExit: bye", 1),
    ("raise Exception", "error", "Exception", 1),
    ("assert False, 'no'", "error", "AssertionError: no", 1),
    ("\x00", "error", "SyntaxError", 1),
    ("", "missing", "output_side", 1),
    ("# later", "missing", "output_side", 1),
    ("output_side = ...", "missing", "output_side", 1),
    ("output_side = None", "missing", "output_side", 1),
    ("def output_side(*a):\n    ...", "missing", "output_side", 1),
    ("def output_side(*a):\n    print(1)", "missing", "output_side", 1),
    ("def Output_side(*a):\n    return 1", "missing", "output_side", 1),
    ("def output_side(*a):\n    return 'five'", "error", "ValueError", 1),
    ("def output_side(*a):\n    return -1", "wrong", "other", 0),
    ("output_side = lambda i, k, s, p: (i + 2 * p - k) // s + 1", "right", "", 0),
    (
        "import warnings\nwarnings.warn('x')\noutput_side = lambda i, k, s, p: int((i + 2 * p - k) / s) + 1",
        "right",
        "",
        0,
    ),
]


@pytest.mark.parametrize(("code", "status", "reason", "line"), MISTAKES, ids=range(len(MISTAKES)))
def test_whatever_stands_in_an_answer_is_told_in_words_and_by_its_line(code, status, reason, line, ready, recwarn):
    judgement = judge(SIDE, Cell("side", code, 41), ready)
    assert judgement.status == status, judgement
    assert judgement.reason.startswith(reason)
    assert judgement.line == (line + 40 if line else 0)
    for language in LANGUAGES:
        told = explained(LESSON, language, judgement)
        assert bool(told) == (status != "right")
        assert "Traceback" not in "".join(told)


def test_loops_without_an_end_exits_and_what_follows_them(monkeypatch):
    """In the process of its own; one loop and one exit, since each starts PyTorch anew."""
    answers = {
        "side": Cell("side", "while True:\n    try:\n        pass\n    except BaseException:\n        pass", 1),
        "count": Cell("count", "import os\nos._exit(0)", 9),
        "largest": Cell("largest", 'print("x")\nmost_parameters, most_products = "fc6", "conv2"', 20),
    }
    judged = list(check_answers(LESSON, answers, list(LESSON.exercises), seconds=1.0))
    assert {each.exercise: each.status for each in judged} == {
        "gigabyte": "absent",
        "intensity": "absent",
        "side": "slow",
        "count": "ended",
        "largest": "right",
    }
    for each in judged[:-1]:
        for language in LANGUAGES:
            (told,) = explained(LESSON, language, each)
            assert "{" not in told


def test_from_the_list_to_a_checked_lesson(alexnet, tmp_path, monkeypatch):
    assert "0 of 5" in alexnet("learn").out
    opened = alexnet("learn", 1).out
    path = tmp_path / "lessons" / "lesson_01.py"
    assert "lessons/lesson_01.py" in opened
    assert "alexnet learn check 1" in opened
    text = path.read_text(encoding="utf-8")
    mine = text.replace("most_parameters = ...", 'most_parameters = "fc6"').replace(
        "most_products = ...", 'most_products = "conv2"'
    )
    path.write_text(mine, encoding="utf-8")
    assert "still there" in alexnet("learn", 1).out
    assert path.read_text(encoding="utf-8") == mine
    monkeypatch.setattr("alexnet.lessons.check.check_answers", in_this_process)
    told = alexnet("learn", "check", 1).out
    assert re.search(r"✓ .*\[largest\]: right", told)
    assert told.count("no answer yet") == 4
    assert "1 of 5" in told
    assert max(map(len, told.splitlines())) <= 80
    record = json.loads((tmp_path / "home/lessons.json").read_text())
    assert record == {"lenet_to_alexnet": ["largest"]}
    assert "1 / 5" in alexnet("learn", "--lang", "zh").out
    only = json.loads(alexnet("learn", "check", 1, "--exercise", "side", "--format", "json", "--lang", "zh").out)
    assert [(each["exercise"], each["status"]) for each in only["exercises"]] == [("side", "missing")]
    assert "提示" in only["exercises"][0]["said"][-1]
    assert json.loads((tmp_path / "home/lessons.json").read_text()) == record
    alexnet("learn", 1, "--fresh", "--lang", "zh")
    assert (tmp_path / "lessons/lesson_01.old-1.py").read_text(encoding="utf-8") == mine
    assert "从 LeNet 到 AlexNet" in path.read_text(encoding="utf-8")


def in_this_process(lesson, answers, wanted):
    return (judge(lesson.exercises[n], answers[n], needed(lesson, lesson.exercises[n].needs)) for n in wanted)


def test_a_notebook_is_checked_as_a_file_is(alexnet, tmp_path, monkeypatch):
    monkeypatch.setattr("alexnet.lessons.check.check_answers", in_this_process)
    alexnet("learn", 1, "--notebook")
    path = tmp_path / "lessons/lesson_01.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(each for each in notebook["cells"] if "[exercise side]" in each["source"][0])
    cell["source"] = ["# %% [exercise side]\n", "def output_side(i, k, s, p):\n", "    return (i + 2 * p - k) // s + 1"]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert "right" in alexnet("learn", "check", 1, "--exercise", "side").out


def test_a_worked_solution_is_shown_with_what_it_computes(alexnet):
    out = alexnet("learn", 1, "--answer", "--exercise", "side").out
    assert "// stride + 1" in out
    assert "conv1 gives 54" in " ".join(out.split())


def test_a_record_that_is_damaged_or_cannot_be_written_stops_nothing(alexnet, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    for damaged in ("{", "[]", "7", '{"a": 1}', "\x00"):
        (tmp_path / "home/lessons.json").write_text(damaged)
        assert alexnet("learn").code == 0
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path / "home/lessons.json"))
    monkeypatch.setattr("alexnet.lessons.check.check_answers", in_this_process)
    alexnet("learn", 1)
    done = alexnet("learn", "check", 1, "--exercise", "side")
    assert done.code == 0
    assert "cannot be written" in done.err


def test_without_a_home_the_record_stays_where_one_is(alexnet, tmp_path, monkeypatch):
    """As in a container whose user has no line in /etc/passwd."""

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "ALEXNET_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("alexnet.lessons.check.check_answers", in_this_process)
    assert alexnet("learn").code == 0
    assert alexnet("learn", 1).code == 0
    assert alexnet("learn", "check", 1, "--exercise", "side").code == 0
    assert (tmp_path / ".alexnet/lessons.json").is_file()


@pytest.mark.parametrize(
    ("named", "variables", "language"),
    [
        ("zh", {}, "zh"),
        ("zh_CN", {"ALEXNET_LANG": "en"}, "zh"),
        ("EN", {"ALEXNET_LANG": "zh"}, "en"),
        (None, {"ALEXNET_LANG": "zh", "LC_ALL": "en_US.UTF-8"}, "zh"),
        (None, {"ALEXNET_LANG": "en", "LC_ALL": "zh_CN.UTF-8"}, "en"),
        (None, {"LC_ALL": "zh_CN.UTF-8"}, "zh"),
        (None, {"LC_ALL": "", "LANG": "zh_TW.UTF-8"}, "zh"),
        (None, {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        (None, {"LC_ALL": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_language_is_the_one_named_then_the_variables_then_the_locales(named, variables, language, monkeypatch):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, "")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert choose_language(named) == language

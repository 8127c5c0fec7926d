"""How the tests themselves are run: packages that are said to be missing, the lowest versions, the slow ones."""

import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import distributions

import pytest

from harness import ROOT, other_python
from harness.lowest_versions import lowest, name_of, requirements
from harness.processor_time import family_seconds
from harness.slow_tests import LIST, is_slow, listed, slow_of


@pytest.mark.parametrize(
    ("hidden", "wanted", "found"),
    [
        ("colorsys", "colorsys", False),
        ("colorsys,wave", "wave", False),
        ("xml", "xml.dom.minidom", False),
        ("", "colorsys", True),
        ("colors", "colorsys", True),  # another name that begins alike
        ("dom", "xml.dom", True),
    ],
)
def test_what_is_hidden_cannot_be_imported_and_all_else_can(hidden, wanted, found):
    code = (
        "import sys\nfrom harness.missing_packages import hide\n"
        f"hide([name for name in {hidden!r}.split(',') if name])\n"
        f"try:\n    import {wanted}\n    print('found')\n"
        f"except ModuleNotFoundError as error: print(error, error.name)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert said == ("found\n" if found else f"No module named {wanted.split('.')[0]!r} {wanted.split('.')[0]}\n")


@pytest.mark.parametrize(
    ("asked", "pinned"),
    [
        ("torch>=2.10", "torch==2.10"),
        ("fsspec[http]>=2024.6", "fsspec[http]==2024.6"),
        ("numba>=0.61; python_version < '3.15'", "numba==0.61;python_version<'3.15'"),
        ("pillow-heif >= 1", "pillow-heif==1"),
    ],
)
def test_the_lowest_version_is_the_one_that_is_asked_for(asked, pinned):
    assert lowest(asked) == pinned


@pytest.mark.parametrize("asked", ["torch", "torch==2.10", "torch<3", "torch>=2.10,<3", "torch~=2.10"])
def test_a_requirement_without_a_lowest_version_is_refused(asked):
    with pytest.raises(ValueError, match="torch"):
        lowest(asked)


def test_every_package_that_is_needed_is_pinned_once_and_tools_are_not():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = requirements(project["dependencies"], extras, without=("ruff",))
    names = [name_of(line) for line in lines]
    assert len(names) == len(set(names))
    needed = {name_of(each) for each in project["dependencies"]}
    needed |= {name_of(each) for extra, asked in extras.items() if extra != "dev" for each in asked}
    assert {name_of(line) for line in lines if "==" in line.partition(";")[0]} == needed
    assert "ruff" not in names
    assert "pytest" in names


def pythons(folder, answers):
    """A folder with commands that stand for Pythons, and what each answers; None: it does not start."""
    folder.mkdir(parents=True)
    for version, answer in answers.items():
        command = folder / f"python{version}"
        command.write_text("#!/bin/sh\n" + ("exit 127\n" if answer is None else f"echo {answer}\n"))
        command.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("on_path", "of_pyenv", "found"),
    [
        ({}, {}, None),
        ({"3.12": "3.12", "3.13": "3.13"}, {}, "3.13"),
        ({"3.12": "3.12", "3.13": None}, {}, "3.12"),  # a command of pyenv for what is not switched on
        ({"3.12": "3.12", "3.13": None}, {"3.13": "3.13"}, "3.13"),
        ({"3.13": "3.12"}, {}, None),  # not what its name says
        ({"3.11": "3.11", "3.10": "3.10"}, {}, None),  # not newer
    ],
)
def test_a_newer_python_is_one_that_starts_and_is_what_its_name_says(tmp_path, monkeypatch, on_path, of_pyenv, found):
    monkeypatch.setenv("PATH", pythons(tmp_path / "bin", on_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    pythons(tmp_path / "pyenv/versions/3.13.0/bin", of_pyenv)
    path = other_python.find(this=(3, 11))
    assert (path and path.rpartition("python")[2]) == found


def test_a_newer_python_is_newer_than_the_one_that_asks(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", pythons(tmp_path / "bin", {"3.12": "3.12", "3.13": "3.13"}))
    assert other_python.find(this=(3, 13)) is None
    assert other_python.find(this=(3, 12)).endswith("python3.13")


def test_another_python_gets_what_is_compiled_for_this_one_and_nothing_else():
    needed = other_python.compiled(list(distributions()))
    names = {name_of(each) for each in needed}
    assert {"torch", "numpy", "pillow", "pydantic_core", "matplotlib"} <= names
    assert not names & {"rich", "cyclopts", "fastapi", "pytest", "safetensors", "mypy", "nvidia-cublas"}
    assert not any("+" in each for each in needed)


def test_every_slow_test_is_there():
    for line in LIST.read_text().split():
        file, _, function = line.partition("::")
        path = ROOT / "tests" / file
        assert path.is_file(), line
        assert not function or f"def {function}(" in path.read_text(), line
    assert LIST.read_text() == "".join(f"{line}\n" for line in sorted(listed()))


def test_what_takes_long_is_slow_alone_and_with_it_a_file_that_does_little_else():
    seconds = defaultdict(lambda: defaultdict(list))
    seconds["quick.py"] |= {"test_a": [0.01] * 290, "test_b": [0.0]}
    seconds["mixed.py"] |= {"test_a": [0.01] * 290, "test_b": [0.5, 0.01]}
    seconds["many.py"] |= {"test_a": [0.01] * 310, "test_b": [0.01]}
    seconds["whole.py"] |= {"test_a": [0.01] * 9, "test_b": [30.0]}
    lines = slow_of(seconds)
    assert lines == ["many.py::test_a", "mixed.py::test_b", "whole.py"]
    chosen = [is_slow(file, name, frozenset(lines)) for file in seconds for name in seconds[file]]
    assert chosen == [False, False, False, True, True, False, True, True]


def test_no_test_reads_a_clock():
    """What it would compare hangs on how busy the machine is. Processor time is `harness.processor_time`."""
    clock = re.compile(r"\b(perf_counter|monotonic|time\.time)(_ns)?\(\)|datetime\.now\(\) -")
    found = [path for path in sorted((ROOT / "tests").rglob("*.py")) if clock.search(path.read_text())]
    assert found == []


def test_processor_time_is_that_of_children_too_while_they_run_and_after():
    """Of a child that computes, and not of one that waits."""
    code = "import sys, time\nwhile time.process_time() < {}: pass\nprint(flush=True)\nsys.stdin.read()"
    for seconds in (0.3, 0):
        before = family_seconds()
        with subprocess.Popen(
            [sys.executable, "-S", "-c", code.format(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            child.stdout.readline()
            running = family_seconds() - before
            child.stdin.close()
            child.wait()
        assert seconds <= running <= family_seconds() - before + 0.01 < seconds + 0.25


def test_no_file_hides_a_fixture_that_every_test_has():
    """A fixture of the same name in a file replaces it there, without a word."""
    everywhere = set(re.findall(r"^def (_\w+)\(", (ROOT / "tests/conftest.py").read_text(), re.M))
    assert "_one_thread" in everywhere
    for path in (ROOT / "tests").glob("*/**/test_*.py"):
        assert not everywhere & set(re.findall(r"^def (_\w+)\(", path.read_text(), re.M)), path

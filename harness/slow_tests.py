"""Writes tests/slow.txt, the tests that `make test-fast` leaves out: pytest -p harness.slow_tests.

A line is a file, or a file and a function. Run it on a machine that does nothing else.
"""

from collections import defaultdict
from pathlib import Path

import pytest

LIST = Path(__file__).resolve().parents[1] / "tests/slow.txt"
SECONDS = 0.08  # of one case; what takes longer is slow
ALL_SECONDS = 3.0  # of all cases of a function; what takes longer is slow too
SHARE = 0.5  # of the seconds of a file in slow functions and fixtures, from which on all of it is slow
FILE_SECONDS = 20.0

_seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))


def is_slow(file: str, function: str, listed: frozenset[str]) -> bool:
    """Whether a test is in the list."""
    return file in listed or f"{file}::{function}" in listed


def listed() -> frozenset[str]:
    """The lines of the list."""
    return frozenset(LIST.read_text().split()) if LIST.exists() else frozenset()


def slow_of(seconds: dict[str, dict[str, list[float]]]) -> list[str]:
    """The lines for tests that took so long: file -> function -> the seconds of its cases.

    A file that takes long and most of it in slow functions is slow as a whole, because what its fast tests share with
    the slow ones would take long for them alone.
    """
    lines = []
    for file, functions in seconds.items():
        slow = {n for n, each in functions.items() if sum(each) / len(each) > SECONDS or sum(each) > ALL_SECONDS}
        total = sum(map(sum, functions.values()))
        if total > FILE_SECONDS and sum(sum(functions[name]) for name in slow) > SHARE * total:
            lines.append(file)
        else:
            lines += [f"{file}::{name}" for name in slow]
    return sorted(lines)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds the seconds of a part of a test; of fixtures too, as each is set up for the first that needs it."""
    file, _, function = report.nodeid.partition("::")
    cases = _seconds[file.removeprefix("tests/")][function.partition("[")[0]]
    if report.when == "call" or (report.when == "setup" and report.duration > SECONDS):
        cases.append(report.duration)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the list, in the process that started the others."""
    if not hasattr(session.config, "workerinput"):
        LIST.write_text("".join(f"{line}\n" for line in slow_of(_seconds)))

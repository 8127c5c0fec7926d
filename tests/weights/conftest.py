"""Pickles are read in the process of the tests, for starting another takes seconds; test_pickles.py starts it."""

import contextlib
import io
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from alexnet.weights import pickles


def _run_here(command: list[str], **_: Any) -> SimpleNamespace:
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = pickles.main(command[3:])
    return SimpleNamespace(returncode=code, stdout=told.getvalue().encode())


@pytest.fixture(autouse=True)
def _read_pickles_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.path.name != "test_pickles.py":
        here = SimpleNamespace(run=_run_here, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
        monkeypatch.setattr(pickles, "subprocess", here)
        monkeypatch.setattr(pickles, "_limit", lambda size: None)

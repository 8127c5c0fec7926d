"""Names in any letters, where the locale or the terminal has none for them: every verb works and no name is blamed."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from alexnet.cli import main as command_line
from harness import ROOT
from harness.small_runs import TINY, call

CLASSES = ("café", "玫瑰", "\U0001f408")
ASCII = {
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
}  # what Python makes of C by itself is switched off


def photos(root: Path) -> Path:
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.random.default_rng(10 * label + i).integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"图{i}.png")
    (root / "玫瑰" / "坏é.png").write_bytes(b"")
    return root


def python(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    base = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, env=kept | base | environment, timeout=120
    )


def test_a_folder_of_any_letters_is_prepared_where_the_locale_has_none(tmp_path):
    """In a process of its own, since Python reads names as the locale says from its first line on."""
    root, out = photos(tmp_path / "图片 é"), tmp_path / "图"
    done = python("-m", "alexnet", "prepare", root, out, "--size", 24, **ASCII)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads((out / "prepared.json").read_bytes())["class_names"] == sorted(CLASSES)
    assert "left out: 玫瑰/坏é.png: the file is empty" in done.stdout.decode()


def test_a_program_in_such_a_locale_is_told_the_cause_and_no_name_is_blamed(tmp_path):
    script = "import sys; from alexnet.data.sources import open_source; open_source(sys.argv[1])"
    said = python("-c", script, photos(tmp_path / "图片"), **ASCII).stderr.decode()
    assert "E359" in said
    assert "'caf\\xe9'" in said
    assert "takes names for ascii" in said
    assert "PYTHONUTF8=1" in said
    assert "Rename" not in said


@pytest.mark.parametrize(
    ("encoding", "mode", "system", "again"),
    [
        ("ascii", 0, "posix", True),
        ("iso8859-1", 0, "posix", True),
        ("iso8859-15", 0, "posix", True),
        ("gb2312", 0, "posix", True),
        ("utf-8", 0, "posix", False),
        ("utf-8", 1, "posix", False),
        ("ascii", 1, "posix", False),  # whatever happens, never twice
        ("mbcs", 0, "nt", False),
    ],
)
def test_the_command_begins_again_just_where_names_are_not_utf8(monkeypatch, encoding, mode, system, again):
    begun: list[tuple] = []
    streams = {"stdout": sys.stdout, "executable": "/python", "orig_argv": ["python", "-P", "-m", "alexnet", "\udcff"]}
    there = SimpleNamespace(getfilesystemencoding=lambda: encoding, flags=SimpleNamespace(utf8_mode=mode), **streams)
    monkeypatch.setattr(command_line, "sys", there)
    here = SimpleNamespace(name=system, environ={"A": "1"}, execve=lambda *arguments: begun.append(arguments))
    monkeypatch.setattr(command_line, "os", here)
    command_line._names_in_utf8()
    command = ["/python", "-X", "utf8", "-P", "-m", "alexnet", "\udcff"]
    assert begun == [("/python", command, {"A": "1", "PYTHONUTF8": "1"})] * again


# --- what the terminal has no letters for ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose classes have all sorts of letters, with its images beside it."""
    root = tmp_path_factory.mktemp("letters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALEXNET_CACHE", str(root / "cache"))
        done = call("train", photos(root / "图片"), *TINY, "epochs=1", "--out", root / "run", "--device", "cpu")
    assert done.code == 0, done.err
    return root


def told(monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: object) -> tuple[int, str]:
    """Exit code and standard output of a command, in an encoding; one that cannot be written fails the test."""
    raw, errors = io.BytesIO(), io.BytesIO()
    out, err = io.TextIOWrapper(raw, encoding), io.TextIOWrapper(errors, encoding)
    code = 0
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["alexnet", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            command_line.main()
        except SystemExit as error:
            code = int(error.code or 0)
        out.flush()
        err.flush()
    assert b"Traceback" not in errors.getvalue()
    return code, raw.getvalue().decode(encoding)


ENCODINGS = ("ascii", "cp1252", "iso8859-1", "gbk", "cp437", "utf-8")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_and_tables_are_right_in_every_encoding(monkeypatch, run, encoding):
    images = [run / "图片" / name / "图0.png" for name in CLASSES]
    code, said = told(monkeypatch, encoding, "predict", run / "run", *images, "-k", 3, "--format", "json")
    answers = [json.loads(line) for line in said.splitlines()]
    assert code == 0
    assert [answer["path"] for answer in answers] == list(map(str, images))
    assert all({each["class"] for each in answer["top"]} == set(CLASSES) for answer in answers)
    code, said = told(monkeypatch, encoding, "evaluate", run / "run", "--split", "train", "--format", "json")
    assert (code, set(json.loads(said)["classes"])) == (0, set(CLASSES))
    code, said = told(monkeypatch, encoding, "predict", run / "run", images[0], "--format", "csv")
    assert (code, len(list(csv.reader(said.splitlines())))) == (0, 4)
    code, said = told(monkeypatch, encoding, "prepare", run / "图片", run / encoding, "--size", 24)
    assert (code, "坏é.png: the file is empty" in said) == (0, encoding in ("gbk", "utf-8"))
    code, said = told(monkeypatch, encoding, "predict", run / "run", *images)
    assert code == 0
    assert ("█" in said) == (encoding == "utf-8")
    assert ("玫瑰" in said) == (encoding in ("gbk", "utf-8"))
    assert ("café" in said) == (encoding != "ascii")

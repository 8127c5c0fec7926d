"""Mutants that the tests named in docs/fidelity.md must notice: one ingredient of 2012 is made wrong, in the code.

    python -m studies.robustness.pinned [--only NAME ...] [--out FILE]

Each mutant changes one place of a copy of the tree and runs only the tests that the table names for the ingredient. It
is caught if they fail; first they must pass on the tree as it is. Where `interpreted`, the loops run as plain Python,
since compiling each of their mutants would take most of the time. What is known of other mutants stays in the file, so
a run that was stopped can be continued with --only.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numba
import pytest
import torch

from studies.robustness.mutants import MUTANTS, Mutant
from studies.robustness.recording import ROOT, machine, record

COPIED = ("alexnet", "tests", "harness", "studies", "docs", "pyproject.toml", "README.md")
SECONDS = 400  # for one mutant: a test that hangs has noticed it, too


def broken(mutant: Mutant, text: str) -> str:
    """The file with the mutant in it."""
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: stands {text.count(mutant.old)} times in {mutant.file}: {mutant.old!r}")
    return text.replace(mutant.old, mutant.new)


def copy_tree(folder: Path) -> None:
    """What the tests need of the tree."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def tests_pass(mutant: Mutant, folder: Path) -> bool:
    """Whether the named tests pass on the tree in the folder: in a fork, which has torch and pytest at hand already."""
    child = os.fork()
    if not child:
        os._exit(_run_tests(mutant, folder))
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code not in (0, 1):
                raise RuntimeError(f"{mutant.name}: pytest ended with {code}, see above")
            return code == 0
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _run_tests(mutant: Mutant, folder: Path) -> int:
    for name in [name for name in sys.modules if name.partition(".")[0] in COPIED]:
        del sys.modules[name]  # those of the copy, not of this tree
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": str(folder)}
    sys.dont_write_bytecode = True
    numba.config.DISABLE_JIT = int(mutant.interpreted)
    with open(os.devnull, "w") as nowhere:
        silent = contextlib.redirect_stdout(nowhere)
        with silent:
            code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *mutant.tests]))
        import alexnet

        own = Path(alexnet.__file__ or "").is_relative_to(folder)
    return code if own else 99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[mutant.name for mutant in MUTANTS])
    parser.add_argument("--out", type=Path, default=ROOT / "results/pinned.json")
    asked = parser.parse_args()
    known = json.loads(asked.out.read_text())["rows"] if asked.out.is_file() else []
    rows = {row["mutant"]: row for row in known}
    with tempfile.TemporaryDirectory() as text:
        folder, commit = Path(text), machine()["commit"]
        torch.set_num_threads(1)  # before any fork
        copy_tree(folder)
        wanted = [mutant for mutant in MUTANTS if mutant.name in asked.only]
        for plain in sorted({mutant.interpreted for mutant in wanted}):
            tests = {test for mutant in wanted if mutant.interpreted is plain for test in mutant.tests}
            if not tests_pass(Mutant("nothing changed", "", "", "", tuple(sorted(tests)), plain), folder):
                sys.exit("the named tests fail on the code as it is, so that they prove nothing")
        for mutant in wanted:
            path, began = folder / mutant.file, time.monotonic()
            whole, times = path.read_text(), path.stat()
            path.write_text(broken(mutant, whole))
            caught = not tests_pass(mutant, folder)
            path.write_text(whole)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # numba compiles anew what has another time
            row = {"mutant": mutant.name, "file": mutant.file, "tests": list(mutant.tests), "caught": caught}
            rows[mutant.name] = row | {"seconds": round(time.monotonic() - began), "commit": commit}
            print(f"{'caught' if caught else 'MISSED'}  {mutant.name}", flush=True)
            record(asked.out, ("pytest", "numba"), rows=list(rows.values()))
    sys.exit(not all(row["caught"] for row in rows.values()))


if __name__ == "__main__":
    main()

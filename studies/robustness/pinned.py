"""Mutants that the tests named in docs/fidelity.md must notice: one ingredient of 2012 is made wrong, in the code.

    python -m studies.robustness.pinned [--only NAME ...] [--out FILE]

Each mutant changes one place of a copy of the tree and runs only the tests that the table names for the ingredient. It
is caught if they fail. The loops are run as plain Python (NUMBA_DISABLE_JIT), since compiling each of their mutants
would take most of the time; `interpreted` is false for those that are compiled. What is known of other mutants stays in
the file, so a run that was stopped can be continued with --only.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from studies.robustness.mutants import MUTANTS, Mutant
from studies.robustness.recording import ROOT, machine, record

COPIED = ("alexnet", "tests", "harness", "studies", "docs", "pyproject.toml", "README.md")
SECONDS = 240  # for one mutant: a test that hangs has noticed it, too


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
    """Whether the named tests pass on the tree in the folder."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    environment["NUMBA_DISABLE_JIT"] = str(int(mutant.interpreted))
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests]
    try:
        done = subprocess.run(pytest, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[mutant.name for mutant in MUTANTS])
    parser.add_argument("--out", type=Path, default=ROOT / "results/pinned.json")
    asked = parser.parse_args()
    known = json.loads(asked.out.read_text())["rows"] if asked.out.is_file() else []
    rows = {row["mutant"]: row for row in known}
    with tempfile.TemporaryDirectory() as text:
        folder, commit = Path(text), machine()["commit"]
        copy_tree(folder)
        for mutant in (m for m in MUTANTS if m.name in asked.only):
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

"""Mutation testing: small changes to the code, each of which the tests of its module must notice.

    python -m studies.robustness.mutation [--out FILE] PACKAGE/MODULE ...

For every module `alexnet/PACKAGE/MODULE.py` mutmut makes the mutants and runs `tests/PACKAGE/test_MODULE.py` on each in
a forked process, the fast tests that reach the changed function first, up to the first failure. This happens in a copy
of the tree. Decorated functions and constants of modules are not changed by mutmut. The diffs of survivors are kept.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from studies.robustness.recording import ROOT, machine, record

COPIED = ("alexnet", "tests", "harness", "studies", "docs", "pyproject.toml", "README.md")
# What mutmut notes as the exit code of pytest; 0: no test has failed.
SURVIVED, UNREACHED = {0}, {5, 33}
# `mutmut show` for many at once: one process instead of one for each.
DIFFS = """
import json, sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
diffs = {}
for name in sys.argv[1:]:
    lines = get_diff_for_mutant(name).splitlines()
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    diffs[name.rpartition(".x_")[2]] = changed
print(json.dumps(diffs))
"""
CONFIG = """
[tool.mutmut]
source_paths = ["alexnet"]
only_mutate = ["alexnet/{module}.py"]
also_copy = {also}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:randomly"]
pytest_add_cli_args_test_selection = ["{tests}"]
"""


def tests_of(module: str) -> str:
    """The test file of a module: data/images -> tests/data/test_images.py."""
    package, _, name = module.rpartition("/")
    return f"tests/{package}/test_{name}.py" if package else f"tests/test_{name}.py"


def mutate(module: str, folder: Path) -> tuple[dict[str, int], dict[str, list[str]]]:
    """How many mutants of a module there are of each kind, and the changed lines of those that survived."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    also = [name for name in COPIED if name not in ("alexnet", "tests", "pyproject.toml")]
    with (folder / "pyproject.toml").open("a") as file:
        file.write(CONFIG.format(module=module, tests=tests_of(module), also=json.dumps(also)))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"ALEXNET_CACHE": str(folder / "cache"), "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis")}
    mutmut = [sys.executable, "-m", "mutmut"]
    options: dict[str, Any] = {"cwd": folder, "env": environment, "text": True}
    done = subprocess.run([*mutmut, "run"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    about = folder / f"mutants/alexnet/{module}.py.meta"
    if not about.is_file():
        raise RuntimeError(done.stdout[-4000:])
    codes = json.loads(about.read_text())["exit_code_by_key"]
    kinds = {"killed": 0, "survived": 0, "not reached": 0, "not run": 0}
    left = []
    for name, code in codes.items():
        kind = "not run" if code is None else "survived" if code in SURVIVED else "killed"
        kind = "not reached" if code in UNREACHED else kind
        kinds[kind] += 1
        if kind in ("survived", "not reached"):
            left.append(name)
    shown = subprocess.run([sys.executable, "-c", DIFFS, *left], stdout=subprocess.PIPE, check=True, **options)
    return kinds, json.loads(shown.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--out", type=Path, default=ROOT / "results/mutation.json")
    asked = parser.parse_args()
    # What is known of other modules stays; every row says of which commit it speaks.
    known = json.loads(asked.out.read_text()) if asked.out.is_file() else {"rows": [], "survivors": {}}
    rows, survivors = {row["module"]: row for row in known["rows"]}, known["survivors"]
    for module in asked.modules:
        commit, before = machine()["commit"], resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryDirectory() as folder:
            kinds, survivors[module] = mutate(module, Path(folder))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        share = 100 * kinds["killed"] / max(1, sum(kinds.values()))
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows[module] = {"module": module, **kinds, "killed %": round(share, 1), "cpu seconds": round(seconds)}
        rows[module]["commit"] = commit
        print("  ".join(f"{name} {value}" for name, value in rows[module].items()), flush=True)
        record(asked.out, ("mutmut", "pytest", "hypothesis"), rows=list(rows.values()), survivors=survivors)
    sys.exit(any(rows[module]["killed %"] < 80 for module in asked.modules))


if __name__ == "__main__":
    main()

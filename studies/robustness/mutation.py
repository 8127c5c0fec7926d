"""Mutation testing: small changes to the code, each of which the tests of its module must notice.

    python -m studies.robustness.mutation [--minutes N] [--work FOLDER] [--out FILE] PACKAGE/MODULE ...

For every module `alexnet/PACKAGE/MODULE.py` mutmut makes the mutants and runs `tests/PACKAGE/test_MODULE.py`, or the
files named in TESTS, on each in a forked process, the fast tests that reach the changed function first, up to the first
failure. This happens in a copy of the tree. Constants of modules are not changed by mutmut, so tables such as the
recipes are the matter of `pinned`. Decorated functions are not changed either; the loops that numba compiles lose their
decorator in the copy and run as plain Python. The diffs of survivors are kept.

With --minutes a module ends after that time; what was not run is counted and not judged. With --work the copy stays,
and the same command goes on where it ended, as long as the code and its tests are the same.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from studies.robustness.recording import ROOT, machine, record

COPIED = ("alexnet", "tests", "harness", "studies", "docs", "pyproject.toml", "README.md")
# What mutmut notes as the exit code of pytest; 0: no test has failed. A process that hangs is ended by its own limit of
# time; one that crashes has not been noticed by a test.
SURVIVED, UNREACHED, KILLED, TIMED_OUT = {0}, {5, 33}, {1, 3}, {24, -24, 36, 152, 255}
LOOPS = ("kernels/norm_pool_loops", "kernels/crop_loops")  # all their functions are decorated
DECORATOR = re.compile(r"^@compiled\(.*\)\n", re.MULTILINE)
# Where the tests of a module are not in the one file of its name.
TESTS = {
    "kernels/norm_pool_loops": ("tests/kernels/test_loops.py",),
    "kernels/crop_loops": ("tests/data/test_crop_loops.py",),
    "models/layers": (
        *("tests/models/test_layers.py", "tests/models/test_pool_ties.py", "tests/models/test_devices.py"),
        "tests/kernels/test_masks.py",
    ),
    "models/alexnet": ("tests/models/test_network.py", "tests/models/test_whole_network.py"),
    "models/fusion": ("tests/kernels/test_operators.py", "tests/models/test_pool_ties.py"),
    "models/shapes": ("tests/models/test_network.py",),
    "data/augment": ("tests/data/test_augment.py", "tests/recipes/test_switches.py"),
    "data/pixel_statistics": ("tests/data/test_prepare.py",),
    "training/optim": ("tests/training/test_optim.py", "tests/recipes/test_diaries.py"),
    "training/schedule": ("tests/training/test_loop.py",),
    "recipes/config": ("tests/recipes/test_recipe.py",),
}
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
pytest_add_cli_args_test_selection = {tests}
timeout_multiplier = 4.0
"""


def tests_of(module: str) -> tuple[str, ...]:
    """The test files of a module: data/images -> tests/data/test_images.py."""
    package, _, name = module.rpartition("/")
    return TESTS.get(module, (f"tests/{package}/test_{name}.py" if package else f"tests/test_{name}.py",))


def plain_loops(text: str) -> str:
    """The loops without the decorator that compiles them: plain Python, which mutmut changes."""
    return DECORATOR.sub("", text)


def state_of_the_code(module: str) -> str:
    """A checksum of all code and of the tests of a module: results of another one are no longer true."""
    files = sorted((ROOT / "alexnet").rglob("*.py")) + [ROOT / test for test in tests_of(module)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def copy_tree(module: str, folder: Path) -> None:
    """Copies what mutmut and the tests need, with the settings for this module, unless it is there already."""
    stamp = folder / "state"
    if stamp.is_file() and stamp.read_text() == state_of_the_code(module):
        return
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    if module in LOOPS:
        path = folder / f"alexnet/{module}.py"
        path.write_text(plain_loops(path.read_text()))
    also = [name for name in COPIED if name not in ("alexnet", "tests", "pyproject.toml")]
    with (folder / "pyproject.toml").open("a") as file:
        file.write(CONFIG.format(module=module, tests=json.dumps(tests_of(module)), also=json.dumps(also)))
    stamp.write_text(state_of_the_code(module))


def run_until(command: list[str], seconds: float | None, **options: Any) -> str:
    """Runs mutmut in a group of its own, which is ended after a time with the processes it has started."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **options
    )
    try:
        return str(process.communicate(timeout=seconds)[0])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return str(process.communicate()[0])


def kind_of(code: int | None) -> str:
    """What became of a mutant."""
    if code is None:
        return "not run"
    groups = (("killed", KILLED), ("timed out", TIMED_OUT), ("survived", SURVIVED), ("not reached", UNREACHED))
    return next((kind for kind, codes in groups if code in codes), "crashed")


def mutate(module: str, folder: Path, seconds: float | None) -> tuple[dict[str, int], dict[str, list[str]]]:
    """How many mutants of a module there are of each kind, and the changed lines of those that no test noticed."""
    copy_tree(module, folder)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"ALEXNET_CACHE": str(folder / "cache"), "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis")}
    # A process that has used OpenMP may not be forked: numba's own pool of threads may.
    environment |= {"NUMBA_THREADING_LAYER": "workqueue", "OMP_NUM_THREADS": "1"}
    options: dict[str, Any] = {"cwd": folder, "env": environment, "text": True}
    said = run_until([sys.executable, "-m", "mutmut", "run", "--max-children", "1"], seconds, **options)
    about = folder / f"mutants/alexnet/{module}.py.meta"
    if not about.is_file():
        raise RuntimeError(said[-4000:])
    kinds = dict.fromkeys(("killed", "timed out", "survived", "not reached", "crashed", "not run"), 0)
    left = []
    for name, code in json.loads(about.read_text())["exit_code_by_key"].items():
        kinds[kind_of(code)] += 1
        if kind_of(code) in ("survived", "not reached", "crashed"):
            left.append(name)
    if kinds["not run"] == sum(kinds.values()):
        raise RuntimeError(f"no mutant of {module} was run: {said[-4000:]}")
    shown = subprocess.run([sys.executable, "-c", DIFFS, *left], stdout=subprocess.PIPE, check=True, **options)
    return kinds, json.loads(shown.stdout)


def percent_noticed(kinds: dict[str, int]) -> float:
    """The share of the mutants that were run which a test noticed, or which never came to an end."""
    run = sum(kinds.values()) - kinds["not run"]
    return round(100 * (kinds["killed"] + kinds["timed out"]) / max(1, run), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--minutes", type=float, help="the most time for one module")
    parser.add_argument("--work", type=Path, help="where the copies stay, to go on later")
    parser.add_argument("--out", type=Path, default=ROOT / "results/mutation.json")
    asked = parser.parse_args()
    # What is known of other modules stays; every row says of which commit it speaks.
    known = json.loads(asked.out.read_text()) if asked.out.is_file() else {"rows": [], "survivors": {}}
    rows, survivors = {row["module"]: row for row in known["rows"]}, known["survivors"]
    for module in asked.modules:
        commit, before = machine()["commit"], resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryDirectory() as temporary:
            folder = (asked.work.resolve() if asked.work else Path(temporary)) / module.replace("/", "-")
            kinds, survivors[module] = mutate(module, folder, 60 * asked.minutes if asked.minutes else None)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows[module] = {"module": module, **kinds, "killed %": percent_noticed(kinds), "cpu seconds": round(seconds)}
        rows[module]["commit"] = commit
        print("  ".join(f"{name} {value}" for name, value in rows[module].items()), flush=True)
        record(asked.out, ("mutmut", "pytest", "hypothesis"), rows=list(rows.values()), survivors=survivors)
    sys.exit(any(rows[module]["killed %"] < 80 for module in asked.modules))


if __name__ == "__main__":
    main()

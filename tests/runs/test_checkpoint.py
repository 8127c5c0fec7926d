"""Checkpoints: what is written comes back, what is damaged is skipped, what fails leaves the one before it."""

import errno
import hashlib
import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
import torch

from alexnet.errors import ResourceError, UntrustedFileError, UsageError
from alexnet.models.build import build_model
from alexnet.models.network import fingerprint
from alexnet.runs.checkpoint import (
    TrainingState,
    check_room,
    checkpoint_name,
    load_checkpoint,
    load_model,
    name_of,
    pointer_damage,
    save_checkpoint,
    settle,
)
from alexnet.runs.damage import damage_of
from alexnet.runs.metrics import append_metrics, read_metrics
from alexnet.runs.run import open_run
from alexnet.storage.checksums import read_sums

FILES = ["SHA256SUMS", "metrics.jsonl", "model.safetensors", "state.json", "training.safetensors"]


def network(run, seed):
    return build_model(run.recipe.model, seed=seed)


def save(run, step, *, best=False, **state):
    """A checkpoint whose weights tell its step: those of seed `step`."""
    model = network(run, step)
    training = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    save_checkpoint(run, model, training, TrainingState(step, **state), best=best)


def is_network_of(run, model, seed) -> bool:
    mine, other = model.state_dict(), network(run, seed).state_dict()
    return list(mine) == list(other) and all(torch.equal(mine[name], other[name]) for name in mine)


def checkpoints(run) -> list[int]:
    return sorted(int(p.name.removeprefix("step-")) for p in (run.folder / "checkpoints").iterdir())


def part(run, step, file):
    return run.folder / "checkpoints" / name_of(step) / file


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


# --- written and read ----------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_whole(start):
    run = start("run")
    assert load_checkpoint(run) is None
    append_metrics(run, {"kind": "epoch", "step": 7})
    state = TrainingState(7, 1.5, 2.0, 8, 0.1 + 0.2, 1 / 3, 12.25, 5, 2, 1)
    training = {"model/a": torch.arange(6.0).view(2, 3).t(), "averaged": torch.tensor(5)}
    save_checkpoint(run, network(run, 1), training, state, conditions={"torch": "2"})
    found = load_checkpoint(run)
    assert (found.state, found.conditions, found.damage) == (state, {"torch": "2"}, [])
    assert found.metrics == b'{"kind": "epoch", "step": 7}\n'
    assert sorted(found.tensors) == ["averaged", "model/a"]
    assert all(torch.equal(found.tensors[name], training[name]) for name in training)
    assert found.tensors["averaged"].dtype == torch.int64
    assert sorted(p.name for p in (run.folder / "checkpoints" / name_of(7)).iterdir()) == FILES


def test_the_header_of_the_weights_says_what_they_are(start):
    from safetensors import safe_open

    run = start("run")
    save(run, 1)
    with safe_open(part(run, 1, "model.safetensors"), "pt") as file:
        about = json.loads(file.metadata()["alexnet"])
    assert about["classes"] == ["red", "green", "blue"]
    assert about["recipe"] == json.loads((run.folder / "recipe.json").read_text())


def test_the_last_two_and_the_best_are_kept(start):
    run = start("run")
    kept = []
    for step, best in ((1, False), (2, True), (3, False), (4, False), (5, False), (6, True), (7, False)):
        save(run, step, best=best)
        kept.append(checkpoints(run))
    assert kept == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5], [5, 6], [6, 7]]
    assert [checkpoint_name(run, which) for which in ("LAST", "BEST")] == [name_of(7), name_of(6)]


def test_checkpoints_beyond_eight_digits_are_in_order(start):
    run = start("run")
    for step in (99_999_999, 100_000_000, 100_000_001):
        save(run, step)
    assert load_checkpoint(run).state.step == 100_000_001
    assert checkpoints(run) == [100_000_000, 100_000_001]


def test_best_and_last_give_their_own_weights(start):
    run = start("run")
    save(run, 1)
    assert is_network_of(run, load_model(run, "best"), 1)  # nothing was best so far: the last
    save(run, 2, best=True)
    save(run, 3)
    best, last = load_model(run, "best"), load_model(run, "last")
    assert is_network_of(run, best, 2)
    assert is_network_of(run, last, 3)
    assert not is_network_of(run, last, 2)
    assert not best.training
    assert load_checkpoint(run).state.step == 3


def test_a_run_without_checkpoint_says_how_to_get_one(start):
    with pytest.raises(UsageError, match=r"E254 .* has no checkpoint yet\nTrain it: alexnet resume"):
        load_model(start("run"))


def test_a_step_saved_again_is_kept_if_intact_and_replaced_if_not(start):
    run = start("run")
    save(run, 1, seconds=1.0)
    save(run, 1, seconds=2.0, best=True)
    assert load_checkpoint(run).state.seconds == 1.0
    assert checkpoint_name(run, "BEST") == name_of(1)
    flip(part(run, 1, "model.safetensors"), 999)
    save(run, 1, seconds=3.0)
    assert load_checkpoint(run).state.seconds == 3.0
    assert is_network_of(run, load_model(run, "last"), 1)


def test_a_state_of_another_version_is_refused(start):
    run = start("run")
    save(run, 1)
    path = part(run, 1, "state.json")
    for change in ({"surprise": 1}, {"step": None}):
        values = {**json.loads(path.read_text()), **change}
        path.write_text(json.dumps({k: v for k, v in values.items() if v is not None or k != "step"}))
        sums = {**read_sums(path.parent), "state.json": hashlib.sha256(path.read_bytes()).hexdigest()}
        (path.parent / "SHA256SUMS").write_text("".join(f"{sums[n]}  {n}\n" for n in sorted(sums)))
        with pytest.raises(UntrustedFileError, match=r"E655 .*state\.json was written by another version"):
            load_checkpoint(run)


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["flipped", "emptied", "cut", "longer", "missing"])
def test_a_damaged_checkpoint_is_skipped_and_named(start, file, how):
    run = start("run")
    append_metrics(run, {"kind": "note", "step": 1})
    save(run, 1, best=True, best_step=1)
    append_metrics(run, {"kind": "note", "step": 2})
    save(run, 2, best_step=1)
    sound, path = load_model(run, "last"), part(run, 2, file)
    content = path.read_bytes()
    if how == "flipped":
        flip(path, 8 * (len(content) // 2) + 3)
    elif how == "missing":
        path.unlink()
    else:
        path.write_bytes({"emptied": b"", "cut": content[:-1], "longer": content + b"\n"}[how])
    found = load_checkpoint(run)
    assert found.state.step == 1
    assert any(str(path.parent) in line for line in found.damage)
    assert any(str(path.parent) in line for line in damage_of(run))
    if file in ("model.safetensors", "SHA256SUMS"):
        told = r"\n(Use the other one with --checkpoint best|Repair what can be repaired)"
        with pytest.raises(UntrustedFileError, match=told):
            load_model(run, "last")
    else:  # of no use for an answer
        assert fingerprint(load_model(run, "last")) == fingerprint(sound)
    settle(run, found)
    assert damage_of(run) == []
    assert checkpoints(run) == [1]
    assert [row["step"] for row in read_metrics(run)] == [1]
    assert checkpoint_name(run, "LAST") == name_of(1)


def test_when_no_checkpoint_is_intact_it_is_not_trained_from_the_start(start):
    run = start("run")
    save(run, 1)
    save(run, 2)
    flip(part(run, 1, "training.safetensors"), 400)
    part(run, 2, "state.json").unlink()
    with pytest.raises(UntrustedFileError, match=r"E652 no checkpoint of .* is intact: .*state\.json is missing"):
        load_checkpoint(run)


@pytest.mark.parametrize("content", [b"", b"step-00000002\n", b"step-00000002 " + b"0" * 64 + b"\n", b"\xff", b"../x"])
@pytest.mark.parametrize("which", ["BEST", "LAST"])
def test_damaged_pointers_are_noticed_and_set_right(start, which, content):
    run = start("run")
    save(run, 1, best=True, best_step=1)
    save(run, 2, best_step=1)
    (run.folder / which).write_bytes(content)
    assert any(which in line for line in damage_of(run))
    with pytest.raises(UntrustedFileError, match=f"E653 .*{which} is damaged"):
        load_model(run, which.lower())
    found = load_checkpoint(run)
    assert found.state.step == 2
    assert any(which in line for line in found.damage)
    settle(run, found)
    assert [checkpoint_name(run, w) for w in ("BEST", "LAST")] == [name_of(1), name_of(2)]
    assert damage_of(run) == []


def test_a_best_network_that_was_lost_is_no_longer_pointed_at(start):
    run = start("run")
    save(run, 1, best=True, best_step=1)
    save(run, 2, best_step=1)
    shutil.rmtree(part(run, 1, "").parent / name_of(1))
    settle(run, load_checkpoint(run))
    assert checkpoint_name(run, "BEST") is None
    assert pointer_damage(run, "BEST") is None
    assert is_network_of(run, load_model(run, "best"), 2)


def test_metrics_that_were_changed_are_put_back(start):
    run = start("run")
    append_metrics(run, {"kind": "note", "step": 1})
    save(run, 1)
    path = run.folder / "metrics.jsonl"
    written = path.read_bytes()
    flip(path, 77)
    assert damage_of(run) == [f"{path} is damaged: it does not begin with the rows that step-00000001 was saved with"]
    settle(run, load_checkpoint(run))
    assert path.read_bytes() == written
    append_metrics(run, {"kind": "note", "step": 2})
    assert damage_of(run) == []  # rows since are no damage
    settle(run, load_checkpoint(run))
    assert path.read_bytes() == written
    path.unlink()
    assert len(damage_of(run)) == 1
    settle(run, load_checkpoint(run))
    assert path.read_bytes() == written


def test_without_a_checkpoint_the_metrics_start_again(start):
    run = start("run")
    append_metrics(run, {"kind": "note", "step": 1})
    settle(run, None)
    assert read_metrics(run) == []


def test_a_run_that_has_saved_nothing_is_not_damaged(start):
    run = start("run")
    append_metrics(run, {"kind": "note", "step": 1})
    assert damage_of(run) == []
    shutil.rmtree(run.folder / "checkpoints")
    assert damage_of(run) == []
    assert load_checkpoint(run) is None


def every_file(run):
    return sorted(path for path in run.folder.rglob("*") if path.is_file())


def test_every_flipped_bit_of_a_run_is_noticed(start):
    run = start("run")
    append_metrics(run, {"kind": "note", "step": 1})
    save(run, 1, best=True, best_step=1)
    save(run, 2, best_step=1)
    chance = random.Random(0)
    files = every_file(run)
    assert len(files) == 4 + 1 + 1 + 2 + 2 * 5  # identity, sums, metrics, pointers, two checkpoints
    for path in files * 8:
        content = path.read_bytes()
        flip(path, chance.randrange(8 * len(content)))
        assert any(str(path) in line or path.parent.name in line for line in damage_of(run)), path
        path.write_bytes(content)
        if content:
            path.write_bytes(content[: chance.randrange(len(content))])
            assert damage_of(run), path
            path.write_bytes(content)
    assert damage_of(run) == []


# --- disks ---------------------------------------------------------------------------------------------------------

# One of the last two is how pathlib reads a folder; which of them depends on the version of Python.
DISK = ("open", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "listdir", "scandir")


class Disk:
    """Counts what is done to the disk, and lets the `number`-th fail, or end the process."""

    def __init__(self, patch, number, fault):
        self.done, self.number, self.fault = 0, number, fault
        for name in DISK:
            patch.setattr(os, name, self.wrapped(getattr(os, name)))
        patch.setattr(Path, "open", self.wrapped(Path.open))

    def wrapped(self, call):
        def act(*args, **kwargs):
            self.done += 1
            if self.done == self.number:
                if self.fault == "exit":
                    os._exit(3)
                raise OSError(self.fault, os.strerror(self.fault))
            return call(*args, **kwargs)

        return act


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_a_fault_at_any_step_of_saving_leaves_an_intact_checkpoint(start, fault):
    run = start("run")
    save(run, 1, best=True, best_step=1)
    save(run, 2, best_step=1)
    told, number = [], 0
    while True:
        number += 1
        step = 2 + number
        before = load_checkpoint(run).state.step
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, number, fault)
            try:
                save(run, step, best=True, best_step=step)
            except ResourceError as error:
                told.append(str(error))
            else:
                if disk.done < number:
                    break
        found = load_checkpoint(open_run(run.folder))
        assert found.state.step in (before, step)
        assert found.damage == []
        settle(run, found)
        assert is_network_of(run, load_model(run, "last"), found.state.step)
        assert is_network_of(run, load_model(run, "best"), found.state.best_step)
    assert number > 25
    assert all("while saving step" in text and ("\nMake room" in text or "E502" in text) for text in told)
    assert len(told) > 20
    assert load_checkpoint(run).state.step == step
    assert len(checkpoints(run)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_crash_at_any_step_of_saving_leaves_an_intact_checkpoint(start):
    run = start("run")
    save(run, 1, best=True, best_step=1)
    save(run, 2, best_step=1)
    number, status = 0, 3
    seen = set()
    while status == 3:
        number += 1
        child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:
                Disk(patch, number, "exit")
                save(run, 3, best=True, best_step=3)
                os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found = load_checkpoint(open_run(run.folder))
        seen.add(found.state.step)
        settle(run, found)
        assert damage_of(run) == []
        assert is_network_of(run, load_model(run, "last"), found.state.step)
        assert is_network_of(run, load_model(run, "best"), found.state.best_step)
        if found.state.step == 3 and status == 3:  # back to where it was, for the next moment
            shutil.rmtree(run.folder)
            start("run")
            save(run, 1, best=True, best_step=1)
            save(run, 2, best_step=1)
    assert status == 0
    assert seen == {2, 3}
    assert number > 25
    assert [p.name for p in (run.folder / "checkpoints").iterdir() if p.name.startswith(".")] == []


def test_a_save_that_failed_can_be_done_again(start):
    run = start("run")
    save(run, 1)
    with pytest.MonkeyPatch.context() as patch:
        Disk(patch, 8, errno.EIO)
        with pytest.raises(ResourceError, match=r"(?i)E502 input/output error while saving step 2"):
            save(run, 2)
    save(run, 2)
    assert is_network_of(run, load_model(run, "last"), 2)
    assert checkpoints(run) == [1, 2]


@pytest.mark.parametrize("best", [(), (1,), (2,), (1, 3)])
@pytest.mark.parametrize("full_at", [1, 2, 3, 4, 5])
def test_whoever_makes_the_room_that_was_asked_for_goes_on_to_the_end(start, monkeypatch, full_at, best):
    """On a disk that is full at some step: what is free besides is counted by hand, whatever else lies there."""
    run, usage = start("run"), shutil.disk_usage(".")
    others = 0

    def taken():
        return sum(path.stat().st_size for path in (run.folder / "checkpoints").rglob("*") if path.is_file())

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=others - taken()))
    for step in range(1, full_at):
        others = 10**9
        save(run, step, best=step in best)
    others = taken() + 1000
    with pytest.raises(ResourceError, match="E501") as caught:
        save(run, full_at)
    asked = 1e6 * float(re.search(r"need (\d+) MB", str(caught.value))[1])
    size = taken() / len(checkpoints(run)) if checkpoints(run) else 0
    others = taken() + asked
    check_room(run, round(size) or round(asked / 4))
    for step in range(full_at, 9):
        save(run, step, best=step in (*best, 6))
    assert checkpoints(run)[-1] == 8


def test_a_disk_that_is_too_small_is_told_in_numbers(start, monkeypatch):
    run = start("run")
    save(run, 1)
    usage = shutil.disk_usage(run.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1_400_000))
    check_room(run, 1_400_000)
    with pytest.raises(
        ResourceError,
        match=r"E501 disk full while starting .*: need 5 MB, 1 MB free\. "
        r"Last good checkpoint: step-00000001 \(intact\)\.\nMake room, then resume: alexnet resume",
    ):
        check_room(run, 1_500_000)
    check_room(start("new"), 600_000)
    with pytest.raises(ResourceError, match=r"need 3 MB, 1 MB free\.\nMake room"):
        check_room(start("another"), 700_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(ResourceError, match=r"E501 disk full while saving step 2 in .*: need \d+ MB, 0 MB free"):
        save(run, 2)
    assert checkpoints(run) == [1]

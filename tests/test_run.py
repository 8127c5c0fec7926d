"""The run folder: what is written comes back, what is damaged is refused, what fails leaves the state before it."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from alexnet.errors import ResourceError, UntrustedFileError, UsageError
from alexnet.model import build_model
from alexnet.run import (
    TrainingState,
    append_metrics,
    checkpoint_name,
    create_run,
    forget_metrics_after,
    load_checkpoint,
    load_model,
    open_run,
    read_metrics,
    save_checkpoint,
)


def network(run, seed):
    return build_model(run.recipe.model, seed=seed)


def save(run, step, *, best=False, **state):
    """A checkpoint whose weights tell its step: those of seed `step`."""
    training = {"model/x": torch.full((3,), float(step)), "averaged": torch.tensor(step)}
    save_checkpoint(run, network(run, step), training, TrainingState(step, **state), best=best)


def is_network_of(run, model, seed) -> bool:
    mine, other = model.state_dict(), network(run, seed).state_dict()
    return list(mine) == list(other) and all(torch.equal(mine[name], other[name]) for name in mine)


def checkpoints(run) -> list[str]:
    return sorted(p.name for p in (run.folder / "checkpoints").iterdir())


# --- the folder ----------------------------------------------------------------------------------------------------


def test_a_new_run_comes_back_when_it_is_opened(start):
    run = start("run", "lr=0.125", "drop_epochs=[1, 2]")
    again = open_run(run.folder)
    assert again == run
    assert again.recipe.optim.drop_epochs == (1, 2)
    assert again.class_names == ("red", "green", "blue")
    assert json.loads((run.folder / "environment.json").read_text())["torch"] == torch.__version__


def test_names_of_classes_in_any_language_come_back(tiny, tmp_path):
    names = ("Äpfel", "猫", 'a "b" \n c')
    create_run(tmp_path / "run", tiny, names, {"source": "Bücher"})
    again = open_run(tmp_path / "run")
    assert again.class_names == names
    assert again.data == {"source": "Bücher"}


def test_an_empty_folder_is_taken_and_a_full_one_is_refused_untouched(tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    create_run(tmp_path / "empty", tiny, ("a", "b"), {})
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="exists and is not empty\nGo on with it: alexnet resume"):
        create_run(full, tiny, ("a", "b"), {})
    assert [p.name for p in full.iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="exists"):
        create_run(full / "thesis.txt", tiny, ("a", "b"), {})
    assert (full / "thesis.txt").read_text() == "years of work"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=r"not a run folder: it has no recipe\.json"):
            open_run(folder)


@pytest.mark.parametrize("name", ["recipe.json", "classes.json", "data.json"])
@pytest.mark.parametrize("content", [b"", b'{"epochs": ', b"\xff\xfe\x00"])
def test_damaged_small_files_are_refused(start, name, content):
    run = start("run")
    (run.folder / name).write_bytes(content)
    with pytest.raises(UntrustedFileError, match="damaged"):
        open_run(run.folder)


@pytest.mark.parametrize("name", ["classes.json", "data.json"])
def test_a_small_file_that_is_missing_is_refused(start, name):
    run = start("run")
    (run.folder / name).unlink()
    with pytest.raises(UntrustedFileError, match=name):
        open_run(run.folder)


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_whole(start):
    run = start("run")
    assert load_checkpoint(run) is None
    state = TrainingState(7, 1.5, 2.0, 8, 0.1 + 0.2, 1 / 3, 12.25)
    training = {"model/a": torch.arange(6.0).view(2, 3).t(), "averaged": torch.tensor(5)}
    save_checkpoint(run, network(run, 1), training, state)
    tensors, again = load_checkpoint(run)
    assert again == state
    assert sorted(tensors) == ["averaged", "model/a"]
    assert all(torch.equal(tensors[name], training[name]) for name in training)
    assert tensors["averaged"].dtype == torch.int64


def test_best_and_last_are_kept_and_older_ones_removed(start):
    run = start("run")
    kept = []
    for step, best in ((1, False), (2, True), (3, False), (4, False), (5, True)):
        save(run, step, best=best)
        kept.append([int(name.removeprefix("step-")) for name in checkpoints(run)])
    assert kept == [[1], [2], [2, 3], [2, 4], [5]]
    assert checkpoint_name(run, "LAST") == checkpoint_name(run, "BEST") == "step-00000005"


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
    assert load_checkpoint(run)[1].step == 3


def test_a_run_without_checkpoint_says_how_to_get_one(start):
    with pytest.raises(UsageError, match="no checkpoint yet\nTrain it: alexnet resume"):
        load_model(start("run"))


@pytest.mark.parametrize("file", ["model.safetensors", "training.safetensors"])
@pytest.mark.parametrize("place", [0, 8, 100, 0.5, -1])
def test_a_flipped_bit_anywhere_in_the_weights_is_refused(start, file, place):
    run = start("run")
    save(run, 1, best=True)
    path = run.folder / "checkpoints" / "step-00000001" / file
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(UntrustedFileError, match=f"{file} is damaged"):
        load_model(run) if file.startswith("model") else load_checkpoint(run)


@pytest.mark.parametrize("file", ["model.safetensors", "state.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"{", b"\xff\x00"])
def test_a_checkpoint_file_that_is_missing_or_something_else_is_refused(start, file, content):
    run = start("run")
    save(run, 1)
    path = run.folder / "checkpoints" / "step-00000001" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UntrustedFileError, match="damaged"):
        load_model(run)


@pytest.mark.parametrize("change", [lambda s: s | {"surprise": 1}, lambda s: {"sha256": s["sha256"]}])
def test_a_state_of_another_version_is_refused(start, change):
    run = start("run")
    save(run, 1)
    path = run.folder / "checkpoints" / "step-00000001" / "state.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UntrustedFileError):
        load_checkpoint(run)


def test_weights_that_do_not_fit_the_recipe_are_refused(start):
    run = start("run")
    save(run, 1)
    path = run.folder / "recipe.json"
    path.write_text(path.read_text().replace('"width": 0.0625', '"width": 0.125'))
    with pytest.raises((UntrustedFileError, UsageError)):
        load_model(open_run(run.folder))


# --- disks ---------------------------------------------------------------------------------------------------------


def fail_at(monkeypatch, number: int, code: int) -> list[int]:
    """Makes the `number`-th fsync from now on fail; returns the list of those that came."""
    calls: list[int] = []
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == number:
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    return calls


def test_a_full_disk_at_any_moment_of_saving_leaves_whole_checkpoints(start):
    run = start("run")
    save(run, 1, best=True)
    outcomes = []
    for number in range(1, 50):
        step = number + 1
        before = load_checkpoint(run)[1].step
        with pytest.MonkeyPatch.context() as patch:
            calls = fail_at(patch, number, errno.ENOSPC)
            try:
                save(run, step, best=True)
            except ResourceError as error:
                told = str(error)
            else:
                assert len(calls) < number
                break
        assert f"disk full while saving step {step}" in told
        assert "\nMake room" in told
        tensors, state = load_checkpoint(run)
        outcomes.append(state.step)
        assert state.step in (before, step)
        assert tensors["averaged"].item() == state.step
        assert is_network_of(run, load_model(run, "last"), state.step)
        best = int(checkpoint_name(run, "BEST").removeprefix("step-"))
        assert is_network_of(run, load_model(run, "best"), best)
    # Model, training, state, the folder, BEST, LAST: each was hit once, and LAST never moved.
    assert len(outcomes) >= 6
    assert load_checkpoint(run)[1].step == len(outcomes) + 2
    assert checkpoints(run) == [f"step-{len(outcomes) + 2:08d}"]


def test_a_save_that_failed_can_be_done_again(start, monkeypatch):
    run = start("run")
    save(run, 1)
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, 2, errno.EIO)
        with pytest.raises(ResourceError, match=r"(?i)input/output error while saving step 2"):
            save(run, 2)
    save(run, 2)
    assert is_network_of(run, load_model(run, "last"), 2)
    assert checkpoints(run) == ["step-00000002"]


def test_other_refusals_of_the_disk_are_told_as_they_are(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="while making the run folder"):
        create_run(tmp_path / "file" / "run", tiny, ("a", "b"), {})


# --- metrics -------------------------------------------------------------------------------------------------------


def rows_of(steps):
    return [{"kind": "epoch", "step": step, "train_loss": 1 / step} for step in steps]


def test_rows_come_back_in_order(start):
    run = start("run")
    assert read_metrics(run) == []
    for row in rows_of([4, 8, 12]):
        append_metrics(run, row)
    assert read_metrics(run) == rows_of([4, 8, 12])


@pytest.mark.parametrize("length", [1, 10, -2])
def test_a_last_line_torn_by_a_crash_is_ignored_and_then_replaced(start, length):
    run = start("run")
    for row in rows_of([4, 8, 12]):
        append_metrics(run, row)
    path: Path = run.folder / "metrics.jsonl"
    *whole, last = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole) + last[:length])
    assert read_metrics(run) == rows_of([4, 8])
    forget_metrics_after(run, 8)
    append_metrics(run, rows_of([12])[0])
    assert read_metrics(run) == rows_of([4, 8, 12])


@pytest.mark.parametrize(("step", "kept"), [(0, []), (3, []), (4, [4]), (11, [4, 8]), (12, [4, 8, 12])])
def test_rows_after_a_step_are_forgotten(start, step, kept):
    run = start("run")
    for row in rows_of([4, 8, 12]):
        append_metrics(run, row)
    forget_metrics_after(run, step)
    assert read_metrics(run) == rows_of(kept)

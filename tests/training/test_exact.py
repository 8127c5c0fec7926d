"""A run is a function of its recipe and images: killed, resumed, asked to stop, diverged; and what it refuses."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

import alexnet.runs.environment
import alexnet.training.loop
import alexnet.training.trainer
import alexnet.training.validation
from alexnet.data import loader
from alexnet.data.dataset import open_prepared
from alexnet.data.loader import epoch_order
from alexnet.data.prepare import prepare
from alexnet.data.sources import open_source
from alexnet.errors import DivergedError, UsageError
from alexnet.kernels import operators
from alexnet.models.build import build_model
from alexnet.runs.checkpoint import checkpoint_name, load_checkpoint, load_model, name_of
from alexnet.runs.damage import damage_of
from alexnet.runs.environment import check_conditions, conditions
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import create_run, open_run
from alexnet.storage.checksums import read_sums
from alexnet.training.divergence import first_bad, runs_away
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from alexnet.training.plan import Plan
from alexnet.training.replay import replay
from harness.forking import CONTEXT, Copy, preload
from harness.killed_training import go_on

CPU = torch.device("cpu")


def final(run) -> tuple[str, str]:
    """Checksums of the last checkpoint: of the network and of all that training needs."""
    sums = read_sums(run.folder / "checkpoints" / checkpoint_name(run, "LAST"))
    return sums["model.safetensors"], sums["training.safetensors"]


# --- killed --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(start, fit, prepared, monkeypatch):
    """Three kills; studies/robustness/reliability.py does forty."""
    changes = ("epochs=8", "average_decay=0.9", "mixup=0.5")
    whole, killed = start("whole", *changes), start("killed", *changes)
    fit(whole)
    preload()
    chance, kills, steps = random.Random(1), 0, set()
    while True:
        process = CONTEXT.Process(target=go_on, args=(str(killed.folder), str(prepared.folder), 0.0))
        process.start()
        if kills < 3:
            # Until it has done something since it was started, so that every kill hits the work.
            seen = checkpoint_name(killed, "LAST")
            while checkpoint_name(killed, "LAST") == seen and process.is_alive():
                time.sleep(0.001)
            time.sleep(chance.random() / 20)
            process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        found = load_checkpoint(open_run(killed.folder))
        steps.add(found.state.step)
    assert kills >= 2
    assert final(killed) == final(whole)
    assert damage_of(killed) == []


def test_replay_kills_a_process_in_the_middle_and_finds_the_same_bytes(start, prepared):
    found = replay(start("run", "mixup=0.5"), prepared, CPU, steps=4)
    assert (found.steps, found.killed_at, found.resumed_from, found.different) == (4, 3, 2, ())


@pytest.fixture
def in_a_copy(monkeypatch, tmp_path):
    """The process to be killed is a copy, which has PyTorch imported; the test above starts a real one."""

    def run(command, **_):
        said = tmp_path / "said"
        code = Copy(command, said, os.environ).wait()
        return subprocess.CompletedProcess(command, code, "", said.read_text())

    if sys.platform == "linux":
        monkeypatch.setattr("alexnet.training.replay.subprocess", SimpleNamespace(run=run))


def test_replay_of_a_short_run_takes_all_of_its_steps(start, prepared, in_a_copy):
    found = replay(start("run", "epochs=1"), prepared, CPU)
    assert (found.steps, found.killed_at, found.resumed_from, found.different) == (4, 3, 2, ())


def test_replay_notices_what_does_not_follow_from_the_recipe(start, prepared, monkeypatch, in_a_copy):
    calls = iter(range(100, 200))
    order = loader.epoch_order
    monkeypatch.setattr(loader, "epoch_order", lambda count, seed, epoch: order(count, next(calls), epoch))
    found = replay(start("run"), prepared, CPU, steps=4)
    assert found.different == ("model.safetensors", "training.safetensors")


def test_replay_of_a_run_that_runs_out_of_patience_takes_the_steps_that_there_are(start, prepared, in_a_copy):
    still = start("run", "lr=0", "patience=1", "evaluate_every=1", "epochs=6")  # so the second epoch is no better
    found = replay(still, prepared, CPU, steps=10)
    assert (found.steps, found.killed_at, found.resumed_from, found.different) == (8, 5, 4, ())


def test_a_finished_run_that_is_resumed_does_nothing(start, fit):
    run = start("run", "epochs=1")
    fit(run)
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    assert fit(open_run(run.folder)).steps == []
    assert {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_when_it_is_saved_changes_nothing(start, prepared, fit, seconds):
    whole, other = start("whole"), start("other")
    fit(whole)
    train(other, prepared, device=CPU, monitor=Quiet(), save_seconds=seconds)
    assert final(whole) == final(other)


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_how_far_batches_are_made_ahead_changes_nothing(start, fit, monkeypatch, depth):
    whole, other = start("whole"), start("other")
    fit(whole)
    monkeypatch.setattr(alexnet.training.loop, "PREFETCHED", depth)
    fit(other)
    assert final(whole) == final(other)


def test_a_damaged_checkpoint_leads_to_the_same_end(start, fit):
    whole, run = start("whole"), start("run")
    fit(whole)
    for stop in (3, 2):
        with pytest.raises(Interrupted):
            fit(open_run(run.folder), stop)
    path = run.folder / "checkpoints" / name_of(5) / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    told = fit(open_run(run.folder)).notes
    assert len(told) == 1
    assert told[0].startswith(f"damaged: {path} is damaged")
    assert final(run) == final(whole)
    assert damage_of(run) == []


# --- asked ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_replay(start, prepared, monkeypatch, number):
    train_some = alexnet.training.loop.train
    asking = Quiet(number, 2)
    monkeypatch.setattr("alexnet.training.replay.train", lambda *a, **named: train_some(*a, **named, monitor=asking))
    with pytest.raises(Interrupted) as stopped:
        replay(start("run"), prepared, CPU, steps=4)
    assert (stopped.value.step, stopped.value.signal_number) == (2, number)


def test_a_signal_ends_an_estimate_and_the_steps_that_were_planned_do_not(tiny, prepared, monkeypatch):
    plan = Plan(tiny, tiny, prepared, CPU)
    assert plan.estimate(steps=2) > 0
    monkeypatch.setattr("alexnet.training.plan._Timing.step", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted) as stopped:
        plan.estimate(steps=2)
    assert (stopped.value.step, stopped.value.signal_number) == (1, signal.SIGINT)


class Quiet:
    """A monitor that sends a signal to its own process at a step."""

    def __init__(self, number=None, at=0):
        self.number, self.at, self.steps, self.notes = number, at, 0, []

    def step(self, progress):
        self.steps = progress.step
        if progress.step == self.at:
            os.kill(os.getpid(), self.number)

    def epoch(self, row):
        pass

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [1, 4, 6, 11])
def test_asked_to_stop_it_has_saved_that_step(start, prepared, number, at):
    run = start("run")
    with pytest.raises(Interrupted) as stopped:
        train(run, prepared, device=CPU, monitor=Quiet(number, at))
    assert (stopped.value.step, stopped.value.signal_number) == (at, number)
    assert load_checkpoint(run).state.step == at


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1 here")
def test_sigusr1_saves_and_goes_on(start, prepared, fit):
    whole, run = start("whole"), start("run")
    fit(whole)
    saved = []

    class Looking(Quiet):
        def step(self, progress):
            saved.append(checkpoint_name(run, "LAST"))
            super().step(progress)

    train(run, prepared, device=CPU, monitor=Looking(signal.SIGUSR1, 6))
    assert saved[5:7] == [saved[5], name_of(6)]
    assert saved[5] != name_of(6)
    assert final(run) == final(whole)


# --- alone ---------------------------------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_a_dead_one_does_not_matter(start, prepared, fit):
    run = start("run", "epochs=1")
    script = (
        "import sys, time; from pathlib import Path; from alexnet.storage.locks import only_one\n"
        "with only_one(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(run.folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UsageError, match=rf"E251 .* is in use by another process \(process {other.pid} on .*\)\n"):
            fit(run)
        assert read_metrics(run) == []
    finally:
        other.kill()
        other.communicate()
    assert (run.folder / ".owner").exists()  # it was killed
    fit(run)
    assert not (run.folder / ".owner").exists()


# --- what exactness depends on -------------------------------------------------------------------------------------

CHANGES = [
    ("torch", "2.0.0"),
    ("numba", "none"),
    ("numpy", "1.0"),
    ("pillow", "1.0"),
    ("alexnet", "0.0"),
    ("loops", "another kind"),
    ("processor", "another"),
    ("instructions", "DEFAULT"),
    ("device", "NVIDIA GeForce GTX 580"),
    ("precision", "bfloat16"),
    ("algorithms", "fast"),
    ("masks", "another hash"),
    ("threads", "64"),
    ("processes", "2, data"),
    ("pictures", "0" * 64),
]


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_what_makes_exactness_impossible_is_refused_or_recorded(start, fit, prepared, monkeypatch, name, value):
    run, shown = start("run", "epochs=1"), {"pictures": "images", "masks": "dropout masks"}.get(name, name)
    with pytest.raises(Interrupted):
        fit(run, 2)
    here = conditions(prepared, CPU, recipe=run.recipe)
    monkeypatch.setattr(alexnet.training.loop, "conditions", lambda *a, **b: {**here, name: value})
    with pytest.raises(UsageError, match=rf"E255 the rest of this run cannot be exact: {shown} .* -> {value[:12]}"):
        fit(open_run(run.folder))
    assert load_checkpoint(run).state.step == 2
    quiet = Quiet()
    train(open_run(run.folder), prepared, device=CPU, monitor=quiet, allow_inexact=True)
    assert len(quiet.notes) == 1
    assert f"inexact: the rest of this run cannot be exact: {shown}" in quiet.notes[0]
    assert quiet.notes == [row["text"] for row in read_metrics(run) if row["kind"] == "note"]
    assert load_checkpoint(run).conditions[name] == value
    fit(open_run(run.folder))  # from here on that is what it was made with


def test_the_conditions_are_all_there_and_a_missing_one_counts(prepared, tiny):
    here = conditions(prepared, CPU, recipe=tiny)
    assert sorted(here) == sorted(name for name, _ in CHANGES)
    assert here["threads"] == str(torch.get_num_threads())
    assert here["torch"] == torch.__version__
    assert here["loops"] == ("PyTorch" if operators.compiled() is None else "compiled")
    assert check_conditions(here, here, allow=False) is None
    assert check_conditions({}, here, allow=False) is None
    with pytest.raises(UsageError, match="gone 1 -> none"):
        check_conditions({"gone": "1"}, here, allow=False)


def test_without_numba_the_loops_are_those_of_pytorch(prepared, monkeypatch):
    monkeypatch.setattr(alexnet.runs.environment, "compiled", lambda: None)
    assert conditions(prepared, CPU)["loops"] == "PyTorch"


def test_images_kept_as_jpeg_are_as_exact(photos, tiny, tmp_path, start):
    prepare(open_source(str(photos)), tmp_path / "jpeg", size=24, encoding="jpeg")
    jpeg = open_prepared(tmp_path / "jpeg")
    runs = [create_run(tmp_path / name, tiny, jpeg.class_names, {}) for name in ("whole", "parts")]
    train(runs[0], jpeg, device=CPU, monitor=Quiet())
    with pytest.raises(Interrupted):
        train(runs[1], jpeg, device=CPU, monitor=Quiet(), max_steps=4)
    train(runs[1], open_prepared(tmp_path / "jpeg"), device=CPU, monitor=Quiet())
    assert final(runs[0]) == final(runs[1])


# --- numbers that are not finite -----------------------------------------------------------------------------------


def test_a_loss_runs_away_beyond_a_million_times_that_of_guessing():
    losses = (0.0, 2.3, 2_302_585.0, 2_302_586.0, math.inf, math.nan)
    assert [runs_away(loss, 10) for loss in losses] == [False, False, False, True, True, True]
    assert not runs_away(999_999.0, 1)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda model, images: images.__setitem__((1, 2, 3, 4), math.nan), "the images themselves"),
        (lambda model, images: model.layers.conv1.bias.__setitem__(0, math.inf), "the weights of conv1"),
        (lambda model, images: model.layers.fc7.weight.__setitem__((1, 1), math.nan), "the weights of fc7"),
        (lambda model, images: model.layers.conv3.weight.mul_(1e38), "the output of conv3"),
        (lambda model, images: None, None),
    ],
)
def test_the_first_bad_layer_is_named(tiny, spoil, found):
    model = build_model(tiny.model, seed=0)
    images = torch.rand(2, 3, 20, 20) * 255
    with torch.no_grad():
        spoil(model, images)
    assert first_bad(model, images) == found


def spoiled_at(monkeypatch, step, spoil):
    """Changes the network or the images before a step (counted from 1)."""
    taken, calls = alexnet.training.trainer.train_step, []

    def train_step(model, optimizer, images, *rest):
        calls.append(1)
        if len(calls) == step:
            spoil(model, images)
        return taken(model, optimizer, images, *rest)

    monkeypatch.setattr(alexnet.training.trainer, "train_step", train_step)


@torch.no_grad()
def nan_weight(model, images):
    model.layers.conv4.weight[0, 0, 0, 0] = math.nan


def nan_pixel(model, images):
    images[0, 0, 0, 0] = math.nan


@pytest.mark.parametrize(
    ("spoil", "where"), [(nan_weight, "the weights of conv4"), (nan_pixel, "the images themselves")]
)
def test_nan_stops_the_run_at_that_step_and_names_layer_and_images(start, fit, prepared, monkeypatch, spoil, where):
    run = start("run")
    spoiled_at(monkeypatch, 7, spoil)
    with pytest.raises(DivergedError, match=f"E401 the loss became nan at step 7 .*; first not finite: {where}\n"):
        fit(run)
    record = json.loads((run.folder / "diverged.json").read_text())
    assert (record["step"], record["epoch"], record["first_bad"]) == (7, 2, where)
    order = epoch_order(26, 0, 2)[16:24]  # the third batch of the second epoch
    assert record["pictures"] == [prepared.splits["train"].names[i] for i in order]
    for which in ("best", "last"):
        assert all(bool(torch.isfinite(t).all()) for t in load_model(run, which).state_dict().values())


def test_a_rate_of_a_million_stops_at_once(start, fit):
    run = start("run", "lr=1e6")
    with pytest.raises(DivergedError, match=r"E40\d .* at step 2 |E40\d .* after step 1") as told:
        fit(run)
    assert "optim.lr=1e+05" in str(told.value)
    assert load_checkpoint(run) is None


def test_weights_that_are_not_finite_are_never_saved(start, prepared, monkeypatch):
    run = start("run")
    taken = alexnet.training.trainer.train_step

    def train_step(model, *rest):
        out = taken(model, *rest)
        nan_weight(model, None)
        return out

    monkeypatch.setattr(alexnet.training.trainer, "train_step", train_step)
    with pytest.raises(DivergedError, match=r"E401 the weights are not finite after step 1; first not finite: model/"):
        train(run, prepared, device=CPU, monitor=Quiet(), save_seconds=0.0)
    assert load_checkpoint(run) is None


def test_rollback_goes_back_to_the_checkpoint_at_half_the_rate(start, fit, prepared, monkeypatch):
    run = start("run", "on_nan=rollback", "schedule=constant", "lr=0.016")
    spoiled_at(monkeypatch, 7, nan_weight)
    rates = {}

    class Noting(Quiet):
        def step(self, progress):
            rates.setdefault(progress.step, []).append(progress.lr)

    monitor = Noting()
    train(run, prepared, device=CPU, monitor=monitor, save_seconds=0.0)
    assert rates == {**{s: [0.016] for s in range(1, 7)}, **{s: [0.008] for s in range(7, 13)}}
    assert len(monitor.notes) == 1
    assert monitor.notes[0].startswith("rollback: 1 of 3: the loss became nan at step 7")
    assert [row["text"] for row in read_metrics(run) if row["kind"] == "note"] == monitor.notes
    assert load_checkpoint(run).state.rollbacks == 1


def test_rollback_gives_up_after_three(start, prepared, monkeypatch):
    run = start("run", "on_nan=rollback")
    taken = alexnet.training.trainer.train_step

    def train_step(model, *rest):
        nan_weight(model, None)
        return taken(model, *rest)

    monkeypatch.setattr(alexnet.training.trainer, "train_step", train_step)
    monitor = Quiet()
    with pytest.raises(DivergedError, match="E401 the loss became nan at step 1"):
        train(run, prepared, device=CPU, monitor=monitor)
    assert [note.split(":")[1] for note in monitor.notes] == [" 1 of 3", " 2 of 3", " 3 of 3"]


# --- patience ------------------------------------------------------------------------------------------------------


def test_patience_ends_a_run_that_gets_no_better_and_survives_a_stop(start, fit, monkeypatch):
    errors = iter([0.5, 0.4, 0.4, 0.6, 0.3, 0.2])
    evaluated = alexnet.training.validation.evaluate
    monkeypatch.setattr(
        alexnet.training.validation, "evaluate", lambda *a, **k: Scored(evaluated(*a, **k), next(errors), log_loss=1.0)
    )
    run = start("run", "epochs=6", "patience=2")
    with pytest.raises(Interrupted):
        fit(run, 9)
    fit(open_run(run.folder))
    assert [row["val_top1_error"] for row in read_metrics(run) if row["kind"] == "epoch"] == [0.5, 0.4, 0.4, 0.6]
    state = load_checkpoint(run).state
    assert (state.step, state.best_step, state.looks_since_best) == (16, 8, 2)
    assert fit(open_run(run.folder)).steps == []


class Scored:
    """An evaluation with other figures."""

    def __init__(self, found, top1_error, log_loss):
        self.top1_error, self.log_loss, self.top5_error = top1_error, log_loss, found.top5_error

"""Steps whose loss is read later, and recorded passes: everything ends as without them, on the CPU to the bit.

The answer is the loop that reads every loss at once and computes operation by operation. A CUDA graph is played by
something that repeats the work and writes the results where the recording had them.
"""

import json
import math

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from alexnet.errors import DivergedError
from alexnet.kernels import masks, momentum, operators
from alexnet.models.layers import Dropout
from alexnet.runs import environment
from alexnet.runs.checkpoint import load_checkpoint
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import open_run
from alexnet.training import late, loop, trainer
from alexnet.training.graphs import StepGraphs
from alexnet.training.late import LAG, LateSteps, Reading, lag_for
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from alexnet.training.optim import SGD2012, build_optimizer, moving_average, update_average
from alexnet.training.trainer import Trainer
from harness.small_runs import Recording

CPU = torch.device("cpu")


class Repeating:
    """Plays a CUDA graph: the results of a repetition lie where those of the recording lay."""

    def __init__(self):
        self.recorded, self.repeated = 0, 0

    def record(self, work):
        for _ in range(2):
            work()
        outputs = [tensor.detach().clone() for tensor in work()]
        self.recorded += 1

        def replay():
            self.repeated += 1
            for output, tensor in zip(outputs, work(), strict=True):
                output.copy_(tensor.detach())

        return replay, outputs


class Refusing:
    """Plays a card that cannot record, after it has done some of the work."""

    def record(self, work):
        work()
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


def with_(monkeypatch, *, lag: int, recorder=None):
    monkeypatch.setattr(trainer, "lag_for", lambda device, group: lag)
    monkeypatch.setattr(trainer, "recorder_for", lambda device: recorder)


def ended(run):
    """All that must not depend on when a loss is read."""
    stored = load_checkpoint(run)
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in read_metrics(run)]
    return {name: t.clone() for name, t in stored.tensors.items()}, rows, stored.state.step, stored.state.best_step


def assert_same(found, expected):
    assert found[1:] == expected[1:]
    assert found[0].keys() == expected[0].keys()
    assert [name for name, tensor in expected[0].items() if not torch.equal(tensor, found[0][name])] == []


RUNS = {
    "sgd-2012": ("algorithm=sgd-2012", "drop_epochs=[2]", "conv1_freeze_epoch=3"),
    "sgd": ("algorithm=sgd", "class_weights=balanced"),
    "nesterov": ("algorithm=nesterov", "average_decay=0.9", "label_smoothing=0.1"),
    "adamw": ("algorithm=adamw", "lr=0.002", "schedule=one-cycle", "warmup=0.3", "average_decay=0.9", "norm=batch"),
    "mixing": ("mixup=0.5", "cutmix=0.4", "average_decay=0.5", "pool_ties=all"),
    "growing": ("pool5_grid=1", "input_norm=standardise", "growing_crops=[[0, 16], [0.4, 20]]", "algorithm=adamw"),
    "labels without information": ("lr=0.0", "epochs=16"),
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_a_run_ends_the_same_whenever_losses_are_read_and_passes_are_recorded(start, fit, monkeypatch, changes):
    expected = start("now", *changes)
    seen = fit(expected)
    for name, recorder in (("late", None), ("recorded", Repeating())):
        with_(monkeypatch, lag=LAG, recorder=recorder)
        run = start(name, *changes)
        told = fit(run)
        assert_same(ended(run), ended(expected))
        assert told.notes == seen.notes
        steps = [[(p.step, p.loss, p.top1_error, p.lr) for p in monitor.steps] for monitor in (told, seen)]
        assert steps[0] == steps[1]
    assert recorder.recorded == (2 if "growing_crops" in str(changes) else 1)
    assert recorder.repeated == 3 * len(read_metrics(run)) or "epochs=16" in changes  # the fourth batch is shorter


@pytest.mark.parametrize("changes", [RUNS["nesterov"], RUNS["adamw"], RUNS["growing"]])
@pytest.mark.parametrize("length", [1, 3, 5])
def test_a_run_that_is_interrupted_ends_as_one_that_is_not(start, fit, monkeypatch, changes, length):
    with_(monkeypatch, lag=LAG, recorder=Repeating())
    whole, pieces = start("whole", *changes), start("pieces", *changes)
    fit(whole)
    for _ in range(20):
        try:
            fit(open_run(pieces.folder), length)
        except Interrupted:
            continue
        break
    assert_same(ended(pieces), ended(whole))


def test_asked_to_stop_all_begun_steps_are_read_first(start, prepared, monkeypatch):
    with_(monkeypatch, lag=LAG)
    run, seen = start("run"), []

    class Stopping(Recording):
        def step(self, progress):
            seen.append(progress.step)
            if progress.step == 5:
                import os
                import signal

                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as stopped:
        train(run, prepared, device=CPU, monitor=Stopping())
    assert stopped.value.step == load_checkpoint(run).state.step == seen[-1]
    assert seen == list(range(1, seen[-1] + 1))
    assert seen[-1] <= 5 + LAG


def test_steps_are_begun_before_the_loss_of_earlier_ones_is_read(start, fit, monkeypatch):
    with_(monkeypatch, lag=LAG)
    order = []
    begin, result = Trainer.begin_step, Trainer.result
    monkeypatch.setattr(Trainer, "begin_step", lambda s, *a: (order.append(a[2].step), begin(s, *a))[1])
    monkeypatch.setattr(Trainer, "result", lambda s, b: (order.append(-b.at.step), result(s, b))[1])
    fit(start("run", "epochs=1", "batch_size=4"))
    # The first is read at once, because it is checked; the seventh and last ends the epoch.
    assert order == [0, 0, 1, 2, 3, -1, 4, -2, 5, -3, 6, -4, -5, -6]


@torch.no_grad()
def nan_weight(model, images):
    model.layers.conv4.weight[0, 0, 0, 0] = math.nan


def nan_pixel(model, images):
    images[0, 0, 0, 0] = math.nan


@pytest.mark.parametrize("spoil", [nan_weight, nan_pixel])
@pytest.mark.parametrize("algorithm", ["sgd-2012", "sgd", "adamw"])
def test_a_run_that_diverges_says_the_same_and_changes_nothing_after_that_step(
    start, prepared, monkeypatch, spoil, algorithm
):
    told, weights = [], []
    for lag in (0, LAG):
        run = start(f"lag {lag}", f"algorithm={algorithm}", "lr=0.001")
        owner = Trainer(run, prepared, CPU, lag=lag)

        def take_six(owner=owner):
            begun = []
            for step, (images, targets) in enumerate(owner.batches(0, 6)):
                if step == 3:
                    spoil(owner.model, images)
                begun.append(owner.begin_step(images, targets, owner.clock.at(step)))
            for each in begun:
                owner.result(each)

        with pytest.raises(DivergedError) as error:
            take_six()
        record = json.loads((run.folder / "diverged.json").read_text())
        told.append((str(error.value).replace(str(run.folder), ""), record))
        weights.append({name: p.detach().clone() for name, p in owner.model.named_parameters()})
    assert told[0] == told[1]
    assert all(torch.equal(w, weights[1][n]) or torch.isnan(w).any() for n, w in weights[0].items())


def test_only_a_single_process_on_a_cuda_card_reads_later():
    class Group:
        is_single = True

    assert lag_for(torch.device("cuda"), Group()) == LAG
    assert lag_for(torch.device("mps"), Group()) == lag_for(CPU, Group()) == 0
    Group.is_single = False
    assert lag_for(torch.device("cuda"), Group()) == 0


def test_a_reading_is_of_the_moment_it_began():
    numbers = torch.tensor([1.5, 3.0])
    reading = Reading(numbers)
    numbers.zero_()
    assert reading.values() == (1.5, 3.0)
    assert Reading((2.0, 1.0)).values() == (2.0, 1.0)


# --- recorded passes -------------------------------------------------------------------------------------------------


def recorded(start, prepared, recorder, name="run"):
    owner = Trainer(start(name, "norm=batch"), prepared, CPU)
    flag = torch.zeros(())
    steps = LateSteps(owner.model, owner.optimizer, None, owner.run.recipe, None)
    graphs = StepGraphs(owner.model.train(), recorder, 8, steps.gradients, (flag,))
    owner.model.seed_dropout(0, 0)
    return owner, graphs


def test_recording_changes_no_buffer_and_a_repetition_changes_them_once(start, prepared):
    owner, graphs = recorded(start, prepared, Repeating())
    plain, _ = recorded(start, prepared, Repeating(), "plain")
    images, targets = next(owner.batches(0, 1))
    graphs.run(images, targets)
    plain.model(images, check_range=False)
    for name, buffer in plain.model.named_buffers():
        assert torch.equal(buffer, dict(owner.model.named_buffers())[name])
    assert any("num_batches" in name for name, _ in owner.model.named_buffers())


def test_every_repetition_has_its_own_images_targets_and_masks_in_the_same_memory(start, prepared):
    recorder = Repeating()
    owner, graphs = recorded(start, prepared, recorder)
    places = []
    for step, (images, targets) in enumerate(owner.batches(0, 3)):
        owner.model.seed_dropout(0, step)
        kept = images.clone()
        numbers = graphs.run(images, targets)
        gradients = {n: p.grad.clone() for n, p in owner.model.named_parameters()}
        places.append([numbers.data_ptr(), *(p.grad.data_ptr() for p in owner.model.parameters())])
        loss = nn.functional.cross_entropy(owner.model(images, check_range=False), targets)
        owner.optimizer.zero_grad()
        loss.backward()
        assert numbers[0] == loss
        assert torch.equal(images, kept)
        assert all(torch.equal(gradients[n], p.grad) for n, p in owner.model.named_parameters())
    assert places[0] == places[1] == places[2]
    assert (recorder.recorded, recorder.repeated) == (1, 3)


def test_what_changes_from_step_to_step_is_not_recorded(start, prepared):
    owner, graphs = recorded(start, prepared, Repeating())
    images, _ = next(owner.batches(0, 1))
    assert graphs.fits(images)
    assert not graphs.fits(images[:5])
    hook = owner.model.layers.conv1.register_forward_hook(lambda *_: None)
    assert not graphs.fits(images)
    hook.remove()
    assert graphs.fits(images)
    layer = next(m for m in owner.model.modules() if isinstance(m, Dropout))
    for layer.key in (None, 3):
        assert not graphs.fits(images)
    owner.model.seed_dropout(0, 1)
    layer.rows = slice(0, 4)
    assert not graphs.fits(images)


def test_a_card_that_cannot_record_computes_operation_by_operation_and_says_so_once(start, fit, monkeypatch):
    expected = start("now", "norm=batch")
    fit(expected)
    with_(monkeypatch, lag=LAG, recorder=Refusing())
    run = start("run", "norm=batch")
    told = fit(run)
    notes = [note for note in told.notes if note.startswith("graph: ")]
    assert len(notes) == 1
    assert notes[0].endswith("operation not permitted when stream is capturing")
    found, answer = ended(run), ended(expected)
    assert all(torch.equal(tensor, found[0][name]) for name, tensor in answer[0].items())


def test_a_compiled_network_draws_new_masks_at_every_step_without_being_compiled_again():
    layer, compilations = Dropout(0.5, scale_at_test=True), []

    def backend(graph, inputs):
        compilations.append(graph)
        return graph.forward

    compiled = torch.compile(layer, backend=backend, dynamic=False)
    x = torch.ones(4, 50)
    for key in (1, 2, 2**60):
        layer.key = torch.tensor(masks.start_of(key))
        expected = layer(x)
        assert torch.equal(compiled(x), expected)
        layer.key = key
        assert torch.equal(layer(x), expected)
    assert len(compilations) == 1


# --- updates that a flag stops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sgd-2012", "sgd", "nesterov", "adamw"])
def test_a_flag_on_the_device_stops_every_optimizer(tiny, algorithm):
    from alexnet.recipes.recipe import override

    config = override(tiny, [f"algorithm={algorithm}"]).optim
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = build_optimizer(model, config)
    flag = torch.zeros(())
    optimizer.found_inf, optimizer.grad_scale = flag, None

    def step(value):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, value)
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        return [torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)]

    assert not any(step(1.0))
    flag.fill_(1.0)
    memory = {k: v.clone() for s in optimizer.state.values() for k, v in s.items() if v.ndim}
    assert all(step(math.nan))
    assert all(torch.equal(v, memory[k]) for s in list(optimizer.state.values())[-1:] for k, v in s.items() if v.ndim)
    flag.fill_(0.0)
    assert not any(step(1.0))
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("decay", [0.0, 0.0005, 0.3])
@pytest.mark.parametrize("rate", [0.1, 1e-5])
def test_the_update_of_a_device_is_that_of_pytorchs_operations(monkeypatch, decay, rate):
    monkeypatch.setattr(operators, "compiled", lambda: None)
    random = torch.Generator().manual_seed(0)
    w = nn.Parameter(torch.randn(4, 3, 5, 5, generator=random).contiguous(memory_format=torch.channels_last))
    optimizer = SGD2012([{"params": [w], "weight_decay": decay}], rate, 0.9)
    other, buffer = w.detach().clone(), torch.zeros_like(w)
    for stopped in (0.0, 0.0, 1.0, 0.0):
        w.grad = torch.randn(w.shape, generator=random)
        other.grad = w.grad.clone()
        if not stopped:
            optimizer.step()
        momentum.momentum_steps([(other, buffer, 0.9, rate, decay)], torch.tensor(stopped))
        assert torch.equal(other, w)
    assert torch.equal(buffer, optimizer.state[w]["momentum_buffer"])


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_is_that_of_pytorchs_own_object(decay):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    one, other = (AveragedModel(model, multi_avg_fn=moving_average(decay), use_buffers=True) for _ in range(2))
    for updates in range(5):
        model(torch.randn(6, 3))
        with torch.no_grad():
            model[0].weight.add_(torch.randn(4, 3))
        one.update_parameters(model)
        update_average(other, model, decay, updates)
        assert all(torch.equal(t, other.state_dict()[name]) for name, t in one.state_dict().items())


def test_the_watchdog_knows_which_steps_may_lead_to_a_check(start, prepared):
    watchdog = Trainer(start("run"), prepared, CPU).watchdog
    assert watchdog.may_check(1, 1)
    assert not watchdog.may_check(2, 3)
    watchdog.flat_steps, watchdog.next_check = 47, 50
    assert watchdog.may_check(90, 3)
    assert not watchdog.may_check(90, 2)
    watchdog.reported |= {"plateau", "dead units", "labels"}
    assert not watchdog.may_check(90, 3)


def test_the_loss_from_which_no_run_recovers_is_one_number():
    assert late.highest_loss(10) == pytest.approx(1e6 * math.log(10))
    assert late.highest_loss(2) == 1e6


# --- --fast ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "then", "noted"), [(True, False, 1), (True, True, 1), (False, False, 0)])
def test_a_run_trained_fast_says_so_when_it_resumes(start, prepared, monkeypatch, first, then, noted):
    for place in (environment, loop):  # as on a CUDA card
        monkeypatch.setattr(place, "algorithms", lambda device, fast: "fast" if fast else "deterministic")
    run, monitor = start("run"), Recording()
    with pytest.raises(Interrupted):
        train(run, prepared, device=CPU, max_steps=2, fast=first, monitor=monitor)
    assert not [note for note in monitor.notes if "--fast" in note]
    train(run, prepared, device=CPU, fast=then, monitor=monitor)
    found = [row["text"] for row in read_metrics(run) if row["kind"] == "note" and "--fast" in row["text"]]
    assert len(found) == len([note for note in monitor.notes if "--fast" in note]) == noted
    assert load_checkpoint(run).conditions["algorithms"] == ("fast" if first else "deterministic")

"""Training: steps against hand-written ones, exact resumption, and the refusals before and during a run."""

import dataclasses
import json
import math
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import alexnet.training.loop
import alexnet.training.plan
import alexnet.training.trainer
from alexnet.data.samples import balanced_weights
from alexnet.errors import DivergedError, UsageError
from alexnet.evaluation.evaluate import evaluate
from alexnet.recipes.config import OptimConfig
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import for_classes, override
from alexnet.runs.checkpoint import checkpoint_name, load_checkpoint, load_model
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import open_run
from alexnet.training.monitor import Interrupted
from alexnet.training.optim import build_optimizer, set_learning_rates
from alexnet.training.plan import Plan
from alexnet.training.schedule import check_recipe, crop_size_at
from alexnet.training.step import train_step
from alexnet.training.trainer import Trainer, moving_average

CPU = torch.device("cpu")


class Softmax(nn.Module):
    """Softmax regression on the mean color of an image."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(3, 4)

    def forward(self, images, **options):
        return self.dense(images.mean((2, 3)) / 255)


# --- one step ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("algorithm", ["sgd-2012", "nesterov", "adamw"])
def test_steps_are_those_of_a_hand_written_softmax_regression(tiny, algorithm, smoothing):
    rng = np.random.default_rng(0)
    recipe = override(tiny, [f"label_smoothing={smoothing}"])
    config = OptimConfig(algorithm=algorithm, lr=0.1, momentum=0.8, weight_decay=0.05, schedule="constant")
    model = Softmax()
    optimizer = build_optimizer(model, config)
    w, b = (p.detach().double().numpy().copy() for p in model.parameters())
    moments = [[np.zeros_like(w), np.zeros_like(w)], [np.zeros_like(b), np.zeros_like(b)]]
    for step in range(1, 5):
        images = rng.integers(0, 256, (6, 3, 2, 2)).astype(np.float32)
        targets = np.eye(4)[rng.integers(0, 4, 6)]
        set_learning_rates(optimizer, config, 1, 0.0)
        loss, logits = train_step(model, optimizer, torch.from_numpy(images), torch.from_numpy(targets).float(), recipe)
        x = images.mean((2, 3)).astype(np.float64) / 255
        z = x @ w.T + b
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        t = (1 - smoothing) * targets + smoothing / 4
        assert loss.item() == pytest.approx(-(t * np.log(p)).sum(1).mean(), abs=1e-6)
        np.testing.assert_allclose(logits.numpy(), z, atol=1e-5)
        for value, gradient, (m1, m2), rate, decay in (
            (w, (p - t).T @ x / 6, moments[0], 0.1, 0.05),
            (b, (p - t).mean(0), moments[1], 0.2, 0.0),  # twice the rate, no decay
        ):
            if algorithm == "sgd-2012":
                m1[:] = 0.8 * m1 - rate * (gradient + decay * value)
                value += m1
            elif algorithm == "nesterov":  # Nesterov's look ahead
                g = gradient + decay * value
                m1[:] = 0.8 * m1 + g if step > 1 else g
                value -= rate * (g + 0.8 * m1)
            else:
                m1[:] = 0.8 * m1 + 0.2 * gradient
                m2[:] = 0.999 * m2 + 0.001 * gradient**2
                value *= 1 - rate * decay
                value -= rate * (m1 / (1 - 0.8**step)) / (np.sqrt(m2 / (1 - 0.999**step)) + 1e-8)
        for parameter, value in zip(model.parameters(), (w, b), strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), value, atol=2e-6)


def test_label_smoothing_by_hand(tiny):
    # Even answers over 4 classes lose log 4, smoothed or not; a sure right answer pays only for the smoothing.
    recipe = override(tiny, ["label_smoothing=0.2"])
    for bias, expected in (([0, 0, 0, 0], math.log(4)), ([20, 0, 0, 0], 0.15 * 20)):
        model = Softmax()
        nn.init.zeros_(model.dense.weight)
        model.dense.bias.data = torch.tensor(bias, dtype=torch.float32)
        optimizer = build_optimizer(model, OptimConfig())
        loss, _ = train_step(model, optimizer, torch.zeros(2, 3, 2, 2), torch.tensor([[1.0, 0, 0, 0]] * 2), recipe)
        assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_a_step_with_class_weights_has_the_loss_and_the_gradient_of_pytorchs(tiny):
    images, labels = torch.randint(0, 256, (6, 3, 2, 2)).float(), torch.tensor([0, 1, 1, 2, 3, 0])
    weights = torch.tensor([0.2, 1.0, 3.0, 0.0])
    recipe = override(tiny, ["label_smoothing=0.1"])
    model = Softmax()
    expected = nn.functional.cross_entropy(model(images), labels, weights, label_smoothing=0.1)
    (gradient,) = torch.autograd.grad(expected, [model.dense.weight])
    optimizer = build_optimizer(model, OptimConfig())
    targets = nn.functional.one_hot(labels, 4).float()
    loss, _ = train_step(model, optimizer, images, targets, recipe, weights)
    assert loss.item() == pytest.approx(expected.item())
    torch.testing.assert_close(model.dense.weight.grad, gradient)


def test_class_weights_are_those_of_the_training_images(start, prepared):
    assert np.bincount(prepared.splits["train"].labels).tolist() == [9, 9, 8]
    balanced = Trainer(start("balanced", "class_weights=balanced"), prepared, torch.device("cpu"))
    assert balanced.class_weights.tolist() == pytest.approx([26 / 27, 26 / 27, 26 / 24])
    assert Trainer(start("plain"), prepared, torch.device("cpu")).class_weights is None


@pytest.mark.parametrize("decay", [0.5, 0.998])
def test_the_moving_average_is_that_of_a_loop(decay):
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(6, 4)).astype(np.float32)
    average = [torch.from_numpy(weights[0].copy())]
    expected = weights[0].astype(np.float64)
    for n in range(1, 6):
        moving_average(decay)(average, [torch.from_numpy(weights[n])], torch.tensor(n))
        d = min(decay, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * weights[n]
        np.testing.assert_allclose(average[0].numpy(), expected, atol=1e-6)
    counter = [torch.tensor([3])]
    moving_average(decay)(counter, [torch.tensor([9])], 5)
    assert counter[0].item() == 9


def test_the_averaged_network_is_the_one_that_is_kept(start, fit, prepared):
    plain, averaged = start("plain", "epochs=1"), start("averaged", "epochs=1", "average_decay=0.9")
    snapshots = []
    for stop in range(1, 5):
        run = start(f"stop-{stop}", "epochs=1")
        if stop < 4:
            with pytest.raises(Interrupted):
                fit(run, stop)
        else:
            fit(run)
        snapshots.append(load_model(run, "last").state_dict()["layers.fc6.weight"].double())
    fit(plain), fit(averaged)
    expected = snapshots[0]
    for n in range(1, 4):
        d = min(0.9, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * snapshots[n]
    kept = load_model(averaged, "last").state_dict()["layers.fc6.weight"].double()
    raw = load_checkpoint(averaged)[0]["model/layers.fc6.weight"]
    torch.testing.assert_close(kept, expected, rtol=0, atol=1e-6)
    assert torch.equal(raw, load_model(plain, "last").state_dict()["layers.fc6.weight"])
    assert not torch.allclose(kept.float(), raw, atol=1e-5)


# --- stopping and resuming -----------------------------------------------------------------------------------------


def everything(run):
    """All that must not depend on interruptions: weights, momentum, metrics, the state."""
    model = {name: t.numpy().tobytes() for name, t in load_model(run, "last").state_dict().items()}
    best = {name: t.numpy().tobytes() for name, t in load_model(run, "best").state_dict().items()}
    tensors, state = load_checkpoint(run)[:2]
    training = {name: t.contiguous().numpy().tobytes() for name, t in tensors.items()}
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in read_metrics(run)]
    return model, best, training, rows, dataclasses.replace(state, seconds=0), checkpoint_name(run, "BEST")


def in_pieces(run, fit, lengths) -> int:
    """Trains to the end in calls of so many steps; returns how many calls it took."""
    for calls, length in enumerate(lengths, 1):
        try:
            fit(open_run(run.folder), length)
        except Interrupted as stopped:
            step = stopped.step
        else:
            return calls
        assert step == load_checkpoint(run)[1].step
    raise AssertionError("not at the end")


RESUMED = {
    "sgd-2012": ("algorithm=sgd-2012", "drop_epochs=[2]", "conv1_freeze_epoch=3"),
    "nesterov": ("algorithm=nesterov", "schedule=dexp", "average_decay=0.9", "label_smoothing=0.1"),
    "adamw": ("algorithm=adamw", "lr=0.002", "schedule=one-cycle", "warmup=0.3", "average_decay=0.9", "norm=batch"),
    "mixing": ("mixup=0.5", "cutmix=0.4", "view=zoom", "rotation=10", "jitter=0.2", "average_decay=0.9"),
    "growing": (
        *("pool5_grid=1", "input_norm=standardise", "growing_crops=[[0, 16], [0.4, 20]]"),
        *("algorithm=adamw", "precision=bfloat16"),
    ),
}


@pytest.mark.parametrize("changes", RESUMED.values(), ids=list(RESUMED))
def test_a_run_stopped_anywhere_and_resumed_is_the_same_run(start, fit, changes):
    whole = start("whole", *changes)
    fit(whole)
    expected = everything(whole)
    assert [row["epoch"] for row in expected[3]] == [1, 2, 3]
    for lengths in ([1] * 13, [3, 5, 99], [4, 4, 99], [11, 99]):
        pieces = start("-".join(map(str, lengths)), *changes)
        calls = in_pieces(pieces, fit, lengths)
        assert calls == {1: 12, 3: 3, 4: 3, 11: 2}[lengths[0]]
        assert everything(pieces) == expected


def test_the_seed_decides_the_run(start, fit):
    results = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = start(name, "epochs=1", f"seed={seed}")
        fit(run)
        results.append(everything(run)[0])
    assert results[0] == results[1]
    assert results[0]["layers.fc8.weight"] != results[2]["layers.fc8.weight"]


def test_a_finished_run_stays_as_it_is(start, fit):
    run = start("run", "epochs=1")
    fit(run)
    before = {p.name: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    assert fit(open_run(run.folder)).steps == []
    assert {p.name: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()} == before


def test_a_crash_between_two_checkpoints_is_as_if_it_had_not_been(start, fit, monkeypatch):
    whole, crashed = start("whole", "evaluate_every=3"), start("crashed", "evaluate_every=3")
    fit(whole)
    with pytest.raises(Interrupted):
        fit(crashed, 2)

    class Crash(Exception):
        pass

    batch = Trainer.batch

    def failing(self, samples, at, **options):
        if at.step == 7:  # after the row of epoch 1 was written, without a checkpoint since step 2
            raise Crash
        return batch(self, samples, at, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "batch", failing)
        with pytest.raises(Crash):
            fit(open_run(crashed.folder))
    assert [row["step"] for row in read_metrics(crashed)] == [4]
    assert load_checkpoint(crashed)[1].step == 2
    fit(open_run(crashed.folder))
    assert everything(crashed) == everything(whole)


def test_ctrl_c_saves_and_resume_ends_where_an_undisturbed_run_ends(photos, tmp_path, alexnet, monkeypatch):
    changes = ("prepare_size=24", "batch_size=8", "epochs=60", "model.width=0.5", "seed=3", "mixup=0.5")
    command = ["train", str(photos), "--recipe", "lenet", *changes, "model.crop_size=20", "evaluate_every=1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "alexnet", *command, "--out", str(tmp_path / "stopped")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    # The first line of an epoch: training has begun, so signals are in its hands.
    line = next(line for line in process.stdout if line.split()[:1] and line.split()[0].isdigit())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in errors) == (130, False), errors
    run = tmp_path / "stopped"
    assert f"alexnet resume {run}" in errors
    step = load_checkpoint(open_run(run))[1].step
    assert f"step {step};" in errors
    assert 3 <= step < 180, line
    whole = alexnet(*command, "--out", tmp_path / "whole")
    resumed = alexnet("resume", run)
    assert (whole.code, resumed.code) == (0, 0)
    assert everything(open_run(run)) == everything(open_run(tmp_path / "whole"))


# --- what a step sees ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [(), ("view=zoom", "rotation=10", "jitter=0.3", "color_shrink=false")])
def test_a_image_gets_the_same_view_whatever_batch_it_is_in(start, prepared, changes):
    trainer = Trainer(start("run", *changes), prepared, CPU)
    samples = np.array([11, 3, 25, 0, 7])
    at = dataclasses.replace(trainer.clock.at(5), epoch=2, progress=0.4)
    together, targets = trainer.batch(samples, at)
    for position, sample in enumerate(samples):
        alone, target = trainer.batch(np.array([sample]), dataclasses.replace(at, step=17))
        assert torch.equal(alone[0], together[position])
        assert torch.equal(target[0], targets[position])
        assert target[0].argmax() == sample % 3
    other_epoch, _ = trainer.batch(samples, dataclasses.replace(at, epoch=3))
    assert not any(torch.equal(a, b) for a, b in zip(other_epoch, together, strict=True))


def seen_by(monkeypatch, run, fit):
    """(epoch, samples, pixels a side) of every step."""
    seen = []
    batch = Trainer.batch

    def noting(self, samples, at, **options):
        images, targets = batch(self, samples, at, **options)
        seen.append((at.epoch, samples.tolist(), images.shape[-1]))
        return images, targets

    monkeypatch.setattr(Trainer, "batch", noting)
    fit(run)
    return seen


@pytest.mark.parametrize(("size", "lengths"), [(8, [8, 8, 8, 2]), (5, [5, 5, 5, 5, 6]), (25, [26]), (100, [26])])
def test_an_epoch_sees_every_image_once_and_batch_norm_never_a_single_one(monkeypatch, start, fit, size, lengths):
    run = start("run", "norm=batch", f"batch_size={size}", "epochs=2")
    seen = seen_by(monkeypatch, run, fit)
    for epoch in (1, 2):
        batches = [samples for number, samples, _ in seen if number == epoch]
        assert [len(b) for b in batches] == lengths
        assert sorted(sample for batch in batches for sample in batch) == list(range(26))
    assert seen[0][1] != seen[len(lengths)][1]  # another order in another epoch
    assert load_checkpoint(run)[1].step == 2 * len(lengths)


def test_the_plan_tells_the_steps_that_are_taken(prepared, tiny):
    recipe = override(tiny, ["batch_size=5"])  # 26 images: the one left over joins the fifth batch
    assert "3 epochs of 5 steps" in Plan(recipe, recipe, prepared, CPU).lines()["training"]


@pytest.mark.parametrize(
    ("crops", "pixels"),
    [("[]", 20), ("[[0, 16], [0.5, 20]]", 0.5 * 16 + 0.5 * 20), ("[[0.25, 16], [0.5, 18]]", 5 + 0.25 * 16 + 0.5 * 18)],
)
def test_a_rehearsal_foretells_the_run_from_the_steps_of_every_crop_size(
    monkeypatch, prepared, tiny, tmp_path, crops, pixels
):
    def fake_train(run, prepared, *, device, monitor, max_steps):
        monitor.seconds += [0.01 * crop_size_at(run.recipe, 0.0)] * max_steps  # as if time went with the side

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(alexnet.training.plan, "train", fake_train)
    recipe = override(tiny, [f"growing_crops={crops}", "pool5_grid=1", "input_norm=standardise"])
    assert Plan(recipe, recipe, prepared, CPU).estimate() == pytest.approx(12 * 0.01 * pixels)
    assert list(tmp_path.iterdir()) == []


def test_crops_grow_with_the_run(monkeypatch, start, fit):
    run = start("run", "pool5_grid=1", "input_norm=mean-pixel", "growing_crops=[[0, 16], [0.5, 18], [0.75, 22]]")
    sizes = [size for _, _, size in seen_by(monkeypatch, run, fit)]
    assert sizes == [16] * 6 + [18] * 3 + [22] * 3
    assert [row["crop_size"] for row in read_metrics(run)] == [16, 18, 22]


def test_the_crop_size_is_the_last_one_reached(tiny):
    recipe = override(tiny, ["growing_crops=[[0.25, 16], [0.5, 18]]"])
    got = [crop_size_at(recipe, progress) for progress in (0, 0.24, 0.25, 0.49, 0.5, 0.99)]
    assert got == [20, 20, 16, 16, 18, 18]
    assert crop_size_at(tiny, 0.7) == 20


# --- what is kept --------------------------------------------------------------------------------------------------


def test_the_best_epoch_is_the_one_with_the_fewest_errors_then_the_lowest_loss(start, fit, prepared):
    run = start("run", "epochs=6", "lr=0.003")
    told = fit(run).rows
    rows = read_metrics(run)
    assert told == rows
    best = min(rows, key=lambda row: (row["val_top1_error"], row["val_loss"]))
    assert checkpoint_name(run, "BEST") == f"step-{best['step']:08d}"
    result = evaluate(load_model(run), prepared, "val", class_names=run.class_names)
    assert result.log_loss == pytest.approx(best["val_loss"], abs=1e-6)
    assert result.top1_error == best["val_top1_error"]


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (9, [5])])
def test_the_held_out_images_are_looked_at_now_and_then_and_at_the_end(start, fit, every, expected):
    run = start("run", "epochs=5", "batch_size=26", f"evaluate_every={every}")
    fit(run)
    rows = read_metrics(run)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["epoch"] for row in rows if "val_loss" in row] == expected


def test_the_row_of_an_epoch_is_the_mean_over_its_images(monkeypatch, start, fit):
    losses, wrong = [], []

    def noting(model, optimizer, images, targets, *rest):
        loss, logits = train_step(model, optimizer, images, targets, *rest)
        losses.append((loss.item(), len(images)))
        wrong.append((logits.argmax(1) != targets.argmax(1)).sum().item())
        return loss, logits

    monkeypatch.setattr(alexnet.training.trainer, "train_step", noting)
    run = start("run", "epochs=1")
    fit(run)
    (row,) = read_metrics(run)
    assert row["train_loss"] == pytest.approx(sum(loss * n for loss, n in losses) / 26)
    assert row["train_top1_error"] == pytest.approx(sum(wrong) / 26)


def test_colors_are_learned(start, fit, prepared):
    run = start(
        "run", "epochs=12", "algorithm=adamw", "lr=0.003", "bias_lr_factor=1", "schedule=one-cycle", "warmup=0.2"
    )
    fit(run)
    assert evaluate(load_model(run), prepared, "test", class_names=run.class_names).top1_error == 0


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_run_that_diverges_stops_and_keeps_what_was_saved(start, fit):
    run = start("run", "lr=1e25")
    with pytest.raises(Interrupted):
        fit(run, 1)  # the loss before the first step is still finite
    before = {name: t.clone() for name, t in load_checkpoint(run)[0].items()}
    with pytest.raises(
        DivergedError, match=r"the loss became (nan|inf) at step 2 \(epoch 1, learning rate 1e\+25\)"
    ) as caught:
        fit(open_run(run.folder))
    assert caught.value.exit_code == 4
    assert "lr=1e+24" in caught.value.fix
    tensors, state = load_checkpoint(open_run(run.folder))[:2]
    assert state.step == 1
    assert all(torch.equal(tensors[name], before[name]) for name in before)
    load_model(run, "last")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (("model.crop_size=25",), "crops of 25 pixels from images prepared at 24"),
        (("view=zoom", "model.crop_size=25"), "crops of 25 pixels from images of 24 at test time"),
        (("view=zoom", "model.crop_size=28", "test_size=32"), "28.*24"),  # evaluation would refuse it an epoch later
        (("test_size=16",), "crops of 20 pixels from images of 16 at test time"),
        (("growing_crops=[[0, 16]]",), "growing_crops needs .* model.pool5_grid"),
        (("pool5_grid=1", "growing_crops=[[0, 16], [0.5, 25]]"), "25 pixels from images prepared at 24"),
        (("norm=batch", "batch_size=1"), "batch normalization needs at least 2 images in a batch"),
        # Found out only by the first step, or by building the network:
        (("pool5_grid=1", "growing_crops=[[0, 16]]", "input_norm=mean-image"), "growing_crops|mean-image"),
        (("pool5_grid=1", "growing_crops=[[0, 2]]", "input_norm=standardise"), "crop of 2 pixels|growing_crops"),
        (("model.crop_size=4",), "crop of 4 pixels"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_spent(tiny, prepared, changes, reason):
    with pytest.raises(UsageError, match=reason):
        check_recipe(override(tiny, changes), prepared)


def test_growing_crops_are_refused_for_a_network_of_one_size(prepared):
    lenet = for_classes(override(RECIPES["lenet"], ["model.crop_size=20", "growing_crops=[[0, 16]]"]), 3)
    with pytest.raises(UsageError, match="growing_crops"):
        check_recipe(lenet, prepared)


def test_recipes_that_can_be_trained_are_let_through(tiny, prepared):
    for changes in ([], ["test_size=20"], ["norm=batch", "batch_size=2"], ["model.crop_size=24"]):
        check_recipe(override(tiny, changes), prepared)


def test_the_run_folder_tells_the_seconds_of_all_calls(start, fit):
    run = start("run", "epochs=2")
    with pytest.raises(Interrupted):
        fit(run, 5)
    first = json.loads((run.folder / "checkpoints" / "step-00000005" / "state.json").read_text())["seconds"]
    fit(open_run(run.folder))
    assert read_metrics(run)[-1]["seconds"] > first >= read_metrics(run)[0]["seconds"] > 0


@pytest.mark.parametrize(
    ("counts", "ratio"),
    [
        ((50, 50), 1),
        ((100, 20), 5),
        ((100, 10), 10),
        ((500, 10), 10),
        ((5000, 1), 10),
        ((500, 20, 10), 10),
        ((7, 0), 0),
    ],
)
def test_balanced_weights_are_in_the_ratio_of_the_classes_up_to_ten(counts, ratio):
    weights = balanced_weights(counts)
    assert weights[-1] / weights[0] == pytest.approx(ratio)
    assert (weights * counts).sum() / sum(counts) == pytest.approx(1)

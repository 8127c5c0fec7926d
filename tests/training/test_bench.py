"""What `alexnet bench` says: operations counted by hand, verdicts on made-up rates, and figures that fit together."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.data.augment import mix, training_views
from alexnet.data.crops import as_batch
from alexnet.data.dataset import open_prepared
from alexnet.data.loader import compiled as loader_compiled
from alexnet.data.prepare import prepare
from alexnet.data.sources import open_source
from alexnet.models.build import build_model
from alexnet.recipes.config import AlexNetConfig, LeNetConfig
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe
from alexnet.training import bench
from alexnet.training.bench import (
    augmentation_rate,
    crop_periods,
    evaluating_seconds,
    measure,
    preparing_rate,
    reading_rates,
    times,
    verdict,
)
from alexnet.training.bench_layers import LayerTime, LayerTimes, grouped, layer_flops, time_layers
from alexnet.training.trainer import Trainer
from harness.small_runs import TINY

CPU = torch.device("cpu")


def test_operations_of_the_network_of_2012_are_those_counted_by_hand():
    flops = layer_flops(build_model(AlexNetConfig()), 3)
    multiply_adds = {  # positions x maps x maps seen x window
        "conv1": 55 * 55 * 96 * 3 * 11 * 11,
        "conv2": 27 * 27 * 256 * (96 // 2) * 5 * 5,
        "conv3": 13 * 13 * 384 * 256 * 3 * 3,
        "conv4": 13 * 13 * 384 * (384 // 2) * 3 * 3,
        "conv5": 13 * 13 * 256 * (384 // 2) * 3 * 3,
        "fc6": 4096 * 6 * 6 * 256,
        "fc7": 4096 * 4096,
        "fc8": 4096 * 1000,
    }
    assert {name: forward for name, (forward, _) in flops.items() if forward} == {
        name: 2 * 3 * count for name, count in multiply_adds.items()
    }
    # The image needs no gradient; every other layer needs one for its weights and one for its input.
    assert {name: backward for name, (_, backward) in flops.items() if backward} == {
        name: 2 * 3 * count * (1 if name == "conv1" else 2) for name, count in multiply_adds.items()
    }


def test_towers_that_never_talk_halve_their_layers():
    apart = layer_flops(build_model(AlexNetConfig(towers_talk=False)), 1)
    whole = layer_flops(build_model(AlexNetConfig()), 1)
    assert {name: whole[name][0] / apart[name][0] for name in ("conv1", "conv3", "fc6", "fc7", "fc8")} == {
        "conv1": 1, "conv3": 2, "fc6": 2, "fc7": 2, "fc8": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"reading": 1000, "augmentation": 1000, "model": 50}, "model-bound: data could feed 10x more"),
        ({"reading": 1e6, "augmentation": 46000, "model": 191}, "model-bound: data could feed 230x more"),
        ({"reading": 200, "augmentation": 200, "model": 100}, "model-bound: data could feed 1.0x more"),
        (
            {"reading": 900, "decoding": 300, "augmentation": 450, "model": 450, "evaluation": 1},
            "data-bound: the model could take 3.0x more; the slowest part is decoding",
        ),
        (
            {"preparing": 0.1, "reading": 10, "augmentation": 1000, "model": 101},
            "data-bound: the model could take 10x more; the slowest part is reading",
        ),
    ],
)
def test_the_verdict_is_about_what_every_step_needs(parts, words):
    assert verdict(parts) == words


def test_ratios_have_two_digits_that_count():
    assert [times(ratio) for ratio in (1.04, 9.94, 23.4, 231.0, 12345.0)] == ["1.0x", "9.9x", "23x", "230x", "12,000x"]


def test_crop_sizes_share_the_run():
    assert crop_periods(Recipe()) == [(0.0, 1.0)]
    growing = replace(Recipe(), growing_crops=((0.0, 96), (0.25, 128), (0.75, 160)))
    assert crop_periods(growing) == [(0.0, 0.25), (0.25, 0.5), (0.75, 0.25)]
    assert crop_periods(replace(growing, growing_crops=((0.5, 160),))) == [(0.0, 0.5), (0.5, 0.5)]


def test_time_of_the_evaluations(prepared):
    held_out = len(prepared.splits["val"])
    recipe = replace(Recipe(), epochs=7, evaluate_every=3)
    assert evaluating_seconds(recipe, prepared, 4.0) == 3 * held_out / 4.0  # after epochs 3, 6 and the last


def test_every_part_of_training_is_measured(photos, tmp_path):
    source = open_source(str(photos))
    for encoding, parts in (("raw", ["reading"]), ("jpeg", ["reading", "decoding"])):
        prepare(source, tmp_path / encoding, size=32, encoding=encoding)
        prepared = open_prepared(tmp_path / encoding)
        recipe = replace(find_recipe("lenet"), model=LeNetConfig(num_classes=3), batch_size=8, epochs=5)
        found = measure(recipe, prepared, CPU, source.splits["train"], seconds=0.1)
        assert list(found.parts) == ["preparing", *parts, "augmentation", "model", "evaluation"]
        assert all(rate > 0 for rate in found.parts.values())
        assert found.limit == verdict(found.parts)
        # 24 images make 3 steps: the run lasts at least as long as the model alone needs.
        assert found.batch_size == 8
        assert found.training_seconds > 15 * 8 / found.parts["model"]


def test_a_damaged_original_does_not_stop_the_measurement(photos):
    (photos / "red" / "broken.png").write_bytes(b"not a picture")
    samples = open_source(str(photos)).splits["train"]
    assert preparing_rate(samples, 16, 0.0) > 0


def test_reading_takes_the_batches_in_turn(prepared):
    seen = []

    class Spy:
        shards = ()

        def read(self, indices):
            seen.append(indices.tolist())

    planned = [np.array([0, 1]), np.array([2, 3]), np.array([4])]
    assert set(reading_rates(Spy(), planned, 0.0)) == {"reading"}
    assert seen == [[0, 1], [2, 3], [0, 1], [2, 3]]  # the last batch is shorter and would count as a full one


def test_layers_stand_as_the_network_runs_them():
    model = build_model(AlexNetConfig(width=0.05, num_classes=7))
    names = [" ".join(names) for names, _ in grouped(model)]
    assert " ".join(names).split() == [name for name, _ in model.layers.named_children()]
    assert {"norm1 pool1 relu1", "relu2 norm2 map_norm2 pool2", "relu3"} <= set(names)
    pixels = torch.rand(2, 3, 224, 224) * 255
    x = model.eval().prepare_input(pixels)
    for _, run in grouped(model):
        x = run(x)
    torch.testing.assert_close(x, model(pixels))


def test_times_of_layers_are_complete():
    model = build_model(AlexNetConfig(width=0.05, num_classes=7))
    found = time_layers(model, 2, CPU, seconds=0.0)
    flops = layer_flops(model, 2)
    rows = {row.name: row for row in found.layers}
    assert (rows["conv2"].forward_flops, rows["conv2"].backward_flops) == flops["conv2"]
    assert all(row.forward_ms > 0 for row in found.layers)
    assert rows["pad1"].backward_ms == 0  # nothing below conv1 is learned
    assert rows["conv1"].backward_ms > 0
    assert found.total.forward_flops == sum(forward for forward, _ in flops.values())
    assert found.peak_gflops > 0


def test_speeds_are_operations_by_time():
    conv = LayerTime("conv2", forward_ms=2.0, backward_ms=3.0, forward_flops=400_000_000, backward_flops=800_000_000)
    found = LayerTimes((conv, LayerTime("relu2", 1.0, 4.0, 0, 0)), 480.0, 8, 2, "cpu")
    assert conv.gflops() == pytest.approx(240.0)  # 1.2 GFLOP in 5 ms
    assert found.share_of_peak(conv) == pytest.approx(0.5)
    assert found.share_of_peak(found.total) == pytest.approx(0.25)


def test_a_loss_that_runs_away_while_steps_are_timed_is_told_without_a_trace(alexnet, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("alexnet.training.bench.measure.__defaults__", (None, 0.1))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    changes = ["--recipe", "lenet", "prepare_size=24", "crop_size=20", "batch_size=8", "lr=1e25", "schedule=constant"]
    outcome = alexnet("bench", photos, *changes, "--device", "cpu")
    assert outcome.code == 4
    assert re.search(r"E401 the loss became \S+ while steps were timed \(learning rate 1e\+25\)", outcome.err)
    assert "optim.lr=1e+24" in outcome.err
    assert sorted(tmp_path.iterdir()) == before


def test_the_verb_says_which_part_limits(alexnet, trained, monkeypatch):
    monkeypatch.setattr("alexnet.training.bench.measure.__defaults__", (None, 0.1))
    changes = ["--recipe", "lenet", "prepare_size=24", "crop_size=20", "batch_size=8"]
    outcome = alexnet("bench", trained / "photos", *changes)
    assert (outcome.code, outcome.err) == (0, "")
    assert "-bound: " in outcome.out
    assert "estimate" in outcome.out
    facts = json.loads(alexnet("bench", trained / "photos", *changes, "--format", "json").out)
    assert set(facts["parts"]) == {"preparing", "reading", "augmentation", "model", "evaluation"}


def test_the_verb_shows_layers_without_images(alexnet, monkeypatch):
    monkeypatch.setattr("alexnet.training.bench_layers.time_layers.__defaults__", (0.0, "float32"))
    outcome = alexnet("bench", "batch_size=2", "--layers", "--recipe", "lenet")
    assert (outcome.code, outcome.err) == (0, "")
    assert "batches of 2" in outcome.out
    assert "GFLOP/s" in outcome.out
    facts = json.loads(alexnet("bench", "--layers", "--recipe", "lenet", "--format", "json").out)
    assert [row["name"] for row in facts["layers"]][:3] == ["conv1", "act1", "pool1"]


def test_images_are_asked_for(alexnet):
    outcome = alexnet("bench")
    assert outcome.code == 2
    assert "--layers" in outcome.err


def test_weights_to_start_from_are_not_fetched(alexnet, trained, monkeypatch):
    def fail(*arguments):
        raise AssertionError("weights were fetched")

    monkeypatch.setattr("alexnet.training.trainer.trained_network", fail)
    monkeypatch.setattr("alexnet.training.bench.measure.__defaults__", (None, 0.1))
    changes = [change for change in TINY if not change.startswith("growing_crops")]
    outcome = alexnet("bench", trained / "photos", "--recipe", "finetune", *changes, "optim.old_lr_factor=0.1")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("augment.flip=false",),
        ("augment.color_noise=0.1",),
        ("augment.view=zoom",),
        ("augment.view=center",),
        ("augment.mixup=0.2",),
        ("augment.jitter=0.2",),
        ("model.input_norm=unit", "augment.color_noise=0"),
    ],
)
def test_what_is_timed_as_augmentation_makes_what_training_makes(start, prepared, monkeypatch, changes):
    trainer = Trainer(start("run", *changes), prepared, CPU)
    samples = trainer.loader.samples(1, 0)
    made = []
    monkeypatch.setattr(bench, "repeated", lambda call, seconds: call() or 1.0)
    monkeypatch.setattr(trainer, "on_device", made.append)
    assert augmentation_rate(trainer, samples, 0.1) == len(samples)
    # Draws follow the position in the split, so the images in memory are those that training reads at 0, 1, 2 ...
    pixels = prepared.splits["train"].read(samples)
    (views,) = made
    assert views.shape == (len(samples), 3, 20, 20)
    expected = training_views(
        as_batch(pixels),
        20,
        trainer.run.recipe.augment,
        trainer.loader.colors,
        seed=0,
        epoch=1,
        samples=np.arange(len(samples)),
    )
    expected, _ = mix(expected, torch.zeros(len(samples), 3), trainer.run.recipe.augment, seed=0, step=0)
    assert torch.equal(views, expected)


def test_the_compiled_loop_is_timed_where_training_takes_it(start, prepared, monkeypatch):
    taken = []
    module = loader_compiled()
    if module is None:
        pytest.skip("numba is not installed")
    loop = module.cut
    monkeypatch.setattr(module, "cut", lambda *arguments: (taken.append(1), loop(*arguments)))
    trainer = Trainer(start("run"), prepared, CPU)
    augmentation_rate(trainer, trainer.loader.samples(1, 0), 0.0)
    assert taken

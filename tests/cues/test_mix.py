"""How much a cue counts beside a network, against a search by brute force; and a run whose colors tell all."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import alexnet as package
from alexnet.cues.facts import facts_of_prepared, side_of
from alexnet.cues.mix import GAIN, mix_of, mix_run, mixing_weights
from alexnet.data.crops import as_batch
from alexnet.data.dataset import open_prepared
from alexnet.data.parts import part_of
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.doctor import examine
from alexnet.runs.checkpoint import CUE, load_model
from alexnet.runs.run import open_run

RNG = np.random.default_rng(0)


def says(labels: np.ndarray, strength: float, seed: int, classes: int = 4) -> np.ndarray:
    """Logits that know the labels more or less."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), classes))
    return noise + strength * np.eye(classes)[labels]


def loss(logits: np.ndarray, labels: np.ndarray) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]).sum())


LABELS = RNG.integers(0, 4, 300)


@pytest.mark.parametrize(
    ("network", "color", "shape", "used"),
    [
        (1.0, 3.0, 0.0, {"color"}),
        (1.0, 0.0, 3.0, {"shape"}),
        (1.0, 2.0, 2.0, {"color", "shape"}),
        (3.0, 1.0, 0.0, {"color"}),
        (3.0, 0.0, 0.0, set()),
        (0.0, 0.0, 0.0, set()),
        (0.0, 3.0, 0.0, {"color"}),
        (2.0, -1.0, 0.0, set()),  # one that is wrong is not turned around
    ],
)
def test_a_cue_counts_where_it_knows_something_and_as_brute_force_says(network, color, shape, used):
    known = says(LABELS, network, 1)
    parts = {"color": says(LABELS, color, 2), "shape": says(LABELS, shape, 3)}
    found = mixing_weights(known, parts, LABELS)
    assert {name for name, weight in found.items() if weight} == used
    mixed = known + sum(weight * parts[name] for name, weight in found.items())
    scales = np.geomspace(0.05, 20, 50)
    ours = min(loss(scale * mixed, LABELS) for scale in scales)
    alone = min(loss(scale * known, LABELS) for scale in scales)
    assert ours <= alone + 1e-6
    if len(used) == 1:
        (name,) = used
        tried = [
            min(loss(scale * (known + weight * parts[name]), LABELS) for scale in scales)
            for weight in np.geomspace(0.05, 50, 30)
        ]
        assert ours <= min(tried) + 0.5
        assert alone - ours >= GAIN


def painted(folder, count: int = 300, gray: bool = False, mirrored: bool = True):
    """Three classes of noise in three colors; with `mirrored`=False a bright stripe leans as the class does."""
    splits = {}
    for seed, (name, number) in enumerate({"train": count, "val": 90}.items()):
        labels = np.arange(number, dtype=np.int64) % 3
        rng = np.random.default_rng(seed)
        arrays = rng.integers(0, 120, (number, 32, 32, 3))
        if gray:
            arrays = arrays[..., :1].repeat(3, -1)
        else:
            for i, label in enumerate(labels):
                arrays[i, ..., label] += 60
        if not mirrored:
            for i, label in enumerate(labels):
                rows = np.arange(32)
                at = {0: rows, 1: 31 - rows, 2: np.full(32, 16)}[int(label)]
                for shift in range(4):
                    arrays[i, rows, (at + shift) % 32] = 250
        splits[name] = Samples(tuple(f"{name}/{i}" for i in range(number)), labels, arrays=arrays.astype(np.uint8))
    prepare(Source("painted", ("a", "b", "c"), splits), folder, size=32)
    return open_prepared(folder)


@pytest.mark.parametrize(("gray", "mirrored"), [(False, True), (True, False), (False, False)])
def test_the_facts_are_those_of_the_images(tmp_path, gray, mirrored):
    facts = facts_of_prepared(painted(tmp_path / "p", gray=gray, mirrored=mirrored), 32)
    assert (facts.images, facts.gray, facts.side) == (300, gray, 32)
    assert facts.guessing == pytest.approx(1 / 3)
    assert (facts.color > 0.9) == (not gray)
    if mirrored:
        assert facts.by_chance > 0.01
    else:
        assert facts.shape > 0.9
        assert facts.upright - facts.mirrored > 0.4
        assert facts.by_chance < 1e-6


def test_too_few_images_say_nothing(tmp_path):
    facts = facts_of_prepared(painted(tmp_path / "p", count=12), 32)
    assert (facts.color, facts.shape, facts.upright) == (None, None, None)


def test_the_side_of_a_set_is_that_of_a_typical_image(tmp_path):
    from PIL import Image

    names = []
    for number, size in enumerate([(64, 48)] * 5 + [(4000, 30), (20, 20)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
        names.append(f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    samples = Samples((*names, "broken.png"), np.zeros(8, np.int64), tmp_path)
    assert side_of(samples) == 48
    assert side_of(Samples(("broken.png",), np.zeros(1, np.int64), tmp_path)) == 0
    assert side_of(Samples(("a",), np.zeros(1, np.int64), arrays=np.zeros((1, 28, 30), np.uint8))) == 28


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`alexnet train FOLDER epochs=1` on images that color tells apart; a network of one epoch knows little."""
    folder = tmp_path_factory.mktemp("mixed")
    painted(folder / "p")
    shown = package.plan(folder / "p", out=folder / "run", epochs=1, device="cpu", width=0.1, batch_size=64, cues=False)
    return shown, shown.train(shown.start())


def test_a_run_on_colors_keeps_what_was_decided_and_answers_with_its_cue(run, tmp_path, monkeypatch):
    shown, trained = run
    recipe = trained.recipe
    assert (recipe.fit, recipe.cues, recipe.augment.mixup, recipe.augment.jitter) == ("none", "mixed", 0.0, 0.0)
    assert (recipe.model.conv1_stride, recipe.prepare_size, recipe.epochs, recipe.model.width) == (1, 32, 1, 0.1)
    assert "color alone tells classes apart" in shown.lines()["color"]
    assert (trained.folder / CUE).is_file()
    network = load_model(trained.record)
    assert network.cue.names == ("color",)
    model = package.load(trained.folder)
    found = model.evaluate(split="val")
    assert found.top1_error < 0.05
    network.cue = None
    again = package.load(trained.folder)
    again.classifier.network.cue = None
    assert again.evaluate(split="val").top1_error > found.top1_error
    repeated = package.plan(shown.data, recipe=trained.folder, device="cpu", cues=False)
    assert replace(repeated.recipe, name="") == replace(recipe, name="")  # what was decided is not decided again


def test_the_mix_is_kept_as_it_was_chosen(run):
    import safetensors

    with safetensors.safe_open(run[1].folder / CUE, framework="pt") as file:
        about = json.loads(file.metadata()["mix"])
    assert about["images"] == 90
    assert mix_of(run[1].record).line() == (
        f"what color alone says is added to the network's answers: {100 * about['alone']:.1f} % without, "
        f"{100 * about['mixed']:.1f} % with, on the 90 validation images that chose how much"
    )
    assert about["mixed"] > about["alone"]
    assert torch.isfinite(load_model(run[1].record).cue.get_buffer("color.anchors")).all()


@pytest.mark.parametrize("images", [19, 20])
def test_on_how_few_validation_images_it_is_decided(run, tmp_path, images):
    """The trial behind the number: docs/own_photos.md."""
    copy = open_run(shutil.copytree(run[1].folder, tmp_path / "run"))
    (copy.folder / CUE).unlink()
    prepared = run[0].schedule.prepared
    val = prepared.splits["val"]
    few = part_of(val, np.arange(len(val))[:: len(val) // images][:images], "val")
    found = mix_run(copy, replace(prepared, splits=prepared.splits | {"val": few}))
    assert found is None if images < 20 else found.weights["color"] > 0
    assert (copy.folder / CUE).exists() == (images >= 20)


@pytest.mark.parametrize("to", ["hf", "onnx", "torch-export"])
def test_what_is_exported_answers_with_the_cue_and_so_does_what_is_imported(run, tmp_path, to):
    """Exports are compared with the run before they are written, at 1e-4."""
    model = package.load(run[1].folder)
    written = model.export(tmp_path / {"hf": "out", "onnx": "out.onnx", "torch-export": "out.pt2"}[to], to=to)
    assert written.parity.equal
    assert written.accuracy > 0.95
    if to == "hf":
        again = package.load(written.out)
        assert again.network.cue is not None
        assert again.fingerprint == model.fingerprint


def test_a_run_that_starts_from_another_leaves_its_cue_behind(run):
    planned = package.plan(run[0].data, weights=run[1].folder, device="cpu", cues=False, epochs=1)
    assert planned.recipe.cues == "none"
    assert planned.check().loss > 0


def test_the_doctor_asks_the_network_alone_where_the_cue_knows_all_labels_by_heart(run, tmp_path, monkeypatch):
    """Images of train are asked of the network before its cue was added, those of val of both."""
    trained, seen = run[1].record, {}
    monkeypatch.setattr(examine, "find_suspects", lambda evaluations, trained_on: seen.update(parts(evaluations)) or ())

    def parts(evaluations):
        return {each.split: each for each in evaluations}

    source = tmp_path / "photos"
    prepared = open_prepared(Path(trained.data["source"]))
    for split in ("train", "val"):
        images = prepared.splits[split]
        for number, pixels in enumerate(images.read(range(len(images)))):
            folder = source / split / prepared.class_names[images.labels[number]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    package.examine(source, run=trained.folder, out=tmp_path / "out")
    both = package.load(trained.folder).classifier
    for split, found in seen.items():
        images = np.stack([both.prepare(source / name) for name in found.names])
        if split == "train":
            alone = load_model(trained)
            alone.cue = None
            expected = torch.softmax(alone(as_batch(images)), 1).detach().numpy()
            assert np.abs(expected - both.probabilities(images)).max() > 0.1
        else:
            expected = both.probabilities(images)
        assert found.probabilities == pytest.approx(expected, abs=1e-5)
    assert set(seen) == {"train", "val"}

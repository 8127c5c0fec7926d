"""Checks the routes of the tab Learn: what they say is what the functions find, and what they refuse."""

import base64
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data.dataset import open_prepared, verify
from alexnet.evaluation.classifier import Classifier
from alexnet.explorer.images import GALLERY
from alexnet.interpret import chances, ideas
from alexnet.models.summary import summarize
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import open_run
from alexnet.runs.start import images_of_run


@pytest.fixture(scope="module")
def client(trained):
    httpx = pytest.importorskip("httpx")
    from harness.service_process import exploring

    with (
        exploring(trained / "run", GALLERY) as running,
        httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def gallery():
    """The gallery as a classifier, and one of its images."""
    run = open_run(GALLERY)
    image = images_of_run(run).splits["test"].read([3])[0]
    return Classifier(load_model(run), run.class_names, run.recipe.prepare_size), image


def asked(client, path: str, run: str = "gallery") -> dict:
    answer = client.get(f"/explorer/{run}/learn/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def scaled(client, probabilities) -> np.ndarray:
    """As the run answers, with its temperature."""
    file = GALLERY / "calibration.json"
    temperature = json.loads(file.read_text())["views"]["1"]["temperature"] if file.is_file() else 1.0
    powers = probabilities.astype(np.float64) ** (1 / temperature)
    return powers / powers.sum(-1, keepdims=True)


def test_the_activation_card(client, gallery):
    said = asked(client, "activation/test-3?layer=relu5&everywhere=true")
    trials = ideas.activation_trials(*gallery, "relu5", everywhere=True)
    assert [each["name"] for each in said["trials"]] == ["relu", "sigmoid", "tanh"]
    assert said["own"] == "relu"
    for each, trial in zip(said["trials"], trials, strict=True):
        assert {row["layer"]: row["norm"] for row in each["gradients"]} == pytest.approx(trial.gradients, rel=1e-3)
        assert sum(each["histogram"]["counts"]) == trial.values.size
        assert each["answer"][0]["probability"] == pytest.approx(scaled(client, trial.probabilities).max(), abs=1e-4)
    # The gradient of a sigmoid fades from layer to layer.
    first = {each["name"]: each["gradients"][0]["norm"] for each in said["trials"]}
    assert first["sigmoid"] < first["relu"]


@pytest.mark.parametrize(("layer", "row", "channel"), [("conv1", 0, 0), ("conv1", 9999, 2), ("conv2", 3, 9999)])
def test_the_convolution_card(client, gallery, layer, row, channel):
    said = asked(client, f"convolution/test-3?layer={layer}&row={row}&channel={channel}&unit=7")
    classifier, image = gallery
    values = classifier.network.activations(classifier.view(image))[layer][0].detach().numpy()
    line = values[7, min(row, values.shape[1] - 1)]
    assert said["values"] == pytest.approx(line.tolist(), rel=1e-3, abs=1e-2)
    assert np.allclose(said["map"], values[7], rtol=1e-3, atol=1e-2)
    assert said["source"] == {"conv1": "input", "conv2": "relu1"}[layer]
    products = np.array(said["products"])
    assert products.sum((1, 2)) == pytest.approx(np.array(said["sums"])[:, said["channel"]], abs=0.05)


def test_a_card_without_a_choice_shows_the_largest_value(client, gallery):
    classifier, image = gallery
    outputs = classifier.network.activations(classifier.view(image))
    largest = {name: int(values[0].amax((1, 2)).argmax()) for name, values in outputs.items() if values.ndim == 4}
    assert asked(client, "convolution/test-3?layer=conv1")["unit"] == largest["conv1"]
    assert asked(client, "pooling/test-3?layer=pool1")["unit"] == largest["norm1"]
    assert asked(client, "lrn/test-3?layer=norm1")["unit"] == largest["conv1"]


def test_the_pooling_card_answers_with_either_window(client, gallery):
    said = asked(client, "pooling/test-3?layer=pool1&unit=2")
    assert [way["own"] for way in said["ways"]] == [True, False]
    own = scaled(client, gallery[0].probabilities(gallery[1][None], raw=True)[0])
    assert said["ways"][0]["answer"][0]["probability"] == pytest.approx(own.max(), abs=1e-4)
    for way in said["ways"]:
        assert way["answer"] is not None  # in the gallery both give maps of the same size
        values = np.array(said["input"])
        assert np.array_equal(values[np.array(way["rows"]), np.array(way["columns"])], np.array(way["values"]))


@pytest.mark.parametrize("change", ["", "&size=3&alpha=1&beta=0.5&k=1", "&alpha=0&k=1"])
def test_the_lrn_card(client, gallery, change):
    said = asked(client, f"lrn/test-3?layer=norm1&unit=5&row=2&column=4{change}")
    constants, before = said["constants"], np.array(said["before"])
    near = before[said["neighbors"][0] - said["first"] : said["neighbors"][1] - said["first"] + 1]
    divisor = (constants["k"] + constants["alpha"] / constants["size"] * (near**2).sum()) ** constants["beta"]
    assert said["divisor"] == pytest.approx(divisor, rel=1e-3)
    assert said["after"][5 - said["first"]] == pytest.approx(before[5 - said["first"]] / divisor, rel=1e-3, abs=1e-4)
    assert said["maps"]["changed"][2][4] == pytest.approx(said["after"][5 - said["first"]], rel=1e-3, abs=1e-4)
    same = said["answers"]["changed"] == said["answers"]["own"]
    assert same == (not change)
    if constants["alpha"] == 0 and constants["k"] == 1:
        assert said["answers"]["changed"] == said["answers"]["off"]


def test_the_dropout_card(client, gallery):
    said = asked(client, "dropout/test-3?share=0.3&seed=4&masks=40")
    trial = chances.dropout_trial(*gallery, share=0.3, seed=4, masks=40)
    best = int(trial.at_test.argmax())
    assert said["probabilities"] == pytest.approx(scaled(client, trial.probabilities)[:, best].tolist(), abs=1e-3)
    assert said["mean_of_class"] == pytest.approx(np.mean(said["probabilities"]), abs=1e-4)
    first = said["kept"]["drop6"]
    bits = np.unpackbits(np.frombuffer(base64.b64decode(first["masks"][2]), np.uint8))[: first["units"]]
    assert np.array_equal(bits.astype(bool), trial.kept["drop6"][2])
    assert asked(client, "dropout/test-3")["share"] == asked(client, "dropout/test-3")["own"]


def test_the_augmentation_card(client, gallery):
    center = asked(client, "augmentation/test-3?crop=false&flip=false&noise=false")
    assert center["different"] == 1
    side, image = center["crop"], gallery[1]
    margin = (image.shape[0] - side) // 2
    view = np.asarray(Image.open(io.BytesIO(base64.b64decode(center["views"][0].partition(",")[2]))))
    assert np.array_equal(view, image[margin : margin + side, margin : margin + side])
    whole = asked(client, "augmentation/train-3?axis1=2")
    assert whole["different"] == 12
    assert whole["positions"] == (image.shape[0] - side + 1) ** 2
    assert whole["shifted"] != asked(client, "augmentation/train-3")["shifted"]
    assert whole["views"] != asked(client, "augmentation/train-4")["views"]
    assert whole["stdevs"] == sorted(whole["stdevs"], reverse=True)


def test_the_card_of_the_towers(client, gallery):
    said = asked(client, "towers/test-3?cut=conv3,fc7")
    assert said["cut"] == ["conv3", "fc7"]
    assert [each["layer"] for each in said["exchanges"]] == ["conv3", "fc6", "fc7", "fc8"]
    for name, cut in (("whole", []), ("left", ["conv3", "fc7"])):
        expected = scaled(client, chances.answer_with_cuts(*gallery, cut))
        assert said[name][0]["probability"] == pytest.approx(expected.max(), abs=1e-4)


def test_each_run_says_which_ideas_it_has(client):
    found = {run["name"]: run["ideas"] for run in client.get("/explorer/setup").json()["runs"]}
    assert all(found["gallery"].values())
    filters = client.get("/explorer/gallery/filters").json()
    assert (filters["shape"], filters["epochs"]) == ([48, 3, 11, 11], [])
    assert found["gallery"]["towers"] == ["conv3", "fc6", "fc7", "fc8"]
    lists = {name: set(layers) for name, layers in found["run"].items()}
    known = {each["name"] for each in client.get("/explorer/setup").json()["runs"][0]["layers"]}
    assert set.union(*lists.values()) - {"input"} <= known


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("activation/test-3?layer=conv1", "E2120"),
        ("pooling/test-3?layer=norm1", "E2120"),
        ("convolution/test-3?layer=fc6", "E2120"),
        ("lrn/test-3?layer=map_norm2", "E2120"),
        ("lrn/test-3?layer=norm1&size=0", "E265"),
        ("towers/test-3?cut=conv4", "E2123"),
        ("convolution/test-3?layer=conv1&unit=48", "E287"),
        ("pooling/test-3?layer=pool1&unit=48", "E287"),
        ("lrn/test-3?layer=norm1&unit=48", "E287"),
        ("dropout/test-999", "E288"),
        ("dropout/test-3?share=1", "E265"),
        ("lrn/test-3?layer=norm1&k=0", "E265"),
        ("augmentation/test-3?axis1=5", "E265"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(client, path, code):
    answer = client.get(f"/explorer/gallery/learn/{path}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)


# --- the gallery -----------------------------------------------------------------------------------------------------


def test_the_gallery_is_small_intact_and_says_where_it_comes_from():
    run = open_run(GALLERY)
    contents = [path.read_bytes() for path in GALLERY.rglob("*") if path.is_file()]
    assert sum(len(zlib.compress(content)) for content in contents) < 650_000  # as in a wheel
    assert "CC0" in run.data["license"]
    record = json.loads((GALLERY / "environment.json").read_text())
    assert record["command"].startswith("alexnet train ")
    assert "/tmp" not in "".join(path.read_text() for path in GALLERY.glob("*.json"))
    assert (run.recipe.model.conv1_kernel, run.recipe.model.towers, run.recipe.model.norm) == (11, 2, "lrn")
    assert summarize(load_model(run)).parameters < 120_000
    verify(open_prepared(GALLERY / "images"))


def test_the_statistics_of_the_gallery_are_those_of_all_images_not_of_the_sample():
    prepared = open_prepared(GALLERY / "images")
    model = load_model(open_run(GALLERY))
    assert prepared.channel_mean == pytest.approx(model.input_mean.flatten().numpy(), abs=0.5)
    few = np.concatenate([split.read(range(len(split))) for split in prepared.splits.values()]).reshape(-1, 3)
    assert np.abs(few.mean(0) - prepared.channel_mean).max() > 0.5


def test_the_filters_of_the_gallery_are_smooth():
    """Neighboring weights of a trained filter are alike; those of noise are not."""
    kernels = load_model(open_run(GALLERY)).layers.get_submodule("conv1").weight.detach().numpy()
    strongest = kernels[np.argsort(-np.square(kernels).sum((1, 2, 3)))[:24]]
    near = [np.corrcoef(k[:, :, 1:].ravel(), k[:, :, :-1].ravel())[0, 1] for k in strongest]
    assert np.median(near) > 0.6


def test_the_gallery_is_used_from_a_folder_that_cannot_be_written(tmp_path: Path):
    before = {path: path.stat().st_mtime_ns for path in sorted(GALLERY.rglob("*"))}
    images_of_run(open_run(GALLERY))
    load_model(open_run(GALLERY))
    assert {path: path.stat().st_mtime_ns for path in sorted(GALLERY.rglob("*"))} == before

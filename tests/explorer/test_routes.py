"""Checks the routes of `alexnet explore`: each result against one that was computed in another way."""

import base64
import io
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet.data.crops import ten_crop
from alexnet.data.dataset import open_prepared
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier, predict_probabilities
from alexnet.evaluation.views import central_view, crop_boxes
from alexnet.explorer import network_view
from alexnet.explorer.comparison import differing_fields, known_ingredient
from alexnet.explorer.images import SentImages
from alexnet.explorer.state import Explorer
from alexnet.interpret.filters import tunings
from alexnet.interpret.receptive_fields import TOP, Excited, box_of, receptive_fields
from alexnet.models.build import build_model
from alexnet.models.network import layer_names
from alexnet.recipes.config import AlexNetConfig, LeNetConfig
from alexnet.recipes.ingredients import INGREDIENTS
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import override
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import open_run
from alexnet.runs.status import ask, progress
from alexnet.serving.models import ServedModels
from alexnet.storage.locks import holds_lock, only_one

PAGE = Path(network_view.__file__).parent / "static"
SMALL = AlexNetConfig(num_classes=3, crop_size=48, width=1 / 16, conv1_kernel=7, conv1_stride=2, init="kaiming")


def numbers(data: dict) -> np.ndarray:
    """The values that the page makes of a response."""
    levels = np.frombuffer(base64.b64decode(data["values"]), np.int8).reshape(data["shape"])
    return levels / 127 * np.array(data["limits"]).reshape(-1, *[1] * (levels.ndim - 1))


def noise(count: int, size: int = 52, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


# --- what a unit sees ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [replace(SMALL, within_map_norm=False), LeNetConfig(num_classes=3, activation="relu")]
)
def test_a_unit_moves_with_the_pixels_of_its_field_and_with_no_others(config):
    model = build_model(config, seed=1).eval().double()
    fields, size = receptive_fields(model), config.crop_size
    pixels = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    for layer, values in model.activations(pixels * 255).items():
        if values.ndim != 4:
            continue
        row, column = values.shape[2] // 2, values.shape[3] // 3
        (slope,) = torch.autograd.grad(values[0, :, row, column].square().sum(), pixels, retain_graph=True)
        rows, columns = np.nonzero(slope[0].abs().sum(0).numpy())
        left, top, right, bottom = box_of(fields[layer], row, column, size)
        assert left <= columns.min() <= columns.max() < right, layer
        assert top <= rows.min() <= rows.max() < bottom, layer
        if layer == "conv1":  # behind a maximum or a ReLU some pixels of the field may be silent
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (left, top, right, bottom)


def test_the_fields_of_2012_are_those_of_its_arithmetic():
    fields = receptive_fields(build_model(RECIPES["alexnet-2012"].model))
    # 11; + 2 * 4; + 4 * 8; + 2 * 8; + 2 * 16 for each of three
    assert {
        name: (fields[name].size, fields[name].stride) for name in ("conv1", "pool1", "conv2", "pool2", "conv5")
    } == {
        "conv1": (11, 4),
        "pool1": (19, 8),
        "conv2": (51, 8),
        "pool2": (67, 16),
        "conv5": (163, 16),
    }
    assert fields["fc6"].size is None


def test_the_patches_that_excite_a_unit_most_are_those_found_one_by_one():
    model, images, excited = build_model(SMALL, seed=2).eval(), noise(23), Excited()
    for start in range(0, 23, 5):
        batch = list(range(start, min(start + 5, 23)))
        excited.look(model, images[batch], [100 + n for n in batch])
    with torch.inference_mode():
        values = model.activations(central_view(model, images))
    for layer in ("conv1", "relu2", "conv5", "fc7"):
        maps = values[layer].reshape(*values[layer].shape[:2], *(values[layer].shape[2:] or (1, 1)))
        for unit in (0, maps.shape[1] - 1):
            slow = sorted((float(maps[i, unit].max()) for i in range(23)), reverse=True)[:TOP]
            fast = excited.of(layer, unit)
            assert [value for _, value, _, _ in fast] == pytest.approx(slow, rel=1e-4, abs=1e-6)
            for number, value, row, column in fast:
                assert float(maps[number - 100, unit, row, column]) == pytest.approx(value, rel=1e-4, abs=1e-6)


# --- kernels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("angle", "frequency"), [(0, 0.125), (30, 0.2), (90, 0.15), (135, 0.25), (160, 0.1)])
def test_a_gabor_has_the_orientation_and_frequency_it_was_made_with(angle, frequency):
    rows, columns = np.mgrid[-7:8, -7:8].astype(float)
    # Stripes at `angle` against the horizontal change at a right angle to it; rows count downwards.
    across = np.sin(np.radians(angle)) * columns + np.cos(np.radians(angle)) * rows
    gabor = np.cos(2 * np.pi * frequency * across) * np.exp(-(rows**2 + columns**2) / 30)
    gray = np.repeat(gabor[None, None], 3, 1).astype(np.float32)
    (found,) = tunings(gray)
    assert abs((found.orientation - angle + 90) % 180 - 90) < 6
    assert found.frequency == pytest.approx(frequency, abs=1 / 64)
    assert found.color == pytest.approx(0, abs=1e-9)
    (colored,) = tunings(gray * np.array([1, -1, 0], np.float32).reshape(1, 3, 1, 1))
    assert abs((colored.orientation - angle + 90) % 180 - 90) < 6
    assert colored.color == pytest.approx(1)


def test_the_slices_of_a_kernel_are_the_strongest_and_stand_with_their_input_maps():
    model = build_model(SMALL, seed=3)
    weights = model.layers.get_parameter("conv3.weight").detach().numpy()[5]
    kernel = network_view.unit_kernel(model, "relu3", 5)
    assert kernel is not None
    assert (kernel["layer"], kernel["of"]) == ("conv3", len(weights))
    strength = [float((each**2).sum()) for each in weights]
    assert kernel["inputs"] == sorted(range(len(weights)), key=lambda i: -strength[i])[: network_view.KERNEL_SLICES]
    for number, shown in zip(kernel["inputs"], numbers(kernel), strict=True):
        assert np.abs(shown - weights[number]).max() <= np.abs(weights[number]).max() / 250
    first = network_view.unit_kernel(model, "pool1", 2)
    assert first is not None
    assert first["inputs"] == [0, 1, 2]
    assert network_view.unit_kernel(model, "fc6", 0) is None


def test_an_input_map_of_the_second_tower_has_its_number_in_the_whole_layer():
    model = build_model(SMALL, seed=3)
    weights = model.layers.get_parameter("conv2.weight").detach().numpy()
    kernel = network_view.unit_kernel(model, "conv2", len(weights) - 1)
    assert kernel is not None
    assert min(kernel["inputs"]) >= weights.shape[1]
    for number, shown in zip(kernel["inputs"], numbers(kernel), strict=True):
        true = weights[-1, number - weights.shape[1]]
        assert np.abs(shown - true).max() <= np.abs(true).max() / 250


# --- an image --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test_size", [None, 50])
def test_the_boxes_are_where_the_ten_crops_are_cut(test_size):
    size, crop = test_size or 52, 48
    ramp = torch.arange(size * size).reshape(1, 1, size, size).float().expand(1, 3, -1, -1)
    views = ten_crop(ramp, crop)[0]
    boxes = crop_boxes(52, test_size, crop)
    assert len(boxes) == 5
    for view, (left, top, side) in zip(views, boxes, strict=False):
        row, column = divmod(int(view[0, 0, 0]), size)
        assert (left * size, top * size, side * size) == pytest.approx((column, row, crop))
    assert crop_boxes(48, None, 48) == [(0.0, 0.0, 1.0)]


def test_the_crops_average_to_what_ten_views_say():
    model, images = build_model(SMALL, seed=4).eval(), noise(1)
    classifier = Classifier(model, tuple(map(str, range(model.config.num_classes))), 52)
    rows = classifier.crop_probabilities(images[0])
    assert rows.mean(0) == pytest.approx(predict_probabilities(model, images.__getitem__, 1, views=10)[0], abs=1e-6)
    one = classifier.probabilities(images)[0]
    assert rows[2] == pytest.approx(one, abs=1e-6)


def test_the_bytes_of_a_layer_are_its_values_to_half_a_step():
    model, image = build_model(SMALL, seed=5).eval(), noise(1)[0]
    true, classifier = model.activations(central_view(model, image[None])), Classifier(model, (), 52)
    for layer in layer_names(model):
        if true[layer].ndim == 4:
            shown = numbers(network_view.as_bytes(network_view.feature_maps(classifier, image, layer)))
            values = true[layer][0].detach().numpy()
            assert (np.abs(shown - values) <= np.abs(values).max((1, 2), keepdims=True) / 250 + 1e-5).all(), layer


def test_towers_meet_where_a_layer_has_the_channels_of_both():
    def meeting(*changes: str) -> list[str]:
        model = build_model(override(RECIPES["small-photos"], changes).model)
        return [layer["name"] for layer in network_view.describe_layers(model) if layer["meets"]]

    assert meeting() == ["conv3", "fc6", "fc7", "fc8"]
    assert meeting("model.towers_talk=false") == ["fc8"]
    assert meeting("model.towers=1") == []
    assert [x["meets"] for x in network_view.describe_layers(build_model(LeNetConfig()))] == [False] * len(
        network_view.describe_layers(build_model(LeNetConfig()))
    )


def test_images_that_were_sent_are_forgotten_oldest_first():
    sent = SentImages(max_images=2, max_bytes=10)
    names = [sent.add(data) for data in (b"a", b"b", b"c")]
    assert sent.get(names[2]) == b"c"
    with pytest.raises(Exception, match="no longer"):
        sent.get(names[0])
    large = sent.add(b"x" * 9)
    sent.add(b"yy")
    with pytest.raises(Exception, match="no longer"):
        sent.get(large)
    assert sent.add(b"zz") == sent.add(b"zz")


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ingredient", [i for i in INGREDIENTS if i.changes], ids=lambda i: i.name)
def test_every_ingredient_is_known_when_it_alone_is_switched(ingredient):
    base = RECIPES["alexnet-2012"]
    other = override(base, ingredient.changes)
    if other == base:
        assert known_ingredient(base, other) is None
        return
    found = known_ingredient(base, other)
    assert found is not None
    assert override(base, found.changes) == other
    assert known_ingredient(base, override(other, ["optim.lr=0.123"])) is None


def test_fields_that_differ_stand_side_by_side(start):
    rows = differing_fields([start("a"), start("b", "model.norm=none", "epochs=9")])
    assert {row["field"]: row["values"] for row in rows} == {"model.norm": ["lrn", "none"], "epochs": [3, 9]}


def test_only_the_process_that_has_the_lock_open_can_be_asked(start, tmp_path):
    run = start("run")
    assert progress(run, None)["state"] == "stopped"
    here = {"pid": os.getpid(), "host": platform.node()}
    (run.folder / ".owner").write_text(json.dumps(here))  # left behind by a crash
    (run.folder / ".lock").touch()
    assert not holds_lock(run.folder, here)
    with pytest.raises(UsageError, match="E289"):
        ask(run, "stop")
    (run.folder / ".owner").write_text(json.dumps({"pid": os.getpid(), "host": "elsewhere"}))
    assert progress(run, None)["state"] == "elsewhere"
    assert not progress(run, None)["can_ask"]
    with pytest.raises(UsageError, match="E289"):
        ask(run, "save")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which files a process has open")
def test_stop_and_save_arrive_as_the_signals_that_training_knows(start):
    run = start("run")
    # Another process holds the lock, as training does, and says which signals it gets.
    code = (
        "import signal, sys; from pathlib import Path; from alexnet.storage.locks import only_one\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})\n"
        "with only_one(Path(sys.argv[1])):\n"
        "    print('ready', flush=True)\n"
        "    for _ in range(2): print(signal.sigwait({signal.SIGTERM, signal.SIGUSR1}).name, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, run.folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        found = progress(run, None)
        assert (found["state"], found["process"]) == ("running", process.pid)
        assert ask(run, "save") == process.pid
        assert process.stdout.readline() == "SIGUSR1\n"
        assert ask(run, "stop") == process.pid
        assert process.stdout.readline() == "SIGTERM\n"
        assert process.wait(30) == 0
    with pytest.raises(UsageError, match="E289"):
        ask(run, "stop")


def test_progress_is_what_the_metrics_say(start, fit, prepared):
    run = start("run")
    monitor = fit(run)
    found = progress(run, prepared)
    assert (found["state"], found["epoch"], found["step"], found["steps"]) == ("finished", 3, 12, 12)
    assert [row["train_loss"] for row in found["rows"]] == [row["train_loss"] for row in monitor.rows]
    assert found["eta"] is None
    with only_one(run.folder):
        assert progress(run, prepared)["state"] == ("running" if sys.platform == "linux" else "finished")


# --- words -----------------------------------------------------------------------------------------------------------


def test_both_languages_have_the_same_words_with_the_same_gaps():
    english, chinese = (json.loads((PAGE / f"{name}.json").read_text("utf-8")) for name in ("en", "zh"))
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert text.strip()
        assert chinese[key].strip()
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_the_page_asks_for_no_word_that_there_is_not():
    english = json.loads((PAGE / "en.json").read_text("utf-8"))
    for path in PAGE.glob("*.js"):
        asked = set(re.findall(r'\bt\("([\w.-]+)"', path.read_text("utf-8")))
        assert asked - english.keys() == set(), path.name


def test_no_file_of_the_page_names_another_server():
    for path in PAGE.iterdir():
        found = set(re.findall(r"(?:https?:)?//[a-z][\w.-]+\.\w+", path.read_text("utf-8")))
        assert found <= {"http://www.w3.org", "//www.w3.org"}, path.name  # the name of SVG, never fetched


# --- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(trained):
    httpx = pytest.importorskip("httpx")
    from harness.service_process import exploring

    with (
        exploring(trained / "run") as running,
        httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client,
    ):
        yield client


def test_the_routes_tell_what_the_functions_find(client, trained):
    run = open_run(trained / "run")
    model, prepared = load_model(run), open_prepared(Path(run.data["prepared"]))
    (about,) = client.get("/explorer/setup").json()["runs"]
    assert about["name"] == "run"
    assert about["classes"] == list(run.class_names)
    name = about["samples"][1]
    kind, _, number = name["image"].rpartition("-")
    image = prepared.splits[kind].read([int(number)])[0]
    shown = np.asarray(Image.open(io.BytesIO(client.get(f"/explorer/run/image/{name['image']}").content)))
    assert (shown == image).all()
    answers = client.get(f"/explorer/run/answers/{name['image']}").json()
    assert answers["truth"] == prepared.class_names[prepared.splits[kind].labels[int(number)]]
    temperature = json.loads((run.folder / "calibration.json").read_text())["views"]["1"]["temperature"]
    powers = predict_probabilities(model, image[None].__getitem__, 1)[0].astype(np.float64) ** (1 / temperature)
    expected = powers / powers.sum()
    assert [x["probability"] for x in answers["one"]] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)
    maps = client.get(f"/explorer/run/maps/{name['image']}/conv2").json()
    assert np.allclose(
        numbers(maps),
        network_view.feature_maps(Classifier(model, (), len(image)), image, "conv2"),
        atol=max(maps["limits"]) / 250 + 1e-5,
    )
    heat = client.get(f"/explorer/run/why/{name['image']}?method=saliency&class=1").json()
    assert heat["name"] == run.class_names[1]
    assert numbers(heat).min() >= 0


def test_an_image_that_is_sent_has_a_name_and_then_an_answer(client):
    buffer = io.BytesIO()
    Image.fromarray(noise(1, 40)[0]).save(buffer, "PNG")
    sent = client.post("/explorer/images", content=buffer.getvalue()).json()
    answers = client.get(f"/explorer/run/answers/{sent['image']}").json()
    assert [x["name"] for x in answers["one"]] == [x["name"] for x in sent["one"]]
    similar = client.get(f"/explorer/run/similar/{sent['image']}").json()
    assert len(similar["hidden"]) == 6
    assert [x["distance"] for x in similar["pixels"]] == sorted(x["distance"] for x in similar["pixels"])


def test_an_image_is_not_its_own_neighbor_and_a_patch_lies_in_its_image(client):
    similar = client.get("/explorer/run/similar/train-3").json()
    assert "train-3" not in [x["image"] for x in similar["hidden"] + similar["pixels"]]
    patches = client.get("/explorer/run/patches/conv1/1").json()["patches"]
    values = [patch["value"] for patch in patches]
    assert values == sorted(values, reverse=True)
    assert all(0 <= p["box"][0] < p["box"][2] <= 1 and 0 <= p["box"][1] < p["box"][3] <= 1 for p in patches)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/explorer/run/kernel/conv1/999", 422, "E287"),
        ("/explorer/run/patches/conv1/-1", 422, "E287"),
        ("/explorer/run/answers/test-99999", 422, "E288"),
        ("/explorer/run/answers/..%2f..%2fetc", 404, "E266"),
        (f"/explorer/run/answers/{'0' * 32}", 422, "E386"),
        ("/explorer/run/filters?epoch=77", 422, "E392"),
        ("/explorer/run/contrast", 422, "E393"),
        ("/page/..%2fpy.typed", 404, "E266"),
        ("/page/py.typed", 404, "E266"),
    ],
)
def test_what_cannot_be_is_refused_in_words(client, path, status, code):
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["what"]


def test_nothing_can_be_asked_of_a_run_that_nobody_trains(client):
    assert client.post("/explorer/run/ask/stop").json()["code"] == "E289"
    assert client.post("/explorer/run/ask/stop", headers={"origin": "http://evil.test"}).status_code == 403
    assert client.get("/explorer/run/ask/stop").status_code == 405


def test_every_file_of_the_page_comes_with_its_type_and_the_policy(client):
    assert "text/html" in client.get("/").headers["content-type"]
    for path in PAGE.iterdir():
        answer = client.get(f"/page/{path.name}")
        assert answer.content == path.read_bytes()
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_sentences_of_the_routes_are_said_in_the_language_of_the_page(client):
    asked = client.get("/explorer/run/image/test-99").json()
    assert asked["what"] == "no image 'test-99'"
    texts = [asked["what"], "train has no images", "photos", "<b>an unknown sentence</b>", "", "no image '图'"]
    told = client.get("/page/said/zh", params={"lines": "\n".join(texts)}).json()["said"]
    assert told[0] == "没有图像 'test-99'"
    assert told[2:] == [*texts[2:5], "没有图像 '图'"]
    assert client.get("/page/said/en", params={"lines": "\n".join(texts)}).json()["said"] == texts
    for language, refused in (("zh", {"lines": "a" * 2001}), ("zh", {}), ("fr", {"lines": "a"})):
        assert client.get(f"/page/said/{language}", params=refused).status_code in (400, 422)


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX only")
def test_what_is_said_of_an_image_can_be_sent_whatever_its_name(trained, tmp_path):
    folder = tmp_path / "index"
    folder.mkdir()
    try:
        Image.new("RGB", (30, 30)).save(folder / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    models = ServedModels([trained / "run"], device="cpu")
    about = Explorer(models, folder).about(models.get(), "index-0")
    assert json.dumps(about, ensure_ascii=False).encode("utf-8").count(b"caf") == 1

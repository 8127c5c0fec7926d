"""Exports are compared with the run before they exist; what is not equal is not written."""

import json
import math
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import alexnet.export.write as exporting
from alexnet.api.model import Model
from alexnet.data.dataset import open_prepared
from alexnet.errors import UntrustedFileError
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.evaluation.evaluate import evaluate
from alexnet.export import backends
from alexnet.export.backends import of_onnx, of_program, open_backend, softmax
from alexnet.export.huggingface import model_card
from alexnet.export.onnx import onnx_model
from alexnet.export.parity import parity
from alexnet.export.quantize import CALIBRATION, calibration_batches, quantized
from alexnet.export.write import export, program_bytes
from alexnet.models.build import build_model
from alexnet.models.network import fingerprint
from alexnet.recipes.config import LeNetConfig
from alexnet.recipes.recipe import Recipe
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import RunFolder, open_run
from alexnet.weights.identify import identify


def opened(trained):
    run = open_run(trained / "run")
    return run, load_model(run), open_prepared(run.data["prepared"])


def test_parity_by_hand():
    found = parity(np.array([[0, 0], [0, 2]], np.float32), np.array([[0, 0], [math.log(3), 0]], np.float32))
    # Rows (1/2, 1/2) and (1/2, 1/2); (1, e^2) / (1 + e^2) and (3/4, 1/4).
    apart = 0.75 - 1 / (1 + math.e**2)
    assert found.max_probability == pytest.approx(apart)
    assert found.mean_probability == pytest.approx(apart / 2)
    assert (found.max_logit, found.largest_logit, found.agreement) == (2, 2, 0.5)
    assert not found.equal


@pytest.mark.parametrize(("shift", "equal"), [(0.0, True), (5e-5, True), (3e-3, False), (math.nan, False)])
def test_equal_is_what_lies_within_the_tolerance(shift, equal):
    logits = np.array([[10.0, 0.0, 9.0]], np.float32)
    assert parity(logits, logits + np.float32([shift, 0, 0])).equal == equal


def test_softmax_stands_large_logits():
    assert softmax(np.array([[1000.0, 1000.0]], np.float32)).tolist() == [[0.5, 0.5]]


def test_the_model_card_tells_the_error_of_the_network_that_it_is_of(tmp_path):
    rows = [
        {"epoch": 1, "val_top1_error": 0.2, "val_balanced_error": 0.6, "val_loss": 1.0},
        {"epoch": 2, "val_top1_error": 0.3, "val_balanced_error": 0.1, "val_loss": 1.0},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"kind": "epoch", **row}) + "\n" for row in rows))
    recipe = Recipe(model=LeNetConfig())
    run = RunFolder(tmp_path, recipe, ("a", "b"), {})
    about = {"class_names": run.class_names, "temperature": 1.0, "preprocessing": {"before": "", "inside": ""}}
    assert "validation split: 30.0 % after epoch 2." in model_card(run, build_model(recipe.model), about)


def test_an_onnx_file_answers_as_the_run_and_its_accuracy_is_that_of_evaluation(trained, tmp_path, alexnet):
    pytest.importorskip("onnxruntime")
    run, model, prepared = opened(trained)
    found = export(run, model, prepared, tmp_path / "sub/a.onnx", form="onnx", split="val")
    expected = 1 - evaluate(model, prepared, "val", class_names=run.class_names).top1_error
    assert found.eager_accuracy == found.accuracy == pytest.approx(expected)
    assert found.parity.images == len(prepared.splits["val"])
    assert found.bytes == (tmp_path / "sub/a.onnx").stat().st_size
    asked = open_backend(tmp_path / "sub/a.onnx")
    assert (asked.class_names, asked.squares) == (run.class_names, (run.recipe.prepare_size, True))
    assert open_backend(trained / "run").squares == asked.squares
    outcome = alexnet("parity", trained / "run", tmp_path / "sub/a.onnx", trained / "photos")
    assert (outcome.code, outcome.err) == (0, "")
    assert "equal within 0.0001" in outcome.out


def test_what_does_not_answer_as_the_run_is_not_written(trained, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    run, model, prepared = opened(trained)
    right = exporting.onnx_model

    def wrong(network, *arguments):
        with torch.no_grad():
            network.layers.fc8.bias[0] += 0.01
            content = right(network, *arguments)
            network.layers.fc8.bias[0] -= 0.01
        return content

    monkeypatch.setattr(exporting, "onnx_model", wrong)
    with pytest.raises(UntrustedFileError, match="E660"):
        export(run, model, prepared, tmp_path / "a.onnx", form="onnx", split="val")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_exported_program_takes_batches_of_any_size(trained):
    run, model, prepared = opened(trained)
    asked = of_program("p", program_bytes(model, prepared.size, exporting.about_run(run, model, prepared.size)))
    images = prepared.splits["train"].read(range(5))
    expected = predict_probabilities(model, images.__getitem__, 5)
    for count in (1, 5):
        np.testing.assert_allclose(softmax(asked.logits(images[:count])), expected[:count], atol=1e-5)
    assert asked.class_names == run.class_names


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_probabilities_of_every_format_are_those_that_predict_shows(trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    run, model, prepared = opened(trained)
    shown = Model(run, model).classifier
    images = prepared.splits["val"].read(range(4))
    expected, raw = shown.probabilities(images), shown.probabilities(images, raw=True)
    assert np.abs(expected - raw).max() > 1e-4  # the temperature is not 1
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    export(run, model, prepared, tmp_path / "a.onnx", form="onnx", split="val")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["probabilities"], {"pixels": pixels})[0], expected, atol=2e-6)
    export(run, model, prepared, tmp_path / "a.pt2", form="torch-export", split="val")
    program = torch.export.load(tmp_path / "a.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(pixels))[1].detach(), expected, atol=2e-6)
    export(run, model, prepared, tmp_path / "hf", form="hf", split="val")
    config = json.loads((tmp_path / "hf/config.json").read_text())
    assert config["alexnet"]["temperature"] == shown.temperature(1)
    assert "temperature" in (tmp_path / "hf/README.md").read_text()


def test_a_folder_holds_the_same_weights_and_a_card_of_the_records(trained, tmp_path, alexnet):
    run, model, _ = opened(trained)
    outcome = alexnet("export", trained / "run", "--to", "hf", "--out", tmp_path / "hf")
    assert (outcome.code, outcome.err) == (0, "")
    found = identify(tmp_path / "hf/model.safetensors")
    assert fingerprint(found.network) == fingerprint(model)
    assert found.class_names == run.class_names
    config = json.loads((tmp_path / "hf/config.json").read_text())
    assert [config["id2label"][str(n)] for n in range(config["num_labels"])] == list(run.class_names)
    card = (tmp_path / "hf/README.md").read_text()
    assert card.startswith("---\n")
    for record in json.loads((run.folder / "evaluation.json").read_text()):
        row = f"| {record['split']} | {record['views']} | {record['images']} | {100 * record['top1_error']:.1f} |"
        assert row in card
    assert alexnet("parity", trained / "run", tmp_path / "hf", trained / "photos").code == 0


def test_networks_that_differ_end_with_a_code(trained, tmp_path, alexnet):
    run, model, prepared = opened(trained)
    with torch.no_grad():
        model.layers.fc8.weight.mul_(1.5)
    export(run, model, prepared, tmp_path / "hf", form="hf", split="val")
    outcome = alexnet("parity", trained / "run", tmp_path / "hf", trained / "photos")
    assert outcome.code == 6
    assert "NOT equal" in outcome.out


def test_imported_weights_are_compared_on_the_images_that_one_names(trained, tmp_path, alexnet):
    assert alexnet("export", trained / "run", "--to", "hf", "--out", tmp_path / "hf").code == 0
    assert alexnet("import", tmp_path / "hf/model.safetensors", tmp_path / "run").code == 0
    assert alexnet("export", tmp_path / "run", "--to", "hf", "--out", tmp_path / "b").err.startswith("alexnet: E256")
    shutil.copytree(trained / "photos/red", tmp_path / "photos/red")
    shutil.copytree(trained / "photos/blue", tmp_path / "photos/unheard of")
    outcome = alexnet(
        *("export", tmp_path / "run", "--to", "hf", "--out", tmp_path / "b"), "--data", tmp_path / "photos"
    )
    assert (outcome.code, outcome.err) == (0, "")
    red = len(list((tmp_path / "photos/red").iterdir()))
    assert f"top-1 accuracy on {red} images of train" in outcome.out
    assert "None are recorded" in (tmp_path / "b/README.md").read_text()


def test_eight_bits_are_a_quarter_as_large_and_lose_little(tmp_path):
    """Against the whole network, on one with enough weights that they are most of the file."""
    onnxruntime = pytest.importorskip("onnxruntime")
    config = LeNetConfig(num_classes=5, crop_size=28, channels=(20, 50), fc_features=(300,), activation="relu")
    model = build_model(config, seed=0).eval()
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 3), np.uint8)
    whole = onnx_model(model, 28, "uint8", {"class_names": list("abcde"), "recipe": {}})
    small = quantized(whole, calibration_batches(images.__getitem__, 40, "uint8"))
    assert len(small) < 0.3 * len(whole)
    first, second = (of_onnx("x", content).logits(images) for content in (whole, small))
    assert 0 < np.abs(first - second).max() < 0.1 * np.ptp(first)
    made = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
    assert [value.name for value in made.get_outputs()] == ["logits", "probabilities"]


def test_networks_are_timed_in_turns_and_the_first_turn_does_not_count(monkeypatch):
    """A clock that says what each answer took: 9, 1, 2 and 3 ms of one, 8, 4, 6 and 5 ms of the other."""
    passed = [9, 8, 1, 4, 2, 6, 3, 5]
    moments = iter(np.cumsum([0, *(step for each in passed for step in (each, 0))]))
    asked = []
    monkeypatch.setattr(backends, "time", SimpleNamespace(perf_counter=lambda: next(moments) / 1e3))
    each = [backends.Backend(name, "", (), 1, lambda images, name=name: asked.append(name)) for name in "ab"]
    assert backends.milliseconds(each, np.zeros((1, 1, 1, 3), np.uint8), rounds=3) == pytest.approx((2, 5))
    assert asked == ["a", "b"] * 4


def test_the_verb_tells_the_time_of_eight_bits_beside_their_accuracy(trained, tmp_path, alexnet):
    outcome = alexnet("export", trained / "run", "--int8", "--out", tmp_path / "net.onnx")
    assert outcome.code == 0, outcome.err
    assert "ms for an image" in outcome.out
    assert re.search(r"ONNX, float32 +\S+ % +\d+\.\d", outcome.out)


def test_the_ranges_come_from_images_of_the_whole_split():
    images = np.arange(1000, dtype=np.uint16).reshape(-1, 1, 1, 1).repeat(3, 3)
    batches = list(calibration_batches(images.__getitem__, 1000, "float32"))
    numbers = np.concatenate(batches)[:, 0, 0, 0]
    assert len(numbers) == CALIBRATION
    assert (numbers[0], numbers[-1]) == (0, 999)
    assert np.diff(numbers).max() <= 8

"""Vectors against `Network.activations` and the logits they lead to; files read back with other readers."""

import json

import numpy as np
import pytest
import safetensors
import torch

from alexnet.data.images import prepare_image
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.predict import find_images
from alexnet.evaluation.views import central_view
from alexnet.interpret.features import activation, last_hidden, save_features
from alexnet.interpret.features import features as features_of
from alexnet.models.build import build_model
from alexnet.models.network import fingerprint, last_layer, layer_names
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import for_classes
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import open_run


@pytest.mark.parametrize("name", ["demo", "small-cifar", "lenet", "cifar-13pct"])
def test_every_layer_gives_what_activations_gives(name):
    model = build_model(for_classes(find_recipe(name), 4).model, seed=0).eval()
    size = model.config.crop_size
    images = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    with torch.inference_mode():
        expected = model.activations(images)
    assert layer_names(model) == list(expected)
    for layer, values in expected.items():
        torch.testing.assert_close(activation(model, images, layer), values, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        logits = model.layers.get_submodule(last_layer(model))(activation(model, images, last_hidden(model)))
    torch.testing.assert_close(logits, expected[last_layer(model)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", [".safetensors", ".npy"])
def test_the_file_holds_vectors_and_names_and_the_rest_is_told(trained, tmp_path, alexnet, ending):
    (tmp_path / "bad.jpg").write_bytes(b"hello")
    out = tmp_path / f"v{ending}"
    outcome = alexnet("features", trained / "run", trained / "photos", tmp_path / "bad.jpg", "--out", out)
    assert outcome.code == 3
    assert "not read:" in outcome.out
    model = load_model(open_run(trained / "run"))
    paths = find_images([str(trained / "photos")])
    if ending == ".npy":
        values = np.load(out, allow_pickle=False)
        about = json.loads(out.with_suffix(".json").read_text())
    else:
        with safetensors.safe_open(out, "np") as file:
            values, about = file.get_tensor("features"), json.loads(file.metadata()["alexnet"])
    assert about == {"layer": "relu7", "network": fingerprint(model), "names": [str(path) for path in paths]}
    row = len(paths) // 2
    pixels = prepare_image(paths[row], size=24, whole=True)
    with torch.inference_mode():
        expected = model.activations(central_view(model, pixels[None]))["relu7"][0]
    np.testing.assert_allclose(values[row], expected, rtol=1e-4, atol=1e-5)
    assert values.shape == (len(paths), len(expected))


def test_maps_stay_maps_and_no_image_gives_no_rows(trained, tmp_path):
    model = load_model(open_run(trained / "run"))
    (tmp_path / "bad.jpg").write_bytes(b"hello")
    found = features_of(Classifier(model, (), 24), [tmp_path / "bad.jpg"], layer="conv1")
    assert found.values.shape == (0, 4, 20, 20)
    assert list(found.errors) == [tmp_path / "bad.jpg"]
    save_features(found, tmp_path / "sub/v.npy", network="")
    assert np.load(tmp_path / "sub/v.npy", allow_pickle=False).shape == (0, 4, 20, 20)

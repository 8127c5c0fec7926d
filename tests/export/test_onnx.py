"""The ONNX graph against onnxruntime, which has norms, poolings and products of its own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.data.crops import center_crop, shrink
from alexnet.evaluation.views import central_view
from alexnet.export.onnx import onnx_model, view_matrix
from alexnet.models.build import build_model
from alexnet.models.layers import Dropout, PadRightBottom
from alexnet.recipes.config import AlexNetConfig, CifarNetConfig, LeNetConfig

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SMALL = AlexNetConfig(
    num_classes=5,
    crop_size=48,
    channels=(8, 8, 12, 12, 8),
    fc_features=(12, 10),
    conv1_kernel=5,
    conv1_stride=2,
    lrn_alpha=0.05,
)
CIFAR = CifarNetConfig(num_classes=4, crop_size=12, channels=(6, 8), norm_alpha=0.05)
NETWORKS = {
    "2012": SMALL,
    "2012, unit pixels, odd sides": replace(SMALL, crop_size=51, input_norm="unit"),
    "LRN across the towers, after ReLU": replace(SMALL, lrn_per_tower=False, norm1="after-activation"),
    "LRN after pooling, padded conv1": replace(SMALL, norm1="after-pool", norm2="after-pool", conv1_padding=2),
    "towers that never talk": replace(SMALL, towers_talk=False),
    "batch norm, shrunk, standardised": replace(
        SMALL, norm="batch", test_size=50, input_norm="standardise", towers=1, dropout_place="before"
    ),
    "grid that does not divide": replace(SMALL, crop_size=100, pool5_grid=4, pool_rounding="floor"),
    "grid of one": replace(SMALL, pool5_grid=1, activation="tanh", without="conv4"),
    "gray, plain pooling": replace(SMALL, in_channels=1, pooling="plain", input_norm="mean-pixel"),
    "cifar, within maps": CIFAR,
    "cifar, local layers": replace(CIFAR, local_channels=(5, 6), norm="across-maps", fc_features=(9,), crop_size=13),
    "lenet": LeNetConfig(crop_size=28, fc_features=(20,)),
    "lenet, max": LeNetConfig(crop_size=28, fc_features=(20,), pooling="max", activation="relu"),
}
SIDE = 112


def network(config, seed: int = 0):
    """A network whose every part counts: weights of the size of 1 / sqrt(inputs), statistics that are not 0 and 1."""
    model = build_model(config, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.startswith("layers."):
            spread = 1.5 * max(1, tensor[0].numel()) ** -0.5 if tensor.ndim > 1 else 0.5
            tensor.normal_(0.0, spread, generator=generator) if tensor.is_floating_point() else None
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    mean = np.random.default_rng(seed).uniform(60, 190, (SIDE, SIDE, 3)).astype(np.float32)
    return model.set_input_statistics(mean, np.array([50.0, 60.0, 70.0]))


def make_images(count: int, side: int = SIDE, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def session(content: bytes):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def eager(model, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(central_view(model, images)).numpy()


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_onnxruntime_gives_the_logits_of_the_network_for_batches_of_any_size(config):
    model = network(config)
    asked = session(onnx_model(model, SIDE, "uint8", {}))
    for count in (1, 3):
        images = make_images(count)
        expected = eager(model, images)
        logits, probabilities = asked.run(None, {"pixels": images.transpose(0, 3, 1, 2)})
        assert np.ptp(expected) > 0.01  # the test would see a part that is missing
        np.testing.assert_allclose(logits, expected, atol=2e-5 * max(1, np.abs(expected).max()))
        np.testing.assert_allclose(probabilities, torch.softmax(torch.tensor(expected), 1), atol=2e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.7, 20.0])
def test_the_probabilities_of_a_file_are_scaled_by_the_temperature_and_its_logits_are_not(temperature):
    model, images = network(NETWORKS["2012"]), make_images(2)
    expected = eager(model, images)
    logits, probabilities = session(onnx_model(model, SIDE, "uint8", {}, temperature)).run(
        None, {"pixels": images.transpose(0, 3, 1, 2)}
    )
    np.testing.assert_allclose(logits, expected, atol=2e-5 * max(1, np.abs(expected).max()))
    np.testing.assert_allclose(probabilities, torch.softmax(torch.tensor(expected) / temperature, 1), atol=2e-5)


@pytest.mark.parametrize("name", ["2012", "cifar, within maps"])
def test_the_reference_evaluator_of_onnx_agrees(name):
    from onnx.reference import ReferenceEvaluator

    # Its LRN uses the number of images as the number of channels: here each tower has 4 channels, so 4 images are used.
    model, images = network(NETWORKS[name]), make_images(4)
    logits, _ = ReferenceEvaluator(onnx.load_model_from_string(onnx_model(model, SIDE, "uint8", {}))).run(
        None, {"pixels": images.transpose(0, 3, 1, 2)}
    )
    np.testing.assert_allclose(logits, eager(model, images), atol=1e-4)


def test_pixels_may_be_floats():
    model = network(SMALL)
    floats = np.random.default_rng(2).uniform(0, 255, (2, 3, 48, 48)).astype(np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(floats)).numpy()
    logits, _ = session(onnx_model(model, 48, "float32", {})).run(None, {"pixels": floats})
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(("side", "test_size", "crop"), [(20, 13, 13), (20, 13, 8), (16, None, 9), (9, 17, 12)])
def test_two_matrix_products_shrink_and_crop_as_evaluation_does(side, test_size, crop):
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 255
    matrix = torch.from_numpy(view_matrix(side, test_size, crop))
    torch.testing.assert_close(
        matrix @ images @ matrix.T, center_crop(shrink(images, test_size), crop), atol=1e-3, rtol=0
    )


def test_the_graph_has_the_layers_under_their_names_and_lrn_whole():
    model = network(SMALL)
    made = onnx.load_model_from_string(onnx_model(model, SIDE, "uint8", {"class_names": ["玫瑰", "b"]}))
    kinds = {node.name: node.op_type for node in made.graph.node}
    expected = {
        name
        for name, layer in model.layers.named_children()
        if not isinstance(layer, PadRightBottom) and not (isinstance(layer, Dropout) and not layer.p)
    }
    assert expected <= set(kinds)
    assert [name for name, kind in kinds.items() if kind == "LRN"] == [
        f"norm{number}.tower{tower}" for number in (1, 2) for tower in (1, 2)
    ]
    (lrn,) = (node for node in made.graph.node if node.name == "norm1.tower1")
    given = {a.name: onnx.helper.get_attribute_value(a) for a in lrn.attribute}
    assert given == pytest.approx({"size": 5, "alpha": 0.05, "beta": 0.75, "bias": 2.0})
    assert [opset.version for opset in made.opset_import] == [13]
    assert {p.key: json.loads(p.value) for p in made.metadata_props} == {"class_names": ["玫瑰", "b"]}
    (pixels,) = made.graph.input
    assert [d.dim_param or d.dim_value for d in pixels.type.tensor_type.shape.dim] == ["batch", 3, SIDE, SIDE]

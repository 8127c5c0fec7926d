"""Networks to which color and shape add their share give the same answers as ONNX files and programs."""

import numpy as np
import onnxruntime
import pytest
import torch

from alexnet.evaluation.views import CentralView, central_view
from alexnet.export.onnx import onnx_model
from alexnet.models.build import build_model
from alexnet.models.cue_branch import FEATURES, PARTS, PREFIX, square
from alexnet.models.network import attach_cue
from alexnet.recipes.config import AlexNetConfig


def network(crop: int, names: tuple[str, ...], channels: int = 3):
    config = AlexNetConfig(
        num_classes=4,
        crop_size=crop,
        width=1 / 16,
        conv1_kernel=5,
        conv1_stride=2,
        conv1_padding=2,
        in_channels=channels,
        input_norm="standardise",
        pool5_grid=1,
        towers=1,
    )
    model, tensors = build_model(config).eval(), {}
    views = central_view(model, images(30, crop))
    for name in names:
        features = FEATURES[name](square(views))
        center, generator = features.mean(0), torch.Generator().manual_seed(3)
        weights = torch.randn(30, 4, generator=generator) * 20  # large ones, whose sums cancel
        width = torch.tensor(0.7 / float((features - center).square().sum(1).mean()))
        parts = zip(PARTS, (center, features - center, weights, width), strict=True)
        tensors |= {f"{PREFIX}{name}.{part}": value for part, value in parts}
    attach_cue(model, tensors)
    return model


def images(count: int, side: int, seed: int = 0) -> np.ndarray:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 255
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return fine.byte().permute(0, 2, 3, 1).contiguous().numpy()


@pytest.mark.parametrize(
    ("side", "crop", "names", "channels"),
    [
        (28, 28, ("color", "shape"), 1),
        (28, 28, ("shape",), 3),
        (64, 64, ("color",), 3),
        (80, 72, ("color", "shape"), 3),
    ],
)
def test_the_file_and_the_program_answer_as_the_network(side, crop, names, channels):
    model, asked = network(crop, names, channels), images(7, side, seed=1)
    with torch.inference_mode():
        expected = model(central_view(model, asked)).numpy()
        model_alone = model(central_view(model, asked)) - model.cue(central_view(model, asked))
    assert np.abs(expected - model_alone.numpy()).max() > 1
    pixels = asked.transpose(0, 3, 1, 2).copy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_model(model, side, "uint8", {}), options)
    logits, probabilities = session.run(None, {"pixels": pixels})
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(probabilities, torch.softmax(torch.tensor(expected), 1), atol=5e-5)
    with torch.inference_mode():
        again, _ = CentralView(model)(torch.from_numpy(pixels))
    np.testing.assert_allclose(again, expected, atol=1e-5)

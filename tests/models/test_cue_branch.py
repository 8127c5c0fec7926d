"""What color and shape alone add to a network: features by hand, and the same answers in every form."""

import numpy as np
import pytest
import torch

from alexnet.models.build import build_model
from alexnet.models.cue_branch import FEATURES, PARTS, PREFIX, CueBranch, color_features, shape_features, square
from alexnet.models.network import attach_cue, fingerprint
from alexnet.recipes.config import AlexNetConfig

CONFIG = AlexNetConfig(
    num_classes=3, crop_size=20, width=1 / 16, conv1_kernel=5, conv1_stride=1, conv1_padding=2, input_norm="standardise"
)


def plain(*color: int) -> torch.Tensor:
    return torch.tensor(color, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 64, 64)


def smooth(count: int, side: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 255
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def branch(*names: str, classes: int = 3, side: int = 20) -> dict[str, torch.Tensor]:
    tensors = {}
    for name in names:
        features = FEATURES[name](square(smooth(12, side, seed=1)))
        center = features.mean(0)
        generator = torch.Generator().manual_seed(2)
        weights = torch.randn(12, classes, generator=generator)
        values = center, features - center, weights, torch.tensor(0.1)
        tensors |= {f"{PREFIX}{name}.{part}": value for part, value in zip(PARTS, values, strict=True)}
    return tensors


@pytest.mark.parametrize(
    ("color", "cells"),
    [
        ((16, 16, 16), {(0, 0, 0): 1.0}),  # the centers of the cells are at 16, 48, ...
        ((48, 16, 240), {(1, 0, 7): 1.0}),
        ((0, 0, 0), {(0, 0, 0): 1.0}),
        ((255, 255, 255), {(7, 7, 7): 1.0}),
        ((32, 16, 16), {(0, 0, 0): 0.5, (1, 0, 0): 0.5}),  # half way between two
        ((32, 32, 16), {(0, 0, 0): 0.25, (1, 0, 0): 0.25, (0, 1, 0): 0.25, (1, 1, 0): 0.25}),
    ],
)
def test_a_pixel_is_shared_among_the_neighboring_cells_of_the_histogram(color, cells):
    histogram = color_features(plain(*color))[0].square().reshape(8, 8, 8)
    expected = torch.zeros(8, 8, 8)
    for cell, share in cells.items():
        expected[cell] = share
    torch.testing.assert_close(histogram, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("angle", "strongest"), [(10, 0), (30, 1), (50, 2), (90, 4), (130, 6), (170, 8)])
def test_a_ramp_has_the_direction_in_which_it_rises(angle, strongest):
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    along = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    ramp = (100 + along).clamp(0, 255).expand(1, 3, 64, 64)
    blocks = shape_features(ramp).view(1, 4, 9, 7, 7)[0, 0, :, 3, 3]
    assert int(blocks.argmax()) == strongest
    assert float(blocks[(strongest + 4) % 9]) < 1e-3


def test_without_gradients_there_is_no_shape():
    assert float(shape_features(plain(90, 20, 200)).abs().max()) < 1e-3


@pytest.mark.parametrize("names", [("color",), ("shape",), ("color", "shape")])
def test_the_branch_adds_the_weighted_kernels_of_its_anchors(names):
    tensors, views = branch(*names), smooth(4, 20)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for name in names:
        center, anchors, weights, width = (tensors[f"{PREFIX}{name}.{part}"].double() for part in PARTS)
        features = FEATURES[name](square(views)).double() - center
        for i in range(4):
            for anchor, weight in zip(anchors, weights, strict=True):
                expected[i] += torch.exp(-width * ((features[i] - anchor) ** 2).sum()) * weight
    model = build_model(CONFIG).eval()
    with torch.inference_mode():
        alone = model(views)
        attach_cue(model, tensors)
        torch.testing.assert_close(model(views) - alone, expected.float(), atol=1e-4, rtol=1e-4)


def test_a_network_without_such_tensors_stays_as_it_is():
    model = build_model(CONFIG)
    before = fingerprint(model)
    assert list(attach_cue(model, {"layers.fc8.bias": torch.zeros(3)})) == ["layers.fc8.bias"]
    assert model.cue is None
    assert fingerprint(model) == before


def test_state_dict_of_a_network_with_a_branch_opens_in_another(tmp_path):
    model = build_model(CONFIG).eval()
    attach_cue(model, branch("color", "shape"))
    other = build_model(CONFIG, seed=1).eval()
    other.load_state_dict(attach_cue(other, model.state_dict()))
    views = smooth(2, 20)
    with torch.inference_mode():
        assert torch.equal(model(views), other(views))
    assert fingerprint(model) == fingerprint(other)


def test_the_branch_is_silent_in_gradients_and_in_half_precision():
    cue = CueBranch({name.removeprefix(PREFIX): value for name, value in branch("color", "shape").items()})
    views = smooth(2, 20).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = cue(views)
    assert (out.dtype, out.requires_grad) == (torch.float32, False)
    torch.testing.assert_close(out, cue(views))

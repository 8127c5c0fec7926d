"""The three maps against twins: square by square, finite differences, numbers by hand, and captum where it is there."""

import numpy as np
import pytest
import torch
from torch import nn

from alexnet.evaluation.classifier import ClassProbability
from alexnet.interpret import attribution
from alexnet.interpret.attribution import (
    METHODS,
    Explanation,
    attribution_sheet,
    explain_class,
    grad_cam,
    last_convolution,
    occlusion,
    overlay,
    saliency,
)
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.recipes.config import AlexNetConfig, LeNetConfig

TINY = AlexNetConfig(
    num_classes=3,
    crop_size=28,
    channels=(4, 4, 4, 4, 4),
    fc_features=(6, 5),
    conv1_kernel=5,
    conv1_stride=1,
    pool5_grid=1,
    lrn_alpha=0.05,
    init="kaiming",
)


def network(dtype=torch.float32, **changes):
    model = build_model(TINY, seed=3).eval()
    model.input_mean.copy_(torch.rand(model.input_mean.shape, generator=torch.Generator().manual_seed(1)) * 200)
    with torch.no_grad():
        model.layers.fc8.weight.mul_(100)
    return model.to(dtype)


def image(side: int = 28) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, side, side), generator=torch.Generator().manual_seed(2)).to(torch.uint8)


@pytest.mark.parametrize(("patch", "stride"), [(5, 3), (4, 4), (28, 1)])
def test_occlusion_is_what_covering_each_square_by_itself_gives(patch, stride):
    model, view = network(torch.float64), image()
    mean = model.input_mean.numpy()

    def probability(pixels: np.ndarray) -> float:
        with torch.inference_mode():
            return torch.softmax(model(torch.from_numpy(pixels)[None]), 1)[0, 1].item()

    pixels = view[0].numpy().astype(np.float64)
    falls = [[[] for _ in range(28)] for _ in range(28)]
    starts = [*range(0, 28 - patch + 1, stride)]
    starts += [28 - patch] if starts[-1] != 28 - patch else []
    for top in starts:
        for left in starts:
            covered = pixels.copy()
            covered[:, top : top + patch, left : left + patch] = mean[:, top : top + patch, left : left + patch]
            fall = probability(pixels) - probability(covered)
            for y in range(top, top + patch):
                for x in range(left, left + patch):
                    falls[y][x].append(fall)
    expected = np.array([[np.mean(cell) for cell in row] for row in falls])
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(occlusion(model, view, 1, patch=patch, stride=stride), expected, atol=1e-7)


def test_a_network_that_subtracts_nothing_is_covered_with_gray():
    model = build_model(LeNetConfig(num_classes=2, crop_size=28, pooling="max", activation="relu"), seed=0).eval()
    gray = torch.full((1, 3, 28, 28), 127.5)
    np.testing.assert_allclose(occlusion(model, gray, 0, patch=7, stride=7), 0, atol=1e-6)


def test_saliency_is_the_slope_that_finite_differences_find():
    model, view = network(torch.float64), image()
    found = saliency(model, view, 2)
    for y, x in ((0, 0), (13, 7), (27, 27), (20, 14), (9, 21)):
        slopes = []
        for channel in range(3):
            step = torch.zeros(1, 3, 28, 28, dtype=torch.float64)
            step[0, channel, y, x] = 1e-5
            with torch.inference_mode():
                slopes.append(abs((model(view + step) - model(view - step))[0, 2].item() / 2e-5))
        assert found[y, x] == pytest.approx(max(slopes), rel=1e-4, abs=1e-9)
    assert found.max() > 0


def test_grad_cam_by_hand():
    conv, last = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(8, 2, bias=False)
    model = Network(
        LeNetConfig(num_classes=2, crop_size=2), [("conv1", conv), ("flatten", nn.Flatten()), ("fc2", last)], 3
    )
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None])  # red, green
        last.weight.copy_(torch.tensor([[1.0, 3, 0, 0, -4, 0, 0, 0], [0.0] * 8]))
    view = torch.zeros(1, 3, 2, 2)
    view[0, 0] = torch.tensor([[1.0, 2], [3, 4]])
    view[0, 1] = torch.tensor([[0.0, 1], [4, 5]])
    # Mean slopes: (1 + 3) / 4 = 1 along red, -4 / 4 = -1 along green. Red less green: 1, 1, -1, -1.
    assert grad_cam(model, view, 0).tolist() == [[1, 1], [0, 0]]
    assert grad_cam(model, view, 1).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("weights", "blank"),
    [  # what fc2 gives red in the four pixels, in hundredths, for the class that is explained
        ([1.0, 1, 1, 1], ()),  # innocent: everything speaks for it
        ([-1.0, 0, 0, 3], ()),  # innocent: the mean slope is above zero
        ([0.01, 0, 0, 0], ()),  # innocent: weak evidence is evidence
        ([-1.0, -1, -1, -1], ("occlusion", "grad-cam")),  # everything speaks against it
        ([-3.0, 0, 0, 0.5], ("grad-cam",)),  # one pixel speaks for it, but the mean slope is below zero
        ([0.0, 0, 0, 0], ("occlusion", "saliency", "grad-cam")),  # nothing matters
    ],
)
def test_a_map_in_which_nothing_speaks_for_the_class_is_said(weights, blank):
    conv, last = nn.Conv2d(3, 1, 1, bias=False), nn.Linear(4, 2, bias=False)
    model = Network(
        LeNetConfig(num_classes=2, crop_size=2), [("conv1", conv), ("flatten", nn.Flatten()), ("fc2", last)], 3
    )
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1))
        last.weight.copy_(torch.tensor([weights, [0.0] * 4]) / 100)
    view = torch.full((1, 3, 2, 2), 130.0)  # covered with 127.5, so that a square lowers red a little
    maps = {each: explain_class(model, view, 0, each, patch=1) for each in METHODS}
    found = Explanation(ClassProbability(0, "cat", 0.5), np.zeros((2, 2, 3), np.uint8), maps)
    assert found.blank == blank
    assert [note.partition(" of cat: ")[0] for note in found.notes] == list(blank)
    assert all(note in repr(found) for note in found.notes)


def test_the_command_says_that_a_map_is_blank(trained, tmp_path, alexnet, monkeypatch):
    monkeypatch.setattr(attribution, "grad_cam", lambda model, view, label: np.zeros(view.shape[-2:], np.float32))
    image = next((trained / "photos").rglob("*.png"))
    outcome = alexnet("why", trained / "run", image, "--class", "green", "--out", tmp_path / "w.png")
    assert outcome.code == 0
    assert "note: grad-cam of green: the last convolutional layer holds no positive evidence" in " ".join(
        outcome.out.split()
    )


def test_captum_finds_the_same():
    attr = pytest.importorskip("captum.attr")
    model, view = network(), image().float()
    expected = attr.Saliency(model).attribute(view.requires_grad_(), target=1)[0].amax(0)
    np.testing.assert_allclose(saliency(model, view, 1), expected.detach(), rtol=1e-4, atol=1e-7)
    conv = model.layers[last_convolution(model)]
    maps = attr.LayerGradCam(model, conv).attribute(view, target=1, relu_attributions=True)
    large = attr.LayerAttribution.interpolate(maps, (28, 28), "bilinear")[0, 0]
    np.testing.assert_allclose(grad_cam(model, view, 1), large.detach(), rtol=1e-4, atol=1e-7)
    found = attr.Occlusion(lambda x: torch.softmax(model(x), 1)).attribute(
        view, (3, 7, 7), strides=(3, 7, 7), target=1, baselines=model.input_mean[None]
    )
    np.testing.assert_allclose(occlusion(model, view, 1, patch=7, stride=7), found[0, 0].detach(), atol=1e-5)


def test_red_speaks_for_the_class_and_blue_against_it():
    shown = overlay(np.full((1, 3, 3), 100, np.uint8), np.array([[2.0, 0.0, -2.0]], np.float32))[0].astype(int)
    assert shown[0, 0] - shown[0, 2] > 100
    assert shown[1, 0] == shown[1, 1] == shown[1, 2]
    assert shown[2, 2] - shown[2, 0] > 100


def test_the_sheet_has_the_view_and_then_the_maps():
    view = image(64)[0].permute(1, 2, 0).to(torch.uint8).numpy()
    tiles = attribution_sheet(view, [np.zeros((64, 64), np.float32)] * 2)
    assert tiles.shape == (448 + 16, 3 * (448 + 8) + 8, 3)
    np.testing.assert_array_equal(tiles[8 + 3 : 8 + 448 : 7, 8 + 3 : 8 + 448 : 7], view)


def test_the_command_names_the_class_and_writes_an_image(trained, tmp_path, alexnet):
    image = next((trained / "photos").rglob("*.png"))
    outcome = alexnet("why", trained / "run", image, "--class", "green", "--out", tmp_path / "w.png")
    assert (outcome.code, outcome.err) == (0, "")
    assert "class green, probability" in outcome.out
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")


def test_occlusion_tells_how_many_squares_are_covered():
    """5 x 5 squares of 7 pixels every 6, in batches of 64 at most; with a stride of 1, 22 x 22."""
    model, view, told = network(torch.float32), image(), []
    for stride in (6, 1):
        occlusion(model, view, 0, patch=7, stride=stride, progress=lambda *each: told.append(each))
    stages, done, totals = zip(*told, strict=True)
    assert set(stages) == {"covering the image"}
    assert done == (25, 64, 128, 192, 256, 320, 384, 448, 484)
    assert totals == (25,) + (484,) * 8

"""Color selectivity by hand, and where a kernel lies on the sheet."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet.interpret.filters import (
    CHANCE,
    color_selectivity,
    conv1_kernels,
    growth_sheet,
    kernel_sheet,
    some_epochs,
    tower_colors,
)
from alexnet.models.build import build_model
from alexnet.recipes.named import LENET
from alexnet.runs.checkpoint import load_model
from alexnet.runs.kernel_history import effective_kernels, kernel_history
from alexnet.runs.metrics import read_epochs
from alexnet.runs.run import open_run


def kernel(*colors: tuple[float, float, float]) -> np.ndarray:
    """A row of pixels of these weights."""
    return np.array(colors, np.float32).T[:, None, :]


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        ([(1, 1, 1), (-2, -2, -2)], 0.0),  # an edge of brightness
        ([(1, -1, 0), (0, 2, -2)], 1.0),
        ([(3, 0, 0)], 2 / 3),  # mean 1; rest (2, -1, -1): 6 of 9
        ([(1, 1, 1), (3, 0, 0)], 0.5),  # 6 of 3 + 9
        ([(0, 0, 0)], 0.0),
    ],
)
def test_selectivity_by_hand(colors, expected):
    assert color_selectivity(kernel(*colors)[None]).tolist() == pytest.approx([expected])


def test_random_weights_have_what_is_called_chance():
    kernels = np.random.default_rng(0).standard_normal((400, 3, 11, 11)).astype(np.float32)
    assert color_selectivity(kernels).mean() == pytest.approx(CHANCE, abs=0.005)


@given(st.floats(0.01, 100), st.integers(0, 100))
def test_neither_scale_nor_sign_nor_order_of_channels_matters(scale, seed):
    kernels = np.random.default_rng(seed).standard_normal((3, 3, 4, 4)).astype(np.float32)
    expected = color_selectivity(kernels)
    np.testing.assert_allclose(color_selectivity(-np.float32(scale) * kernels[:, ::-1]), expected, rtol=1e-4)


def test_the_figures_of_two_towers_by_hand():
    gray, colored, red = kernel((1, 1, 1)), kernel((2, -2, 0)), kernel((3, 0, 0))
    first, second = tower_colors(np.stack([gray, colored, red, red]), 2)
    assert (first.mean, first.median, first.colored) == pytest.approx((0.5, 0.5, 0.5))
    assert first.weighted == pytest.approx(8 / 11)  # energies 3 and 8
    assert (second.tower, second.mean, second.weighted, second.colored) == pytest.approx((2, 2 / 3, 2 / 3, 1.0))


def test_the_second_tower_lies_below_the_first_and_sorting_stays_within_a_tower():
    ramp = np.linspace(0, 1, 4, dtype=np.float32).reshape(1, 2, 2)
    gray = np.repeat(ramp, 3, 0)
    red, blue = (gray * np.array(c, np.float32)[:, None, None] for c in ((1, 0, 0), (0, 0, 1)))
    kernels = np.stack([red, gray, blue, gray])
    for sort, order in ((False, (red, gray, blue, gray)), (True, (gray, red, gray, blue))):
        sheet = kernel_sheet(kernels, 2, sort=sort)
        times = 1000 // (2 * 3)
        gap = times // 2
        for place, expected in enumerate(order):
            top = gap + place // 2 * (2 * times + 4 * gap)
            left = gap + place % 2 * (2 * times + gap)
            square = sheet[top : top + 2 * times : times, left : left + 2 * times : times]
            np.testing.assert_array_equal(square, np.rint(255 * expected).astype(np.uint8).transpose(1, 2, 0))


def test_the_command_tells_of_each_tower_and_writes_the_sheet(trained, tmp_path, alexnet):
    outcome = alexnet("filters", trained / "run", "--out", tmp_path / "f.png")
    assert (outcome.code, outcome.err) == (0, "")
    assert "color selectivity" in outcome.out
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_keeps_the_kernels_of_every_epoch(trained):
    run = open_run(trained / "run")
    history = kernel_history(run)
    rows, _ = read_epochs(run.folder / "metrics.jsonl")
    assert [epoch for epoch, _ in history] == [row["epoch"] for row in rows]
    np.testing.assert_array_equal(history[-1][1], conv1_kernels(load_model(run, "last")))
    assert not np.array_equal(history[0][1], history[-1][1])


def test_the_sheet_over_training_has_the_kernels_of_most_energy_epoch_below_epoch():
    bright, faint = (kernel(*colors)[None].repeat(2, 2) for colors in ([(1,) * 3, (9,) * 3], [(0,) * 3, (1,) * 3]))
    one, two = np.concatenate([faint] * 24 + [bright] * 16), np.concatenate([bright[..., ::-1]] * 8 + [faint] * 32)
    sheet = growth_sheet([(1, one), (2, two)], towers=2)
    times = 1000 // (16 * 3)
    gap = times // 2
    square = sheet[gap : gap + 2 * times : times, gap : gap + 2 * times : times, 0]
    assert square.tolist()[0] == [0, 255]
    below = sheet[2 * gap + 2 * times, gap : gap + 2 * times : times, 0]
    assert below.tolist() == [255, 0]  # the first eight of the first tower have the most energy in the end
    assert sheet.shape[1] == 16 * (2 * times + gap) + gap


def test_epochs_are_spread_towards_the_beginning_and_the_last_is_there():
    history = [(epoch, kernel((1, 1, 1))[None]) for epoch in range(1, 91)]
    assert [epoch for epoch, _ in some_epochs(history, 8)] == [1, 2, 4, 7, 13, 25, 47, 90]  # 90 ** (k / 7), rounded
    assert [epoch for epoch, _ in some_epochs(history[:3], 8)] == [1, 2, 3]


def test_the_command_shows_the_epochs(trained, tmp_path, alexnet):
    outcome = alexnet("filters", trained / "run", "--over-training", "--out", tmp_path / "f.png")
    assert (outcome.code, outcome.err) == (0, "")
    assert "epoch" in outcome.out
    assert "tower 1" in outcome.out
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_the_kernels_of_a_gray_network_act_on_gray_pixels():
    model = build_model(LENET.model, seed=1)
    conv1 = dict(model.layers.named_children())["conv1"]
    model.input_scale.copy_(torch.tensor([0.01, 0.02, 0.06]).view(3, 1, 1))
    kernels = effective_kernels(model)
    pixels = torch.zeros(1, 3, 28, 28)
    pixels[:, :, 10, 10] = 100.0  # the same in red, green and blue
    with torch.no_grad():
        seen = conv1(model.prepare_input(pixels)) - conv1(model.prepare_input(pixels * 0))
    assert kernels.shape[1] == 1
    assert seen[0].amax((1, 2)).numpy() == pytest.approx(100 * kernels.max((1, 2, 3)), rel=1e-4)

"""The layers of 2012.

Expected values come from the formulas of the released source as slow loops in float64, from PyTorch's own normalization
for one tower, from numerical gradients, and from counting.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet.models.layers import Dropout, LocalResponseNorm, PadRightBottom, WithinMapNorm


def maps(*shape: int, scale: float = 1.0) -> torch.Tensor:
    """Signed float64 numbers, the same at every call."""
    return torch.from_numpy(np.random.default_rng(0).normal(0.0, scale, shape))


def lrn_slowly(x: torch.Tensor, size: int, alpha: float, beta: float, k: float, towers: int) -> torch.Tensor:
    """b_f = a_f (k + alpha / size * sum of a_j^2) ^ -beta over j = f - size // 2 .. that + size - 1 in its tower."""
    out, share = torch.empty_like(x), x.shape[1] // towers
    for f in range(x.shape[1]):
        first, last = f // share * share, (f // share + 1) * share - 1
        start = f - size // 2
        total = torch.zeros_like(x[:, 0])
        for j in range(max(first, start), min(last, start + size - 1) + 1):
            total += x[:, j] ** 2
        out[:, f] = x[:, f] * (k + alpha / size * total) ** -beta
    return out


# Large values and a large alpha, so that the divisor matters.
@pytest.mark.parametrize("towers", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 8, 9, 16, 65, 100, 10**9])
def test_lrn_is_the_formula_of_the_code_within_each_tower(size, towers):
    x = maps(2, 8, 3, 4, scale=3.0)
    seen = LocalResponseNorm(size, alpha=0.5, beta=0.75, k=2.0, towers=towers)(x)
    torch.testing.assert_close(seen, lrn_slowly(x, size, 0.5, 0.75, 2.0, towers), rtol=1e-12, atol=1e-12)


def test_lrn_of_one_tower_is_that_of_pytorch():
    x = maps(2, 10, 3, 4, scale=20.0)
    expected = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x), expected, rtol=1e-12, atol=1e-12)


def test_lrn_by_hand_on_three_maps_of_one_pixel():
    # alpha / size = 1, k = 1, beta = 1: 1 / (1 + 1 + 4), 2 / (1 + 1 + 4 + 9), 3 / (1 + 4 + 9).
    seen = LocalResponseNorm(3, alpha=3.0, beta=1.0, k=1.0)(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
    torch.testing.assert_close(seen.flatten(), torch.tensor([1 / 6, 2 / 15, 3 / 14]))


def test_lrn_does_not_look_across_the_border_of_the_towers():
    x = maps(1, 8, 2, 2)
    norm = LocalResponseNorm(5, alpha=1.0, beta=0.75, k=2.0, towers=2)
    before = norm(x)
    for changed in range(8):
        y = x.clone()
        y[:, changed] += 10.0
        moved = (norm(y) != before).any(-1).any(-1).squeeze(0).nonzero().flatten().tolist()
        tower = changed // 4
        assert moved == [f for f in range(8) if f // 4 == tower and abs(f - changed) <= 2]


def within_map_slowly(x: torch.Tensor, size: int, alpha: float, beta: float) -> torch.Tensor:
    """b = a (1 + alpha / size^2 * sum of a^2) ^ -beta over the window, clipped at the border.

    The window begins size // 2 before the pixel (cuda-convnet, kRNorm), so one of even size is not centered.
    """
    out, half = torch.empty_like(x), size // 2
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            total = torch.zeros_like(x[:, :, 0, 0])
            for i in range(max(0, row - half), min(x.shape[2], row - half + size)):
                for j in range(max(0, column - half), min(x.shape[3], column - half + size)):
                    total += x[:, :, i, j] ** 2
            out[:, :, row, column] = x[:, :, row, column] * (1 + alpha / size**2 * total) ** -beta
    return out


@pytest.mark.parametrize("shape", [(2, 3, 7, 8), (1, 2, 3, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 8, 9, 65, 66, 1000, 10**9])
def test_within_map_norm_is_the_formula_with_clipped_windows(size, shape):
    x = maps(*shape, scale=10.0)
    seen = WithinMapNorm(size, alpha=0.3, beta=0.75)(x)
    torch.testing.assert_close(seen, within_map_slowly(x, size, 0.3, 0.75), rtol=1e-12, atol=1e-12)


def test_within_map_norm_in_a_corner_by_hand():
    # All ones, alpha = 25, beta = 1: the corner sees 3 x 3 of them, the middle 5 x 5.
    seen = WithinMapNorm(5, alpha=25.0, beta=1.0)(torch.ones(1, 1, 5, 5))[0, 0]
    assert seen[0, 0].item() == pytest.approx(1 / 10)
    assert seen[0, 2].item() == pytest.approx(1 / 16)
    assert seen[2, 2].item() == pytest.approx(1 / 26)


def test_within_map_norm_of_even_size_by_hand():
    # All ones, alpha = 4, beta = 1, windows of 2 x 2 that begin one before: 1, 2 and 4 ones.
    seen = WithinMapNorm(2, alpha=4.0, beta=1.0)(torch.ones(1, 1, 3, 3))[0, 0]
    expected = [[1 / 2, 1 / 3, 1 / 3], [1 / 3, 1 / 5, 1 / 5], [1 / 3, 1 / 5, 1 / 5]]
    torch.testing.assert_close(seen, torch.tensor(expected))


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 100])
@pytest.mark.parametrize("planar", [False, True], ids=["lrn", "within-map"])
def test_gradients_of_the_norms_are_the_numerical_ones(size, planar):
    layer = WithinMapNorm(size, 0.5, 0.75) if planar else LocalResponseNorm(size, 0.5, 0.75, 2.0, towers=2)
    x = maps(2, 6, 4, 3, scale=2.0).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))


# Dropout -------------------------------------------------------------------------------------------------------------


def test_dropout_of_2012_only_zeroes_in_training_and_multiplies_by_the_kept_share_in_testing():
    x, layer = maps(40, 50), Dropout(0.2, scale_at_test=True)
    seen = layer.train()(x)
    assert ((seen == 0) | (seen == x)).all()
    assert 0 < (seen == 0).sum() < x.numel() / 2
    torch.testing.assert_close(layer.eval()(x), 0.8 * x)


def test_inverted_dropout_divides_by_the_kept_share_in_training_and_does_nothing_in_testing():
    x, layer = maps(40, 50), Dropout(0.2, scale_at_test=False)
    seen = layer.train()(x)
    kept = seen != 0
    assert 0 < (~kept).sum() < x.numel() / 2
    torch.testing.assert_close(seen[kept], x[kept] / 0.8)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("scale_at_test", [True, False])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_in_training_has_on_average_the_value_of_testing(p, scale_at_test):
    layer, count = Dropout(p, scale_at_test), 40_000
    layer.key = 0
    seen = layer(torch.ones(1, count, dtype=torch.float64))
    expected = layer.eval()(torch.ones(1)).item()
    error = seen.max().item() * math.sqrt(p * (1 - p) / count)
    assert abs(seen.mean().item() - expected) < 4 * error


@pytest.mark.parametrize("scale_at_test", [True, False])
def test_a_key_gives_the_same_mask_whatever_the_global_generator_does(scale_at_test):
    x, layer, masks = torch.ones(1, 100), Dropout(0.5, scale_at_test), []
    for layer.key, elsewhere in ((3, 0), (3, 1), (4, 0)):
        with torch.random.fork_rng():
            torch.manual_seed(elsewhere)
            before = torch.get_rng_state()
            masks.append(layer(x))
            assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize(("scale_at_test", "factor"), [(True, 1.0), (False, 4.0)])
def test_gradients_pass_where_the_mask_kept_a_value(scale_at_test, factor):
    x, layer = torch.full((200,), 2.0, requires_grad=True), Dropout(0.75, scale_at_test)
    seen = layer(x)
    seen.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(seen != 0, factor, 0.0))


@pytest.mark.parametrize("scale_at_test", [True, False])
def test_dropout_of_probability_zero_is_the_identity(scale_at_test):
    x, layer = maps(10, 10), Dropout(0.0, scale_at_test)
    assert torch.equal(layer.train()(x), x)
    assert torch.equal(layer.eval()(x), x)


# Padding -------------------------------------------------------------------------------------------------------------


def test_224_pixels_become_227_by_zeros_on_the_right_and_at_the_bottom_only():
    x = maps(2, 3, 224, 224)
    padded = PadRightBottom(11, 4)(x)
    expected = torch.zeros(2, 3, 227, 227, dtype=x.dtype)
    expected[:, :, :224, :224] = x
    assert torch.equal(padded, expected)


def test_227_pixels_stay_as_they_are():
    x = maps(1, 3, 227, 227)
    assert torch.equal(PadRightBottom(11, 4)(x), x)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 11), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_padding_is_just_enough_for_the_last_window_to_reach_the_last_pixel(height, width, kernel, stride):
    if min(height, width) < kernel:
        return
    padded = PadRightBottom(kernel, stride)(torch.ones(1, 1, height, width))
    for length, size in zip((height, width), padded.shape[2:], strict=True):
        end = kernel
        while end < length:  # one window after another until the last pixel is covered
            end += stride
        assert size == end
    assert padded.sum() == height * width
    assert padded[0, 0, :height, :width].all()

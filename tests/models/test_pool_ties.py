"""Which maxima get the gradient of max pooling: the first one as in PyTorch, or every one as in cuda-convnet.

Expected values are counted by hand and computed by the loop of kLocalMaxUndo, pixel by pixel.
"""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from alexnet.errors import UsageError
from alexnet.models.build import build_model
from alexnet.models.fusion import chain_from
from alexnet.models.layers import AllTiesMaxPool, max_pool
from alexnet.recipes.config import AlexNetConfig, CifarNetConfig
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import override

SMALL = AlexNetConfig(width=1 / 16, crop_size=52, num_classes=3)


def undo(x: np.ndarray, grad: np.ndarray, size: int, stride: int) -> np.ndarray:
    """prod += maxGrad * (img == maxAct) for every output whose window has the pixel ([cc] conv_util.cu)."""
    out = np.zeros_like(x)
    for n, c, i, j in np.ndindex(grad.shape):
        top, left = i * stride, j * stride
        window = x[n, c, top : top + size, left : left + size]
        out[n, c, top : top + size, left : left + size] += grad[n, c, i, j] * (window == window.max())
    return out


def test_four_equal_pixels_by_hand():
    x = torch.tensor([[3.0, 3.0, 1.0], [0.0, 3.0, 2.0], [3.0, 1.0, 1.0]]).view(1, 1, 3, 3)
    for ties, expected in (
        ("all", [[5.0, 5.0, 0.0], [0.0, 5.0, 0.0], [5.0, 0.0, 0.0]]),
        ("first", [[5.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    ):
        image = x.clone().requires_grad_()
        (5 * max_pool(3, True, ties)(image)).sum().backward()
        assert image.grad[0, 0].tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize(("size", "side"), [(3, 7), (3, 8), (2, 7), (2, 8), (3, 3), (2, 2)])
def test_every_maximum_gets_what_the_loop_of_cuda_convnet_gives_it(size, side, ceil, dtype):
    generator = np.random.default_rng(side)
    x = generator.integers(-2, 3, (2, 3, side, side)).astype(np.float64)  # five values: most windows have ties
    image = torch.from_numpy(x).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = max_pool(size, ceil, "all")(image)
    assert torch.equal(y, F.max_pool2d(image, size, 2, ceil_mode=ceil))
    grad = generator.integers(1, 9, y.shape).astype(np.float64)
    y.backward(torch.from_numpy(grad).to(dtype))
    assert image.grad.dtype == dtype
    np.testing.assert_array_equal(image.grad.double().numpy(), undo(x, grad, size, 2))


def test_without_ties_the_gradient_is_that_of_pytorch():
    x = torch.from_numpy(np.random.default_rng(0).permutation(2 * 3 * 9 * 9).reshape(2, 3, 9, 9).astype(np.float32))
    grads = []
    for ties in ("first", "all"):
        image = x.clone().requires_grad_()
        max_pool(3, True, ties)(image).square().sum().backward()
        grads.append(image.grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize("config", [SMALL, CifarNetConfig(norm="none")], ids=["alexnet", "cifar"])
def test_the_field_reaches_every_max_pooling_and_its_default_none(config):
    for ties, kind in (("first", nn.MaxPool2d), ("all", AllTiesMaxPool)):
        model = build_model(dataclasses.replace(config, pool_ties=ties))
        pools = [layer for layer in model.layers if isinstance(layer, nn.MaxPool2d)]
        assert pools
        assert {type(pool) for pool in pools} == {kind}
    assert config.pool_ties == "first"


def test_no_recipe_has_it_and_the_compiled_chain_is_as_it_was():
    assert {getattr(recipe.model, "pool_ties", "first") for recipe in RECIPES.values()} == {"first"}
    assert chain_from([max_pool(3, True, "first"), nn.ReLU()])[1] == 2
    assert chain_from([max_pool(3, True, "all"), nn.ReLU()])[1] == 1
    with pytest.raises(UsageError, match="pool_ties"):
        override(RECIPES["alexnet-2012"], ["model.pool_ties=both"])


def test_the_network_says_the_same_and_learns_from_more_pixels():
    images = torch.full((2, 3, 52, 52), 200, dtype=torch.uint8)  # flat: every window has ties
    images[1] //= 2
    seen = {}
    for ties in ("first", "all"):
        model = build_model(dataclasses.replace(SMALL, pool_ties=ties, init="kaiming")).eval()
        logits = model(images)
        F.cross_entropy(logits, torch.tensor([0, 1])).backward()
        seen[ties] = logits.detach(), model.layers.conv1.weight.grad
    torch.testing.assert_close(seen["first"][0], seen["all"][0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(seen["first"][1], seen["all"][1], rtol=1e-2)
    assert seen["all"][1].isfinite().all()


def test_a_traced_network_has_the_pooling_of_pytorch():
    pool = max_pool(3, True, "all")
    program = torch.export.export(nn.Sequential(pool), (torch.ones(1, 2, 7, 7),))
    assert "max_pool2d" in str(program.graph)

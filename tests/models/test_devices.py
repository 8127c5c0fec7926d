"""What networks do otherwise on other devices: grid pooling, memory layouts; as far as a CPU can tell."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from alexnet.kernels import operators
from alexnet.kernels.precision import autocast
from alexnet.models import layers, network
from alexnet.models.build import build_model
from alexnet.models.layers import GridPool, LocalConv, cells_of, grid_means
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.named import find_recipe

CPU = torch.device("cpu")


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("size", [(s, s) for s in range(1, 14)] + [(4, 7), (7, 4), (1, 9), (13, 6), (2, 3)])
def test_grid_pooling_as_two_products_is_that_of_pytorch(grid, size):
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    expected, found = F.adaptive_avg_pool2d(x, grid), grid_means(y, grid)
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    found.backward(gradient)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(y.grad, x.grad, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("side", "grid"), [(2, 3), (3, 3), (4, 3), (13, 6), (1, 2)])
def test_cells_are_those_by_hand(side, grid):
    owned = [[i * side // grid <= p < -(-(i + 1) * side // grid) for i in range(grid)] for p in range(side)]
    assert cells_of(side, grid, CPU).tolist() == owned


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_means_are_summed_in_float32_and_have_the_type_of_the_maps(dtype):
    x = torch.randn(2, 4, 13, 13).to(dtype)
    with autocast(CPU, "bfloat16"):
        found = grid_means(x, 6)
    assert found.dtype == dtype
    rtol = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found, F.adaptive_avg_pool2d(x.double(), 6).to(dtype), rtol=rtol, atol=1e-6)


def test_on_a_cpu_the_bits_of_grid_pooling_are_those_of_pytorch():
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(GridPool(3)(x), F.adaptive_avg_pool2d(x, 3))
    assert isinstance(build_model(AlexNetConfig(pool5_grid=3, width=0.1)).layers.grid5, GridPool)


@pytest.mark.parametrize("move", [
    lambda model: model.to(memory_format=torch.channels_last),
    lambda model: model.place(CPU),
    lambda model: model.double().to(memory_format=torch.channels_last).float(),
    lambda model: model.to(memory_format=torch.channels_last).to(memory_format=torch.contiguous_format),
])  # fmt: skip
def test_no_forward_pass_copies_the_weight_of_a_local_layer(move):
    model = move(build_model(find_recipe("cifar-13pct").model, seed=0))
    local = [layer for layer in model.layers if isinstance(layer, LocalConv)]
    assert local
    for layer in local:
        assert layer.weight.is_contiguous()
        assert layer.weight.flatten(0, 1).data_ptr() == layer.weight.data_ptr()
        assert isinstance(layer.weight, nn.Parameter)
    convolution = next(layer for layer in model.layers if isinstance(layer, nn.Conv2d))
    assert convolution.weight.shape[1] == 3


def test_where_channels_last_is_wrong_batch_norm_sees_the_plain_layout(monkeypatch):
    monkeypatch.setattr(network, "memory_format", lambda device: torch.contiguous_format)
    monkeypatch.setattr(layers, "memory_format", lambda device: torch.contiguous_format)
    monkeypatch.setattr(operators, "compiled", lambda: None)  # the loops of a CPU have a layout of their own
    model = build_model(AlexNetConfig(norm="batch", width=0.1, crop_size=64, num_classes=3), seed=0).place(CPU).train()
    seen = []
    for layer in model.layers:
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
            layer.register_full_backward_pre_hook(lambda _, grads: seen.append(grads[0].is_contiguous()))
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    model(images).sum().backward()
    assert len(seen) == 10
    assert all(seen)

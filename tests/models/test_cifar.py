"""The networks of cuda-convnet for CIFAR-10.

Expected values come from the published numbers of parameters, from loops in numpy, from PyTorch's shared convolution,
and from the .cfg files of the released source, whose settings are written down here.
"""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alexnet.errors import UsageError
from alexnet.models.build import build_model
from alexnet.models.layers import LocalConv
from alexnet.models.network import Network
from alexnet.models.shapes import grid_sizes
from alexnet.recipes.config import CifarNetConfig
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import override
from alexnet.training.optim import build_optimizer, learning_rate, parameter_groups

NAMES = ("cifar-80sec", "cifar-19pct", "cifar-18pct", "cifar-13pct", "cifar-11pct")
FIRST = CifarNetConfig(channels=(2, 3), local_channels=(4, 2), crop_size=13, num_classes=3, width=1.0)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Signed float64 numbers."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


# --- layers that do not share their filters ------------------------------------------------------------------------


def local_slowly(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, kernel: int) -> np.ndarray:
    """Every output separately: the sum over the pixels of its window that are inside the feature map."""
    count, channels, side, _ = x.shape
    out = np.zeros((count, weight.shape[-1], side, side))
    for n, f, top, left in np.ndindex(out.shape):
        total = bias[f, top, left]
        for i, j, c in np.ndindex(kernel, kernel, channels):
            y, z = top + i - kernel // 2, left + j - kernel // 2
            if 0 <= y < side and 0 <= z < side:
                total += x[n, c, y, z] * weight[top, left, (i * kernel + j) * channels + c, f]
        out[n, f, top, left] = total
    return out


def local(channels: int, maps: int, kernel: int, side: int, seed: int = 0) -> LocalConv:
    layer = LocalConv(channels, maps, kernel, side).double()
    with torch.no_grad():
        layer.weight.copy_(numbers(*layer.weight.shape, seed=seed))
        layer.bias.copy_(numbers(*layer.bias.shape, seed=seed + 1))
    return layer


@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3, 5]), st.integers(1, 5), st.booleans())
@settings(max_examples=25)
def test_a_local_layer_is_its_sum_at_every_place(channels, maps, kernel, side, last):
    layer, x = local(channels, maps, kernel, side), numbers(2, channels, side, side, seed=5)
    given_x = x.contiguous(memory_format=torch.channels_last) if last else x
    expected = local_slowly(x.numpy(), layer.weight.detach().numpy(), layer.bias.detach().numpy(), kernel)
    np.testing.assert_allclose(layer(given_x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_with_the_same_filters_everywhere_a_local_layer_is_a_convolution_also_in_its_gradients():
    filters, biases = numbers(4, 3, 3, 3), numbers(4, seed=1)
    layer, x = LocalConv(3, 4, 3, 6).double(), numbers(5, 3, 6, 6, seed=2)
    with torch.no_grad():
        layer.weight.copy_(filters.permute(2, 3, 1, 0).reshape(27, 4).expand(6, 6, 27, 4))
        layer.bias.copy_(biases.view(4, 1, 1).expand(4, 6, 6))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    shared = filters.clone().requires_grad_()
    seen, expected = layer(ours), F.conv2d(theirs, shared, biases, padding=1)
    torch.testing.assert_close(seen, expected)
    weights = numbers(*seen.shape, seed=3)
    (seen * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    # The gradient of a shared kernel is the sum of the gradients of the kernels at all positions.
    summed = layer.weight.grad.sum((0, 1)).view(3, 3, 3, 4).permute(3, 2, 0, 1)
    torch.testing.assert_close(summed, shared.grad)


def test_a_filter_changes_the_outputs_of_its_place_alone():
    layer, x = local(2, 3, 3, 4), numbers(1, 2, 4, 4)
    before = layer(x)
    with torch.no_grad():
        layer.weight[1, 2, :, 0] += 1.0
    assert (layer(x) != before).nonzero().tolist() == [[0, 0, 1, 2]]


def test_gradients_of_a_local_layer_are_the_numerical_ones():
    layer, x = local(2, 2, 3, 3), numbers(2, 2, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, w, b: torch.func.functional_call(layer, {"weight": w, "bias": b}, (x,)),
        (x, layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_()),
    )


# --- the networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "crop", "parameters"),
    [
        ("cifar-80sec", 32, 145_578),
        ("cifar-19pct", 32, 89_578),
        ("cifar-18pct", 32, 89_578),
        ("cifar-13pct", 32, 1_901_386),
        ("cifar-13pct", 24, 1_116_490),
        ("cifar-11pct", 32, 3_672_906),
        ("cifar-11pct", 24, 2_112_970),
        ("figure-1", 32, 89_578),
    ],
)
def test_the_networks_have_as_many_parameters_as_published(name, crop, parameters):
    config = dataclasses.replace(RECIPES[name].model, crop_size=crop)
    with torch.device("meta"):
        assert sum(p.numel() for p in build_model(config).parameters()) == parameters


def test_sides_are_counted_up_from_32_to_4():
    assert grid_sizes(CifarNetConfig()) == {
        "conv1": 32, "pool1": 16, "conv2": 16, "pool2": 8, "conv3": 8, "pool3": 4
    }  # fmt: skip


@given(st.integers(3, 40), st.integers(1, 3), st.sampled_from(["average", "max"]))
@settings(max_examples=25)
def test_the_nominal_sides_are_those_of_a_forward_pass_and_too_small_a_crop_is_refused(crop, convolutions, pooling):
    config = CifarNetConfig(crop_size=crop, channels=(2,) * convolutions, pooling=pooling, local_channels=(2,))
    try:
        sizes = grid_sizes(config)
    except UsageError:
        assert crop < 3 * 2 ** (convolutions - 1)  # 3, 6 and 12 leave a window of 3 for the last pooling
        return
    seen = build_model(config).activations(torch.zeros(1, 3, crop, crop))
    assert {name: seen[name].shape[-1] for name in sizes} == sizes


def lively(config: CifarNetConfig) -> Network:
    """In float64 with loud weights, so that the norms are no constant factor, and a mean image that is not flat."""
    model = build_model(config).double().eval()
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | LocalConv):
            inputs = module.weight.shape[2] if isinstance(module, LocalConv) else module.weight[0].numel()
            nn.init.normal_(module.weight, 0.0, 2.0 * inputs**-0.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    mean = np.random.default_rng(3).uniform(80, 140, (config.crop_size, config.crop_size, 3)).astype(np.float32)
    return model.set_input_statistics(mean, np.ones(3, np.float32))


def pooled(x: np.ndarray, average: bool) -> np.ndarray:
    """3 x 3 windows, 2 apart, the last one over the border: only the pixels inside count."""
    side = 1 + -(-(x.shape[-1] - 3) // 2)
    out = np.zeros((*x.shape[:2], side, side))
    for i, j in np.ndindex(side, side):
        window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        out[:, :, i, j] = window.mean((2, 3)) if average else window.max((2, 3))
    return out


def within_map(x: np.ndarray) -> np.ndarray:
    """a / (1 + .00005 / 9 * sum of a^2 over 3 x 3) ^ .75."""
    out = np.zeros_like(x)
    for i, j in np.ndindex(x.shape[2:]):
        window = x[:, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
        out[:, :, i, j] = x[:, :, i, j] / (1 + 0.00005 / 9 * (window**2).sum((2, 3))) ** 0.75
    return out


def across_maps(x: np.ndarray) -> np.ndarray:
    """a / (1 + .001 / 9 * sum of a^2 over 9 channels) ^ .75."""
    out = np.zeros_like(x)
    for f in range(x.shape[1]):
        out[:, f] = x[:, f] / (1 + 0.001 / 9 * (x[:, max(f - 4, 0) : f + 5] ** 2).sum(1)) ** 0.75
    return out


def same(x: np.ndarray) -> np.ndarray:
    return x


NORMS = {"cifar-18pct": (same, within_map), "cifar-11pct": (across_maps, across_maps)}


@pytest.mark.parametrize("name", NAMES)
def test_each_network_is_the_chain_of_its_file(name):
    """conv, ReLU, pooling, norm as the .cfg files have them; of 11 % rnorm2 lies before pool2, of 18 % after."""
    config = RECIPES[name].model
    small = dataclasses.replace(config, width=1 / 8 if name != "cifar-11pct" else 1 / 4)
    model = lively(small)
    layers = model.layers
    images = np.random.default_rng(1).integers(0, 256, (2, 3, config.crop_size, config.crop_size)).astype(np.uint8)
    mean = np.random.default_rng(3).uniform(80, 140, (config.crop_size, config.crop_size, 3)).astype(np.float32)
    x = images - mean.transpose(2, 0, 1).astype(np.float64)
    local_net = "local" in " ".join(name for name, _ in layers.named_children())
    for number in range(1, len(config.channels) + 1):
        conv = layers.get_submodule(f"conv{number}")
        x = F.conv2d(torch.from_numpy(x), conv.weight, conv.bias, padding=2).detach().numpy()
        x = np.maximum(x, 0)
        average = number > 1 and not local_net
        if name == "cifar-11pct":
            x = across_maps(pooled(x, average)) if number == 1 else pooled(across_maps(x), average)
        else:
            x = pooled(x, average)
            x = within_map(x) if name == "cifar-18pct" and number < 3 else x
    if local_net:
        for number in (3, 4):
            layer = layers.get_submodule(f"local{number}")
            x = np.maximum(local_slowly(x, layer.weight.detach().numpy(), layer.bias.detach().numpy(), 3), 0)
    x = x.reshape(len(x), -1)
    fcs = [layer for name, layer in layers.named_children() if name.startswith("fc")]
    for i, fc in enumerate(fcs):
        x = np.maximum(x, 0) if i else x
        x = x @ fc.weight.detach().numpy().T + fc.bias.detach().numpy()
    seen = model(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(seen, x, rtol=1e-9, atol=1e-9 * np.abs(x).max())
    assert np.abs(x[0] - x[1]).max() > 1e-2 * np.abs(x).max()


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_the_activation_of_figure_1_is_applied_in_every_hidden_layer(activation):
    config = override(RECIPES["figure-1"], [f"activation={activation}", "width=0.125"]).model
    model = lively(config)
    kind = {"tanh": np.tanh, "sigmoid": lambda a: 1 / (1 + np.exp(-a))}[activation]
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 32, 32)).astype(np.uint8)
    seen = {name: x.detach().numpy() for name, x in model.activations(torch.from_numpy(images)).items()}
    # The maximum of a function that rises is the function of the maximum; for averages the order matters.
    np.testing.assert_allclose(seen["act1"], pooled(kind(seen["conv1"]), average=False), rtol=1e-12)
    for number in (2, 3):
        np.testing.assert_allclose(seen[f"pool{number}"], pooled(kind(seen[f"conv{number}"]), average=True), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_weights_start_with_the_sigmas_of_the_files_and_biases_with_zero(name):
    model = build_model(RECIPES[name].model, seed=1)
    fc = 0.1 if name == "cifar-80sec" else 0.01
    sigmas = {"conv1": 0.0001, "conv2": 0.01, "conv3": 0.01, "local3": 0.04, "local4": 0.04, "fc4": fc, "fc5": fc}
    for layer, module in model.layers.named_children():
        if hasattr(module, "weight"):
            w = module.weight
            assert abs(w.std().item() / sigmas[layer] - 1) < 5 / w.numel() ** 0.5, layer
            assert abs(w.mean().item()) < 5 * sigmas[layer] / w.numel() ** 0.5
            assert not module.bias.any()


@pytest.mark.parametrize(("init", "fan"), [("kaiming", lambda i, o: 2 / i), ("xavier", lambda i, o: 2 / (i + o))])
def test_the_other_starts_have_the_variance_of_their_inputs_and_outputs(init, fan):
    config = dataclasses.replace(RECIPES["cifar-13pct"].model, init=init)
    model = build_model(config)
    fans = {"conv1": (75, 1600), "conv2": (1600, 1600), "local3": (576, 288), "local4": (288, 288), "fc5": (1152, 10)}
    for layer, (inputs, outputs) in fans.items():
        w = model.layers.get_submodule(layer).weight
        assert abs(w.square().mean().item() / fan(inputs, outputs) - 1) < 8 / w.numel() ** 0.5, layer


def test_weights_are_a_function_of_the_seed():
    first, again, other = (build_model(FIRST, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layers.local3.weight"], other["layers.local3.weight"])


# --- training ------------------------------------------------------------------------------------------------------

# wc of the files: conv, local, last fc (and the hidden one).
DECAYS = {
    "cifar-80sec": {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc4": 0.03, "fc5": 0.03},
    "cifar-19pct": {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc4": 3.0},
    "cifar-18pct": {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004, "fc4": 1.0},
    "cifar-13pct": {"conv1": 0.0, "conv2": 0.0, "local3": 0.004, "local4": 0.004, "fc5": 0.004},
    "cifar-11pct": {"conv1": 0.0, "conv2": 0.0, "local3": 0.004, "local4": 0.004, "fc5": 0.01},
    "figure-1": {"conv1": 0.0, "conv2": 0.0, "conv3": 0.0, "fc4": 0.0},
}


@pytest.mark.parametrize("name", DECAYS)
def test_a_step_without_gradients_takes_rate_times_decay_of_every_layer_and_leaves_biases(name):
    recipe = RECIPES[name]
    model = build_model(recipe.model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for parameter in model.parameters():
        with torch.no_grad():
            parameter += 1.0
            before = {n: p.detach().clone() for n, p in model.named_parameters()}
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(model, recipe.optim).step()
    for layer, decay in DECAYS[name].items():
        weight, bias = f"layers.{layer}.weight", f"layers.{layer}.bias"
        after = dict(model.named_parameters())
        torch.testing.assert_close(after[weight].detach(), before[weight] * (1 - 0.001 * decay))
        assert torch.equal(after[bias], before[bias])
    assert {n.split(".")[1] for n in before} == set(DECAYS[name])


def test_biases_that_are_not_shared_learn_as_biases_do():
    model = build_model(RECIPES["cifar-13pct"].model)
    groups = {g["name"]: {id(p) for p in g["params"]} for g in parameter_groups(model, RECIPES["cifar-13pct"].optim)}
    assert id(model.layers.local3.bias) in groups["biases"]
    assert id(model.layers.conv1.weight) in groups["conv1_weights"]
    assert id(model.layers.conv2.weight) in groups["conv2_weights"]
    assert sum(map(len, groups.values())) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("name", "epochs", "drops", "biases_follow"),
    [
        ("cifar-18pct", 140, (120, 130), True),
        ("cifar-19pct", 140, (120, 130), True),
        ("cifar-80sec", 10, (8,), True),
        ("cifar-13pct", 520, (500, 510), False),
        ("cifar-11pct", 520, (500, 510), False),
    ],
)
def test_rates_are_a_thousandth_and_twice_that_and_fall_after_the_published_epochs(name, epochs, drops, biases_follow):
    recipe = RECIPES[name]
    assert (recipe.epochs, recipe.batch_size, recipe.optim.momentum) == (epochs, 128, 0.9)
    names = [g["name"] for g in parameter_groups(build_model(recipe.model), recipe.optim)]
    for epoch in {1, epochs, *drops, *(d + 1 for d in drops)}:
        factor = 10.0 ** -sum(epoch > d for d in drops)
        for group in names:
            bias = group.endswith("biases")
            expected = (0.002 if bias else 0.001) * (factor if biases_follow or not bias else 1.0)
            assert learning_rate(recipe.optim, group, epoch, epoch / (epochs + 1)) == pytest.approx(expected)


def test_only_the_nets_of_13_and_11_see_shifted_and_mirrored_windows():
    for name in (*NAMES, "figure-1"):
        recipe = RECIPES[name]
        cropped = name in ("cifar-13pct", "cifar-11pct")
        assert recipe.prepare_size - recipe.model.crop_size == (8 if cropped else 0)
        assert (recipe.augment.view, recipe.augment.flip) == (("crop", True) if cropped else ("center", False))
        assert (recipe.augment.color_noise, recipe.model.input_norm) == (0.0, "mean-image")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("layer_decay=[[\"fc9\", 1]]", "E285"),
        ("layer_decay=[[\"fc4\", 1], [\"fc4\", 2]]", "E286"),
    ],
)  # fmt: skip
def test_a_decay_of_a_layer_that_is_not_there_or_stands_there_twice_is_refused(change, code):
    recipe = override(RECIPES["cifar-18pct"], [change])
    with pytest.raises(UsageError) as caught:
        build_optimizer(build_model(recipe.model), recipe.optim)
    assert caught.value.code == code
    assert "fc9" not in change or "conv1, conv2, conv3, fc4" in caught.value.fix

"""The named recipes: the forward pass, initial weights, update and data augmentation of each against its source.

Expected values come from torch.nn.functional in float64 with a normalization written as a loop, from torchvision's
AlexNet, normalization and training rule, and from update rules written number by number.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import alexnet as torchvision_alexnet
from torchvision.transforms.v2 import functional as transforms

from alexnet import rng
from alexnet.data import augment
from alexnet.data.augment import ColorStatistics
from alexnet.data.loader import epoch_order
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.recipes.config import LeNetConfig, OptimConfig
from alexnet.recipes.named import RECIPES
from alexnet.training.optim import build_optimizer, learning_rate, parameter_groups, set_learning_rates
from alexnet.training.trainer import Trainer

CLASSES = 5


def narrow(name: str, **changes) -> Network:
    """The network of a recipe, a sixteenth as wide, in float64, with loud weights, biases of both signs, for testing.

    Loud: activations of some hundreds, so that every normalization is far from a constant factor.
    """
    config = dataclasses.replace(RECIPES[name].model, num_classes=CLASSES, **({"width": 1 / 16} | changes))
    model = build_model(config).double().eval()
    generator = torch.Generator().manual_seed(0)
    for layer, module in model.layers.named_children():
        if isinstance(module, nn.Conv2d | nn.Linear):
            gain = {"conv1": 2.0, "conv2": 4.0}.get(layer, 1.5)
            nn.init.normal_(module.weight, 0.0, gain * module.weight[0].numel() ** -0.5, generator=generator)
            if module.bias is not None:
                nn.init.normal_(module.bias, generator=generator)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
            nn.init.normal_(module.running_mean, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 2.0, generator=generator)
    size = config.crop_size
    mean = np.random.default_rng(2).uniform(80, 140, (size, size, 3)).astype(np.float32)
    return model.set_input_statistics(mean, np.array([50.0, 60.0, 70.0], np.float32))


def random_images(size: int, count: int = 2) -> Tensor:
    """Coarse blocks with some noise, (N, 3, size, size) uint8: images of noise alone all look the same to a network."""
    generator = np.random.default_rng(1)
    blocks = np.kron(generator.integers(20, 236, (count, 3, 8, 8)), np.ones((size // 8 + 1, size // 8 + 1)))
    blocks = blocks[:, :, :size, :size]
    return torch.from_numpy((blocks + generator.integers(-20, 20, blocks.shape)).astype(np.uint8))


def without_mean(model: Network, images: Tensor) -> Tensor:
    """The pixels minus the mean image that `narrow` gave."""
    size = images.shape[-1]
    mean = np.random.default_rng(2).uniform(80, 140, (size, size, 3)).astype(np.float32)
    return images.double() - torch.from_numpy(mean).double().permute(2, 0, 1)


def close(seen: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Equal up to rounding, and different for different images."""
    assert seen.shape == expected.shape
    assert ((seen - expected).norm() / expected.norm()).item() < tolerance
    assert ((expected[0] - expected[1]).norm() / expected.norm()).item() > 1e-2


# Pieces of the forward passes ----------------------------------------------------------------------------------------


def lrn(x: Tensor, per_square: float, k: float) -> Tensor:
    """a_f (k + per_square * sum of a_j^2 over f - 2 .. f + 2) ^ -0.75 over all given channels."""
    out = torch.empty_like(x)
    for f in range(x.shape[1]):
        total = torch.zeros_like(x[:, 0])
        for j in range(max(0, f - 2), min(x.shape[1], f + 3)):
            total += x[:, j] ** 2
        out[:, f] = x[:, f] * (k + per_square * total) ** -0.75
    return out


def lrn_2012(x: Tensor, towers: int = 2) -> Tensor:
    """Alpha is 0.0001 / 5 for a square, k is 2, and each tower is on its own."""
    return torch.cat([lrn(half, 1e-4 / 5, 2.0) for half in x.chunk(towers, 1)], 1)


def within_map(x: Tensor) -> Tensor:
    """a (1 + 0.001 / 25 * sum of a^2 over 5 x 5) ^ -0.75."""
    ones = torch.ones(x.shape[1], 1, 5, 5, dtype=x.dtype)
    return x * (1 + 4e-5 * F.conv2d(x**2, ones, padding=2, groups=x.shape[1])) ** -0.75


def same(x: Tensor) -> Tensor:
    return x


def pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2)


def conv(layers: nn.Sequential, number: int, x: Tensor, **how: int) -> Tensor:
    layer = layers.get_submodule(f"conv{number}")
    return F.conv2d(x, layer.weight, layer.bias, **how)


def dense(layers: nn.Sequential, x: Tensor, factor: float = 1.0) -> Tensor:
    """fc6 to fc8 on feature maps; `factor` multiplies the outputs of fc6 and fc7 at test time."""
    x = x.flatten(1)
    for layer in (layers.fc6, layers.fc7):
        x = factor * F.relu(F.linear(x, layer.weight, layer.bias))
    return F.linear(x, layers.fc8.weight, layers.fc8.bias)


def from_conv3(layers: nn.Sequential, x: Tensor, groups: int) -> Tensor:
    """conv3 to pool5; the convolutions after conv3 see one tower."""
    for number, share in ((3, 1), (4, groups), (5, groups)):
        x = F.relu(conv(layers, number, x, padding=1, groups=share))
    return pool(x)


def beyond(x: Tensor) -> Tensor:
    """224 pixels with 3 zeros on the right and at the bottom."""
    return F.pad(x, (0, 3, 0, 3))


# Networks ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", ["caffe", "caffenet"])
def test_the_networks_of_caffe_normalise_all_maps_with_k_1_before_or_after_pooling(name):
    model, images = narrow(name), random_images(227)
    layers = model.layers

    def normed(x: Tensor) -> Tensor:
        if name == "caffe":
            return pool(lrn(F.relu(x), 1e-4 / 5, 1.0))
        return lrn(pool(F.relu(x)), 1e-4 / 5, 1.0)

    x = normed(conv(layers, 1, without_mean(model, images), stride=4))
    x = normed(conv(layers, 2, x, padding=2, groups=2))
    assert conv(layers, 1, images.double(), stride=4).shape[-1] == 55
    close(model(images), dense(layers, from_conv3(layers, x, 2)))


@torch.no_grad()
def test_the_network_of_the_paper_normalises_all_maps_after_relu_by_its_undivided_formula():
    model, images = narrow("alexnet-paper"), random_images(224)
    layers = model.layers
    x = pool(lrn(F.relu(conv(layers, 1, beyond(without_mean(model, images)), stride=4)), 1e-4, 2.0))
    x = pool(lrn(F.relu(conv(layers, 2, x, padding=2, groups=2)), 1e-4, 2.0))
    close(model(images), dense(layers, from_conv3(layers, x, 2), factor=0.5))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "towers", "first", "second"),
    [
        ("net-145-half", 1, lrn_2012, lambda x: within_map(lrn_2012(x, 1))),
        ("net-148", 2, same, same),
        ("net-167", 2, lrn_2012, same),
    ],
)
def test_the_ablations_of_2012_leave_out_what_they_say(name, towers, first, second):
    model, images = narrow(name), random_images(224)
    layers = model.layers
    x = conv(layers, 1, beyond(without_mean(model, images)), stride=4)
    x = F.relu(pool(first(x, towers) if first is lrn_2012 else x))
    x = pool(second(F.relu(conv(layers, 2, x, padding=2, groups=towers))))
    close(model(images), dense(layers, from_conv3(layers, x, towers), factor=0.5))


@torch.no_grad()
def test_net_147_pools_2_by_2_with_a_clipped_last_window_and_less_padding():
    model, images = narrow("net-147"), random_images(224)
    layers = model.layers

    def plain(x: Tensor) -> Tensor:
        lacking = x.shape[-1] % 2
        return F.max_pool2d(F.pad(x, (0, lacking, 0, lacking), value=-math.inf), 2)

    x = F.relu(plain(lrn_2012(conv(layers, 1, beyond(without_mean(model, images)), stride=4))))
    x = plain(within_map(lrn_2012(F.relu(conv(layers, 2, x, padding=1, groups=2)))))
    x = F.relu(conv(layers, 3, x, padding=1))
    x = F.relu(conv(layers, 4, x, padding=1, groups=2))
    x = plain(F.relu(conv(layers, 5, x, groups=2)))
    close(model(images), dense(layers, x, factor=0.5))


@torch.no_grad()
def test_net_150_is_two_networks_whose_logits_add_up():
    model, images = narrow("net-150"), random_images(224)
    data = beyond(without_mean(model, images))

    def half(name: str, tower: int) -> tuple[Tensor, Tensor]:
        layer = model.layers.get_submodule(name)
        return layer.weight.chunk(2)[tower], layer.bias.chunk(2)[tower]

    logits = model.layers.fc8.bias
    for tower, columns in enumerate(model.layers.fc8.weight.chunk(2, 1)):
        x = F.relu(pool(lrn(F.conv2d(data, *half("conv1", tower), stride=4), 2e-5, 2.0)))
        x = pool(within_map(lrn(F.relu(F.conv2d(x, *half("conv2", tower), padding=2)), 2e-5, 2.0)))
        for number in (3, 4, 5):
            x = F.relu(F.conv2d(x, *half(f"conv{number}", tower), padding=1))
        x = pool(x).flatten(1)
        for name in ("fc6", "fc7"):
            x = 0.5 * F.relu(F.linear(x, *half(name, tower)))
        logits = logits + x @ columns.T
    close(model(images), logits)


@torch.no_grad()
@pytest.mark.parametrize("tower", [0, 1])
@pytest.mark.parametrize("name", ["net-150", "alexnet-2012"])
def test_a_changed_conv1_of_one_tower_of_net_150_never_reaches_the_other(name, tower):
    model, images = narrow(name), random_images(224)
    before = model.activations(images)
    model.layers.conv1.weight.chunk(2)[tower].mul_(-1.5)
    after = model.activations(images)
    for layer in ("conv1", "pool2", "conv3", "relu5", "fc6", "fc7"):
        halves = [x[layer].chunk(2, 1) for x in (before, after)]
        assert not torch.equal(halves[0][tower], halves[1][tower])
        alone = name == "net-150" or layer in ("conv1", "pool2")
        assert torch.equal(halves[0][1 - tower], halves[1][1 - tower]) is alone
    assert not torch.equal(before["fc8"], after["fc8"])


IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@torch.no_grad()
def test_alexnet_owt_is_the_alexnet_of_torchvision_with_its_normalisation_at_any_size():
    theirs = torchvision_alexnet(num_classes=CLASSES).eval()
    ours = build_model(dataclasses.replace(RECIPES["alexnet-owt"].model, num_classes=CLASSES)).eval()
    learned = [m for m in ours.layers if isinstance(m, nn.Conv2d | nn.Linear)]
    others = [m for m in theirs.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for mine, other in zip(learned, others, strict=True):
        other.weight.mul_(4.0)
        mine.load_state_dict(other.state_dict())
    mean = np.broadcast_to(np.array(IMAGENET_MEAN) * 255, (256, 256, 3))
    ours.set_input_statistics(mean, np.array(IMAGENET_STD) * 255)
    for size in (224, 256):
        images = random_images(size)
        normalized = transforms.normalize(transforms.to_dtype(images, scale=True), IMAGENET_MEAN, IMAGENET_STD)
        torch.testing.assert_close(ours.prepare_input(images), normalized, rtol=1e-5, atol=1e-5)
        close(ours(images), theirs(normalized), tolerance=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3])
def test_alexnet_d2l_is_the_chain_of_the_book_with_6400_inputs_of_fc6(channels):
    model, images = narrow("alexnet-d2l", in_channels=channels), random_images(224)
    book = nn.Sequential(
        nn.Conv2d(channels, 6, 11, stride=4, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2),
        nn.Conv2d(6, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
        nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(),
        nn.Conv2d(24, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2), nn.Flatten(),
        nn.Linear(400, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(256, CLASSES),
    )  # fmt: skip
    book = book.double().eval()
    book.load_state_dict(dict(zip(book.state_dict(), model.layers.state_dict().values(), strict=True)))
    x = images.double() / 255
    if channels == 1:
        x = (x[:, :1] + x[:, 1:2] + x[:, 2:]) / 3
    close(model(images), book(x))
    with torch.device("meta"):
        full = build_model(dataclasses.replace(RECIPES["alexnet-d2l"].model, in_channels=channels))
    # 224 -> 54 -> 26 -> 12 -> 5: 256 * 5 * 5.
    assert full.layers.fc6.in_features == 6400


@torch.no_grad()
@pytest.mark.parametrize("conv_activation", [True, False], ids=["book", "caffe"])
def test_lenet_is_a_plain_chain_also_without_activations_after_its_convolutions(conv_activation):
    if conv_activation:
        config, kind, pooling, sizes = RECIPES["lenet"].model, nn.Sigmoid, nn.AvgPool2d, (6, 16, 2, 400, 120, 84)
    else:
        config = LeNetConfig(
            channels=(20, 50), fc_features=(500,), conv1_padding=0, activation="relu", conv_activation=False,
            pooling="max",
        )  # fmt: skip
        kind, pooling, sizes = nn.ReLU, nn.MaxPool2d, (20, 50, 0, 800, 500)
    one, two, padding, *features = sizes
    between = [kind()] if conv_activation else []
    chain = [nn.Conv2d(1, one, 5, padding=padding), *between, pooling(2), nn.Conv2d(one, two, 5), *between, pooling(2)]
    chain.append(nn.Flatten())
    for before, after in itertools.pairwise(features):
        chain += [nn.Linear(before, after), kind()]
    plain = nn.Sequential(*chain, nn.Linear(features[-1], 10)).double()
    model = build_model(config, seed=1).set_input_statistics(np.zeros((28, 28, 3)), np.ones(3)).double().eval()
    for module in model.layers:
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.mul_(6.0 if conv_activation else 2.0)  # sigmoids flatten what differs
            nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(0))
    plain.load_state_dict(dict(zip(plain.state_dict(), model.layers.state_dict().values(), strict=True)))
    images = random_images(28)
    # The factor 1 / 255 is stored in float32.
    close(model(images), plain(images.double().mean(1, keepdim=True) / 255), tolerance=1e-6)


@torch.no_grad()
def test_photos_is_torchvisions_chain_with_batch_norm_and_a_3_by_3_grid():
    model, images = narrow("photos"), random_images(160)
    x = model.prepare_input(images)

    def unit(x: Tensor, name: str, number: int, **how: int) -> Tensor:
        layer, norm = (model.layers.get_submodule(n) for n in (f"{name}{number}", f"bn{number}"))
        x = F.conv2d(x, layer.weight, **how) if how else x @ layer.weight.T
        shape = [1, -1] + [1] * (x.ndim - 2)
        mean, variance, gain, shift = (
            t.view(shape) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return (x - mean) / (variance + 1e-5).sqrt() * gain + shift

    def pooled(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    x = pooled(F.relu(unit(x, "conv", 1, stride=4, padding=2)))
    x = pooled(F.relu(unit(x, "conv", 2, padding=2)))
    x = F.relu(unit(x, "conv", 3, padding=1))
    x = F.relu(unit(x, "conv", 4, padding=1))
    x = F.adaptive_avg_pool2d(F.relu(pooled(unit(x, "conv", 5, padding=1))), 3).flatten(1)
    for number in (6, 7):
        x = F.relu(unit(x, "fc", number))
    close(model(images), F.linear(x, model.layers.fc8.weight, model.layers.fc8.bias))


@torch.no_grad()
def test_demo_is_net_145_with_a_5_by_5_conv1_and_nothing_done_to_dropout_in_testing():
    model, images = narrow("demo"), random_images(28)
    layers = model.layers
    x = conv(layers, 1, model.prepare_input(images), padding=2)

    def clipped(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    x = F.relu(clipped(lrn_2012(x)))
    x = clipped(within_map(lrn_2012(F.relu(conv(layers, 2, x, padding=2, groups=2)))))
    for number, groups in ((3, 1), (4, 2), (5, 2)):
        x = F.relu(conv(layers, number, x, padding=1, groups=groups))
    close(model(images), dense(layers, clipped(x)))


OF_2012 = ("alexnet-2012", "alexnet-paper", "net-145-half", "net-147", "net-148", "net-150", "net-167")
OF_2012 += ("small-cifar", "small-photos")


@pytest.mark.parametrize("name", [name for name, r in RECIPES.items() if r.model.architecture == "alexnet"])
def test_networks_after_2012_scale_dropout_in_training_and_those_of_2012_in_testing(name):
    with torch.device("meta"):
        model = build_model(RECIPES[name].model)
    for layer in (model.layers.drop6, model.layers.drop7):
        layer.key = 0
        assert layer.eval()(torch.ones(1)).item() == (0.5 if name in OF_2012 else 1.0)
        kept = 1.0 if name in OF_2012 else 1 / (1 - RECIPES[name].model.dropout)
        assert layer.train()(torch.ones(1, 99)).unique().tolist() == [0.0, kept]


@torch.no_grad()
@pytest.mark.parametrize(("name", "place", "factor"), [
    ("alexnet-2012", "after", 1.0), ("caffe", "after", 2.0), ("alexnet-d2l", "after", 2.0),
    ("alexnet-owt", "before", 2.0), ("finetune", "before", 2.0),
])  # fmt: skip
def test_in_training_the_masks_lie_on_the_outputs_of_fc6_and_fc7_or_as_in_torchvision_on_their_inputs(
    name, place, factor
):
    model = narrow(name).train()
    layers, images = model.layers, random_images(model.config.crop_size)
    model.seed_dropout(1, 2)
    seen = model.activations(images)
    before = place == "before"
    model.seed_dropout(1, 2)
    masks = [
        layers.drop6(torch.ones_like(seen["flatten" if before else "relu6"])),
        layers.drop7(torch.ones_like(seen["relu6"])),
    ]
    assert [mask.unique().tolist() for mask in masks] == [[0.0, factor]] * 2
    x = seen["flatten"] * masks[0] if before else seen["flatten"]
    x = F.relu(F.linear(x, layers.fc6.weight, layers.fc6.bias))
    x = x * (masks[1] if before else masks[0])
    x = F.relu(F.linear(x, layers.fc7.weight, layers.fc7.bias))
    close(seen["relu7"], x)
    x = x if before else x * masks[1]
    close(seen["fc8"], F.linear(x, layers.fc8.weight, layers.fc8.bias))


# Start values --------------------------------------------------------------------------------------------------------


def learned_layers(name: str) -> dict[str, nn.Module]:
    model = build_model(dataclasses.replace(RECIPES[name].model, width=1 / 4))
    return {n: m for n, m in model.layers.named_children() if isinstance(m, nn.Conv2d | nn.Linear)}


@pytest.mark.parametrize(("name", "bias"), [("caffe", 0.1), ("caffenet", 1.0)])
def test_weights_of_caffe_start_with_001_but_0005_in_fc6_and_fc7(name, bias):
    for layer, module in learned_layers(name).items():
        count = module.weight.numel()
        sigma = 0.005 if layer in ("fc6", "fc7") else 0.01
        # The relative error of a standard deviation is 1 / sqrt(2 n), that of a mean is 1 / sqrt(n) of it.
        assert module.weight.std().item() == pytest.approx(sigma, rel=4.5 / math.sqrt(2 * count))
        assert abs(module.weight.mean().item()) < 4.5 * sigma / math.sqrt(count)
        assert (module.bias == torch.tensor(0.0 if layer in ("conv1", "conv3", "fc8") else bias)).all()


def is_uniform(values: Tensor, bound: float) -> bool:
    """Whether values are uniform in [-bound, bound], with standard deviation bound / sqrt(3)."""
    count = values.numel()
    inside = bool(values.abs().max() <= bound) and values.abs().max().item() > bound * (1 - 12 / count)
    ratio = values.square().mean().sqrt().item() * math.sqrt(3) / bound
    return inside and abs(ratio - 1) < 4.5 * math.sqrt(0.2 / count)


@pytest.mark.parametrize("name", ["alexnet-owt", "finetune"])
def test_weights_and_biases_of_alexnet_owt_start_as_pytorch_does_within_one_over_the_root_of_the_inputs(name):
    # 16, 48, 96, 64 and 64 channels, 1,024 units.
    inputs = {"conv1": 363, "conv2": 400, "conv3": 432, "conv4": 864, "conv5": 576, "fc6": 2304, "fc7": 1024}
    for layer, module in learned_layers(name).items():
        bound = 1 / math.sqrt((inputs | {"fc8": 1024})[layer])
        assert is_uniform(module.weight, bound)
        assert 0.4 * bound < module.bias.std() < bound
        assert module.bias.abs().max() <= bound
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module.reset_parameters()
        assert is_uniform(module.weight, bound)


def test_weights_of_alexnet_d2l_start_within_the_bounds_of_glorot_and_biases_with_zero():
    # sqrt(6 / (fan in + fan out)); 24, 64, 96, 96 and 64 channels, 1,024 units, 64 * 25 inputs of fc6.
    fans = {"conv1": 121 + 24 * 121, "conv2": 25 * (24 + 64), "conv3": 9 * (64 + 96), "conv4": 9 * (96 + 96)}
    fans |= {"conv5": 9 * (96 + 64), "fc6": 1600 + 1024, "fc7": 1024 + 1024, "fc8": 1024 + 10}
    layers = learned_layers("alexnet-d2l")
    for layer, fan in fans.items():
        assert is_uniform(layers[layer].weight, math.sqrt(6 / fan))
        assert (layers[layer].bias == 0).all()


# Updates -------------------------------------------------------------------------------------------------------------


def tiny(name: str) -> Network:
    """Some hundred weights in float64; what the optimizer does to them does not depend on the layers."""
    config = dataclasses.replace(RECIPES["net-148"].model, width=1 / 96, crop_size=52, num_classes=3)
    return build_model(config, seed=len(name)).double()


def gradients_of(model: nn.Module, step: int) -> dict[str, Tensor]:
    generator = np.random.default_rng(step)
    return {name: torch.from_numpy(generator.normal(size=tuple(p.shape))) for name, p in model.named_parameters()}


def trained(name: str, epochs: list[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights before and after a step in each of these epochs with optimizer and learning rates of a recipe."""
    model, config = tiny(name), RECIPES[name].optim
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = build_optimizer(model, config)
    for step, epoch in enumerate(epochs):
        set_learning_rates(optimizer, config, epoch, 0.0)
        gradients = gradients_of(model, step)
        for n, p in model.named_parameters():
            p.grad = gradients[n]
        optimizer.step()
    return before, {n: p.detach() for n, p in model.named_parameters()}


def test_alexnet_owt_moves_as_torchs_sgd_with_the_rule_of_torchvisions_training():
    epochs = [1, 2, 30, 31, 32, 60, 61, 62, 90]
    before, after = trained("alexnet-owt", epochs)
    model = tiny("alexnet-owt")
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    for step, epoch in enumerate(epochs):
        sgd.param_groups[0]["lr"] = 0.01 * 0.1 ** ((epoch - 1) // 30)  # StepLR(30, 0.1), epochs from 0
        gradients = gradients_of(model, step)
        for n, p in model.named_parameters():
            p.grad = gradients[n]
        sgd.step()
    for n, p in model.named_parameters():
        assert not torch.equal(before[n], p)
        torch.testing.assert_close(after[n], p.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "bias_rate", "bias_decay", "drops"),
    [("caffe", 2.0, 0.0, (21, 41, 61, 81)), ("alexnet-paper", 1.0, 0.0005, (25, 51, 79))],
)
def test_caffe_and_the_paper_move_by_rate_scaled_momentum_with_their_own_rules_for_biases(
    name, bias_rate, bias_decay, drops
):
    epochs = [1, 20, 21, 24, 25, 41, 50, 51, 61, 72, 79, 81, 90]
    before, after = trained(name, epochs)
    model = tiny(name)
    for n, w in before.items():
        biased = n.endswith("bias")
        w, v = w.clone(), torch.zeros_like(w)
        for step, epoch in enumerate(epochs):
            lr = 0.01 * 0.1 ** len([d for d in drops if d <= epoch]) * (bias_rate if biased else 1.0)
            decay = bias_decay if biased else 0.0005
            v = 0.9 * v - lr * (gradients_of(model, step)[n] + decay * w)
            w = w + v
        torch.testing.assert_close(after[n], w, rtol=1e-9, atol=1e-12)


def test_alexnet_d2l_moves_by_001_of_the_gradient_and_nothing_else():
    before, after = trained("alexnet-d2l", [1, 5, 80])
    model = tiny("alexnet-d2l")
    for n, w in before.items():
        expected = w - 0.01 * sum(gradients_of(model, step)[n] for step in range(3))
        torch.testing.assert_close(after[n], expected, rtol=1e-9, atol=1e-12)


def test_finetune_moves_by_nesterovs_step_in_which_plain_sgd_differs():
    assert RECIPES["finetune"].optim.algorithm == "nesterov"
    paths = []
    for algorithm, nesterov in (("nesterov", True), ("sgd", False)):
        model, twin = tiny("finetune"), tiny("finetune")
        config = OptimConfig(algorithm=algorithm, schedule="constant", bias_lr_factor=1.0)
        ours = build_optimizer(model, config)
        weights = [p for p in twin.parameters() if p.ndim > 1]
        biases = [p for p in twin.parameters() if p.ndim == 1]
        groups = [{"params": weights, "weight_decay": 0.0005}, {"params": biases, "weight_decay": 0.0}]
        theirs = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=nesterov)
        for step in range(4):
            gradients = gradients_of(model, step)
            for net in (model, twin):
                for n, p in net.named_parameters():
                    p.grad = gradients[n].clone()
            ours.step()
            theirs.step()
        for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)
        paths.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert (paths[0] - paths[1]).abs().min() > 1e-6


@pytest.mark.parametrize("decays", [True, False])
def test_biases_decay_where_the_recipe_says_so(decays):
    config = OptimConfig(weight_decay=0.003, decay_biases=decays)
    seen = {g["name"]: g["weight_decay"] for g in parameter_groups(tiny("net-148"), config)}
    biases = 0.003 if decays else 0.0
    assert seen == {"weights": 0.003, "conv1_weights": 0.003, "biases": biases, "conv1_biases": biases}


def test_layers_with_trained_weights_move_at_a_share_of_the_rate_of_the_new_ones():
    config = dataclasses.replace(RECIPES["finetune"].optim, schedule="constant", bias_lr_factor=2.0)
    model = tiny("finetune")
    groups = {g["name"]: g["params"] for g in parameter_groups(model, config, new_layers=["fc8"])}
    fc8, conv1 = model.layers.fc8, model.layers.conv1
    assert [id(p) for p in groups["new_weights"]] == [id(fc8.weight)]
    assert [id(p) for p in groups["new_biases"]] == [id(fc8.bias)]
    assert [id(p) for p in groups["conv1_weights"]] == [id(conv1.weight)]
    assert sum(len(params) for params in groups.values()) == 16
    assert len(groups["weights"]) == len(groups["biases"]) == 6
    seen = {name: learning_rate(config, name, 1, 0.0) for name in groups}
    new, old = 0.01, 0.001
    assert seen == pytest.approx(
        {"new_weights": new, "new_biases": 2 * new, "weights": old, "biases": 2 * old, "conv1_weights": old,
         "conv1_biases": 2 * old}
    )  # fmt: skip


# Images --------------------------------------------------------------------------------------------------------------

STDEVS = np.array([19.72, 37.09, 121.78])
VECTORS = np.array([[0.418, -0.713, -0.564], [-0.817, -0.024, -0.576], [0.397, 0.701, -0.592]])
COLORS = ColorStatistics(torch.full((3, 1, 1), 100.0), STDEVS, VECTORS)


def windows_of(chunk: int, count: int = 100) -> list[tuple[int, int, bool]]:
    """Top, left and flip of each view, from images whose red is the row and green the column."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    images = torch.stack([y, x, y]).to(torch.uint8).expand(count, 3, 64, 64)
    config = dataclasses.replace(RECIPES["alexnet-2012"].augment, chunk=chunk, color_noise=0.0)
    samples = np.random.default_rng(0).permutation(1000)[:count]
    seen = augment.training_views(images, 32, config, COLORS, seed=3, epoch=2, samples=samples)
    ends = [(int(v[0, 0, 0]), int(v[1, 0, 0]), int(v[1, 0, -1])) for v in seen]
    return [(top, min(left, right), left > right) for top, left, right in ends]


def test_32_consecutive_images_of_a_batch_share_one_crop_and_one_mirror():
    assert RECIPES["alexnet-2012"].augment.chunk == 32
    seen = windows_of(32)
    chunks = [seen[0:32], seen[32:64], seen[64:96], seen[96:100]]
    assert [len(set(chunk)) for chunk in chunks] == [1, 1, 1, 1]
    assert len({chunk[0] for chunk in chunks}) > 2
    alone = windows_of(1)
    # 33 * 33 * 2 windows: a few of a hundred may coincide; the first of a chunk is the one that draws.
    assert len(set(alone)) > 90
    assert [alone[i] for i in (0, 32, 64, 96)] == [chunk[0] for chunk in chunks]


@pytest.mark.parametrize("scale", ["stdev", "eigenvalue"])
def test_color_noise_stays_one_draw_for_each_image_of_a_chunk_with_roots_or_eigenvalues(scale):
    count, samples = 40, np.arange(40) * 7
    images = torch.full((count, 3, 8, 8), 150, dtype=torch.uint8)
    name = "alexnet-2012" if scale == "stdev" else "alexnet-paper"
    config = dataclasses.replace(RECIPES[name].augment, chunk=32)
    assert config.color_scale == scale
    seen = augment.training_views(images, 8, config, COLORS, seed=4, epoch=3, samples=samples).double().numpy()
    z = rng.normal(4, 3, samples, rng.COLOR, count=3)
    for n in range(count):
        for c in range(3):
            if scale == "stdev":
                noise = sum(VECTORS[c, k] * STDEVS[k] * z[n, k] for k in range(3))
                by_hand = 100 + (50 + 0.1 * noise) / 1.1
            else:
                # The eigenvalue of pixels in 0..1 is (s / 255)^2; times 255 it is s^2 / 255 gray levels.
                by_hand = 150 + 0.1 * sum(VECTORS[c, k] * STDEVS[k] ** 2 / 255 * z[n, k] for k in range(3))
            np.testing.assert_allclose(seen[n, c], by_hand, atol=1e-3)
    assert len({float(v[0, 0, 0]) for v in seen}) == count


@pytest.mark.parametrize("reshuffle", [True, False])
def test_every_epoch_has_the_order_of_the_first_unless_reshuffled(monkeypatch, start, fit, reshuffle):
    seen, batch = [], Trainer.batch

    def noting(self, samples, at, **options):
        seen.append((at.epoch, samples.tolist()))
        return batch(self, samples, at, **options)

    monkeypatch.setattr(Trainer, "batch", noting)
    fit(start("run", f"reshuffle={str(reshuffle).lower()}", "seed=5", "epochs=3"))
    for epoch in (1, 2, 3):
        order = [sample for number, samples in seen if number == epoch for sample in samples]
        assert order == epoch_order(26, 5, epoch if reshuffle else 1).tolist()
    assert sorted(order) == list(range(26)) != order

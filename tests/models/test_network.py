"""AlexNet and LeNet.

Expected values come from the table of net 145 of the released source (parameters, sizes, initial weights), from
forward passes written a second time without the package (two explicit half networks for the two GPUs of 2012), from
torchvision's AlexNet, and from counting by hand.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import alexnet as torchvision_alexnet

from alexnet.errors import UsageError
from alexnet.models.alexnet import AlexNet
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.models.shapes import grid_sizes
from alexnet.recipes.config import AlexNetConfig, LeNetConfig

# Weights, and weights and biases, of net 145.
PARAMETERS = {
    "conv1": (34_848, 34_944),
    "conv2": (307_200, 307_456),
    "conv3": (884_736, 885_120),
    "conv4": (663_552, 663_936),
    "conv5": (442_368, 442_624),
    "fc6": (37_748_736, 37_752_832),
    "fc7": (16_777_216, 16_781_312),
    "fc8": (4_096_000, 4_097_000),
}
# Channels and cells a side of net 145; 9,216 = 256 * 6 * 6.
SHAPES = {
    "conv1": (96, 55, 55),
    "norm1": (96, 55, 55),
    "pool1": (96, 27, 27),
    "relu1": (96, 27, 27),
    "conv2": (256, 27, 27),
    "relu2": (256, 27, 27),
    "norm2": (256, 27, 27),
    "map_norm2": (256, 27, 27),
    "pool2": (256, 13, 13),
    "conv3": (384, 13, 13),
    "relu3": (384, 13, 13),
    "conv4": (384, 13, 13),
    "relu4": (384, 13, 13),
    "conv5": (256, 13, 13),
    "pool5": (256, 6, 6),
    "relu5": (256, 6, 6),
    "flatten": (9216,),
    "fc6": (4096,),
    "relu6": (4096,),
    "drop6": (4096,),
    "fc7": (4096,),
    "relu7": (4096,),
    "drop7": (4096,),
    "fc8": (1000,),
}
NARROW = AlexNetConfig(width=1 / 16, num_classes=7)
# The smallest crop: 3 cells are needed for pool5, so 6 for pool2, so 12 for pool1, so 11 + 10 * 4 + 1 pixels.
SMALL = AlexNetConfig(width=1 / 16, num_classes=7, crop_size=52)


@pytest.fixture(scope="module")
def full() -> Network:
    """Net 145 as it is; not to be changed."""
    return build_model(AlexNetConfig(), seed=0).eval()


def shapes_only(config: AlexNetConfig) -> Network:
    """A network without numbers, for counting."""
    with torch.device("meta"):
        return AlexNet(config).eval()


def random_images(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), np.uint8))


def mean_image(size: int) -> np.ndarray:
    """(size, size, 3) of fractions, different in every pixel."""
    return np.random.default_rng(1).uniform(80, 140, (size, size, 3))


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def lively(model: Network) -> Network:
    """Gives a network weights that keep the signal alive through all layers, and biases of both signs."""
    generator = torch.Generator().manual_seed(0)
    for layer in model.layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_in), generator=generator)
            nn.init.normal_(layer.bias, 0.0, 1.0, generator=generator)
    return model.eval()


# Counts, sizes and initial weights -----------------------------------------------------------------------------------


def test_net_145_has_60_965_224_parameters_layer_by_layer_as_in_the_source(full):
    learned = {n: m for n, m in full.layers.named_children() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {n: (m.weight.numel(), parameters(m)) for n, m in learned.items()} == PARAMETERS
    assert parameters(full) == 60_965_224


def test_net_145_has_the_layers_and_sizes_of_the_source_in_its_order():
    seen = shapes_only(AlexNetConfig()).activations(torch.zeros(1, 3, 224, 224, device="meta"))
    shapes = {name: tuple(x.shape[1:]) for name, x in seen.items()}
    assert shapes.pop("pad1") == (3, 227, 227)
    assert list(shapes.items()) == list(SHAPES.items())


def test_the_nominal_sizes_of_net_145_are_55_27_13_and_6():
    expected = {"conv1": 55, "pool1": 27, "conv2": 27, "pool2": 13, "conv5": 13, "pool5": 6}
    assert grid_sizes(AlexNetConfig()) == expected


def test_net_147_with_plain_pooling_keeps_the_parameters_and_the_9216_inputs_of_fc6():
    model = shapes_only(AlexNetConfig(pooling="plain"))
    assert parameters(model) == 60_965_224
    seen = model.activations(torch.zeros(1, 3, 224, 224, device="meta"))
    # 55 -> 1 + ceil(53 / 2) = 28 -> 28 + 2 - 4 = 26 -> 13 -> 13 - 2 = 11 -> 1 + ceil(9 / 2) = 6.
    sides = [seen[n].shape[-1] for n in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5", "flatten")]
    assert sides == [55, 28, 26, 13, 11, 6, 9216]


def test_one_tower_with_the_channels_of_2014_has_the_61_100_840_parameters_of_torchvision():
    config = AlexNetConfig(channels=(64, 192, 384, 256, 256), towers=1)
    assert parameters(shapes_only(config)) == 61_100_840


def test_the_half_network_of_one_gpu_keeps_its_published_size():
    # Net 145-half: one tower of 48, 128, 192, 192 and 256 channels with fc 4096; 59.8 million parameters.
    config = AlexNetConfig(channels=(48, 128, 192, 192, 256), towers=1)
    assert round(parameters(shapes_only(config)) / 1e6, 1) == 59.8


@pytest.mark.parametrize("width", [1 / 16, 0.1, 0.5])
def test_a_width_multiplies_every_layer_and_stays_divisible_by_the_towers(width):
    model = shapes_only(AlexNetConfig(width=width, num_classes=7))
    for name, count in zip(("conv1", "conv2", "conv3", "conv4", "conv5"), (96, 256, 384, 384, 256), strict=True):
        channels = model.layers.get_submodule(name).out_channels
        assert channels % 2 == 0
        assert abs(channels - width * count) <= 1
    assert model.layers.fc8.in_features == pytest.approx(4096 * width, abs=1)
    assert model.layers.fc8.out_features == 7


def measured(model: Network) -> dict[str, tuple[nn.Module, float, float]]:
    """Each learned layer, the standard deviation of its weights, and a bound for the error of that and of the mean."""
    layers = {n: m for n, m in model.layers.named_children() if isinstance(m, nn.Conv2d | nn.Linear)}
    return {n: (m, m.weight.std().item(), 4.5 / math.sqrt(m.weight.numel())) for n, m in layers.items()}


LIFTED = ("conv2", "conv4", "conv5", "fc6", "fc7")


def test_weights_of_net_145_start_with_the_spreads_of_the_source_and_biases_with_0_and_1(full):
    sigmas = dict.fromkeys(PARAMETERS, 0.01) | dict.fromkeys(("conv3", "conv4", "conv5"), 0.03)
    for name, (layer, std, bound) in measured(full).items():
        # The relative error of a standard deviation is 1 / sqrt(2 n), that of a mean is 1 / sqrt(n) of it.
        assert std == pytest.approx(sigmas[name], rel=bound / math.sqrt(2))
        assert abs(layer.weight.mean().item()) < bound * sigmas[name]
        assert (layer.bias == (1.0 if name in LIFTED else 0.0)).all()


def test_weights_of_the_paper_start_with_the_spread_001_everywhere():
    for name, (layer, std, bound) in measured(build_model(AlexNetConfig(width=0.25, init="paper"))).items():
        assert std == pytest.approx(0.01, rel=bound / math.sqrt(2))
        assert (layer.bias == (1.0 if name in LIFTED else 0.0)).all()


def test_weights_of_he_start_with_the_root_of_two_over_the_inputs_but_fc8_with_001_and_biases_with_zero():
    model = build_model(AlexNetConfig(width=0.25, init="kaiming"))
    # Inputs: kernel area times channels of the same tower (conv2, conv4, conv5) or of both.
    inputs = {"conv1": 121 * 3, "conv2": 25 * 12, "conv3": 9 * 64, "conv4": 9 * 48, "conv5": 9 * 48}
    inputs |= {"fc6": 64 * 36, "fc7": 1024}
    sigmas = {name: math.sqrt(2 / count) for name, count in inputs.items()} | {"fc8": 0.01}
    for name, (layer, std, bound) in measured(model).items():
        assert std == pytest.approx(sigmas[name], rel=bound / math.sqrt(2))
        assert (layer.bias == 0).all()


def test_the_bias_of_the_configuration_is_that_of_the_lifted_layers():
    for name, (layer, _, _) in measured(build_model(AlexNetConfig(width=1 / 16, bias=0.1))).items():
        assert (layer.bias == torch.tensor(0.1 if name in LIFTED else 0.0)).all()


@pytest.mark.parametrize("config", [SMALL, LeNetConfig()], ids=["alexnet", "lenet"])
def test_weights_are_a_function_of_the_seed_alone(config):
    models = []
    for seed, elsewhere in ((5, 0), (5, 1), (6, 0)):
        with torch.random.fork_rng():
            torch.manual_seed(elsewhere)
            models.append(torch.cat([p.detach().flatten() for p in build_model(config, seed=seed).parameters()]))
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


# The towers ----------------------------------------------------------------------------------------------------------


def between(model: Network, first: str, last: str, x: torch.Tensor) -> torch.Tensor:
    """Runs the layers from `first` to `last`, both included."""
    names = [name for name, _ in model.layers.named_children()]
    for name in names[names.index(first) : names.index(last) + 1]:
        x = model.layers.get_submodule(name)(x)
    return x


@pytest.mark.parametrize(
    ("first", "last", "maps", "side", "crosses"),
    [
        ("norm1", "relu1", 6, 55, False),
        ("conv2", "pool2", 6, 27, False),
        ("conv3", "conv3", 16, 13, True),
        ("conv4", "conv4", 24, 13, False),
        ("conv4", "relu5", 24, 13, False),
        ("flatten", "fc6", 16, 6, True),
    ],
)
def test_towers_meet_in_conv3_and_fc6_and_nowhere_before_or_between(first, last, maps, side, crosses):
    model = lively(build_model(NARROW))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((1, maps, side, side), generator=generator).requires_grad_()
    out = between(model, first, last, x)
    half = maps // 2
    for mine, theirs, part in ((slice(half), slice(half, None), 0), (slice(half, None), slice(half), 1)):
        (gradient,) = torch.autograd.grad(out.chunk(2, dim=1)[part].square().sum(), x, retain_graph=True)
        assert gradient[:, mine].abs().sum() > 0
        assert (gradient[:, theirs].abs().sum() > 0) == crosses
        # And by changing the channels of the other tower.
        changed = x.detach().clone()
        changed[:, theirs] += torch.randn(changed[:, theirs].shape, generator=generator)
        moved = between(model, first, last, changed).chunk(2, dim=1)
        assert torch.equal(moved[part], out.chunk(2, dim=1)[part]) is not crosses
        assert not torch.equal(moved[1 - part], out.chunk(2, dim=1)[1 - part])


# Forward passes written a second time --------------------------------------------------------------------------------


def lrn(x: torch.Tensor) -> torch.Tensor:
    """a_f (2 + 0.0001 / 5 * sum of a_j^2 over f - 2 .. f + 2) ^ -0.75 over the channels of one GPU."""
    squares = x**2
    sums = [squares[:, max(0, f - 2) : f + 3].sum(1) for f in range(x.shape[1])]
    return x * (2 + 2e-5 * torch.stack(sums, dim=1)) ** -0.75


def within_map(x: torch.Tensor) -> torch.Tensor:
    """a (1 + 0.001 / 25 * sum of a^2 over 5 x 5) ^ -0.75."""
    kernel = torch.ones(x.shape[1], 1, 5, 5, dtype=x.dtype)
    return x * (1 + 4e-5 * F.conv2d(x**2, kernel, padding=2, groups=x.shape[1])) ** -0.75


def forward_of_2012(layers: nn.Sequential, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Net 145 as two programs a and b, on two GPUs, with the same weights; tested, not trained: dropout halves."""

    def half(name: str, gpu: int) -> tuple[torch.Tensor, torch.Tensor]:
        layer = layers.get_submodule(name)
        return layer.weight.chunk(2)[gpu], layer.bias.chunk(2)[gpu]

    def pool(x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, 3, 2)

    data = torch.zeros(len(x), 3, 227, 227, dtype=x.dtype)
    data[:, :, :224, :224] = x
    out = {"conv1": [], "relu1": [], "pool2": [], "relu3": [], "relu5": [], "drop6": [], "drop7": []}
    for gpu in (0, 1):
        out["conv1"].append(F.conv2d(data, *half("conv1", gpu), stride=4))
        out["relu1"].append(F.relu(pool(lrn(out["conv1"][gpu]))))
        conv2 = F.relu(F.conv2d(out["relu1"][gpu], *half("conv2", gpu), padding=2))
        out["pool2"].append(pool(within_map(lrn(conv2))))
    both = torch.cat(out["pool2"], dim=1)
    for gpu in (0, 1):
        out["relu3"].append(F.relu(F.conv2d(both, *half("conv3", gpu), padding=1)))
        conv4 = F.relu(F.conv2d(out["relu3"][gpu], *half("conv4", gpu), padding=1))
        out["relu5"].append(F.relu(pool(F.conv2d(conv4, *half("conv5", gpu), padding=1))))
    both = torch.cat(out["relu5"], dim=1).flatten(1)
    for gpu in (0, 1):
        out["drop6"].append(0.5 * F.relu(F.linear(both, *half("fc6", gpu))))
    both = torch.cat(out["drop6"], dim=1)
    for gpu in (0, 1):
        out["drop7"].append(0.5 * F.relu(F.linear(both, *half("fc7", gpu))))
    joined = {name: torch.cat(halves, dim=1) for name, halves in out.items()}
    return joined | {"fc8": F.linear(joined["drop7"], layers.fc8.weight, layers.fc8.bias)}


@torch.no_grad()
def test_alexnet_is_the_network_of_2012_written_as_two_halves():
    model = lively(build_model(NARROW)).double()
    mean = mean_image(256)
    model.set_input_statistics(mean, np.ones(3))
    images = random_images(2, 224)
    data = images.double() - torch.from_numpy(mean[16:240, 16:240].astype(np.float32)).double().permute(2, 0, 1)
    expected, seen = forward_of_2012(model.layers, data), model.activations(images)
    for name, x in expected.items():
        torch.testing.assert_close(seen[name], x, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
    # The same in the precision of training.
    logits = model.float()(images)
    error = (logits - expected["fc8"]).abs().max() / expected["fc8"].abs().max()
    assert error < 1e-5


@torch.no_grad()
def test_the_normalisation_of_layer_1_comes_before_pooling_and_rectification_or_after_as_configured():
    images = random_images(1, 224)
    for before in (True, False):
        model = lively(
            build_model(AlexNetConfig(width=1 / 16, norm1="before-activation" if before else "after-activation"))
        )
        seen = model.activations(images)
        conv1 = F.conv2d(F.pad(images.float(), (0, 3, 0, 3)), model.layers.conv1.weight, model.layers.conv1.bias, 4)
        if before:
            expected = F.relu(F.max_pool2d(torch.cat([lrn(h) for h in conv1.chunk(2, 1)], 1), 3, 2))
        else:
            expected = F.max_pool2d(torch.cat([lrn(h) for h in F.relu(conv1).chunk(2, 1)], 1), 3, 2)
        torch.testing.assert_close(seen["relu1" if before else "pool1"], expected, rtol=1e-4, atol=1e-3)
        names = list(seen)
        order = ["conv1", "norm1", "pool1", "relu1"] if before else ["conv1", "relu1", "norm1", "pool1"]
        assert names[1:5] == order


@torch.no_grad()
def test_one_tower_without_norms_is_the_alexnet_of_torchvision():
    config = AlexNetConfig(
        num_classes=5, channels=(64, 192, 384, 256, 256), fc_features=(4096, 4096), towers=1, conv1_padding=2,
        norm="none", dropout_place="before", dropout_scale_at_test=False, input_norm="unit",
    )  # fmt: skip
    with torch.device("meta"):
        theirs = torchvision_alexnet(num_classes=5)
    theirs = theirs.to_empty(device="cpu").eval()
    ours = build_model(config).set_input_statistics(np.zeros((224, 224, 3)), np.ones(3)).eval()
    learned = [m for m in ours.layers if isinstance(m, nn.Conv2d | nn.Linear)]
    others = [m for m in theirs.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for mine, other in zip(learned, others, strict=True):
        mine.weight.mul_(5.0)
        other.load_state_dict(mine.state_dict())
    images = random_images(1, 224)
    torch.testing.assert_close(ours(images), theirs(images.float() / 255), rtol=1e-4, atol=1e-5)
    # The same chain of kinds behind the flattening, which theirs does between its modules.
    kinds = [type(m).__name__ for m in ours.layers]
    assert kinds[kinds.index("Flatten") + 1 :] == [type(m).__name__ for m in theirs.classifier]


@torch.no_grad()
@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("pooling", [nn.AvgPool2d, nn.MaxPool2d])
def test_lenet_is_a_plain_chain_of_61_706_parameters(activation, pooling):
    kind = "average" if pooling is nn.AvgPool2d else "max"
    model = build_model(LeNetConfig(activation=activation.__name__.lower(), pooling=kind), seed=1)
    model.set_input_statistics(np.zeros((28, 28, 3)), np.ones(3)).eval()
    plain = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), activation(), pooling(2, 2), nn.Conv2d(6, 16, 5), activation(), pooling(2, 2),
        nn.Flatten(), nn.Linear(400, 120), activation(), nn.Linear(120, 84), activation(), nn.Linear(84, 10),
    )  # fmt: skip
    # 6 * 26 + 16 * 151 + 120 * 401 + 84 * 121 + 10 * 85
    assert parameters(model) == parameters(plain) == 61_706
    plain.load_state_dict(dict(zip(plain.state_dict(), model.layers.state_dict().values(), strict=True)))
    images = random_images(3, 28)
    gray = images.float().sum(1, keepdim=True) / 3 / 255
    torch.testing.assert_close(model(images), plain(gray), rtol=1e-4, atol=1e-5)


def test_lenet_starts_with_the_bounds_of_glorot_and_biases_of_zero():
    model = build_model(LeNetConfig(), seed=0)
    # sqrt(6 / (fan in + fan out))
    fans = {"conv1": 25 + 150, "conv2": 150 + 400, "fc3": 400 + 120, "fc4": 120 + 84, "fc5": 84 + 10}
    for name, fan in fans.items():
        layer, bound = model.layers.get_submodule(name), math.sqrt(6 / fan)
        assert 0.95 * bound < layer.weight.abs().max().item() <= bound
        assert (layer.bias == 0).all()


# Crops and configurations --------------------------------------------------------------------------------------------


@given(
    crop=st.integers(20, 130),
    kernel=st.integers(3, 11),
    stride=st.integers(1, 4),
    padding=st.sampled_from(["right-bottom", 0, 1, 2]),
    pooling=st.sampled_from(["overlapping", "plain"]),
)
@settings(max_examples=60, deadline=None)
def test_the_nominal_sizes_are_those_that_a_forward_pass_has(crop, kernel, stride, padding, pooling):
    config = AlexNetConfig(
        crop_size=crop, conv1_kernel=kernel, conv1_stride=stride, conv1_padding=padding, pooling=pooling, width=1 / 96
    )
    try:
        sizes = grid_sizes(config)
    except UsageError:
        return
    seen = shapes_only(config).activations(torch.zeros(1, 3, crop, crop, device="meta"))
    assert {name: seen[name].shape[-1] for name in sizes} == sizes


@pytest.mark.parametrize(
    ("smallest", "pooling", "stride", "kernel"),
    [
        (52, "overlapping", 4, 11),
        # 2 cells for pool5, 4 after pool2, so 7 before it, so 9 after pool1, so 17 before it: 11 + 15 * 4 + 1 pixels.
        (72, "plain", 4, 11),
        # 12 cells of 5 x 5, one pixel apart.
        (16, "overlapping", 1, 5),
    ],
)
def test_a_crop_that_is_too_small_is_refused_and_the_smallest_works(smallest, pooling, stride, kernel):
    config = dict(width=1 / 16, num_classes=7, pooling=pooling, conv1_stride=stride, conv1_kernel=kernel)
    model = build_model(AlexNetConfig(crop_size=smallest, **config)).eval()
    logits = model(random_images(2, smallest))
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])
    with pytest.raises(UsageError, match=f"a crop of {smallest - 1} pixels") as caught:
        build_model(AlexNetConfig(crop_size=smallest - 1, **config))
    assert "crop_size" in caught.value.fix


def test_lenet_refuses_crops_below_12_pixels():
    # ((12 // 2) - 4) // 2 = 1
    assert build_model(LeNetConfig(crop_size=12))(random_images(1, 12)).isfinite().all()
    with pytest.raises(UsageError, match="11 pixels"):
        build_model(LeNetConfig(crop_size=11))


@torch.no_grad()
def test_averaging_pool5_to_a_grid_lets_other_sizes_through_and_changes_nothing_at_its_own():
    plain = lively(build_model(AlexNetConfig(width=1 / 16, crop_size=148, input_norm="mean-pixel")))
    grid = grid_sizes(plain.config)["pool5"]
    gridded = build_model(AlexNetConfig(width=1 / 16, crop_size=148, input_norm="mean-pixel", pool5_grid=grid)).eval()
    gridded.load_state_dict(plain.state_dict())
    images = random_images(1, 148)
    torch.testing.assert_close(gridded(images), plain(images))
    larger = gridded.activations(random_images(1, 224))
    assert larger["relu5"].shape[-1] == 6 != grid
    torch.testing.assert_close(larger["grid5"], F.adaptive_avg_pool2d(larger["relu5"], grid))


def test_batch_norm_stands_after_every_hidden_layer_which_then_has_no_bias():
    config = AlexNetConfig(width=1 / 16, num_classes=7, norm="batch", crop_size=60)
    model = build_model(config)
    kinds = {n: type(m).__name__ for n, m in model.layers.named_children()}
    names = list(kinds)
    for i, name in enumerate(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"), start=1):
        assert model.layers.get_submodule(name).bias is None
        assert names[names.index(name) + 1] == f"bn{i}"
        assert kinds[f"bn{i}"] == ("BatchNorm2d" if i <= 5 else "BatchNorm1d")
    assert model.layers.fc8.bias is not None
    assert not {"norm1", "norm2", "map_norm2"} & set(kinds)


# Input ---------------------------------------------------------------------------------------------------------------


def input_model(input_norm: str) -> Network:
    config = AlexNetConfig(width=1 / 16, num_classes=7, crop_size=52, input_norm=input_norm)
    return build_model(config).set_input_statistics(mean_image(60), np.array([50.0, 60.0, 70.0])).eval()


@torch.no_grad()
def test_the_central_square_of_the_mean_image_is_subtracted():
    model = input_model("mean-image")
    mean = mean_image(60)[4:56, 4:56].astype(np.float32)
    pixels = torch.from_numpy(mean).permute(2, 0, 1)[None]
    assert torch.equal(model.prepare_input(pixels), torch.zeros(1, 3, 52, 52))
    assert torch.equal(model(pixels), model.layers(torch.zeros(1, 3, 52, 52)))
    images = random_images(2, 52)
    by_hand = images.numpy().astype(np.float64) - mean.transpose(2, 0, 1)
    np.testing.assert_allclose(model.prepare_input(images).numpy(), by_hand, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    ("input_norm", "mean", "scale"),
    [
        ("mean-pixel", mean_image(60).mean((0, 1)), np.ones(3)),
        ("standardise", mean_image(60).mean((0, 1)), np.array([50.0, 60.0, 70.0])),
        ("unit", np.zeros(3), np.full(3, 255.0)),
    ],
)
def test_the_other_inputs_are_the_pixel_minus_the_mean_over_the_scale(input_norm, mean, scale):
    images = random_images(2, 52)
    by_hand = (images.numpy() - mean[:, None, None]) / scale[:, None, None]
    seen = input_model(input_norm).prepare_input(images)
    np.testing.assert_allclose(seen.numpy(), by_hand, rtol=1e-5, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("input_norm", ["mean-image", "mean-pixel", "standardise", "unit"])
def test_bytes_and_floats_of_the_same_pixels_give_the_same_logits(input_norm):
    model, images = input_model(input_norm), random_images(2, 52)
    assert torch.equal(model(images), model(images.float()))
    assert not torch.equal(model(images), model(255 - images))


def test_the_statistics_travel_with_the_weights():
    model = input_model("standardise")
    other = build_model(model.config, seed=9).eval()
    other.load_state_dict(model.state_dict())
    images = random_images(1, 52)
    assert torch.equal(other(images), model(images))


# Activations and dropout ---------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("config", [SMALL, LeNetConfig()], ids=["alexnet", "lenet"])
def test_the_last_activation_is_the_forward_pass(config):
    model, images = build_model(config).eval(), random_images(2, config.crop_size)
    seen = model.activations(images)
    assert torch.equal(list(seen.values())[-1], model(images))
    assert list(seen)[-1] == ("fc8" if config is SMALL else "fc5")


@torch.no_grad()
def test_each_activation_is_the_named_layer_on_the_one_before():
    model, images = lively(build_model(SMALL)), random_images(2, 52)
    x = model.prepare_input(images)
    for name, seen in model.activations(images).items():
        x = model.layers.get_submodule(name)(x)
        assert torch.equal(seen, x)


@torch.no_grad()
def test_dropout_masks_are_a_function_of_seed_and_step_and_differ_between_the_layers():
    model = build_model(SMALL).train()

    def masks(seed: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        model.seed_dropout(seed, step)
        return tuple(model.layers.get_submodule(n)(torch.ones(4, 256)) for n in ("drop6", "drop7"))

    first, again = masks(3, 7), masks(3, 7)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for other in (first[1], masks(3, 8)[0], masks(4, 7)[0], model.layers.drop6(torch.ones(4, 256))):
        # Two independent masks agree in half of the positions.
        assert (other == first[0]).double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(4 * 256))


@torch.no_grad()
def test_a_seeded_training_pass_can_be_repeated():
    model, images, logits = lively(build_model(SMALL)).train(), random_images(3, 52), []
    for step in (7, 7, 8):
        model.seed_dropout(3, step)
        logits.append(model(images))
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])

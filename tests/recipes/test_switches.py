"""The switches of the ablations: layers left out, dropout in one place, noise of other sizes, chunks that are blended.

Expected values come from networks written again without the layer, from sums by hand, from the published constants, and
from targets and images that carry their own number.
"""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet import rng
from alexnet.data import augment
from alexnet.models.build import build_model
from alexnet.models.layers import Dropout
from alexnet.models.network import Network
from alexnet.models.shapes import grid_sizes
from alexnet.models.summary import summarize
from alexnet.recipes.config import AlexNetConfig, AugmentConfig
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import Recipe, differences, override
from alexnet.training.trainer import Trainer

SMALL = dataclasses.replace(
    AlexNetConfig(), width=0.125, crop_size=20, conv1_kernel=5, conv1_stride=1, conv1_padding=2, num_classes=4
)


def lively(config: AlexNetConfig) -> Network:
    model = build_model(config).double().eval()
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 2.0 * module.weight[0].numel() ** -0.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    return model


def random_images(size: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, size, size)).astype(np.uint8))


# --- depth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without", ["conv3", "conv4", "conv5"])
@pytest.mark.parametrize("pooling", ["overlapping", "plain"])
def test_without_a_layer_its_neighbours_join_and_the_towers_meet_once_before_fc6(without, pooling):
    """From pool2 on written again: all channels into the first layer left, those of one tower into the others."""
    model = lively(dataclasses.replace(SMALL, without=without, pooling=pooling))
    layers, seen = model.layers, model.activations(random_images(20))
    x, left = seen["pool2"], [n for n in (3, 4, 5) if f"conv{n}" != without]
    window = 3 if pooling == "overlapping" else 2
    for number in left:
        conv = layers.get_submodule(f"conv{number}")
        padding = 0 if pooling == "plain" and number == left[-1] else 1
        if number == left[0]:
            x = F.conv2d(x, conv.weight, conv.bias, padding=padding)
        else:
            halves = zip(x.chunk(2, 1), conv.weight.chunk(2), conv.bias.chunk(2), strict=True)
            x = torch.cat([F.conv2d(h, w, b, padding=padding) for h, w, b in halves], 1)
        if number == left[-1]:
            x = F.max_pool2d(x, window, 2, ceil_mode=True)
        x = x.relu()
    for number in (6, 7):
        fc = layers.get_submodule(f"fc{number}")
        x = F.linear(x.flatten(1), fc.weight, fc.bias).relu() * 0.5
    torch.testing.assert_close(seen["fc8"], F.linear(x, layers.fc8.weight, layers.fc8.bias))
    assert without not in seen


def test_at_full_width_leaving_out_a_layer_costs_the_parameters_by_hand():
    full = {
        "conv3": 256 * 384 * 9 + 384 * 192 * 9 - 256 * 384 * 9 + 384,  # conv4 receives 256 channels instead of 192
        "conv4": 384 * 192 * 9 + 384,
        "conv5": 256 * 192 * 9 + 256 - (384 - 256) * 36 * 4096,  # fc6 receives the 384 channels of conv4
    }
    for without, fewer in full.items():
        with torch.device("meta"):
            counts = summarize(build_model(AlexNetConfig(without=without)))
        assert counts.parameters == 60_965_224 - fewer, without


def test_the_sizes_stay_those_of_the_whole_network():
    for without, pooling in itertools.product(("conv3", "conv4", "conv5"), ("overlapping", "plain")):
        config = dataclasses.replace(SMALL, without=without, pooling=pooling)
        last = "conv4" if without == "conv5" else "conv5"
        seen = build_model(config).activations(random_images(20))
        expected = grid_sizes(config)
        assert expected == grid_sizes(dataclasses.replace(config, without=None))
        assert (seen[last].shape[-1], seen["pool5"].shape[-1]) == (expected["conv5"], expected["pool5"])


# --- dropout -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["after", "before"])
@pytest.mark.parametrize(("where", "dropping"), [("both", {6, 7}), ("fc6", {6}), ("fc7", {7})])
def test_dropout_thins_the_layers_that_are_named_and_its_masks_do_not_depend_on_the_other(where, dropping, place):
    config = dataclasses.replace(SMALL, dropout_layers=where, dropout_place=place, width=0.5)
    both = dataclasses.replace(config, dropout_layers="both")
    masks = {}
    for name, each in (("this", config), ("both", both)):
        model = build_model(each).train()
        model.seed_dropout(1, 2)
        drops = {n: m for n, m in model.layers.named_children() if isinstance(m, Dropout)}
        masks[name] = {n: m(torch.ones(4, 1000)) for n, m in drops.items()}
    for number in (6, 7):
        mask = masks["this"][f"drop{number}"]
        if number in dropping:
            assert abs(mask.mean().item() - 0.5) < 0.05
            assert torch.equal(mask, masks["both"][f"drop{number}"])
        else:
            assert torch.equal(mask, torch.ones(4, 1000))


# --- initial weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["source", "paper", "caffe"])
def test_the_scale_of_the_start_multiplies_every_weight_and_no_bias(init):
    one, three = (build_model(dataclasses.replace(SMALL, init=init, init_scale=s), seed=4) for s in (1.0, 3.0))
    theirs = dict(three.named_parameters())
    for name, parameter in one.named_parameters():
        torch.testing.assert_close(theirs[name], parameter * (3.0 if name.endswith("weight") else 1.0))


# --- color noise ---------------------------------------------------------------------------------------------------


def test_lighting_has_the_constants_of_the_widespread_transform_whatever_the_images_are():
    # The loop of fb.resnet.torch: rgb_c = sum over k of vector[c][k] * alpha_k * value_k on pixels in 0..1.
    values = (0.2175, 0.0188, 0.0045)
    vectors = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
    samples = np.arange(40)
    z = rng.normal(7, 3, samples, rng.COLOR, count=3)
    own = np.random.default_rng(0)
    seen = augment.color_shifts(7, 3, samples, own.uniform(1, 99, 3), own.normal(size=(3, 3)), "lighting")
    for i, c in itertools.product(range(40), range(3)):
        expected = 255.0 * sum(vectors[c][k] * z[i, k] * values[k] for k in range(3))
        assert seen[i, c].item() == pytest.approx(expected, rel=1e-5)


def test_lighting_moves_a_image_by_some_3_grey_levels_as_its_copies_do():
    shifts = 0.1 * augment.color_shifts(0, 1, np.arange(20_000), np.ones(3), np.eye(3), "lighting")
    # By hand: 255 * .1 * sqrt(sum of (vector * value)^2) = 3.16, 3.22, 3.25 in red, green and blue.
    np.testing.assert_allclose(shifts.std(0).numpy(), [3.16, 3.22, 3.25], rtol=0.02)


# --- fading --------------------------------------------------------------------------------------------------------


def faded(count: int, chunk: int, chance: float, share: float, steps: int) -> list[np.ndarray]:
    """Images of one number each, 10, 20, ..., after fading, step by step."""
    config = AugmentConfig(chunk=chunk, fade=chance, fade_share=share)
    images = (10 * torch.arange(1, count + 1, dtype=torch.float32)).view(-1, 1, 1, 1).expand(count, 3, 2, 2)
    out = [augment.fade(images.clone(), config, seed=3, step=step) for step in range(steps)]
    assert all(torch.equal(x, x[:, :1, :1, :1].expand_as(x)) for x in out)
    return [x[:, 0, 0, 0].numpy() for x in out]


@pytest.mark.parametrize(("count", "chunk"), [(128, 32), (12, 1), (70, 32), (8, 4)])
def test_a_faded_chunk_is_three_quarters_itself_and_a_quarter_of_consecutive_others(count, chunk):
    own = 10.0 * np.arange(1, count + 1)
    seen_shifts = set()
    for values in faded(count, chunk, 1.0, 0.25, 60):
        others = np.rint((values - 0.75 * own) / 0.25 / 10 - 1).astype(int)
        np.testing.assert_allclose(values, 0.75 * own + 0.25 * 10 * (others + 1), rtol=1e-6)
        for start in range(0, count, chunk):
            inside = np.arange(start, min(start + chunk, count))
            shifts = (others[inside] - inside) % count
            assert len(set(shifts.tolist())) == 1
            assert not set(others[inside].tolist()) & set(inside.tolist())
            seen_shifts.add(int(shifts[0]))
    assert seen_shifts == set(range(chunk, count - chunk + 1)) or len(seen_shifts) > 20


def test_chunks_fade_as_often_as_asked_and_the_rest_of_the_batch_stays():
    own = 10.0 * np.arange(1, 129)
    changed = np.array([(values != own).reshape(4, 32) for values in faded(128, 32, 0.05, 0.25, 2000)])
    assert (changed.all(2) == changed.any(2)).all()
    shares = changed.any(2).mean(0)
    assert (abs(shares - 0.05) < 4 * (0.05 * 0.95 / 2000) ** 0.5).all()


def test_without_fading_and_in_a_batch_of_one_chunk_the_very_images_come_back():
    images = torch.zeros(40, 3, 2, 2, dtype=torch.uint8)
    assert augment.fade(images, AugmentConfig(), seed=0, step=0) is images
    assert augment.fade(images, AugmentConfig(fade=1.0, chunk=32), seed=0, step=0) is images
    assert augment.fade(images, AugmentConfig(fade=1.0, chunk=20), seed=0, step=0).dtype == torch.float32
    assert images.dtype == torch.uint8
    assert not images.any()


def test_training_on_faded_images_keeps_the_labels(start, prepared):
    """Mixup blends the labels as well; here the targets are those of the chunk itself."""
    batches = {}
    for name in ("0", "1"):
        run = start(name, f"augment.fade={name}", "chunk=4", "view=center", "color_noise=0", "flip=false")
        trainer = Trainer(run, prepared, torch.device("cpu"))
        batches[name] = trainer.batch(np.arange(8), trainer.clock.at(0))
    (plain, labels), (blended, kept) = batches["0"], batches["1"]
    assert torch.equal(labels, kept)
    # Two chunks of 4 in a batch of 8: the other one is all there is.
    torch.testing.assert_close(blended, 0.75 * plain.float() + 0.25 * plain.float().roll(4, 0))


# --- the reduced networks ------------------------------------------------------------------------------------------

# What smaller images, a faster run and narrow layers need; all else is net 145.
REDUCED = {
    "name", "model.crop_size", "model.width", "model.conv1_kernel", "model.conv1_stride", "model.conv1_padding",
    "model.init_scale", "augment.chunk", "augment.color_noise_until", "optim.lr", "optim.drop_epochs",
    "optim.conv1_drop_epochs", "optim.conv1_freeze_epoch", "prepare_size", "epochs", "batch_size", "reshuffle",
    "evaluate_every",
}  # fmt: skip


@pytest.mark.parametrize("name", ["small-cifar", "small-photos"])
def test_a_reduced_network_has_every_ingredient_of_2012(name):
    recipe = RECIPES[name]
    assert set(differences(recipe, RECIPES["alexnet-2012"])) <= REDUCED
    assert recipe.augment.view == "crop"
    assert recipe.prepare_size - recipe.model.crop_size == 8
    # The noise ends and conv1 slows down with the other learning rates, within the run.
    assert 1 < recipe.augment.color_noise_until <= recipe.epochs
    assert max(recipe.optim.drop_epochs) <= recipe.epochs


@pytest.mark.parametrize("name", ["small-cifar", "small-photos"])
def test_its_start_lets_as_much_through_each_layer_as_that_of_the_full_network(name):
    """The variance that a layer adds is its number of inputs times sigma squared; fc6 and conv1 see other windows."""
    with torch.device("meta"):
        full = build_model(AlexNetConfig(num_classes=10))
    small = build_model(dataclasses.replace(RECIPES[name].model, num_classes=10), seed=3)
    sigmas = {"conv2": 0.01, "conv3": 0.03, "conv4": 0.03, "conv5": 0.03, "fc7": 0.01, "fc8": 0.01}
    for layer, sigma in sigmas.items():
        w = small.layers.get_submodule(layer).weight
        small_gain = w[0].numel() * w.square().mean().item()
        full_gain = full.layers.get_submodule(layer).weight[0].numel() * sigma**2
        assert small_gain == pytest.approx(full_gain, rel=0.05), layer


# --- together ------------------------------------------------------------------------------------------------------

SWITCHES = {
    "activation": ("tanh", "sigmoid"),
    "dropout": ("0", "0.2"),
    "dropout_layers": ("fc6", "fc7"),
    "dropout_place": ("before",),
    "norm1": ("none", "after-activation", "after-pool"),
    "norm2": ("none", "before-activation"),
    "model.norm": ("none", "batch"),
    "within_map_norm": ("false",),
    "lrn_k": ("1",),
    "pooling": ("plain",),
    "towers": ("1",),
    "towers_talk": ("false",),
    "without": ("conv3", "conv4", "conv5"),
    "init": ("paper", "caffe", "torch", "xavier", "kaiming"),
    "bias": ("0", "0.1"),
    "chunk": ("32",),
    "flip": ("false",),
    "view": ("center",),
    "color_noise": ("0",),
    "color_scale": ("eigenvalue", "lighting"),
    "fade": ("0.5",),
}
PAIRS = [f"{field}={value}" for field, values in SWITCHES.items() for value in values]


def loss_and_gradient(recipe: Recipe) -> tuple[float, float]:
    model = build_model(recipe.model).train()
    model.seed_dropout(0, 0)
    logits = model(random_images(recipe.model.crop_size))
    loss = F.cross_entropy(logits, torch.tensor([0, 1]))
    loss.backward()
    return loss.item(), sum(p.grad.abs().sum().item() for p in model.parameters())


@pytest.mark.parametrize("name", ["small-cifar", "small-photos"])
def test_every_switch_of_a_reduced_network_changes_it_and_each_pair_of_them_still_computes(name):
    base = override(RECIPES[name], ["width=0.0625"])
    generator = np.random.default_rng(0)
    for first in PAIRS:
        recipe = override(base, [first])
        assert recipe != base, first
        second = PAIRS[generator.integers(len(PAIRS))]
        assert all(np.isfinite(loss_and_gradient(override(recipe, [second])))), (first, second)

"""The whole network of 2012, forward and backward, against a second one in NumPy and float64 (reference_2012.py).

The second one is checked by central differences of its loss. Both get weights and pixels for which the normalizations
are far from a constant factor; that each of them then changes the logits is tested as well.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.recipes.config import AlexNetConfig
from harness import reference_2012

# 68 pixels: 3 zeros are missing, and the last window of every pooling hangs over the border (16 -> 8 -> 4 -> 2).
# 80 pixels: again 3, and only the last window of pool5 hangs over (19 -> 9 -> 4 -> 2).
CROPS = (68, 80)
COUNT, CLASSES = 3, 7
# Standard deviations of the weights times sqrt(inputs): large before a normalization, small in the last layer.
GAINS = {"conv1": 1.5, "conv2": 4.0, "fc8": 0.2}


def config_of(crop: int, **changes) -> AlexNetConfig:
    return AlexNetConfig(width=1 / 8, num_classes=CLASSES, crop_size=crop, **changes)


def parameters_of(model: Network) -> dict[str, np.ndarray]:
    """Lively numbers in the shapes of a network, biases of both signs: `conv1.weight`, .. `fc8.bias`."""
    rng, out = np.random.default_rng(0), {}
    for full_name, parameter in model.named_parameters():
        name = full_name.removeprefix("layers.")
        layer, kind = name.split(".")
        shape = tuple(parameter.shape)
        std = GAINS.get(layer, math.sqrt(2.0)) / math.sqrt(math.prod(shape[1:])) if kind == "weight" else 0.5
        out[name] = rng.normal(0.0, std, shape)
    return out


def data_of(crop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, a mean image larger than the crop, and labels.

    Coarse blocks with some noise: after a few poolings, images of noise alone would all look the same.
    """
    rng = np.random.default_rng(1)
    blocks = np.kron(rng.integers(20, 236, (COUNT, 3, 4, 4)), np.ones((crop // 4, crop // 4)))
    pixels = (blocks + rng.integers(-20, 20, blocks.shape)).astype(np.uint8)
    return pixels, rng.uniform(80, 140, (crop + 16, crop + 16, 3)).astype(np.float32), np.array([2, 6, 0])


def central(mean: np.ndarray) -> np.ndarray:
    """(size, size, 3) to (3, size - 16, size - 16)."""
    return mean[8:-8, 8:-8].transpose(2, 0, 1).astype(np.float64)


def network_of(config: AlexNetConfig, dtype: torch.dtype) -> tuple[Network, dict[str, np.ndarray]]:
    """The package's network with lively weights, and those."""
    model = build_model(config).to(dtype)
    parameters = parameters_of(model)
    model.load_state_dict({f"layers.{n}": torch.from_numpy(p) for n, p in parameters.items()}, strict=False)
    # What the network really has, so that rounding to its precision is not counted as an error.
    parameters = {n: p.detach().double().numpy().copy() for n, p in model.layers.named_parameters()}
    mean = data_of(config.crop_size)[1]
    return model.set_input_statistics(mean, np.ones(3)), parameters


def distance(seen: np.ndarray, expected: np.ndarray) -> float:
    """The distance of two arrays relative to the norm of the second."""
    return float(np.linalg.norm(seen - expected) / np.linalg.norm(expected))


def logits_and_masks(model: Network, images: torch.Tensor) -> tuple[torch.Tensor, tuple[np.ndarray, np.ndarray]]:
    """Logits, and which outputs dropout kept; where ReLU gave zero it does not matter."""
    masks: dict[str, np.ndarray] = {}
    hooks = [
        model.layers.get_submodule(name).register_forward_hook(
            lambda _layer, _inputs, out, name=name: masks.update({name: (out != 0).double().numpy()})
        )
        for name in ("drop6", "drop7")
    ]
    logits = model(images)
    for hook in hooks:
        hook.remove()
    return logits, (masks["drop6"], masks["drop7"])


@pytest.mark.parametrize("training", [True, False], ids=["training", "testing"])
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=["float64", "float32"]
)
def test_logits_loss_and_all_16_gradients_are_those_of_the_second_network(crop, dtype, tolerance, training):
    model, parameters = network_of(config_of(crop), dtype)
    pixels, mean, labels = data_of(crop)
    model.train(training).seed_dropout(0, 0)
    logits, masks = logits_and_masks(model, torch.from_numpy(pixels))
    F.cross_entropy(logits, torch.from_numpy(labels)).backward()
    expected = reference_2012.net_145(parameters, pixels, central(mean), labels, masks if training else None)
    assert distance(logits.detach().numpy(), expected[0]) < tolerance
    loss = F.cross_entropy(logits.detach(), torch.from_numpy(labels)).item()
    assert loss == pytest.approx(expected[1], rel=tolerance)
    seen = {name: p.grad.numpy() for name, p in model.layers.named_parameters()}
    gradients = expected[2]()
    assert sorted(seen) == sorted(gradients)
    assert len(seen) == 16
    for name, gradient in gradients.items():
        assert seen[name].shape == gradient.shape
        assert np.linalg.norm(gradient) > 0
        assert distance(seen[name], gradient) < tolerance, name


def test_in_training_about_half_of_the_outputs_are_dropped_and_differently_in_both_layers():
    model, _ = network_of(config_of(68), torch.float64)
    model.train().seed_dropout(0, 0)
    _, (six, seven) = logits_and_masks(model, torch.from_numpy(data_of(68)[0]))
    # ReLU gives zeros too, so a share a good deal below one half is left.
    assert 0.1 < six.mean() < 0.4
    assert 0.1 < seven.mean() < 0.4
    assert (six != seven).mean() > 0.2


@torch.no_grad()
@pytest.mark.parametrize(("name", "k"), [("norm1", 2.0), ("norm2", 2.0), ("map_norm2", 1.0)])
def test_the_weights_are_lively_enough_for_every_normalisation_to_matter(name, k):
    model, _ = network_of(config_of(68), torch.float64)
    seen = model.eval().activations(torch.from_numpy(data_of(68)[0]))
    names = list(seen)
    before, after = seen[names[names.index(name) - 1]], seen[name]
    alive = before != 0
    denominator = (before[alive] / after[alive]) ** (4 / 3)
    assert denominator.min() >= k
    assert (denominator.mean() - k) / k > 0.2
    assert denominator.std() / denominator.mean() > 0.15
    logits = seen["fc8"].numpy()
    assert min(distance(logits[i], logits[j]) for i, j in ((0, 1), (1, 2), (2, 0))) > 0.1


MISTAKES = [
    {"norm": "none"},
    {"norm1": "none"},
    {"norm1": "after-activation"},
    {"norm1": "after-pool"},
    {"norm2": "none"},
    {"norm2": "before-activation"},
    {"norm2": "after-pool"},
    {"within_map_norm": False},
    {"lrn_size": 3},
    {"lrn_alpha": 5e-4},
    {"lrn_beta": 0.5},
    {"lrn_k": 1.0},
    {"lrn_per_tower": False},
    {"dropout_scale_at_test": False},
    {"input_norm": "mean-pixel"},
]


@torch.no_grad()
@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_network_with_one_ingredient_wrong_is_found_out(mistake):
    config = config_of(68)
    _, parameters = network_of(config, torch.float64)
    pixels, mean, labels = data_of(68)
    expected, _, _ = reference_2012.net_145(parameters, pixels, central(mean), labels)
    wrong, _ = network_of(dataclasses.replace(config, **mistake), torch.float64)
    # A hundred times what the comparison in the precision of training allows.
    assert distance(wrong.eval()(torch.from_numpy(pixels)).numpy(), expected) > 1e-2


# The second network itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["training", "testing"])
def test_gradients_of_the_second_network_are_central_differences_of_its_loss(training):
    parameters = parameters_of(build_model(dataclasses.replace(config_of(68), width=1 / 16)))
    pixels, mean, labels = data_of(68)
    rng = np.random.default_rng(2)
    units = parameters["fc6.bias"].size
    masks = tuple(rng.integers(0, 2, (COUNT, units)).astype(float) for _ in range(2)) if training else None
    gradients = reference_2012.net_145(parameters, pixels, central(mean), labels, masks)[2]()
    assert sorted(gradients) == sorted(parameters)
    for name, gradient in gradients.items():
        assert gradient.shape == parameters[name].shape
        size = np.abs(gradient).max()
        flat, values = gradient.ravel(), parameters[name].ravel()  # a view: changing it changes the parameter
        step = 1e-5 * values.std()
        for at in {int(np.abs(flat).argmax()), int(flat.argmax()), *rng.integers(0, flat.size, 2).tolist()}:
            losses, value = [], values[at]
            for side in (1.0, -1.0):
                values[at] = value + side * step
                losses.append(reference_2012.net_145(parameters, pixels, central(mean), labels, masks)[1])
            values[at] = value
            assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(flat[at], rel=1e-4, abs=1e-4 * size), name


@pytest.mark.parametrize("layer", [reference_2012.LRN, reference_2012.WITHIN_MAP_NORM], ids=["across", "within"])
def test_the_closed_forms_of_both_normalisations_are_central_differences(layer):
    rng = np.random.default_rng(3)
    a, d = rng.normal(0, 150, (1, 7, 4, 6)), rng.normal(size=(1, 7, 4, 6))
    gradient, _ = layer(a)[1](d)
    for at in np.ndindex(a.shape):
        sides = []
        for sign in (1.0, -1.0):
            moved = a.copy()
            moved[at] += sign * 1e-3
            sides.append((layer(moved)[0] * d).sum())
        assert (sides[0] - sides[1]) / 2e-3 == pytest.approx(gradient[at], rel=1e-5, abs=1e-8)


def test_normalisations_of_the_second_network_by_hand():
    # Three channels of one pixel, all in each window: 2 + 2e-5 * (100^2 + 200^2 + 300^2) = 4.8; k = 1 within a map.
    a = np.array([100.0, -200.0, 300.0]).reshape(1, 3, 1, 1)
    assert reference_2012.LRN(a)[0].ravel() == pytest.approx(a.ravel() * 4.8**-0.75)
    # 1 + 4e-5 * a^2: 1.4, 2.6 and 4.6.
    by_hand = [100 * 1.4**-0.75, -200 * 2.6**-0.75, 300 * 4.6**-0.75]
    assert reference_2012.WITHIN_MAP_NORM(a)[0].ravel() == pytest.approx(by_hand)
    # Six channels: the first window has 0 to 2, the last 3 to 5; a 5 x 5 map of ones has 9 in the window of a corner.
    assert reference_2012.across_maps(np.arange(6.0).reshape(1, 6, 1, 1)).ravel().tolist() == [3, 6, 10, 15, 14, 12]
    assert reference_2012.within_map(np.ones((1, 1, 5, 5)))[0, 0, :3, 0].tolist() == [9, 12, 15]

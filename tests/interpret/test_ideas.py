"""The ideas on one image, each against a plain network that was built that way, or a loop over the formula."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.interpret import ideas
from alexnet.models.build import build_model
from alexnet.models.layers import LocalResponseNorm
from alexnet.recipes.config import AlexNetConfig, LeNetConfig

SMALL = AlexNetConfig(num_classes=3, crop_size=48, width=1 / 16, conv1_kernel=7, conv1_stride=2, init="kaiming")
IMAGE = np.random.default_rng(0).integers(0, 256, (52, 52, 3)).astype(np.uint8)


def classifier_of(config) -> Classifier:
    return Classifier(build_model(config, seed=1).eval(), ("a", "b", "c"), 52)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, towers=1),
        replace(SMALL, activation="tanh", norm="none"),
        LeNetConfig(num_classes=3, crop_size=48),
    ],
)
@pytest.mark.parametrize("place", [0, -1])
def test_an_activation_function_in_all_layers_is_the_network_built_with_it(config, place):
    classifier = classifier_of(config)
    layers = [
        name for name in dict(classifier.network.layers.named_children()) if name.startswith(("relu", "act", "sigmoid"))
    ]
    before = classifier.probabilities(IMAGE[None])[0]
    trials = ideas.activation_trials(classifier, IMAGE, layers[place], everywhere=True)
    label = int(before.argmax())
    for trial in trials:
        twin = build_model(replace(config, activation=trial.name), seed=1).eval()
        twin.load_state_dict(classifier.network.state_dict())
        outputs = twin.activations(classifier.view(IMAGE))
        logits = list(outputs.values())[-1]
        assert trial.probabilities == pytest.approx(torch.softmax(logits, 1)[0].detach().numpy(), abs=1e-5)
        values = outputs[layers[place]][0].detach()
        assert np.allclose(trial.values, values.numpy(), atol=1e-5)
        assert trial.zero == pytest.approx(float((values == 0).float().mean()), abs=1e-6)
        logits[0, label].backward()
        names = list(dict(twin.layers.named_children()))
        weighted = [name for name in names[: names.index(layers[place])] if name.startswith(("conv", "fc"))]
        assert list(trial.gradients) == weighted
        for name in weighted:
            assert trial.gradients[name] == pytest.approx(
                float(twin.layers.get_submodule(name).weight.grad.norm()), rel=1e-3
            )
    assert np.array_equal(classifier.probabilities(IMAGE[None])[0], before)  # the network is as it was
    assert all(parameter.grad is None for parameter in classifier.network.parameters())


def test_a_function_in_one_layer_leaves_what_comes_before_it():
    classifier = classifier_of(SMALL)
    trials = {each.name: each for each in ideas.activation_trials(classifier, IMAGE, "relu5")}
    own = classifier.network.activations(classifier.view(IMAGE))
    entering = own["pool5"][0].detach()  # of 2012: pooling before the activation function
    assert np.allclose(trials["tanh"].values, torch.tanh(entering).numpy(), atol=1e-6)
    assert np.allclose(trials["sigmoid"].values, torch.sigmoid(entering).numpy(), atol=1e-6)
    assert trials["relu"].probabilities == pytest.approx(classifier.probabilities(IMAGE[None])[0], abs=1e-6)


@pytest.mark.parametrize("name", ideas.ACTIVATIONS)
def test_a_slope_is_that_of_autograd(name):
    x = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    y = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}[name](x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(ideas.slope_at(name, y), slope)
    assert float(slope.max()) == pytest.approx(ideas.LARGEST_SLOPE[name], abs=1e-9)


@pytest.mark.parametrize(
    ("groups", "stride", "padding", "kernel", "bias"),
    [
        (1, 1, 0, 3, True),
        (2, 1, 2, 5, True),
        (1, 4, 0, 11, True),
        (2, 2, 1, 3, False),
        (1, 1, 1, 1, True),
        (4, 3, 2, 4, True),
    ],
)
def test_a_row_of_a_convolution_adds_up_to_what_pytorch_computes(groups, stride, padding, kernel, bias):
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(4, 8, kernel, stride, padding, groups=groups, bias=bias)
    x = torch.randn(4, 23, 19)
    expected = convolution(x[None])[0].detach().numpy()
    padded = F.pad(x, (padding,) * 4).numpy()
    for unit, row, channel in ((0, 0, 0), (7, expected.shape[1] - 1, 4 // groups - 1), (3, 2, 0)):
        found = ideas.convolution_row(convolution, x, unit, row, channel)
        assert found.values == pytest.approx(expected[unit, row], abs=1e-5)
        assert found.sums.sum(1) + found.bias == pytest.approx(found.values, abs=1e-5)
        assert found.products.sum((1, 2)) == pytest.approx(found.sums[:, channel], abs=1e-5)
        assert found.channels == tuple(
            range(unit // (8 // groups) * (4 // groups), (unit // (8 // groups) + 1) * (4 // groups))
        )
        assert np.array_equal(found.inputs, padded[found.channels[channel], row * stride : row * stride + kernel])
        assert found.top == row * stride - padding
        column = expected.shape[2] - 1
        window = found.inputs[:, column * stride : column * stride + kernel]
        assert found.products[column] == pytest.approx(window * found.kernel, abs=1e-6)


def test_a_convolution_by_hand():
    convolution = torch.nn.Conv2d(1, 1, 2)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        convolution.bias.fill_(10.0)
    found = ideas.convolution_row(
        convolution, torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [5.0, 0.0, 1.0]]]), 0, 1, 0
    )
    assert found.products.tolist() == [[[0, 2], [15, 0]], [[1, 0], [0, 4]]]
    assert found.values.tolist() == [27.0, 15.0]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("shape", [(6, 6), (7, 7), (5, 8), (3, 3), (2, 2), (1, 1), (2, 5)])
def test_pooling_is_the_maximum_of_each_window(size, ceil, shape):
    values = np.random.default_rng(size).integers(0, 4, shape).astype(np.float32)  # many equal maxima
    found = ideas.pooled(values, size, ceil)
    for i in range(found.values.shape[0]):
        for j in range(found.values.shape[1]):
            window = values[2 * i : 2 * i + size, 2 * j : 2 * j + size]
            assert found.values[i, j] == window.max()
            first = np.unravel_index(window.argmax(), window.shape)
            assert (found.rows[i, j], found.columns[i, j]) == (2 * i + first[0], 2 * j + first[1])
    expected = [int((np.ceil if ceil else np.floor)((max(side, size) - size) / 2)) + 1 for side in shape]
    assert list(found.values.shape) == [min(n, (side + 1) // 2) for n, side in zip(expected, shape, strict=True)]


def test_windows_that_overlap_share_a_peak_and_others_do_not():
    values = np.zeros((5, 5), np.float32)
    values[2, 2] = 9.0  # in all four windows of 3 x 3
    assert ideas.pooled(values, 3, True).sources == 1
    assert ideas.pooled(values[:4, :4], 2, True).sources == 4


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, 31])
@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize(("alpha", "beta", "k"), [(1e-4, 0.75, 2.0), (5.0, 1.0, 0.5), (0.0, 0.75, 1.0)])
def test_a_unit_is_divided_by_the_formula(size, towers, alpha, beta, k):
    x = torch.from_numpy(np.random.default_rng(size).normal(0, 30, (12, 3, 4)).astype(np.float32))
    norm = LocalResponseNorm(size, alpha, beta, k, towers)
    for unit in (0, 5, 6, 11):
        found = ideas.normalized(norm, x, unit, 2, 1)
        per_tower, values = 12 // towers, x[:, 2, 1].double().numpy()
        tower = range(unit // per_tower * per_tower, (unit // per_tower + 1) * per_tower)
        near = [j for j in tower if unit - size // 2 <= j < unit - size // 2 + size]
        squares = sum(values[j] ** 2 for j in near)
        assert found.neighbors == (near[0], near[-1])
        assert found.first == tower[0]
        assert found.squares == pytest.approx(squares, rel=1e-5)
        assert found.divisor == pytest.approx((k + alpha / size * squares) ** beta, rel=1e-5)
        assert found.after[unit - found.first] == pytest.approx(values[unit] / found.divisor, rel=1e-4)
        assert found.before.tolist() == pytest.approx(values[list(tower)].tolist())


@pytest.mark.parametrize(
    ("layer", "code"), [("conv1", "E2120"), ("pool2", "E2120"), ("drop6", "E2120"), ("relu9", "E235")]
)
def test_another_layer_is_refused(layer, code):
    with pytest.raises(UsageError) as caught:
        ideas.activation_trials(classifier_of(SMALL), IMAGE, layer)
    assert caught.value.code == code

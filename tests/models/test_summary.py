"""Counting a network.

Expected values come from the table of net 145 of the released source, the caption of figure 2 of the paper, PyTorch's
counter of floating point operations, a count of single multiplications in loops, and sums by hand.
"""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from alexnet.models.alexnet import AlexNet
from alexnet.models.build import build_model
from alexnet.models.layers import LocalConv
from alexnet.models.network import Network
from alexnet.models.summary import PAPER_NEURONS, Summary, summarize
from alexnet.recipes.config import AlexNetConfig, CifarNetConfig, LeNetConfig, ModelConfig

# Parameters, multiply-adds and neurons of net 145.
SOURCE = {
    "conv1": (34_944, 105_415_200, 290_400),
    "conv2": (307_456, 223_948_800, 186_624),
    "conv3": (885_120, 149_520_384, 64_896),
    "conv4": (663_936, 112_140_288, 64_896),
    "conv5": (442_624, 74_760_192, 43_264),
    "fc6": (37_752_832, 37_748_736, 4_096),
    "fc7": (16_781_312, 16_777_216, 4_096),
    "fc8": (4_097_000, 4_096_000, 1_000),
}


@pytest.fixture(scope="module")
def net_145() -> Summary:
    with torch.device("meta"):
        return summarize(AlexNet(AlexNetConfig()))


def test_net_145_has_the_figures_of_the_source_layer_by_layer(net_145):
    seen = {x.name: (x.parameters, x.multiply_adds, x.activations) for x in net_145.layers if x.learned}
    assert seen == SOURCE


def test_net_145_has_60_965_224_parameters_724_406_816_multiply_adds_and_659_272_neurons(net_145):
    assert net_145.parameters == 60_965_224
    assert net_145.multiply_adds == 724_406_816
    assert net_145.neurons == 659_272
    convolutions = sum(x.multiply_adds for x in net_145.layers if x.name.startswith("conv"))
    assert round(convolutions / 1e6, 1) == 665.8
    assert net_145.input_shape == (3, 224, 224)


def test_the_neurons_of_the_paper_are_those_of_the_source_but_for_its_slip_in_conv1():
    # The caption's list adds up to 622,312; it has 96 * 55 * 48 instead of 96 * 55 * 55.
    assert sum(PAPER_NEURONS.values()) == 622_312
    neurons = {name: count for name, (_, _, count) in SOURCE.items()}
    assert neurons | {"conv1": 96 * 55 * 48} == PAPER_NEURONS


def test_layers_without_weights_have_no_parameters_and_no_multiply_adds(net_145):
    others = [x for x in net_145.layers if not x.learned]
    assert {x.kind for x in others} >= {"LocalResponseNorm", "WithinMapNorm", "MaxPool2d", "ReLU", "Dropout"}
    assert all(x.parameters == x.multiply_adds == 0 for x in others)


TINY = {
    "towers": AlexNetConfig(width=1 / 48, num_classes=3, crop_size=52),
    "plain": AlexNetConfig(width=1 / 96, num_classes=3, crop_size=75, pooling="plain"),
    "batch norm": AlexNetConfig(width=1 / 48, num_classes=3, crop_size=52, norm="batch", towers=1, conv1_padding=2),
    "lenet": LeNetConfig(width=0.2, num_classes=3, crop_size=16),
    "without": AlexNetConfig(width=1 / 48, num_classes=3, crop_size=52, without="conv4"),
    "local": CifarNetConfig(width=0.1, num_classes=3, crop_size=14, local_channels=(40, 20), fc_features=(50,)),
}
tiny = pytest.mark.parametrize("config", TINY.values(), ids=TINY)


def multiplications(layer: nn.Module, shape_in: tuple[int, ...]) -> int:
    """One by one: every output, every input it touches."""
    count = 0
    if isinstance(layer, nn.Linear):
        for _ in range(layer.out_features):
            for _ in range(layer.in_features):
                count += 1
    elif isinstance(layer, LocalConv):  # as a convolution: the zero padding is multiplied too
        for _ in range(layer.side * layer.side * layer.out_channels):
            for _ in range(layer.kernel * layer.kernel):
                count += layer.in_channels
    elif isinstance(layer, nn.Conv2d):
        _, height, width = shape_in
        pad, kernel, stride = layer.padding[0], layer.kernel_size[0], layer.stride[0]
        for _ in range(layer.out_channels):
            for top in range(-pad, height + pad - kernel + 1, stride):
                for _ in range(-pad, width + pad - kernel + 1, stride):
                    for _ in range(top, top + kernel):
                        count += kernel * (layer.in_channels // layer.groups)
    return count


@tiny
def test_multiply_adds_are_those_counted_in_loops(config: ModelConfig):
    model = build_model(config).eval()
    outputs = model.activations(torch.zeros(1, 3, config.crop_size, config.crop_size))
    shapes = [tuple(model.prepare_input(torch.zeros(1, 3, *[config.crop_size] * 2)).shape[1:])]
    shapes += [tuple(x.shape[1:]) for x in outputs.values()]
    for layer, shape_in, row in zip(model.layers, shapes[:-1], summarize(model).layers, strict=True):
        assert row.multiply_adds == multiplications(layer, shape_in)


@tiny
def test_multiply_adds_are_half_of_the_operations_that_pytorch_counts(config: ModelConfig):
    model = build_model(config).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, 3, config.crop_size, config.crop_size))
    assert 2 * summarize(model).multiply_adds == counter.get_total_flops() > 0


@tiny
def test_parameters_are_all_learned_numbers(config: ModelConfig):
    model = build_model(config)
    assert summarize(model).parameters == len(nn.utils.parameters_to_vector(model.parameters()))


def test_neurons_are_the_outputs_of_convolutions_and_fc_layers_but_not_of_batch_norm():
    # Maps 96, 256, 384, 384, 256 and 4096 units over 48; sides 1 + (52 + 4 - 11) // 4 = 12, pooled to 6 and to 3.
    by_hand = 2 * 12**2 + 5 * 6**2 + (8 + 8 + 5) * 3**2 + 85 + 85 + 3
    assert summarize(build_model(TINY["batch norm"])).neurons == by_hand


def test_memory_of_lenet_by_hand():
    # conv1 and act1 6 * 28 * 28, pool1 6 * 14 * 14, conv2 and act2 16 * 10 * 10, pool2 and flatten 400, and so on.
    numbers = 2 * 4704 + 1176 + 2 * 1600 + 2 * 400 + 2 * 120 + 2 * 84 + 10
    weights = 4 * 61_706
    expected = {"weights": weights, "gradients": weights, "momentum": weights, "activations": 4 * 32 * numbers}
    assert summarize(build_model(LeNetConfig())).training_bytes(32) == expected


def test_memory_of_net_145_by_hand(net_145):
    numbers = 3 * 227 * 227  # pad1
    numbers += 2 * 290_400 + 2 * 96 * 27 * 27  # conv1, norm1; pool1, relu1
    numbers += 4 * 186_624 + 256 * 13 * 13  # conv2, relu2, norm2, map_norm2; pool2
    numbers += 4 * 64_896 + 43_264 + 3 * 9_216  # conv3, relu3, conv4, relu4; conv5; pool5, relu5, flatten
    numbers += 6 * 4_096 + 1_000  # fc6, relu6, drop6, fc7, relu7, drop7; fc8
    weights = 4 * 60_965_224
    expected = {"weights": weights, "gradients": weights, "momentum": weights, "activations": 4 * 128 * numbers}
    assert net_145.training_bytes(128) == expected


@pytest.mark.parametrize("training", [True, False])
def test_counting_changes_nothing_in_the_network(training: bool):
    model: Network = build_model(TINY["batch norm"]).train(training)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    summarize(model)
    assert model.training is training
    assert all(m.training is training for m in model.modules())
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())

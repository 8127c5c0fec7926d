"""AlexNet: five convolutions and three fully connected layers, as the configuration says, and their initial weights."""

import torch
from torch import nn

from alexnet.models.layers import (
    Dropout,
    FirstConv,
    LocalResponseNorm,
    PadRightBottom,
    TowerLinear,
    WithinMapNorm,
    activation_layer,
)
from alexnet.models.network import Named, Network
from alexnet.models.shapes import conv_paddings, grid_sizes, middle_convolutions, scaled
from alexnet.recipes.config import AlexNetConfig, NormPlace


class AlexNet(Network):
    """Five convolutions and three fully connected layers, as the configuration says."""

    def __init__(self, config: AlexNetConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, alexnet_layers(config), in_channels=config.in_channels)
        initialise_alexnet(self.layers, config, generator)


def alexnet_layers(config: AlexNetConfig) -> list[Named]:
    """AlexNet, top to bottom. Shapes in comments: the defaults, N omitted."""
    towers = config.towers
    alone = 1 if config.towers_talk else towers  # groups of the layers in which the towers meet
    c1, c2, *middle = (scaled(c, config.width, towers) for c in config.channels)
    f6, f7 = (scaled(f, config.width, towers) for f in config.fc_features)
    conv2_padding, conv5_padding = conv_paddings(config)
    batch_norm = config.norm == "batch"
    layers: list[Named] = []

    def pool(number: int) -> list[Named]:
        size = 3 if config.pooling == "overlapping" else 2
        rounding = config.pool5_rounding or config.pool_rounding if number == 5 else config.pool_rounding
        return [(f"pool{number}", nn.MaxPool2d(size, stride=2, ceil_mode=rounding == "ceil"))]

    def activation(number: int) -> list[Named]:
        return [(f"relu{number}", activation_layer(config.activation))]

    def conv(
        number: int, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 1, groups: int = 1
    ) -> list[Named]:
        bias = not batch_norm
        kind = FirstConv if number == 1 else nn.Conv2d
        layer = kind(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
        batch = [(f"bn{number}", nn.BatchNorm2d(outputs))] if batch_norm else []
        return [(f"conv{number}", layer), *batch]

    def normed(number: int, place: NormPlace) -> list[Named]:
        """Activation, normalisation and pooling of layer 1 or 2, in the order that the place asks for."""
        across = towers if config.lrn_per_tower else 1
        lrn = LocalResponseNorm(config.lrn_size, config.lrn_alpha, config.lrn_beta, config.lrn_k, across)
        norm: list[Named] = [(f"norm{number}", lrn)] if place != "none" else []
        if number == 2 and config.within_map_norm:
            norm += [("map_norm2", WithinMapNorm(5, alpha=0.001, beta=0.75))]
        if config.norm != "lrn":
            norm = []
        if place == "before-activation":
            return [*norm, *pool(number), *activation(number)]
        if place == "after-pool":
            return [*activation(number), *pool(number), *norm]
        return [*activation(number), *norm, *pool(number)]

    padding1 = config.conv1_padding
    if padding1 == "right-bottom":
        layers += [("pad1", PadRightBottom(config.conv1_kernel, config.conv1_stride))]
        padding1 = 0
    layers += conv(1, config.in_channels, c1, config.conv1_kernel, config.conv1_stride, padding1)  # (96, 55, 55)
    layers += normed(1, config.norm1)  # (96, 27, 27)
    layers += conv(2, c1, c2, 5, padding=conv2_padding, groups=towers)  # (256, 27, 27)
    layers += normed(2, config.norm2)  # (256, 13, 13)
    first, *_, last = numbers = middle_convolutions(config)
    inputs = c2
    for number in numbers:  # (384, 13, 13) from the maps of both towers, (384, 13, 13), (256, 13, 13)
        maps, groups, padding = middle[number - 3], alone if number == first else towers, 1
        layers += conv(number, inputs, maps, 3, padding=conv5_padding if number == last else padding, groups=groups)
        layers += [*(pool(5) if number == last else []), *activation(number)]
        inputs = maps
    # (256, 6, 6) after pool5

    if config.pool5_grid:
        layers += [("grid5", nn.AdaptiveAvgPool2d(config.pool5_grid))]
    layers += [("flatten", nn.Flatten())]  # (9216,), the maps of the first tower before those of the second
    grid = config.pool5_grid or grid_sizes(config)["pool5"]
    for number, features, outputs in ((6, inputs * grid * grid, f6), (7, f6, f7)):
        bias = not batch_norm
        fc = nn.Linear(features, outputs, bias) if alone == 1 else TowerLinear(features, outputs, bias, towers=alone)
        unit: list[Named] = [(f"fc{number}", fc)]
        unit += [(f"bn{number}", nn.BatchNorm1d(outputs))] if batch_norm else []
        unit += activation(number)
        share = config.dropout if config.dropout_layers in ("both", f"fc{number}") else 0.0
        drop: list[Named] = [(f"drop{number}", Dropout(share, config.dropout_scale_at_test))]
        layers += drop + unit if config.dropout_place == "before" else unit + drop  # (4096,)
    layers += [("fc8", nn.Linear(f7, config.num_classes))]  # (1000,)
    return layers


def initialise_alexnet(layers: nn.Sequential, config: AlexNetConfig, generator: torch.Generator | None) -> None:
    """Start values; N is normal with that standard deviation, U uniform to either side of zero.

    | init    | weights                                             | biases                                        |
    |---------|-----------------------------------------------------|-----------------------------------------------|
    | source  | N(.01), conv3-5 N(.03): layers-145.cfg              | config.bias in conv2, conv4-5, fc6-7, else 0  |
    | paper   | N(.01): section 5                                   | the same                                      |
    | caffe   | N(.01), fc6-7 N(.005): bvlc_alexnet                 | the same                                      |
    | torch   | U(1 / sqrt(fan in)): PyTorch's own                  | U(1 / sqrt(fan in))                           |
    | xavier  | U(sqrt(6 / (fan in + fan out))), Glorot et al. 2010 | 0                                             |
    | kaiming | N(sqrt(2 / fan in)), He et al. 2015; fc8 N(.01)     | 0                                             |

    The deviations of the first three are multiplied by config.init_scale: a layer that is a quarter as wide sums a
    quarter of the products, so with twice the deviation its outputs are as large as those of the full one.
    """
    sigmas = {"source": {"conv3": 0.03, "conv4": 0.03, "conv5": 0.03}, "caffe": {"fc6": 0.005, "fc7": 0.005}}
    for name, module in layers.named_children():
        if not isinstance(module, nn.Conv2d | nn.Linear) or module.weight.is_meta:
            continue  # weights without memory are about to come from a file
        bound = module.weight[0].numel() ** -0.5
        if config.init == "torch":
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        elif config.init == "xavier":
            nn.init.xavier_uniform_(module.weight, generator=generator)
        elif config.init == "kaiming" and name != "fc8":
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        else:
            sigma = sigmas.get(config.init, {}).get(name, 0.01) * config.init_scale
            nn.init.normal_(module.weight, 0.0, sigma, generator=generator)
        if module.bias is None:
            continue
        if config.init == "torch":
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        else:
            lifted = config.init in ("source", "paper", "caffe") and name in ("conv2", "conv4", "conv5", "fc6", "fc7")
            nn.init.constant_(module.bias, config.bias if lifted else 0.0)

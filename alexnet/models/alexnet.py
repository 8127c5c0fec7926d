"""AlexNet: five convolutional and three fully connected layers as configured, and their initial weights."""

import torch
from torch import nn

from alexnet.models.layers import (
    Dropout,
    FirstConv,
    GridPool,
    LocalResponseNorm,
    PadRightBottom,
    TowerLinear,
    WithinMapNorm,
    activation_layer,
    max_pool,
)
from alexnet.models.network import Named, Network
from alexnet.models.shapes import conv_paddings, grid_sizes, middle_convolutions, scaled
from alexnet.recipes.config import AlexNetConfig, NormPlace


class AlexNet(Network):
    """Five convolutional and three fully connected layers, built from a configuration."""

    def __init__(self, config: AlexNetConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, alexnet_layers(config), in_channels=config.in_channels)
        initialize_alexnet(self.layers, config, generator)


def alexnet_layers(config: AlexNetConfig) -> list[Named]:
    """Lists the layers of AlexNet from input to output. Shapes in comments are those of the defaults, without N."""
    towers = config.towers
    joint_groups = 1 if config.towers_talk else towers  # groups in the layers that join the towers
    c1, c2, *middle = (scaled(c, config.width, towers) for c in config.channels)
    f6, f7 = (scaled(f, config.width, towers) for f in config.fc_features)
    conv2_padding, conv5_padding = conv_paddings(config)
    batch_norm = config.norm == "batch"
    layers: list[Named] = []

    def pool(number: int) -> list[Named]:
        size = 3 if config.pooling == "overlapping" else 2
        rounding = config.pool5_rounding or config.pool_rounding if number == 5 else config.pool_rounding
        return [(f"pool{number}", max_pool(size, rounding == "ceil", config.pool_ties))]

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

    def after_conv(number: int, place: NormPlace) -> list[Named]:
        """Lists what follows conv1 or conv2: activation, normalization and pooling, in the order set by `place`."""
        lrn_towers = towers if config.lrn_per_tower else 1
        lrn = LocalResponseNorm(config.lrn_size, config.lrn_alpha, config.lrn_beta, config.lrn_k, lrn_towers)
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
    layers += after_conv(1, config.norm1)  # (96, 27, 27)
    layers += conv(2, c1, c2, 5, padding=conv2_padding, groups=towers)  # (256, 27, 27)
    layers += after_conv(2, config.norm2)  # (256, 13, 13)
    first, *_, last = numbers = middle_convolutions(config)
    inputs = c2
    for number in numbers:  # (384, 13, 13) from the channels of both towers, (384, 13, 13), (256, 13, 13)
        outputs, groups = middle[number - 3], joint_groups if number == first else towers
        padding = conv5_padding if number == last else 1
        layers += conv(number, inputs, outputs, 3, padding=padding, groups=groups)
        layers += [*(pool(5) if number == last else []), *activation(number)]
        inputs = outputs
    # (256, 6, 6) after pool5

    if config.pool5_grid:
        layers += [("grid5", GridPool(config.pool5_grid))]
    layers += [("flatten", nn.Flatten())]  # (9216,), the channels of the first tower before those of the second
    grid = config.pool5_grid or grid_sizes(config)["pool5"]
    for number, features, outputs in ((6, inputs * grid * grid, f6), (7, f6, f7)):
        bias = not batch_norm
        if joint_groups == 1:
            fc = nn.Linear(features, outputs, bias)
        else:
            fc = TowerLinear(features, outputs, bias, towers=joint_groups)
        fc_layers: list[Named] = [(f"fc{number}", fc)]
        fc_layers += [(f"bn{number}", nn.BatchNorm1d(outputs))] if batch_norm else []
        fc_layers += activation(number)
        p = config.dropout if config.dropout_layers in ("both", f"fc{number}") else 0.0
        dropout: list[Named] = [(f"drop{number}", Dropout(p, config.dropout_scale_at_test))]
        layers += dropout + fc_layers if config.dropout_place == "before" else fc_layers + dropout  # (4096,)
    layers += [("fc8", nn.Linear(f7, config.num_classes))]  # (1000,)
    return layers


def initialize_alexnet(layers: nn.Sequential, config: AlexNetConfig, generator: torch.Generator | None) -> None:
    """Sets the initial weights. N(s) is normal with standard deviation s, U(b) is uniform in [-b, b].

    | init    | weights                                             | biases                                        |
    |---------|-----------------------------------------------------|-----------------------------------------------|
    | source  | N(.01), conv3-5 N(.03): layers-145.cfg              | config.bias in conv2, conv4-5, fc6-7, else 0  |
    | paper   | N(.01): section 5                                   | the same                                      |
    | caffe   | N(.01), fc6-7 N(.005): bvlc_alexnet                 | the same                                      |
    | torch   | U(1 / sqrt(fan in)): PyTorch's own                  | U(1 / sqrt(fan in))                           |
    | xavier  | U(sqrt(6 / (fan in + fan out))), Glorot et al. 2010 | 0                                             |
    | kaiming | N(sqrt(2 / fan in)), He et al. 2015; fc8 N(.01)     | 0                                             |

    The standard deviations of the first three are multiplied by config.init_scale. A layer of a quarter of the width
    sums a quarter of the products, so with twice the standard deviation its outputs are as large as at full width.
    """
    sigmas = {"source": {"conv3": 0.03, "conv4": 0.03, "conv5": 0.03}, "caffe": {"fc6": 0.005, "fc7": 0.005}}
    for name, module in layers.named_children():
        if not isinstance(module, nn.Conv2d | nn.Linear) or module.weight.is_meta:
            continue  # weights on the meta device have no memory to initialize
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
            published = config.init in ("source", "paper", "caffe")
            uses_config_bias = published and name in ("conv2", "conv4", "conv5", "fc6", "fc7")
            nn.init.constant_(module.bias, config.bias if uses_config_bias else 0.0)

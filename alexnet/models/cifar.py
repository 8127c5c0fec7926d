"""The nets of cuda-convnet for CIFAR-10: convolutions with pooling, layers that do not share their filters, softmax.

They are what sections 3.1 and 3.3 of the paper call a four-layer network. Sources: layers-cifar of the released code of
2012, and cuda-convnet of 2011 for those that are not in it.
"""

import torch
from torch import nn

from alexnet.models.layers import FirstConv, LocalConv, LocalResponseNorm, WithinMapNorm, activation_layer
from alexnet.models.network import Named, Network
from alexnet.models.shapes import grid_sizes, scaled
from alexnet.recipes.config import CifarNetConfig


class CifarNet(Network):
    """One of the nets of cuda-convnet for CIFAR-10."""

    def __init__(self, config: CifarNetConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, cifar_layers(config), in_channels=3)
        initialise_cifar(self.layers, config, generator)


def cifar_layers(config: CifarNetConfig) -> list[Named]:
    """The chain of named layers. Shapes in comments: the net of 18 %, N omitted; windows are counted up (ceil)."""
    places = {1: config.norm1, 2: config.norm2}
    out: list[Named] = []
    inputs = 3
    channels = [scaled(c, config.width, 1) for c in config.channels]
    for number, maps in enumerate(channels, 1):
        conv = FirstConv if number == 1 else nn.Conv2d
        out += [(f"conv{number}", conv(inputs, maps, 5, padding=2))]  # (32, 32, 32), (32, 16, 16), (64, 8, 8)
        activation: Named = (f"act{number}", activation_layer(config.activation))
        maximum = number == 1 or config.pooling == "max"
        pool: Named = (f"pool{number}", nn.MaxPool2d(3, 2, ceil_mode=True) if maximum else _average_pooling())
        place = places.get(number, "none") if config.norm != "none" else "none"
        norm: list[Named] = [(f"norm{number}", _norm(config))] if place != "none" else []
        if place == "before-pool":
            out += [activation, *norm, pool]
        elif maximum:  # rectified after pooling: the same function for any that rises, and a quarter of the work
            out += [pool, activation, *norm]
        else:
            out += [activation, pool, *norm]
        inputs = maps  # (32, 16, 16), (32, 8, 8), (64, 4, 4) after pooling
    side = list(grid_sizes(config).values())[-1]
    number = len(channels)
    for maps in (scaled(c, config.width, 1) for c in config.local_channels):
        number += 1
        out += [(f"local{number}", LocalConv(inputs, maps, 3, side))]
        out += [(f"act{number}", activation_layer(config.activation))]
        inputs = maps
    out += [("flatten", nn.Flatten())]  # (1024,)
    features = inputs * side * side
    for units in (scaled(f, config.width, 1) for f in config.fc_features):
        number += 1
        out += [(f"fc{number}", nn.Linear(features, units)), (f"act{number}", activation_layer(config.activation))]
        features = units
    return [*out, (f"fc{number + 1}", nn.Linear(features, config.num_classes))]


def initialise_cifar(chain: nn.Sequential, config: CifarNetConfig, generator: torch.Generator | None) -> None:
    """Start values; biases are 0. With "source", N(sigma) with the sigma of the .cfg files.

    | layer           | sigma                       |
    |-----------------|-----------------------------|
    | conv1           | .0001, for pixels in 0..255 |
    | other conv      | .01                         |
    | local           | .04                         |
    | fully connected | config.fc_sigma             |

    "xavier" is Glorot's uniform start and "kaiming" He's normal one, with the numbers of inputs and outputs of a unit.
    """
    for name, module in chain.named_children():
        if not isinstance(module, nn.Conv2d | nn.Linear | LocalConv) or module.weight.is_meta:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if config.init == "source":
            sigma = 0.0001 if name == "conv1" else 0.01
            sigma = 0.04 if isinstance(module, LocalConv) else config.fc_sigma if name.startswith("fc") else sigma
            nn.init.normal_(module.weight, 0.0, sigma, generator=generator)
            continue
        area = 25 if isinstance(module, nn.Conv2d) else 9 if isinstance(module, LocalConv) else 1
        if isinstance(module, LocalConv):
            fan_in, fan_out = module.in_channels * area, module.out_channels * area
        else:
            fan_in, fan_out = module.weight.shape[1] * area, module.weight.shape[0] * area
        if config.init == "kaiming":
            nn.init.normal_(module.weight, 0.0, (2 / fan_in) ** 0.5, generator=generator)
        else:
            bound = (6 / (fan_in + fan_out)) ** 0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)


def _norm(config: CifarNetConfig) -> nn.Module:
    if config.norm == "within-map":
        return WithinMapNorm(config.norm_size, config.norm_alpha, config.norm_beta)
    return LocalResponseNorm(config.norm_size, config.norm_alpha, config.norm_beta, k=1.0)


def _average_pooling() -> nn.Module:
    return nn.AvgPool2d(3, 2, ceil_mode=True)  # divides by the pixels that are there, as in the code of 2011

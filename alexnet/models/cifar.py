"""The networks of cuda-convnet for CIFAR-10: convolutional layers with pooling, local layers, fully connected layers.

Sections 3.1 and 3.3 of the paper call them four-layer networks. Sources: layers-cifar of the released code of 2012, and
cuda-convnet of 2011 for the networks that are not in it.
"""

import torch
from torch import nn

from alexnet.models.layers import FirstConv, LocalConv, LocalResponseNorm, WithinMapNorm, activation_layer, max_pool
from alexnet.models.network import Named, Network
from alexnet.models.shapes import grid_sizes, scaled
from alexnet.recipes.config import CifarNetConfig


class CifarNet(Network):
    """One of the networks of cuda-convnet for CIFAR-10."""

    def __init__(self, config: CifarNetConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, cifar_layers(config), in_channels=3)
        initialize_cifar(self.layers, config, generator)


def cifar_layers(config: CifarNetConfig) -> list[Named]:
    """Lists the named layers in order. Shapes in comments are those of `cifar-18pct`, without N; pooling rounds up."""
    norm_places = {1: config.norm1, 2: config.norm2}
    layers: list[Named] = []
    inputs = 3
    channels = [scaled(c, config.width, 1) for c in config.channels]
    for number, outputs in enumerate(channels, 1):
        conv = FirstConv if number == 1 else nn.Conv2d
        layers += [(f"conv{number}", conv(inputs, outputs, 5, padding=2))]  # (32, 32, 32), (32, 16, 16), (64, 8, 8)
        activation: Named = (f"act{number}", activation_layer(config.activation))
        is_max = number == 1 or config.pooling == "max"
        pool: Named = (f"pool{number}", max_pool(3, True, config.pool_ties) if is_max else _average_pooling())
        place = norm_places.get(number, "none") if config.norm != "none" else "none"
        norm: list[Named] = [(f"norm{number}", _norm(config))] if place != "none" else []
        if place == "before-pool":
            layers += [activation, *norm, pool]
        elif is_max:  # an increasing activation gives the same after max pooling, for a quarter of the work
            layers += [pool, activation, *norm]
        else:
            layers += [activation, pool, *norm]
        inputs = outputs  # (32, 16, 16), (32, 8, 8), (64, 4, 4) after pooling
    side = list(grid_sizes(config).values())[-1]
    number = len(channels)
    for outputs in (scaled(c, config.width, 1) for c in config.local_channels):
        number += 1
        layers += [(f"local{number}", LocalConv(inputs, outputs, 3, side))]
        layers += [(f"act{number}", activation_layer(config.activation))]
        inputs = outputs
    layers += [("flatten", nn.Flatten())]  # (1024,)
    features = inputs * side * side
    for units in (scaled(f, config.width, 1) for f in config.fc_features):
        number += 1
        layers += [(f"fc{number}", nn.Linear(features, units)), (f"act{number}", activation_layer(config.activation))]
        features = units
    return [*layers, (f"fc{number + 1}", nn.Linear(features, config.num_classes))]


def initialize_cifar(chain: nn.Sequential, config: CifarNetConfig, generator: torch.Generator | None) -> None:
    """Sets the initial weights; biases are 0. "source" is normal with the sigma of the .cfg files:

    | layer           | sigma                       |
    |-----------------|-----------------------------|
    | conv1           | .0001, for pixels in 0..255 |
    | other conv      | .01                         |
    | local           | .04                         |
    | fully connected | config.fc_sigma             |

    "xavier" is the uniform initialization of Glorot and "kaiming" the normal one of He, with the fan-in and fan-out of
    one unit.
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
    # Divides by the number of pixels inside the feature map, as in the code of 2011.
    return nn.AvgPool2d(3, 2, ceil_mode=True)

"""AlexNet, LeNet, small nets for CIFAR-10: pixels 0..255 in, logits out, every ingredient a field of a frozen record.

The mean (and, for some recipes, the standard deviation) of the training pixels is a buffer of the network, so training,
evaluation, prediction and export cannot preprocess differently. A network is a chain of named layers; `activations`
returns every named intermediate, `forward` only the last.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet import cifar_net
from alexnet.config import (
    AlexNetConfig,
    CifarNetConfig,
    LeNetConfig,
    ModelConfig,
    NormPlace,
    conv_paddings,
    grid_sizes,
    middle_convolutions,
    scaled,
)
from alexnet.draws import DROPOUT, seed_for
from alexnet.fusion import run_layers
from alexnet.layers import (
    Dropout,
    FirstConv,
    LocalResponseNorm,
    PadRightBottom,
    TowerLinear,
    WithinMapNorm,
    activation_layer,
)

Named = tuple[str, nn.Module]


class Network(nn.Module):
    """A chain of named layers on pixels 0..255."""

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, config: ModelConfig, layers: Sequence[Named], in_channels: int):
        super().__init__()
        self.config = config
        self.in_channels = in_channels
        side = config.crop_size if config.input_norm == "mean-image" else 1
        # Its channels lie side by side as those of the pictures do, so that the difference is one straight pass.
        self.register_buffer("input_mean", torch.zeros(side, side, 3).permute(2, 0, 1))
        self.register_buffer("input_scale", torch.ones(3, 1, 1))
        self.layers = nn.Sequential(OrderedDict(layers))

    def set_input_statistics(
        self, mean_image: npt.NDArray[np.floating[Any]], channel_std: npt.NDArray[np.floating[Any]]
    ) -> "Network":
        """Takes what the network subtracts and divides by from the training pixels.

        Args:
            mean_image: (size, size, 3), in 0..255, at least as large as the crop; its central square is used, whatever
                the position of a crop, as in 2012 ([code] convdata_jpeg.py:95, 209-211).
            channel_std: (3,), standard deviation of each channel over all pixels, in grey levels.
        """
        image = torch.from_numpy(np.ascontiguousarray(mean_image, np.float32)).permute(2, 0, 1)
        kind = self.config.input_norm
        if kind == "mean-image":
            self.input_mean.copy_(center(image, self.config.crop_size))
        elif kind != "unit":
            self.input_mean.copy_(image.mean((1, 2), keepdim=True))
        if kind == "standardise":
            self.input_scale.copy_(1.0 / torch.from_numpy(np.asarray(channel_std, np.float32)).view(3, 1, 1))
        elif kind == "unit":
            self.input_scale.fill_(1.0 / 255.0)
        return self

    def prepare_input(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) pixels 0..255, uint8 or float, to what conv1 sees: (N, in_channels, H, W) float."""
        x = (images.to(self.input_scale.dtype) - self.input_mean).mul_(self.input_scale)
        return x if self.in_channels == 3 else x.mean(1, keepdim=True)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) pixels 0..255 to (N, num_classes) logits."""
        return run_layers(list(self.layers), self.prepare_input(images))

    def activations(self, images: Tensor) -> dict[str, Tensor]:
        """Every named intermediate of one forward pass, in order: `conv1`, `norm1`, ... `fc8` (the logits).

        Here every layer runs by itself, while `forward` runs neighbours as one operator where that is faster.
        """
        x = self.prepare_input(images)
        out: dict[str, Tensor] = {}
        for name, layer in self.layers.named_children():
            x = layer(x)
            out[name] = x
        return out

    def seed_dropout(self, seed: int, step: int) -> None:
        """Makes the dropout masks of the next forward pass a function of (seed, step)."""
        for part, layer in enumerate(m for m in self.modules() if isinstance(m, Dropout)):
            device = self.input_mean.device
            if layer.generator is None or layer.generator.device != device:
                layer.generator = torch.Generator(device)
            layer.generator.manual_seed(seed_for(seed, step, DROPOUT, part))


class AlexNet(Network):
    """Five convolutions and three fully connected layers, as the configuration says."""

    def __init__(self, config: AlexNetConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, alexnet_layers(config), in_channels=config.in_channels)
        initialise_alexnet(self.layers, config, generator)


class LeNet(Network):
    """Two convolutions and a few fully connected layers on one grey channel."""

    def __init__(self, config: LeNetConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, lenet_layers(config), in_channels=1)
        for module in self.layers.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.is_meta:
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class CifarNet(Network):
    """One of the nets of cuda-convnet for CIFAR-10."""

    def __init__(self, config: CifarNetConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, cifar_net.layers(config), in_channels=3)
        cifar_net.initialise(self.layers, config, generator)


def build_model(config: ModelConfig, *, seed: int = 0) -> Network:
    """The network that a configuration describes, with the initial weights of `seed`."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(config, LeNetConfig):
        return LeNet(config, generator=generator)
    if isinstance(config, CifarNetConfig):
        return CifarNet(config, generator=generator)
    return AlexNet(config, generator=generator)


def center(images: Tensor, size: int) -> Tensor:
    """The central size x size window of (..., H, W)."""
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


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


def lenet_layers(config: LeNetConfig) -> list[Named]:
    """LeNet-5 of "Dive into Deep Learning", chapter 7.6. Shapes in comments: 28 x 28 input, N omitted."""
    c1, c2 = (scaled(c, config.width, 1) for c in config.channels)
    grid = grid_sizes(config)["pool2"]
    layers: list[Named] = []
    for number, inputs, outputs, padding in ((1, 1, c1, config.conv1_padding), (2, c1, c2, 0)):
        layers += [(f"conv{number}", nn.Conv2d(inputs, outputs, 5, padding=padding))]
        if config.conv_activation:
            layers += [(f"act{number}", activation_layer(config.activation))]
        layers += [(f"pool{number}", nn.AvgPool2d(2) if config.pooling == "average" else nn.MaxPool2d(2))]
    # (6, 14, 14) after pool1, (16, 5, 5) after pool2
    layers += [("flatten", nn.Flatten())]  # (400,)
    features = c2 * grid * grid
    for number, outputs in enumerate((scaled(f, config.width, 1) for f in config.fc_features), 3):
        layers += [(f"fc{number}", nn.Linear(features, outputs)), (f"act{number}", activation_layer(config.activation))]
        features = outputs  # (120,), (84,)
    layers += [(f"fc{3 + len(config.fc_features)}", nn.Linear(features, config.num_classes))]
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

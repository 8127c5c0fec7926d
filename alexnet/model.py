"""AlexNet and LeNet: raw pixels 0..255 in, logits out, every ingredient a field of a frozen record.

The mean (and, for some recipes, the standard deviation) of the training pixels is a buffer of the network, so training,
evaluation, prediction and export cannot preprocess differently. A network is a chain of named layers; `activations`
returns every named intermediate, `forward` only the last.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from alexnet.draws import DROPOUT, seed_for
from alexnet.errors import UsageError
from alexnet.layers import Dropout, LocalResponseNorm, PadRightBottom, WithinMapNorm

Count = Annotated[int, Field(ge=1)]
Activation = Literal["relu", "tanh", "sigmoid"]
InputNorm = Literal["mean-image", "mean-pixel", "standardise", "unit"]


@dataclass(frozen=True)
class AlexNetConfig:
    """Every ingredient of AlexNet. The defaults are net 145 of the released source, the network of the paper."""

    num_classes: Count = 1000
    crop_size: Count = 224  # pixels a side that go into conv1
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0  # multiplies all channels and fc widths
    channels: tuple[Count, Count, Count, Count, Count] = (96, 256, 384, 384, 256)  # conv1 .. conv5
    fc_features: tuple[Count, Count] = (4096, 4096)  # fc6, fc7
    towers: Count = 2  # halves that talk only at conv3, fc6, fc7, fc8
    conv1_kernel: Count = 11
    conv1_stride: Count = 4
    conv1_padding: Literal["right-bottom"] | Annotated[int, Field(ge=0)] = "right-bottom"
    activation: Activation = "relu"
    pooling: Literal["overlapping", "plain"] = "overlapping"  # 3x3 / 2 or 2x2 / 2
    pool5_grid: Count | None = None  # average pool5 to this many cells a side, so that crops of any size fit fc6
    norm: Literal["lrn", "batch", "none"] = "lrn"
    lrn_size: Count = 5
    lrn_alpha: float = 1e-4  # divided by lrn_size, as in the code
    lrn_beta: float = 0.75
    lrn_k: float = 2.0
    norm1_before_activation: bool = True  # the code's order in layer 1: conv, LRN, pool, ReLU
    within_map_norm: bool = True  # 5x5 neighbourhood after LRN2; in the code only
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    dropout_place: Literal["after", "before"] = "after"  # fc6 and fc7; torchvision's network has it before them
    dropout_scale_at_test: bool = True
    init: Literal["source", "paper", "kaiming"] = "source"  # sigma .03 in conv3-5, .01 everywhere, or He's
    bias: float = 1.0  # start of the biases of conv2, conv4, conv5, fc6, fc7; with kaiming they start at 0
    input_norm: InputNorm = "mean-image"
    test_size: Count | None = None  # prepared pictures are shrunk to this many pixels a side before the test views
    architecture: Literal["alexnet"] = "alexnet"


@dataclass(frozen=True)
class LeNetConfig:
    """LeNet-5 as in "Dive into Deep Learning" (sigmoid, average pooling), or its modern form (ReLU, max pooling)."""

    num_classes: Count = 10
    crop_size: Count = 28
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    activation: Activation = "sigmoid"
    pooling: Literal["average", "max"] = "average"
    input_norm: InputNorm = "unit"
    test_size: Count | None = None
    architecture: Literal["lenet"] = "lenet"


ModelConfig = AlexNetConfig | LeNetConfig


class Network(nn.Module):
    """A chain of named layers on pixels 0..255."""

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, config: ModelConfig, layers: Sequence[tuple[str, nn.Module]], in_channels: int):
        super().__init__()
        self.config = config
        self.in_channels = in_channels
        side = config.crop_size if config.input_norm == "mean-image" else 1
        self.register_buffer("input_mean", torch.zeros(3, side, side))
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
        x = (images.to(self.input_scale.dtype) - self.input_mean) * self.input_scale
        return x if self.in_channels == 3 else x.mean(1, keepdim=True)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) pixels 0..255 to (N, num_classes) logits."""
        logits: Tensor = self.layers(self.prepare_input(images))
        return logits

    def activations(self, images: Tensor) -> dict[str, Tensor]:
        """Every named intermediate of one forward pass, in order: `conv1`, `norm1`, ... `fc8` (the logits)."""
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
        super().__init__(config, alexnet_layers(config), in_channels=3)
        initialise_alexnet(self.layers, config, generator)


class LeNet(Network):
    """Two convolutions and three fully connected layers on one grey channel."""

    def __init__(self, config: LeNetConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, lenet_layers(config), in_channels=1)
        for module in self.layers.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def build_model(config: ModelConfig, *, seed: int = 0) -> Network:
    """The network that a configuration describes, with the initial weights of `seed`."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(config, LeNetConfig):
        return LeNet(config, generator=generator)
    return AlexNet(config, generator=generator)


def center(images: Tensor, size: int) -> Tensor:
    """The central size x size window of (..., H, W)."""
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


def windows(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    """1 + ceil((size + 2 padding - kernel) / stride): windows along one side ([code] layer.py:1004, 1163)."""
    return 1 + math.ceil((size + 2 * padding - kernel) / stride)


def scaled(count: int, width: float, towers: int) -> int:
    """A number of maps or units times the width, kept divisible by the towers."""
    return max(1, round(count * width / towers)) * towers


def grid_sizes(config: ModelConfig) -> dict[str, int]:
    """Cells along one side after each stage of a network, for its nominal crop.

    Raises:
        UsageError: if the crop is too small to leave anything after the last pooling.
    """
    sizes = _lenet_grid_sizes(config) if isinstance(config, LeNetConfig) else _alexnet_grid_sizes(config)
    if min(sizes.values()) < 1:
        raise UsageError(
            f"a crop of {config.crop_size} pixels leaves nothing after the last pooling: {sizes}",
            fix="Use a larger crop_size; with AlexNet a smaller conv1_stride or conv1_kernel helps too.",
        )
    return sizes


def _alexnet_grid_sizes(config: AlexNetConfig) -> dict[str, int]:
    pool = 3 if config.pooling == "overlapping" else 2
    conv2_padding, conv5_padding = conv_paddings(config)
    kernel, stride = config.conv1_kernel, config.conv1_stride
    if config.conv1_padding == "right-bottom":
        conv1 = windows(config.crop_size, kernel, stride) if config.crop_size >= kernel else 0
    else:
        conv1 = 1 + (config.crop_size + 2 * config.conv1_padding - kernel) // stride
    pool1 = windows(conv1, pool, 2)
    conv2 = pool1 + 2 * conv2_padding - 4
    pool2 = windows(conv2, pool, 2)
    conv5 = pool2 + 2 * conv5_padding - 2
    pool5 = windows(conv5, pool, 2) if conv5 >= pool else 0
    return {"conv1": conv1, "pool1": pool1, "conv2": conv2, "pool2": pool2, "conv5": conv5, "pool5": pool5}


def _lenet_grid_sizes(config: LeNetConfig) -> dict[str, int]:
    pool1 = config.crop_size // 2
    return {"conv1": config.crop_size, "pool1": pool1, "conv2": pool1 - 4, "pool2": (pool1 - 4) // 2}


def conv_paddings(config: AlexNetConfig) -> tuple[int, int]:
    """Padding of conv2 and conv5: plain pooling takes less, to keep the sizes (diff of layers-145.cfg and -147.cfg)."""
    return (2, 1) if config.pooling == "overlapping" else (1, 0)


def activation_layer(name: Activation) -> nn.Module:
    """The non-linearity of that name."""
    layers: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    return layers[name]()


def alexnet_layers(config: AlexNetConfig) -> list[tuple[str, nn.Module]]:
    """AlexNet, top to bottom. Shapes in comments: the defaults, N omitted."""
    towers = config.towers
    c1, c2, c3, c4, c5 = (scaled(c, config.width, towers) for c in config.channels)
    f6, f7 = (scaled(f, config.width, towers) for f in config.fc_features)
    pool_size = 3 if config.pooling == "overlapping" else 2
    conv2_padding, conv5_padding = conv_paddings(config)
    pool5 = grid_sizes(config)["pool5"]
    grid = config.pool5_grid or pool5
    batch_norm = config.norm == "batch"

    def pool() -> nn.Module:
        return nn.MaxPool2d(pool_size, stride=2, ceil_mode=True)

    def norm(name: str, channels: int) -> list[tuple[str, nn.Module]]:
        if config.norm != "lrn":
            return []
        lrn = LocalResponseNorm(config.lrn_size, config.lrn_alpha, config.lrn_beta, config.lrn_k, towers)
        return [(name, lrn)]

    def batch(name: str, features: int, *, flat: bool = False) -> list[tuple[str, nn.Module]]:
        if not batch_norm:
            return []
        return [(name, nn.BatchNorm1d(features) if flat else nn.BatchNorm2d(features))]

    def relu(name: str) -> tuple[str, nn.Module]:
        return (name, activation_layer(config.activation))

    def dropout(name: str) -> tuple[str, nn.Module]:
        return (name, Dropout(config.dropout, config.dropout_scale_at_test))

    layers: list[tuple[str, nn.Module]] = []
    if config.conv1_padding == "right-bottom":
        layers += [("pad1", PadRightBottom(config.conv1_kernel, config.conv1_stride))]
    padding1 = 0 if config.conv1_padding == "right-bottom" else config.conv1_padding
    conv1 = nn.Conv2d(3, c1, config.conv1_kernel, config.conv1_stride, padding1, bias=not batch_norm)
    layers += [("conv1", conv1), *batch("bn1", c1)]  # (96, 55, 55)
    if config.norm1_before_activation:
        layers += [*norm("norm1", c1), ("pool1", pool()), relu("relu1")]  # (96, 27, 27)
    else:
        layers += [relu("relu1"), *norm("norm1", c1), ("pool1", pool())]

    layers += [("conv2", nn.Conv2d(c1, c2, 5, padding=conv2_padding, groups=towers, bias=not batch_norm))]
    layers += [*batch("bn2", c2), relu("relu2"), *norm("norm2", c2)]  # (256, 27, 27)
    if config.within_map_norm and config.norm == "lrn":
        layers += [("map_norm2", WithinMapNorm(5, alpha=0.001, beta=0.75))]
    layers += [("pool2", pool())]  # (256, 13, 13)

    # conv3 sees the maps of both towers, conv4 and conv5 only those of their own.
    layers += [("conv3", nn.Conv2d(c2, c3, 3, padding=1, bias=not batch_norm))]
    layers += [*batch("bn3", c3), relu("relu3")]  # (384, 13, 13)
    layers += [("conv4", nn.Conv2d(c3, c4, 3, padding=1, groups=towers, bias=not batch_norm))]
    layers += [*batch("bn4", c4), relu("relu4")]  # (384, 13, 13)
    layers += [("conv5", nn.Conv2d(c4, c5, 3, padding=conv5_padding, groups=towers, bias=not batch_norm))]
    layers += [*batch("bn5", c5), ("pool5", pool()), relu("relu5")]  # (256, 6, 6)

    if config.pool5_grid:
        layers += [("grid5", nn.AdaptiveAvgPool2d(config.pool5_grid))]
    layers += [("flatten", nn.Flatten())]  # (9216,)
    for number, inputs, outputs in ((6, c5 * grid * grid, f6), (7, f6, f7)):
        fc = [(f"fc{number}", nn.Linear(inputs, outputs, bias=not batch_norm))]
        unit = [*fc, *batch(f"bn{number}", outputs, flat=True), relu(f"relu{number}")]
        drop = [dropout(f"drop{number}")]
        layers += drop + unit if config.dropout_place == "before" else unit + drop  # (4096,)
    layers += [("fc8", nn.Linear(f7, config.num_classes))]  # (1000,)
    return layers


def lenet_layers(config: LeNetConfig) -> list[tuple[str, nn.Module]]:
    """LeNet-5 of "Dive into Deep Learning", chapter 7.6. Shapes in comments: 28 x 28 input, N omitted."""
    c1, c2, f3, f4 = (scaled(c, config.width, 1) for c in (6, 16, 120, 84))
    grid = grid_sizes(config)["pool2"]

    def pool() -> nn.Module:
        return nn.AvgPool2d(2) if config.pooling == "average" else nn.MaxPool2d(2)

    def act(name: str) -> tuple[str, nn.Module]:
        return (name, activation_layer(config.activation))

    return [
        ("conv1", nn.Conv2d(1, c1, 5, padding=2)),
        act("act1"),
        ("pool1", pool()),  # (6, 14, 14)
        ("conv2", nn.Conv2d(c1, c2, 5)),
        act("act2"),
        ("pool2", pool()),  # (16, 5, 5)
        ("flatten", nn.Flatten()),  # (400,)
        ("fc3", nn.Linear(c2 * grid * grid, f3)),
        act("act3"),
        ("fc4", nn.Linear(f3, f4)),
        act("act4"),
        ("fc5", nn.Linear(f4, config.num_classes)),
    ]


def initialise_alexnet(layers: nn.Sequential, config: AlexNetConfig, generator: torch.Generator | None) -> None:
    """Start values.

    | init    | conv1-2 | conv3-5 | fc6-8 | biases of conv2, conv4, conv5, fc6, fc7 | other biases |
    |---------|---------|---------|-------|-----------------------------------------|--------------|
    | source  | N(.01)  | N(.03)  | N(.01)| config.bias                             | 0            | layers-145.cfg
    | paper   | N(.01)  | N(.01)  | N(.01)| config.bias                             | 0            | section 5
    | kaiming | N(sqrt(2 / fan in)), He et al. 2015; fc8 N(.01) | 0                 | 0            |
    """
    for name, module in layers.named_children():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if config.init == "kaiming" and name != "fc8":
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        else:
            wide = config.init == "source" and name in ("conv3", "conv4", "conv5")
            nn.init.normal_(module.weight, 0.0, 0.03 if wide else 0.01, generator=generator)
        if module.bias is not None:
            lifted = config.init != "kaiming" and name in ("conv2", "conv4", "conv5", "fc6", "fc7")
            nn.init.constant_(module.bias, config.bias if lifted else 0.0)

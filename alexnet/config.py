"""What a network is: every ingredient of its family as a field of a frozen record, and the sizes that follow."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from alexnet.errors import UsageError

Count = Annotated[int, Field(ge=1)]
Activation = Literal["relu", "tanh", "sigmoid"]
InputNorm = Literal["mean-image", "mean-pixel", "standardise", "unit"]
NormPlace = Literal["before-activation", "after-activation", "after-pool", "none"]
Init = Literal["source", "paper", "caffe", "torch", "xavier", "kaiming"]
Middle = Literal["conv3", "conv4", "conv5"]


@dataclass(frozen=True)
class AlexNetConfig:
    """Every ingredient of AlexNet. The defaults are net 145 of the released source, the network of the paper."""

    num_classes: Count = 1000
    crop_size: Count = 224  # pixels a side that go into conv1
    in_channels: Literal[1, 3] = 3  # 1: the mean of red, green and blue
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0  # multiplies all channels and fc widths
    channels: tuple[Count, Count, Count, Count, Count] = (96, 256, 384, 384, 256)  # conv1 .. conv5
    fc_features: tuple[Count, Count] = (4096, 4096)  # fc6, fc7
    without: Middle | None = None  # leave this layer out; its neighbours join, and the towers still meet after pool2
    towers: Count = 2  # halves that talk only at conv3, fc6, fc7, fc8
    towers_talk: bool = True  # False: only fc8 sees both (net 150)
    conv1_kernel: Count = 11
    conv1_stride: Count = 4
    conv1_padding: Literal["right-bottom"] | Annotated[int, Field(ge=0)] = "right-bottom"
    activation: Activation = "relu"
    pooling: Literal["overlapping", "plain"] = "overlapping"  # 3x3 / 2 or 2x2 / 2
    pool_rounding: Literal["ceil", "floor"] = "ceil"  # whether a window that hangs over the border counts
    pool5_rounding: Literal["ceil", "floor"] | None = None  # where pool5 differs from the others: ONNX's bvlcalexnet
    pool5_grid: Count | None = None  # average pool5 to this many cells a side, so that crops of any size fit fc6
    norm: Literal["lrn", "batch", "none"] = "lrn"
    lrn_size: Count = 5
    lrn_alpha: float = 1e-4  # divided by lrn_size, as in the code
    lrn_beta: float = 0.75
    lrn_k: float = 2.0
    lrn_per_tower: bool = True  # False: neighbouring maps count across the border between the towers too
    norm1: NormPlace = "before-activation"  # where LRN stands in layer 1; the code's order is conv, LRN, pool, ReLU
    norm2: NormPlace = "after-activation"
    within_map_norm: bool = True  # 5x5 neighbourhood after LRN2; in the code only
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    dropout_place: Literal["after", "before"] = "after"  # fc6 and fc7; torchvision's network has it before them
    dropout_layers: Literal["both", "fc6", "fc7"] = "both"
    dropout_scale_at_test: bool = True
    init: Init = "source"  # start values; see initialise_alexnet
    init_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0  # times the sigmas of source, paper, caffe
    bias: float = 1.0  # start of the biases of conv2, conv4, conv5, fc6, fc7 with source, paper and caffe
    input_norm: InputNorm = "mean-image"
    test_size: Count | None = None  # prepared pictures are shrunk to this many pixels a side before the test views
    architecture: Literal["alexnet"] = "alexnet"


@dataclass(frozen=True)
class LeNetConfig:
    """LeNet-5 as in "Dive into Deep Learning" (sigmoid, average pooling), or its modern form (ReLU, max pooling)."""

    num_classes: Count = 10
    crop_size: Count = 28
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    channels: tuple[Count, Count] = (6, 16)  # conv1, conv2
    fc_features: tuple[Count, ...] = (120, 84)  # fc layers before the last
    conv1_padding: Annotated[int, Field(ge=0)] = 2
    activation: Activation = "sigmoid"
    conv_activation: bool = True  # False: none after the convolutions, as in Caffe's LeNet
    pooling: Literal["average", "max"] = "average"
    input_norm: InputNorm = "unit"
    test_size: Count | None = None
    architecture: Literal["lenet"] = "lenet"


@dataclass(frozen=True)
class CifarNetConfig:
    """The nets of cuda-convnet for CIFAR-10. The defaults are its net of 18 % (layers-18pct.cfg).

    Convolutions of 5 x 5, each followed by pooling (3 x 3 / 2), then "local" layers of 3 x 3 whose filters differ from
    place to place, then fully connected ones. They are numbered through: conv1, conv2, local3, local4, fc5.
    """

    num_classes: Count = 10
    crop_size: Count = 32
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    channels: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 32, 64)  # conv1, conv2, ...
    local_channels: tuple[Count, ...] = ()  # of the layers that do not share their filters
    fc_features: tuple[Count, ...] = ()  # fc layers before the last
    activation: Activation = "relu"
    pooling: Literal["average", "max"] = "average"  # from pool2 on; pool1 takes the maximum
    norm: Literal["within-map", "across-maps", "none"] = "within-map"
    norm_size: Annotated[int, Field(ge=1)] = 3  # pixels a side, or maps
    norm_alpha: float = 5e-5  # divided by the number of squares in the sum, as in the code
    norm_beta: float = 0.75
    norm1: Literal["before-pool", "after-pool", "none"] = "after-pool"
    norm2: Literal["before-pool", "after-pool", "none"] = "after-pool"
    init: Literal["source", "xavier", "kaiming"] = "source"  # start values; see cifar_net.initialise
    fc_sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01  # of the fc layers with source
    input_norm: InputNorm = "mean-image"
    test_size: Count | None = None
    architecture: Literal["cifar"] = "cifar"


ModelConfig = AlexNetConfig | LeNetConfig | CifarNetConfig


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
    if isinstance(config, CifarNetConfig):
        sizes = _cifar_grid_sizes(config)
    else:
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

    def pooled(size: int, rounding: str = config.pool_rounding) -> int:
        return windows(size, pool, 2) if rounding == "ceil" else 1 + (size - pool) // 2

    kernel, stride = config.conv1_kernel, config.conv1_stride
    if config.conv1_padding == "right-bottom":
        conv1 = windows(config.crop_size, kernel, stride) if config.crop_size >= kernel else 0
    else:
        conv1 = 1 + (config.crop_size + 2 * config.conv1_padding - kernel) // stride
    pool1 = pooled(conv1)
    conv2 = pool1 + 2 * conv2_padding - 4
    pool2 = pooled(conv2)
    conv5 = pool2 + 2 * conv5_padding - 2
    pool5 = pooled(conv5, config.pool5_rounding or config.pool_rounding) if conv5 >= pool else 0
    return {"conv1": conv1, "pool1": pool1, "conv2": conv2, "pool2": pool2, "conv5": conv5, "pool5": pool5}


def _lenet_grid_sizes(config: LeNetConfig) -> dict[str, int]:
    conv1 = config.crop_size + 2 * config.conv1_padding - 4
    pool1 = conv1 // 2
    return {"conv1": conv1, "pool1": pool1, "conv2": pool1 - 4, "pool2": (pool1 - 4) // 2}


def _cifar_grid_sizes(config: CifarNetConfig) -> dict[str, int]:
    sizes, side = {}, config.crop_size
    for number in range(1, len(config.channels) + 1):
        sizes[f"conv{number}"] = side
        side = sizes[f"pool{number}"] = windows(side, 3, 2) if side >= 3 else 0
    return sizes


def middle_convolutions(config: AlexNetConfig) -> list[int]:
    """Numbers of the convolutions between pool2 and pool5 that are there."""
    return [number for number in (3, 4, 5) if f"conv{number}" != config.without]


def conv_paddings(config: AlexNetConfig) -> tuple[int, int]:
    """Padding of conv2 and of the last convolution.

    Plain pooling takes less, to keep the sizes (diff of layers-145.cfg and -147.cfg).
    """
    return (2, 1) if config.pooling == "overlapping" else (1, 0)

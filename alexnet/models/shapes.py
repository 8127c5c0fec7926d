"""Sizes that follow from a configuration: cells along a side after each stage, scaled widths, paddings."""

import math

from alexnet.errors import UsageError
from alexnet.recipes.config import AlexNetConfig, CifarNetConfig, LeNetConfig, ModelConfig


def windows(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    """Counts the windows along a side: 1 + ceil((size + 2 padding - kernel) / stride) ([code] layer.py:1004, 1163)."""
    return 1 + math.ceil((size + 2 * padding - kernel) / stride)


def scaled(count: int, width: float, towers: int) -> int:
    """Multiplies a number of channels or units by the width and keeps it divisible by the number of towers."""
    return max(1, round(count * width / towers)) * towers


def grid_sizes(config: ModelConfig) -> dict[str, int]:
    """Returns the cells along one side after each stage of a network, for its nominal crop.

    Raises:
        UsageError: the crop is too small: nothing is left after the last pooling.
    """
    if isinstance(config, CifarNetConfig):
        sizes = _cifar_grid_sizes(config)
    else:
        sizes = _lenet_grid_sizes(config) if isinstance(config, LeNetConfig) else _alexnet_grid_sizes(config)
    if min(sizes.values()) < 1:
        raise UsageError(
            f"a crop of {config.crop_size} pixels leaves nothing after the last pooling: {sizes}",
            fix="Use a larger crop_size; with AlexNet a smaller conv1_stride or conv1_kernel helps too.",
            code="E216",
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
    """Returns the numbers of the convolutional layers between pool2 and pool5 that the network has."""
    return [number for number in (3, 4, 5) if f"conv{number}" != config.without]


def conv_paddings(config: AlexNetConfig) -> tuple[int, int]:
    """Returns the padding of conv2 and of the last convolutional layer.

    Plain pooling needs less padding for the same sizes (diff of layers-145.cfg and -147.cfg).
    """
    return (2, 1) if config.pooling == "overlapping" else (1, 0)

"""Whether a network fits into the memory of this machine: counted before anything is allocated.

A system that promises more memory than it has ends a process without a word when the promise is used, so what cannot
fit is refused first. Only what is certainly needed is counted: what is refused here would never have fitted.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from alexnet.errors import ResourceError
from alexnet.models.layers import LocalConv, PadRightBottom
from alexnet.models.network import Network

Shape = tuple[int, ...]
CGROUP = Path("/sys/fs/cgroup/memory.max")  # the limit of a container


def check_parameters(parameters: int, *, copies: int = 1) -> None:
    """Refuses weights that do not fit.

    Args:
        copies: how often they are held; training holds gradients and what the optimizer remembers too.

    Raises:
        ResourceError: E542.
    """
    _check(4 * parameters * copies, f"a network of {parameters:,} weights")


def check_batch(network: Network, images: int, size: int) -> None:
    """Refuses a training batch whose pixels and outputs of layers with weights, kept for the backward pass, do not fit.

    Args:
        network: it may be on the meta device.
        images: of the batch.
        size: pixels a side that go into the network.

    Raises:
        ResourceError: E542.
    """
    values = 3 * size * size
    for layer, shape in shapes(network.layers, (network.in_channels, size, size)):
        if isinstance(layer, nn.Conv2d | nn.Linear | LocalConv):
            values += math.prod(shape)
    _check(4 * images * values, f"a step on {images:,} images of {size:,} pixels a side")


def shapes(layers: nn.Sequential, shape: Shape) -> Iterator[tuple[nn.Module, Shape]]:
    """Each layer with the shape of its output for one image, from the formulas alone."""
    for layer in layers:
        shape = _output_shape(layer, shape)
        yield layer, shape


def machine_bytes() -> float:
    """The memory of this machine or of its container, or of its largest GPU if that has more; infinity if unknown."""
    found = []
    with suppress(AttributeError, ValueError, OSError):  # not every system says so
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(ValueError, OSError):  # "max" is no number
        found.append(int(CGROUP.read_text()))
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    largest_gpu = max((torch.cuda.get_device_properties(i).total_memory for i in gpus), default=0)
    return max(min(found, default=math.inf), largest_gpu)


def _output_shape(layer: nn.Module, shape: Shape) -> Shape:
    channels, side = shape[0], shape[-1]
    if isinstance(layer, nn.Conv2d):
        windows = (side + 2 * int(layer.padding[0]) - layer.kernel_size[0]) // layer.stride[0]
        return layer.out_channels, 1 + windows, 1 + windows
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        size, stride = int(layer.kernel_size), int(layer.stride)  # type: ignore[arg-type]  # one number, as we build it
        windows = (side - size + (stride - 1 if layer.ceil_mode else 0)) // stride
        return channels, 1 + windows, 1 + windows
    if isinstance(layer, PadRightBottom):
        padded = side + -(side - layer.kernel) % layer.stride
        return channels, padded, padded
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        grid = int(layer.output_size)  # type: ignore[arg-type]
        return channels, grid, grid
    if isinstance(layer, LocalConv):
        return layer.out_channels, side, side
    if isinstance(layer, nn.Flatten):
        return (math.prod(shape),)
    return (layer.out_features,) if isinstance(layer, nn.Linear) else shape


def _check(needed: int, what: str) -> None:
    there = machine_bytes()
    if needed > there:
        raise ResourceError(
            f"{what} needs {needed / 1e9:,.0f} GB of memory, and this machine has {there / 1e9:,.1f} GB",
            fix="Use a smaller batch_size, model.width or crop_size.",
            code="E542",
        )

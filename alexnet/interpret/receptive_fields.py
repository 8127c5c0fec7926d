"""Which part of an image a unit sees, and the image patches that activate it most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from alexnet.evaluation.views import central_view
from alexnet.models.layers import LocalConv
from alexnet.models.network import Network

TOP = 9  # number of patches stored for each unit


@dataclass(frozen=True)
class Field:
    """The receptive field of a layer: the unit at row 0, column 0 sees pixels `start` to `start + size` of the view.

    The next unit sees a field shifted by `stride` pixels. `size` is None if every unit sees the whole view.
    """

    start: float
    size: int | None
    stride: int


def receptive_fields(model: Network) -> dict[str, Field]:
    """Computes the field of every layer by name, from kernel, stride and padding.

    From the first flat layer on, every unit sees the whole view. Zeros added at the right and bottom shift nothing.
    Normalization counts as pointwise: the border that normalization within feature maps adds is ignored.
    """
    start, size, stride, flat = 0.0, 1, 1, False
    fields = {}
    for name, layer in model.layers.named_children():
        flat = flat or isinstance(layer, nn.Flatten | nn.Linear | nn.AdaptiveAvgPool2d)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            kernel, step, padding = (_one(x) for x in (layer.kernel_size, layer.stride, layer.padding))
            start, size, stride = start - padding * stride, size + (kernel - 1) * stride, stride * step
        elif isinstance(layer, LocalConv):
            start, size = start - (layer.kernel // 2) * stride, size + (layer.kernel - 1) * stride
        fields[name] = Field(0.0, None, 1) if flat else Field(start, size, stride)
    return fields


def box_of(field: Field, row: int, column: int, view: int) -> tuple[int, int, int, int]:
    """Returns the pixels that a unit sees, clipped to the view: (left, top, right, bottom), right and bottom exclusive.

    Args:
        view: the side of the view in pixels.
    """
    if field.size is None:
        return 0, 0, view, view
    left, top = (int(field.start + position * field.stride) for position in (column, row))
    return max(left, 0), max(top, 0), min(left + field.size, view), min(top + field.size, view)


class Excited:
    """Collects, batch by batch, the images that activate every unit of every layer most."""

    def __init__(self) -> None:
        self.seen = 0
        # layer -> (TOP, units): values, largest first; image numbers; flat positions in the feature map
        self._best: dict[str, tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]] = {}
        self._width: dict[str, int] = {}

    @torch.inference_mode()
    def look(self, model: Network, images: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Adds a batch of images.

        Args:
            images: (N, size, size, 3), prepared.
            numbers: the numbers that `of` returns for them.
        """
        model.eval()
        for layer, values in model.activations(central_view(model, images), check_range=False).items():
            flat = values.float().reshape(len(values), values.shape[1], -1)
            highest, position = flat.max(2)
            maxima = (highest.cpu().numpy(), np.array(numbers, np.int64)[:, None].repeat(flat.shape[1], 1))
            candidates: tuple[NDArray[Any], ...] = (*maxima, position.cpu().numpy())
            previous = self._best.get(layer)
            if previous is not None:
                candidates = tuple(np.concatenate((previous[i], candidates[i])) for i in range(3))
            order = np.argsort(-candidates[0], axis=0, kind="stable")[:TOP]
            first, second, third = (np.take_along_axis(each, order, 0) for each in candidates)
            self._best[layer] = first, second, third
            self._width[layer] = values.shape[3] if values.ndim == 4 else 1
        self.seen += len(numbers)

    def of(self, layer: str, unit: int) -> list[tuple[int, float, int, int]]:
        """Returns (image number, value, row, column in the feature map) of a unit, largest value first."""
        values, numbers, positions = (each[:, unit] for each in self._best[layer])
        rows, columns = np.divmod(positions, self._width[layer])
        return [(int(n), float(v), int(r), int(c)) for n, v, r, c in zip(numbers, values, rows, columns, strict=True)]


def _one(value: int | tuple[int, ...] | str) -> int:
    if isinstance(value, str):
        raise TypeError(f"padding {value!r} is not a number")
    return int(value[0]) if isinstance(value, tuple) else int(value)

"""Which part of a picture a unit sees, and the places in many pictures that excite it most."""

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

TOP = 9  # patches that are kept of each unit


@dataclass(frozen=True)
class Field:
    """What the units of a layer see: the unit at row 0, column 0 sees pixels `start` to `start + size` of the view.

    Its neighbour sees the same `stride` pixels further. `size` is None where a unit sees the whole view.
    """

    start: float
    size: int | None
    stride: int


def receptive_fields(model: Network) -> dict[str, Field]:
    """The field of every layer by name, from kernel, stride and padding; the whole view from the first flat layer on.

    Zeros behind the picture move nothing. Norms count as pointwise: what a norm by neighbours adds at the rim is left
    out.
    """
    start, size, stride, flat = 0.0, 1, 1, False
    found = {}
    for name, layer in model.layers.named_children():
        flat = flat or isinstance(layer, nn.Flatten | nn.Linear | nn.AdaptiveAvgPool2d)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            kernel, step, padding = (_one(x) for x in (layer.kernel_size, layer.stride, layer.padding))
            start, size, stride = start - padding * stride, size + (kernel - 1) * stride, stride * step
        elif isinstance(layer, LocalConv):
            start, size = start - (layer.kernel // 2) * stride, size + (layer.kernel - 1) * stride
        found[name] = Field(0.0, None, 1) if flat else Field(start, size, stride)
    return found


def box_of(field: Field, row: int, column: int, view: int) -> tuple[int, int, int, int]:
    """The pixels of the view that a unit sees, cut at its border: (left, top, right, bottom), right and bottom outside.

    Args:
        view: side of the view in pixels.
    """
    if field.size is None:
        return 0, 0, view, view
    left, top = (int(field.start + at * field.stride) for at in (column, row))
    return max(left, 0), max(top, 0), min(left + field.size, view), min(top + field.size, view)


class Excited:
    """The pictures that excite every unit of every layer most, gathered batch by batch."""

    def __init__(self) -> None:
        self.seen = 0
        # layer -> (TOP, units) values, largest first; pictures; places in the map
        self._best: dict[str, tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]] = {}
        self._width: dict[str, int] = {}

    @torch.inference_mode()
    def look(self, model: Network, images: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Takes in some more pictures.

        Args:
            pictures: (N, size, size, 3), prepared.
            numbers: by which they are called.
        """
        model.eval()
        for layer, values in model.activations(central_view(model, images)).items():
            flat = values.float().reshape(len(values), values.shape[1], -1)
            highest, place = flat.max(2)
            found = (highest.cpu().numpy(), np.array(numbers, np.int64)[:, None].repeat(flat.shape[1], 1))
            news: tuple[NDArray[Any], ...] = (*found, place.cpu().numpy())
            old = self._best.get(layer)
            if old is not None:
                news = tuple(np.concatenate((old[i], news[i])) for i in range(3))
            order = np.argsort(-news[0], axis=0, kind="stable")[:TOP]
            first, second, third = (np.take_along_axis(each, order, 0) for each in news)
            self._best[layer] = first, second, third
            self._width[layer] = values.shape[3] if values.ndim == 4 else 1
        self.seen += len(numbers)

    def of(self, layer: str, unit: int) -> list[tuple[int, float, int, int]]:
        """The pictures, the values and the rows and columns in the map, largest value first."""
        values, numbers, places = (each[:, unit] for each in self._best[layer])
        rows, columns = np.divmod(places, self._width[layer])
        return [(int(n), float(v), int(r), int(c)) for n, v, r, c in zip(numbers, values, rows, columns, strict=True)]


def _one(value: int | tuple[int, ...] | str) -> int:
    if isinstance(value, str):
        raise TypeError(f"padding {value!r} is not a number")
    return int(value[0]) if isinstance(value, tuple) else int(value)

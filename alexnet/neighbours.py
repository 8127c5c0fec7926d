"""The pictures most like one, twice: by the last hidden layer, and by the raw pixels, which see something else."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.evaluate import as_batch, shrink
from alexnet.features import activation, central_view, last_hidden
from alexnet.model import Network
from alexnet.sheets import Pixels
from alexnet.similar import nearest

PIXEL_SIDE = 32  # at which raw pixels are compared

Floats = NDArray[np.float32]


def hidden_vectors(model: Network, pictures: NDArray[np.uint8]) -> Floats:
    """The last hidden layer for the central view of prepared pictures: (N, size, size, 3) to (N, units)."""
    values = activation(model, central_view(model, pictures), last_hidden(model))
    return values.reshape(len(values), -1).cpu().contiguous().numpy()


def pixel_vectors(pictures: NDArray[np.uint8]) -> Floats:
    """Prepared pictures shrunk to `PIXEL_SIDE` pixels a side, where they are larger: (N, side * side * 3), 0..255."""
    images = shrink(as_batch(pictures), min(PIXEL_SIDE, pictures.shape[1])).float()
    return np.ascontiguousarray(images.flatten(1).numpy())


class Neighbours:
    """The vectors of many pictures in both senses, gathered batch by batch."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._hidden: list[Floats] = []
        self._pixels: list[Floats] = []

    @property
    def seen(self) -> int:
        """How many pictures there are."""
        return len(self._numbers)

    @torch.inference_mode()
    def look(self, model: Network, pictures: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Takes in some more pictures: (N, size, size, 3), prepared."""
        self._hidden.append(hidden_vectors(model, pictures))
        self._pixels.append(pixel_vectors(pictures))
        self._numbers += numbers

    @torch.inference_mode()
    def of(
        self, model: Network, picture: Pixels, *, k: int = 6, leave_out: int | None = None
    ) -> dict[str, list[tuple[int, float]]]:
        """The k nearest in each sense as (number, Euclidean distance), nearest first: {"hidden": ..., "pixels": ...}.

        Args:
            leave_out: the number of the picture itself, where it is one of these.
        """
        self._hidden, self._pixels = [np.concatenate(self._hidden)], [np.concatenate(self._pixels)]
        own = {"hidden": hidden_vectors(model, picture[None])[0], "pixels": pixel_vectors(picture[None])[0]}
        out = {}
        for sense, vectors in (("hidden", self._hidden[0]), ("pixels", self._pixels[0])):
            rows, distances = nearest(vectors, own[sense], k + 1)
            pairs = [(self._numbers[row], float(d)) for row, d in zip(rows, distances, strict=True)]
            out[sense] = [pair for pair in pairs if pair[0] != leave_out][:k]
        return out

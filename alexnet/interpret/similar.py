"""The pictures most like one, twice: by the last hidden layer, and by the raw pixels, which see something else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.data.crops import as_batch, shrink
from alexnet.data.images import Pixels, prepare_image
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.views import central_view
from alexnet.interpret.contact_sheet import sheet
from alexnet.interpret.features import Floats, activation, features, last_hidden
from alexnet.interpret.image_index import ROWS, Entry, Index, same_file, update_index
from alexnet.models.network import Network

PIXEL_SIDE = 32  # at which raw pixels are compared


def hidden_vectors(model: Network, images: NDArray[np.uint8]) -> Floats:
    """The last hidden layer for the central view of prepared pictures: (N, size, size, 3) to (N, units)."""
    values = activation(model, central_view(model, images), last_hidden(model))
    return values.reshape(len(values), -1).cpu().contiguous().numpy()


def pixel_vectors(images: NDArray[np.uint8]) -> Floats:
    """Prepared pictures shrunk to `PIXEL_SIDE` pixels a side, where they are larger: (N, side * side * 3), 0..255."""
    small = shrink(as_batch(images), min(PIXEL_SIDE, images.shape[1])).float()
    return np.ascontiguousarray(small.flatten(1).numpy())


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
    def look(self, model: Network, images: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Takes in some more pictures: (N, size, size, 3), prepared."""
        self._hidden.append(hidden_vectors(model, images))
        self._pixels.append(pixel_vectors(images))
        self._numbers += numbers

    @torch.inference_mode()
    def of(
        self, model: Network, image: Pixels, *, k: int = 6, leave_out: int | None = None
    ) -> dict[str, list[tuple[int, float]]]:
        """The k nearest in each sense as (number, Euclidean distance), nearest first: {"hidden": ..., "pixels": ...}.

        Args:
            leave_out: the number of the picture itself, where it is one of these.
        """
        self._hidden, self._pixels = [np.concatenate(self._hidden)], [np.concatenate(self._pixels)]
        own = {"hidden": hidden_vectors(model, image[None])[0], "pixels": pixel_vectors(image[None])[0]}
        out = {}
        for sense, vectors in (("hidden", self._hidden[0]), ("pixels", self._pixels[0])):
            rows, distances = nearest(vectors, own[sense], k + 1)
            pairs = [(self._numbers[row], float(d)) for row, d in zip(rows, distances, strict=True)]
            out[sense] = [pair for pair in pairs if pair[0] != leave_out][:k]
        return out


def nearest(vectors: Floats, query: Floats, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k rows nearest to a vector by Euclidean distance, nearest first, ties by row; exact.

    Args:
        vectors: (N, D).
        query: (D,).

    Returns:
        Rows and distances, both (min(k, N),).
    """
    squares = np.empty(len(vectors), np.float32)
    difference = np.empty((ROWS, vectors.shape[1]), np.float32)
    for start in range(0, len(vectors), ROWS):
        part = vectors[start : start + ROWS]
        apart = np.subtract(part, query, out=difference[: len(part)])
        squares[start : start + len(part)] = np.einsum("ij,ij->i", apart, apart)
    k = min(k, len(vectors))
    # What float32 rounds to may exchange neighbours: those close to the edge are computed again in float64.
    edge = np.partition(squares, k - 1)[k - 1] * np.float32(1 + 1e-3)
    near = np.flatnonzero(squares <= edge)
    exact = np.sqrt(((vectors[near].astype(np.float64) - query.astype(np.float64)) ** 2).sum(1))
    order = np.argsort(exact, kind="stable")[:k]
    return near[order], exact[order]


@dataclass(frozen=True)
class Answer:
    """The pictures most like one."""

    query: Path
    found: tuple[tuple[Path, float], ...]  # picture and distance, nearest first


def similar(
    model: Network, index: Index, queries: Sequence[Path], *, layer: str, prepare_size: int, k: int = 6
) -> tuple[list[Answer], dict[Path, str]]:
    """The k pictures of an index nearest to each query, and the queries that cannot be read with their reasons.

    A query that is itself in the index is not given as its own neighbour; a copy of it under another name is.
    """
    asked = features(model, queries, layer=layer, prepare_size=prepare_size)
    answers = []
    for query, values in zip(asked.paths, asked.values, strict=True):
        rows, distances = nearest(index.vectors, values.reshape(-1), k + 1)
        places = [(index.root / index.entries[row].name, float(d)) for row, d in zip(rows, distances, strict=True)]
        others = [(path, distance) for path, distance in places if not same_file(path, query)]
        answers.append(Answer(query, tuple(others[:k])))
    return answers, asked.errors


def answer_sheet(answers: Sequence[Answer], side: int = 128) -> Pixels:
    """Each query, apart, and beside it what was found, as in Figure 4."""
    rows = [
        [prepare_image(path, size=side) for path in (answer.query, *(path for path, _ in answer.found))]
        for answer in answers
    ]
    return sheet(rows, gap=6, first_apart=True)


class LiveIndex:
    """The index of a folder of pictures for each network, brought up to date whenever a file there has changed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._seen: dict[str, frozenset[tuple[str, int, int, int]]] = {}
        self._indexes: dict[str, Index] = {}

    def find(
        self, classifier: Classifier, weights: str, image: Pixels, k: int
    ) -> tuple[Index, list[tuple[Entry, float]]]:
        """The k pictures nearest to a prepared one in the last hidden layer, with their distances; nearest first.

        Args:
            weights: the fingerprint of the network.
        """
        index = self.index(classifier, weights)
        vector = hidden_vectors(classifier.network, image[None])[0]
        rows, distances = nearest(index.vectors, vector, k)
        return index, [(index.entries[row], float(distance)) for row, distance in zip(rows, distances, strict=True)]

    def index(self, classifier: Classifier, weights: str) -> Index:
        """The index as the files are now.

        Raises:
            DataError: E390, E391.
        """
        seen = frozenset(_stamps(self.folder))
        if self._seen.get(weights) != seen:
            network, size = classifier.network, classifier.prepare_size
            self._indexes[weights] = update_index(network, self.folder, layer=last_hidden(network), prepare_size=size)
            self._seen[weights] = seen
        return self._indexes[weights]


def _stamps(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for path in folder.rglob("*") if folder.is_dir() else [folder]:
        try:
            status = path.stat()
        except OSError:
            continue  # gone while we look
        yield str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns

"""Nearest neighbours of an image in two spaces: features of the last hidden layer, and raw pixels for comparison."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.data.crops import as_batch, shrink
from alexnet.data.images import Pixels, prepare_image
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.predict import left_out
from alexnet.evaluation.views import central_view
from alexnet.interpret.contact_sheet import save_png, sheet
from alexnet.interpret.features import Floats, activation, features, last_hidden
from alexnet.interpret.image_index import ROWS, Entry, Index, same_file, update_index
from alexnet.models.network import Network
from alexnet.storage.files import refuse_to_replace

PIXEL_SIDE = 32  # side in pixels at which raw pixels are compared


def hidden_vectors(model: Network, images: NDArray[np.uint8]) -> Floats:
    """Computes the last hidden layer for the central view of prepared images: (N, size, size, 3) to (N, units)."""
    values = activation(model, central_view(model, images), last_hidden(model))
    return values.reshape(len(values), -1).cpu().contiguous().numpy()


def pixel_vectors(images: NDArray[np.uint8]) -> Floats:
    """Shrinks prepared images to at most `PIXEL_SIDE` pixels per side: (N, side * side * 3), 0..255."""
    small = shrink(as_batch(images), min(PIXEL_SIDE, images.shape[1])).float()
    return np.ascontiguousarray(small.flatten(1).numpy())


class Neighbors:
    """Collects, batch by batch, the vectors of many images in both spaces."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._hidden: list[Floats] = []
        self._pixels: list[Floats] = []

    @property
    def seen(self) -> int:
        """The number of images collected so far."""
        return len(self._numbers)

    @torch.inference_mode()
    def look(self, model: Network, images: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Adds a batch of prepared images: (N, size, size, 3)."""
        self._hidden.append(hidden_vectors(model, images))
        self._pixels.append(pixel_vectors(images))
        self._numbers += numbers

    @torch.inference_mode()
    def of(
        self, model: Network, image: Pixels, *, k: int = 6, leave_out: int | None = None
    ) -> dict[str, list[tuple[int, float]]]:
        """Returns the k nearest in each space as (number, Euclidean distance): {"hidden": ..., "pixels": ...}.

        Args:
            leave_out: the number of the image itself, if it was added.
        """
        self._hidden, self._pixels = [np.concatenate(self._hidden)], [np.concatenate(self._pixels)]
        queries = {"hidden": hidden_vectors(model, image[None])[0], "pixels": pixel_vectors(image[None])[0]}
        out = {}
        for space, vectors in (("hidden", self._hidden[0]), ("pixels", self._pixels[0])):
            rows, distances = nearest(vectors, queries[space], k + 1)
            pairs = [(self._numbers[row], float(d)) for row, d in zip(rows, distances, strict=True)]
            out[space] = [pair for pair in pairs if pair[0] != leave_out][:k]
        return out


def nearest(vectors: Floats, query: Floats, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Finds the k rows nearest to a vector by Euclidean distance: exact, nearest first, ties in the order of the rows.

    Args:
        vectors: (N, D).
        query: (D,).

    Returns:
        Rows and distances, both (min(k, N),).
    """
    squares = np.empty(len(vectors), np.float32)
    buffer = np.empty((ROWS, vectors.shape[1]), np.float32)
    for start in range(0, len(vectors), ROWS):
        part = vectors[start : start + ROWS]
        differences = np.subtract(part, query, out=buffer[: len(part)])
        squares[start : start + len(part)] = np.einsum("ij,ij->i", differences, differences)
    k = min(k, len(vectors))
    # Rounding in float32 may swap neighbours, so rows close to the k-th distance are computed again in float64.
    limit = np.partition(squares, k - 1)[k - 1] * np.float32(1 + 1e-3)
    candidates = np.flatnonzero(squares <= limit)
    exact = np.sqrt(((vectors[candidates].astype(np.float64) - query.astype(np.float64)) ** 2).sum(1))
    order = np.argsort(exact, kind="stable")[:k]
    return candidates[order], exact[order]


@dataclass(frozen=True)
class Answer:
    """The nearest neighbours of one image."""

    query: Path
    found: tuple[tuple[Path, float], ...]  # image and distance, nearest first


@dataclass(frozen=True, eq=False)
class Similar:
    """The nearest neighbours of several images, and the index in which they were found."""

    index: Index
    answers: tuple[Answer, ...]
    errors: dict[Path, str]  # queries that could not be read, with their reasons

    def save(self, out: str | Path) -> Path:
        """Writes each query and its neighbours as PNG, a row a query, as in Figure 4.

        Raises:
            UsageError: `out` exists.
            ResourceError: the file cannot be written.
        """
        refuse_to_replace(Path(out))
        save_png(answer_sheet(self.answers), Path(out))
        return Path(out)

    def __repr__(self) -> str:
        return f"Similar({len(self.answers)} images, in {len(self.index.entries):,} images of {self.index.root})"


def similar(classifier: Classifier, index: Index, queries: Sequence[Path], *, layer: str, k: int = 6) -> Similar:
    """Finds the k images of an index nearest to each query.

    If a query is itself in the index, it is not returned as its own neighbour, but a copy under another name is.
    """
    computed = features(classifier, queries, layer=layer)
    answers = []
    for query, values in zip(computed.paths, computed.values, strict=True):
        rows, distances = nearest(index.vectors, values.reshape(-1), k + 1)
        candidates = [(index.root / index.entries[row].name, float(d)) for row, d in zip(rows, distances, strict=True)]
        others = [(path, distance) for path, distance in candidates if not same_file(path, query)]
        answers.append(Answer(query, tuple(others[:k])))
    return Similar(index, tuple(answers), computed.errors)


def answer_sheet(answers: Sequence[Answer], side: int = 128) -> Pixels:
    """Draws one row per query: the query, a gap, then its neighbours, as in Figure 4."""
    rows = [
        [prepare_image(path, size=side) for path in (answer.query, *(path for path, _ in answer.found))]
        for answer in answers
    ]
    return sheet(rows, gap=6, separate_first=True)


class LiveIndex:
    """Keeps the index of an image folder for each network, and updates it when a file in the folder has changed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.notes: list[str] = []  # what of the folder is not used, as of the last change
        self._seen: dict[str, frozenset[tuple[str, int, int, int]]] = {}
        self._indexes: dict[str, Index] = {}

    def find(
        self, classifier: Classifier, weights: str, image: Pixels, k: int
    ) -> tuple[Index, list[tuple[Entry, float]]]:
        """Finds the k images nearest to a prepared image in the last hidden layer, with distances, nearest first.

        Args:
            weights: the fingerprint of the network.
        """
        index = self.index(classifier, weights)
        vector = hidden_vectors(classifier.network, image[None])[0]
        rows, distances = nearest(index.vectors, vector, k)
        return index, [(index.entries[row], float(distance)) for row, distance in zip(rows, distances, strict=True)]

    def index(self, classifier: Classifier, weights: str) -> Index:
        """Returns the index for the files as they are now.

        Raises:
            DataError: E390, E391.
        """
        stamps = frozenset(_stamps(self.folder))
        if self._seen.get(weights) != stamps:
            self.notes = left_out([str(self.folder)])
            self._indexes[weights] = update_index(classifier, self.folder, layer=last_hidden(classifier.network))
            self._seen[weights] = stamps
        return self._indexes[weights]

    def keep(self, weights: Collection[str]) -> None:
        """Forgets the indexes of other networks than these, which nobody asks any more."""
        for known in [known for known in self._indexes if known not in weights]:
            self._seen.pop(known, None)
            del self._indexes[known]


def _stamps(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for path in folder.rglob("*") if folder.is_dir() else [folder]:
        try:
            status = path.stat()
        except OSError:
            continue  # the file was deleted meanwhile
        yield str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns

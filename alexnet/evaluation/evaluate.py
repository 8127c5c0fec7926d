"""How good a network is: error rates and log loss over a split, from one view or ten, every image counted once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.data.dataset import Prepared
from alexnet.data.folders import nfc
from alexnet.errors import DataError
from alexnet.evaluation.calibration import brier_score, scaled
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.models.network import Network
from alexnet.progress import ProgressCallback, silent
from alexnet.text import listed


@dataclass(frozen=True)
class Evaluation:
    """The class probabilities of every image of a split, and the errors that follow from them.

    >>> import alexnet
    >>> evaluation = alexnet.load("runs/last").evaluate(split="val")
    >>> evaluation.count, evaluation.probabilities.shape, 0 <= evaluation.top1_error <= 1
    (6, (6, 3), True)
    """

    split: str
    views: int
    class_names: tuple[str, ...]
    names: tuple[str, ...]  # of the N images
    labels: npt.NDArray[np.int64]  # (N,)
    probabilities: npt.NDArray[np.float32]  # (N, classes)

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.labels)

    @cached_property
    def top1_error(self) -> float:
        """Share of the images whose class is not the most probable, in [0, 1]."""
        return top_k_error(self.probabilities, self.labels, 1)

    @cached_property
    def top5_error(self) -> float:
        """Share of the images whose class is not among the five most probable, in [0, 1]."""
        return top_k_error(self.probabilities, self.labels, 5)

    @cached_property
    def log_loss(self) -> float:
        """Mean negative logarithm of the probability of the true class, in nats."""
        true_class = self.probabilities[np.arange(self.count), self.labels].astype(np.float64)
        return float(-np.log(np.maximum(true_class, 1e-12)).mean())

    @cached_property
    def brier_score(self) -> float:
        """Mean squared distance between the probabilities and the truth, in [0, 2]."""
        return brier_score(self.probabilities, self.labels)

    @cached_property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Counts of images (classes, classes): the row is the true class, the column the most probable one."""
        classes = len(self.class_names)
        pairs = self.labels * classes + self.probabilities.argmax(1)
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def __repr__(self) -> str:
        top5 = f", top-5 error {100 * self.top5_error:.1f} %" if len(self.class_names) > 5 else ""
        views = "1 view" if self.views == 1 else f"{self.views} views"
        error = f"top-1 error {100 * self.top1_error:.1f} %{top5}, log loss {self.log_loss:.3f}"
        return f"Evaluation({self.split}, {self.count:,} images, {views}: {error})"

    def summary(self) -> dict[str, Any]:
        """Returns the results as a plain dictionary, errors in [0, 1]."""
        totals = self.confusion.sum(1)
        return {
            "split": self.split,
            "views": self.views,
            "images": self.count,
            "top1_error": self.top1_error,
            "top5_error": self.top5_error if len(self.class_names) > 5 else None,
            "log_loss": self.log_loss,
            "brier_score": self.brier_score,
            "classes": {
                name: {
                    "images": int(total),
                    "top1_error": float(1 - self.confusion[i, i] / total) if total else None,
                }
                for i, (name, total) in enumerate(zip(self.class_names, totals, strict=True))
            },
        }


def top_k_error(probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.int64], k: int) -> float:
    """Share of rows whose label is not among the k largest, with fractional credit for ties, in [0, 1].

    If a label ties with others for the last places, it counts as right with the probability that a random choice among
    them would pick it ([code] src/layer_kernels.cu:55-119), so a network that gives all classes the same probability
    gets only the credit of chance. A row with NaN is wrong: nothing is known of it.
    """
    true_class = probabilities[np.arange(len(labels)), labels][:, None]
    larger = (probabilities > true_class).sum(1)
    equal = (probabilities == true_class).sum(1)
    credit = np.clip((k - larger) / np.maximum(equal, 1), 0.0, 1.0)
    credit[np.isnan(probabilities).any(1)] = 0.0  # NaN is neither larger nor equal, which would count as right
    return float(1.0 - credit.mean())


def evaluate(
    model: Network,
    prepared: Prepared,
    split: str,
    *,
    class_names: tuple[str, ...],
    views: int = 1,
    batch_size: int = 64,
    precision: str = "float32",
    progress: ProgressCallback = silent,
    predict: Callable[..., npt.NDArray[np.float32]] = predict_probabilities,
    temperature: float = 1.0,
    images: npt.NDArray[np.int64] | None = None,
) -> Evaluation:
    """Evaluates a network on every image of a split once.

    Args:
        class_names: the classes of the network in the order of its outputs; the dataset may have them in another order
            or lack some.
        predict: computes the probabilities; another function than the default if several processes share the work.
        temperature: what the probabilities are scaled by; see `alexnet.evaluation.calibration`.
        images: the numbers of some images; by default all of the split.

    Raises:
        DataError: the split is missing or has classes that the network does not know.
    """
    if split not in prepared.splits:
        raise DataError(
            f"{prepared.location} has no split {split!r}",
            fix=f"It has: {', '.join(prepared.splits)}. Choose one with --split.",
            code="E325",
        )
    outputs = {nfc(name): output for output, name in enumerate(class_names)}
    unknown = [name for name in prepared.class_names if nfc(name) not in outputs]
    if unknown:
        raise DataError(
            f"the network does not know these classes of {prepared.location}: {listed(unknown, most=20)}",
            fix=f"It knows: {listed(class_names, most=20)}. Folder names must be the same as in training.",
            code="E326",
        )
    data = prepared.splits[split]
    to_output = np.array([outputs[nfc(name)] for name in prepared.class_names], np.int64)
    names, labels, read = tuple(data.names), to_output[data.labels], data.read
    if images is not None:
        names, labels = tuple(data.names[i] for i in images), labels[images]

    def read_some(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return read(positions if images is None else images[positions])

    probabilities = predict(
        model, read_some, len(labels), views=views, batch_size=batch_size, precision=precision, progress=progress
    )
    return Evaluation(split, views, class_names, names, labels, scaled(probabilities, temperature))


def confused_pairs(confusion: np.ndarray, limit: int) -> list[tuple[int, int, int]]:
    """The most frequent confusions as (true class, predicted class, count), most frequent first."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(cell), len(confusion)) for cell in order]
    return [(true, predicted, int(wrong[true, predicted])) for true, predicted in pairs if wrong[true, predicted]]


def worst_mistakes(labels: np.ndarray, probabilities: np.ndarray, limit: int) -> np.ndarray:
    """Indices of the wrong answers with the highest confidence, highest first.

    Among equals, the one with the lowest probability of the true class comes first.
    """
    mistakes = np.flatnonzero(probabilities.argmax(1) != labels)
    confidence = probabilities[mistakes].max(1, initial=0)
    order = np.lexsort((mistakes, probabilities[mistakes, labels[mistakes]], -confidence))
    return mistakes[order][:limit]


def examples_of(evaluation: Evaluation, true: int, predicted: int, limit: int = 3) -> np.ndarray:
    """Indices of up to `limit` images of class `true` classified as `predicted`, most confident first."""
    confused = (evaluation.labels == true) & (evaluation.probabilities.argmax(1) == predicted)
    indices = np.flatnonzero(confused)
    return indices[np.argsort(-evaluation.probabilities[indices, predicted], kind="stable")][:limit]

"""A classifier for simple features that is trained in a second: kernel ridge regression of the classes (RBF kernel).

It is the least-squares form of a support vector machine (Suykens and Vandewalle 1999). Its error on each training image
when that image is left out follows from the inverse (Rifkin and Lippert 2007), so kernel width and penalty are
chosen on the training images, without a random draw, and the validation images are asked once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

WIDTHS = (1.0, 4.0, 16.0)  # factors of the squared distance, which is 1 for the median pair
PENALTIES = (0.01, 0.1, 1.0)
CHOSEN_ON = 300  # training images on which the two are chosen


@dataclass(frozen=True, eq=False)
class Fitted:
    """A classifier that was fitted."""

    width: float
    weights: Matrix  # (n, classes)

    def classes(self, distances: Matrix) -> NDArray[np.int64]:
        """The most likely class of each of m images from their squared distances to the training images, (m, n)."""
        return np.asarray((np.exp(-self.width * distances) @ self.weights).argmax(1))


def squared_distances(first: NDArray[np.float32], second: NDArray[np.float32]) -> Matrix:
    """Squared Euclidean distances of features (m, D) and (n, D): (m, n)."""
    squares = (first * first).sum(1)[:, None] + (second * second).sum(1)[None, :]
    return np.asarray(np.maximum(squares - 2 * (first @ second.T), 0), np.float64)


def typical_distance(distances: Matrix) -> float:
    """The median of the squared distances that are not zero; 1 if all are."""
    part = distances[:: max(1, len(distances) // 200)]
    positive = part[part > 1e-12]
    return float(np.median(positive)) if len(positive) else 1.0


@dataclass(frozen=True)
class Choice:
    """Kernel width and penalty, and the accuracy with them on training images that were left out, in [0, 1]."""

    width: float
    penalty: float
    left_out: float


def choose(distances: Matrix, labels: NDArray[np.int64], classes: int) -> Choice:
    """Chooses kernel width and penalty by leaving out each of some training images; arguments as for `fit`."""
    part = evenly(len(labels), CHOSEN_ON)
    near, true = distances[np.ix_(part, part)], labels[part]
    targets = _targets(true, classes)
    best = Choice(WIDTHS[0], PENALTIES[0], -1.0)
    for width in WIDTHS:
        kernel = np.exp(-width * near)
        for penalty in PENALTIES:
            inverse = np.linalg.inv(kernel + penalty * np.eye(len(part)))
            residuals = (inverse @ targets) / np.diag(inverse)[:, None]
            right = float(((targets - residuals).argmax(1) == true).mean())
            if right > best.left_out:
                best = Choice(width, penalty, right)
    return best


def fit(distances: Matrix, labels: NDArray[np.int64], classes: int, choice: Choice) -> Fitted:
    """Fits the classifier.

    Args:
        distances: (n, n) between the training images, 1 for a typical pair.
        labels: (n,).
    """
    kernel = np.exp(-choice.width * distances)
    kernel[np.diag_indices(len(kernel))] += choice.penalty
    return Fitted(choice.width, np.asarray(np.linalg.solve(kernel, _targets(labels, classes)), np.float64))


def _targets(labels: NDArray[np.int64], classes: int) -> Matrix:
    return np.where(labels[:, None] == np.arange(classes)[None, :], 1.0, -1.0)


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the indices below `count`, in even steps and ascending."""
    if count <= most:
        return np.arange(count)
    return (np.arange(most) * count) // most

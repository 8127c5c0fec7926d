"""How unlike the training images an image is, and from where on it is "none of these": distances and a threshold.

An image is described in three ways: what the whole network sees, that is its colors and edges and the mean of every
channel that enters a later convolution or is flattened; the mean and the deviation of every channel that enters the
second convolution; the vector that enters the last layer. Each stage gives a unit vector, without which an image of
noise or of one color is near to everything. The distance to the training images is that of Mahalanobis (Lee et al.
2018), with one covariance for all classes: that of a probabilistic PCA (Tipping and Bishop 1999), the main directions
and one variance for all others, so that few images suffice and little is stored. The description in which an image is
most unlike counts most: the score is a soft maximum of the logarithms of the three distances, each less its mean and
over its deviation.

The threshold promises something: of new images like those of the validation split at most a share `FLAGGED` is called
none of these (split conformal prediction, as in `abstention`). To keep that exact, no validation image serves both to
set the scale of the distances and to find the threshold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]

FLAGGED = 0.05  # share of the images like those of validation that are called none of these, at most
DIRECTIONS = 64  # main directions of a covariance, at most
IMAGES_EACH = 5  # training images for each of them
SCALE_EVERY = 3  # every third validation image sets the scale, the others the threshold
TINY = 1e-6  # smallest variance, as a share of the mean one
NONE_OF_THESE = "none of these (unlike the training images)"


@dataclass(frozen=True, eq=False)
class Description:
    """What the training images are like in one of the ways of describing them."""

    mean: Floats  # (D,)
    directions: Floats  # (K, D), orthonormal
    variances: Floats  # (K,)
    rest: float  # variance in every other direction
    center: float = 0.0  # of the logarithm of the distance, over validation images
    scale: float = 1.0  # its deviation

    def distance(self, vectors: Floats) -> Scores:
        """Computes the logarithm of the squared distance of Mahalanobis (N,) of vectors (N, D), in deviations."""
        away = vectors.astype(np.float64) - self.mean
        along = away @ self.directions.T.astype(np.float64)
        across = np.maximum((away**2).sum(1) - (along**2).sum(1), 0.0)
        squares = (along**2 / self.variances).sum(1) + across / self.rest
        return np.asarray((np.log(squares + TINY) - self.center) / self.scale)


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """What the training images of a network are like, and how unlike them images of validation are."""

    descriptions: tuple[Description, ...]
    validation: Scores  # the scores of validation images, ascending

    def score(self, vectors: Sequence[Floats]) -> Scores:
        """How unlike the training images are images (N,), from their vectors; larger is more unlike."""
        distances = [one.distance(each) for one, each in zip(self.descriptions, vectors, strict=True)]
        return np.asarray(np.logaddexp.reduce(distances, 0))

    def likeness(self, vectors: Sequence[Floats]) -> Scores:
        """The share of validation images, and of the image itself, that are at least as unlike: (N,), in (0, 1].

        For images like those of validation it is a p-value: it is a or less with a probability of at most a.
        """
        unlike = len(self.validation) - np.searchsorted(self.validation, self.score(vectors), side="left")
        return np.asarray((unlike + 1) / (len(self.validation) + 1))


def none_of_these(likeness: float | None) -> bool | None:
    """Whether an image is called none of the classes; None if it was not measured what the images are like."""
    # 20 x 0.05 may be 1.0000000000000002 or 0.9999999999999999 in floating point.
    return None if likeness is None else likeness <= FLAGGED * (1 + 1e-9)


def images_needed() -> int:
    """How many validation images it takes before anything can be called none of these."""
    for_threshold, count = math.ceil(round(1 / FLAGGED - 1, 9)), 0
    while count - len(range(0, count, SCALE_EVERY)) < for_threshold:
        count += 1
    return count


def image_vectors(pixels: Tensor, maps: Sequence[Tensor]) -> list[Floats]:
    """Describes images: vectors (N, D) for each of the three ways.

    Args:
        pixels: (N, 3, H, W), 0..255.
        maps: what the stages end with, see `Network.stages`: (N, C, h, w), and at last (N, units).
    """
    means = [each.mean((2, 3)) for each in maps[:-1]]
    whole = torch.cat([_unit(part) for part in (_colors_and_edges(pixels.float() / 255), *means)], 1)
    second = torch.cat([means[0], maps[0].std((2, 3), unbiased=False)], 1)
    return [part.cpu().numpy() for part in (whole, _unit(second), _unit(maps[-1].flatten(1)))]


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, eps=1e-9)


def _colors_and_edges(pixels: Tensor) -> Tensor:
    """The mean and deviation of each color, of the differences of colors, and of those of neighbors: (N, 17)."""
    red, green, blue = pixels.unbind(1)
    colors = torch.stack([red - green, green - blue, blue - red], 1)
    means = [pixels.mean((2, 3)), colors.mean((2, 3))[:, :2]]
    edges = (pixels, colors, pixels.diff(dim=3), pixels.diff(dim=2))
    return torch.cat([*means, *(each.std((2, 3), unbiased=False) for each in edges)], 1)


def describe(training: Sequence[Floats], validation: Sequence[Floats]) -> TrainingImages:
    """Fits the distances to training images, (N, D) for each way, and measures them on validation images (M, D)."""
    fits = []
    for vectors, others in zip(training, validation, strict=True):
        fitted = _fitted(vectors.astype(np.float64))
        distances = fitted.distance(others[::SCALE_EVERY])
        center, scale = float(distances.mean()), max(float(distances.std()), TINY)
        fits.append(Description(fitted.mean, fitted.directions, fitted.variances, fitted.rest, center, scale))
    found = TrainingImages(tuple(fits), np.zeros(0))
    threshold = np.arange(len(validation[0])) % SCALE_EVERY > 0
    return TrainingImages(found.descriptions, np.sort(found.score([each[threshold] for each in validation])))


def _fitted(values: Scores) -> Description:
    """The main directions of vectors (N, D) and the variances along them, by the smaller of the two Gram matrices."""
    count, dimensions = values.shape
    mean = values.mean(0)
    away = values - mean
    kept = max(min(DIRECTIONS, count // IMAGES_EACH, dimensions - 1), 0)
    if count < dimensions:
        found, columns = np.linalg.eigh(away @ away.T / count)
        columns = away.T @ columns
        columns /= np.maximum(np.linalg.norm(columns, axis=0), np.finfo(np.float64).tiny)
    else:
        found, columns = np.linalg.eigh(away.T @ away / count)
    variances, directions = found[::-1][:kept], columns[:, ::-1][:, :kept].T
    total = float((away**2).sum() / count)
    least = max(TINY * total / dimensions, float(np.finfo(np.float32).tiny))
    rest = (total - float(variances.sum())) / max(dimensions - kept, 1)
    return Description(
        mean.astype(np.float32),
        np.ascontiguousarray(directions, np.float16).astype(np.float32),  # as they are stored
        np.maximum(variances, least).astype(np.float32),
        float(np.float32(max(rest, least))),
    )

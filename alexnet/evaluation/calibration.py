"""Calibration: whether a network is right in 80 of 100 cases where it says 80 %, and the temperature that mends it.

All functions are pure, of probabilities (N, classes) and labels (N,). A temperature above 1 makes probabilities less
extreme, one below 1 more; the order of the classes stays.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)  # a probability of 0 in float32 may have been this
BINS = 15
RESAMPLES = 1000
STEPS = 200
LIMIT = 15.0  # of the logarithm of the temperature


@dataclass(frozen=True)
class Bin:
    """The images whose most probable class has a probability within some limits."""

    low: float
    high: float
    count: int
    confidence: float  # mean probability of the most probable class, in [0, 1]
    accuracy: float  # share of these images whose most probable class is the true one, in [0, 1]


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error of N images, in [0, 1], with what tells it from chance."""

    value: float
    low: float  # 95 % interval of the pivotal bootstrap
    high: float
    by_chance: float  # a perfectly calibrated network that is as sure exceeds this in 5 of 100 samples of N images
    count: int

    @property
    def distinguishable(self) -> bool:
        """Whether the error is larger than chance explains."""
        return self.value > self.by_chance


def logarithms(probabilities: Floats) -> NDArray[np.float64]:
    """Logarithms of probabilities: the logits less a number for each image, which no softmax of them notices."""
    return np.log(np.maximum(np.asarray(probabilities, np.float64), SMALLEST))


def scaled(probabilities: Floats, temperature: float) -> NDArray[np.float32]:
    """Probabilities as they would be if all logits were divided by a temperature: (N, classes) float32.

    Of the mean of ten views, as if that were the softmax of logits. With a temperature of 1 nothing changes, not even
    the last bit.
    """
    if temperature == 1:
        return np.asarray(probabilities, np.float32)
    return _softmax(logarithms(probabilities) / temperature).astype(np.float32)


def fit_temperature(logits: Floats, labels: NDArray[np.int64], *, prior: float = 0.0) -> float:
    """Finds the temperature with the lowest log loss (Guo et al. 2017, section 4.2).

    The log loss is convex in the inverse temperature b, so a root of its derivative is its minimum: Newton's steps,
    and bisection where they leave the bracket.

    Args:
        logits: (N, classes); logarithms of probabilities serve as well.
        prior: how many images to add whose class is unknown: any class with equal probability, at the mean of the
            logits of all classes. Without them N right answers ask for probabilities of 1.
    """
    margins = np.asarray(logits, np.float64)
    margins = margins - margins.mean(1, keepdims=True)
    # An image of unknown class adds the mean over the labels of its loss, and the images take turns to be it.
    weight = prior / max(len(margins), 1)
    true_class = margins[np.arange(len(margins)), labels]
    low, high, log_inverse = -LIMIT, LIMIT, 0.0
    for _ in range(STEPS):
        inverse = np.exp(log_inverse)
        shares = _softmax(margins * inverse)
        means = (shares * margins).sum(1)
        slope = float(((1 + weight) * means - true_class).sum())
        curvature = float((1 + weight) * (shares * (margins - means[:, None]) ** 2).sum())
        low, high = (log_inverse, high) if slope < 0 else (low, log_inverse)
        bend = curvature * inverse
        step = slope / bend if bend > abs(slope) / (2 * LIMIT) else np.inf  # a longer one leaves the bracket
        following = log_inverse - step
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - log_inverse) < 1e-12:
            break
        log_inverse = following
    return float(np.exp(-log_inverse))


def cross_scaled(probabilities: Floats, labels: NDArray[np.int64], folds: int = 5) -> NDArray[np.float32]:
    """Scales every image by a temperature that was fitted on the others: what scaling gains, measured honestly.

    Args:
        folds: groups that take turns; image i belongs to group i modulo `folds`.
    """
    out = np.array(probabilities, np.float32)
    group = np.arange(len(labels)) % folds
    for fold in range(folds):
        others, own = group != fold, group == fold
        if own.any() and others.any():
            temperature = fit_temperature(logarithms(probabilities[others]), labels[others], prior=1.0)
            out[own] = scaled(probabilities[own], temperature)
    return out


def reliability_bins(probabilities: Floats, labels: NDArray[np.int64], bins: int = BINS) -> list[Bin]:
    """Groups images by the probability of their most probable class, in bins of equal width, without empty ones."""
    confidence, right = confidence_and_right(probabilities, labels)
    number = _bin_of(confidence, bins)
    return [
        Bin(i / bins, (i + 1) / bins, int(own.sum()), float(confidence[own].mean()), float(right[own].mean()))
        for i in range(bins)
        if (own := number == i).any()
    ]


def expected_calibration_error(
    probabilities: Floats,
    labels: NDArray[np.int64],
    *,
    bins: int = BINS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> CalibrationError:
    """How far confidence and accuracy are apart in a bin, on average over the images (Naeini et al. 2015).

    Even a perfectly calibrated network has an error above 0, since a bin holds few images. How large it is by chance
    is simulated: the same confidences, each right with just that probability.

    Args:
        resamples: samples of the bootstrap, and simulated sets of labels.
    """
    confidence, right = confidence_and_right(probabilities, labels)
    draws, count = np.random.default_rng(seed), len(labels)
    number = _bin_of(confidence, bins)
    resampled = np.empty(resamples)
    chance = np.empty(resamples)
    for i in range(resamples):
        chosen = draws.integers(0, count, count)
        resampled[i] = _binned_error(confidence[chosen], right[chosen], number[chosen], bins)
        chance[i] = _binned_error(confidence, draws.random(count) < confidence, number, bins)
    value = _binned_error(confidence, right, number, bins)
    # A resampled set repeats images, so its error is larger; the pivotal interval takes that off again.
    most, least = 2 * value - np.quantile(resampled, (0.025, 0.975))
    low, high = max(0.0, float(min(least, value))), float(max(most, value))
    return CalibrationError(value, low, high, float(np.quantile(chance, 0.95)), count)


def brier_score(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Mean over the images of the squared distance between the probabilities and the truth, in [0, 2] (Brier 1950)."""
    distance = np.array(probabilities, np.float64)
    distance[np.arange(len(labels)), labels] -= 1
    return float((distance**2).sum(1).mean())


def confidence_and_right(
    probabilities: Floats, labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The probability of the most probable class of each image, and whether that class is the true one: (N,) each."""
    confidence = np.asarray(probabilities.max(1), np.float64)
    return confidence, np.asarray(probabilities.argmax(1) == labels)


def _binned_error(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], number: NDArray[np.int64], bins: int
) -> float:
    gaps = np.bincount(number, confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(number))


def _bin_of(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))

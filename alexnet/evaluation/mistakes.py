"""Where a network errs: the classes that it confuses, its worst answers, and the interval of an error rate."""

import math

import numpy as np

from alexnet.evaluation.evaluate import Evaluation


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


def wilson_interval(successes: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927).

    Unlike p ± 2 standard errors, it is also valid for few images and for a proportion of 0 or 1.
    """
    z = 1.959963984540054
    share, shrink = successes / count, 1 + z * z / count
    center = (share + z * z / (2 * count)) / shrink
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / shrink
    return max(0.0, center - half), min(1.0, center + half)

"""Where a network errs: which classes it confuses, its worst answers, and how sure a rate of them is."""

import math

import numpy as np

from alexnet.evaluation.evaluate import Evaluation


def confused_pairs(confusion: np.ndarray, limit: int) -> list[tuple[int, int, int]]:
    """The most frequent (true class, predicted class, count) off the diagonal, most frequent first."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(cell), len(confusion)) for cell in order]
    return [(true, predicted, int(wrong[true, predicted])) for true, predicted in pairs if wrong[true, predicted]]


def worst_mistakes(labels: np.ndarray, probabilities: np.ndarray, limit: int) -> np.ndarray:
    """Indices of the wrong answers given with most confidence; among equals the least belief in the true class."""
    mistakes = np.flatnonzero(probabilities.argmax(1) != labels)
    given = probabilities[mistakes].max(1, initial=0)
    order = np.lexsort((mistakes, probabilities[mistakes, labels[mistakes]], -given))
    return mistakes[order][:limit]


def examples_of(evaluation: Evaluation, true: int, predicted: int, limit: int = 3) -> np.ndarray:
    """Indices of up to `limit` pictures of class `true` taken for `predicted`, most confident first."""
    taken = (evaluation.labels == true) & (evaluation.probabilities.argmax(1) == predicted)
    indices = np.flatnonzero(taken)
    return indices[np.argsort(-evaluation.probabilities[indices, predicted], kind="stable")][:limit]


def wilson_interval(successes: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927); unlike p ± 2 s it holds for few pictures and for p = 1."""
    z = 1.959963984540054
    share, shrink = successes / count, 1 + z * z / count
    center = (share + z * z / (2 * count)) / shrink
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / shrink
    return max(0.0, center - half), min(1.0, center + half)

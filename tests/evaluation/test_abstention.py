"""Thresholds with a guarantee: against scipy, hand calculations, and on held-out images of many random splits."""

import math

import numpy as np
import pytest

from alexnet.evaluation.abstention import (
    binomial_tail,
    images_needed,
    most_precise,
    precision_threshold,
    prediction_set,
    set_threshold,
)
from alexnet.evaluation.calibration import scaled
from alexnet.evaluation.promises import view_calibration

stats = pytest.importorskip("scipy.stats", reason="scikit-learn, which brings scipy along, is an extra")
SPLITS = 100


def answers(count: int, seed: int, classes: int = 5, signal: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident probabilities of a network that is right in about four of five images, and labels."""
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, classes, count)
    logits = draws.normal(0, 1, (count, classes))
    logits[np.arange(count), labels] += signal * draws.uniform(0.2, 1.5, count)
    shares = np.exp(3 * (logits - logits.max(1, keepdims=True)))
    return (shares / shares.sum(1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize(("count", "most", "share"), [(1, 0, 0.5), (59, 0, 0.05), (340, 9, 0.05), (5000, 200, 0.05)])
@pytest.mark.parametrize("other", [0.001, 0.3, 0.99, 1.0])
def test_the_binomial_tail_is_that_of_scipy(count, most, share, other):
    for probability in (share, other):
        expected = stats.binom.cdf(most, count, probability)
        assert binomial_tail(count, most, probability) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_the_smallest_precision_is_what_one_right_answer_in_two_has():
    """1 - 5e-324 is 1 in floating point: whoever asks for it gets an answer, and not where nothing is right."""
    sure = np.array([0.9, 0.8])
    for least in (5e-324, 1e-17, 1e-12):
        assert precision_threshold(sure, np.array([True, False]), least).sure(0.95)
        assert not precision_threshold(sure, np.array([False, False]), least).sure(0.95)


def test_how_many_images_a_promise_takes():
    """0.95 to the power of 59 is 0.0485, and to the power of 58 0.0510."""
    assert (images_needed(0.95), images_needed(0.5), images_needed(0.99)) == (59, 5, 299)
    assert 0.95 < most_precise(59) < 0.951
    assert most_precise(0) == 0


def test_a_threshold_of_a_hand():
    """100 sure answers that are right, and 100 less sure ones of which every other is wrong."""
    confidence = np.concatenate([np.linspace(0.9, 0.99, 100), np.linspace(0.3, 0.6, 100)])
    right = np.concatenate([np.ones(100, bool), np.arange(100) % 2 == 0])
    found = precision_threshold(confidence, right, 0.95)
    assert found.above is not None
    assert 0.5 < found.above < 0.91
    assert found.sure(0.95)
    assert not found.sure(0.4)
    assert 0.45 < found.answered < 0.55


@pytest.mark.parametrize(
    ("count", "wrong", "promised"),
    [
        (58, 0, False),
        (59, 0, True),
        (85, 0, True),
        (93, 1, False),
        (200, 0, True),
        (200, 1, True),
        (200, 30, False),
        (0, 0, False),
        (1, 0, False),
    ],
)
def test_what_equally_sure_answers_promise(count, wrong, promised):
    """Equal confidence leaves no choice but all or none: the exact binomial test decides."""
    right = np.arange(count) >= wrong
    found = precision_threshold(np.full(count, 0.8), right, 0.95)
    assert (found.above is not None) == promised
    assert found.answered == (1.0 if promised else 0.0)
    assert found.sure(0.8) == promised


@pytest.mark.parametrize(("count", "precision"), [(120, 0.8), (120, 0.9), (300, 0.9), (300, 0.95)])
def test_the_promised_precision_holds_on_other_images_in_95_of_100_splits(count, precision):
    """The temperature is fitted on the same images as the threshold, as in a run."""
    held, answered = 0, []
    for seed in range(SPLITS):
        probabilities, labels = answers(count + 4000, seed)
        known = view_calibration(probabilities[:count], labels[:count])
        found = precision_threshold(np.array(known.confidence), np.array(known.right), precision)
        others, truth = scaled(probabilities[count:], known.temperature), labels[count:]
        sure = others.max(1) > (math.inf if found.above is None else found.above)
        held += not sure.any() or bool((others[sure].argmax(1) == truth[sure]).mean() >= precision)
        answered.append(sure.mean())
    assert held >= stats.binom.ppf(0.01, SPLITS, 0.95)
    assert np.mean(answered) > 0.3  # who never answers holds every promise


@pytest.mark.parametrize("count", [30, 300])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_hold_the_class_as_often_as_was_asked_for_and_little_more(count, coverage):
    held, sizes = [], []
    for seed in range(SPLITS):
        probabilities, labels = answers(count + 200, seed, classes=8, signal=1.5)
        least = set_threshold(probabilities[np.arange(count), labels[:count]].astype(np.float64), coverage)
        sets = [prediction_set(row, least) for row in probabilities[count:]]
        held += [label in each for each, label in zip(sets, labels[count:], strict=True)]
        sizes += [len(each) for each in sets]
    # The share of one split varies as a beta distribution does, that of its 200 images as a binomial one.
    error = math.sqrt(coverage * (1 - coverage) * (1 / count + 1 / 200) / SPLITS)
    assert coverage - 3 * error <= np.mean(held) <= coverage + 1 / (count + 1) + 3 * error + 0.01
    assert 1 <= np.mean(sizes) < 7


@pytest.mark.parametrize(
    ("count", "coverage", "rank"),
    [
        (9, 0.9, 9),
        (19, 0.95, 19),
        (8, 0.9, None),
        (99, 0.5, 50),
        (1, 0.5, 1),
        (0, 0.5, None),
        (9, 1e-12, 1),
        (0, 1e-12, None),
    ],
)
def test_the_rank_of_the_set_threshold(count, coverage, rank):
    """ceil((N + 1) coverage), counted from the largest; too few images ask for all classes."""
    probabilities = np.linspace(0.01, 0.99, count)
    expected = 0.0 if rank is None else sorted(probabilities, reverse=True)[rank - 1]
    assert set_threshold(probabilities, coverage) == expected


@pytest.mark.parametrize(
    ("least", "expected"), [(0.0, [1, 2, 0]), (0.25, [1, 2]), (0.26, [1]), (0.9, [1]), (0.125, [1, 2, 0])]
)
def test_a_set_has_the_most_probable_classes_and_at_least_one(least, expected):
    assert prediction_set(np.array([0.125, 0.625, 0.25], np.float32), least) == expected

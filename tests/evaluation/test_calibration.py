"""Temperature, calibration error and Brier score, against scipy, scikit-learn, hand calculations and simulation."""

import numpy as np
import pytest

from alexnet.evaluation.calibration import (
    brier_score,
    cross_scaled,
    expected_calibration_error,
    fit_temperature,
    logarithms,
    reliability_bins,
    scaled,
)

scipy_optimize = pytest.importorskip("scipy.optimize", reason="scikit-learn, which brings scipy along, is an extra")
log_softmax = pytest.importorskip("scipy.special").log_softmax


def drawn(count: int, classes: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: multiplied by `sharpness` they ask for that temperature."""
    draws = np.random.default_rng(seed)
    logits = draws.normal(0, 2, (count, classes))
    shares = np.exp(log_softmax(logits, 1))
    labels = (draws.random((count, 1)) > shares.cumsum(1)).sum(1).clip(0, classes - 1)
    return logits * sharpness, labels


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(logits, 1)).astype(np.float32)


@pytest.mark.parametrize("count", [5, 60, 400])
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("sharpness", [0.05, 0.5, 1.0, 3.0, 40.0])
def test_the_temperature_is_that_of_scipy(count, classes, sharpness):
    logits, labels = drawn(count, classes, sharpness, seed=count)
    logits[0], labels[0] = np.arange(classes), 0  # one is wrong, so that the best temperature is finite

    def log_loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), 1)[np.arange(count), labels].sum())

    best = scipy_optimize.minimize_scalar(log_loss, bounds=(-12, 12), method="bounded", options={"xatol": 1e-10})
    if abs(best.x) < 11:  # beyond it scipy has found an end of its interval
        assert np.log(fit_temperature(logits, labels)) == pytest.approx(best.x, abs=1e-5)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 2.5])
def test_labels_that_were_drawn_from_the_probabilities_ask_for_their_temperature(sharpness):
    logits, labels = drawn(20000, 5, sharpness)
    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.05)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("count", [1, 6, 50])
def test_right_answers_alone_do_not_ask_for_certainty(count, classes):
    """One image of unknown class beside N right ones leaves the right class with (N + 1/C) / (N + 1) of probability."""
    logits = np.eye(classes)[np.arange(count) % classes] * 7
    labels = np.arange(count) % classes
    top = scaled(softmax(logits), fit_temperature(logits, labels, prior=1.0)).max(1)
    assert top == pytest.approx((count + 1 / classes) / (count + 1), abs=1e-5)


@pytest.mark.parametrize("temperature", [0.2, 0.9, 1.7, 12.0])
def test_scaling_probabilities_is_scaling_logits(temperature):
    logits, _ = drawn(50, 7, 2.0)
    assert scaled(softmax(logits), temperature) == pytest.approx(softmax(logits / temperature), abs=2e-6)
    assert (scaled(softmax(logits), temperature).argmax(1) == logits.argmax(1)).all()


def test_a_temperature_of_one_changes_no_bit_and_a_zero_stays_a_number():
    probabilities = softmax(drawn(50, 7, 2.0)[0])
    assert scaled(probabilities, 1.0) is probabilities or (scaled(probabilities, 1.0) == probabilities).all()
    extreme = np.array([[1, 0, 0], [0.5, 0.5, 0]], np.float32)
    for temperature in (0.1, 1.0, 30.0):
        assert scaled(extreme, temperature).sum(1) == pytest.approx(1)
    assert np.isfinite(fit_temperature(logarithms(extreme), np.array([1, 2])))


def test_the_row_of_an_image_does_not_depend_on_the_others():
    probabilities = softmax(drawn(64, 10, 2.0)[0])
    whole = scaled(probabilities, 1.37)
    assert all((scaled(probabilities[i : i + 1], 1.37)[0] == whole[i]).all() for i in range(64))


def test_brier_score_is_that_of_scikit_learn_and_of_a_hand():
    assert brier_score(np.array([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]]), np.array([0, 1])) == pytest.approx((0.14 + 2) / 2)
    metrics = pytest.importorskip("sklearn.metrics")
    logits, labels = drawn(200, 2, 1.0)
    two = softmax(logits)
    assert brier_score(two, labels) == pytest.approx(2 * metrics.brier_score_loss(labels, two[:, 1]))


def test_the_calibration_error_and_the_bins_of_a_hand():
    """Four answers of 0.8, of which two are right, and one of 0.6 that is right: (4 x 0.3 + 1 x 0.4) / 5."""
    probabilities = np.array([[0.8, 0.2]] * 4 + [[0.6, 0.4]])
    labels = np.array([0, 0, 1, 1, 0])
    assert expected_calibration_error(probabilities, labels, resamples=10).value == pytest.approx(0.32)
    found = reliability_bins(probabilities, labels, bins=10)
    assert [(b.low, b.count, b.accuracy) for b in found] == [(0.6, 1, 1.0), (0.8, 4, 0.5)]
    certain = np.array([[1.0, 0.0]])
    assert reliability_bins(certain, np.array([0]))[0].high == 1


@pytest.mark.parametrize(("sharpness", "distinguishable"), [(1.0, False), (3.0, True), (0.3, True)])
def test_chance_is_told_from_bad_calibration(sharpness, distinguishable):
    logits, labels = drawn(500, 6, sharpness, seed=3)
    error = expected_calibration_error(softmax(logits), labels, resamples=200)
    assert error.distinguishable == distinguishable
    assert 0 <= error.low <= error.value <= error.high <= 1
    assert (error.low > 0.01) == distinguishable


def test_a_calibrated_network_exceeds_chance_in_a_twentieth_of_samples():
    found = [
        expected_calibration_error(softmax(logits), labels, resamples=100).distinguishable
        for logits, labels in (drawn(150, 4, 1.0, seed) for seed in range(100))
    ]
    assert sum(found) <= 12  # 99.9 % of binomial samples with 5 of 100


@pytest.mark.parametrize("sharpness", [0.4, 3.0])
def test_the_temperature_lowers_log_loss_brier_and_calibration_error_of_other_images(sharpness):
    logits, labels = drawn(800, 6, sharpness, seed=5)
    raw = softmax(logits)
    crossed = cross_scaled(raw, labels)
    one = scaled(raw[400:], fit_temperature(logits[:400], labels[:400]))
    for after, before, truth in ((crossed, raw, labels), (one, raw[400:], labels[400:])):
        errors = [expected_calibration_error(each, truth, resamples=20).value for each in (after, before)]
        assert errors[0] < errors[1] / 2
        assert brier_score(after, truth) < brier_score(before, truth)

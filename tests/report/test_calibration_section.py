"""The section on probabilities: both stages with their figures, and whether chance explains what is left."""

from dataclasses import replace

import numpy as np
import pytest

from alexnet.evaluation.calibration import brier_score
from alexnet.evaluation.evaluate import Evaluation
from alexnet.report.calibration_section import calibration_section


@pytest.fixture(scope="module")
def stages() -> tuple[Evaluation, Evaluation]:
    """Evaluations of the same images: calibrated, since labels were drawn from the probabilities, and far too sure."""
    draws = np.random.default_rng(0)
    logits = draws.normal(0, 1, (300, 3))
    shares = [np.exp(sharpness * logits) for sharpness in (1.0, 4.0)]
    calibrated, sure = ((each / each.sum(1, keepdims=True)).astype(np.float32) for each in shares)
    labels = (draws.random((300, 1)) > calibrated.cumsum(1)).sum(1).clip(0, 2)
    shown = Evaluation("test", 1, ("a", "b", "c"), tuple(map(str, range(300))), labels, calibrated)
    return shown, replace(shown, probabilities=sure)


def test_both_stages_are_shown_with_their_figures(stages):
    shown, raw = stages
    both, alone = calibration_section(shown, raw), calibration_section(raw, None)
    for each in stages:
        assert f"{brier_score(each.probabilities, each.labels):.4f}" in both
    assert both.count("<polyline") == alone.count("<polyline") + 1 == 3  # the diagonal, before and after
    assert ("not distinguishable" in both, "not distinguishable" in alone) == (True, False)
    assert "larger than chance" in alone
    assert "no temperature" in alone


def test_a_split_that_the_temperature_was_fitted_on_is_measured_by_cross_validation(stages):
    shown, raw = stages
    flattered = replace(shown, split="val", probabilities=np.eye(3, dtype=np.float32)[shown.labels])
    text = calibration_section(flattered, replace(raw, split="val"))
    assert "cross-validation" in text
    assert "0.0000" not in text  # the Brier score of the flattered one
    assert "not distinguishable" in text


def test_a_single_image_has_a_section(stages):
    one, other = (
        replace(each, names=("0",), labels=each.labels[:1], probabilities=each.probabilities[:1]) for each in stages
    )
    assert "1 image;" in calibration_section(one, other)

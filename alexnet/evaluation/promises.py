"""What a calibrated network promises: how often sure answers are right, and sets of classes that hold the right one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import DataError, UsageError
from alexnet.evaluation.abstention import (
    Threshold,
    most_precise,
    precision_threshold,
    prediction_set,
    set_threshold,
)
from alexnet.evaluation.calibration import confidence_and_right, fit_temperature, logarithms, scaled

MOST = 20.0  # temperature; a network that guesses would ask for any, and equal probabilities have no order


@dataclass(frozen=True)
class ViewCalibration:
    """The calibration of answers from one view, or from ten."""

    temperature: float
    confidence: tuple[float, ...]  # of each image the probability of its most probable class, scaled
    right: tuple[bool, ...]  # whether that is the true one
    true_class: tuple[float, ...]  # the probability of its true class, scaled


@dataclass(frozen=True)
class Calibration:
    """What is known about the probabilities of one network."""

    weights: str  # fingerprint of the network
    views: Mapping[int, ViewCalibration]

    @property
    def measured(self) -> bool:
        """Whether it is known what answers are worth; of an exported network it is only the temperature."""
        return len(self.views[1].confidence) > 0

    def temperature(self, views: int) -> float:
        """The temperature for answers from so many views; where it was not measured that of one view."""
        return self.views.get(views, self.views[1]).temperature


@dataclass(frozen=True)
class Promise:
    """What answers from so many views promise: a precision where they are sure, a set that holds the class."""

    threshold: Threshold | None = None
    coverage: float | None = None  # asked for, in (0, 1)
    least: float = 0.0  # probability of a class that belongs to the set

    def sure(self, probabilities: NDArray[np.float32]) -> bool | None:
        """Whether the most probable class of one image (classes,) is an answer; None if no precision was asked for."""
        return None if self.threshold is None else self.threshold.sure(float(probabilities.max()))

    def notes(self) -> list[str]:
        """Says what is promised and how often there is an answer, a sentence each."""
        notes = []
        if self.threshold is not None:
            found, wanted = self.threshold, f"{100 * self.threshold.precision:g} %"
            if found.above is None:
                most = 100 * most_precise(found.images)
                notes.append(
                    f"{found.images} validation images do not prove a precision of {wanted} at any threshold, so no "
                    f"answer is sure (all of them right would prove {most:.1f} %)"
                )
            else:
                where = f"with a probability above {found.above:.4g}" if np.isfinite(found.above) else "all of them"
                notes.append(
                    f"at least {wanted} of the sure answers are right: {where}; of {found.images} validation images "
                    f"{100 * found.answered:.1f} % are answered"
                )
        if self.coverage is not None:
            notes.append(f"the set of classes holds the right one for at least {100 * self.coverage:g} % of images")
        return notes

    def prediction_set(self, probabilities: NDArray[np.float32]) -> list[int] | None:
        """The classes that hold the true one as often as was asked for; None if no coverage was."""
        return None if self.coverage is None else prediction_set(probabilities, self.least)


NO_PROMISE = Promise()


def promise_of(
    calibration: Calibration | None, views: int, min_precision: float | None, coverage: float | None
) -> Promise:
    """Finds the thresholds for what is asked for.

    Raises:
        UsageError: E203, a share is not between 0 and 1.
        DataError: E389, it was not measured what the answers of this network are worth.
    """
    for name, share in (("min_precision", min_precision), ("coverage", coverage)):
        if share is not None and not 0 < share < 1:
            raise UsageError(f"{name} {share:g} is not between 0 and 1", fix="Give a share, such as 0.95.", code="E203")
    if min_precision is None and coverage is None:
        return NO_PROMISE
    measured = calibration if calibration is not None and calibration.measured else None
    known = None if measured is None else measured.views.get(views)
    if known is None:
        raise DataError(
            "nothing can be promised: it was not measured on a validation split how often "
            f"{'these weights are' if measured is None else 'the mean of ten views is'} right",
            fix="alexnet resume RUN measures it, where a run has a validation split."
            if measured is None
            else "Use one view: the recipe flips no images, so that ten views are no fair test.",
            code="E389",
        )
    threshold = None
    if min_precision is not None:
        threshold = precision_threshold(np.array(known.confidence), np.array(known.right), min_precision)
    least = 0.0 if coverage is None else set_threshold(np.array(known.true_class), coverage)
    return Promise(threshold, coverage, least)


def view_calibration(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> ViewCalibration:
    """Measures the answers (N, classes) for validation images with their labels (N,)."""
    temperature = fit_temperature(logarithms(probabilities), labels, prior=1.0)
    temperature = min(max(temperature, 1 / MOST), MOST)  # of a convex loss that is the best within these limits
    answers = scaled(probabilities, temperature)
    confidence, right = confidence_and_right(answers, labels)
    true_class = answers[np.arange(len(labels)), labels]
    return ViewCalibration(temperature, _short(confidence), tuple(right.tolist()), _short(true_class))


def _short(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(float(f"{value:.9g}") for value in values.tolist())  # nine digits are all that a float32 has

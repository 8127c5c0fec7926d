"""Several networks as one: averages their probabilities, as the 2012 entry did with five (18.2 to 16.4, top-5 error).

Source: section 6.1 of the paper; avg-valid.py of the released code, which fitted the weights on the same images that it
reported. Here the weights are equal, or they are fitted on another held-out split.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alexnet.errors import UsageError
from alexnet.evaluation.evaluate import Evaluation

ITERATIONS = 2000


@dataclass(frozen=True)
class Ensemble:
    """The evaluation of several networks together, beside that of each alone."""

    members: tuple[Evaluation, ...]
    combined: Evaluation
    weights: tuple[float, ...]  # sum to 1

    def __repr__(self) -> str:
        gain, _ = self.gain("top1_error")
        return (
            f"Ensemble({len(self.members)} networks, {100 * gain:+.1f} points of top-1 error gained: {self.combined})"
        )

    def gain(self, measure: str) -> tuple[float, list[float]]:
        """By how much the ensemble is better than the mean of its members and than each member; positive is better.

        Args:
            measure: top1_error or top5_error, with gains in [-1, 1], or log_loss.
        """
        combined = float(getattr(self.combined, measure))
        members = [float(getattr(member, measure)) for member in self.members]
        return float(np.mean(members)) - combined, [error - combined for error in members]


def combine(members: Sequence[Evaluation], weights: Sequence[float] | None = None) -> Ensemble:
    """Averages the probabilities of several networks for the same images; the weights are equal by default."""
    raw = np.ones(len(members)) if weights is None else np.asarray(weights, np.float64)
    shares = raw / raw.sum()
    first = members[0]
    if any(m.names != first.names or m.class_names != first.class_names for m in members):
        raise ValueError("the members of an ensemble must have been evaluated on the same images")
    mean = np.tensordot(shares, np.stack([m.probabilities for m in members]).astype(np.float64), 1)
    combined = replace(first, probabilities=mean.astype(np.float32))
    return Ensemble(tuple(members), combined, tuple(float(share) for share in shares))


def check_splits(reported: str, weights_on: str | None) -> None:
    """Refuses to fit weights on the split that is reported, or on the training split.

    Raises:
        UsageError: in both cases.
    """
    if weights_on == reported:
        raise UsageError(
            f"--weights-on {weights_on}: weights found on the images that are reported make the error look lower "
            "than it is",
            fix="Report another split with --split, or leave --weights-on out for equal weights.",
            code="E295",
        )
    if weights_on == "train":
        raise UsageError(
            "--weights-on train: the networks were trained on these images, so the weights would favor the network "
            "that memorized them",
            fix="Use another held-out split (val or test), or leave --weights-on out for equal weights.",
            code="E295",
        )


def find_weights(members: Sequence[Evaluation]) -> list[float]:
    """Finds the weights with the lowest log loss on these images, by expectation maximization for a mixture.

    avg-valid.py minimized the top-5 error; the log loss is convex in the weights, so its minimum is global.
    """
    probabilities = np.stack([m.probabilities for m in members]).astype(np.float64)
    images = np.arange(probabilities.shape[1])
    true_class = np.maximum(probabilities[:, images, members[0].labels], 1e-12)  # (members, images)
    weights = np.full(len(members), 1 / len(members))
    for _ in range(ITERATIONS):
        weights = weights * (true_class / (weights @ true_class)).mean(1)  # Dempster, Laird and Rubin 1977, example 4.3
    return [float(w) for w in weights / weights.sum()]

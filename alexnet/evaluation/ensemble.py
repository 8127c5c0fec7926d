"""Several networks as one: the mean of their probabilities, as the entry of 2012 did with five (18.2 to 16.4, top-5).

Source: section 6.1 of the paper; avg-valid.py of the released code, which looked for weights on the very pictures that
it reported. Here weights come from another held-out split, or are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alexnet.errors import UsageError
from alexnet.evaluation.evaluate import Evaluation

PASSES = 2000


@dataclass(frozen=True)
class Ensemble:
    """What several networks say together, beside what each says alone."""

    members: tuple[Evaluation, ...]
    together: Evaluation
    weights: tuple[float, ...]  # sum to 1

    def gain(self, measure: str) -> tuple[float, list[float]]:
        """How much lower its error is than the mean of the members', and than each one's; in [-1, 1].

        Args:
            measure: top1_error, top5_error or log_loss.
        """
        own = float(getattr(self.together, measure))
        alone = [float(getattr(member, measure)) for member in self.members]
        return float(np.mean(alone)) - own, [error - own for error in alone]


def combine(members: Sequence[Evaluation], weights: Sequence[float] | None = None) -> Ensemble:
    """The weighted mean of probabilities over the same pictures; equal weights by default."""
    given = np.ones(len(members)) if weights is None else np.asarray(weights, np.float64)
    shares = given / given.sum()
    first = members[0]
    if any(m.names != first.names or m.class_names != first.class_names for m in members):
        raise ValueError("the members of an ensemble must have looked at the same pictures")
    mixed = np.tensordot(shares, np.stack([m.probabilities for m in members]).astype(np.float64), 1)
    together = replace(first, probabilities=mixed.astype(np.float32))
    return Ensemble(tuple(members), together, tuple(float(share) for share in shares))


def check_splits(reported: str, weights_on: str | None) -> None:
    """Refuses weights that would be found on what is reported, or on what the networks were fitted to.

    Raises:
        UsageError: in both cases.
    """
    if weights_on == reported:
        raise UsageError(
            f"--weights-on {weights_on}: weights found on the pictures that are reported make the error look lower "
            "than it is",
            fix="Report another split with --split, or leave --weights-on out for equal weights.",
            code="E295",
        )
    if weights_on == "train":
        raise UsageError(
            "--weights-on train: the networks were fitted to these pictures, so the weights would favour the one that "
            "learned them by heart",
            fix="Use a split that was held out, or leave --weights-on out for equal weights.",
            code="E295",
        )


def find_weights(members: Sequence[Evaluation]) -> list[float]:
    """Weights of lowest log-loss on these pictures, by expectation maximisation for the shares of a mixture.

    avg-valid.py minimised top-5 error; the log-loss is convex in the weights, so there is one optimum.
    """
    chances = np.stack([m.probabilities for m in members]).astype(np.float64)
    truth = np.maximum(chances[:, np.arange(chances.shape[1]), members[0].labels], 1e-12)  # (members, pictures)
    weights = np.full(len(members), 1 / len(members))
    for _ in range(PASSES):
        weights = weights * (truth / (weights @ truth)).mean(1)  # Dempster, Laird and Rubin 1977, example 4.3
    return [float(w) for w in weights / weights.sum()]

"""Labels that a trained network does not believe."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alexnet.evaluate import Evaluation

DOUBTED = 0.1  # the given class is less probable than this ...
BELIEVED = 0.6  # ... and another more probable than this


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is likely wrong."""

    split: str
    name: str
    given: str
    likely: str
    given_probability: float  # in [0, 1]
    likely_probability: float
    trained_on: bool  # the network has learned this very label, so that its doubt is rare and weighs more


def find_suspects(evaluations: Sequence[Evaluation], trained_on: bool) -> tuple[Suspect, ...]:
    """Pictures whose given class the network holds for improbable and another for probable, the surest first.

    Args:
        evaluations: of the splits of one set of pictures.
        trained_on: whether the split "train" of that set is what the network was trained on.
    """
    found = []
    for evaluation in evaluations:
        probabilities, names = evaluation.probabilities, evaluation.class_names
        given = probabilities[np.arange(evaluation.count), evaluation.labels]
        likely = probabilities.argmax(1)
        for i in np.flatnonzero((given < DOUBTED) & (probabilities.max(1) > BELIEVED)).tolist():
            found.append(
                Suspect(
                    evaluation.split,
                    evaluation.names[i],
                    names[evaluation.labels[i]],
                    names[likely[i]],
                    float(given[i]),
                    float(probabilities[i, likely[i]]),
                    trained_on and evaluation.split == "train",
                )
            )
    return tuple(sorted(found, key=lambda s: (s.given_probability - s.likely_probability, s.split, s.name)))

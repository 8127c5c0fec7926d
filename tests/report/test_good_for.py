"""The first paragraph of a report: what it says of strong, weak, confused and uneven models."""

import numpy as np
import pytest

from alexnet.evaluation.evaluate import Evaluation
from alexnet.report.good_for import good_for

NAMES = ("hat", "shirt", "<b>t-shirt</b>")


def evaluated(confusion: list[list[int]], sure: float = 0.9, split: str = "test") -> Evaluation:
    """An evaluation with this confusion; every answer is given with the same probability."""
    cells = [(t, p) for t in range(3) for p in range(3) for _ in range(confusion[t][p])]
    probabilities = np.full((len(cells), 3), (1 - sure) / 2, np.float32)
    probabilities[np.arange(len(cells)), [p for _, p in cells]] = sure
    labels = np.array([true for true, _ in cells], np.int64)
    return Evaluation(split, 1, NAMES, tuple(map(str, range(len(cells)))), labels, probabilities)


GOOD = evaluated([[90, 5, 5], [0, 90, 10], [0, 10, 90]])


@pytest.mark.parametrize(
    ("evaluation", "counts", "said", "not_said"),
    [
        (GOOD, {}, ("90.0&nbsp;%", "be on 33.3&nbsp;%", "taken at their word", "10 of 100 images"), ("nothing yet",)),
        (GOOD, {"hat": 12, "shirt": 100, "<b>t-shirt</b>": 110}, ("more images of", "hat", "(12)", "has 100"), ()),
        (GOOD, {"hat": 51, "shirt": 100, "<b>t-shirt</b>": 110}, ("none stands out",), ("(51)",)),
        (GOOD, {}, ("&lt;b&gt;t-shirt",), ("<b>t-shirt",)),
        (evaluated([[34, 33, 33], [33, 34, 33], [33, 33, 34]]), {}, ("Good for nothing yet",), ("taken at",)),
        (evaluated([[98, 2, 0], [2, 0, 0], [1, 0, 0]]), {}, ("Good for nothing yet", "be on 97.1&nbsp;%"), ()),
        (evaluated([[60, 40, 0], [0, 100, 0], [0, 0, 100]]), {}, ("hat", "(40 of 100)", "wrong label"), ()),
        (evaluated([[60, 40, 0], [0, 100, 0], [0, 0, 100]], 0.45), {}, (), ("wrong label",)),
        (evaluated([[2, 1, 0], [0, 9, 0], [0, 0, 9]]), {}, (), ("wrong label",)),  # one image is no evidence
        (evaluated([[9, 0, 0], [0, 9, 0], [0, 0, 9]]), {}, ("confused no classes",), ("To collect",)),
        (evaluated([[90, 5, 5], [0, 90, 10], [0, 10, 90]], 0.6), {}, ("off by more than chance",), ("their word",)),
        (evaluated([[90, 5, 5], [0, 90, 10], [0, 10, 90]], split="train"), {}, ("nothing is known",), ("their word",)),
    ],
)
def test_the_paragraph(evaluation, counts, said, not_said):
    paragraph = good_for([evaluation], counts=counts)
    assert paragraph.count("<p>") == 1
    for each in said:
        assert each in paragraph, paragraph
    for each in not_said:
        assert each not in paragraph, paragraph

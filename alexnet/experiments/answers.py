"""Which held-out images a network got wrong: one bit for each, kept in its row of results.

An error rate alone cannot tell how much of a difference between two networks is due to the images on which they were
compared; the answers to every image can.
"""

import base64

import numpy as np
import numpy.typing as npt

from alexnet.evaluation.evaluate import Evaluation
from alexnet.experiments.results import Row

WRONG = "wrong"  # beside top1_error in a row: base64 of one bit for each image, in the order of the dataset


def wrong_images(evaluation: Evaluation) -> npt.NDArray[np.bool_]:
    """Whether the most probable class of each image is another than its own."""
    wrong: npt.NDArray[np.bool_] = evaluation.probabilities.argmax(1) != evaluation.labels
    return wrong


def pack(wrong: npt.NDArray[np.bool_]) -> str:
    """Writes one bit for each image, the first in the highest bit of the first byte; base64 of the bytes."""
    return base64.b64encode(np.packbits(wrong).tobytes()).decode()


def unpack(text: str, count: int) -> npt.NDArray[np.bool_]:
    """Reads the bits of `count` images."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=count).astype(bool)


def wrong_of(row: Row, split: str, views: int = 1) -> npt.NDArray[np.bool_] | None:
    """Which images of a split a run got wrong, or None if its row does not say."""
    text = row.get("results", {}).get(split, {}).get(str(views), {}).get(WRONG)
    return None if text is None else unpack(text, row["data"]["pictures"][split])

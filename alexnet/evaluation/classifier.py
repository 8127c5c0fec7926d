"""From probabilities to the classes that are named."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def top(probabilities: NDArray[np.float32], class_names: Sequence[str], k: int = 5) -> list[dict[str, Any]]:
    """The k most probable classes, most probable first: {"index", "name", "probability"}."""
    best = np.argsort(-probabilities, kind="stable")[:k]
    return [{"index": int(i), "name": class_names[i], "probability": float(probabilities[i])} for i in best]

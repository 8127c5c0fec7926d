"""The records of a source of pictures: which pictures, which labels, in which splits; and holding some out.

Splits have one name each wherever they come from: "train"; "val", which may choose checkpoints; "test", which is
only reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Samples:
    """The pictures of one split, in a fixed order."""

    names: tuple[str, ...]  # relative to `root`, with forward slashes
    labels: Labels  # (N,), indices into the source's class names
    root: Path | None = None  # the pictures are the files root/name ...
    arrays: NDArray[np.uint8] | None = None  # ... or these pixels, (N, H, W) grey or (N, H, W, 3) RGB

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Path | NDArray[np.uint8]:
        """What `alexnet.data.images.prepare_image` takes for the sample at `index`."""
        if self.arrays is not None:
            pixels: NDArray[np.uint8] = self.arrays[index]
            return pixels
        assert self.root is not None
        return self.root / self.names[index]

    def take(self, chosen: NDArray[np.bool_]) -> "Samples":
        """Those samples where `chosen` (N,) is True."""
        names = tuple(name for name, keep in zip(self.names, chosen, strict=True) if keep)
        arrays = None if self.arrays is None else self.arrays[chosen]
        return Samples(names, self.labels[chosen], self.root, arrays)


@dataclass(frozen=True, eq=False)
class Source:
    """A set of labelled pictures as found."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Samples]  # "train" always; "val" and "test" if there are any
    notes: tuple[str, ...] = ()  # decisions made for the user, one sentence each


def split_off_validation(labels: Labels, share: float, seed: int) -> NDArray[np.bool_]:
    """Which samples to hold out: `share` of every class, at random, the same for the same seed.

    Classes of two or more keep at least one sample on both sides; a single sample is not held out.

    Args:
        labels: (N,) class indices.
        share: in (0, 1).
        seed: not negative.

    Returns:
        (N,), True where held out.
    """
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(len(members) * share), 1), len(members) - 1)
        # A stream per class: pictures added to one class leave the choice in the others as it was. Raw numbers of a
        # bit generator stay the same with every NumPy, what `permutation` makes of them may not.
        keys = np.random.Philox(np.random.SeedSequence([seed, int(label)])).random_raw(len(members))
        held[members[np.argsort(keys, kind="stable")[:count]]] = True
    return held


def balanced_weights(counts: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """n / (classes * n_c) for classes with n_c of n pictures: (classes,). Over the pictures their mean is 1.

    The "balanced" of scikit-learn, after King and Zeng 2001. A class without pictures gets 0.
    """
    number = np.asarray(counts, np.float64)
    filled = number > 0
    return np.where(filled, number.sum() / (filled.sum() * np.maximum(number, 1)), 0.0)

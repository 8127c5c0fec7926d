"""The records of a source of pictures: which pictures, which labels, in which splits; and holding some out.

Splits have one name each wherever they come from: "train"; "val", which may choose checkpoints; "test", which is
only reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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

    def picture(self, index: int) -> Path | NDArray[np.uint8]:
        """What `alexnet.images.prepare_image` takes for the sample at `index`."""
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


def hold_out(labels: Labels, share: float, seed: int) -> NDArray[np.bool_]:
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


def listed(names: Sequence[str]) -> str:
    """Up to five names for a message, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

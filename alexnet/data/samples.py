"""Records of a source of images: its images, labels and splits; and the split of validation images from train.

The names of splits are the same for all sources: "train"; "val", which may choose checkpoints; "test", which is only
reported.
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
    """The images of one split, in a fixed order."""

    names: tuple[str, ...]  # relative to `root`, with forward slashes
    labels: Labels  # (N,), indices into the class names of the source
    root: Path | None = None  # the images are the files root/name ...
    arrays: NDArray[np.uint8] | None = None  # ... or these pixels, (N, H, W) gray or (N, H, W, 3) RGB

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Path | NDArray[np.uint8]:
        """The path or the pixels of the sample at `index`, as `alexnet.data.images.prepare_image` takes them."""
        if self.arrays is not None:
            pixels: NDArray[np.uint8] = self.arrays[index]
            return pixels
        assert self.root is not None
        return self.root / self.names[index]

    def take(self, mask: NDArray[np.bool_]) -> "Samples":
        """Returns the samples where `mask` (N,) is True."""
        names = tuple(name for name, keep in zip(self.names, mask, strict=True) if keep)
        arrays = None if self.arrays is None else self.arrays[mask]
        return Samples(names, self.labels[mask], self.root, arrays)


@dataclass(frozen=True, eq=False)
class Source:
    """A dataset of labeled images in its original form."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Samples]  # "train" always; "val" and "test" if there are any
    notes: tuple[str, ...] = ()  # decisions that were made for the user, one sentence each


def split_off_validation(labels: Labels, share: float, seed: int) -> NDArray[np.bool_]:
    """Chooses validation samples: a `share` of every class, at random, the same for the same seed.

    A class of two or more samples has at least one sample in each part. A single sample of a class is not chosen.

    Args:
        labels: (N,) class indices.
        share: in (0, 1).
        seed: not negative.

    Returns:
        (N,), True for validation samples.
    """
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(len(members) * share), 1), len(members) - 1)
        # One random stream per class: images added to a class do not change the choice in other classes. NumPy
        # guarantees the raw numbers of a bit generator, but not the result of `permutation`.
        keys = np.random.Philox(np.random.SeedSequence([seed, int(label)])).random_raw(len(members))
        chosen[members[np.argsort(keys, kind="stable")[:count]]] = True
    return chosen


def balanced_weights(counts: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Computes class weights n / (classes * n_c), where n_c of n images are in class c: (classes,).

    The mean of the weights over all images is 1. A class without images gets 0. This is "balanced" in scikit-learn,
    after King and Zeng 2001.
    """
    totals = np.asarray(counts, np.float64)
    has_images = totals > 0
    return np.where(has_images, totals.sum() / (has_images.sum() * np.maximum(totals, 1)), 0.0)

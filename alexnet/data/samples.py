"""Records of a source of images: its images, labels and splits; and the split of validation images from train.

The names of splits are the same for all sources: "train"; "val", which may choose checkpoints; "test", which is only
reported.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from alexnet.errors import DataError
from alexnet.text import listed

Labels = NDArray[np.int64]

MOST_WEIGHT = 10.0  # of one image over that of another class


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


@dataclass(frozen=True)
class Draw:
    """How validation images were chosen at random from the training images."""

    share: float  # of every class, in (0, 1)
    seed: int


@dataclass(frozen=True, eq=False)
class Source:
    """A dataset of labeled images in its original form."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Samples]  # "train" always; "val" and "test" if there are any
    notes: tuple[str, ...] = ()  # decisions that were made for the user, one sentence each
    draw: Draw | None = None  # of "val"; None where the user's own folders divide the images


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


def draw_again(source: Source, unreadable: Collection[tuple[str, str]]) -> Source:
    """Divides classes anew of which a drawn split has no readable image, as if the unreadable ones were not there.

    What was drawn at random must not decide whether a set can be used. Other classes keep their division, and so does
    a source that the user divided.

    Args:
        source: as it was opened.
        unreadable: split and name of every image that cannot be read.

    Returns:
        The same source if no class is affected; otherwise one with the unreadable images of those classes in "train".

    Raises:
        DataError: no image is left for validation.
    """
    if source.draw is None:
        return source
    members: dict[int, list[tuple[str, str]]] = {}
    for split in ("train", "val"):
        samples = source.splits[split]
        for name, label in zip(samples.names, samples.labels.tolist(), strict=True):
            members.setdefault(label, []).append((split, name))
    chosen: dict[str, list[tuple[int, str]]] = {"train": [], "val": []}
    anew: list[str] = []
    single: list[str] = []
    for label, images in sorted(members.items()):
        readable = sorted((name, split) for split, name in images if (split, name) not in unreadable)
        lost = {split for split, _ in images} - {split for _, split in readable}
        if not lost or not readable:
            for split, name in images:
                chosen[split].append((label, name))
            continue
        (anew if len(readable) > 1 else single).append(source.class_names[label])
        in_val = split_off_validation(np.full(len(readable), label), source.draw.share, source.draw.seed)
        drawn = {name for (name, _), val in zip(readable, in_val, strict=True) if val}
        for name in sorted(name for _, name in images):
            chosen["val" if name in drawn else "train"].append((label, name))
    if not anew and not single:
        return source
    if not chosen["val"]:
        raise DataError(
            "every class has a single image that can be read, so none can be used for validation",
            fix="Add images, or a folder val/.",
            code="E319",
        )
    root = source.splits["train"].root
    splits = {
        split: Samples(tuple(name for _, name in pairs), np.array([label for label, _ in pairs], np.int64), root)
        for split, pairs in chosen.items()
    }
    notes = list(source.notes)
    if anew:
        notes.append(f"{listed(anew)}: divided again, since the images drawn first for one part cannot be read")
    if single:
        notes.append(f"val has no image of {listed(single)}: the only image of a class that can be read is in train")
    return replace(source, splits={**source.splits, **splits}, notes=tuple(notes))


def balanced_weights(counts: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Computes class weights n / (classes * n_c), where n_c of n images are in class c: (classes,).

    The mean of the weights over all images is 1. A class without images gets 0. This is "balanced" in scikit-learn,
    after King and Zeng 2001. No class counts more than `MOST_WEIGHT` times as much as another, as if rarer classes had
    a tenth of the images of the largest: one image of a very rare class would decide the step of its whole batch, and
    the network would end with calling everything that class.
    """
    totals = np.asarray(counts, np.float64)
    has_images = totals > 0
    weights = np.where(has_images, totals.sum() / (has_images.sum() * np.maximum(totals, 1)), 0.0)
    most = MOST_WEIGHT * weights[has_images].min(initial=np.inf)
    if weights.max(initial=0.0) > most:
        weights = np.minimum(weights, most)
        weights = weights * (totals.sum() / (weights * totals).sum())
    return np.asarray(weights, np.float64)

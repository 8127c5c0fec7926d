"""Divides the training images of prepared images once more, for choices that the validation images must not see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.dataset import Prepared, Split
from alexnet.data.samples import split_off_validation
from alexnet.data.shards import Shard


@dataclass(frozen=True, eq=False)
class Part(Split):
    """Some images of a split, numbered anew."""

    whole: Split | None = None
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # their numbers in the whole split

    def places(
        self, indices: Sequence[int] | NDArray[np.integer[Any]]
    ) -> Iterator[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """Groups `indices` by shard; as `Split.places`."""
        requested = np.asarray(indices, np.int64)
        if len(requested) and not (requested.min() >= 0 and requested.max() < len(self)):
            raise IndexError(f"indices must be in 0..{len(self) - 1}, got {requested.min()}..{requested.max()}")
        assert self.whole is not None
        yield from self.whole.places(self.rows[requested])


def part_of(split: Split, rows: NDArray[np.int64], name: str) -> Part:
    """The images of a split with these numbers."""
    names = tuple(split.names[row] for row in rows.tolist())
    return Part(name, split.size, split.labels[rows], names, split.shards, split.bring, split, rows)


def divided_training(prepared: Prepared, share: float, seed: int) -> Prepared:
    """The same images without those for validation and testing; a share of every class of train is `val` instead."""
    split = prepared.splits["train"]
    held_out = split_off_validation(split.labels, share, seed)
    rows = np.arange(len(split))
    parts = {"train": part_of(split, rows[~held_out], "train"), "val": part_of(split, rows[held_out], "val")}
    return replace(prepared, splits=dict(parts))

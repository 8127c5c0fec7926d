"""Opens a prepared folder and reads its images by index, as uint8 pixels.

The folder is written by `alexnet.data.prepare`:

    prepared.json           classes, splits, statistics, fingerprint; written last, with a checksum
    mean_image.npy          float32 (size, size, 3), the mean of the training images
    train-0000.*, ...        the images, in the format that `alexnet.data.shards` describes

Every split ("train", "val", "test") has its own shards, numbered from 0000. All values are in 0..255.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.shards import (
    Shard,
    canonical,
    compare_once,
    damaged,
    open_shard,
    read_checked,
    read_shard,
    shard_path,
)
from alexnet.errors import DataError
from alexnet.progress import ProgressCallback, silent
from alexnet.storage.files import file_sha256, parse_json

FORMAT_VERSION = 1
PREPARED = "prepared.json"
UNFINISHED = "preparing.json"
MEAN_IMAGE = "mean_image.npy"
WHOLE = "whole"  # the setting of images that are stretched, and not cut
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split, read by index."""

    name: str
    size: int  # side of the images in pixels
    labels: NDArray[np.int64]  # (N,), indices into the class names
    names: tuple[str, ...]  # where each image came from
    shards: tuple[Shard, ...]
    bring: Callable[[Shard], Shard] | None = None  # for remote shards: fetches one, returns it readable

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({self.name}: {len(self):,} images of {self.size} pixels)"

    def read(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Reads images in the order of `indices`. The pixels of an image do not depend on the other indices.

        Args:
            indices: n integers in [0, N), any order, repetitions allowed.

        Returns:
            (n, size, size, 3) in 0..255.

        Raises:
            IndexError: an index is out of range.
            DataError: a JPEG is damaged, or a remote shard is missing or damaged.
            ResourceError: a remote shard could not be fetched.
        """
        images = np.empty((len(indices), self.size, self.size, 3), np.uint8)
        threads = min(8, os.cpu_count() or 1)
        for shard, rows, positions in self.places(indices):
            images[rows] = read_shard(shard, positions, self.size, threads)
        return images

    def places(
        self, indices: Sequence[int] | NDArray[np.integer[Any]]
    ) -> Iterator[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """Groups `indices` by shard. Yields each shard, the rows of `indices` that it holds, and their positions in it.

        Raises:
            IndexError: an index is out of range.
            DataError: E333, a shard that this process reads for the first time is not as it was written.
        """
        requested = np.asarray(indices, np.int64)
        if len(requested) and not (requested.min() >= 0 and requested.max() < len(self)):
            raise IndexError(f"indices must be in 0..{len(self) - 1}, got {requested.min()}..{requested.max()}")
        shard_numbers = np.searchsorted(self.starts, requested, side="right") - 1
        order = np.argsort(shard_numbers, kind="stable")
        numbers, begins = np.unique(shard_numbers[order], return_index=True)
        ends = [*begins[1:].tolist(), len(order)]
        for number, begin, end in zip(numbers.tolist(), begins.tolist(), ends, strict=False):
            rows = order[begin:end]
            shard = self.shards[number] if self.bring is None else self.bring(self.shards[number])
            compare_once(shard)
            yield shard, rows, requested[rows] - self.starts[number]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The index of the first image of every shard, then the number of images: (shards + 1,)."""
        return np.cumsum([0, *(len(shard.labels) for shard in self.shards)])


@dataclass(frozen=True, eq=False)
class Prepared:
    """An opened prepared dataset."""

    folder: Path  # for a remote dataset: its folder in the cache
    source: str  # name of what was prepared
    size: int  # side of the images in pixels
    encoding: str  # "raw" or "jpeg"
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    mean_image: NDArray[np.float32]  # (size, size, 3), over the training images
    channel_mean: NDArray[np.float64]  # (3,), over all pixels of the training images
    channel_std: NDArray[np.float64]  # (3,)
    color_stdevs: NDArray[np.float64]  # (3,), square roots of the eigenvalues of the RGB covariance, ascending
    color_vectors: NDArray[np.float64]  # (3, 3), its eigenvectors as columns
    fingerprint: str  # of the content: every copy has the same
    address: str | None = None  # of a remote dataset
    whole: bool = False  # whether they are whole images, stretched to squares, and not their central squares

    @property
    def location(self) -> str:
        """The folder or the address with which the dataset can be opened again."""
        return str(self.folder) if self.address is None else self.address

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(split):,} {name}" for name, split in self.splits.items())
        classes = f"{len(self.class_names)} classes"
        return f"Prepared({self.source}: {classes}, {counts}; {self.size} pixels, {self.encoding}; {self.location})"


def open_prepared(folder: Path) -> Prepared:
    """Opens what `prepare` wrote. Checks the content of all small files, and only the length of the large ones.

    Raises:
        DataError: the preparation is not finished, is damaged, or has a version that this program does not know.
    """
    folder = Path(folder)
    return assemble(folder, read_facts(folder))


def assemble(
    folder: Path, facts: dict[str, Any], address: str | None = None, bring: Callable[[Shard], Shard] | None = None
) -> Prepared:
    """Builds a prepared dataset from the fields of its prepared.json and from the small files in the folder.

    Args:
        address: of a remote dataset; None if it is in the folder.
        bring: see `Split`; None if the shards are in the folder.

    Raises:
        DataError: a small file is missing or damaged, or a shard in the folder is not complete.
    """
    try:
        size, encoding = facts["size"], facts["encoding"]
        class_names = tuple(facts["class_names"])
        splits = {}
        for name in SPLITS:
            if name in facts["splits"]:
                entries = facts["splits"][name]["shards"]
                shards = tuple(
                    open_shard(
                        shard_path(folder, name, number, encoding), size, entry["json_sha256"], here=bring is None
                    )
                    for number, entry in enumerate(entries)
                )
                labels = np.concatenate([shard.labels for shard in shards])
                names = tuple(image_name for shard in shards for image_name in shard.names)
                splits[name] = Split(name, size, labels, names, shards, bring)
        statistics = {key: np.array(values, np.float64) for key, values in facts["statistics"].items()}
        content = read_checked(folder / MEAN_IMAGE, facts["mean_image_sha256"])
        mean_image: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
        return Prepared(
            folder,
            facts["source"],
            size,
            encoding,
            class_names,
            splits,
            mean_image,
            statistics["channel_mean"],
            statistics["channel_std"],
            statistics["color_stdevs"],
            statistics["color_vectors"],
            facts["fingerprint"],
            address,
            bool(facts["settings"].get(WHOLE, False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(folder / PREPARED, f"{type(error).__name__}: {error}") from error


def verify(prepared: Prepared, progress: ProgressCallback = silent) -> None:
    """Reads every shard of a prepared dataset and compares it with its sha256. Remote shards are fetched.

    Args:
        prepared: the opened dataset; opening it has checked the small files.
        progress: called with the number of files done and the number of all files.

    Raises:
        DataError: a file differs from what was written; the message names it.
    """
    shards = [(split, shard) for split in prepared.splits.values() for shard in split.shards]
    for done, (split, shard) in enumerate(shards):
        progress("verifying", done, len(shards))
        if split.bring is not None:
            split.bring(shard)
        if file_sha256(shard.path) != shard.sha256:
            raise damaged(shard.path, "its bytes are not the ones that were written")
    contents = {
        name: [(shard.labels, shard.sha256) for shard in split.shards] for name, split in prepared.splits.items()
    }
    if fingerprint(prepared.class_names, contents) != prepared.fingerprint:
        raise damaged(prepared.folder / PREPARED, "its fingerprint does not match its content")
    progress("verifying", len(shards), len(shards))


def fingerprint(class_names: Sequence[str], splits: dict[str, list[tuple[NDArray[np.int64], str]]]) -> str:
    """Hashes the content (sha256): the class names, and the labels and the sha256 of every shard of every split."""
    content = {
        name: [[labels.tolist(), sha256] for labels, sha256 in splits[name]] for name in SPLITS if name in splits
    }
    return hashlib.sha256(canonical({"class_names": list(class_names), "splits": content})).hexdigest()


def read_facts(folder: Path) -> dict[str, Any]:
    """Reads prepared.json and checks its version and checksum.

    Raises:
        DataError: it is missing, damaged or has an unknown version.
    """
    path = folder / PREPARED
    if not path.is_file():
        if (folder / UNFINISHED).is_file():
            raise DataError(
                f"{folder}: its preparation was not finished",
                fix="Run the same `alexnet prepare` again; it continues where it stopped.",
                code="E331",
            )
        raise DataError(
            f"{folder} is not a prepared folder (no {PREPARED})",
            fix="Make one: alexnet prepare IMAGES FOLDER.",
            code="E330",
        )
    return check_facts(path.read_bytes(), folder)


def check_facts(content: bytes, folder: Path | str) -> dict[str, Any]:
    """Parses the content of prepared.json and checks its version and checksum.

    Args:
        folder: the folder or address of the file, for the message.

    Raises:
        DataError: it is damaged or has an unknown version.
    """
    path = Path(folder) / PREPARED
    try:
        facts = parse_json(content)
        version = facts["version"]
        checksum = facts.pop("checksum")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, "not the JSON that was written") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"{folder} has format version {version}, this program reads version {FORMAT_VERSION}",
            fix="Prepare the images again, or use the version of alexnet that wrote it.",
            code="E332",
        )
    if hashlib.sha256(canonical(facts)).hexdigest() != checksum:
        raise damaged(path, "its checksum is wrong")
    return dict(facts)


def validation_split(prepared: Prepared) -> str | None:
    """The split that chooses the best checkpoint: val, otherwise test; None if there is neither."""
    return next((name for name in ("val", "test") if name in prepared.splits), None)

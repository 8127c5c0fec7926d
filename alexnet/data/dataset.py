"""A prepared folder on disk -> uint8 pictures by index, and the order in which training visits them.

The folder (written by `alexnet.data.prepare`, read here):

    prepared.json           everything small: classes, splits, statistics, fingerprint; written last, with a checksum
    mean_image.npy          float32 (size, size, 3), the mean of the training pictures
    train-0000.* and so on  the pictures, as `alexnet.data.shards` describes them

Every split ("train", "val", "test") has its own shards, numbered from 0000. All values are in 0..255.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.shards import Shard, canonical, damaged, open_shard, read_checked, read_shard, shard_path
from alexnet.errors import DataError
from alexnet.progress import ProgressCallback, silent
from alexnet.storage.files import file_sha256

FORMAT_VERSION = 1
PREPARED = "prepared.json"
UNFINISHED = "preparing.json"
MEAN_IMAGE = "mean_image.npy"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """The pictures of one split, by index."""

    name: str
    size: int  # side of the pictures in pixels
    labels: NDArray[np.int64]  # (N,), indices into the class names
    names: tuple[str, ...]  # where each picture came from
    shards: tuple[Shard, ...]
    bring: Callable[[Shard], Shard] | None = None  # for shards that lie elsewhere: one that can be read here

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Pictures in the order of `indices`; the same pixels for an index whatever else is read.

        Args:
            indices: n integers in [0, N), any order, repetitions allowed.

        Returns:
            (n, size, size, 3) in 0..255.

        Raises:
            IndexError: an index is out of range.
            DataError: a JPEG is damaged, or a shard that lies elsewhere cannot be had.
            ResourceError: it did not come.
        """
        images = np.empty((len(indices), self.size, self.size, 3), np.uint8)
        threads = min(8, os.cpu_count() or 1)
        for shard, here, inside in self.places(indices):
            images[here] = read_shard(shard, inside, self.size, threads)
        return images

    def places(
        self, indices: Sequence[int] | NDArray[np.integer[Any]]
    ) -> Iterator[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """The shards that hold some pictures, each once; which of `indices` it holds, and their places in it.

        Raises:
            IndexError: an index is out of range.
        """
        wanted = np.asarray(indices, np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"indices must be in 0..{len(self) - 1}, got {wanted.min()}..{wanted.max()}")
        owners = np.searchsorted(self.starts, wanted, side="right") - 1
        for owner in np.unique(owners):
            here = np.flatnonzero(owners == owner)
            shard = self.shards[owner] if self.bring is None else self.bring(self.shards[owner])
            yield shard, here, wanted[here] - self.starts[owner]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Index of the first picture of every shard, and the number of pictures: (shards + 1,)."""
        return np.cumsum([0, *(len(shard.labels) for shard in self.shards)])


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared folder, opened."""

    folder: Path  # of sets that lie elsewhere: their part of the cache
    source: str  # name of what was prepared
    size: int  # side of the pictures in pixels
    encoding: str  # "raw" or "jpeg"
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    mean_image: NDArray[np.float32]  # (size, size, 3), over the training pictures
    channel_mean: NDArray[np.float64]  # (3,), over all pixels of the training pictures
    channel_std: NDArray[np.float64]  # (3,)
    color_stdevs: NDArray[np.float64]  # (3,), square roots of the eigenvalues of the RGB covariance, ascending
    color_vectors: NDArray[np.float64]  # (3, 3), its eigenvectors as columns
    fingerprint: str  # of the content: a copy elsewhere has the same
    address: str | None = None  # where the files lie, if not in the folder

    @property
    def location(self) -> str:
        """The folder, or the address, under which the set can be opened again."""
        return str(self.folder) if self.address is None else self.address


def open_prepared(folder: Path) -> Prepared:
    """Opens what `prepare` wrote; checks all small files, of the large ones that they are complete.

    Raises:
        DataError: there is no finished preparation, it is damaged, or of a version this program does not know.
    """
    folder = Path(folder)
    return assemble(folder, read_facts(folder))


def assemble(
    folder: Path, facts: dict[str, Any], address: str | None = None, bring: Callable[[Shard], Shard] | None = None
) -> Prepared:
    """A prepared set from what its prepared.json says and the small files in the folder.

    Args:
        address: where the set lies, if not in the folder.
        bring: see `Split`; None if the shards are in the folder.

    Raises:
        DataError: a small file is missing or damaged, or a shard that should be there is not complete.
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
                names = tuple(each for shard in shards for each in shard.names)
                splits[name] = Split(name, size, labels, names, shards, bring)
        statistics = {key: np.array(values, np.float64) for key, values in facts["statistics"].items()}
        mean_image = read_checked(folder / MEAN_IMAGE, facts["mean_image_sha256"])
        mean: NDArray[np.float32] = np.load(io.BytesIO(mean_image), allow_pickle=False)
        return Prepared(
            folder,
            facts["source"],
            size,
            encoding,
            class_names,
            splits,
            mean,
            statistics["channel_mean"],
            statistics["channel_std"],
            statistics["color_stdevs"],
            statistics["color_vectors"],
            facts["fingerprint"],
            address,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(folder / PREPARED, f"{type(error).__name__}: {error}") from error


def verify(prepared: Prepared, progress: ProgressCallback = silent) -> None:
    """Reads every byte of a prepared set and compares it with what was written; shards that lie elsewhere are fetched.

    Args:
        prepared: the set, opened (which has checked the small files).
        progress: called with the number of files done and of all files.

    Raises:
        DataError: a file is not what was written; it is named.
    """
    shards = [(split, shard) for split in prepared.splits.values() for shard in split.shards]
    for done, (split, shard) in enumerate(shards):
        progress("verifying", done, len(shards))
        if split.bring is not None:
            split.bring(shard)
        if file_sha256(shard.path) != shard.sha256:
            raise damaged(shard.path, "its bytes are not the ones that were written")
    contents = {name: [(shard.labels, shard.sha256) for shard in each.shards] for name, each in prepared.splits.items()}
    if fingerprint(prepared.class_names, contents) != prepared.fingerprint:
        raise damaged(prepared.folder / PREPARED, "its fingerprint does not fit its content")
    progress("verifying", len(shards), len(shards))


def fingerprint(class_names: Sequence[str], splits: dict[str, list[tuple[NDArray[np.int64], str]]]) -> str:
    """sha256 of the content: classes, and for every split the labels and the sha256 of every shard."""
    content = {
        name: [[labels.tolist(), sha256] for labels, sha256 in splits[name]] for name in SPLITS if name in splits
    }
    return hashlib.sha256(canonical({"class_names": list(class_names), "splits": content})).hexdigest()


def read_facts(folder: Path) -> dict[str, Any]:
    """prepared.json, its version and checksum checked.

    Raises:
        DataError: it is missing, damaged or of an unknown version.
    """
    path = folder / PREPARED
    if not path.is_file():
        if (folder / UNFINISHED).is_file():
            raise DataError(
                f"{folder}: its preparation was not finished",
                fix="run the same `alexnet prepare` again; it goes on where it stopped",
                code="E331",
            )
        raise DataError(
            f"{folder} is not a prepared folder (no {PREPARED})",
            fix="make one: alexnet prepare PICTURES FOLDER",
            code="E330",
        )
    return check_facts(path.read_bytes(), folder)


def check_facts(content: bytes, folder: Path | str) -> dict[str, Any]:
    """What prepared.json says, its version and checksum checked.

    Args:
        folder: where it lies, for the message.

    Raises:
        DataError: it is damaged or of an unknown version.
    """
    path = Path(folder) / PREPARED
    try:
        facts = json.loads(content)
        version = facts["version"]
        checksum = facts.pop("checksum")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, "not the JSON that was written") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"{folder} has format version {version}, this program knows {FORMAT_VERSION}",
            fix="prepare the pictures again, or use the program that wrote it",
            code="E332",
        )
    if hashlib.sha256(canonical(facts)).hexdigest() != checksum:
        raise damaged(path, "its checksum is wrong")
    return dict(facts)


def validation_split(prepared: Prepared) -> str | None:
    """The split that chooses the best checkpoint."""
    return next((name for name in ("val", "test") if name in prepared.splits), None)

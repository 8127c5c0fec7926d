"""A prepared folder on disk -> uint8 pictures by index, and the order in which training visits them.

The folder (written by `alexnet.prepare`, read here):

    prepared.json      everything small: classes, splits, statistics, fingerprint; written last, with its own checksum
    mean_image.npy     float32 (size, size, 3), the mean of the training pictures
    train-0000.npy     uint8 (n, size, size, 3) if the encoding is "raw", mapped into memory when read
    train-0000.jpegs   or n JPEG files end to end if the encoding is "jpeg"
    train-0000.json    names and labels of the n pictures, offsets of the JPEGs, sha256 of the file above

Every split ("train", "val", "test") has its own shards, numbered from 0000. All values are in 0..255.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.errors import DataError

FORMAT_VERSION = 1
PREPARED = "prepared.json"
UNFINISHED = "preparing.json"
MEAN_IMAGE = "mean_image.npy"
SPLITS = ("train", "val", "test")
SUFFIXES = {"raw": ".npy", "jpeg": ".jpegs"}

# Below this many pictures starting threads costs more than they save.
THREADS_FROM = 16


@dataclass(frozen=True, eq=False)
class Shard:
    """Up to 1,024 pictures in one file."""

    path: Path
    sha256: str
    names: tuple[str, ...]
    labels: NDArray[np.int64]  # (n,)
    pixels: NDArray[np.uint8] | None  # raw: (n, size, size, 3), mapped into memory
    offsets: NDArray[np.int64] | None  # jpeg: (n + 1,), picture i is bytes offsets[i]:offsets[i + 1]


@dataclass(frozen=True, eq=False)
class Split:
    """The pictures of one split, by index."""

    name: str
    size: int  # side of the pictures in pixels
    labels: NDArray[np.int64]  # (N,), indices into the class names
    names: tuple[str, ...]  # where each picture came from
    shards: tuple[Shard, ...]

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
            DataError: a JPEG is damaged.
        """
        wanted = np.asarray(indices, np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"indices must be in 0..{len(self) - 1}, got {wanted.min()}..{wanted.max()}")
        starts = np.cumsum([0, *(len(shard.labels) for shard in self.shards)])
        owners = np.searchsorted(starts, wanted, side="right") - 1
        pictures = np.empty((len(wanted), self.size, self.size, 3), np.uint8)
        threads = min(8, os.cpu_count() or 1)
        for owner in np.unique(owners):
            here = np.flatnonzero(owners == owner)
            pictures[here] = read_shard(self.shards[owner], wanted[here] - starts[owner], self.size, threads)
        return pictures


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared folder, opened."""

    folder: Path
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


def open_prepared(folder: Path) -> Prepared:
    """Opens what `alexnet.prepare.prepare` wrote; checks all small files, of the large ones that they are complete.

    Raises:
        DataError: there is no finished preparation, it is damaged, or of a version this program does not know.
    """
    folder = Path(folder)
    facts = read_facts(folder)
    try:
        size, encoding = facts["size"], facts["encoding"]
        class_names = tuple(facts["class_names"])
        splits = {}
        for name in SPLITS:
            if name in facts["splits"]:
                entries = facts["splits"][name]["shards"]
                shards = tuple(
                    open_shard(shard_path(folder, name, number, encoding), size, entry["json_sha256"])
                    for number, entry in enumerate(entries)
                )
                labels = np.concatenate([shard.labels for shard in shards])
                names = tuple(each for shard in shards for each in shard.names)
                splits[name] = Split(name, size, labels, names, shards)
        statistics = {key: np.array(values, np.float64) for key, values in facts["statistics"].items()}
        mean_image = _read_checked(folder / MEAN_IMAGE, facts["mean_image_sha256"])
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
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / PREPARED, f"{type(error).__name__}: {error}") from error


def verify(prepared: Prepared, progress: Callable[[int, int], None] | None = None) -> None:
    """Reads every byte of a prepared folder and compares it with what was written.

    Args:
        prepared: the folder, opened (which has checked the small files).
        progress: called with the number of files done and of all files.

    Raises:
        DataError: a file is not what was written; it is named.
    """
    shards = [shard for split in prepared.splits.values() for shard in split.shards]
    for done, shard in enumerate(shards):
        if progress is not None:
            progress(done, len(shards))
        if file_sha256(shard.path) != shard.sha256:
            raise _damaged(shard.path, "its bytes are not the ones that were written")
    contents = {name: [(shard.labels, shard.sha256) for shard in each.shards] for name, each in prepared.splits.items()}
    if fingerprint(prepared.class_names, contents) != prepared.fingerprint:
        raise _damaged(prepared.folder / PREPARED, "its fingerprint does not fit its content")
    if progress is not None:
        progress(len(shards), len(shards))


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits the samples: a permutation of 0..count-1.

    A pure function of its arguments, the same on every machine and with every NumPy: the raw stream of a bit
    generator is guaranteed to stay, what `Generator.permutation` makes of it is not.
    """
    keys = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return np.argsort(keys, kind="stable")


def batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """`order` cut into consecutive pieces of `batch_size`; the last may be shorter."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


# --- the format, shared with the writer ----------------------------------------------------------------------------


def shard_path(folder: Path, split: str, number: int, encoding: str) -> Path:
    """Name of a shard. Derived, never read from a file: a prepared folder cannot point outside of itself."""
    return folder / f"{split}-{number:04d}{SUFFIXES[encoding]}"


def fingerprint(class_names: Sequence[str], splits: dict[str, list[tuple[NDArray[np.int64], str]]]) -> str:
    """sha256 of the content: classes, and for every split the labels and the sha256 of every shard."""
    content = {
        name: [[labels.tolist(), sha256] for labels, sha256 in splits[name]] for name in SPLITS if name in splits
    }
    return hashlib.sha256(canonical({"class_names": list(class_names), "splits": content})).hexdigest()


def canonical(values: Any) -> bytes:
    """JSON with one spelling per value, in ASCII, so names that are not Unicode survive as well."""
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_facts(folder: Path) -> dict[str, Any]:
    """prepared.json, its version and checksum checked.

    Raises:
        DataError: it is missing, damaged or of an unknown version.
    """
    path = folder / PREPARED
    if not path.is_file():
        if (folder / UNFINISHED).is_file():
            raise DataError(f"{folder}: its preparation was not finished", fix="run the same `alexnet prepare` again")
        raise DataError(f"{folder} is not a prepared folder (no {PREPARED})", fix="make one with `alexnet prepare`")
    try:
        facts = json.loads(path.read_bytes())
        version = facts["version"]
        checksum = facts.pop("checksum")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "not the JSON that was written") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"{folder} has format version {version}, this program knows {FORMAT_VERSION}",
            fix="prepare the pictures again, or use the program that wrote it",
        )
    if hashlib.sha256(canonical(facts)).hexdigest() != checksum:
        raise _damaged(path, "its checksum is wrong")
    return dict(facts)


def open_shard(path: Path, size: int, json_sha256: str | None = None) -> Shard:
    """One shard with its names and labels; the pixels stay on disk.

    Args:
        path: the data file; the JSON file lies beside it.
        size: side of the pictures in pixels.
        json_sha256: of the JSON file, if it is known.

    Raises:
        DataError: a file is missing, or not as long as it should be, or the JSON file is not the one expected.
    """
    about = path.with_suffix(".json")
    try:
        facts = json.loads(_read_checked(about, json_sha256))
        names, labels = tuple(facts["names"]), np.array(facts["labels"], np.int64)
        if path.stat().st_size != facts["bytes"]:
            raise _damaged(path, f"{path.stat().st_size:,} bytes instead of {facts['bytes']:,}")
        pixels, offsets = None, None
        if path.suffix == SUFFIXES["jpeg"]:
            offsets = np.array(facts["offsets"], np.int64)
            complete = len(offsets) == len(labels) + 1
        else:
            pixels = np.load(path, mmap_mode="r", allow_pickle=False)
            complete = pixels.shape == (len(labels), size, size, 3) and pixels.dtype == np.uint8
        if not complete or len(names) != len(labels):
            raise _damaged(path, "it does not hold what its JSON file says")
        return Shard(path, facts["sha256"], names, labels, pixels, offsets)
    except FileNotFoundError as error:
        raise _damaged(Path(error.filename), "the file is missing") from error
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(about, "not the JSON that was written") from error


def read_shard(shard: Shard, indices: NDArray[np.int64], size: int, threads: int = 1) -> NDArray[np.uint8]:
    """The pictures at `indices` (n,) of one shard, (n, size, size, 3); JPEGs are decoded by `threads` threads."""
    if shard.pixels is not None:
        raw: NDArray[np.uint8] = shard.pixels[indices]
        return raw
    assert shard.offsets is not None
    # Opened for every call: a split of a million pictures has more shards than a process may have files open.
    data = np.memmap(shard.path, np.uint8, "r")
    spans = [(shard.offsets[index], shard.offsets[index + 1]) for index in indices]
    pictures = np.empty((len(indices), size, size, 3), np.uint8)

    def decode(position: int) -> None:
        start, stop = spans[position]
        try:
            with Image.open(io.BytesIO(data[start:stop].tobytes()), formats=["JPEG"]) as image:
                pictures[position] = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise _damaged(shard.path, f"picture {shard.names[indices[position]]} cannot be decoded") from error

    if threads == 1 or len(indices) < THREADS_FROM:
        for position in range(len(indices)):
            decode(position)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, range(len(indices))))
    return pictures


def _read_checked(path: Path, sha256: str | None) -> bytes:
    """A small file as bytes; DataError if it is missing or has another sha256."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise _damaged(path, "the file is missing") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise _damaged(path, "its bytes are not the ones that were written")
    return content


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is damaged: {reason}", fix=f"delete the folder {path.parent} and prepare the pictures again"
    )

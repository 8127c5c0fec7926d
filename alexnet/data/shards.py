"""Writes and reads shards: files with up to 1,024 images of a split, each with a JSON file that describes them.

train-0000.npy     uint8 (n, size, size, 3) if the encoding is "raw", mapped into memory when read
train-0000.jpegs   or n JPEG files end to end if the encoding is "jpeg"
train-0000.json    names and labels of the n images, offsets of the JPEGs, sha256 of the file above
"""

import hashlib
import io
import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.errors import DataError
from alexnet.storage.files import file_sha256, parse_json, writing

SUFFIXES = {"raw": ".npy", "jpeg": ".jpegs"}

_compared: set[tuple[Path, str]] = set()
_comparing = threading.Lock()

# For fewer images, starting threads takes longer than they save.
THREADS_FROM = 16


@dataclass(frozen=True, eq=False)
class Shard:
    """Up to 1,024 images in one file."""

    path: Path
    sha256: str
    names: tuple[str, ...]
    labels: NDArray[np.int64]  # (n,)
    pixels: NDArray[np.uint8] | None  # raw: (n, size, size, 3), mapped into memory
    offsets: NDArray[np.int64] | None  # jpeg: (n + 1,), image i is bytes offsets[i]:offsets[i + 1]
    content: NDArray[np.uint8] | None = None  # jpeg: the file mapped into memory, if it may be deleted


def shard_path(folder: Path, split: str, number: int, encoding: str) -> Path:
    """Makes the path of a shard. It is never read from a file, so a prepared folder cannot refer to other folders."""
    return folder / f"{split}-{number:04d}{SUFFIXES[encoding]}"


def stored(pixels: NDArray[np.uint8], jpeg_quality: int | None) -> tuple[bytes, NDArray[np.uint8]]:
    """Returns the bytes of an image in a shard, and the pixels (size, size, 3) that reading them gives.

    Args:
        pixels: (size, size, 3).
        jpeg_quality: in Pillow's scale, or None for raw pixels.
    """
    if jpeg_quality is None:
        return pixels.tobytes(), pixels
    buffer = io.BytesIO()
    # No chroma subsampling: the images are small, so the network would see the loss of color detail.
    Image.fromarray(pixels).save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
    with Image.open(buffer, formats=["JPEG"]) as image:
        return buffer.getvalue(), np.asarray(image)


def write_shard(
    path: Path, images: Iterable[tuple[str, int, bytes]], count: int, size: int, *, raw: bool
) -> dict[str, Any]:
    """Writes the data file of one shard, completely or not at all.

    Args:
        path: the data file.
        images: name, label and content, from `stored`, of each image.
        count: the maximum number of `images`.
        size: side of the images in pixels.
        raw: whether they are raw pixels, not JPEGs.

    Returns:
        The fields that its JSON file must have.
    """
    names, labels, offsets = [], [], [0]
    digest = hashlib.sha256()
    with writing(path) as file:
        header = _npy_header(count, size) if raw else b""
        file.write(header)
        digest.update(header)
        for name, label, content in images:
            file.write(content)
            digest.update(content)
            names.append(name)
            labels.append(label)
            offsets.append(offsets[-1] + len(content))
        length = file.tell()
        if raw and len(names) < count:
            file.seek(0)
            file.write(_npy_header(len(names), size))
    sha256 = file_sha256(path) if raw and len(names) < count else digest.hexdigest()
    facts = {"names": names, "labels": labels, "bytes": length, "sha256": sha256}
    return facts if raw else facts | {"offsets": offsets}


def open_shard(path: Path, size: int, json_sha256: str | None = None, *, here: bool = True) -> Shard:
    """Opens one shard with its names and labels; the pixels stay on disk.

    Args:
        path: the data file; the JSON file is in the same folder.
        size: side of the images in pixels.
        json_sha256: of the JSON file, if it is known.
        here: whether the data file exists already; if not, call `mapped` once it exists.

    Raises:
        DataError: a file is missing or has the wrong length, or the JSON file is not the expected one.
    """
    json_path = path.with_suffix(".json")
    try:
        facts = parse_json(read_checked(json_path, json_sha256))
        names, labels = tuple(facts["names"]), np.array(facts["labels"], np.int64)
        if here and path.stat().st_size != facts["bytes"]:
            raise damaged(path, f"{path.stat().st_size:,} bytes instead of {facts['bytes']:,}")
        pixels, offsets = None, None
        complete = len(names) == len(labels)
        if path.suffix == SUFFIXES["jpeg"]:
            offsets = np.array(facts["offsets"], np.int64)
            complete &= len(offsets) == len(labels) + 1
        elif here:
            pixels = _mapped_pixels(path, len(labels), size)
        if not complete:
            raise damaged(path, "it does not hold what its JSON file says")
        return Shard(path, facts["sha256"], names, labels, pixels, offsets)
    except FileNotFoundError as error:
        raise damaged(Path(error.filename), "the file is missing") from error
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(json_path, "not the JSON that was written") from error


def mapped(shard: Shard, size: int) -> Shard:
    """Maps the data file of a shard that was opened before the file existed; the file may be deleted afterwards.

    Raises:
        FileNotFoundError: the data file does not exist.
        DataError: it does not match its JSON file.
    """
    if shard.offsets is not None:
        return replace(shard, content=np.memmap(shard.path, np.uint8, "r"))
    return replace(shard, pixels=_mapped_pixels(shard.path, len(shard.labels), size))


def read_shard(shard: Shard, indices: NDArray[np.int64], size: int, threads: int = 1) -> NDArray[np.uint8]:
    """Reads the images at `indices` (n,) of one shard: (n, size, size, 3). `threads` threads decode JPEGs."""
    if shard.pixels is not None:
        raw: NDArray[np.uint8] = shard.pixels[indices]
        return raw
    assert shard.offsets is not None
    # Opened in every call: a split of a million images has more shards than a process may have open files.
    data = np.memmap(shard.path, np.uint8, "r") if shard.content is None else shard.content
    spans = [(shard.offsets[index], shard.offsets[index + 1]) for index in indices]
    images = np.empty((len(indices), size, size, 3), np.uint8)

    def decode(position: int) -> None:
        start, stop = spans[position]
        try:
            with Image.open(io.BytesIO(data[start:stop].tobytes()), formats=["JPEG"]) as image:
                if (image.mode, image.size) != ("RGB", (size, size)):
                    raise ValueError(f"{image.mode}, {image.size[0]} x {image.size[1]}")
                images[position] = np.asarray(image)
        except Exception as error:
            # Decoders raise almost any exception type for damaged bytes.
            raise damaged(shard.path, f"image {shard.names[indices[position]]} cannot be decoded") from error

    if threads == 1 or len(indices) < THREADS_FROM:
        for position in range(len(indices)):
            decode(position)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, range(len(indices))))
    return images


def compare_once(shard: Shard) -> None:
    """Compares a data file with its sha256 when this process first reads it: a flipped bit would train on in silence.

    A file that is gone was fetched, compared when it came, and may be deleted while it is mapped; a shard without a
    checksum was never written.

    Raises:
        DataError: it is not what was written.
    """
    if not shard.sha256:
        return
    key = (shard.path, shard.sha256)
    with _comparing:
        if key not in _compared and shard.path.exists():
            if file_sha256(shard.path) != shard.sha256:
                raise damaged(shard.path, "its sha256 is not the one that was written")
            _compared.add(key)


def canonical(values: Any) -> bytes:
    """Writes JSON in one canonical form, in ASCII, so names that are not valid Unicode are kept too."""
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")


def read_checked(path: Path, sha256: str | None) -> bytes:
    """Reads a small file; DataError if it is missing or has another sha256."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise damaged(path, "the file is missing") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise damaged(path, "its bytes are not the ones that were written")
    return content


def damaged(path: Path, reason: str) -> DataError:
    """Makes the error for a file of a prepared folder that differs from what was written."""
    return DataError(
        f"{path} is damaged: {reason}",
        fix=f"Delete the folder {path.parent} and prepare the images again.",
        code="E333",
    )


def _mapped_pixels(path: Path, count: int, size: int) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if pixels.shape != (count, size, size, 3) or pixels.dtype != np.uint8:
        raise damaged(path, "it does not hold what its JSON file says")
    return pixels


def _npy_header(count: int, size: int) -> bytes:
    """The header of a .npy file of `count` images. NumPy pads it, so its length does not depend on `count`."""
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()

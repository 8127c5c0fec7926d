"""A `Source` -> a prepared folder: every picture decoded once, 256x256 uint8 in shards, statistics over train.

Threads work on shards of up to 1,024 pictures of one split (Pillow and NumPy release the interpreter lock). Every
file is written under another name, flushed to the disk and renamed, and `prepared.json` comes last: a folder without
it is not prepared. After an interruption finished shards are used again if they are intact and what they must hold
has not changed since; a second run on a finished folder does nothing. The format is described in `alexnet.dataset`.

The statistics are sums of integers, so they are exact and do not depend on the number of threads or the order in
which shards finish. They are taken over the pixels that training will read, i.e. after JPEG compression if there is
one: the mean image, and mean and covariance of RGB over all pixels (paper, sec. 4.1).
"""

import errno
import hashlib
import io
import json
import os
import shutil
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet import dataset
from alexnet.errors import DataError, ResourceError, UsageError
from alexnet.images import prepare_image_noting
from alexnet.sources import Samples, Source

RAW_LIMIT_BYTES = 8_000_000_000
JPEG_QUALITY = 95
SHARD_IMAGES = 1024
TEMPORARY = ".tmp"
# Photos at quality 95 take about half a byte a pixel; the reserve is for pictures with more detail.
JPEG_BYTES_PER_PIXEL = 1.0


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be read."""

    split: str
    name: str  # as in the source
    reason: str


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did."""

    folder: Path
    size: int
    encoding: str  # "raw" or "jpeg"
    counts: dict[str, dict[str, int]]  # split -> class -> pictures kept
    skipped: tuple[Skipped, ...]
    oddities: dict[str, int]  # in how many pictures: "enlarged", "rotated by EXIF", "transparent", ...
    notes: tuple[str, ...]  # of the source
    fingerprint: str
    seconds: float
    already_done: bool  # the folder was finished before, nothing was written
    reused_shards: int  # left by an interrupted run


@dataclass(frozen=True)
class _Plan:
    """One shard to write."""

    split: str
    path: Path
    samples: Samples
    start: int
    stop: int
    key: str  # of what the shard must hold


class _Tally:
    """What the threads share: pictures done, exact sums over the training pictures, the wish to stop."""

    def __init__(self, size: int):
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.done = 0
        self.count = 0  # training pictures
        self.image = np.zeros((size, size, 3), np.int64)  # their sum
        self.products = np.zeros((3, 3), np.int64)  # sum of x x^T over all their pixels

    def advance(self, pictures: int) -> None:
        with self.lock:
            self.done += pictures

    def add(self, count: int, image: NDArray[np.int64], products: NDArray[np.int64]) -> None:
        with self.lock:
            self.count += count
            self.image += image
            self.products += products


class _Stopped(Exception):
    """Another thread failed or the user interrupted; never leaves this file."""


def prepare(
    source: Source,
    out: Path,
    *,
    size: int = 256,
    encoding: str = "auto",
    raw_limit_bytes: int = RAW_LIMIT_BYTES,
    jpeg_quality: int = JPEG_QUALITY,
    workers: int | None = None,
    strict: bool = False,
    shard_images: int = SHARD_IMAGES,
    progress: Callable[[int, int], None] | None = None,
) -> PrepareReport:
    """Writes the pictures of `source` into the folder `out`, or goes on where an earlier call was interrupted.

    Args:
        source: from `alexnet.sources.open_source`.
        out: a new or empty folder, or one this function has worked on with the same arguments.
        size: side of the prepared squares in pixels.
        encoding: "raw" (3 bytes a pixel, fast), "jpeg" (about a fifth), or "auto": raw up to `raw_limit_bytes`.
        raw_limit_bytes: see `encoding`.
        jpeg_quality: 1..95, in Pillow's scale.
        workers: threads; as many as processors if None. The result does not depend on it.
        strict: the first unreadable picture is an error; otherwise it is skipped and listed in the report.
        shard_images: pictures per file.
        progress: called in the caller's thread with pictures done and pictures in all, a few times a second.

    Raises:
        DataError: `out` holds something else; a picture is unreadable and `strict`; a class or split has lost all.
        ResourceError: too little space on the disk.
    """
    begin = time.monotonic()
    settings = _settings(source, size, encoding, raw_limit_bytes, jpeg_quality)
    identities = {split: _identities(samples) for split, samples in source.splits.items()}
    key = _source_key(source, settings, identities)
    _refuse_inside(source, out)
    if (out / dataset.PREPARED).exists():
        facts = dataset.read_facts(out)
        _same_or_refuse(out, facts["settings"] | {"pictures": facts["key"]}, settings | {"pictures": key})
        dataset.open_prepared(out)
        if strict and facts["skipped"]:
            raise _unreadable(*facts["skipped"][0])
        return _report(out, facts, begin, already_done=True)

    _claim(out, source, settings, shard_images)
    plans = _plans(source, out, settings, identities, shard_images)
    _check_space(out, plans, settings)
    tally = _Tally(size)
    workers = workers or os.cpu_count() or 1
    shards = _run(plans, lambda plan: _make_shard(plan, settings, strict, tally), workers, tally, progress)
    facts = _facts(source, settings, key, plans, shards)
    _refuse_losses(source, facts)
    _finish(out, plans, facts | {"statistics": _statistics(tally)}, _mean_image(tally))
    reused = sum(shard["reused"] for shard in shards)
    return _report(out, dataset.read_facts(out), begin, reused_shards=reused)


def cache_key(
    source: Source,
    size: int = 256,
    encoding: str = "auto",
    raw_limit_bytes: int = RAW_LIMIT_BYTES,
    jpeg_quality: int = JPEG_QUALITY,
) -> str:
    """sha256 of all that decides what `prepare` would write, without reading the pictures of folders.

    Names, labels, file sizes and modification times (for arrays the pixels) and the arguments; not where the folder
    lies, so a moved one has the same key.
    """
    settings = _settings(source, size, encoding, raw_limit_bytes, jpeg_quality)
    identities = {split: _identities(samples) for split, samples in source.splits.items()}
    return _source_key(source, settings, identities)


# --- what is to be done --------------------------------------------------------------------------------------------


def _settings(source: Source, size: int, encoding: str, raw_limit_bytes: int, jpeg_quality: int) -> dict[str, Any]:
    """The arguments that decide about the content, "auto" resolved."""
    if encoding not in ("auto", *dataset.SUFFIXES):
        raise UsageError(f"encoding is {encoding!r}", fix="choose auto, raw or jpeg")
    if size < 1:
        raise UsageError(f"size is {size} pixels", fix="the paper prepares 256")
    if encoding == "auto":
        raw_bytes = sum(len(samples) for samples in source.splits.values()) * size * size * 3
        encoding = "raw" if raw_bytes <= raw_limit_bytes else "jpeg"
    return {"size": size, "encoding": encoding} | ({"jpeg_quality": jpeg_quality} if encoding == "jpeg" else {})


def _identities(samples: Samples) -> list[str]:
    """For every sample a string that changes when its picture does."""
    if samples.arrays is not None:
        return [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in samples.arrays]
    assert samples.root is not None
    return [_file_identity(os.path.join(samples.root, name)) for name in samples.names]


def _file_identity(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        # A dangling link, for instance: reading it fails later, with a reason for the list of skipped pictures.
        return f"unreadable:{error.errno}"
    return f"{status.st_size}:{status.st_mtime_ns}"


def _samples_key(samples: Samples, identities: Sequence[str], start: int, stop: int) -> bytes:
    digest = hashlib.sha256()
    for index in range(start, stop):
        line = f"{samples.names[index]}\0{samples.labels[index]}\0{identities[index]}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.digest()


def _source_key(source: Source, settings: dict[str, Any], identities: dict[str, list[str]]) -> str:
    digest = hashlib.sha256(dataset.canonical([dataset.FORMAT_VERSION, settings, source.class_names]))
    for split, samples in source.splits.items():
        digest.update(split.encode() + _samples_key(samples, identities[split], 0, len(samples)))
    return digest.hexdigest()


def _plans(
    source: Source, out: Path, settings: dict[str, Any], identities: dict[str, list[str]], shard_images: int
) -> list[_Plan]:
    """All shards of all splits, in order."""
    plans = []
    for split, samples in source.splits.items():
        for number, start in enumerate(range(0, len(samples), shard_images)):
            stop = min(start + shard_images, len(samples))
            content = _samples_key(samples, identities[split], start, stop)
            key = hashlib.sha256(dataset.canonical([dataset.FORMAT_VERSION, settings]) + content).hexdigest()
            path = dataset.shard_path(out, split, number, settings["encoding"])
            plans.append(_Plan(split, path, samples, start, stop, key))
    return plans


# --- may it be done ------------------------------------------------------------------------------------------------


def _refuse_inside(source: Source, out: Path) -> None:
    """Prepared folders among the class folders would be taken for a class the next time; hidden ones are not."""
    target = out.resolve()
    for samples in source.splits.values():
        root = samples.root.resolve() if samples.root is not None else None
        if root is None or not target.is_relative_to(root):
            continue
        if not any(part.startswith(".") for part in target.relative_to(root).parts):
            raise DataError(f"{out} lies inside the folder of the pictures, {root}", fix="choose another folder")


def _same_or_refuse(out: Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
    different = [name for name in sorted(there | asked) if there.get(name) != asked.get(name)]
    if different:
        changes = ", ".join(
            name if name == "pictures" else f"{name}: {there.get(name)} there, {asked.get(name)} asked for"
            for name in different
        )
        raise DataError(f"{out} was prepared from something else ({changes})", fix="choose another folder")


def _claim(out: Path, source: Source, settings: dict[str, Any], shard_images: int) -> None:
    """Makes `out` the folder of this preparation, or finds that it is already."""
    roots = sorted({str(samples.root.resolve()) for samples in source.splits.values() if samples.root is not None})
    asked = settings | {"source": source.name, "folders": roots, "pictures per shard": shard_images}
    claim = out / dataset.UNFINISHED
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file", fix="choose another folder")
    if claim.is_file():
        try:
            there = json.loads(claim.read_bytes())
        except ValueError as error:
            raise DataError(f"{claim} is damaged", fix=f"delete {out}, or choose another folder") from error
        _same_or_refuse(out, there, asked)
        return
    if out.is_dir() and any(entry.name != claim.name + TEMPORARY for entry in out.iterdir()):
        raise DataError(f"{out} holds other files", fix="choose a new or empty folder; nothing in it was touched")
    with _disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        _write(claim, dataset.canonical(asked))


def _check_space(out: Path, plans: list[_Plan], settings: dict[str, Any]) -> None:
    pictures = sum(plan.stop - plan.start for plan in plans if not plan.path.exists())
    per_pixel = 3 if settings["encoding"] == "raw" else JPEG_BYTES_PER_PIXEL
    needed = pictures * settings["size"] ** 2 * per_pixel
    free = shutil.disk_usage(out).free
    if free < needed:
        raise ResourceError(
            f"{pictures} pictures need about {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free in {out}",
            fix="make room, choose a folder on another disk, a smaller size, or --encoding jpeg",
        )


def _refuse_losses(source: Source, facts: dict[str, Any]) -> None:
    """No class may lose its last picture silently: the network could never learn, or never be tested on it."""
    for split, samples in source.splits.items():
        for label in np.unique(samples.labels):
            name = source.class_names[label]
            if facts["counts"][split][name] == 0:
                lost = {samples.names[index] for index in np.flatnonzero(samples.labels == label)}
                picture, reason = next(each[1:] for each in facts["skipped"] if each[0] == split and each[1] in lost)
                raise DataError(
                    f"no picture of {name} in {split} could be read (for example {picture}: {reason})",
                    fix="replace the pictures, or remove the class",
                )


# --- doing it ------------------------------------------------------------------------------------------------------


def _run(
    plans: list[_Plan],
    work: Callable[[_Plan], dict[str, Any]],
    workers: int,
    tally: _Tally,
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, Any]]:
    """The results of `work` for all plans, done by threads; the first error or Ctrl-C stops them all."""
    total = sum(plan.stop - plan.start for plan in plans)
    # Pillow warns of damaged metadata on stderr, which tells a user nothing. Filters are not safe to change inside
    # of threads, hence once around all of them.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        futures = [pool.submit(work, plan) for plan in plans]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=0.1, return_when=FIRST_EXCEPTION)
                for future in sorted(done, key=futures.index):
                    future.result()
                if progress is not None:
                    progress(tally.done, total)
        except BaseException:
            tally.stop.set()
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]


def _make_shard(plan: _Plan, settings: dict[str, Any], strict: bool, tally: _Tally) -> dict[str, Any]:
    """Writes one shard unless it is there already, and adds its pictures to the sums; returns its JSON facts."""
    if tally.stop.is_set():
        raise _Stopped
    facts = _finished(plan, settings["size"])
    reused = facts is not None
    if facts is None:
        with _disk_errors(plan.path):
            facts = _write_shard(plan, settings, strict, tally)
            _write(plan.path.with_suffix(".json"), dataset.canonical(facts))
    else:
        tally.advance(plan.stop - plan.start)
        if strict and facts["skipped"]:
            raise _unreadable(plan.split, *facts["skipped"][0])
    if plan.split == "train":
        _add_sums(dataset.open_shard(plan.path, settings["size"]), settings["size"], tally)
    return facts | {"reused": reused, "json_sha256": dataset.file_sha256(plan.path.with_suffix(".json"))}


def _finished(plan: _Plan, size: int) -> dict[str, Any] | None:
    """The facts of a shard that an earlier run has finished; None if there is none, or not this one, or damaged."""
    about = plan.path.with_suffix(".json")
    if not about.is_file():
        return None
    try:
        shard = dataset.open_shard(plan.path, size)
        facts: dict[str, Any] = json.loads(about.read_bytes())
    except DataError:
        # What a crash has left half-written is simply written again.
        return None
    return facts if facts["key"] == plan.key and dataset.file_sha256(plan.path) == shard.sha256 else None


def _write_shard(plan: _Plan, settings: dict[str, Any], strict: bool, tally: _Tally) -> dict[str, Any]:
    """Writes the data file of one shard and returns what its JSON file must say."""
    size, raw = settings["size"], settings["encoding"] == "raw"
    names, labels, offsets, skipped = [], [], [0], []
    oddities: Counter[str] = Counter()
    with _atomically(plan.path) as file:
        if raw:
            _npy_header(file, plan.stop - plan.start, size)
        for index in range(plan.start, plan.stop):
            if tally.stop.is_set():
                raise _Stopped
            picture = plan.samples.picture(index)
            try:
                pixels, odd = prepare_image_noting(picture, size)
            except DataError as error:
                reason = error.what.removeprefix(f"{picture}: ")
                if strict:
                    raise _unreadable(plan.split, plan.samples.names[index], reason) from error
                skipped.append([plan.samples.names[index], reason])
            else:
                content = pixels.tobytes() if raw else _jpeg(pixels, settings["jpeg_quality"])
                file.write(content)
                names.append(plan.samples.names[index])
                labels.append(int(plan.samples.labels[index]))
                offsets.append(offsets[-1] + len(content))
                oddities.update(odd)
            tally.advance(1)
        length = file.tell()
        if raw and skipped:
            _npy_header(file, len(names), size)
    facts = {"key": plan.key, "names": names, "labels": labels, "bytes": length, "skipped": skipped}
    facts |= {"sha256": dataset.file_sha256(plan.path), "oddities": dict(sorted(oddities.items()))}
    return facts if raw else facts | {"offsets": offsets}


def _npy_header(file: IO[bytes], count: int, size: int) -> None:
    """Header of a .npy file of `count` pictures. NumPy leaves room in it, so its length does not depend on count."""
    file.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    # Full colour resolution: the nets see 256 pixels, not a photo from afar.
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _unreadable(split: str, name: str, reason: str) -> DataError:
    return DataError(
        f"{name} ({split}) cannot be used: {reason}", fix="replace or remove it, or prepare without strict"
    )


# --- statistics ----------------------------------------------------------------------------------------------------


def _add_sums(shard: dataset.Shard, size: int, tally: _Tally) -> None:
    """Adds the pictures of a shard, read back as training reads them, to the sums."""
    image = np.zeros((size, size, 3), np.int64)
    products = np.zeros((3, 3), np.int64)
    for index in range(len(shard.labels)):
        if tally.stop.is_set():
            raise _Stopped
        (picture,) = dataset.read_shard(shard, np.array([index]), size)
        image += picture
        flat = picture.reshape(-1, 3).astype(np.float64)
        # Exact: all sums are integers below 2**53 up to pictures of 370,000 x 370,000 pixels.
        products += (flat.T @ flat).astype(np.int64)
    tally.add(len(shard.labels), image, products)


def _mean_image(tally: _Tally) -> bytes:
    """The mean training picture as a .npy file, float32 (size, size, 3)."""
    buffer = io.BytesIO()
    np.save(buffer, (tally.image / max(tally.count, 1)).astype(np.float32), allow_pickle=False)
    return buffer.getvalue()


def _statistics(tally: _Tally) -> dict[str, Any]:
    """Mean, standard deviation and principal components of RGB over all pixels of the training pictures.

    Principal components are ordered by ascending standard deviation; of every vector the component of largest
    magnitude is positive, which fixes the sign that eigenvectors leave open.
    """
    pixels = tally.count * tally.image.shape[0] * tally.image.shape[1]
    sums = [int(value) for value in tally.image.sum(axis=(0, 1))]
    # Integers of Python: N*sum(xy) - sum(x)*sum(y) exceeds 64 bits, and as floats it would lose digits.
    covariance = np.array(
        [[(pixels * int(tally.products[i, j]) - sums[i] * sums[j]) / pixels**2 for j in range(3)] for i in range(3)]
    )
    variances, vectors = np.linalg.eigh(covariance)
    largest = vectors[np.abs(vectors).argmax(axis=0), range(3)]
    return {
        "channel_mean": [value / pixels for value in sums],
        "channel_std": np.sqrt(covariance.diagonal()).tolist(),
        "color_stdevs": np.sqrt(variances.clip(0)).tolist(),
        "color_vectors": (vectors * np.sign(largest)).tolist(),
    }


# --- the end -------------------------------------------------------------------------------------------------------


def _facts(
    source: Source, settings: dict[str, Any], key: str, plans: list[_Plan], shards: list[dict[str, Any]]
) -> dict[str, Any]:
    """What prepared.json says, without the statistics."""
    made = list(zip(plans, shards, strict=True))
    splits, counts, content = {}, {}, {}
    for split in source.splits:
        mine = [shard for plan, shard in made if plan.split == split]
        labels = Counter(label for shard in mine for label in shard["labels"])
        counts[split] = {name: labels[index] for index, name in enumerate(source.class_names)}
        content[split] = [(np.array(shard["labels"], np.int64), shard["sha256"]) for shard in mine]
        splits[split] = {
            "count": labels.total(),
            "shards": [{field: shard[field] for field in ("sha256", "json_sha256", "bytes")} for shard in mine],
        }
    return {
        "version": dataset.FORMAT_VERSION,
        "source": source.name,
        "notes": source.notes,
        "size": settings["size"],
        "encoding": settings["encoding"],
        "settings": settings,
        "key": key,
        "class_names": source.class_names,
        "splits": splits,
        "counts": counts,
        "skipped": [[plan.split, *each] for plan, shard in made for each in shard["skipped"]],
        "oddities": dict(sum((Counter(shard["oddities"]) for shard in shards), Counter())),
        "fingerprint": dataset.fingerprint(source.class_names, content),
    }


def _finish(out: Path, plans: list[_Plan], facts: dict[str, Any], mean_image: bytes) -> None:
    """Writes what makes the folder a prepared one, and removes what an interrupted run has left over."""
    facts = facts | {"mean_image_sha256": hashlib.sha256(mean_image).hexdigest()}
    checksum = hashlib.sha256(dataset.canonical(facts)).hexdigest()
    with _disk_errors(out):
        _write(out / dataset.MEAN_IMAGE, mean_image)
        _write(out / dataset.PREPARED, dataset.canonical(facts | {"checksum": checksum}))
        needed = {dataset.PREPARED, dataset.MEAN_IMAGE}
        needed.update(path.name for plan in plans for path in (plan.path, plan.path.with_suffix(".json")))
        for path in out.iterdir():
            if path.name not in needed and (path.suffix == TEMPORARY or path.name == dataset.UNFINISHED):
                path.unlink()


def _report(
    out: Path, facts: dict[str, Any], begin: float, already_done: bool = False, reused_shards: int = 0
) -> PrepareReport:
    return PrepareReport(
        folder=out,
        size=facts["size"],
        encoding=facts["encoding"],
        counts=facts["counts"],
        skipped=tuple(Skipped(*each) for each in facts["skipped"]),
        oddities=facts["oddities"],
        notes=tuple(facts["notes"]),
        fingerprint=facts["fingerprint"],
        seconds=time.monotonic() - begin,
        already_done=already_done,
        reused_shards=reused_shards,
    )


# --- files that are complete or absent ------------------------------------------------------------------------------


@contextmanager
def _atomically(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that appears under `path` only when it is complete and on the disk."""
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write(path: Path, content: bytes) -> None:
    with _atomically(path) as file:
        file.write(content)


@contextmanager
def _disk_errors(where: Path) -> Iterator[None]:
    """Turns a full disk or one that refuses into a ResourceError."""
    try:
        yield
    except OSError as error:
        free = shutil.disk_usage(where if where.is_dir() else where.parent).free if where.parent.is_dir() else 0
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = f"no space left ({free / 1e9:.2f} GB free)" if full else (error.strerror or str(error)).lower()
        raise ResourceError(
            f"{where} cannot be written: {what}",
            fix="make room or choose another folder, then run the same again: finished parts are kept",
        ) from error

"""Writes the planned shards: decodes every image once, in threads that stop together.

All threads decode images of one shard, a few each time (Pillow and NumPy release the interpreter lock). While it is
flushed to the disk, they are at the next one. Of several errors, the first in the order of the images is raised. A
finished shard of an interrupted run is used again if it is intact and its planned content has not changed. The sums for
the statistics are computed from the pixels that training will read, that is, after JPEG compression if the shards are
JPEGs.
"""

import hashlib
import os
import threading
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.dataset import WHOLE
from alexnet.data.image_bytes import MAX_PIXELS
from alexnet.data.images import prepare_image_noting
from alexnet.data.loops import load_loops
from alexnet.data.pixel_statistics import PixelSums
from alexnet.data.prepare_plan import CONTINUE_FIX, Plan
from alexnet.data.shards import Shard, canonical, open_shard, read_shard, stored, write_shard
from alexnet.errors import DataError
from alexnet.progress import ProgressCallback
from alexnet.storage.files import disk_errors, file_sha256, parse_json, write_file

PIECE_PIXELS = 1 << 20  # of prepared images that one thread makes at a time: 16 of 256 x 256
SHARDS_AT_ONCE = 2  # one is decoded while the one before is flushed to the disk


@dataclass(frozen=True)
class _Decoded:
    """An image of a plan, or why it cannot be read."""

    name: str
    label: int
    content: bytes | None  # as a shard holds it
    oddities: tuple[str, ...] = ()
    reason: str = ""


class _Work:
    """The state that the threads share: the number of images done, the sums over train, and the request to stop."""

    def __init__(self, settings: dict[str, Any], strict: bool, sums: PixelSums, threads: int, shards: int):
        self.size: int = settings["size"]
        self.max_pixels: int = settings.get("max_pixels", MAX_PIXELS)
        self.whole: bool = settings.get(WHOLE, False)
        self.jpeg_quality: int | None = settings.get("jpeg_quality")  # None for raw pixels
        self.strict = strict
        self.sums = sums
        self.threads = threads
        self.decoders = ThreadPoolExecutor(threads)
        self.decoded = [threading.Event() for _ in range(shards)]  # the shard needs the decoders no more
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.done = 0

    def advance(self, images: int) -> None:
        with self.lock:
            self.done += images

    def check(self) -> None:
        if self.stop.is_set():
            raise _Stopped


class _Stopped(Exception):
    """Raised in a thread after another thread failed or the user interrupted; never leaves this file."""


def make_shards(
    plans: list[Plan],
    settings: dict[str, Any],
    sums: PixelSums,
    *,
    strict: bool,
    threads: int | None,
    progress: ProgressCallback,
) -> list[dict[str, Any]]:
    """Writes all shards that do not exist yet. The first error, or Ctrl-C, stops all threads.

    Args:
        plans: the shards.
        settings: size and encoding, see `alexnet.data.prepare_plan.choose_settings`.
        sums: the images of "train" are added to it.
        strict: whether an unreadable image is an error; if False it is left out.
        threads: number of threads that decode; None: one per processor.
        progress: called in the caller's thread with the numbers of images done and in total.

    Returns:
        For every plan the fields of its JSON file, "json_sha256" of that file, and whether the shard was "reused".
    """
    work = _Work(settings, strict, sums, threads or os.cpu_count() or 1, len(plans))
    total = sum(plan.stop - plan.start for plan in plans)
    load_loops(total)
    # Pillow warns about damaged metadata on stderr, which does not help a user. Changing warning filters inside
    # threads is not safe, so it is done once around all of them.
    with warnings.catch_warnings(), work.decoders, ThreadPoolExecutor(SHARDS_AT_ONCE) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        futures = [pool.submit(_make_shard, number, plan, work) for number, plan in enumerate(plans)]
        try:
            for future in futures:
                while not wait((future,), timeout=0.1).done:
                    progress("preparing", work.done, total)
                future.result()
                progress("preparing", work.done, total)
        except BaseException:
            work.stop.set()
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]


def unreadable(split: str, name: str, reason: str) -> DataError:
    """Makes the error for an image that cannot be read and may not be left out."""
    return DataError(
        f"{name} ({split}) cannot be used: {reason}",
        fix="Replace or remove it, or prepare without --strict.",
        code="E307",
    )


def _make_shard(number: int, plan: Plan, work: _Work) -> dict[str, Any]:
    """Writes one shard unless it is finished already, and returns its JSON fields; those of train go to the sums."""
    try:
        work.check()
        json_path = plan.path.with_suffix(".json")
        facts = _finished_facts(plan, work.size)
        reused = facts is not None
        if facts is None:
            with disk_errors(f"writing {plan.path}", CONTINUE_FIX):
                facts = _write(number, plan, work)
                write_file(json_path, canonical(facts | {"checksum": _checksum(facts)}))
        else:
            work.decoded[number].set()
            _use_again(plan, facts, work)
        return facts | {"reused": reused, "json_sha256": file_sha256(json_path)}
    finally:
        work.decoded[number].set()  # where it failed too: the next one waits for it


def _write(number: int, plan: Plan, work: _Work) -> dict[str, Any]:
    """Writes the images of a shard once those of the shard before are decoded, and returns the JSON fields."""
    skipped: list[tuple[str, str]] = []
    oddities: Counter[str] = Counter()
    images = _decode_images(number, plan, work, skipped, oddities)
    facts = write_shard(plan.path, images, plan.stop - plan.start, work.size, raw=work.jpeg_quality is None)
    return facts | {"key": plan.key, "skipped": skipped, "oddities": dict(sorted(oddities.items()))}


def _use_again(plan: Plan, facts: dict[str, Any], work: _Work) -> None:
    """Counts the images of a finished shard and adds those of train to the sums."""
    work.advance(plan.stop - plan.start)
    if work.strict and facts["skipped"]:
        raise unreadable(plan.split, *facts["skipped"][0])
    if plan.split == "train":
        for pixels in _read_back(open_shard(plan.path, work.size), work):
            work.sums.add(pixels)


def _finished_facts(plan: Plan, size: int) -> dict[str, Any] | None:
    """Reads the JSON fields of a finished shard; None if it is missing, damaged, or has other content than planned."""
    json_path = plan.path.with_suffix(".json")
    if not json_path.is_file():
        return None
    try:
        shard = open_shard(plan.path, size)
    except DataError:
        # A shard that a crash left half-written is written again.
        return None
    facts: dict[str, Any] = parse_json(json_path.read_bytes())
    # prepared.json has the sha256 of this file, but does not exist yet; its own checksum reveals a flipped bit now.
    intact = facts.pop("checksum", None) == _checksum(facts) and file_sha256(plan.path) == shard.sha256
    return facts if intact and facts["key"] == plan.key else None


def _checksum(facts: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(facts)).hexdigest()


def _decode_images(
    number: int, plan: Plan, work: _Work, skipped: list[tuple[str, str]], oddities: Counter[str]
) -> Iterator[tuple[str, int, bytes]]:
    """Yields name, label and content of the readable images, in order. Adds to `skipped` and `oddities`."""
    length = max(1, PIECE_PIXELS // work.size**2)
    ahead: deque[Future[list[_Decoded]]] = deque()
    if number > 0:
        work.decoded[number - 1].wait()
    for start in range(plan.start, plan.stop, length):
        stop = min(start + length, plan.stop)
        ahead.append(work.decoders.submit(_decode_piece, plan, work, start, stop))
        if len(ahead) > work.threads + 1:
            yield from _readable(ahead.popleft().result(), skipped, oddities)
    while ahead:
        yield from _readable(ahead.popleft().result(), skipped, oddities)
    work.decoded[number].set()


def _readable(
    images: list[_Decoded], skipped: list[tuple[str, str]], oddities: Counter[str]
) -> Iterator[tuple[str, int, bytes]]:
    for image in images:
        if image.content is None:
            skipped.append((image.name, image.reason))
        else:
            yield image.name, image.label, image.content
            oddities.update(image.oddities)


def _decode_piece(plan: Plan, work: _Work, start: int, stop: int) -> list[_Decoded]:
    """Decodes the images start..stop - 1 of a plan."""
    found = []
    for index in range(start, stop):
        work.check()
        name, image, label = plan.samples.names[index], plan.samples.image(index), int(plan.samples.labels[index])
        try:
            pixels, oddities = prepare_image_noting(image, work.size, work.max_pixels, whole=work.whole)
        except DataError as error:
            reason = error.what.removeprefix(f"{image}: ")
            if work.strict:
                raise unreadable(plan.split, name, reason) from error
            found.append(_Decoded(name, label, None, reason=reason))
        else:
            content, pixels = stored(pixels, work.jpeg_quality)
            if plan.split == "train":
                work.sums.add(pixels)
            found.append(_Decoded(name, label, content, oddities))
        work.advance(1)
    return found


def _read_back(shard: Shard, work: _Work) -> Iterator[NDArray[np.uint8]]:
    """Yields the images of a shard one by one, as training reads them."""
    for index in range(len(shard.labels)):
        work.check()
        yield read_shard(shard, np.array([index]), work.size)[0]

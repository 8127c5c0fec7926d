"""Planned shards -> shard files: every picture decoded once, by threads that stop together.

Threads work on one shard each (Pillow and NumPy release the interpreter lock). A shard that an interrupted run has
left is used again if it is intact and what it must hold has not changed since. The sums for the statistics are taken
over the pixels that training will read, i.e. after JPEG compression if there is one.
"""

import hashlib
import json
import os
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images import prepare_image_noting
from alexnet.data.pixel_statistics import PixelSums
from alexnet.data.prepare_plan import GO_ON, Plan
from alexnet.data.shards import Shard, canonical, open_shard, read_shard, write_shard
from alexnet.errors import DataError
from alexnet.progress import ProgressCallback
from alexnet.storage.files import disk_errors, file_sha256, write_file


class _Work:
    """What the threads share: pictures done, the sums over the training pictures, the wish to stop."""

    def __init__(self, settings: dict[str, Any], strict: bool, sums: PixelSums):
        self.size: int = settings["size"]
        self.jpeg_quality: int | None = settings.get("jpeg_quality")  # None for raw pixels
        self.strict = strict
        self.sums = sums
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
    """Another thread failed or the user interrupted; never leaves this file."""


def make_shards(
    plans: list[Plan],
    settings: dict[str, Any],
    sums: PixelSums,
    *,
    strict: bool,
    workers: int | None,
    progress: ProgressCallback,
) -> list[dict[str, Any]]:
    """Writes all shards that are not there yet; the first error or Ctrl-C stops all threads.

    Args:
        plans: the shards.
        settings: size and encoding, see `alexnet.data.prepare_plan.choose_settings`.
        sums: the pictures of "train" are added to it.
        strict: an unreadable picture is an error; otherwise it is left out.
        workers: threads; as many as processors if None.
        progress: called in the caller's thread with pictures done and pictures in all.

    Returns:
        for every plan what its JSON file says, "json_sha256" of that file, and whether it was "reused".
    """
    work = _Work(settings, strict, sums)
    total = sum(plan.stop - plan.start for plan in plans)
    # Pillow warns of damaged metadata on stderr, which tells a user nothing. Filters are not safe to change inside
    # of threads, hence once around all of them.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        futures = [pool.submit(_make_shard, plan, work) for plan in plans]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=0.1, return_when=FIRST_EXCEPTION)
                for future in sorted(done, key=futures.index):
                    future.result()
                progress("preparing", work.done, total)
        except BaseException:
            work.stop.set()
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]


def unreadable(split: str, name: str, reason: str) -> DataError:
    """The error for a picture that cannot be read where none may be left out."""
    return DataError(
        f"{name} ({split}) cannot be used: {reason}",
        fix="replace or remove it, or prepare without --strict",
        code="E307",
    )


def _make_shard(plan: Plan, work: _Work) -> dict[str, Any]:
    """Writes one shard unless it is there already, and adds its pictures to the sums; returns its JSON facts."""
    work.check()
    about = plan.path.with_suffix(".json")
    facts = _finished(plan, work.size)
    reused = facts is not None
    if facts is None:
        skipped: list[tuple[str, str]] = []
        oddities: Counter[str] = Counter()
        images = _decoded(plan, work, skipped, oddities)
        with disk_errors(f"writing {plan.path}", GO_ON):
            facts = write_shard(plan.path, images, plan.stop - plan.start, work.size, work.jpeg_quality)
            facts |= {"key": plan.key, "skipped": skipped, "oddities": dict(sorted(oddities.items()))}
            write_file(about, canonical(facts | {"checksum": _checksum(facts)}))
    else:
        work.advance(plan.stop - plan.start)
        if work.strict and facts["skipped"]:
            raise unreadable(plan.split, *facts["skipped"][0])
    if plan.split == "train":
        work.sums.add(_read_back(open_shard(plan.path, work.size), work))
    return facts | {"reused": reused, "json_sha256": file_sha256(about)}


def _finished(plan: Plan, size: int) -> dict[str, Any] | None:
    """The facts of a shard that an earlier run has finished; None if there is none, or not this one, or damaged."""
    about = plan.path.with_suffix(".json")
    if not about.is_file():
        return None
    try:
        shard = open_shard(plan.path, size)
    except DataError:
        # What a crash has left half-written is simply written again.
        return None
    facts: dict[str, Any] = json.loads(about.read_bytes())
    # Only a finished folder knows the sha256 of this file; until then a flipped bit in a label must be found as well.
    intact = facts.pop("checksum", None) == _checksum(facts) and file_sha256(plan.path) == shard.sha256
    return facts if intact and facts["key"] == plan.key else None


def _checksum(facts: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(facts)).hexdigest()


def _decoded(
    plan: Plan, work: _Work, skipped: list[tuple[str, str]], oddities: Counter[str]
) -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
    """Name, label and pixels of the pictures that can be read. Adds to `skipped` and `oddities`."""
    for index in range(plan.start, plan.stop):
        work.check()
        name, image = plan.samples.names[index], plan.samples.image(index)
        try:
            pixels, odd = prepare_image_noting(image, work.size)
        except DataError as error:
            reason = error.what.removeprefix(f"{image}: ")
            if work.strict:
                raise unreadable(plan.split, name, reason) from error
            skipped.append((name, reason))
        else:
            yield name, int(plan.samples.labels[index]), pixels
            oddities.update(odd)
        work.advance(1)


def _read_back(shard: Shard, work: _Work) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a shard one by one, as training reads them."""
    for index in range(len(shard.labels)):
        work.check()
        yield read_shard(shard, np.array([index]), work.size)[0]

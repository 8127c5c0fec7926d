"""Prepares a `Source`: decodes every image once, writes squares of uint8 pixels in shards, and statistics of train.

Every file is written under a temporary name, flushed to the disk and renamed. `prepared.json` is written last: a
folder without it is not prepared. Only one process prepares a folder: others that want the same wait for it. After an
interruption the finished shards are used again. A second run on a finished folder changes nothing.
`alexnet.data.dataset` describes the format.
"""

import hashlib
import io
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data import dataset
from alexnet.data.pixel_statistics import PixelSums
from alexnet.data.prepare_plan import (
    CONTINUE_FIX,
    RESAMPLING,
    Plan,
    check_space,
    choose_settings,
    claimed,
    identities_of,
    plan_shards,
    refuse_inside,
    same_or_refuse,
    source_key,
)
from alexnet.data.prepare_shards import make_shards, unreadable
from alexnet.data.samples import Source, draw_again
from alexnet.data.shards import canonical
from alexnet.errors import DataError, UsageError
from alexnet.progress import ProgressCallback, silent
from alexnet.storage.files import TEMPORARY, disk_errors, write_file

RAW_LIMIT_BYTES = 8_000_000_000
JPEG_QUALITY = 95
SHARD_IMAGES = 1024


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read."""

    split: str
    name: str  # as in the source
    reason: str


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did."""

    folder: Path
    size: int
    encoding: str  # "raw" or "jpeg"
    counts: dict[str, dict[str, int]]  # split -> class -> images kept
    skipped: tuple[Skipped, ...]
    oddities: dict[str, int]  # oddity -> number of images: "enlarged", "rotated by EXIF", "transparent", ...
    notes: tuple[str, ...]  # of the source
    fingerprint: str
    seconds: float
    already_done: bool  # the folder was finished before; nothing was written
    reused_shards: int  # from an interrupted run

    def __repr__(self) -> str:
        images = sum(sum(classes.values()) for classes in self.counts.values())
        return f"PrepareReport({self.folder}: {images:,} images of {self.size} pixels, {len(self.skipped)} left out)"


def prepare(
    source: Source,
    out: Path,
    *,
    size: int = 256,
    whole: bool = False,
    encoding: str = "auto",
    raw_limit_bytes: int = RAW_LIMIT_BYTES,
    jpeg_quality: int = JPEG_QUALITY,
    threads: int | None = None,
    strict: bool = False,
    max_pixels: int | None = None,
    shard_images: int = SHARD_IMAGES,
    progress: ProgressCallback = silent,
) -> PrepareReport:
    """Writes the images of `source` into the folder `out`, or continues an earlier call that was interrupted.

    Args:
        source: from `alexnet.data.sources.open_source`.
        out: a new or empty folder, or the folder of an earlier call with the same arguments.
        size: side of the prepared squares in pixels.
        whole: stretches whole images to squares, instead of cutting out their central squares.
        encoding: "raw" (3 bytes per pixel, fast), "jpeg" (about a fifth), or "auto": raw up to `raw_limit_bytes`.
        raw_limit_bytes: see `encoding`.
        jpeg_quality: 1..95, in Pillow's scale.
        threads: number of threads; None: one per processor. The result does not depend on it.
        strict: whether an unreadable image is an error; if False it is skipped and listed in the report.
        max_pixels: images with more pixels are left out; see `alexnet.data.images.prepare_image`.
        shard_images: images per shard.
        progress: called in the caller's thread, a few times per second, with the numbers of images done and in total.

    Raises:
        DataError: `out` holds other files; an image is unreadable and `strict` is True; all images of a class are
            unreadable.
        ResourceError: there is too little space on the disk.
    """
    if threads is not None and threads < 1:
        raise UsageError(
            f"threads={threads}: at least one is needed",
            fix="Leave it out to use all processors.",
            code="E222",
        )
    begin = time.monotonic()
    settings = choose_settings(source, size, encoding, raw_limit_bytes, jpeg_quality, max_pixels, whole=whole)
    identities = identities_of(source)
    key = source_key(source, settings, identities)
    refuse_inside(source, out)

    def already() -> PrepareReport:
        facts = dataset.read_facts(out)
        wanted, wanted_key = settings, key
        if RESAMPLING not in facts["settings"]:  # of an earlier version: good as it is
            wanted = {name: value for name, value in settings.items() if name != RESAMPLING}
            wanted_key = source_key(source, wanted, identities)
        same_or_refuse(out, facts["settings"] | {"pictures": facts["key"]}, wanted | {"pictures": wanted_key})
        dataset.open_prepared(out)
        if strict and facts["skipped"]:
            raise unreadable(*facts["skipped"][0])
        notes = list(dict.fromkeys((*source.notes, *facts["notes"])))  # those of today, and what was divided again
        return _report(out, facts | {"notes": notes}, begin, already_done=True)

    if (out / dataset.PREPARED).exists():
        return already()
    images = sum(len(identities[split]) for split in source.splits)
    with claimed(out, source, settings, key, shard_images, waiting=lambda: progress("preparing", 0, images)):
        if (out / dataset.PREPARED).exists():  # another process had the folder, and this one waited for it
            return already()
        plans = plan_shards(source, out, settings, identities, shard_images)
        check_space(out, plans, settings)
        sums = PixelSums(size)
        shards = make_shards(plans, settings, sums, strict=strict, threads=threads, progress=progress)
        facts = _facts(source, settings, key, plans, shards)
        divided = draw_again(source, {(split, name) for split, name, _ in facts["skipped"]})
        if divided is not source:
            first, plans = plans, plan_shards(divided, out, settings, identities_of(divided), shard_images)
            _remove_shards(first, plans)
            sums = PixelSums(size)
            shards = make_shards(plans, settings, sums, strict=strict, threads=threads, progress=progress)
            facts = _facts(divided, settings, key, plans, shards)
        _refuse_losses(divided, facts)
        _finish(out, plans, facts, sums)
    reused = sum(shard["reused"] for shard in shards)
    return _report(out, dataset.read_facts(out), begin, reused_shards=reused)


def cache_key(
    source: Source,
    size: int = 256,
    encoding: str = "auto",
    raw_limit_bytes: int = RAW_LIMIT_BYTES,
    jpeg_quality: int = JPEG_QUALITY,
    max_pixels: int | None = None,
    *,
    whole: bool = False,
) -> str:
    """Hashes everything that determines what `prepare` would write (sha256), without reading image files.

    That is the names, labels, file sizes and modification times (for arrays the pixels) and the arguments, but not the
    path of the folder: a folder that was moved has the same key.
    """
    settings = choose_settings(source, size, encoding, raw_limit_bytes, jpeg_quality, max_pixels, whole=whole)
    return source_key(source, settings, identities_of(source))


def _remove_shards(plans: list[Plan], kept: list[Plan]) -> None:
    """Removes the shards of a first division that the second one does not have: a split may need one fewer."""
    for path in {plan.path for plan in plans} - {plan.path for plan in kept}:
        for each in (path, path.with_suffix(".json")):
            each.unlink(missing_ok=True)


def _refuse_losses(source: Source, facts: dict[str, Any]) -> None:
    """Raises a DataError if no image of a class could be read: the class could not be learned or evaluated."""
    for split, samples in source.splits.items():
        for label in np.unique(samples.labels):
            name = source.class_names[label]
            if facts["counts"][split][name] == 0:
                members = {samples.names[index] for index in np.flatnonzero(samples.labels == label)}
                image, reason = next(skip[1:] for skip in facts["skipped"] if skip[0] == split and skip[1] in members)
                raise DataError(
                    f"no image of {name} in {split} could be read (for example {image}: {reason})",
                    fix="Replace the images, or move the folder of the class elsewhere.",
                    code="E339",
                )


def _facts(
    source: Source, settings: dict[str, Any], key: str, plans: list[Plan], shards: list[dict[str, Any]]
) -> dict[str, Any]:
    """Collects the fields of prepared.json, without the statistics."""
    pairs = list(zip(plans, shards, strict=True))
    splits, counts, content = {}, {}, {}
    for split in source.splits:
        split_shards = [shard for plan, shard in pairs if plan.split == split]
        labels = Counter(label for shard in split_shards for label in shard["labels"])
        counts[split] = {name: labels[index] for index, name in enumerate(source.class_names)}
        content[split] = [(np.array(shard["labels"], np.int64), shard["sha256"]) for shard in split_shards]
        splits[split] = {
            "count": labels.total(),
            "shards": [{field: shard[field] for field in ("sha256", "json_sha256", "bytes")} for shard in split_shards],
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
        "skipped": [[plan.split, *skip] for plan, shard in pairs for skip in shard["skipped"]],
        "oddities": dict(sum((Counter(shard["oddities"]) for shard in shards), Counter())),
        "fingerprint": dataset.fingerprint(source.class_names, content),
    }


def _finish(out: Path, plans: list[Plan], facts: dict[str, Any], sums: PixelSums) -> None:
    """Writes the mean image and prepared.json, and removes the leftovers of an interrupted run."""
    buffer = io.BytesIO()
    np.save(buffer, sums.mean_image(), allow_pickle=False)
    mean_image = buffer.getvalue()
    facts = facts | {
        "statistics": sums.color_statistics(),
        "mean_image_sha256": hashlib.sha256(mean_image).hexdigest(),
    }
    checksum = hashlib.sha256(canonical(facts)).hexdigest()
    with disk_errors(f"writing {out}", CONTINUE_FIX):
        write_file(out / dataset.MEAN_IMAGE, mean_image)
        write_file(out / dataset.PREPARED, canonical(facts | {"checksum": checksum}))
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
        skipped=tuple(Skipped(*skip) for skip in facts["skipped"]),
        oddities=facts["oddities"],
        notes=tuple(facts["notes"]),
        fingerprint=facts["fingerprint"],
        seconds=time.monotonic() - begin,
        already_done=already_done,
        reused_shards=reused_shards,
    )

"""Plans a preparation: its settings, keys that reveal changed images, a plan per shard, and checks of the folder."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.data.dataset import FORMAT_VERSION, PREPARED, UNFINISHED, WHOLE
from alexnet.data.image_bytes import MAX_PIXELS, pixel_limit
from alexnet.data.samples import Samples, Source
from alexnet.data.shards import SUFFIXES, canonical, shard_path
from alexnet.errors import DataError, ResourceError, UsageError
from alexnet.storage.files import disk_errors, parse_json, temporary_for, write_file
from alexnet.storage.locks import LOCK, in_turn

# Photographs at quality 95 take about half a byte per pixel; the reserve is for images with more detail.
JPEG_BYTES_PER_PIXEL = 1.0

# How squares were resized; an earlier version left the order to Pillow, whose versions differ in it.
RESAMPLING, ROWS_FIRST = "resampling", "rows first"

LOOKS = 0.25  # seconds between two looks whether another process has finished the folder

CONTINUE_FIX = "Make room or choose another folder, then run the same command again: finished parts are kept."


@dataclass(frozen=True)
class Plan:
    """One shard to write."""

    split: str
    path: Path
    samples: Samples
    start: int
    stop: int
    key: str  # changes when the content of the shard must change


def choose_settings(
    source: Source,
    size: int,
    encoding: str,
    raw_limit_bytes: int,
    jpeg_quality: int,
    max_pixels: int | None = None,
    *,
    whole: bool = False,
) -> dict[str, Any]:
    """Collects the arguments that determine the content, with "auto" resolved."""
    if encoding not in ("auto", *SUFFIXES):
        raise UsageError(f"there is no encoding {encoding!r}", fix="Choose auto, raw or jpeg.", code="E220")
    if size < 1:
        raise UsageError(
            f"size is {size} pixels, but must be at least 1", fix="Choose 256, as the paper does.", code="E221"
        )
    if encoding == "auto":
        raw_bytes = sum(len(samples) for samples in source.splits.values()) * size * size * 3
        encoding = "raw" if raw_bytes <= raw_limit_bytes else "jpeg"
    settings: dict[str, Any] = {"size": size, "encoding": encoding, RESAMPLING: ROWS_FIRST}
    if encoding == "jpeg":
        settings["jpeg_quality"] = jpeg_quality
    limit = pixel_limit() if max_pixels is None else max_pixels
    if limit != MAX_PIXELS:
        settings["max_pixels"] = limit
    if whole:
        settings[WHOLE] = True
    return settings


def identities_of(source: Source) -> dict[str, list[str]]:
    """Returns for every split one string per sample, which changes when the image changes."""
    return {split: _identities(samples) for split, samples in source.splits.items()}


def _identities(samples: Samples) -> list[str]:
    if samples.arrays is not None:
        return [hashlib.sha256(pixels.tobytes()).hexdigest() for pixels in samples.arrays]
    assert samples.root is not None
    return [_file_identity(os.path.join(samples.root, name)) for name in samples.names]


def _file_identity(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        # For example a broken link: reading it fails later, with a reason for the list of skipped images.
        return f"unreadable:{error.errno}"
    return f"{status.st_size}:{status.st_mtime_ns}"


def _samples_key(samples: Samples, identities: Sequence[str], start: int, stop: int) -> bytes:
    digest = hashlib.sha256()
    for index in range(start, stop):
        line = f"{samples.names[index]}\0{samples.labels[index]}\0{identities[index]}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.digest()


def source_key(source: Source, settings: dict[str, Any], identities: dict[str, list[str]]) -> str:
    """Hashes everything that determines the content of the prepared folder (sha256)."""
    digest = hashlib.sha256(canonical([FORMAT_VERSION, settings, source.class_names]))
    for split, samples in source.splits.items():
        digest.update(split.encode() + _samples_key(samples, identities[split], 0, len(samples)))
    return digest.hexdigest()


def plan_shards(
    source: Source, out: Path, settings: dict[str, Any], identities: dict[str, list[str]], shard_images: int
) -> list[Plan]:
    """Plans all shards of all splits, in order."""
    plans = []
    for split, samples in source.splits.items():
        for number, start in enumerate(range(0, len(samples), shard_images)):
            stop = min(start + shard_images, len(samples))
            content = _samples_key(samples, identities[split], start, stop)
            key = hashlib.sha256(canonical([FORMAT_VERSION, settings]) + content).hexdigest()
            path = shard_path(out, split, number, settings["encoding"])
            plans.append(Plan(split, path, samples, start, stop, key))
    return plans


def refuse_inside(source: Source, out: Path) -> None:
    """Raises a DataError if `out` lies among the class folders, where it would be taken for a class the next time.

    Hidden folders are allowed: they are never taken for a class.
    """
    target = out.resolve()
    for samples in source.splits.values():
        root = samples.root.resolve() if samples.root is not None else None
        if root is None or not target.is_relative_to(root):
            continue
        if not any(part.startswith(".") for part in target.relative_to(root).parts):
            raise DataError(
                f"{out} lies inside the folder of the images, {root}", fix="Choose another folder.", code="E334"
            )


def same_or_refuse(out: Path, existing: dict[str, Any], requested: dict[str, Any]) -> None:
    """Raises a DataError that names the settings in which a folder differs from what is requested."""
    different = [name for name in sorted(existing | requested) if existing.get(name) != requested.get(name)]
    if different:
        changes = ", ".join(
            "images"
            if name == "pictures"
            else f"{name.replace('pictures', 'images')}: {existing.get(name)} there, {requested.get(name)} requested"
            for name in different
        )
        raise DataError(
            f"{out} was prepared from something else ({changes})", fix="Choose another folder.", code="E335"
        )


@contextmanager
def claimed(
    out: Path, source: Source, settings: dict[str, Any], key: str, shard_images: int, waiting: Callable[[], None]
) -> Iterator[None]:
    """Makes `out` the folder of this preparation, unless it is already, and of this process alone.

    Args:
        key: see `source_key`; an unfinished folder of the same key is used again though the images were moved.
        waiting: called a few times per second while another process has the folder.

    Raises:
        DataError: `out` is a file, holds other files, or is the unfinished folder of another preparation.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, not a folder", fix="Choose another folder.", code="E336")
    claim = out / UNFINISHED
    ours = {claim.name, temporary_for(claim).name, LOCK}
    if not claim.is_file() and out.is_dir() and any(entry.name not in ours for entry in out.iterdir()):
        _refuse_unless_prepared(out)
    with disk_errors(f"making {out}", CONTINUE_FIX):
        out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        while not held.enter_context(in_turn(out / LOCK, LOOKS)):
            waiting()
        if not (out / PREPARED).exists():
            _claim(claim, source, settings, key, shard_images)
        yield
        with suppress(OSError):  # Windows does not remove a file that is open
            (out / LOCK).unlink()


def _refuse_unless_prepared(out: Path) -> None:
    """Raises a DataError for a folder of other files; another process may have finished it this moment."""
    if not (out / PREPARED).exists():
        raise DataError(
            f"{out} holds other files", fix="Choose a new or empty folder; nothing in it was changed.", code="E337"
        )


def _claim(claim: Path, source: Source, settings: dict[str, Any], key: str, shard_images: int) -> None:
    """Writes what the folder is for, or refuses if it is for something else."""
    roots = sorted({str(samples.root.resolve()) for samples in source.splits.values() if samples.root is not None})
    requested = settings | {"source": source.name, "folders": roots, "pictures per shard": shard_images}
    if claim.is_file():
        try:
            existing = parse_json(claim.read_bytes())
        except ValueError as error:
            raise DataError(f"{claim} is damaged", fix="Choose another folder.", code="E338") from error
        if existing.pop("key", None) == key:  # the same images, which may have been moved
            existing |= {name: requested[name] for name in ("source", "folders")}
        same_or_refuse(claim.parent, existing, requested)
    with disk_errors(f"making {claim.parent}", CONTINUE_FIX):
        write_file(claim, canonical(requested | {"key": key}))


def check_space(out: Path, plans: list[Plan], settings: dict[str, Any]) -> None:
    """Raises a ResourceError if there is too little space for what must still be written."""
    images = sum(plan.stop - plan.start for plan in plans if not plan.path.exists())
    per_pixel = 3 if settings["encoding"] == "raw" else JPEG_BYTES_PER_PIXEL
    needed = images * settings["size"] ** 2 * per_pixel
    free = shutil.disk_usage(out).free
    if free < needed:
        raise ResourceError(
            f"{images} images need about {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free in {out}",
            fix="Make room, choose a folder on another disk, a smaller size, or --encoding jpeg.",
            code="E541",
        )

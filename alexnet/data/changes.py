"""Finds out whether a folder still holds the images that were prepared from it.

Names, sizes and times are compared first, as one key. Only if it differs, because files were touched or copied as well
as because they are others, images are decoded and compared with those prepared, up to the first that is another.
"""

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data.dataset import Prepared, Split, read_facts
from alexnet.data.image_bytes import MAX_PIXELS
from alexnet.data.images import Pixels, prepare_image
from alexnet.data.loops import load_loops
from alexnet.data.prepare_plan import RESAMPLING, ROWS_FIRST, identities_of, source_key
from alexnet.data.samples import Samples, Source
from alexnet.data.shards import stored
from alexnet.errors import DataError
from alexnet.progress import ProgressCallback, silent
from alexnet.text import listed

# In the prepared folder: keys of sources that were found to hold the same images, so that they are compared once.
SAME_IMAGES = "same-images.txt"
CHUNK = 64


def changed_images(source: Source, prepared: Prepared, progress: ProgressCallback = silent) -> str:
    """Says how the images of `source` differ from those that `prepared` was made from; "" if they do not.

    Args:
        source: as it is now.
        prepared: a folder on this machine that was made from it.
        progress: called while images are compared, if their names are the same but their sizes or times are not.

    Returns:
        The first images that are gone, that are new, or one that is another or of another class or split.
    """
    facts = read_facts(prepared.folder)
    key = source_key(source, facts["settings"], identities_of(source))
    if key == facts["key"] or key in _keys(prepared.folder):
        return ""
    here = {name: (samples, index) for samples in source.splits.values() for index, name in enumerate(samples.names)}
    kept = {name for split in prepared.splits.values() for name in split.names}
    unreadable = {name for _, name, _ in facts["skipped"]}
    roots = {samples.root for samples in source.splits.values() if samples.root is not None}
    # An image that is there but not listed any more is none that the user removed.
    gone = sorted(name for name in kept - set(here) if not any(os.path.lexists(root / name) for root in roots))
    new = sorted(set(here) - kept - unreadable)
    reasons = [f"gone: {listed(gone, 3)}"] * bool(gone) + [f"new: {listed(new, 3)}"] * bool(new)
    if not reasons:
        reasons = _moved(source, prepared)
    if not reasons:
        reasons = [f"another image: {name}" for name in _other_image(here, prepared, facts, progress)]
    if not reasons:
        with suppress(OSError), (prepared.folder / SAME_IMAGES).open("a") as file:
            file.write(key + "\n")
    return "; ".join(reasons)


def _moved(source: Source, prepared: Prepared) -> list[str]:
    """The first image that is of another class now, or in another split if the splits are the user's."""
    places = {
        name: (split, source.class_names[label])
        for split, samples in source.splits.items()
        for name, label in zip(samples.names, samples.labels.tolist(), strict=True)
    }
    for split, kept in prepared.splits.items():
        for name, label in zip(kept.names, kept.labels.tolist(), strict=True):
            if name in places:
                split_now, class_now = places[name]
                if class_now != prepared.class_names[label]:
                    return [f"another class: {name} was {prepared.class_names[label]} and is {class_now}"]
                if source.draw is None and split_now != split:
                    return [f"another split: {name} was in {split} and is in {split_now}"]
    return []


def _keys(folder: Path) -> set[str]:
    try:
        return set((folder / SAME_IMAGES).read_text("ascii").split())
    except (OSError, ValueError):
        return set()


def _same(image: Pixels, prepared: Pixels, exact: bool) -> bool:
    """Whether they are one image; not `exact`: resized in another order, so that some pixels differ by a gray level."""
    if exact:
        return np.array_equal(image, prepared)
    return float(np.abs(image.astype(np.int16) - prepared).mean()) < 1


def _other_image(
    here: dict[str, tuple[Samples, int]], prepared: Prepared, facts: dict[str, Any], progress: ProgressCallback
) -> list[str]:
    """The name of the first image that is not the prepared one, or that could not be read then and can now; or none."""
    size, quality = prepared.size, facts["settings"].get("jpeg_quality")
    max_pixels = facts["settings"].get("max_pixels", MAX_PIXELS)
    exact = facts["settings"].get(RESAMPLING) == ROWS_FIRST

    def differs(item: tuple[str, Split | None, int]) -> bool:
        name, split, index = item
        samples, number = here[name]
        try:
            pixels = prepare_image(samples.image(number), size, max_pixels, whole=prepared.whole)
        except DataError:
            return split is not None
        return split is None or not _same(stored(pixels, quality)[1], split.read([index])[0], exact)

    def items() -> Iterator[tuple[str, Split | None, int]]:
        for split in prepared.splits.values():
            yield from ((name, split, index) for index, name in enumerate(split.names) if name in here)
        yield from ((name, None, 0) for _, name, _ in facts["skipped"] if name in here)

    todo = list(items())
    load_loops(len(todo))
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged metadata, as when they were prepared
        for start in range(0, len(todo), CHUNK):
            chunk = todo[start : start + CHUNK]
            for (name, *_), other in zip(chunk, pool.map(differs, chunk), strict=True):
                if other:
                    return [name]
            progress("comparing", start + len(chunk), len(todo))
    return []

"""Looks at a sample of prepared images and at their original files, for `alexnet.cues.measure`."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.cues.files import FileFacts, facts_of
from alexnet.cues.measure import MOST_HELD_OUT, MOST_TRAIN, Cues, Looked, chosen, measure, too_few
from alexnet.cues.pixels import SIDE, small_square
from alexnet.data.dataset import Prepared, Split, validation_split
from alexnet.data.images import Pixels
from alexnet.data.open import is_prepared
from alexnet.data.samples import Source
from alexnet.data.sources import open_source
from alexnet.progress import ProgressCallback, silent
from alexnet.storage.files import user_path

NO_FILES = "the original files are not here, so their sizes and compression were not looked at"
BLOCK = 256  # images read at once, which limits the memory


def cues_of_prepared(
    prepared: Prepared, data: str, labels: Path | None = None, progress: ProgressCallback = silent
) -> tuple[Cues | None, str]:
    """Measures the cues of prepared images and of the files that they were made from, or says why they are not.

    Args:
        data: what was prepared, where its files are looked for.
        labels: a table of files and labels, see `open_source`.
    """
    split = validation_split(prepared)
    if split is None:
        return None, "there are no validation images"
    if prepared.address is not None:
        return None, "the images are not on this machine"
    train, held_out = prepared.splits["train"], prepared.splits[split]
    if reason := too_few(len(train), len(held_out), len(prepared.class_names)):
        return None, reason
    roots = _roots(data, labels)
    note = "" if roots else NO_FILES
    seen = _look(train, MOST_TRAIN, roots.get(train.name, ()), progress)
    asked = _look(held_out, MOST_HELD_OUT, roots.get(held_out.name, ()), progress)
    return measure(split, seen, asked, len(prepared.class_names), note), ""


def _roots(data: str, labels: Path | None) -> Mapping[str, tuple[Path, ...]]:
    """The folders in which files of each split may lie; empty for prepared folders and named datasets."""
    if is_prepared(data) or not user_path(data).is_dir():
        return {}
    source = open_source(data, labels=labels)
    roots = {name: samples.root for name, samples in source.splits.items() if samples.root is not None}
    return {name: (root, *(other for other in roots.values() if other != root)) for name, root in roots.items()}


def _look(split: Split, most: int, roots: tuple[Path, ...], progress: ProgressCallback) -> Looked:
    rows = chosen(split.labels, most)
    squares = np.zeros((len(rows), SIDE, SIDE, 3), np.uint8)
    for start in range(0, len(rows), BLOCK):
        progress("looking for simple cues", start, len(rows))
        for i, square in enumerate(split.read(rows[start : start + BLOCK]), start):
            squares[i] = small_square(square)
    progress("looking for simple cues", len(rows), len(rows))
    names = tuple(split.names[i] for i in rows.tolist())

    def facts(name: str) -> FileFacts | None:
        return next((found for root in roots if (found := facts_of(root / name)) is not None), None)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        files = tuple(pool.map(facts, names)) if roots else None
    return Looked(split.labels[rows], names, squares, files)


def rows_to_look_at(labels: Mapping[str, NDArray[np.int64]]) -> set[tuple[str, int]]:
    """Chooses the images of a set that are looked at: split and index of each. Empty without a validation split."""
    split = next((name for name in ("val", "test") if name in labels), None)
    if split is None:
        return set()
    parts = (("train", MOST_TRAIN), (split, MOST_HELD_OUT))
    return {(name, index) for name, most in parts for index in chosen(labels[name], most).tolist()}


def cues_of_squares(source: Source, squares: Mapping[tuple[str, int], Pixels]) -> tuple[Cues | None, str]:
    """Measures the cues of images that were read already, or says why they are not.

    Args:
        squares: (64, 64, 3) by split and index, of the images of `rows_to_look_at` that can be read.
    """
    split = next((name for name in ("val", "test") if name in source.splits), None)
    if split is None:
        return None, "there are no validation images"
    looked, has_files = [], True
    for name in ("train", split):
        samples = source.splits[name]
        rows = sorted(index for part, index in squares if part == name)
        images = [samples.image(index) for index in rows]
        has_files = all(isinstance(image, Path) for image in images)
        files = tuple(facts_of(image) for image in images if isinstance(image, Path)) if has_files else None
        pixels = np.stack([squares[name, index] for index in rows]) if rows else np.zeros((0, SIDE, SIDE, 3), np.uint8)
        looked.append(Looked(samples.labels[rows], tuple(samples.names[i] for i in rows), pixels, files))
    seen, asked = looked
    if reason := too_few(len(seen), len(asked), len(set(seen.labels.tolist()))):
        return None, reason
    return measure(split, seen, asked, len(source.class_names), "" if has_files else NO_FILES), ""

"""Reads every image of a source once: file format, checksums, hashes, brightness and sharpness.

This module only measures; `alexnet.doctor.findings` judges.
"""

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.cues.look import rows_to_look_at
from alexnet.cues.pixels import small_square
from alexnet.data.exclusions import image_sha256
from alexnet.data.image_files import format_of
from alexnet.data.images import Pixels, prepare_image, read_image_noting
from alexnet.data.loops import load_loops
from alexnet.data.samples import Source
from alexnet.doctor.duplicates import CELLS, Hashes, difference_hash, small_image
from alexnet.errors import DataError
from alexnet.progress import ProgressCallback, silent

SQUARE = 256  # side in pixels at which images are measured, the size to which the paper prepares them
CHUNK = 64  # images that a thread takes at a time


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known about one image."""

    split: str
    index: int  # in its split
    name: str
    label: int
    sha256: str  # of the file, or of the pixels if there is no file; "" if it cannot be read at all
    error: str = ""  # why it cannot be read; then the following fields are empty
    pixels_sha256: str = ""  # of the decoded pixels and their shape: equal for a PNG and a TIFF made from it
    format: str = ""  # one of `alexnet.data.images.FORMATS`; "" for pixels
    animated: bool = False
    oddities: tuple[str, ...] = ()
    width: int = 0  # upright
    height: int = 0
    spread: float = 0.0  # largest standard deviation of the three color channels, in gray levels
    dark: int = 0  # a twentieth of the pixels has this luma or less, 0..255
    bright: int = 0  # a twentieth has this luma or more
    sharpness: float = 0.0  # see `sharpness_of`


@dataclass(frozen=True, eq=False)
class Inspection:
    """The facts of all images, and the arrays for comparing them; the rows of unreadable images are 0."""

    source: Source
    images: tuple[ImageFacts, ...]
    hashes: Hashes  # (N, 2)
    mirrored: Hashes  # (N, 2)
    small: Pixels  # (N, 16, 16, 3)
    looked: dict[int, Pixels] = field(default_factory=dict)  # squares for `alexnet.cues`, by index of the image


def inspect(source: Source, *, workers: int | None = None, progress: ProgressCallback = silent) -> Inspection:
    """Reads every image once, in threads; the result does not depend on the number of threads.

    Args:
        workers: number of threads; if None, one per processor.
        progress: called with the number of images read and of all images.
    """
    indices = [(split, index) for split, samples in source.splits.items() for index in range(len(samples))]
    hashes, mirrored = np.zeros((2, len(indices), 2), np.uint64)
    small = np.zeros((len(indices), CELLS, CELLS, 3), np.uint8)
    wanted, looked = rows_to_look_at({split: samples.labels for split, samples in source.splits.items()}), {}

    def read_chunk(start: int) -> list[ImageFacts]:
        chunk = []
        for row, (split, index) in enumerate(indices[start : start + CHUNK], start):
            facts, square = examine_image(source, split, index)
            chunk.append(facts)
            if square is not None:
                hashes[row], mirrored[row] = difference_hash(square)
                small[row] = small_image(square)
                if (split, index) in wanted:
                    looked[row] = small_square(square)
        return chunk

    images: list[ImageFacts] = []
    load_loops(len(indices))
    # As in `alexnet.data.prepare_shards`: Pillow's warnings about damaged metadata do not help a user.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            for chunk in pool.map(read_chunk, range(0, len(indices), CHUNK)):
                images += chunk
                progress("reading", len(images), len(indices))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Inspection(source, tuple(images), hashes, mirrored, small, looked)


def examine_image(source: Source, split: str, index: int) -> tuple[ImageFacts, Pixels | None]:
    """Measures one image; also returns its central square of at most 256 pixels, or None if it cannot be read."""
    samples = source.splits[split]
    image = samples.image(index)
    sha256 = image_sha256(samples, index)
    identity = (split, index, samples.names[index], int(samples.labels[index]), sha256)
    file_format, animated = "", False
    oddities: tuple[str, ...] = ()
    try:
        if isinstance(image, Path):
            pixels, oddities = read_image_noting(image)
            file_format, animated = format_of(image)
        else:
            pixels = image
    except DataError as error:
        return ImageFacts(*identity, error=error.what.removeprefix(f"{image}: ")), None
    height, width = pixels.shape[:2]
    # Not enlarged, because a small sharp image must not count as a blurred one.
    square = prepare_image(pixels, min(SQUARE, height, width))
    dark, bright = ends_of(square)
    facts = ImageFacts(
        *identity,
        pixels_sha256=hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest(),
        format=file_format,
        animated=animated,
        oddities=oddities,
        width=width,
        height=height,
        spread=spread_of(square),
        dark=dark,
        bright=bright,
        sharpness=sharpness_of(luma(square)),
    )
    return facts, square


def luma(square: Pixels) -> NDArray[np.float32]:
    """Computes the brightness by ITU-R 601-2: (H, W, 3) to (H, W), 0..255."""
    return np.asarray(Image.fromarray(square).convert("F"))


def ends_of(square: Pixels) -> tuple[int, int]:
    """Finds the luma, 0..255, that a twentieth of the pixels do not exceed, and the one that a twentieth reach."""
    counts = np.array(Image.fromarray(square).convert("L").histogram())
    twentieth = -(-counts.sum() // 20)
    return int((counts.cumsum() >= twentieth).argmax()), 255 - int((counts[::-1].cumsum() >= twentieth).argmax())


def spread_of(square: Pixels) -> float:
    """Computes the largest standard deviation of the three channels, 0..127.5, from counts of their levels."""
    levels = np.arange(256)
    counts = np.array(Image.fromarray(square).histogram()).reshape(3, 256)
    pixels, sums, squares = counts[0].sum(), counts @ levels, counts @ levels**2
    return float(np.sqrt((pixels * squares - sums**2).max()) / pixels)


def sharpness_of(gray: NDArray[np.float32]) -> float:
    """Computes the variance of the 4-neighbour Laplacian (Pech-Pacheco et al. 2000) of a luma; 0 below 3 pixels."""
    if min(gray.shape) < 3:
        return 0.0
    inside = gray[1:-1, 1:-1]
    return float((gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * inside).var())

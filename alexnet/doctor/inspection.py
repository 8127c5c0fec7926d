"""One look at every picture of a source: what the file is, its checksums, hashes, and how bright and sharp it is.

Nothing is judged here; `alexnet.doctor.findings` does.
"""

import hashlib
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.exclusions import image_sha256
from alexnet.data.image_files import format_of
from alexnet.data.images import Pixels, prepare_image, read_image_noting
from alexnet.data.samples import Source
from alexnet.doctor.duplicates import CELLS, Hashes, difference_hash, small_image
from alexnet.errors import DataError
from alexnet.progress import ProgressCallback, silent

SQUARE = 256  # pixels a side at which pictures are measured, as the paper prepares them
CHUNK = 64  # pictures a thread takes at a time


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of one picture."""

    split: str
    index: int  # in its split
    name: str
    label: int
    sha256: str  # of the file, of the pixels where there is no file; "" if it cannot be read at all
    error: str = ""  # why it cannot be read; then the rest is empty
    pixels_sha256: str = ""  # of the decoded pixels with their shape: same for a PNG and the TIFF made from it
    format: str = ""  # one of `alexnet.data.images.FORMATS`; "" for pixels
    animated: bool = False
    oddities: tuple[str, ...] = ()
    width: int = 0  # upright
    height: int = 0
    spread: float = 0.0  # standard deviation of a colour channel, the largest of the three, in grey levels
    dark: float = 0.0  # the 5th percentile of the luma, 0..255
    bright: float = 0.0  # the 95th
    sharpness: float = 0.0  # see `sharpness_of`


@dataclass(frozen=True, eq=False)
class Inspection:
    """All looks, and what pictures are compared by; the rows of unreadable pictures are 0."""

    source: Source
    images: tuple[ImageFacts, ...]
    hashes: Hashes  # (N, 2)
    mirrored: Hashes  # (N, 2)
    small: Pixels  # (N, 16, 16, 3)


def inspect(source: Source, *, workers: int | None = None, progress: ProgressCallback = silent) -> Inspection:
    """Reads every picture once, in threads; the result does not depend on their number.

    Args:
        workers: threads; as many as processors if None.
        progress: called with pictures looked at and pictures in all.
    """
    places = [(split, index) for split, samples in source.splits.items() for index in range(len(samples))]
    hashes, mirrored = np.zeros((2, len(places), 2), np.uint64)
    small = np.zeros((len(places), CELLS, CELLS, 3), np.uint8)

    def some(start: int) -> list[ImageFacts]:
        looks = []
        for row, (split, index) in enumerate(places[start : start + CHUNK], start):
            look, square = examine_image(source, split, index)
            looks.append(look)
            if square is not None:
                hashes[row], mirrored[row] = difference_hash(square)
                small[row] = small_image(square)
        return looks

    looks: list[ImageFacts] = []
    # As in `alexnet.data.prepare_shards`: Pillow's warnings of damaged metadata say nothing to a user.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            for part in pool.map(some, range(0, len(places), CHUNK)):
                looks += part
                progress("looking", len(looks), len(places))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Inspection(source, tuple(looks), hashes, mirrored, small)


def examine_image(source: Source, split: str, index: int) -> tuple[ImageFacts, Pixels | None]:
    """One picture and its central square of at most 256 pixels; None if it cannot be read."""
    samples = source.splits[split]
    image = samples.image(index)
    sha256 = image_sha256(samples, index)
    known = (split, index, samples.names[index], int(samples.labels[index]), sha256)
    kind, animated = "", False
    oddities: tuple[str, ...] = ()
    try:
        if isinstance(image, Path):
            pixels, oddities = read_image_noting(image)
            kind, animated = format_of(image)
        else:
            pixels = image
    except DataError as error:
        return ImageFacts(*known, error=error.what.removeprefix(f"{image}: ")), None
    height, width = pixels.shape[:2]
    # Not enlarged: a small sharp picture must not count as a blurred one.
    square = prepare_image(pixels, min(SQUARE, height, width))
    low, high = np.percentile(luma(square), (5, 95))
    look = ImageFacts(
        *known,
        pixels_sha256=hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest(),
        format=kind,
        animated=animated,
        oddities=oddities,
        width=width,
        height=height,
        spread=float(square.std((0, 1)).max()),
        dark=float(low),
        bright=float(high),
        sharpness=sharpness_of(square),
    )
    return look, square


def luma(square: Pixels) -> NDArray[np.float32]:
    """(H, W, 3) to (H, W): brightness by ITU-R 601-2, 0..255."""
    return np.asarray(Image.fromarray(square).convert("F"))


def sharpness_of(square: Pixels) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000), 4 neighbours, of the luma (H, W); 0 below 3 pixels."""
    grey = luma(square)
    if min(grey.shape) < 3:
        return 0.0
    inside = grey[1:-1, 1:-1]
    return float((grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inside).var())

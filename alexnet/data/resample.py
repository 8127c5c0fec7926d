"""Resizes a part of an image bicubically, with antialiasing: first its rows, then its columns, rounded in between.

The order is fixed here, because Pillow's differs from version to version, by a gray level here and there, and the
fingerprint of a data set hangs on every byte. Each of the two steps is a call of Pillow, or a compiled loop that gives
the same bytes in a third of the time, where it has been loaded (`alexnet.data.loops`).
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.loops import loaded

Pixels = NDArray[np.uint8]
Weights = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
Convert = Callable[[Image.Image], Image.Image]
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

REACH = 2.0  # pixels to each side, of the result or, if it is larger, of the image: support of the bicubic filter
SHARPNESS = -0.5  # `a` of the bicubic filter


def resized(image: Image.Image, size: int, box: Box, convert: Convert, rows: int) -> Pixels:
    """Resizes the part `box` of an image, of any shape, to a square.

    Args:
        image: loaded, of any mode.
        size: side of the square in pixels.
        convert: makes an image of mode L or RGB of a part of `image`.
        rows: how many rows of the image are converted at once; the result does not depend on it.

    Returns:
        (size, size, 3) uint8.
    """
    left, top, right, bottom = box
    x0, x1 = _reached(left, right, size, image.width)
    y0, y1 = _reached(top, bottom, size, image.height)
    loops = loaded()  # once: another thread may be loading them, and the two ways hold rows differently in between
    bands = []
    for start, stop in bands_of(rows, y0, y1):
        place = (x0, start, x1, stop)
        band = convert(image if place == (0, 0, *image.size) else image.crop(place))
        bands.append(_rows_resized(loops, band, size, left - x0, right - x0))
    merged = bands[0] if len(bands) == 1 else np.concatenate(bands)
    return _columns_resized(loops, merged, size, top - y0, bottom - y0)


def _reached(low: float, high: float, size: int, count: int) -> tuple[int, int]:
    """The first pixel that the weights for low..high reach, of `count` in a line, and the one after the last.

    They reach beyond by two pixels of the result, or of the image if it is enlarged.
    """
    margin = REACH * max((high - low) / size, 1) + 1
    return max(0, math.floor(low - margin)), min(count, math.ceil(high + margin))


def bands_of(rows: int, top: int, bottom: int) -> Iterator[tuple[int, int]]:
    """Cuts rows top..bottom - 1 into bands of so many: (start, stop)."""
    for start in range(top, bottom, rows):
        yield start, min(start + rows, bottom)


def _rows_resized(loops: ModuleType | None, band: Image.Image, size: int, left: float, right: float) -> Pixels:
    """The rows of an image of mode L or RGB, resized: (H, 3 * size + 1) from the loop, otherwise (H, size[, 3])."""
    if loops is not None and band.mode == "RGB" and band.height >= loops.ROWS:
        out = np.empty((band.height, 3 * size + 1), np.uint8)
        pixels = np.frombuffer(band.tobytes("raw", "RGBX"), np.uint8)
        loops.across(pixels, band.width, *weights_of(band.width, left, right, size), out)
        return out
    plain = np.asarray(band.resize((size, band.height), Image.Resampling.BICUBIC, (left, 0, right, band.height)))
    if loops is None or band.mode != "RGB":
        return plain
    return np.concatenate([plain.reshape(band.height, -1), np.zeros((band.height, 1), np.uint8)], 1)


def _columns_resized(loops: ModuleType | None, rows: Pixels, size: int, top: float, bottom: float) -> Pixels:
    """The columns of what `_rows_resized` gave, resized: (size, size, 3)."""
    if loops is None or rows.shape[1] != 3 * size + 1:
        whole = Image.fromarray(rows).resize((size, size), Image.Resampling.BICUBIC, (0, top, size, bottom))
        return np.array(whole.convert("RGB"))
    out = np.empty((size, 3 * size), np.uint8)
    loops.down(rows, *weights_of(len(rows), top, bottom, size), out)
    return out.reshape(size, size, 3)


@lru_cache(maxsize=64)
def weights_of(count: int, low: float, high: float, size: int) -> Weights:
    """The weights with which `count` pixels in a line become `size`, of which the part low..high is wanted.

    Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc` (src/libImaging/Resample.c): the filter is as wide as two
    pixels of the coarser of the two lines, the weights of a pixel add up to 1, and are rounded to 22 bits.

    Returns:
        starts (size,), counts (size,) and weights (size, most), int32: pixel i is the sum over t < counts[i] of
        weights[i, t] times pixel starts[i] + t, over 2^22.
    """
    scale = (high - low) / size
    stretch = max(scale, 1.0)
    centers = low + (np.arange(size) + 0.5) * scale
    starts = np.maximum((centers - REACH * stretch + 0.5).astype(np.int64), 0)
    counts = np.minimum((centers + REACH * stretch + 0.5).astype(np.int64), count) - starts
    taps = np.arange(math.ceil(REACH * stretch) * 2 + 1)
    weights = _bicubic((taps + starts[:, None] - centers[:, None] + 0.5) * (1.0 / stretch))
    weights[taps >= counts[:, None]] = 0.0
    totals = np.zeros(size)
    for tap in taps:  # one after the other, as Pillow adds them
        totals += weights[:, tap]
    scaled = weights / totals[:, None] * (1 << 22)
    rounded = np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5))
    return starts.astype(np.int32), counts.astype(np.int32), rounded.astype(np.int32)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The filter of Keys (1981) with a = -1/2."""
    a, x = SHARPNESS, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))

"""Pictures beside one another on a white sheet, written as PNG."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.files import disk_errors, write_file

Pixels = NDArray[np.uint8]
WHITE = 255


def enlarged(pixels: Pixels, times: int) -> Pixels:
    """(H, W, 3) with every pixel as a square of `times` x `times`."""
    return np.repeat(np.repeat(pixels, times, 0), times, 1)


def resized(pixels: Pixels, side: int) -> Pixels:
    """A square picture at another size, smoothly."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def sheet(rows: Sequence[Sequence[Pixels]], *, gap: int, first_apart: bool = False) -> Pixels:
    """Squares of one size in rows, `gap` white pixels between and around them.

    Args:
        first_apart: the first of a row stands apart from the others, as the test pictures do in Figure 4.
    """
    side = rows[0][0].shape[0]
    columns = max(map(len, rows))
    extra = 2 * gap if first_apart else 0
    width = columns * (side + gap) + gap + extra
    out = np.full((len(rows) * (side + gap) + gap, width, 3), WHITE, np.uint8)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            top, left = gap + y * (side + gap), gap + x * (side + gap) + (extra if x else 0)
            out[top : top + side, left : left + side] = tile
    return out


def save_png(pixels: Pixels, out: Path) -> None:
    """Writes pixels as PNG, whole or not at all.

    Raises:
        ResourceError: the disk refuses.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    with disk_errors(f"writing {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, buffer.getvalue())

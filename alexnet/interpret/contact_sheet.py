"""Pictures beside one another on a white sheet, written as PNG."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images import Pixels
from alexnet.storage.files import disk_errors, write_file

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


TILE = 16  # pixels that a unit of a fully connected layer takes in a sheet of activations


def activation_sheet(values: NDArray[np.float32]) -> Pixels:
    """Maps (or units, as squares) in rows; the least value of the layer is black, the largest white."""
    maps = values if values.ndim == 3 else np.repeat(np.repeat(values.reshape(-1, 1, 1), TILE, 1), TILE, 2)
    low, high = float(maps.min()), float(maps.max())
    grey = np.rint((maps - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    columns = max(1, round(len(grey) ** 0.5))
    tiles = [tile[..., None].repeat(3, 2) for tile in grey]
    return sheet([tiles[i : i + columns] for i in range(0, len(tiles), columns)], gap=1)


def png_bytes(pixels: Pixels) -> bytes:
    """Pixels as the content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()

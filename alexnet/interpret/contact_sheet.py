"""Images side by side on a white sheet, written as PNG."""

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
    """Enlarges (H, W, 3): every pixel becomes a square of `times` x `times` pixels."""
    return np.repeat(np.repeat(pixels, times, 0), times, 1)


def resized(pixels: Pixels, side: int) -> Pixels:
    """Resizes a square image with bicubic interpolation."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def sheet(rows: Sequence[Sequence[Pixels]], *, gap: int, separate_first: bool = False) -> Pixels:
    """Places square images of one size in rows, with `gap` white pixels between and around them.

    Args:
        separate_first: leave more space after the first image of a row, as after the test images in Figure 4.
    """
    side = rows[0][0].shape[0]
    columns = max(map(len, rows))
    extra = 2 * gap if separate_first else 0
    width = columns * (side + gap) + gap + extra
    out = np.full((len(rows) * (side + gap) + gap, width, 3), WHITE, np.uint8)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            top, left = gap + y * (side + gap), gap + x * (side + gap) + (extra if x else 0)
            out[top : top + side, left : left + side] = tile
    return out


def save_png(pixels: Pixels, out: Path) -> None:
    """Writes pixels as PNG; if that fails, no partial file remains.

    Raises:
        ResourceError: the file cannot be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    with disk_errors(f"writing {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, buffer.getvalue())


TILE = 16  # side in pixels of the square that shows one unit of a fully connected layer


def activation_sheet(values: NDArray[np.float32]) -> Pixels:
    """Draws feature maps (or units, as squares) in rows; the smallest value is black, the largest white."""
    feature_maps = values if values.ndim == 3 else np.repeat(np.repeat(values.reshape(-1, 1, 1), TILE, 1), TILE, 2)
    low, high = float(feature_maps.min()), float(feature_maps.max())
    gray = np.rint((feature_maps - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    columns = max(1, round(len(gray) ** 0.5))
    tiles = [tile[..., None].repeat(3, 2) for tile in gray]
    return sheet([tiles[i : i + columns] for i in range(0, len(tiles), columns)], gap=1)


def png_bytes(pixels: Pixels) -> bytes:
    """Returns the content of a PNG file with these pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()

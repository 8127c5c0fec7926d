"""Describes small squares of images by simple features: color histogram, HOG, colors at the edges, a border.

HOG is that of Dalal and Triggs (CVPR 2005): histograms of 9 unsigned orientations in cells, each normalized within the
four blocks of 2 x 2 cells that hold it, clipped at 0.2 and normalized again (L2-Hys).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images import Pixels

Features = NDArray[np.float32]  # (N, D)

SIDE = 64  # pixels of the squares that are described
LEVELS = 8  # of each color channel in the histogram
HOG_SIDE, CELL, ORIENTATIONS = 32, 4, 9
CLIP = 0.2
EDGE = 2  # pixels at each side that count as its edge
INSIDE = 5  # a border is told from the pixels this far inside ...
ALONG = 0.95  # ... along this share of a side
NOISE = 4.0  # gray levels; smaller steps are compression


def small_square(square: Pixels) -> Pixels:
    """Shrinks or enlarges a square (S, S, 3) to (64, 64, 3): the mean of each cell."""
    if square.shape[0] == SIDE:
        return square
    return np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BOX))


def color_histogram(squares: Pixels) -> Features:
    """Square roots of the shares of pixels in 8 x 8 x 8 cells of RGB: (N, 64, 64, 3) to (N, 512).

    The Euclidean distance of the square roots is the Hellinger distance of the histograms, which suits histograms.
    """
    cells = (squares // (256 // LEVELS)).astype(np.int32)
    keys = (cells[..., 0] * LEVELS + cells[..., 1]) * LEVELS + cells[..., 2]
    flat = keys.reshape(len(squares), -1)
    size = LEVELS**3
    counts = np.bincount((flat + size * np.arange(len(flat))[:, None]).ravel(), minlength=size * len(flat))
    return np.sqrt(counts.reshape(len(flat), size) / flat.shape[1]).astype(np.float32)


def hog(squares: Pixels) -> Features:
    """Histograms of oriented gradients of the square root of the luma: (N, 64, 64, 3) to (N, 7 * 7 * 36)."""
    blocks = [_hog(squares[start : start + 256]) for start in range(0, len(squares), 256)]  # limits the memory
    return np.concatenate(blocks) if blocks else np.zeros((0, 7 * 7 * 36), np.float32)


def _hog(squares: Pixels) -> Features:
    count, factor, cells = len(squares), SIDE // HOG_SIDE, HOG_SIDE // CELL
    luma = squares @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2
    gray = np.sqrt(luma.reshape(count, HOG_SIDE, factor, HOG_SIDE, factor).mean((2, 4)))
    down, right = np.zeros_like(gray), np.zeros_like(gray)
    down[:, 1:-1] = gray[:, 2:] - gray[:, :-2]
    right[:, :, 1:-1] = gray[:, :, 2:] - gray[:, :, :-2]
    strength = np.hypot(down, right)
    angle = (np.arctan2(down, right) % np.pi) * (ORIENTATIONS / np.pi) - 0.5  # 0 is the center of the first bin
    lower = np.floor(angle)
    share = angle - lower
    first = lower.astype(np.int64) % ORIENTATIONS
    rows = np.arange(HOG_SIDE) // CELL
    cell = (np.arange(count)[:, None, None] * cells + rows[:, None]) * cells + rows[None, :]
    size = count * cells * cells * ORIENTATIONS
    histograms = np.zeros(size)
    for bins, part in ((first, 1 - share), ((first + 1) % ORIENTATIONS, share)):
        histograms += np.bincount((cell * ORIENTATIONS + bins).ravel(), (strength * part).ravel(), minlength=size)
    grid = histograms.reshape(count, cells, cells, ORIENTATIONS)
    ends = ((0, cells - 1), (1, cells))
    blocks = np.concatenate([grid[:, a:b, c:d] for a, b in ends for c, d in ends], axis=-1)  # (n, 7, 7, 36)
    blocks = np.minimum(_normalized(blocks), CLIP)
    return _normalized(blocks).reshape(count, -1).astype(np.float32)


def _normalized(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    # A block without gradients stays 0; the constant is that of a gradient of a tenth of a gray level.
    norm: NDArray[np.float64] = blocks / np.sqrt((blocks**2).sum(-1, keepdims=True) + 1e-2)
    return norm


def edge_colors(squares: Pixels) -> Features:
    """Mean color of the outermost two pixels of each side, in gray levels: (N, 12). Mostly background."""
    sides = _sides(squares, 0)
    return np.concatenate([side.mean((1, 2), dtype=np.float32) for side in sides], axis=1)


def border(squares: Pixels) -> Features:
    """How much the outermost two pixels of each side differ from those further inside, in gray levels: (N, 12).

    It is 0 unless nineteen twentieths of a side differ in the same direction, as those of a frame do; an object that
    reaches a side differs along a part of it.
    """
    ends = slice(INSIDE, SIDE - INSIDE)  # the rest may lie on the other sides of a frame
    steps = []
    for o, i in zip(_sides(squares, 0), _sides(squares, INSIDE), strict=True):
        along = o[:, ends].mean(2, dtype=np.float32) - i[:, ends].mean(2, dtype=np.float32)  # (N, pixels, 3)
        along.sort(axis=1)
        spare = round((1 - ALONG) * along.shape[1])
        step = np.maximum(along[:, spare], 0) + np.minimum(along[:, -1 - spare], 0)
        steps.append(np.where(np.abs(step) < NOISE, 0, step))
    return np.concatenate(steps, axis=1).astype(np.float32)


def _sides(squares: Pixels, start: int) -> list[Pixels]:
    """The bands of EDGE pixels at the four sides, `start` pixels inside: each (N, 64, EDGE, 3)."""
    end = start + EDGE
    left, right = squares[:, :, start:end], squares[:, :, SIDE - end : SIDE - start]
    top, bottom = squares[:, start:end].swapaxes(1, 2), squares[:, SIDE - end : SIDE - start].swapaxes(1, 2)
    return [left, right, top, bottom]

"""Random crop, horizontal flip and color noise as one compiled loop over a batch; imported by `alexnet.data.loader`.

It uses one thread, because it runs beside the network, whose own threads spin while they wait. Every operation is
rounded as in `alexnet.data.augment`, so the pixels are bit-identical. A flipped row is reversed first, as bytes, so
that the arithmetic reads memory in one direction and is vectorized.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.kernels.jit import compiled

Array = NDArray[Any]


@compiled(parallel=False)
def cut_bytes(images: Array, inside: Array, here: Array, offsets: Array, mirrored: Array, out: Array) -> None:
    """Copies one window of each selected image into `out`, with the pixels unchanged.

    Args:
        images: (n, H, W, 3) uint8, C-contiguous.
        inside: (k,) indices of the selected images.
        here: (k,) the row of offsets, mirrored and out that belongs to each of them.
        offsets: (N, 2) top and left of each window.
        mirrored: (N,) bool, whether the window is flipped horizontally.
        out: (N, size, 3 * size) uint8.
    """
    size = out.shape[1]
    for i in range(len(inside)):
        n = here[i]
        top, left, turned = offsets[n, 0], offsets[n, 1], mirrored[n]
        for y in range(size):
            row = images[inside[i], top + y].reshape(-1)
            _window(row, left, turned, out[n, y])


@compiled(parallel=False)
def cut(
    images: Array,
    inside: Array,
    here: Array,
    offsets: Array,
    mirrored: Array,
    noise: Array,
    middle: Array,
    back: Array,
    divisor: np.float32,
    out: Array,
) -> None:
    """Does the same as `cut_bytes` and adds color noise: out = back + (pixel - middle + noise) / divisor.

    Args:
        noise: (N, 3) float32, gray levels.
        middle, back: (size or 1, 3 * size) float32, gray levels; a single row is used for all rows.
        out: (N, size, 3 * size) float32.
    """
    size, width = out.shape[1], out.shape[2]
    turned_row, added = np.empty(width, np.uint8), np.empty(width, np.float32)
    for i in range(len(inside)):
        n = here[i]
        top, left, turned = offsets[n, 0], offsets[n, 1], mirrored[n]
        for x in range(size):
            for c in range(3):
                added[3 * x + c] = noise[n, c]
        for y in range(size):
            row = images[inside[i], top + y].reshape(-1)
            if turned:
                _window(row, left, turned, turned_row)
                source = turned_row
            else:
                source = row[3 * left : 3 * left + width]
            target = out[n, y]
            less, more = middle[y if len(middle) > 1 else 0], back[y if len(back) > 1 else 0]
            for j in range(width):
                target[j] = more[j] + (np.float32(source[j]) - less[j] + added[j]) / divisor


@compiled(parallel=False)
def _window(row: Array, left: int, turned: bool, target: Array) -> None:
    """Copies the pixels from `left` on of a row (3 * W,) to target (3 * size,), in reverse order if `turned`."""
    width = len(target)
    if turned:
        # Unsigned, so that numba does not check for negative indices, which would prevent vectorization of the loop.
        last, three, one = np.uint64(3 * left + width - 3), np.uint64(3), np.uint64(1)
        for x in range(np.uint64(width // 3)):
            source, place = last - three * x, three * x
            target[place] = row[source]
            target[place + one] = row[source + one]
            target[place + one + one] = row[source + one + one]
    else:
        target[:] = row[3 * left : 3 * left + width]

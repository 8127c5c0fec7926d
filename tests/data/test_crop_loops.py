"""The compiled crop loop against arithmetic by hand, one pixel after the other; also as plain Python.

`tests/data/test_loader.py` compares whole batches with PyTorch's part bit by bit.
"""

import numpy as np
import pytest

from alexnet.data import loader

SIDE, SIZE = 7, 4
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
OFFSETS, MIRRORED = np.array([[1, 2], [3, 1], [2, 3]]), np.array([False, True, True])
INSIDE, HERE = np.array([2, 0]), np.array([0, 2])  # two of the images, for places 0 and 2 of the batch

pytestmark = pytest.mark.skipif(loader.compiled() is None, reason="numba is not installed")


def window(image: int, place: int) -> np.ndarray:
    """(SIZE, SIZE, 3): the window of one place of the batch, cut by indexing."""
    top, left = OFFSETS[place]
    cut = PIXELS[image, top : top + SIZE, left : left + SIZE]
    return cut[:, ::-1] if MIRRORED[place] else cut


def test_bytes_are_windows_from_their_corner_on_and_mirrored_where_asked():
    out = np.zeros((3, SIZE, 3 * SIZE), np.uint8)
    loader.compiled().cut_bytes(PIXELS, INSIDE, HERE, OFFSETS, MIRRORED, out)
    for image, place in zip(INSIDE, HERE, strict=True):
        assert np.array_equal(out[place].reshape(SIZE, SIZE, 3), window(image, place))
    assert not out[1].any()  # belongs to no image


@pytest.mark.parametrize("rows", [1, SIZE])
@pytest.mark.parametrize("coefficient", [0.0, 0.1, 1.0])
def test_noise_and_difference_to_the_mean_are_divided_together(rows, coefficient):
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 40, (3, 3)).astype(np.float32)
    middle, back = (rng.uniform(80, 140, (rows, 3 * SIZE)).astype(np.float32) for _ in range(2))
    out = np.zeros((3, SIZE, 3 * SIZE), np.float32)
    divisor = np.float32(1 + coefficient)
    loader.compiled().cut(PIXELS, INSIDE, HERE, OFFSETS, MIRRORED, noise, middle, back, divisor, out)
    for image, place in zip(INSIDE, HERE, strict=True):
        cut = window(image, place).astype(np.float64)
        for y in range(SIZE):
            for x in range(SIZE):
                for c in range(3):
                    row = y if rows > 1 else 0
                    less, more = middle[row, 3 * x + c], back[row, 3 * x + c]
                    by_hand = more + (cut[y, x, c] - less + noise[place, c]) / (1 + coefficient)
                    assert out[place, y, 3 * x + c] == pytest.approx(by_hand, rel=1e-5, abs=1e-3)
    assert not out[1].any()

"""Sums over images: those of NumPy one pixel after the other, with and without the compiled loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet.data import pixel_statistics
from alexnet.data.loops import NAME
from alexnet.data.pixel_statistics import PixelSums


def images(count: int, size: int, seed: int, white: bool) -> list[np.ndarray]:
    drawn = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)
    return list(np.maximum(drawn, 254) if white else drawn)


@pytest.fixture(params=["loops", "NumPy"])
def way(request, monkeypatch):
    module = pytest.importorskip(NAME) if request.param == "loops" else None
    monkeypatch.setattr(pixel_statistics, "loaded", lambda: module)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize(("count", "size"), [(0, 3), (1, 1), (3, 7), (2, 300)])
def test_sums_are_those_of_single_pixels(count, size, white):
    sums, seen = PixelSums(size), images(count, size, 0, white)
    for image in seen:
        sums.add(image)
    pixels = np.array(seen, np.int64).reshape(-1, 3)
    assert sums.count == count
    np.testing.assert_array_equal(sums.total, np.array(seen, np.int64).reshape(count, size, size, 3).sum(0))
    np.testing.assert_array_equal(sums.products, pixels.T @ pixels)


@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 99))
def test_both_ways_give_the_same_integers(count, size, seed):
    module = pytest.importorskip(NAME)
    found = []
    for way in (module, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pixel_statistics, "loaded", lambda way=way: way)
            sums = PixelSums(size)
            for image in images(count, size, seed, False):
                sums.add(image)
            found.append((sums.total, sums.products))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])

"""The compiled loops give the bytes of Pillow, and both those of the formula, in an order that no version changes."""

import subprocess
import sys
from fractions import Fraction
from types import ModuleType

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from alexnet.data import loops, resample
from alexnet.data.loops import MANY, NAME, load_loops
from alexnet.data.resample import resized, weights_of
from harness import ROOT


def square(image: Image.Image, size: int, rows: int = 10_000) -> np.ndarray:
    """The central square of an image, resized."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return resized(image, size, (left, top, left + side, top + side), lambda band: band, rows)


def noise(width: int, height: int, mode: str, kind: int = 0) -> Image.Image:
    """Random bytes; of kind 1 only black and white, where rounding and clipping matter most."""
    pixels = np.random.default_rng(width + 1000 * height).integers(0, 256, (height, width, 3), np.uint8)
    if kind == 1:
        pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0))
    return Image.fromarray(pixels).convert(mode)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70), st.sampled_from(["RGB", "L"]), st.integers(1, 100))
@example(288, 384, 256, "RGB", 1000)
@example(384, 288, 256, "RGB", 1000)
@example(1, 1, 64, "RGB", 1)
@example(3, 5, 7, "RGB", 100)
@example(500, 500, 3, "RGB", 7)
def test_the_loops_give_the_bytes_of_pillow(width, height, size, mode, rows):
    compiled = pytest.importorskip(NAME)
    for kind in (0, 1):
        image = noise(width, height, mode, kind)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resample, "loaded", lambda: None)
            plain = square(image, size, rows)
            patch.setattr(resample, "loaded", lambda: compiled)
            np.testing.assert_array_equal(square(image, size, rows), plain)
            np.testing.assert_array_equal(square(image, size), plain)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (30, 30)])
def test_rows_come_first_whatever_pillow_thinks_of_a_shape(shape, monkeypatch):
    """Pillow 13 resizes the columns of tall images first, earlier versions never."""
    monkeypatch.setattr(resample, "loaded", lambda: None)
    image = noise(*shape, "RGB")
    side = min(shape)
    left, top = (shape[0] - side) / 2, (shape[1] - side) / 2
    rows = image.resize((20, shape[1]), Image.Resampling.BICUBIC, (left, 0, left + side, shape[1]))
    expected = rows.resize((20, 20), Image.Resampling.BICUBIC, (0, top, 20, top + side))
    np.testing.assert_array_equal(square(image, 20), np.asarray(expected))


def bicubic(x: Fraction) -> Fraction:
    """Keys (1981), equation 4 with a = -1/2, exactly."""
    x, a = abs(x), Fraction(-1, 2)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else Fraction(0)


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 5))
def test_weights_are_those_of_the_formula_and_add_up_to_one(count, size, before):
    low, high = Fraction(before, 2), Fraction(before, 2) + count
    starts, counts, weights = weights_of(count + before, float(low), float(high), size)
    scale = (high - low) / size
    stretch = max(scale, Fraction(1))
    for pixel in range(size):
        center = low + (pixel + Fraction(1, 2)) * scale
        inside = range(count + before)
        each = {place: bicubic((place + Fraction(1, 2) - center) / stretch) for place in inside}
        total = sum(each.values())
        found = {starts[pixel] + tap: int(weights[pixel, tap]) for tap in range(counts[pixel])}
        for place in inside:
            assert abs(found.get(place, 0) - each[place] / total * 2**22) <= Fraction(51, 100)
        assert abs(sum(found.values()) - 2**22) <= len(found)


def test_few_images_do_not_load_the_loops_and_many_do():
    code = (
        "from alexnet.data.loops import MANY, load_loops, loaded\n"
        "load_loops(MANY - 1)\nprint(loaded() is None)\nload_loops(MANY)\nprint(loaded() is None)"
    )
    pytest.importorskip("numba")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_without_numba_pillow_does_it(monkeypatch):
    monkeypatch.setitem(sys.modules, NAME, None)
    load_loops(MANY)
    assert loops.loaded() is None
    assert square(noise(9, 9, "RGB"), 5).shape == (5, 5, 3)


def test_loops_that_another_thread_is_loading_are_not_used(monkeypatch):
    half = ModuleType(NAME)
    half.ROWS = 4
    monkeypatch.setitem(sys.modules, NAME, half)
    assert loops.loaded() is None
    assert square(noise(9, 9, "RGB"), 5).shape == (5, 5, 3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_loops_that_are_loaded_within_an_image_wait_for_the_next(mode, monkeypatch):
    """Of 40 rows in bands of 8, the loops come after each number of bands."""
    compiled = pytest.importorskip(NAME)
    monkeypatch.setattr(resample, "loaded", lambda: None)
    image = noise(40, 40, mode)
    expected = square(image, 16, 8)
    for bands in range(6):
        asked = iter([None] * bands)
        monkeypatch.setattr(resample, "loaded", lambda asked=asked: next(asked, compiled))
        np.testing.assert_array_equal(square(image, 16, 8), expected)

"""Photos with more pixels than are decoded at once: JPEGs are read at a smaller size, all else is told the way out."""

import numpy as np
import pytest
from PIL import Image

from alexnet.data.images import prepare_image, read_image
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.data.sources import open_source
from alexnet.errors import DataError
from harness.image_files import saved

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (7, 9, 3), np.uint8))
SMALL = NOISE.resize((92, 69), Image.Resampling.BICUBIC)  # smooth, so that half a pixel does not matter


def photo(width: int, height: int, **options: object) -> bytes:
    """A smooth image, of which every part differs."""
    return saved(SMALL.resize((width, height), Image.Resampling.BICUBIC), "JPEG", quality=85, **options)


@pytest.mark.parametrize(("width", "height"), [(9248, 6936), (12000, 9000)])
def test_photos_of_large_sensors_are_read(width, height):
    """Sensors sold as 64 and 108 megapixels; the answer is the small image that they were made from."""
    square = prepare_image(photo(width, height), 69).astype(int)
    expected = prepare_image(np.asarray(SMALL), 69)
    assert np.abs(square - expected).mean() < 8
    assert np.corrcoef(square.ravel(), expected.ravel())[0, 1] > 0.98


MODES = {"color": {}, "progressive": {"progressive": True}, "fine color": {"subsampling": 0}}


@pytest.mark.parametrize("options", MODES.values(), ids=MODES)
@pytest.mark.parametrize(("width", "height"), [(400, 300), (401, 299), (399, 301), (800, 150), (151, 797)])
def test_above_the_limit_a_jpeg_is_read_at_half_its_size(options, width, height):
    content = photo(width, height, **options)
    whole = read_image(content)
    assert whole.shape == (height, width, 3)
    np.testing.assert_array_equal(read_image(content, max_pixels=width * height), whole)
    half = read_image(content, max_pixels=width * height - 1)
    assert half.shape == ((height + 1) // 2, (width + 1) // 2, 3)
    averaged = Image.fromarray(whole).resize((half.shape[1], half.shape[0]), Image.Resampling.BOX)
    assert np.abs(half.astype(int) - np.asarray(averaged)).mean() < 6
    square = prepare_image(content, 100, max_pixels=width * height - 1).astype(int)
    assert np.abs(square - prepare_image(content, 100)).mean() < 6


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_all_kinds_of_jpegs_are_reduced(mode):
    content = saved(SMALL.resize((400, 300)).convert(mode), "JPEG", quality=95)
    assert read_image(content, max_pixels=100_000).shape == (150, 200, 3)


def test_rotation_and_further_images_in_the_file_are_as_ever():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(SMALL.resize((400, 300)), "JPEG", exif=exif)
    assert read_image(turned, max_pixels=100_000).shape == (200, 150, 3)
    pair = saved(SMALL.resize((400, 300)), "MPO", save_all=True, append_images=[SMALL])
    assert read_image(pair, max_pixels=100_000).shape == (150, 200, 3)


@pytest.mark.parametrize(("options", "times"), [({}, 4), ({"progressive": True}, 2)])
def test_of_jpegs_four_times_as_many_pixels_are_read_and_in_passes_twice_as_many(options, times):
    content = photo(400, 300, **options)
    limit = 400 * 300 // times
    assert read_image(content, max_pixels=limit).shape == (150, 200, 3)
    with pytest.raises(DataError, match=rf"400 x 300 pixels, more than the limit of {times * (limit - 1):,}") as caught:
        read_image(content, max_pixels=limit - 1)
    assert (caught.value.code, "--max-pixels" in caught.value.fix) == ("E305", True)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF"])
def test_formats_that_cannot_be_reduced_keep_to_the_limit_and_say_how_to_raise_it(kind):
    content = saved(SMALL, kind)
    assert read_image(content, max_pixels=92 * 69).shape == (69, 92, 3)
    with pytest.raises(DataError, match="92 x 69 pixels, more than the limit of 6,347") as caught:
        prepare_image(content, 16, max_pixels=92 * 69 - 1)
    assert "--max-pixels" in caught.value.fix


def test_the_limit_is_an_argument_of_preparing_and_part_of_what_was_prepared(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            SMALL.save(tmp_path / "photos" / name / f"{i}.png")
    SMALL.resize((200, 150)).save(tmp_path / "photos/cat/large.png")
    source = open_source(tmp_path / "photos")
    low = prepare(source, tmp_path / "low", size=16, max_pixels=10_000)
    assert [(each.name, each.reason) for each in low.skipped] == [
        ("cat/large.png", "200 x 150 pixels, more than the limit of 10,000")]  # fmt: skip
    assert prepare(source, tmp_path / "low", size=16, max_pixels=10_000).already_done
    with pytest.raises(DataError, match="max_pixels: 10000 there, None requested"):
        prepare(source, tmp_path / "low", size=16)
    high = prepare(source, tmp_path / "high", size=16, max_pixels=30_000)
    assert high.skipped == ()
    assert prepare(source, tmp_path / "default", size=16).fingerprint == high.fingerprint


def test_the_default_limit_leaves_no_trace_in_what_was_prepared(tmp_path):
    """So that folders prepared before are still found."""
    pixels = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3), np.uint8)
    source = Source("made", ("a", "b"), {"train": Samples(tuple("wxyz"), np.array([0, 1, 0, 1]), arrays=pixels)})
    prepare(source, tmp_path / "out", size=16)
    assert b"max_pixels" not in (tmp_path / "out/prepared.json").read_bytes()

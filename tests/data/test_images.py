"""Images of every kind whose pixels are known, and files that are not images."""

import io
import os
import random
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from alexnet.data import image_files, images
from alexnet.data.image_files import MAX_SCANS, format_of
from alexnet.data.images import prepare_image, prepare_image_noting, read_image
from alexnet.errors import DataError
from harness.image_files import chunk, jpeg_of_scans, saved


def png(width: int, height: int, depth: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG by hand, after its specification; `rows` include the filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(array: np.ndarray) -> bytes:
    return saved(Image.fromarray(array), "TIFF")


def palette_picture() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    return image


RED, BLUE, WHITE, BLACK = [255, 0, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]
GREY16 = b"\0" + struct.pack(">3H", 0, 32768, 65535)
ALPHA_HALF = Image.new("RGBA", (1, 1), (255, 0, 0, 128))

ZOO = {
    "rgb": (png(2, 1, 8, 2, bytes([0, *RED, *BLUE])), [[RED, BLUE]]),
    "rgb, 16 bits": (png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 65535, 32768, 0)), [[[255, 128, 0]]]),
    "grey": (png(2, 1, 8, 0, b"\0\x07\xc8"), [[[7] * 3, [200] * 3]]),
    "grey, 1 bit": (png(2, 1, 1, 0, b"\0\x80"), [[WHITE, BLACK]]),
    "grey, 2 bits": (png(4, 1, 2, 0, b"\0\x1b"), [[[0] * 3, [85] * 3, [170] * 3, [255] * 3]]),
    "grey, 16 bits": (png(3, 1, 16, 0, GREY16), [[[0] * 3, [128] * 3, [255] * 3]]),
    "grey, 16 bits, TIFF": (tiff(np.array([[0, 32768, 65535]], "<u2")), [[[0] * 3, [128] * 3, [255] * 3]]),
    "grey, 16 bits, big-endian": (tiff(np.array([[0, 32768, 65535]], ">u2")), [[[0] * 3, [128] * 3, [255] * 3]]),
    "grey, 16 bits, PGM": (b"P5 2 1 65535\n" + struct.pack(">2H", 32768, 65535), [[[128] * 3, WHITE]]),
    "grey, 10 bits, PGM": (b"P5 2 1 1023\n" + struct.pack(">2H", 0, 1023), [[BLACK, WHITE]]),
    "32-bit integers like 16": (tiff(np.array([[0, 32768, 65535]], np.int32)), [[[0] * 3, [128] * 3, [255] * 3]]),
    "32-bit integers": (tiff(np.array([[-100, 0, 99900]], np.int32)), [[BLACK, BLACK, WHITE]]),
    "floats in 0..1": (tiff(np.array([[0.2, 0.4, 0.5]], np.float32)), [[[51] * 3, [102] * 3, [128] * 3]]),
    "floats outside": (tiff(np.array([[-2, 0, 8]], np.float32)), [[[0] * 3, [51] * 3, [255] * 3]]),
    "floats, not all finite": (tiff(np.array([[np.nan, 0, 5, 10, np.inf]], np.float32)),
                               [[BLACK, BLACK, [128] * 3, WHITE, WHITE]]),
    "floats, flat": (tiff(np.array([[7, 7]], np.float32)), [[BLACK, BLACK]]),
    "PFM": (b"Pf\n2 1\n-1.0\n" + struct.pack("<2f", 0.2, 1), [[[51] * 3, WHITE]]),
    "grey and alpha": (saved(Image.new("LA", (1, 1), (0, 0)), "PNG"), [[WHITE]]),
    "alpha 0 hides black": (saved(Image.new("RGBA", (1, 1), (0, 0, 0, 0)), "PNG"), [[WHITE]]),
    "alpha 128": (saved(ALPHA_HALF, "PNG"), [[[255, 127, 127]]]),
    "alpha, WebP": (saved(ALPHA_HALF, "WEBP", lossless=True), [[[255, 127, 127]]]),
    "palette": (saved(palette_picture(), "PNG"), [[RED, BLUE]]),
    "palette, one color transparent": (saved(palette_picture(), "PNG", transparency=1), [[RED, WHITE]]),
    "palette, alpha table": (saved(palette_picture(), "PNG", transparency=bytes([255, 0])), [[RED, WHITE]]),
    "palette, transparent GIF": (saved(palette_picture(), "GIF", transparency=0), [[WHITE, BLUE]]),
    "rgb, one color transparent": (
        png(2, 1, 8, 2, bytes([0, *RED, *BLUE]), chunk(b"tRNS", struct.pack(">3H", *RED))), [[WHITE, BLUE]]),
    "grey, one value transparent": (
        png(2, 1, 8, 0, b"\0\x07\xc8", chunk(b"tRNS", struct.pack(">H", 7))), [[WHITE, [200] * 3]]),
    "CMYK, TIFF": (saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [[RED]]),
    "BMP": (saved(Image.new("RGB", (1, 1), (1, 2, 3)), "BMP"), [[[1, 2, 3]]]),
    "TIFF": (saved(Image.new("RGB", (1, 1), (1, 2, 3)), "TIFF"), [[[1, 2, 3]]]),
    "WebP": (saved(Image.new("RGB", (1, 1), (1, 2, 3)), "WEBP", lossless=True), [[[1, 2, 3]]]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ZOO)
def test_exact_pixels_of_every_kind(kind):
    content, expected = ZOO[kind]
    pixels = read_image(content)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize(("mode", "color", "expected"), [
    ("RGB", (200, 100, 50), (200, 100, 50)),
    ("L", 90, (90, 90, 90)),
    ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ("YCbCr", (76, 85, 255), (254, 0, 0)),
])  # fmt: skip
def test_flat_jpegs_keep_their_color(mode, color, expected, options):
    content = saved(Image.new(mode, (40, 30), color), "JPEG", quality=95, **options)
    pixels = read_image(content).astype(int)
    assert pixels.shape == (30, 40, 3)
    assert np.abs(pixels - expected).max() <= 3


def test_adobe_cmyk_jpeg_is_not_inverted_without_its_marker_either():
    content = saved(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")
    start = content.index(b"\xff\xee")
    bare = content[:start] + content[start + 2 + struct.unpack(">H", content[start + 2 : start + 4])[0] :]
    for each in (content, bare):
        assert read_image(each).min() >= 250


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_exif_rotations_give_the_upright_image(kind, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255
    upright[:8, 16:, 0] = 255
    # How the pixels must lie in the file so that the tag's meaning (EXIF 2.32: where row 0 and column 0 are) holds.
    stored = {
        1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2), 6: lambda x: np.rot90(x), 7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
        8: lambda x: np.rot90(x, -1),
    }[orientation](upright)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    content = saved(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
    pixels = read_image(content).astype(int)
    assert pixels.shape == (16, 32, 3)
    assert np.abs(pixels - upright).max() <= 2
    square, odd = prepare_image_noting(content, 16)
    assert np.abs(square.astype(int)[:4, :4] - 255).max() <= 2
    assert np.abs(square.astype(int)[:4, -4:] - RED).max() <= 2
    assert square[-4:].max() <= 2
    assert "enlarged" not in odd
    if kind != "TIFF":  # which Pillow turns by itself
        assert ("rotated by EXIF" in odd) == (orientation != 1)


@pytest.mark.parametrize(
    "exif", [b"garbage", b"II*\0", b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0", b"MM\0*\xff\xff\xff\xff"]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_does_not_make_an_image_unreadable(kind, exif):
    content = saved(Image.new("RGB", (8, 8), (9, 9, 9)), kind, exif=b"Exif\0\0" + exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_image(content).shape == (8, 8, 3)
        assert "rotated by EXIF" not in prepare_image_noting(content, 8)[1]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_mean_nothing_are_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(np.arange(96, dtype=np.uint8).reshape(4, 8, 3)), "PNG", exif=exif)
    np.testing.assert_array_equal(read_image(content).ravel(), np.arange(96))
    assert prepare_image_noting(content, 4)[1] == ()


def test_a_side_of_no_pixels_is_refused():
    for content in (b"P6 0 5 255\n", b"GIF89a" + struct.pack("<HH", 5, 0) + bytes(3) + b";", png(0, 5, 8, 2, b"")):
        with pytest.raises(DataError, match="cannot be read"):
            read_image(content)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_frame_of_several(kind):
    first, second = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(first, kind, save_all=True, append_images=[second], **options)
    with Image.open(io.BytesIO(content)) as check:
        assert check.n_frames == 2
    assert np.abs(read_image(content).astype(int) - RED).max() <= 3


def test_avif_if_pillow_has_it():
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    picture = Image.new("RGB", (32, 32), (200, 100, 50))
    film = {"save_all": True, "append_images": [Image.new("RGB", (32, 32))]}
    for options, brand in (({}, b"ftypavif"), (film, b"ftypavis")):
        content = saved(picture, "AVIF", quality=95, **options)
        assert content[4:12] == brand
        assert np.abs(read_image(content).astype(int) - (200, 100, 50)).max() <= 4


# --- preparing -------------------------------------------------------------------------------------------------------


def test_white_image_with_black_sides_becomes_white():
    array = np.zeros((40, 100, 3), np.uint8)
    array[:, 20:80] = 255
    assert (prepare_image(array, 20) == 255).all()
    assert (prepare_image(array.transpose(1, 0, 2).copy(), 20) == 255).all()
    # The same as a file: a crop of anything but the center would show black.
    assert (prepare_image(saved(Image.fromarray(array), "PNG"), 20) == 255).all()


def test_square_of_the_wanted_size_is_not_changed():
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(prepare_image(array, 64), array)
    np.testing.assert_array_equal(prepare_image(saved(Image.fromarray(array), "PNG"), 64), array)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_whole_image_keeps_its_ends_and_stands_upright(kind, orientation):
    """A third each of black, gray and white, from left to right; of the central square all but a bit is gray."""
    upright = np.repeat(np.repeat(np.array([[0, 128, 255]], np.uint8), 64, 0), 64, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.rot90(upright) if orientation == 6 else upright).convert("RGB")
    content = saved(stored, kind, exif=exif)
    whole = prepare_image(content, 48, whole=True).astype(int)
    assert [whole[:, at].mean().round() for at in (4, 24, 44)] == pytest.approx([0, 128, 255], abs=3)
    assert prepare_image(content, 48)[:, 2:-2].astype(int).mean() == pytest.approx(128, abs=3)


@pytest.mark.parametrize("shape", [(1, 20000), (20000, 1), (3, 5000)])
def test_extreme_shapes_are_stretched(shape):
    pixels, odd = prepare_image_noting(saved(Image.new("RGB", shape, (10, 20, 30)), "PNG"), 32, whole=True)
    assert (pixels == (10, 20, 30)).all()
    assert (pixels.shape, odd) == ((32, 32, 3), ("enlarged",))


def test_equals_resizing_the_whole_image_and_cutting_out_the_center():
    array = np.random.default_rng(1).integers(0, 256, (96, 160, 3), np.uint8)
    whole = Image.fromarray(array).resize((80, 48), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(prepare_image(array, 48), np.asarray(whole)[:, 16:64])


@given(
    *(st.integers(1, most) for most in (40, 40, 24)), st.sampled_from(["RGB", "L"]), st.booleans(), st.integers(1, 2000)
)
def test_images_are_resized_in_bands_and_at_once_as_pillow_does_it_in_two_steps(
    width, height, size, mode, whole, pixels
):
    array = np.random.default_rng(width + 41 * height).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(array).convert(mode)
    side = min(width, height)
    across, down = (width, height) if whole else (side, side)
    left, top = (width - across) / 2, (height - down) / 2
    rows = image.resize((size, height), Image.Resampling.BICUBIC, (left, 0, left + across, height))
    in_turn = rows.resize((size, size), Image.Resampling.BICUBIC, (0, top, size, top + down)).convert("RGB")
    np.testing.assert_array_equal(prepare_image(np.asarray(image), size, whole=whole), np.asarray(in_turn))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "IN_ONE_PIECE", width * height - 1)
        patch.setattr(images, "BAND_PIXELS", pixels)
        np.testing.assert_array_equal(prepare_image(np.asarray(image), size, whole=whole), np.asarray(in_turn))
        np.testing.assert_array_equal(read_image(saved(image, "PNG")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ZOO)
def test_every_kind_has_the_same_pixels_in_bands_of_a_row(kind, monkeypatch):
    content, expected = ZOO[kind]
    array = np.array(expected, np.uint8)
    monkeypatch.setattr(images, "IN_ONE_PIECE", 0)
    monkeypatch.setattr(images, "BAND_PIXELS", 1)
    np.testing.assert_array_equal(read_image(content), array)
    assert (prepare_image(content, 5) == prepare_image(array, 5)).all()


def test_numbers_are_scaled_by_the_ends_of_the_whole_image_not_of_a_band(monkeypatch):
    monkeypatch.setattr(images, "BAND_PIXELS", 2)
    rows = np.array([[0, 1], [np.nan, np.nan], [-np.inf, 4], [5, np.inf]], np.float32)
    grey = [[0, 51], [0, 0], [0, 204], [255, 255]]
    np.testing.assert_array_equal(read_image(tiff(rows))[..., 0], grey)
    np.testing.assert_array_equal(
        read_image(tiff(np.array([[-5, 0], [5, 5]], np.int32)))[..., 1], [[0, 128], [255, 255]]
    )
    # Inside [0, 1] the scale is fixed, and what is not finite still becomes an end of what there is.
    unit = np.array([[0.2, 0.6], [np.nan, np.inf], [-np.inf, 0.4]], np.float32)
    np.testing.assert_array_equal(read_image(tiff(unit))[..., 2], [[51, 153], [51, 153], [51, 102]])
    for low, high, expected in ((0, 0.5, [0, 128]), (-0.5, 1, [0, 255]), (0.5, 1, [128, 255]), (0.5, 1.5, [0, 255])):
        np.testing.assert_array_equal(read_image(tiff(np.array([[low, high]], np.float32)))[0, :, 0], expected)
    for low, high, expected in (
        (0, 514, [0, 2]),
        (1, 65536, [0, 255]),
        (-1, 65535, [0, 255]),
        (257, 514, [1, 2]),
        (257, 65536, [0, 255]),
    ):
        np.testing.assert_array_equal(read_image(tiff(np.array([[low, high]], np.int32)))[0, :, 0], expected)


def test_antialiased():
    stripes = np.zeros((512, 512), np.uint8)
    stripes[:, ::2] = 255
    middle = prepare_image(stripes, 64)[:, 4:-4].astype(int)
    assert np.abs(middle - 128).max() <= 2


def test_decoding_large_jpegs_at_reduced_size_hardly_changes_pixels():
    noise = np.random.default_rng(2).integers(0, 256, (60, 80, 3), np.uint8)
    image = Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC)
    content = saved(image, "JPEG", quality=90)
    full = prepare_image(read_image(content), 128).astype(int)
    assert np.abs(prepare_image(content, 128).astype(int) - full).mean() < 0.8


@pytest.mark.parametrize("shape", [(1, 1), (1, 20000), (20000, 1), (3, 5000)])
def test_extreme_shapes(shape):
    content = saved(Image.new("RGB", shape, (10, 20, 30)), "PNG")
    pixels, odd = prepare_image_noting(content, 32)
    assert pixels.shape == (32, 32, 3)
    assert (pixels == (10, 20, 30)).all()
    assert odd == ("enlarged",)


def test_the_paper_prepares_256_pixels():
    assert prepare_image(JPEG).shape == prepare_image_noting(JPEG)[0].shape == (256, 256, 3)


@pytest.mark.parametrize(
    ("size", "decoded"), [(128, (400, 300)), (150, (400, 300)), (151, (800, 600)), (600, (1600, 1200))]
)
def test_jpegs_are_decoded_at_the_smallest_size_that_is_twice_the_wanted_one(monkeypatch, size, decoded):
    seen = []
    square = images._square
    monkeypatch.setattr(images, "_square", lambda image, *how: seen.append(image.size) or square(image, *how))
    for shape in ((1600, 1200), (1200, 1600)):
        prepare_image(saved(Image.new("RGB", shape), "JPEG"), size)
    assert seen == [decoded, decoded[::-1]]


def test_all_values_of_16_bits():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    exact = (ramp.astype(int) * 255 + 32767) // 65535
    np.testing.assert_array_equal(read_image(tiff(ramp))[..., 0], exact)


def test_bands_of_gray_stay_gray_until_the_end():
    convert, odd = images._converter(Image.new("1", (2, 2)))
    assert (convert(Image.new("1", (2, 2), 1)).mode, odd) == ("L", ())
    assert images._converter(Image.new("L", (2, 2)))[0](Image.new("L", (2, 2))).mode == "L"
    assert images._converter(Image.new("YCbCr", (2, 2)))[0](Image.new("YCbCr", (2, 2))).mode == "RGB"
    whole = Image.new("RGB", (2, 2))
    assert images._converter(whole)[0](whole) is whole  # no copy of what is right already


def test_oddities_are_named():
    for kind in ("32-bit integers", "32-bit integers like 16", "floats outside", "grey, 16 bits"):
        assert prepare_image_noting(ZOO[kind][0], 1)[1] == ("more than 8 bits",)
    assert prepare_image_noting(saved(ALPHA_HALF, "PNG"), 1)[1] == ("transparent",)
    assert prepare_image_noting(ZOO["grey, 16 bits"][0], 1)[1] == ("more than 8 bits",)
    assert prepare_image_noting(ZOO["CMYK, TIFF"][0], 2)[1] == ("CMYK", "enlarged")
    assert prepare_image_noting(ZOO["rgb"][0], 1)[1] == ()


# --- refusing --------------------------------------------------------------------------------------------------------

JPEG = saved(Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")

REPLACE, SAVE = "Replace it, or remove it.", "Save it as JPEG or PNG, or remove it."
HTML = ("a web page, not an image; the download went wrong", SAVE, "E304")
SVG = ("an SVG drawing, not pixels; export it as PNG", SAVE, "E304")
EPS = ("an EPS or PostScript file, which is a program and is not run; export it as PNG", SAVE, "E304")
UNKNOWN = ("not an image in a known format (JPEG, MPO, PNG, GIF, WEBP, BMP, TIFF, PPM, AVIF)", SAVE, "E304")
BROKEN = ("cannot be read: ...", REPLACE, "E302")

# file -> the whole reason, the fix and the code
REFUSED = {
    "empty": (b"", ("the file is empty", REPLACE, "E303")),
    "web page": (b"\n<!DOCTYPE html><html><body>404</body></html>", HTML),
    "web page, no doctype": (b"\xef\xbb\xbf\r\n\t <HTML lang=en><body>404</body></html>", HTML),
    "web page, head alone": (b"<head><title>404</title></head>", HTML),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', SVG),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", EPS),
    "PDF": (b"%PDF-1.7\n", ("a PDF file; export it as PNG", SAVE, "E304")),
    "ICO, not on the list": (saved(Image.new("RGB", (16, 16)), "ICO"), UNKNOWN),
    "text": (b"hello", UNKNOWN),
    "truncated JPEG": (JPEG[: len(JPEG) // 2], BROKEN),
    "truncated PNG": (ZOO["rgb"][0][:45], BROKEN),
    "header only": (JPEG[:3], BROKEN),
    "all floats NaN": (tiff(np.full((2, 2), np.nan, np.float32)),
                       ("float image without a single finite value", REPLACE, "E306")),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_the_path_and_a_reason(kind, tmp_path):
    content, (reason, fix, code) = REFUSED[kind]
    path = tmp_path / "cat.jpg"
    path.write_bytes(content)
    for call, data, where in ((read_image, path, path), (prepare_image, path, path), (read_image, content, "image")):
        with pytest.raises(DataError) as caught:
            call(data)
        error = caught.value
        if reason.endswith("..."):
            assert error.what.startswith(f"{where}: {reason.removesuffix('...')}")
            assert 0 < len(error.what) - len(str(where)) - len(reason) < 125
        else:
            assert error.what == f"{where}: {reason}"
        assert (error.fix, error.code) == (fix, code)


CHECK = "Check that the file is there and that you may read it."


@pytest.mark.parametrize(("error", "reason", "fix", "code"), [
    (ValueError("  two\n lines "), "two lines", REPLACE, "E302"),
    (ValueError("x" * 300), "x" * 120, REPLACE, "E302"),
    (KeyError(), "KeyError", REPLACE, "E302"),
    (OSError("broken data stream"), "broken data stream", REPLACE, "E302"),
    (PermissionError(13, "Permission denied"), "permission denied", CHECK, "E301"),
    (MemoryError(), "MemoryError", REPLACE, "E302"),
])  # fmt: skip
def test_whatever_a_decoder_raises_is_told_in_a_few_words(monkeypatch, error, reason, fix, code):
    def broken(*_):
        raise error

    monkeypatch.setattr(image_files, "open_here", broken)
    with pytest.raises(DataError) as caught:
        prepare_image(JPEG)
    assert caught.value.what == f"image: cannot be read: {reason}"
    assert (caught.value.fix, caught.value.code, caught.value.__cause__) == (fix, code, error)


def test_what_is_too_large_is_told_with_its_size(monkeypatch):
    smaller = "Save it smaller, or raise the limit with --max-pixels (ALEXNET_MAX_PIXELS in Python)."
    for content, limits, told in (
        (ZOO["rgb"][0], {"MAX_PIXELS": 1}, "2 x 1 pixels, more than the limit of 1"),
        (jpeg_of_scans(MAX_SCANS + 1), {}, f"a JPEG of {MAX_SCANS + 1} scans, more than the limit of {MAX_SCANS}"),
    ):
        with pytest.raises(DataError) as caught:
            prepare_image(content, max_pixels=limits.get("MAX_PIXELS", 64_000_000))
        assert caught.value.what == f"image: {told}"
        assert (caught.value.fix, caught.value.code) == (smaller if limits else "Save it again.", "E305")
    monkeypatch.setattr(image_files, "BELIEVED_PIXELS", 1)
    monkeypatch.setattr(image_files, "PIXELS_PER_BYTE", 0)
    with pytest.raises(DataError) as caught:
        read_image(JPEG)
    length = len(JPEG)
    assert caught.value.what == f"image: 64 x 64 pixels, too many for a JPEG of {length:,} bytes"
    assert (caught.value.fix, caught.value.code) == (REPLACE, "E305")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("side", [9_000, 12_000, 30_000])
def test_bombs_are_refused_from_the_header(side, monkeypatch):
    """9,000^2 passes Pillow in silence, 12,000^2 makes it warn (here an error), 30,000^2 makes it raise."""
    row = zlib.compress(b"\0" * (side // 8 + 1))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    content += chunk(b"IDAT", row) + chunk(b"IEND", b"")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("pixels were decoded"))
    begin = time.process_time()
    with pytest.raises(DataError, match=f"{side} x {side} pixels, more than the limit of 64,000,000"):
        prepare_image(content)
    assert time.process_time() - begin < 0.5


def test_more_pixels_than_the_bytes_of_a_jpeg_can_describe_are_not_believed(monkeypatch):
    content = saved(Image.new("L", (len(JPEG), 3)), "JPEG")
    pixels = 3 * len(JPEG)
    monkeypatch.setattr(image_files, "BELIEVED_PIXELS", pixels)
    monkeypatch.setattr(image_files, "PIXELS_PER_BYTE", 0)
    assert read_image(content).shape == (3, pixels // 3, 3)
    monkeypatch.setattr(image_files, "BELIEVED_PIXELS", pixels - 1)
    with pytest.raises(DataError, match=rf"{pixels // 3} x 3 pixels, too many for a JPEG of {len(content):,} bytes"):
        prepare_image(content)
    monkeypatch.setattr(image_files, "PIXELS_PER_BYTE", pixels / len(content))
    assert prepare_image(content, 4).shape == (4, 4, 3)


def test_scans_up_to_the_limit_are_read():
    assert jpeg_of_scans(MAX_SCANS).count(b"\xff\xda") == MAX_SCANS
    assert prepare_image(jpeg_of_scans(MAX_SCANS), 8).shape == (8, 8, 3)
    with pytest.raises(DataError, match=f"a JPEG of {MAX_SCANS + 1} scans, more than the limit of {MAX_SCANS}"):
        read_image(jpeg_of_scans(MAX_SCANS + 1))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "pipe.jpg")
    assert caught.value.what == f"{tmp_path / 'pipe.jpg'}: a pipe, socket or device, not a file"
    assert (caught.value.fix, caught.value.code) == ("Remove it.", "E304")


def test_limit_is_an_argument():
    assert read_image(ZOO["rgb"][0], max_pixels=2).shape == (1, 2, 3)
    with pytest.raises(DataError, match="limit of 1"):
        read_image(ZOO["rgb"][0], max_pixels=1)


def test_broken_bytes_give_pixels_or_a_data_error():
    """Truncations and random mutations of several formats; anything else than the two outcomes fails the test."""
    chooser = random.Random(0)
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (24, 24, 3), np.uint8))
    outcomes = set()
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        content = saved(image, kind)
        broken = [content[: chooser.randrange(len(content))] for _ in range(25)]
        for _ in range(60):
            mutated = bytearray(content)
            for _ in range(chooser.randint(1, 8)):
                mutated[chooser.randrange(len(mutated) if chooser.random() < 0.5 else 60)] = chooser.randrange(256)
            broken.append(bytes(mutated))
        for each in broken:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    pixels = prepare_image(each, 16, max_pixels=1_000_000)
                except DataError:
                    outcomes.add("refused")
                else:
                    assert pixels.shape == (16, 16, 3)
                    outcomes.add("read")
    assert outcomes == {"refused", "read"}


def test_threads_give_the_same_pixels_and_leave_pillow_alone():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    contents = [JPEG, *(content for content, _ in ZOO.values())] * 4
    expected = [prepare_image(content, 16) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        for one, two in zip(pool.map(lambda content: prepare_image(content, 16), contents), expected, strict=True):
            np.testing.assert_array_equal(one, two)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_path_and_bytes_agree(tmp_path: Path):
    (tmp_path / "猫 \U0001f408.jpg").write_bytes(JPEG)
    np.testing.assert_array_equal(read_image(tmp_path / "猫 \U0001f408.jpg"), read_image(JPEG))


def test_the_format_is_that_of_the_bytes_and_further_frames_are_noticed(tmp_path):
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 200)]
    frames[0].save(tmp_path / "a.jpg", "PNG")
    frames[0].save(tmp_path / "b.jpg", "GIF", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "c.jpg", "JPEG")
    (tmp_path / "d.jpg").write_bytes(b"hello")
    found = [format_of(tmp_path / f"{name}.jpg") for name in "abcde"]
    assert found == [("PNG", False), ("GIF", True), ("JPEG", False), ("", False), ("", False)]


def test_frames_that_cannot_be_counted_do_not_matter(tmp_path):
    frames = [Image.new("RGB", (40, 40), (shade, 0, 0)) for shade in (0, 200)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    content = (tmp_path / "a.tif").read_bytes()
    first = int.from_bytes(content[4:8], "little")
    after = first + 2 + 12 * int.from_bytes(content[first : first + 2], "little")
    (tmp_path / "a.tif").write_bytes(content[:after] + (2**31).to_bytes(4, "little") + content[after + 4 :])
    assert read_image(tmp_path / "a.tif").shape == (40, 40, 3)
    assert format_of(tmp_path / "a.tif") == ("TIFF", False)

"""Images that look like what is refused, and are fine; each beside what is refused for a reason."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from alexnet.data.image_bytes import brands, count_scans
from alexnet.data.images import prepare_image, prepare_image_noting, read_image
from alexnet.errors import DataError
from harness.image_files import chunk, jpeg_of_scans, saved

NOISE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (48, 64, 3), np.uint8))
PIXELS = np.asarray(NOISE)
FALSE_SCANS = b"\xff\xda" * 3000


def progressive(**options: object) -> bytes:
    return saved(NOISE, "JPEG", progressive=True, quality=95, **options)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def with_thumbnail() -> bytes:
    """EXIF with a progressive thumbnail in it, as cameras and editors write them."""
    thumbnail = jpeg_of_scans(400)[:60_000]
    return with_segments(progressive(), segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail))


VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + FALSE_SCANS * 20

# name -> a progressive JPEG with the same pixels as without what was added
JPEGS = {
    "large color profile": lambda: progressive(icc_profile=b"\0" * 128 + FALSE_SCANS * 100),
    "comment": lambda: progressive(comment=FALSE_SCANS),
    "thumbnail": with_thumbnail,
    "photoshop block": lambda: with_segments(progressive(), segment(0xED, b"Photoshop 3.0\0" + FALSE_SCANS)),
    "XMP": lambda: with_segments(progressive(), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + FALSE_SCANS)),
    "unknown segment": lambda: with_segments(progressive(), segment(0xEF, FALSE_SCANS)),
    "trailing video": lambda: progressive() + VIDEO,
    "trailing JPEGs": lambda: progressive() + progressive() * 60,
    "trailing zeros and scans": lambda: progressive() + bytes(5000) + FALSE_SCANS,
    "fill bytes": lambda: progressive().replace(b"\xff\xda", b"\xff\xff\xff\xff\xda"),
    "damaged list of further images": lambda: with_segments(
        progressive(), segment(0xE2, b"MPF\0II*\0\x08\0\0\0\1\0\1\xb0\4\0\1\0\0\0\2\0\0\0\0\0\0\0")),
    "damaged list, big-endian": lambda: with_segments(
        progressive(), segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff\xb0\1\0\4\0\0")),
    "damaged list, empty": lambda: with_segments(progressive(), segment(0xE2, b"MPF\0II*\0\x08\0\0\0\0\0\0\0\0\0")),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
@pytest.mark.parametrize("kind", JPEGS)
def test_what_lies_around_the_pixels_of_a_jpeg_does_not_count(kind):
    content = JPEGS[kind]()
    np.testing.assert_array_equal(read_image(content), read_image(progressive()))
    assert prepare_image(content, 32).shape == (32, 32, 3)
    assert count_scans(content) == progressive().count(b"\xff\xda")


def test_motion_photos_and_pairs_of_images_are_read():
    """Phones write a progressive or plain JPEG, an index of further images (MPF), those images, and a video."""
    for options in ({}, {"progressive": True}):
        content = saved(NOISE, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))] * 3, **options) + VIDEO
        np.testing.assert_array_equal(read_image(content), read_image(saved(NOISE, "JPEG", **options)))


@pytest.mark.parametrize("count", [1, 10, 64, 101, 190, 300, 499])
def test_scans_are_counted_as_the_file_has_them(count):
    content = jpeg_of_scans(max(count, 10))
    assert count_scans(content) == max(count, 10)
    assert read_image(content).shape == (64, 64, 3)


def test_restart_markers_and_stuffed_bytes_are_no_scans():
    content = saved(NOISE, "JPEG", quality=100, restart_marker_blocks=1)
    assert content.count(b"\xff\xd0") >= 2
    assert count_scans(content) == 1
    assert count_scans(b"\xff\xd8\xff\xd9" + FALSE_SCANS) == 0
    for cut in range(0, len(content), 97):
        assert count_scans(content[:cut]) <= 1


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xda", b"\xff\xd8\xff\xda\0", b"\xff" * 9]
)
def test_stumps_have_few_scans(content):
    assert count_scans(content) <= 1


def test_a_scan_too_many_for_a_large_image_is_refused():
    content = bytearray(jpeg_of_scans(200))
    place = content.index(b"\xff\xc2") + 5
    content[place : place + 4] = struct.pack(">HH", 6000, 9000)
    content += bytes(100_000)  # so that the pixels alone are believed
    with pytest.raises(DataError, match="a JPEG of 200 scans, more than the limit of 118") as caught:
        read_image(bytes(content))
    assert caught.value.code == "E305"


# --- empty pages -----------------------------------------------------------------------------------------------------


def flat_png(width: int, height: int) -> bytes:
    packer = zlib.compressobj(9)
    data = packer.compress(bytes((1 + width // 8) * height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


PAGE = (4960, 7016)  # A4 at 600 dpi

EMPTY = {
    "fax, group 4": lambda: saved(Image.new("1", PAGE, 1), "TIFF", compression="group4"),
    "fax, group 3": lambda: saved(Image.new("1", PAGE, 1), "TIFF", compression="group3"),
    "TIFF, deflate": lambda: saved(Image.new("L", PAGE, 255), "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, LZW": lambda: saved(Image.new("L", PAGE, 255), "TIFF", compression="tiff_lzw"),
    "PNG, 1 bit": lambda: flat_png(4960, 7016),
    "PNG, gray": lambda: saved(Image.new("L", PAGE, 255), "PNG"),
    "GIF": lambda: saved(Image.new("P", PAGE, 0), "GIF"),
    "WebP, lossless": lambda: saved(Image.new("RGB", (4000, 3500), "white"), "WEBP", lossless=True),
    "JPEG": lambda: saved(Image.new("L", PAGE, 255), "JPEG"),
    "JPEG, progressive": lambda: saved(Image.new("L", PAGE, 255), "JPEG", progressive=True),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_empty_pages_of_a_few_bytes_are_read(kind):
    content = EMPTY[kind]()
    square = prepare_image(content, 32)
    assert square.min() == square.max()


# --- kinds that are rare --------------------------------------------------------------------------------------------


def frames(count: int = 39) -> list[Image.Image]:
    """New ones each time, since Pillow keeps the settings of one format in an image."""
    return [NOISE.rotate(9 * i) for i in range(1, count + 1)]


BLOCKS = [segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + FALSE_SCANS)] * 100
GRAY = NOISE.convert("L")

# name -> (file, the pixels as they must be, or None where the format loses some)
RARE = {
    "CMYK JPEG with 600 kB of EXIF": (lambda: with_segments(
        saved(NOISE.convert("CMYK"), "JPEG"), *[segment(0xE1, b"Exif\0\0" + FALSE_SCANS * 10)] * 10), None),
    "JPEG with 600 kB of XMP": (lambda: with_segments(progressive(), *BLOCKS), None),
    "JPEG with 600 kB of comments": (lambda: with_segments(progressive(), *[segment(0xFE, FALSE_SCANS)] * 100), None),
    "JPEG with a part of a profile": (lambda: with_segments(
        progressive(), segment(0xE2, b"ICC_PROFILE\0\2\3" + FALSE_SCANS)), None),
    "JPEG with a profile of 1.9 MB": (lambda: progressive(icc_profile=bytes(1_900_000)), None),
    "JPEG in RGB": (lambda: saved(NOISE, "JPEG", keep_rgb=True), None),
    "MPO of 40": (lambda: saved(NOISE, "MPO", save_all=True, append_images=frames()), None),
    "GIF of 40 frames": (lambda: saved(GRAY, "GIF", save_all=True, append_images=frames()), None),
    "WebP of 40 frames": (lambda: saved(NOISE, "WEBP", save_all=True, append_images=frames(), lossless=True), PIXELS),
    "WebP with 3 MB of profile": (lambda: saved(NOISE, "WEBP", lossless=True, icc_profile=bytes(3 << 20)), PIXELS),
    "AVIF of 3 frames": (lambda: saved(NOISE, "AVIF", save_all=True, append_images=frames(2)), None),
    "PNG of 40 frames": (lambda: saved(NOISE, "PNG", save_all=True, append_images=frames()), PIXELS),
    "PNG with a ZIP behind it": (lambda: saved(NOISE, "PNG") + b"PK\3\4" + FALSE_SCANS * 9, PIXELS),
    "TIFF of 40 pages": (lambda: saved(NOISE, "TIFF", save_all=True, append_images=frames()), PIXELS),
    "TIFF, fax": (lambda: saved(NOISE.convert("1"), "TIFF", compression="group4"), None),
    "TIFF, large file format": (lambda: saved(NOISE, "TIFF", big_tiff=True), PIXELS),
    "BMP, upside down": (lambda: saved(NOISE, "BMP")[:22] + struct.pack("<i", -48) + saved(NOISE, "BMP")[26:],
        PIXELS[::-1]),
    "BMP, its length unknown": (lambda: b"BM" + bytes(4) + saved(NOISE, "BMP")[6:], PIXELS),
    "BMP, 16 bits": (lambda: b"BM" + struct.pack("<IHHI", 62, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 4, 1, 1, 16, 0, 8, 0, 0, 0, 0) + struct.pack("<4H", 0x7C00, 0x3E0, 0x1F, 0),
        [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]]),
    "BMP, 16 bits with masks": (lambda: b"BM" + struct.pack("<IHHI", 74, 0, 0, 66)
        + struct.pack("<IiiHHIIiiII", 40, 4, 1, 1, 16, 3, 8, 0, 0, 0, 0) + struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
        + struct.pack("<4H", 0xF800, 0x7E0, 0x1F, 0), [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]]),
    "PPM with a long comment": (lambda: b"P6\n# " + b"c" * 9000 + b"\n1 1\n255\n\1\2\3", [[[1, 2, 3]]]),
}  # fmt: skip


@pytest.mark.parametrize("kind", RARE)
def test_rare_kinds_are_read(kind):
    make, expected = RARE[kind]
    pixels = read_image(make())
    if expected is None:
        assert pixels.shape == PIXELS.shape
        assert np.corrcoef(pixels.mean(2).ravel(), PIXELS.mean(2).ravel())[0, 1] > 0.5
    else:
        np.testing.assert_array_equal(pixels, expected)


# --- what is packed beside the pixels of a PNG -----------------------------------------------------------------------


def png_with(*chunks: bytes, after: bytes = b"") -> bytes:
    plain = saved(NOISE, "PNG")
    end = plain.index(b"IEND") - 4
    return plain[:33] + b"".join(chunks) + plain[33:end] + after + plain[end:]


MEGABYTES = zlib.compress(bytes(3 << 20))
HISTORY = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + MEGABYTES)
PROFILE = chunk(b"iCCP", b"wide gamut\0\0" + MEGABYTES)
TEXT = chunk(b"zTXt", b"workflow\0\0" + MEGABYTES)
NEARLY = zlib.compress(bytes(900_000))
ORIENTATION = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")

PNGS = {
    "profile of 3 MB": png_with(PROFILE),
    "text of 3 MB": png_with(TEXT),
    "history of 3 MB": png_with(HISTORY),
    "text behind the pixels": png_with(after=TEXT),
    "all of them": png_with(PROFILE, TEXT, HISTORY, after=HISTORY + TEXT),
    "text not packed": png_with(chunk(b"iTXt", b"prompt\0\0\0\0\0" + b"x" * (3 << 20))),
    "plain text": png_with(chunk(b"tEXt", b"prompt\0" + b"x" * (3 << 20))),
    "small profile": png_with(chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(np.random.default_rng(0).bytes(60_000)))),
    "profile of noise": png_with(chunk(b"iCCP", b"LUT\0\0" + zlib.compress(np.random.default_rng(0).bytes(2 << 20)))),
    "texts of 80 MB together, packed": png_with(*[chunk(b"zTXt", b"k\0\0" + NEARLY) for _ in range(90)]),
    "texts of 80 MB together, UTF-8": png_with(*[chunk(b"iTXt", b"k\0\1\0\0\0" + NEARLY) for _ in range(90)]),
    "texts of 80 MB together": png_with(*[chunk(b"tEXt", b"k\0" + b"x" * 900_000) for _ in range(90)]),
    "texts of 80 MB on both sides": png_with(
        *[chunk(b"zTXt", b"k\0\0" + NEARLY) for _ in range(50)], after=chunk(b"zTXt", b"k\0\0" + NEARLY) * 50
    ),
    "thousands of short texts": png_with(*[chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x")) for _ in range(3000)]),
    "damaged text": png_with(chunk(b"tEXt", b"k\0x")[:-1] + b"?"),
    "damaged profile": png_with(chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(b"x"))[:-1] + b"?"),
    "damaged time behind the pixels": png_with(after=chunk(b"tIME", bytes(7))[:-4] + b"????"),
    "damaged gamma, text of 3 MB": png_with(chunk(b"gAMA", bytes(4))[:-4] + b"????", TEXT),
    "chunks of a maker": png_with(chunk(b"vpAg", bytes(9)), chunk(b"orNT", b"\1"), after=chunk(b"prVt", bytes(99))),
    "profile that is no zlib": png_with(chunk(b"iCCP", b"sRGB\0\0" + b"x" * 5000)),
}


@pytest.mark.parametrize("kind", PNGS)
def test_what_is_long_or_damaged_beside_the_pixels_does_not_matter(kind):
    np.testing.assert_array_equal(read_image(PNGS[kind]), PIXELS)


def test_damage_of_what_shows_is_still_refused():
    plain = saved(NOISE, "PNG")
    for place in (plain.index(b"IHDR") + 5, plain.index(b"IDAT") + 500):
        damaged = plain[:place] + bytes([plain[place] ^ 1]) + plain[place + 1 :]
        with pytest.raises(DataError) as caught:
            read_image(damaged)
        assert caught.value.code == "E302"


def test_the_rotation_beside_a_long_text_is_applied():
    for content in (png_with(ORIENTATION, TEXT), png_with(TEXT, after=ORIENTATION)):
        np.testing.assert_array_equal(read_image(content), np.rot90(PIXELS, -1))


# --- one transparent color -------------------------------------------------------------------------------------------


def png(width: int, depth: int, color: int, row: bytes, ground: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, 1, depth, color, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"tRNS", ground) + chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


WHITE = [255] * 3
COLOR = struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)

# name -> (a PNG whose first pixel is transparent, the other pixels as they must be)
GROUNDS = {
    "gray, 1 bit, black": (png(2, 1, 0, b"\x40", b"\0\0"), [WHITE]),
    "gray, 1 bit, white": (png(2, 1, 0, b"\x80", b"\0\1"), [[0] * 3]),
    "gray, 2 bits": (png(3, 2, 0, b"\x48", b"\0\1"), [[0] * 3, [170] * 3]),
    "gray, 2 bits, black": (png(3, 2, 0, b"\x18", b"\0\0"), [[85] * 3, [170] * 3]),
    "gray, 4 bits": (png(2, 4, 0, b"\x5a", b"\0\5"), [[170] * 3]),
    "gray, 4 bits, black": (png(2, 4, 0, b"\x0a", b"\0\0"), [[170] * 3]),
    "gray, 8 bits": (png(2, 8, 0, b"\x07\xc8", b"\0\7"), [[200] * 3]),
    "gray, 16 bits": (png(2, 16, 0, struct.pack(">2H", 1000, 32768), struct.pack(">H", 1000)), [[128] * 3]),
    "gray, 16 bits, black": (png(2, 16, 0, struct.pack(">2H", 0, 32768), b"\0\0"), [[128] * 3]),
    "gray, 16 bits, nearly": (png(2, 16, 0, struct.pack(">2H", 0, 257), b"\0\0"), [[1] * 3]),
    "color, 8 bits": (png(2, 8, 2, bytes([255, 0, 0, 0, 0, 255]), struct.pack(">3H", 255, 0, 0)), [[0, 0, 255]]),
    "color, 16 bits": (png(2, 16, 2, COLOR + b"\xff\xff\0\0\0\0", COLOR), [[255, 0, 0]]),
    "color, 16 bits, black": (
        png(2, 16, 2, struct.pack(">6H", 0, 0, 0, 0x8000, 0, 0xFFFF), bytes(6)), [[128, 0, 255]]),
    "color, 16 bits, white": (
        png(2, 16, 2, struct.pack(">6H", *[0xFFFF] * 3, 0, 0, 0), b"\xff" * 6), [[0, 0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize("kind", GROUNDS)
def test_the_transparent_color_shows_white_at_every_depth(kind):
    content, others = GROUNDS[kind]
    np.testing.assert_array_equal(read_image(content)[0], [WHITE, *others])
    oddities = prepare_image_noting(content, 1)[1]
    assert "transparent" in oddities
    assert ("more than 8 bits" in oddities) == ("gray, 16" in kind)


def test_sixteen_bits_without_a_transparent_color_are_as_ever():
    array = np.array([[0, 32768, 65535]], np.uint16)
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(array), "PNG"))[0, :, 0], [0, 128, 255])


# --- brands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "expected"), [
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", (b"heic", b"mif1", b"heic")),
    (b"\0\0\0\x14ftypavif\0\0\0\0mif1", (b"avif", b"mif1")),
    (b"\0\0\0\x10ftypmp42\0\0\0\0heic", (b"mp42",)),
    (b"\0\0\0\x18ftyp", (b"",)),
    (b"\xff\xd8\xff\xe0", ()),
    (b"", ()),
])  # fmt: skip
def test_brands_are_those_of_the_first_box(head, expected):
    assert brands(head) == expected

"""Images made to do harm: bombs, and broken files by the hundred. Read by processes that may die of them."""

import json
import os
import re
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from harness import ROOT
from harness.image_files import chunk, jpeg_of_scans, saved


def flat_png(width: int, height: int, depth: int, color: int, extra: bytes = b"") -> bytes:
    """All zeros, compressed as far as deflate goes."""
    samples = {0: 1, 2: 3, 6: 4}[color]
    row = bytes(1 + (width * depth * samples + 7) // 8)
    packer = zlib.compressobj(9)
    rows = max(1, (1 << 20) // len(row))
    pieces = [packer.compress(row * min(rows, height - start)) for start in range(0, height, rows)]
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = b"".join(pieces) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def gif_of_many_frames(count: int, side: int) -> bytes:
    """The one frame of a GIF again and again."""
    content = saved(Image.new("P", (side, side)), "GIF")
    start = content.index(b"\x2c\0\0\0\0" + struct.pack("<HH", side, side))
    return content[:start] + content[start:-1] * count + b";"


def webp_lossless(width: int, height: int, size: int) -> bytes:
    """The header of a lossless WebP, then zeros."""
    bits = (width - 1) | (height - 1) << 14
    data = b"\x2f" + struct.pack("<I", bits) + bytes(size)
    return b"RIFF" + struct.pack("<I", 12 + len(data)) + b"WEBPVP8L" + struct.pack("<I", len(data)) + data


def webp_canvas(width: int, height: int) -> bytes:
    """An extended WebP with a canvas far larger than its frame."""
    frame = saved(Image.new("RGB", (8, 8)), "WEBP", lossless=True)[12:]
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    data = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides + frame
    return b"RIFF" + struct.pack("<I", len(data)) + data


def tiff(width: int, height: int, data: bytes, **changes: tuple[int, int]) -> bytes:
    """A gray TIFF of one strip by hand; changes: tag name -> (type, value)."""
    tags = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262, "offset": 273,
            "samples": 277, "rows": 278, "count": 279, "tile_width": 322, "tile_height": 323, "tile_offset": 324,
            "tile_count": 325}  # fmt: skip
    values = {"width": (4, width), "height": (4, height), "bits": (3, 8), "compression": (3, 1), "photometric": (3, 1),
              "offset": (4, 8), "samples": (3, 1), "rows": (4, height), "count": (4, len(data))}  # fmt: skip
    values |= changes
    entries = sorted((tags[name], kind, value) for name, (kind, value) in values.items())
    ifd = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        ifd += struct.pack("<HHII", tag, kind, 1, value)
    data += bytes(len(data) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + ifd + bytes(4)


def jpeg_of_size(width: int, height: int) -> bytes:
    content = bytearray(saved(Image.new("RGB", (8, 8)), "JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def long_text(kind: bytes, packed: bytes) -> bytes:
    head = {b"zTXt": b"Comment\0\0", b"iCCP": b"profile\0\0", b"iTXt": b"Comment\0\1\0\0\0"}[kind]
    return flat_png(8, 8, 8, 2, chunk(kind, head + packed))


def png_of_texts(count: int) -> bytes:
    """A megabyte each, the most that Pillow unpacks."""
    packed = zeros(1)
    return flat_png(8, 8, 8, 2, b"".join(chunk(b"zTXt", b"key%d\0\0" % i + packed) for i in range(count)))


LIMIT, MADE_UP, UNREADABLE, READ = "more than the limit", "too many for a JPEG of", "cannot be read", "^pixels$"
BIG, SMALL = 300, 20  # megabytes

# name -> (file, what may come of it, by how many megabytes the memory may grow)
BOMBS = {
    "900 megapixels in 109 kB": (lambda: flat_png(30_000, 30_000, 1, 0), LIMIT, SMALL),
    "144 megapixels in 17.6 kB": (lambda: flat_png(12_000, 12_000, 1, 0), LIMIT, SMALL),
    "64 megapixels in 8 kB": (lambda: flat_png(8_000, 8_000, 1, 0), READ, BIG),
    "64 megapixels, as many as are read, with alpha": (lambda: flat_png(8_000, 8_000, 8, 6), READ, BIG),
    "one row of 30 megapixels": (lambda: flat_png(30_000_000, 1, 8, 2), READ, BIG),
    "GIF, 20,000 frames": (lambda: gif_of_many_frames(20_000, 400), READ, 2 * SMALL),
    "GIF, huge screen": (
        lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(3) + b";", LIMIT + "|cannot", SMALL),
    "PNG, 100 MB of zTXt": (lambda: long_text(b"zTXt", zeros(100)), READ, SMALL),
    "PNG, 100 MB of iTXt": (lambda: long_text(b"iTXt", zeros(100)), READ, SMALL),
    "PNG, 100 MB of profile": (lambda: long_text(b"iCCP", zeros(100)), READ, SMALL),
    "PNG, 1,000 texts": (lambda: png_of_texts(1000), READ, BIG),
    "PNG, 15 texts": (lambda: png_of_texts(15), READ, 2 * SMALL),
    "WebP, lossless, 268 megapixels": (lambda: webp_lossless(16384, 16384, 100), LIMIT + "|cannot", SMALL),
    "WebP, lossless, 14 megapixels in 602 bytes": (
        lambda: saved(Image.new("RGB", (4_000, 3_500)), "WEBP", lossless=True), READ, BIG),
    "WebP, canvas of 2^32 pixels": (lambda: webp_canvas(1 << 16, (1 << 16) - 1), LIMIT + "|cannot", SMALL),
    "WebP, canvas of 2^48 pixels": (lambda: webp_canvas(1 << 24, 1 << 24), LIMIT + "|cannot", SMALL),
    "JPEG, 4,295 megapixels": (lambda: jpeg_of_size(65_500, 65_500), LIMIT, SMALL),
    "JPEG, 200 megapixels in 600 bytes": (lambda: jpeg_of_size(20_000, 10_000), MADE_UP, SMALL),
    "JPEG, 36 megapixels in 600 bytes": (lambda: jpeg_of_size(6_000, 6_000), MADE_UP, SMALL),
    "JPEG, 1,000 scans": (lambda: jpeg_of_scans(1_000), "1,000 scans, more than the limit", SMALL),
    "TIFF, deflate, 64 megapixels": (lambda: tiff(8_000, 8_000, zeros(62), compression=(3, 8)), READ, BIG),
    "TIFF, 10 megapixels that are not there": (lambda: tiff(4_000, 2_500, b"ab"), UNREADABLE, BIG),
    "TIFF, strip of 4 GB": (lambda: tiff(100, 100, b"ab", count=(4, 2**32 - 1)), UNREADABLE, SMALL),
    "TIFF, tile of 2^62": (
        lambda: tiff(100, 100, zeros(1), compression=(3, 8), tile_width=(4, 2**31), tile_height=(4, 2**31),
             tile_offset=(4, 8), tile_count=(4, 1000)), UNREADABLE, SMALL),
    "TIFF, 65,535 samples": (lambda: tiff(100, 100, b"ab", samples=(3, 65535)), UNREADABLE, SMALL),
    "BMP, 900 megapixels": (lambda: saved(Image.new("RGB", (1, 1)), "BMP").replace(
        struct.pack("<ii", 1, 1), struct.pack("<ii", 30_000, 30_000)), LIMIT, SMALL),
    "PPM, 900 megapixels": (lambda: b"P6 30000 30000 255\n", LIMIT, SMALL),
}  # fmt: skip


@pytest.fixture(scope="module")
def readings(tmp_path_factory) -> dict[str, dict[str, dict]]:
    """bomb -> function -> what `measure_reading` says."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, (content, *_) in BOMBS.items():
        (folder / name).write_bytes(content())
    command = [sys.executable, "-m", "harness.measure_reading", *(folder / name for name in BOMBS)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=True)
    found: dict[str, dict[str, dict]] = {name: {} for name in BOMBS}
    for line in done.stdout.splitlines():
        reading = json.loads(line)
        found[reading["name"]][reading["call"]] = reading
    return found


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_or_read_in_little_memory(readings, name):
    _, outcome, megabytes = BOMBS[name]
    assert set(readings[name]) == {"read_image", "prepare_image"}, "the process has crashed"
    for reading in readings[name].values():
        assert re.search(outcome, reading["outcome"]), reading
        allowance = 2 * megabytes if reading["call"] == "read_image" and reading["outcome"] == "pixels" else megabytes
        assert reading["mb"] < allowance, reading


def test_broken_images_of_every_format_give_pixels_or_a_data_error(tmp_path):
    """A few hundred cases; `results/fuzz_images.json` has thousands."""
    command = [
        sys.executable,
        "-m",
        "studies.robustness.fuzz_images",
        "--mutations",
        "250",
        "--truncations",
        "50",
        "--seed",
        "1",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--out", tmp_path / "found.json"], capture_output=True, text=True, timeout=600, env=environment
    )
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["wrong"], done.returncode) == ([], 0)
    for row in found["rows"]:
        assert row["pixels"] + row["DataError"] == row["cases"] == 300
        assert min(row["pixels"], row["DataError"]) >= 15, "cases that are all alike test nothing"
        assert row["peak growth MB"] < 300
    assert {"JPEG", "PNG", "GIF", "WEBP", "TIFF"} <= {row["format"] for row in found["rows"]}

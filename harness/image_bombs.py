"""Image files of up to 25 MB that are small or ordinary by their headers and cost as much as their format allows.

Each is a structured worst case of one loop or one allocation of a reader, which mutated files never reach. Beside them
stand innocent twins: files that are as large, or use the same feature, as programs write them.
"""

import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from harness.coded_images import (
    jpeg_of_arithmetic_scans,
    jpeg_of_refinements,
    packed_texts,
    segment,
    webp_of_tables,
)
from harness.image_files import chunk, saved

FULL = 24_000_000  # bytes; the service takes 25 MB at most
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(NOISE).resize((width, height), Image.Resampling.BILINEAR)


def costly_tags(length: int, count: int = 65_000, head: bytes = b"") -> bytes:
    """A block of tags of which each holds all of the block."""
    start = 8
    entries = b"".join(struct.pack("<HHII", tag, 7, length - 16, 8) for tag in range(1, count + 1))
    block = b"II*\0" + struct.pack("<I", start) + struct.pack("<H", count) + entries + bytes(4)
    return head + block + bytes(max(0, length - len(block)))


def jpeg(width: int = 64, height: int = 64, **options: object) -> bytes:
    return saved(noise(width, height), "JPEG", **options)


def jpeg_with(before: bytes) -> bytes:
    content = jpeg()
    return content[:2] + before + content[2:]


def jpeg_repeating_scan(count: int, width: int, height: int, **options: object) -> bytes:
    """The last scan, without its data, again and again."""
    content = jpeg(width, height, **options)
    start = content.rindex(b"\xff\xda")
    length = 2 + int.from_bytes(content[start + 2 : start + 4])
    return content[:-2] + (content[start : start + length] + b"\0") * count + b"\xff\xd9"


def jpeg_of_scan_data(count: int, width: int, height: int) -> bytes:
    """A progressive JPEG whose last scan is repeated with its data."""
    content = jpeg(width, height, progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:-2] + content[start:-2] * count + b"\xff\xd9"


def png(extra: bytes = b"", behind: bytes = b"") -> bytes:
    """Sixteen pixels, with chunks before and behind them."""
    data = zlib.compress(bytes(17) * 16)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0))
    return head + extra + chunk(b"IDAT", data) + behind + chunk(b"IEND", b"")


def png_of_small_pieces(side: int) -> bytes:
    rows = np.random.default_rng(0).integers(0, 256, (side, side + 1), np.uint8)
    rows[:, 0] = 0
    data = zlib.compress(rows.tobytes(), 0)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return head + b"".join(chunk(b"IDAT", bytes([each])) for each in data) + chunk(b"IEND", b"")


def gif(before: bytes = b"", pieces: bool = False) -> bytes:
    content = saved(Image.new("P", (16, 16)), "GIF")
    start = content.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 16, 16))
    if not pieces:
        return content[:start] + before + content[start:]
    # The codes of a clear table, over and over, in blocks of one byte.
    return content[: start + 10] + b"\x02" + b"\x01\x24" * (FULL // 2) + b"\0;"


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def webp_zeros(width: int, height: int, size: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return riff((b"VP8L", b"\x2f" + struct.pack("<I", bits) + bytes(size)))


def webp_extended(flags: int, *chunks: tuple[bytes, bytes]) -> bytes:
    frame = saved(Image.new("RGB", (16, 16)), "WEBP", lossless=True)
    canvas = bytes([flags, 0, 0, 0]) + struct.pack("<I", 15)[:3] * 2
    content = frame[20 : 20 + int.from_bytes(frame[16:20], "little")]
    return riff((b"VP8X", canvas), (b"VP8L", content), *chunks)


def webp_frames() -> bytes:
    frame = saved(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    one = (b"ANMF", bytes(6) + bytes(6) + b"\x01\0\0\0" + frame)
    canvas = bytes([2, 0, 0, 0]) + struct.pack("<I", 15)[:3] * 2
    return riff((b"VP8X", canvas), (b"ANIM", bytes(6)), *[one] * (FULL // (len(one[1]) + 8)))


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes, following: int = 0) -> bytes:
    """A little-endian TIFF by hand: tag -> (type, count, value or offset); the data begins at byte 8."""
    data += bytes(len(data) % 2)
    ifd = struct.pack("<H", len(tags))
    for tag, (kind, count, value) in sorted(tags.items()):
        ifd += struct.pack("<HHII", tag, kind, count, value)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + ifd + struct.pack("<I", following)


def gray_tags(side: int, length: int, compression: int = 1) -> dict[int, tuple[int, int, int]]:
    return {256: (4, 1, side), 257: (4, 1, side), 258: (3, 1, 8), 259: (3, 1, compression), 262: (3, 1, 1),
            273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, side), 279: (4, 1, length)}  # fmt: skip


def tiff_tile(side: int, tile: int, data: bytes, compression: int = 8) -> bytes:
    tags = gray_tags(side, len(data), compression)
    for tag in (273, 278, 279):
        del tags[tag]
    return tiff(tags | {322: (4, 1, tile), 323: (4, 1, tile), 324: (4, 1, 8), 325: (4, 1, len(data))}, data)


def tiff_of_strips(count: int) -> bytes:
    data = b"\x08\0\0\0" * count
    return tiff(gray_tags(16, 256) | {273: (4, count, 8), 279: (4, count, 8), 278: (4, 1, 1)}, data)


def tiff_of_costly_tags(where: int) -> bytes:
    data = costly_tags(FULL - 1000)[8:]
    return tiff(gray_tags(16, 256) | ({where: (4, 1, 8)} if where else {}), data)


def tiff_of_many_tags() -> bytes:
    """65,000 tags that all hold the 20 MB behind them."""
    tags = gray_tags(16, 256) | {tag: (7, 20_000_000, 8) for tag in range(1000, 30_000)}
    return tiff(tags, bytes(20_000_000))


def tiff_of_pages(count: int) -> bytes:
    content = tiff(gray_tags(16, 256), bytes(256))
    start = int.from_bytes(content[4:8], "little")
    page = content[start:-4]
    pages = [page + struct.pack("<I", start + (i + 1) * (len(page) + 4)) for i in range(count)]
    return content[:start] + b"".join(pages)


def tiff_of_jpeg_scans(side: int) -> bytes:
    data = jpeg_repeating_scan(100_000, side, side)
    tags = gray_tags(side, len(data), 7) | {262: (3, 1, 6), 277: (3, 1, 3), 258: (3, 1, 8)}
    return tiff(tags, data)


def bmp_runs(width: int, height: int, data: bytes) -> bytes:
    palette = b"".join(bytes([i, 255 - i, 7, 0]) for i in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + palette + data


def isobmff(kind: str) -> bytes:
    return saved(noise(64, 64), kind)


def avif_of_items(count: int) -> bytes:
    """An AVIF whose pixels are followed by themselves, as frames that nobody asked for."""
    content = bytearray(saved(noise(512, 512), "AVIF", speed=10))
    start = content.index(b"mdat")
    size = int.from_bytes(content[start - 4 : start])
    frames = bytes(content[start + 4 : start - 4 + size])
    place = content.index(b"iloc")
    location = content.index(struct.pack(">I", start + 4), place)
    content[location + 4 : location + 8] = struct.pack(">I", len(frames) * count)
    content[start - 4 : start] = struct.pack(">I", 8 + len(frames) * count)
    return bytes(content[: start + 4]) + frames * count


def avif_of_claims() -> bytes:
    """An AVIF whose compressed data says 65,536 x 65,536 pixels, and whose header 64 x 64."""
    content = bytearray(isobmff("AVIF"))
    # Sequence header: 6-bit widths become 16-bit ones of all ones; what follows is then something else.
    for start in range(content.index(b"mdat") + 4, len(content) - 2):
        if content[start] == 0x0A:
            content[start + 2 : start + 10] = b"\x18\xff\xff\xff\xff\xff\xff\xff"
            break
    return bytes(content)


def ppm(text: bytes) -> Callable[[], bytes]:
    return lambda: text + b"\n" * max(0, FULL - len(text) - 100)


ZEROS = zlib.compress(bytes(1 << 20), 9)

BOMBS: dict[str, Callable[[], bytes]] = {
    "JPEG: empty segments": lambda: jpeg_with(segment(0xEF, b"") * (FULL // 4)),
    "JPEG: comments": lambda: jpeg_with(segment(0xFE, b"x") * (FULL // 5)),
    "JPEG: fill bytes before the pixels": lambda: jpeg_with(b"\xff" * FULL),
    "JPEG: fill bytes in the pixels": lambda: jpeg()[:-2] + b"\xff" * FULL + b"\0\xff\xd9",
    "JPEG: fill bytes in progressive pixels": lambda: jpeg(progressive=True)[:-2] + b"\xff" * FULL + b"\0\xff\xd9",
    "JPEG: junk before the pixels": lambda: jpeg_with(bytes(FULL)),
    "JPEG: stuffed bytes before the pixels": lambda: jpeg_with(b"\xff\0" * (FULL // 2)),
    "JPEG: Huffman tables": lambda: jpeg_with(segment(0xC4, b"\0" + bytes(16)) * (FULL // 21)),
    "JPEG: costly EXIF": lambda: jpeg_with(segment(0xE1, costly_tags(65_000, 5_000, b"Exif\0\0"))),
    "JPEG: costly EXIF in many segments": lambda: jpeg_with(
        segment(0xE1, costly_tags(60_000, 4_900, b"Exif\0\0")) + segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 390),
    "JPEG: costly list of images": lambda: jpeg_with(segment(0xE2, costly_tags(65_000, 5_000, b"MPF\0"))),
    "JPEG: one scan, 70,000 times": lambda: jpeg_repeating_scan(70_000, 3000, 3000),
    "JPEG: one gray scan, 70,000 times": lambda: jpeg_repeating_scan(70_000, 3000, 3000, keep_rgb=False),
    "JPEG: 499 progressive scans of 12 megapixels": lambda: jpeg_repeating_scan(480, 4000, 3000, progressive=True),
    "JPEG: 60 progressive scans with data": lambda: jpeg_of_scan_data(50, 3000, 2500),
    "JPEG: 490 scans that change nothing": lambda: jpeg_of_refinements(4000, 3000, 490),
    "JPEG: 480 arithmetic scans": lambda: jpeg_of_arithmetic_scans(4000, 3000, 480),
    "JPEG: blocks of an editor": lambda: jpeg_with(
        segment(0xED, b"Photoshop 3.0\0" + (b"8BIM\0\1" + bytes(6)) * 5400) * 368),
    "JPEG: restart markers": lambda: jpeg(restart_marker_blocks=1)[:-2] + b"\xff\xd0" * (FULL // 2) + b"\xff\xd9",
    "PNG: small texts": lambda: png(chunk(b"tEXt", b"a\0b") * (FULL // 15)),
    "PNG: unknown chunks": lambda: png(chunk(b"abCd", b"") * (FULL // 12)),
    "PNG: unknown chunks behind the pixels": lambda: png(behind=chunk(b"abCd", b"") * (FULL // 12)),
    "PNG: pixels in pieces of a byte": lambda: png_of_small_pieces(1300),
    "PNG: empty pieces of pixels": lambda: png(behind=chunk(b"IDAT", b"") * (FULL // 12)),
    "PNG: costly EXIF": lambda: png(chunk(b"eXIf", costly_tags(FULL))),
    "PNG: costly EXIF in a text": lambda: png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(
        b"\nexif\n1\n" + costly_tags(500_000, 41_000).hex().encode()))),
    "PNG: packed texts": lambda: png(packed_texts(22_000)),
    "PNG: packed profiles behind the pixels": lambda: png(behind=packed_texts(22_000, b"iCCP")),
    "PNG: large profile": lambda: png(chunk(b"iCCP", b"a\0\0" + zlib.compress(NOISE.tobytes() * 1500, 0))),
    "PNG: a text of 24 MB": lambda: png(chunk(b"tEXt", b"a\0" + bytes(FULL))),
    "PNG: frames of an animation": lambda: png(behind=chunk(b"fdAT", bytes(4)) * (FULL // 16)),
    "GIF: comment in pieces of a byte": lambda: gif(b"!\xfe" + b"\x01a" * (FULL // 2) + b"\0"),
    "GIF: comments": lambda: gif(b"!\xfe\x01a\0" * (FULL // 5)),
    "GIF: blocks of programs": lambda: gif(b"!\xff" + b"\x01a" * (FULL // 2) + b"\0"),
    "GIF: bytes that begin nothing": lambda: gif(b"\x01" * FULL),
    "GIF: pixels in pieces of a byte": lambda: gif(pieces=True),
    "WEBP: a large page of zeros": lambda: webp_zeros(3900, 3900, 1000),
    "WEBP: 65,536 tables of codes": lambda: riff((b"VP8L", webp_of_tables(1024))),
    "WEBP: costly EXIF": lambda: webp_extended(8, (b"EXIF", costly_tags(FULL))),
    "WEBP: unknown chunks": lambda: webp_extended(0, *[(b"abcd", b"")] * (FULL // 8)),
    "WEBP: frames": webp_frames,
    "TIFF: a tile of 1 gigapixel": lambda: tiff_tile(16, 32_768, ZEROS),
    "TIFF: a tile of 1 gigapixel, LZW": lambda: tiff_tile(16, 32_768, bytes(1000), 5),
    "TIFF: a tile of 1 gigapixel, not packed": lambda: tiff_tile(16, 32_768, bytes(1000), 1),
    "TIFF: strips": lambda: tiff_of_strips(FULL // 4),
    "TIFF: tags that share 20 MB": tiff_of_many_tags,
    "TIFF: costly EXIF": lambda: tiff_of_costly_tags(0x8769),
    "TIFF: costly GPS": lambda: tiff_of_costly_tags(0x8825),
    "TIFF: pages": lambda: tiff_of_pages(200_000),
    "TIFF: scans of a JPEG": lambda: tiff_of_jpeg_scans(3000),
    "TIFF: fax of 60 million columns": lambda: tiff(gray_tags(1, 1000, 4) | {256: (4, 1, 60_000_000), 258: (3, 1, 1)},
        bytes(1000)),
    "BMP: runs of one": lambda: bmp_runs(4000, 3000, b"\x01\x07" * (FULL // 2)),
    "BMP: ends of lines": lambda: bmp_runs(60_000, 1000, b"\x01\x07\0\0" * 1000),
    "BMP: empty ends of lines": lambda: bmp_runs(16, 16, b"\0\0" * (FULL // 2)),
    "BMP: jumps": lambda: bmp_runs(60_000_000, 1, b"\0\x02\xff\xff" * 1000),
    "PPM: comments": ppm(b"P2 16 16 255\n" + b"#\n1 " * 5_000_000),
    "PPM: comments before the numbers": ppm(b"P2 16 16 255\n" + b"#a\n" * 8_000_000 + b"1 " * 256),
    "PPM: a comment before the size": ppm(b"P6 #" + b"a" * (FULL - 1000) + b"\n16 16 255\n" + bytes(768)),
    "PPM: comments of colors": ppm(b"P0CMYK #" + b"a" * (FULL - 1000) + b"\n16 16 255\n" + bytes(1024)),
    "PPM: spaces": ppm(b"P3 16 16 255" + b" " * (FULL - 1000)),
    "PPM: comments in bits": ppm(b"P1 5000 4000 " + b"1#\n" * 7_900_000),
    "PPM: a largest value of 100": lambda: b"P6 2800 2800 100\n" + bytes(2800 * 2800 * 3),
    "PPM: a largest value of 1000": lambda: b"P5 3400 3400 1000\n" + bytes(3400 * 3400 * 2),
    "PPM: numbers": lambda: b"P2 3400 3400 255\n" + b"7 " * (3400 * 3400),
    "AVIF: pixels of 24 MB": lambda: avif_of_items(400),
    "AVIF: claims of the pixels": avif_of_claims,
}  # fmt: skip


@cache
def page(width: int, height: int) -> Image.Image:
    return noise(width, height)


# What looks like the files above and is fine.
INNOCENT: dict[str, Callable[[], bytes]] = {
    "JPEG: many segments": lambda: jpeg_with(segment(0xEF, bytes(60_000)) * 300),
    "JPEG: EXIF of 60 kB": lambda: jpeg(exif=_long_exif()),
    "JPEG: progressive, 3 megapixels": lambda: saved(page(2000, 1500), "JPEG", progressive=True, quality=95),
    "JPEG: restart markers": lambda: saved(page(2000, 1500), "JPEG", restart_marker_blocks=1),
    "PNG: chunks of 8 kB, 20 MB": lambda: saved(Image.fromarray(
        np.random.default_rng(1).integers(0, 256, (2500, 2600, 3), np.uint8)), "PNG", compress_level=0),
    "PNG: pixels in pieces of a byte": lambda: png_of_small_pieces(16),
    "GIF: 3 megapixels": lambda: saved(page(2000, 1500).quantize(64), "GIF"),
    "GIF: a comment": lambda: gif(b"!\xfe" + b"\xff" + b"a" * 255 + b"\0"),
    "WEBP: 3 megapixels": lambda: saved(page(2000, 1500), "WEBP", quality=80),
    "WEBP: lossless, 3 megapixels": lambda: saved(page(2000, 1500), "WEBP", lossless=True),
    "WEBP: with alpha": lambda: saved(_faded(300, 200), "WEBP", quality=80),
    "WEBP: empty, 14 megapixels": lambda: saved(Image.new("RGB", (4000, 3500)), "WEBP", lossless=True),
    "TIFF: 3 megapixels": lambda: saved(page(2000, 1500), "TIFF"),
    "TIFF: 3 megapixels, LZW": lambda: saved(page(2000, 1500), "TIFF", compression="tiff_lzw"),
    "TIFF: 3 megapixels, JPEG": lambda: saved(page(2000, 1500), "TIFF", compression="jpeg"),
    "TIFF: a tile of 256 for 16 pixels": lambda: tiff_tile(16, 256, zlib.compress(bytes(1 << 16))),
    "TIFF: 50 pages": lambda: saved(page(64, 64), "TIFF", save_all=True, append_images=[page(64, 64)] * 49),
    "TIFF: rotated": lambda: saved(page(60, 40), "TIFF", tiffinfo={0x0112: 6}),
    "TIFF: palette": lambda: saved(page(60, 40).quantize(16), "TIFF"),
    "BMP: 3 megapixels": lambda: saved(page(2000, 1500), "BMP"),
    "BMP: runs": lambda: bmp_runs(255, 400, b"\xff\x07\0\0" * 400),
    "PPM: a comment of 1 kB": lambda: b"P6 #" + b"a" * 1000 + b"\n16 16 255\n" + bytes(range(256)) * 3,
    "PPM: text": lambda: b"P3 # made by hand\n2 2 # size\n255\n1 2 3 4 5 6\n7 8 9 #\n10 11 12\n",
    "PPM: largest value 100": lambda: b"P6 20 20 100\n" + bytes(range(100)) * 12,
    "PPM: largest value 1000": lambda: b"P5 20 20 1000\n" + bytes(range(200)) * 4,
    "PPM: bits": lambda: b"P1 9 2\n101010101 # odd\n0 1 1 1 1 1 1 1 1",
    "AVIF: 3 megapixels": lambda: saved(page(2000, 1500), "AVIF", speed=10),
    "AVIF: with alpha": lambda: saved(page(64, 64).convert("RGBA"), "AVIF"),
}  # fmt: skip


def _long_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a" * 60_000
    return exif.tobytes()


def _faded(width: int, height: int) -> Image.Image:
    image = page(width, height).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((width, height)))
    return image

"""Reads the structure of image files without decoding them: scans of a JPEG, texts in a PNG, brands of HEIF and AVIF.

What lies in a color profile, in a thumbnail, or behind the image is not taken for a part of it.
"""

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import IO

from alexnet.errors import DataError, UsageError

# A decoded image takes 4 bytes a pixel, at most 16 (WebP), so that no image takes more than a gigabyte.
MAX_PIXELS = 64_000_000
PIXELS_VARIABLE = "ALEXNET_MAX_PIXELS"  # set by --max-pixels, so that other processes of a command inherit it

# In the compressed data of a JPEG, 0xFF is followed by 0 or by a restart marker (T.81, B.1.1.5); anything else ends it.
# Any number of 0xFF may stand before it; they are not searched for, since that would take the square of their number.
END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
MARKER = re.compile(rb"\xff([^\x00\xff])")
MOST_MARKERS = 20_000  # encoders write some dozens
START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = 0xD8, 0xD9, 0xDA
ALONE = frozenset({0x01, START_OF_IMAGE, *range(0xD0, 0xD8)})  # markers that no length follows

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
PACKED_TEXTS = (b"zTXt", b"iTXt", b"iCCP")
# Pillow refuses a PNG with a packed text or profile longer than TEXT_LIMIT, or with more than ALL_TEXTS_LIMIT of texts.
TEXT_LIMIT = 1 << 20
ALL_TEXTS_LIMIT = 1 << 26
MOST_PACKED = 1032  # deflate makes data at most so many times smaller
TEXT_SUSPICIOUS = TEXT_LIMIT // MOST_PACKED


class RefusedImage(DataError):
    """The reason why an image is refused; `open_image` adds the name of the image."""


def pixel_limit(default: int = MAX_PIXELS) -> int:
    """Returns how many pixels an image may have, where a caller does not say: $ALEXNET_MAX_PIXELS, else `default`.

    Raises:
        UsageError: that is no number of pixels.
    """
    text = os.environ.get(PIXELS_VARIABLE, "")
    try:
        limit = int(text) if text else default
    except ValueError:
        limit = 0
    if limit < 1:
        raise UsageError(
            f"{text!r} is no number of pixels, as --max-pixels and {PIXELS_VARIABLE} give it",
            fix=f"Give a whole number, for example {2 * MAX_PIXELS}.",
            code="E203",
        )
    return limit


def count_scans(content: bytes) -> int:
    """Counts the scans of the first image in a JPEG file; what follows its end, as in a motion photo, is not read.

    Behind `MOST_MARKERS` markers nothing is counted; so many are returned.
    """
    scans, position, markers = 0, 0, 0
    while marker := MARKER.search(content, position):
        markers += 1
        if markers > MOST_MARKERS:
            return MOST_MARKERS
        kind, position = marker[1][0], marker.end()
        if kind == END_OF_IMAGE:
            break
        if kind in ALONE:
            continue
        scans += kind == START_OF_SCAN
        position += int.from_bytes(content[position : position + 2], "big")
        if kind == START_OF_SCAN:
            end = END_OF_SCAN.search(content, position)
            if end is None:
                break
            position = end.start()
    return scans


def without_refused_chunks(file: IO[bytes]) -> IO[bytes]:
    """Returns a PNG without the chunks beside its pixels for which Pillow would refuse the whole image.

    These are texts and profiles that are too long, alone or all together, and any that are damaged. They do not show:
    editors keep histories of megabytes there, and viewers pass over them. A file without any is returned as it is.
    """
    refused, packed, texts, total = [], [], [], 0
    for start, length, kind in _ancillary_chunks(file):
        if _is_damaged(file, start, length):
            refused.append((start, length))
        elif kind in TEXTS or kind in PACKED_TEXTS:
            texts.append((start, length))
            if kind in PACKED_TEXTS and length > TEXT_SUSPICIOUS:
                packed.append((start, length))
            total += min(TEXT_LIMIT, length * MOST_PACKED) if kind in PACKED_TEXTS else length
    # Unpacked are only so many as are left in: thousands of small ones would take minutes.
    refused += texts if total > ALL_TEXTS_LIMIT else [chunk for chunk in packed if _is_long(file, *chunk)]
    refused.sort()
    if not refused:
        return file
    pieces, position = [], 0
    for start, length in refused:
        file.seek(position)
        pieces.append(file.read(start - position))
        position = start + 12 + length
    file.seek(position)
    return io.BytesIO(b"".join([*pieces, file.read()]))


def _ancillary_chunks(file: IO[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """Yields where the chunks begin that a PNG can do without, the lengths of their contents, and their kinds."""
    position, end = len(PNG_SIGNATURE), file.seek(0, io.SEEK_END)
    while position + 12 <= end:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        # A small first letter says so (PNG, 5.4). fdAT is a frame of an animation, of which only the first is read.
        if kind[0] & 0x20 and kind != b"fdAT" and position + 12 + length <= end:
            yield position, length, kind
        position += 12 + length


def _is_damaged(file: IO[bytes], start: int, length: int) -> bool:
    file.seek(start + 4)
    content, checksum = file.read(4 + length), file.read(4)
    return zlib.crc32(content) != int.from_bytes(checksum, "big")


def _is_long(file: IO[bytes], start: int, length: int) -> bool:
    """Whether a chunk, unpacked, is longer than Pillow allows. It is unpacked only as far as that."""
    file.seek(start + 4)
    kind, content = file.read(4), file.read(length)
    if kind == b"iTXt":
        # Keyword, 0, whether it is packed, method, language, 0, translated keyword, 0, text (PNG, 11.3.3.4).
        rest = content.partition(b"\0")[2]
        if rest[:1] != b"\1":
            return False
        packed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        packed = content.partition(b"\0")[2][1:]
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, TEXT_LIMIT)
    except zlib.error:
        return False
    return bool(unpacker.unconsumed_tail)


def webp_size(head: bytes) -> tuple[int, int]:
    """Reads width and height from the first 30 bytes of a WebP, as they are reserved at once; (0, 0) if it has none."""
    match head[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return 0, 0


def brands(head: bytes) -> tuple[bytes, ...]:
    """Returns the brands of an ISO media file, as HEIF, AVIF and videos are, the major one first; () for other files.

    Args:
        head: the first bytes of the file; brands that lie behind them are not found.
    """
    if head[4:8] != b"ftyp":
        return ()
    box = head[8 : max(int.from_bytes(head[:4], "big"), 12)]
    return (box[:4], *(box[start : start + 4] for start in range(8, len(box) - 3, 4)))

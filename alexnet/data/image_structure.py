"""Tells from the structure of an image file whether reading it takes only as much as its size promises.

Readers loop over whatever stands before the pixels: segments of a JPEG, chunks of a PNG, blocks of a GIF, tags of a
TIFF or of EXIF. A file can hold millions of those, or have thousands of tags that all point to the same megabytes.
Files with an ordinary number of them are read here and now; the others, and formats whose decoders cannot be bounded
from outside, are read by `image_guard` in a process with limits. Nothing is refused here.
"""

import struct
from typing import IO

from alexnet.data.image_bytes import count_scans

# In Pillow these call libraries that allocate what the compressed data says, whatever the header says.
ALWAYS_GUARDED = ("TIFF", "AVIF", "HEIF")
MOST_STEPS = 1000  # before the pixels; cameras and editors write some dozens
BYTES_PER_STEP = 64  # as many more as the file has bytes for; encoders write 255 bytes (GIF) or more in one
TIMES_READ = 4  # tags may hold so many times the bytes of the block they are in
SMALL_BLOCK = 1 << 16
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
RUN_LENGTHS = (1, 2)  # compressions of BMP that Pillow decodes in Python
NO_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
START_OF_SCAN = 0xDA
PROGRESSIVE = frozenset({0xC2, 0xC6})
ARITHMETIC = frozenset(range(0xC9, 0xD0)) - {0xCC}  # decoded from no data at all as slowly as from much
FILL = b"\xff" * 4096  # among pixels; the whole run is looked at again for each piece of a file that is read
MOST_SCANS = 20  # each may visit every coefficient of the image; encoders write about ten
# The lossless form of WebP, which is that of transparency too, may have 65,536 tables of codes, whatever the size.
MANY_TABLES = (b"VP8L", b"ALPH", b"ANMF")


def needs_guard(name: str, file: IO[bytes], length: int) -> bool:
    """Whether the file, read as the format of this name, may take more time or memory than its size promises."""
    if name in ALWAYS_GUARDED:
        return True
    file.seek(0)
    match name:
        case "JPEG" | "MPO":
            return _is_unusual_jpeg(file, length)
        case "PNG":
            return _has_many_chunks(file, length)
        case "GIF":
            return _has_many_blocks(file, length)
        case "BMP":
            head = file.read(34)
            return len(head) == 34 and int.from_bytes(head[30:34], "little") in RUN_LENGTHS
        case "WEBP":
            content = file.read()
            return any(kind in content for kind in MANY_TABLES)
        case "PPM":
            return file.read(2)[1:] not in (b"1", b"2", b"3", b"4", b"5", b"6")
    return False


def tags_are_costly(block: bytes) -> bool:
    """Whether the tags of a block in the form of TIFF, as EXIF is, hold far more bytes than the block itself."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) <= 14:
        return False
    start = struct.unpack_from(order + "I", block, 4)[0]
    if start + 2 > len(block):
        return False
    count, total = struct.unpack_from(order + "H", block, start)[0], 0
    for position in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        _, kind, number = struct.unpack_from(order + "HHI", block, position)
        size = TYPE_BYTES.get(kind, 1) * number
        total += min(size, len(block)) if size > 4 else 0
    return total > max(TIMES_READ * len(block), SMALL_BLOCK)


def _most_steps(length: int) -> int:
    return MOST_STEPS + length // BYTES_PER_STEP


def _is_unusual_jpeg(file: IO[bytes], length: int) -> bool:
    """Walks to the first scan, as Pillow does, counting markers, fill bytes and junk between them; then the scans."""
    blocks: dict[bytes, bytes] = {}
    position, in_passes = 2, False
    for _ in range(MOST_STEPS):
        file.seek(position)
        mark = file.read(4)
        if len(mark) < 4:
            return False
        if mark[0] != 0xFF or mark[1] in (0, 0xFF) or mark[1] in NO_LENGTH:
            position += 1 if mark[0] != 0xFF or mark[1] == 0xFF else 2
            continue
        if mark[1] in ARITHMETIC:
            return True
        in_passes |= mark[1] in PROGRESSIVE
        if mark[1] == START_OF_SCAN:
            if any(tags_are_costly(block) for block in blocks.values()):
                return True
            file.seek(0)
            content = file.read()
            return FILL in content or (in_passes and count_scans(content) > MOST_SCANS)
        size = int.from_bytes(mark[2:], "big")
        if mark[1] in (0xE1, 0xE2):
            content = file.read(size - 2) if size > 2 else b""
            for start in (b"Exif\0\0", b"MPF\0"):
                if content.startswith(start):
                    # EXIF in several segments is one block, which grows by copying.
                    blocks[start] = blocks.get(start, b"") + content[len(start) :]
                    if len(blocks[start]) > 1 << 20:
                        return True
        position += 2 + max(size, 2)
    return True


def _has_many_chunks(file: IO[bytes], length: int) -> bool:
    """Counts the chunks of a PNG, those of its pixels included: Pillow asks for each of them in Python."""
    position = 8
    for _ in range(_most_steps(length)):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return False
        position += 12 + int.from_bytes(head[:4], "big")
    return True


def _has_many_blocks(file: IO[bytes], length: int) -> bool:
    """Counts the blocks of a GIF until the second image begins, which is looked for to tell an animation."""
    content = file.read()
    if len(content) < 13:
        return False
    position, left = 13 + _palette(content[10]), _most_steps(length)
    images = 0
    while position < len(content) and images < 2 and left > 0:
        kind = content[position]
        if kind == 0x2C and position + 9 < len(content):
            images += 1
            position += 11 + _palette(content[position + 9])
        elif kind == 0x21:
            position += 2
        else:
            # Pillow passes over bytes that begin no block one by one, until the end.
            if kind == 0x3B:
                return False
            position, left = position + 1, left - 1
            continue
        while position < len(content) and left > 0:
            size = content[position]
            position, left = position + 1 + size, left - 1
            if size == 0:
                break
    return left <= 0


def _palette(flags: int) -> int:
    """The bytes of the table of colors that follows a descriptor of a GIF with these flags."""
    return 6 << (flags & 7) if flags & 0x80 else 0

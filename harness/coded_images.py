"""Compressed pixels written by hand, which no encoder writes: scans and tables that cost much and say little."""

import struct
import zlib

import numpy as np

from harness.image_files import chunk

SCAN_OF_COLOR, REFINING_SCAN = (1, 63, 0x0D), (1, 63, 0x10)  # first and last coefficient, bits before and after
RUN = 32_767  # blocks that one symbol passes over, the most there can be
TEXT = (1 << 20) - 100  # bytes, just below what Pillow refuses


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_head(start_of_frame: int, width: int, height: int) -> bytes:
    """A JPEG of three colors, not reduced, until its first scan."""
    colors = b"".join(bytes([color, 0x11, 0]) for color in (1, 2, 3))
    frame = struct.pack(">BHHB", 8, height, width, 3) + colors
    return b"\xff\xd8" + segment(0xDB, bytes(1) + b"\x01" * 64) + segment(start_of_frame, frame)


def scan(colors: tuple[int, ...], first: int, last: int, bits: int) -> bytes:
    """The head of a scan, whose data follow."""
    tables = b"".join(bytes([color, 0]) for color in colors)
    return segment(0xDA, bytes([len(colors)]) + tables + bytes([first, last, bits]))


def packed(bits: str) -> bytes:
    """Bits of a scan, filled up with ones."""
    length = -(-len(bits) // 8)
    return int(bits.ljust(8 * length, "1"), 2).to_bytes(length, "big").replace(b"\xff", b"\xff\0")


def jpeg_of_refinements(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG: each scan has a few bytes, which say of all blocks that nothing changes."""
    blocks = -(-width // 8) * -(-height // 8)
    lengths = bytes([1, 1]) + bytes(14)
    tables = segment(0xC4, b"\x10" + lengths + b"\xe0\0") + segment(0xC4, b"\0" + lengths + b"\0\1")
    nothing = packed(("0" + "1" * 14) * (blocks // RUN + 1))
    content = jpeg_head(0xC2, width, height) + tables + scan((1, 2, 3), 0, 0, 0) + packed("0" * 3 * blocks)
    content += b"".join(scan((color,), *SCAN_OF_COLOR) + nothing for color in (1, 2, 3))
    return content + (scan((1,), *REFINING_SCAN) + nothing) * scans + b"\xff\xd9"


def jpeg_of_arithmetic_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG with arithmetic coding, which reads on behind the end of its data."""
    content = jpeg_head(0xCA, width, height) + scan((1, 2, 3), 0, 0, 0) + bytes(200)
    return content + b"".join(scan((1 + i % 3,), 1, 63, 0) + bytes(200) for i in range(scans)) + b"\xff\xd9"


def packed_texts(count: int, kind: bytes = b"zTXt") -> bytes:
    """Chunks of a PNG, each of which unpacks to a megabyte."""
    return chunk(kind, b"a\0\0" + zlib.compress(bytes(TEXT), 9)) * count


class Bits:
    """Bits of a WebP, the lowest first."""

    def __init__(self) -> None:
        self.written: list[int] = []

    def put(self, value: int, count: int) -> None:
        self.written += [value >> place & 1 for place in range(count)]

    def code_of_one(self) -> None:
        """A table of codes in which one value, 0, has a code of no bits."""
        self.put(0b0001, 4)

    def code_of_bytes(self, values: int) -> None:
        """A table in which 0 to 255 have codes of 8 bits, and the other `values` none."""
        self.put(0, 1)
        self.put(8, 4)  # the lengths of codes have themselves codes: of length 8, of 0, and of runs of 0
        for length in (0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1):  # of 17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8
            self.put(length, 3)
        self.put(0, 1)
        self.put(0, 256)
        for _ in range(values - 256):
            self.put(0b01, 2)

    def bytes(self) -> bytes:
        return np.packbits(np.array(self.written, np.uint8), bitorder="little").tobytes()


def webp_of_tables(side: int) -> bytes:
    """The data of a lossless WebP of one color in which each square of 4 x 4 pixels has tables of its own."""
    bits, count = Bits(), (side // 4) ** 2
    for value, length in ((side - 1, 14), (side - 1, 14), (0, 4), (0, 1), (0, 1), (1, 1), (0, 3), (0, 1)):
        bits.put(value, length)  # sizes; no transparency, version; no transform, no cache; tables for squares of 4
    bits.code_of_bytes(256 + 24)
    bits.code_of_bytes(256)
    for _ in range(3):
        bits.code_of_one()
    for number in range(count):  # of the table of each square, in green and red; codes stand with the highest bit first
        for value in (number & 255, number >> 8):
            bits.put(int(f"{value:08b}"[::-1], 2), 8)
    for _ in range(5 * count):
        bits.code_of_one()
    return b"\x2f" + bits.bytes()

"""Rewrites the PPM files that Pillow reads pixel by pixel in Python as such that it reads at once; same pixels.

These are the ones in plain text (P1, P2, P3), and those whose largest value is neither 255 nor 65535. A header may hold
comments of any length, which Pillow reads byte by byte; here they are passed over, up to `HEADER`.
"""

import io
import re
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

HEADER = 1 << 16
WHITE = rb"[ \t\n\v\f\r]"
# Between two numbers there is white space, of which a comment, from # to the end of the line, is a part.
GAP = rb"(?:#[^\r\n]*[\r\n]|" + WHITE + rb")++"
NUMBER = GAP + rb"(\d{1,10})"
COMMENT = re.compile(rb"#[^\r\n]*(?:[\r\n]|\Z)")
LINE_END = re.compile(rb"[\r\n]")
BLOCK = 1 << 20


def quickly_readable(file: IO[bytes]) -> IO[bytes]:
    """Returns the file (P1 to P6) itself if Pillow reads it at once, otherwise one in memory with the same pixels.

    Raises:
        ValueError: its header or its numbers are not those of such a file.
    """
    file.seek(0)
    head = file.read(HEADER)
    kind = head[:2]
    numbers = 2 if kind in (b"P1", b"P4") else 3
    match = re.match(rb"P[1-6]" + NUMBER * numbers + WHITE, head)
    if match is None:
        raise ValueError("the header is not that of a PPM file, or longer than 64 kB")
    width, height = int(match[1]), int(match[2])
    maximum = int(match[3]) if numbers == 3 else 1
    if not 0 < maximum < 65536:
        raise ValueError("the largest value must be greater than 0 and less than 65536")
    bands = 3 if kind in (b"P3", b"P6") else 1
    if kind == b"P4" or (kind in (b"P5", b"P6") and (maximum == 255 or (maximum == 65535 and bands == 1))):
        if b"#" not in match[0]:
            return file
        file.seek(match.end())
        return _binary(kind, width, height, maximum, file.read())
    file.seek(match.end())
    samples = width * height * bands
    wide = maximum > 255 and bands == 1
    if kind == b"P1":
        return _binary(b"P4", width, height, 1, _packed_bits(file.read(), width, height))
    table = np.rint(np.arange(maximum + 1) / maximum * (65535 if wide else 255)).astype(">u2" if wide else np.uint8)
    values = _numbers(file.read(), samples, maximum) if kind in (b"P2", b"P3") else _stored(file, samples, maximum)
    return _binary(b"P6" if bands == 3 else b"P5", width, height, 65535 if wide else 255, table[values].tobytes())


def size_of(file: IO[bytes]) -> tuple[int, int]:
    """Reads width and height from the header of such a file; (0, 0) if it cannot be read."""
    file.seek(0)
    match = re.match(rb"P[1-6]" + NUMBER * 2, file.read(HEADER))
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _binary(kind: bytes, width: int, height: int, maximum: int, data: bytes) -> IO[bytes]:
    largest = b"" if kind == b"P4" else b" %d" % maximum
    return io.BytesIO(b"%s %d %d%s\n" % (kind, width, height, largest) + data)


def _without_comments(text: bytes) -> bytes:
    """The text without its comments, block by block: millions of small ones would each be an object."""
    if b"#" not in text:
        return text
    kept, inside = bytearray(), False
    for start in range(0, len(text), BLOCK):
        piece = text[start : start + BLOCK]
        if inside:
            end = LINE_END.search(piece)
            if end is None:
                continue
            piece = piece[end.end() :]
        inside = b"#" in piece[max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1 :]
        kept += COMMENT.sub(b"", piece)
    return bytes(kept)


def _packed_bits(text: bytes, width: int, height: int) -> bytes:
    """The pixels of P1, each a digit that nothing needs to separate from the next, as bits."""
    digits = _without_comments(text).translate(None, b" \t\n\v\f\r")[: width * height]
    values = np.frombuffer(digits, np.uint8) - 48
    if (values > 1).any():
        raise ValueError("a pixel is neither 0 nor 1")
    if len(values) < width * height:
        raise ValueError("the file is cut off")
    return np.packbits(values.reshape(height, width), axis=1).tobytes()


def _numbers(text: bytes, count: int, maximum: int) -> NDArray[np.uint16]:
    """The first `count` numbers of a text, with comments."""
    values = np.empty(count, np.uint16)
    done, start = 0, 0
    text = _without_comments(text)
    while done < count and start < len(text):
        stop = min(start + BLOCK, len(text))
        end = re.compile(WHITE).search(text, stop)  # a block ends where a number does
        stop = end.start() if end else len(text)
        words = text[start:stop].split()[: count - done]
        if max(map(len, words), default=0) > 10:
            raise ValueError("a number is too long")
        some: NDArray[Any] = np.array(words, dtype="S10").astype(np.int64)
        if len(some) and (some.min() < 0 or some.max() > maximum):
            raise ValueError("a value is negative or larger than the header says")
        values[done : done + len(some)] = some
        done, start = done + len(some), stop
    if done < count:
        raise ValueError("the file is cut off")
    return values


def _stored(file: IO[bytes], count: int, maximum: int) -> NDArray[Any]:
    """The values of a binary file; those above the largest count as it."""
    kind = np.dtype(np.uint8 if maximum < 256 else ">u2")
    data = file.read(count * kind.itemsize)
    if len(data) < count * kind.itemsize:
        raise ValueError("the file is cut off")
    values: NDArray[Any] = np.minimum(np.frombuffer(data, kind), maximum)
    return values

"""PPM files that Pillow reads number by number give the pixels that it would, at once."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from alexnet.data.images import read_image
from alexnet.data.netpbm import quickly_readable
from alexnet.errors import DataError

RNG = np.random.default_rng(3)


def made(kind: int, maximum: int, width: int = 7, height: int = 5) -> bytes:
    bands = 3 if kind in (3, 6) else 1
    values = RNG.integers(0, maximum + 1, width * height * bands)
    head = b"P%d %d %d" % (kind, width, height)
    if kind == 1:
        return head + b"\n" + "".join(map(str, values)).encode()
    if kind == 4:
        return head + b"\n" + np.packbits(values.reshape(height, width), axis=1).tobytes()
    head += b" %d\n" % maximum
    if kind in (2, 3):
        return head + " ".join(map(str, values)).encode() + b"\n"
    return head + values.astype(np.uint8 if maximum < 256 else ">u2").tobytes()


KINDS = [(1, 1), (4, 1), *itertools.product((2, 3, 5, 6), (1, 2, 100, 254, 255, 256, 1000, 65534, 65535))]


def by_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


@pytest.mark.parametrize(("kind", "maximum"), KINDS)
def test_the_values_are_those_of_pillow(kind, maximum):
    content = made(kind, maximum)
    with Image.open(quickly_readable(io.BytesIO(content))) as image:
        image.load()
        assert image.mode == Image.open(io.BytesIO(content)).mode
        np.testing.assert_array_equal(np.asarray(image), by_pillow(content))


@pytest.mark.parametrize(
    "content",
    [
        b"P2 # a # b\n# c\r\n2 #\n1\t255\n7 9",
        b"P2 2 1 255\n7# c\n 9",
        b"P2 2 1 255\n#7 8\n7 9 11 13",
        b"P3 1 1 255 1 2 3",
        b"P1 3 2 1 0 1#x\n0 0 0",
        b"P1 3 2\n101\n000 junk is not looked at"[:14] + b"",
        b"P1 3 2\n101000111",
        b"P6\n#x\n1 1\n255\nabc",
        b"P5 1 1 100\n\xff",
        b"P2 2 1 0255\n 0007 0000000009",
        b"P2 2 1 255\n7 9 #" + b"x" * 100_000,
    ],
)
def test_comments_and_white_space_are_where_pillow_allows_them(content):
    with Image.open(quickly_readable(io.BytesIO(content))) as image:
        np.testing.assert_array_equal(np.asarray(image), by_pillow(content))


@pytest.mark.parametrize(
    "content",
    [
        b"P2 2 1 255\n7",
        b"P2 2 1 255\n7 x",
        b"P2 2 1 255\n7 256",
        b"P2 2 1 255\n7 -1",
        b"P2 2 1 255\n7 1.5",
        b"P2 2 1 255\n7 00000000009",
        b"P2 2 1 255\n7 99999999999999",
        b"P2 2 1 0\n7 9",
        b"P2 2 1 65536\n7 9",
        b"P2 2 1",
        b"P2 -2 1 255\n7 9",
        b"P1 2 1\n12",
        b"P1 2 1\n1",
        b"P6 2 2 100\nab",
        b"P5 99999999 99999999 100\n",
        b"P2 99999999 99999999 100\n1",
        b"P6 #" + b"a" * 70_000 + b"\n1 1 255\nabc",
    ],
)
def test_what_is_wrong_is_a_data_error(content):
    with pytest.raises(DataError):
        read_image(content)

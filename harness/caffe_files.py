"""Caffe weight files in the old and the new format, written by a small encoder for protocol buffers."""

import struct

import numpy as np

RNG = np.random.default_rng(0)


# --- an encoder for protocol buffers --------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def nested(field: int, *content: bytes | str) -> bytes:
    payload = b"".join(c.encode() if isinstance(c, str) else c for c in content)
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def real(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def blob(array, *, legacy=False, packed=True, double=False) -> bytes:
    if legacy:
        dims = (1,) * (4 - array.ndim) + array.shape
        out = b"".join(number(i + 1, size) for i, size in enumerate(dims))
    else:
        out = nested(7, nested(1, *map(varint, array.shape)))
    if double:
        return out + nested(8, array.astype("<f8").tobytes())
    if packed:
        return out + nested(5, array.astype("<f4").tobytes())
    return out + b"".join(real(5, value) for value in array.ravel())


def layer(name: str, kind: str, *content: bytes) -> bytes:
    return nested(100, nested(1, name), nested(2, kind), *content)


def layer_v1(name: str, kind: int, *content: bytes) -> bytes:
    return nested(2, nested(4, name), number(5, kind), *content)


def floats(*shape: int):
    return RNG.normal(size=shape).astype(np.float32)


WEIGHTS = [(floats(4, 3, 5, 5), floats(4)), (floats(6, 2, 3, 3), floats(6)), (floats(7, 24), floats(7))]


def new_file(**options) -> bytes:
    (w1, b1), (w2, b2), (w3, b3) = WEIGHTS
    conv1 = [number(1, 4), nested(3, varint(2)), number(4, 5), nested(6, varint(3))]
    conv2 = [number(1, 6), number(5, 2), number(9, 1), number(10, 1), number(4, 3)]
    return b"".join(
        [
            nested(1, "net"),
            nested(100, nested(2, "Data"), nested(1, "data"), nested(100, number(3, 30), real(5, 104), real(5, 117))),
            layer("conv1", "Convolution", nested(106, *conv1), *(nested(7, blob(x, **options)) for x in (w1, b1))),
            layer("relu1", "ReLU"),
            layer("norm1", "LRN", nested(118, number(1, 5), real(2, 1e-4), real(3, 0.75), real(5, 2))),
            layer("pool1", "Pooling", nested(121, number(1, 0), number(2, 3), number(3, 2))),
            layer("conv2", "Convolution", nested(106, *conv2), *(nested(7, blob(x, **options)) for x in (w2, b2))),
            layer("pool2", "Pooling", nested(121, number(1, 1), number(2, 3), number(3, 2), number(4, 1))),
            layer("fc6", "InnerProduct", nested(117, number(1, 7)), *(nested(7, blob(x, **options)) for x in (w3, b3))),
            layer("drop", "Dropout", nested(108, real(1, 0.5))),
            layer("loss", "SoftmaxWithLoss"),
        ]
    )


def old_file(**options) -> bytes:
    (w1, b1), (w2, b2), (w3, b3) = WEIGHTS
    conv1, conv2 = nested(10, number(3, 2), number(4, 5), number(6, 3)), nested(10, number(5, 2), number(3, 1))
    return b"".join(
        [
            *(number(4, size) for size in (10, 3, 30, 30)),
            layer_v1("conv1", 4, conv1, *(nested(6, blob(x, **options)) for x in (w1, b1))),
            layer_v1("relu1", 18),
            layer_v1("norm1", 15, nested(18, real(2, 1e-4), real(5, 2))),
            layer_v1("pool1", 17, nested(19, number(2, 3), number(3, 2))),
            layer_v1("conv2", 4, conv2, *(nested(6, blob(x, **options)) for x in (w2, b2))),
            layer_v1("pool2", 17, nested(19, number(1, 1), number(2, 3), number(3, 2), number(4, 1))),
            layer_v1("fc6", 14, *(nested(6, blob(x, **options)) for x in (w3, b3))),
            layer_v1("drop", 6),
            layer_v1("prob", 20),
        ]
    )

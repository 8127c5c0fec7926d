"""Files of weights of up to 25 MB that cost as much as a reader of their format lets them, with innocent twins.

As `image_bombs`: each makes one loop or one allocation as long as the format allows, which mutated files never do.
"""

import io
import json
import struct
import zipfile
from collections.abc import Callable

import numpy as np

from harness.caffe_files import nested, number, varint
from harness.image_bombs import FULL

FLOATS = FULL // 4
Made = dict[str, tuple[str, Callable[[], bytes]]]  # name -> (ending of the file, its bytes)


def torch_file(pickle: bytes, numbers: bytes = b"", compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file of `torch.save` with this program, and the numbers of one storage."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02" + pickle + b".")
        archive.writestr("w/byteorder", b"little")
        archive.writestr("w/data/0", numbers)
        archive.writestr("w/version", b"3\n")
    return out.getvalue()


def text(content: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(content)) + content


def numpy_file(pickle: bytes) -> bytes:
    """A NumPy file that holds an object, whose pickle this is."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|O", "fortran_order": False, "shape": ()})
    return out.getvalue() + b"\x80\x02" + pickle + b"."


def nested_in(opcodes: bytes, count: int) -> bytes:
    """Containers in containers."""
    return b")" + opcodes * count


def saved(tensors: int, size: int) -> bytes:
    """What PyTorch itself saves of so many tensors."""
    import torch

    out = io.BytesIO()
    torch.save({f"layer{i}.weight": torch.ones(size, 1) for i in range(tensors)}, out)
    return out.getvalue()


def zip_of(members: int, size: int, compression: int) -> bytes:
    out, one = io.BytesIO(), io.BytesIO()
    np.save(one, np.zeros(size, np.float32))
    with zipfile.ZipFile(out, "w", compression) as archive:
        for i in range(members):
            archive.writestr(f"{i}.npy", one.getvalue())
    return out.getvalue()


def safetensors_file(header: bytes, numbers: int = 0) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(numbers)


def records(count: int) -> bytes:
    """A header that describes so many tensors without a number."""
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({f"t{i}": entry for i in range(count)}).encode()


def model(*graph: bytes) -> bytes:
    """An ONNX file: version 8, a graph, opset 13."""
    return number(1, 8) + nested(7, *graph) + nested(8, number(2, 13))


def tensor(name: str, dims: bytes, *content: bytes) -> bytes:
    """An initializer of an ONNX graph."""
    return nested(5, nested(1, dims), number(2, 1), nested(8, name), *content)


def convolution() -> bytes:
    return nested(1, nested(1, "x"), nested(1, "w"), nested(2, "y"), nested(4, "Conv"))


def deep(count: int) -> bytes:
    """Messages in messages, from the inside to the outside; each length is counted, so the file grows by it."""
    content = b""
    for _ in range(count):
        content = nested(7, content)
    return content


WEIGHTS: Made = {
    "PyTorch: lists": (".pth", lambda: torch_file(b"(" + b"]" * FULL + b"l")),
    "PyTorch: records": (".pth", lambda: torch_file(b"(" + b"}" * FULL + b"l")),
    "PyTorch: tuples in tuples": (".pth", lambda: torch_file(nested_in(b"\x85", FULL))),
    "PyTorch: marks": (".pth", lambda: torch_file(b"(" * FULL)),
    "PyTorch: a text": (".pth", lambda: torch_file(text(b"a" * FULL))),
    "PyTorch: places of the memo": (
        ".pth",
        lambda: torch_file(b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(FULL // 5))),
    ),
    "PyTorch: compressed": (".pth", lambda: torch_file(b"N", bytes(20 * FULL), zipfile.ZIP_DEFLATED)),
    "PyTorch: small tensors": (".pth", lambda: saved(20_000, 1)),
    "NumPy: lists": (".npy", lambda: numpy_file(b"(" + b"]" * FULL + b"t")),
    "NumPy: tuples in tuples": (".npy", lambda: numpy_file(nested_in(b"\x85", FULL))),
    "NumPy: marks": (".npy", lambda: numpy_file(b"(" * FULL)),
    "NumPy: names": (".npy", lambda: numpy_file(b"(" + b"ca\nb\n" * (FULL // 5) + b"t")),
    "NumPy: compressed": (".npz", lambda: zip_of(1, 100 * FULL, zipfile.ZIP_DEFLATED)),
    "NumPy: small arrays": (".npz", lambda: zip_of(60_000, 1, zipfile.ZIP_STORED)),
    "safetensors: a header": (".safetensors", lambda: safetensors_file(b" " * FULL)),
    "safetensors: tensors": (".safetensors", lambda: safetensors_file(records(350_000))),
    "safetensors: brackets": (".safetensors", lambda: safetensors_file(b"[" * FULL)),
    "ONNX: dimensions": (".onnx", lambda: model(convolution(), tensor("w", b"\x02" * FULL))),
    "ONNX: nodes": (".onnx", lambda: model(nested(1, nested(4, "Relu")) * (FULL // 8))),
    "ONNX: tensors": (".onnx", lambda: model(convolution(), tensor("w", b"\x01") * (FULL // 12))),
    "ONNX: unknown fields": (".onnx", lambda: model(number(99, 1) * (FULL // 3))),
    "ONNX: messages in messages": (".onnx", lambda: deep(3_000)),
    "Caffe: layers": (".caffemodel", lambda: nested(100, nested(2, "Convolution")) * (FULL // 16)),
    "Caffe: numbers one by one": (
        ".caffemodel",
        lambda: nested(100, nested(1, "conv1"), nested(2, "Convolution"), nested(7, b"\x2d\0\0\0\0" * (FULL // 5))),
    ),
    "Caffe: dimensions": (
        ".caffemodel",
        lambda: nested(
            100, nested(1, "conv1"), nested(2, "Convolution"), nested(7, nested(7, nested(1, varint(1) * FULL)))
        ),
    ),
    "Caffe: unknown fields": (".caffemodel", lambda: number(99, 1) * (FULL // 3)),
}

INNOCENT: Made = {
    "PyTorch: large weights": (".pth", lambda: saved(4, FLOATS // 4)),
    "PyTorch: an optimizer's worth of tensors": (".pth", lambda: saved(500, 1000)),
    "NumPy: large weights": (".npz", lambda: zip_of(4, FLOATS // 4, zipfile.ZIP_STORED)),
    "safetensors: large weights": (
        ".safetensors",
        lambda: safetensors_file(
            json.dumps({"w": {"dtype": "F32", "shape": [FLOATS], "data_offsets": [0, FULL]}}).encode(), FULL
        ),
    ),
}

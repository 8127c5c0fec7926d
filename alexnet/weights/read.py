"""Reads a file of trained weights of any framework as one neutral record.

The format is recognized by the content of the file, not by its name. Everything in a file is checked before it is used,
and nothing in it is executed.
"""

import json
import math
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import DataError, UntrustedFileError, UsageError
from alexnet.storage.files import parse_json
from alexnet.weights.caffe import read_caffemodel
from alexnet.weights.onnx import read_onnx
from alexnet.weights.pairing import Arrays, paired
from alexnet.weights.pickles import MOST_ARRAYS, program_in, read_pickle
from alexnet.weights.protobuf import BYTES, printable, top_fields
from alexnet.weights.stored import StoredNetwork

PROTOBUF_LIMIT = 1 << 31  # bytes; the format itself allows no more
HEADER_LIMIT = 100_000_000  # bytes of JSON in a safetensors file; its library allows no more
EXPANSION = 20, 1 << 26  # a NumPy archive may unpack to this many times its size, or to this many bytes
READABLE = "PyTorch state dicts, caffemodels, ONNX, safetensors and NumPy dictionaries can be read."
SIGNS = {
    b"\x89HDF": "an HDF5 file (Keras, or Caffe's .h5); save its weights with numpy.savez",
    b"<": "a web page: the download failed",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; run git lfs pull",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"\xff\xd8": "a JPEG image",
    b"\x89PNG": "a PNG image",
}


def read_stored(path: Path) -> StoredNetwork:
    """Reads a file of weights.

    Raises:
        UsageError: there is no such file, or it needs a package that is not installed.
        UntrustedFileError: it is damaged, or it does more than hold weights.
        DataError: its format is unknown, or its network is not a plain chain of layers.
    """
    if not path.is_file():
        raise UsageError(
            f"{path} is not a file" if path.exists() else f"{path} does not exist",
            fix="Give a file of weights.",
            code="E230",
        )
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except PermissionError:
        raise UsageError(
            f"{path}: this user has no permission to read it", fix=f"chmod u+r {path}", code="E231"
        ) from None


def _read(path: Path, file: BinaryIO) -> StoredNetwork:
    head = file.read(32)
    file.seek(0)
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= HEADER_LIMIT:
        return _safetensors(path)
    if head[:4] == b"PK\x03\x04":
        return _archive(path)
    if head[:6] == b"\x93NUMPY":
        return _npy(path, file)
    if re.match(rb"\x80[\x02-\x05]|[(\]}]|c[\w.]+\n", head):
        return _state_dict(path)
    for sign, what in SIGNS.items():
        if head.startswith(sign):
            raise DataError(f"{path} is {what}", fix=READABLE, code="E340")
    return _protobuf(path, file)


def _protobuf(path: Path, file: BinaryIO) -> StoredNetwork:
    size = path.stat().st_size
    if size >= PROTOBUF_LIMIT:
        raise UntrustedFileError(
            f"{path} has {size:,} bytes; a caffemodel or ONNX file cannot be so large",
            fix="Give a file that holds only weights; those of AlexNet are 244 MB.",
            code="E611",
        )
    content = file.read()
    field_types = top_fields(memoryview(content))
    if (7, BYTES) in field_types:
        layers, chain, facts = read_onnx(content, str(path))
        return StoredNetwork.of_chain("ONNX", layers, chain, facts)
    if (100, BYTES) in field_types or (2, BYTES) in field_types:
        kind, layers, chain, facts = read_caffemodel(memoryview(content), str(path))
        return StoredNetwork.of_chain(kind, layers, chain, facts)
    raise DataError(
        f"{path} is {'of no known format' if size else 'empty'}: it holds no trained weights", fix=READABLE, code="E340"
    )


def _safetensors(path: Path) -> StoredNetwork:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            arrays, names = {}, list(file.keys())
            _check_count(path, len(names))
            for name in names:
                tensor = file.get_tensor(name)
                arrays[name] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (OSError, ValueError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise _damaged(path, error) from None
    own_metadata: dict[str, str] = {}
    if "alexnet" in metadata:
        try:
            header = parse_json(metadata["alexnet"])
            own_metadata = {name: json.dumps(header[name]) for name in ("recipe", "classes")}
            own_metadata["temperature"] = json.dumps(header.get("temperature", 1.0))
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from None
    layers, facts = paired(path, arrays, in_order=False, partly="recipe" in own_metadata)
    return StoredNetwork("safetensors", layers, facts=facts, metadata=own_metadata)


def _check_count(path: Path, count: int) -> None:
    if count > MOST_ARRAYS:
        raise UntrustedFileError(
            f"{path} holds {count:,} tensors; no network of layers has so many",
            fix="Give a file that holds only weights; those of AlexNet are 244 MB.",
            code="E611",
        )


def _archive(path: Path) -> StoredNetwork:
    """Reads a zip file of torch.save or numpy.savez."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if program := program_in(members):
                raise _program(path, program)
            if any(member.filename.endswith("data.pkl") for member in members):
                return _state_dict(path)
            if not members or not all(member.filename.endswith(".npy") for member in members):
                raise DataError(
                    f"{path} is a zip file that was written neither by PyTorch nor by NumPy", fix=READABLE, code="E340"
                )
            unpacked = sum(member.file_size for member in members)
            if unpacked > max(EXPANSION[0] * size, EXPANSION[1]):
                raise UntrustedFileError(
                    f"{path} would unpack from {size:,} to {unpacked:,} bytes; files of weights never do",
                    fix="Give a file that holds only weights; those of AlexNet are 244 MB.",
                    code="E611",
                )
            _check_count(path, len(members))
            arrays = {}
            for member in members:
                with archive.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = _array(stream, member.file_size)
    except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from None
    return _numpy(path, arrays)


def _program(path: Path, program: str) -> UntrustedFileError:
    load = {"TorchScript": "torch.jit.load(FILE)", "torch.export": "torch.export.load(FILE).module()"}.get(
        program, "torch.package.PackageImporter(FILE).load_pickle(...)"
    )
    return UntrustedFileError(
        f"{path} is a {program} program, which holds code besides the weights, and is not opened",
        fix=f"Where you trust it, save its weights alone: torch.save({load}.state_dict(), 'weights.pth').",
        code="E614",
    )


def _npy(path: Path, file: BinaryIO) -> StoredNetwork:
    try:
        if _npy_header(file)[2].hasobject:
            return _numpy(path, read_pickle(path))
        file.seek(0)
        array = _array(file, path.stat().st_size)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    raise DataError(
        f"{path} is a single array of {' x '.join(map(str, array.shape))} numbers, not the layers of a network",
        fix="Save all layers in one file: numpy.savez(FILE, **{'conv1.weight': ..., 'conv1.bias': ...}).",
        code="E341",
    )


def _npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads shape, whether the order is Fortran's, and type; ValueError if the header is damaged."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers written by Python 2
            return read(stream)
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        raise ValueError(f"its header is unreadable ({error})") from None


def _array(stream: Any, size: int) -> NDArray[Any]:
    """Reads an array from a NumPy file of `size` bytes; numpy.load would reserve memory for any shape in the header."""
    shape, fortran, dtype = _npy_header(stream)
    if dtype.kind not in "fiub":
        raise ValueError(f"it holds values of the type {dtype}, which are not plain numbers")
    count = math.prod(shape)
    if not all(type(side) is int and side >= 0 for side in shape) or not 0 <= count * dtype.itemsize <= size:
        raise ValueError(f"an array of {shape} in {size} bytes")
    content = bytearray(stream.read(count * dtype.itemsize))  # not bytes: PyTorch needs writable arrays
    return np.frombuffer(content, dtype, count).reshape(shape, order="F" if fortran else "C")


def _state_dict(path: Path) -> StoredNetwork:
    layers, facts = paired(path, read_pickle(path), in_order=True)
    return StoredNetwork("PyTorch state dict", layers, facts=facts)


def _numpy(path: Path, arrays: Arrays) -> StoredNetwork:
    """Makes layers of named arrays, in the layout of PyTorch or of TensorFlow: (kh, kw, in, out) and (in, out)."""
    rows_first = _rows_first(arrays)
    layers, facts = paired(path, arrays, in_order=False, transposed=rows_first)
    return StoredNetwork("NumPy dictionary", layers, facts={**facts, "rows_first": True} if rows_first else facts)


def _rows_first(arrays: Arrays) -> bool:
    """Whether the kernel size is in the first two dimensions, as in (11, 11, 3, 96), not as in (96, 3, 11, 11)."""
    shapes = [array.shape for array in arrays.values() if array.ndim == 4]
    back = all(shape[2] == shape[3] for shape in shapes)
    return bool(shapes) and not back and all(shape[0] == shape[1] for shape in shapes)


def _damaged(path: Path, error: Exception) -> UntrustedFileError:
    return UntrustedFileError(
        f"{path} is damaged: {printable(str(error))}",
        fix="Download it again and compare its size and checksum.",
        code="E610",
    )

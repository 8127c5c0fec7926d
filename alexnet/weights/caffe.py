"""Reads trained networks of Caffe with a small, strict reader of its binary files.

The format is NetParameter of BVLC Caffe (src/caffe/proto/caffe.proto). The protobuf package is not used: its containers
would hold each of AlexNet's 61 million weights as an object. Here the weights are a view of the file until they are
copied once.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import DataError, UntrustedFileError
from alexnet.weights.batch_norm import place_norm, scale_and_shift
from alexnet.weights.protobuf import (
    BYTES,
    MOST,
    Bytes,
    Damaged,
    Fields,
    as_bytes,
    collect,
    decimal,
    fields,
    nested,
    real_number,
    text,
    whole_number,
    whole_numbers,
)
from alexnet.weights.stored import StoredNorm

MOST_LAYERS = 2000

# Field numbers of LayerParameter and V1LayerParameter.
LAYER = {"name": 1, "type": 2, "blobs": 7, "transform": 100, "convolution": 106, "data": 107, "inner_product": 117}
LAYER |= {"lrn": 118, "pooling": 121, "relu": 123, "batch_norm": 139, "scale": 142, "input": 143}
V1_LAYER = {"v0": 1, "name": 4, "type": 5, "blobs": 6, "convolution": 10, "data": 11, "inner_product": 17, "lrn": 18}
V1_LAYER |= {"pooling": 19, "relu": 30, "transform": 36}
V1_TYPES = {1: "Accuracy", 4: "Convolution", 5: "Data", 6: "Dropout", 8: "Flatten", 9: "HDF5Data", 12: "ImageData"}
V1_TYPES |= {14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU", 19: "Sigmoid", 20: "Softmax", 22: "Split"}
V1_TYPES |= {21: "SoftmaxWithLoss", 23: "TanH", 24: "WindowData", 29: "MemoryData", 32: "DummyData", 36: "Silence"}

OPERATIONS = {"ReLU": "relu", "LRN": "lrn", "Dropout": "dropout", "Sigmoid": "sigmoid", "TanH": "tanh"}
OPERATIONS |= {"Softmax": "softmax", "SoftmaxWithLoss": "softmax"}
# Layers that do not change any value on the way from the image to the output.
PASS_THROUGH = {"Accuracy", "Data", "DummyData", "Flatten", "HDF5Data", "ImageData", "Input", "MemoryData", "Silence"}
PASS_THROUGH |= {"Split", "WindowData"}


class CaffeModel(NamedTuple):
    """The content of a caffemodel; layers are (name, weight, bias) in the layout of PyTorch."""

    kind: str
    layers: list[tuple[str, NDArray[np.float32], NDArray[np.float32] | None]]
    chain: tuple[str, ...]
    facts: dict[str, Any]


def read_caffemodel(content: memoryview, where: str) -> CaffeModel:
    """Reads a caffemodel, with the current layers of Caffe or with the older V1 layers.

    Args:
        content: the whole file.
        where: its name, for messages.

    Raises:
        UntrustedFileError: the bytes are damaged.
        DataError: the bytes are valid, but the network is not a plain chain of known layers; it names the layer.
    """
    try:
        return _network(content, where)
    except Damaged as error:
        raise UntrustedFileError(
            f"{where} is damaged: {error}", fix="Download it again and compare its size and checksum.", code="E610"
        ) from None


def _network(content: memoryview, where: str) -> CaffeModel:
    layers: list[tuple[str, str, Fields]] = []
    layer_fields = set()
    inputs: list[list[int]] = []
    dims: list[int] = []
    for number, wire, value in fields(content):
        if (number, wire) in ((100, BYTES), (2, BYTES)):
            layer_fields.add(number)
            layers.append(_layer(as_bytes(value), v1=number == 2, where=where))
            if len(layers) > MOST_LAYERS:
                raise Damaged(f"more than {MOST_LAYERS} layers")
        elif number == 8 and wire == BYTES:
            inputs.append(whole_numbers(collect(as_bytes(value), {1}).get(1, [])))
        elif number == 4:
            dims += whole_numbers([value])
        if len(dims) > MOST or len(inputs) > MOST:
            raise Damaged("the input has more dimensions than that of any network")
    if len(layer_fields) > 1:
        raise DataError(
            f"{where} mixes current Caffe layers with V1 layers",
            fix="Save it again with one kind of layers.",
            code="E346",
        )
    if len(dims) == 4:
        inputs.append(dims)
    chain = _Chain(where)
    for name, kind, parts in layers:
        chain.add(name, kind, parts)
    chain.finish(inputs)
    kind = "Caffe model, V1 layers" if 2 in layer_fields else "Caffe model"
    return CaffeModel(kind, chain.layers, tuple(chain.operations), chain.facts)


def _layer(message: Bytes, v1: bool, where: str) -> tuple[str, str, Fields]:
    """Reads name, type and parts of a layer; the parts have the field numbers of the current LayerParameter."""
    numbers = V1_LAYER if v1 else LAYER
    values = collect(message, set(numbers.values()))
    if v1 and numbers["v0"] in values:
        raise DataError(
            f"{where} has the layers of Caffe before 2014 (V0)",
            fix="Convert it: upgrade_net_proto_binary OLD NEW.",
            code="E345",
        )
    name = text(values.get(numbers["name"], []))
    if v1:
        code = whole_numbers(values.get(numbers["type"], []) or [0])[-1]
        kind = V1_TYPES.get(code, f"V1 type {code}")
    else:
        kind = text(values.get(numbers["type"], []))
    return (
        name,
        kind,
        {LAYER[part]: values[number] for part, number in numbers.items() if number in values and part in LAYER},
    )


class _Chain:
    """Collects layers, operations and constants in the order of the network."""

    def __init__(self, where: str):
        self.where = where
        self.layers: list[tuple[str, NDArray[np.float32], NDArray[np.float32] | None]] = []
        self.operations: list[str] = []
        self.facts: dict[str, Any] = {}
        self.convolutions = 0
        self.crop = 0
        self.pads: list[int] = []  # of each pooling layer

    def add(self, name: str, kind: str, parts: Fields) -> None:
        part = {key: nested(parts, LAYER[key]) for key in LAYER if key not in ("name", "type", "blobs")}
        blobs = [_blob(as_bytes(blob)) for blob in parts.get(LAYER["blobs"], [])]
        self._pixels(part["transform"], part["data"])
        if kind == "Input" and part["input"]:
            shapes = [whole_numbers(collect(as_bytes(shape), {1}).get(1, [])) for shape in part["input"].get(1, [])]
            self._input(shapes)
        elif kind == "Convolution":
            self._convolution(name, part["convolution"], *self._weights(name, blobs))
        elif kind == "InnerProduct":
            self._inner_product(name, part["inner_product"], *self._weights(name, blobs))
        elif kind in ("BatchNorm", "Scale", "Bias"):
            self._norm(name, kind, part, blobs)
        elif kind == "Pooling":
            self._pool(name, part["pooling"])
        elif kind in OPERATIONS and not blobs:
            if kind == "LRN":
                self._lrn(name, part["lrn"])
                return
            if kind == "ReLU" and real_number(part["relu"], 1, 0.0) != 0:
                raise self._unsupported(name, "is a ReLU that lets negative numbers pass")
            self.operations.append(OPERATIONS[kind])
        elif kind not in PASS_THROUGH or blobs:
            raise self._unsupported(name, f"is of the type {kind or '(none)'}, which is not supported")

    def finish(self, inputs: list[list[int]]) -> None:
        """Adds the facts that follow only when all layers are known."""
        self._input(inputs)
        if not self.layers:
            return
        weight = self.layers[0][1]
        channels = weight.shape[1] if weight.ndim == 4 else 0
        if self.crop and channels:
            self.facts.setdefault("input", (channels, self.crop, self.crop))
        if channels == 3:
            self.facts["bgr"] = True  # Caffe reads images with OpenCV: blue, green, red
        mean = self.facts.get("mean", ())
        if len(mean) == 1:
            self.facts["mean"] = mean * max(channels, 1)

    def _weights(
        self, name: str, blobs: list[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        if not 1 <= len(blobs) <= 2:
            raise Damaged(f"layer {name} has {len(blobs)} blobs where weights and biases are expected")
        return blobs[0], blobs[1].reshape(-1) if len(blobs) == 2 else None

    def _convolution(
        self, name: str, part: Fields, weight: NDArray[np.float32], bias: NDArray[np.float32] | None
    ) -> None:
        if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
            raise self._unsupported(name, f"has weights of shape {weight.shape}; a convolution needs a square kernel")
        self.convolutions += 1
        self._add_layer(name, weight, bias)
        self.operations.append("conv")
        if part:
            if any(dilation != 1 for dilation in whole_numbers(part.get(18, []))):
                raise self._unsupported(name, "is a dilated convolution")
            self.facts[f"conv{self.convolutions}"] = {
                "stride": self._square(name, part, 6, (13, 14), 1),
                "pad": self._square(name, part, 3, (9, 10), 0),
                "kernel": weight.shape[2],
                "groups": whole_number(part, 5, 1),
            }

    def _inner_product(
        self, name: str, part: Fields, weight: NDArray[np.float32], bias: NDArray[np.float32] | None
    ) -> None:
        if weight.ndim == 4 and weight.shape[:2] == (1, 1):
            weight = weight.reshape(weight.shape[2:])
        if weight.ndim != 2:
            raise self._unsupported(
                name, f"has weights of shape {weight.shape}; a fully connected layer needs a matrix"
            )
        self._add_layer(name, np.ascontiguousarray(weight.T) if whole_number(part, 6, 0) else weight, bias)
        self.operations.append("fc")

    def _norm(self, name: str, kind: str, part: dict[str, Fields], blobs: list[NDArray[np.float32]]) -> None:
        """Adds a BatchNorm, or the Scale or Bias that Caffe puts behind it, to the layer before."""
        expected = {"BatchNorm": (3,), "Scale": (1, 2), "Bias": (1,)}[kind]
        flat = [blob.reshape(-1) for blob in blobs]
        if len(flat) not in expected or len({len(blob) for blob in flat[:2]}) != 1:
            raise self._unsupported(name, f"is a {kind} with {len(flat)} blobs, not as BVLC Caffe writes it")
        if whole_number(part["scale"], 1, 1) != 1:
            raise self._unsupported(name, "multiplies along another axis than that of the maps")
        if kind == "BatchNorm":
            # Caffe keeps sums, and in the third blob what they are to be divided by.
            count = np.float32(flat[2][0])
            mean, variance = (blob / count if count else blob * 0 for blob in flat[:2])
            epsilon = real_number(part["batch_norm"], 3, 1e-5)
            norm = StoredNorm(np.ones_like(mean), np.zeros_like(mean), mean, variance, epsilon)
        elif kind == "Scale":
            norm = scale_and_shift(flat[0], flat[1] if len(flat) == 2 else None)
        else:
            norm = scale_and_shift(np.ones_like(flat[0]), flat[0])
        if why := place_norm(norm, self.layers, self.operations, self.facts, any(self.pads)):
            raise self._unsupported(name, why)

    def _add_layer(self, name: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None) -> None:
        if bias is not None and len(bias) != len(weight):
            raise Damaged(f"layer {name} has {len(weight)} outputs and {len(bias)} biases")
        self.layers.append((name, weight, bias))

    def _pool(self, name: str, part: Fields) -> None:
        method = whole_number(part, 1, 0)
        if method > 1 or whole_number(part, 12, 0):
            raise self._unsupported(name, "pools stochastically" if method > 1 else "pools over the whole image")
        self.operations.append(("maxpool", "avgpool")[method])
        if part:
            sizes = self._square(name, part, 2, (5, 6), 1), self._square(name, part, 3, (7, 8), 1)
            self.facts["pools"] = (*self.facts.get("pools", ()), sizes)
            self.pads.append(self._square(name, part, 4, (9, 10), 0))
            if any(self.pads):
                self.facts["pool_pads"] = tuple((pad,) * 4 for pad in self.pads)

    def _lrn(self, name: str, part: Fields) -> None:
        within = whole_number(part, 4, 0) == 1
        constants: tuple[float, ...] = (
            whole_number(part, 1, 5),
            real_number(part, 2, 1.0),
            real_number(part, 3, 0.75),
            real_number(part, 5, 1.0),
        )
        if within:
            constants = constants[:3]  # Caffe ignores k within a channel
        if self.facts.setdefault("map_norm" if within else "lrn", constants) != constants:
            raise self._unsupported(name, "has other LRN constants than the LRN layer before it")
        self.operations.append("map_norm" if within else "lrn")

    def _pixels(self, transform: Fields, data: Fields) -> None:
        """Reads scale, mean and crop of a data layer; before 2014 they were in DataParameter."""
        for part, crop, scale, mean in ((data, 5, 2, -1), (transform, 3, 1, 5)):
            if scale in part:
                self.facts["scale"] = real_number(part, scale, 1.0)
            if mean in part:
                values = b"".join(bytes(as_bytes(value)) for value in part[mean])
                self.facts["mean"] = tuple(decimal(v) for v in np.frombuffer(values[: 4 * MOST], "<f4"))
            self.crop = whole_number(part, crop, self.crop)
        if 4 in transform or 3 in data:
            self.facts["mean_file"] = True  # the mean is in another file

    def _input(self, shapes: list[list[int]]) -> None:
        for shape in shapes[:1]:
            if len(shape) == 4:
                self.facts["input"] = tuple(shape[1:])

    def _square(self, name: str, part: Fields, both: int, each: tuple[int, int], default: int) -> int:
        """Reads a size that may be given once, once per direction, or as _h and _w."""
        sizes = set(whole_numbers(part.get(both, []))) or {whole_number(part, number, default) for number in each}
        if len(sizes) != 1:
            raise self._unsupported(name, "has different kernel sizes, strides or padding in height and width")
        return sizes.pop()

    def _unsupported(self, name: str, what: str) -> DataError:
        return DataError(
            f"{self.where}: layer {name or '(without a name)'} {what}",
            fix="Only a plain chain of convolutional, pooling, LRN, ReLU and fully connected layers can be read, with "
            "batch normalization directly after them.",
            code="E344",
        )


def _blob(message: Bytes) -> NDArray[np.float32]:
    """Reads a BlobProto: its values in its shape, or in the four dimensions of older files."""
    shape: list[int] = []
    legacy = [0, 0, 0, 0]
    contents: dict[int, Bytes | bytearray] = {}
    for number, wire, value in fields(message):
        if number in (5, 8):
            if number in contents:
                joined = contents[number]
                contents[number] = joined if isinstance(joined, bytearray) else bytearray(joined)
                contents[number] += as_bytes(value)  # type: ignore[operator]
            else:
                contents[number] = as_bytes(value)
        elif number == 7 and wire == BYTES:
            shape = whole_numbers(collect(as_bytes(value), {1}).get(1, []))
        elif 1 <= number <= 4:
            legacy[number - 1] = whole_numbers([value])[-1]
    field, size = (8, 8) if len(contents.get(8, b"")) else (5, 4)
    content = contents.get(field, b"")
    dims = shape or (legacy if any(legacy) else [len(content) // size])
    if len(content) != size * math.prod(dims):
        raise Damaged(f"a blob of {' x '.join(map(str, dims))} values has {len(content)} bytes of data")
    if len(dims) > 32 or not content:
        raise Damaged(f"a blob of {len(dims)} dimensions and {len(content)} bytes of data")
    return np.frombuffer(content, f"<f{size}").astype(np.float32).reshape(dims)

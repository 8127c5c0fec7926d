"""The graph of an ONNX file: who makes and who uses a value, and the constants in it, all of them checked."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import DataError, UntrustedFileError
from alexnet.weights.protobuf import printable

MOST_NUMBERS = 1 << 28  # of all weights together; AlexNet has 61 million weights
MOST_DIMENSIONS = 8
MOST_REPEATED = 1 << 26  # of all weights together, 256 MB once they are copied: AlexNet, not more
MOST_NODES = 10_000

SIMPLE = {"Relu": "relu", "Dropout": "dropout", "Softmax": "softmax", "LogSoftmax": "softmax"}
SIMPLE |= {"Sigmoid": "sigmoid", "Tanh": "tanh"}
KNOWN = (
    *SIMPLE,
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "Flatten",
    "Gemm",
    "Identity",
    "LRN",
    "MatMul, Add",
    "MaxPool",
    "Pad",
    "Reshape",
)

Weights = NDArray[np.float32]
LRN_DEFAULTS = (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))


class Graph:
    """A graph with its nodes by what they make and use."""

    def __init__(self, graph: Any, where: str):
        self.graph, self.where = graph, where
        self.numbers = 0  # of all weights so far
        self.repeated = 0  # of those that the file describes by one number
        if len(graph.node) > MOST_NODES:
            raise UntrustedFileError(
                f"{where} has {len(graph.node)} nodes; no network of layers has so many",
                fix=f"Export the network alone; up to {MOST_NODES:,} nodes are read.",
                code="E611",
            )
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.consumers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):  # once, also where a value is multiplied with itself
                self.consumers.setdefault(name, []).append(node)

    def constant(self, node: Any, number: int) -> Weights:
        """Reads an input of a node that does not depend on the image."""
        name = node.input[number]
        tensor, maker = self.origin(name)
        if tensor is not None:
            return self.floats(tensor, name)
        shape = self.origin(maker.input[0])[0] if maker is not None and maker.op_type == "ConstantOfShape" else None
        if shape is None:
            raise self.unsupported(f"node {described(node)} takes {name!r}, which is not a constant of the file")
        attributes = self.attributes(maker)
        value = self.floats(attributes["value"], name) if "value" in attributes else np.zeros(1, np.float32)
        sizes = [int(size) for size in self.array(shape, name).reshape(-1)]
        self.check_size(sizes, name)
        self.repeated += math.prod(sizes)
        if self.repeated > MOST_REPEATED:
            raise UntrustedFileError(
                f"{self.where}: {name!r} repeats one number {math.prod(sizes):,} times",
                fix=f"Weights that the file does not hold are read up to {MOST_REPEATED:,} numbers; export it again.",
                code="E611",
            )
        return np.broadcast_to(value.reshape(()), sizes)  # a broadcast view: one number takes no more memory

    def origin(self, name: str) -> tuple[Any, Any]:
        """Finds the tensor that the file stores under a name, or else the node that produces it."""
        for _ in range(len(self.graph.node) + 1):
            maker = self.producers.get(name)
            if name in self.stored or maker is None or maker.op_type != "Identity":
                break
            name = maker.input[0]
        if name not in self.stored and maker is not None and maker.op_type == "Constant":
            value = self.attributes(maker).get("value")
            return (value if hasattr(value, "dims") else None), maker
        return self.stored.get(name), maker

    def whole_numbers(self, name: str) -> list[int] | None:
        """Reads a constant of several whole numbers."""
        tensor = self.origin(name)[0]
        return None if tensor is None else [int(size) for size in self.array(tensor, name).reshape(-1)]

    def pads(self, node: Any, dimensions: int) -> list[int] | None:
        """Reads how much a Pad adds, before and after each dimension; None if that is not constant.

        torch.onnx writes its own list, from the last dimension to the first, with zeros behind it and operators that
        turn it round: Concat, Reshape, Slice, Transpose, Reshape, Cast. How many zeros it may compute from the length
        of the list; there are as many as dimensions are left.
        """
        attributes = self.attributes(node)
        if len(node.input) < 2:
            return [int(pad) for pad in attributes.get("pads", ())]
        name = node.input[1]
        for kind in ("Cast", "Reshape", "Transpose", "Slice", "Reshape", "Concat"):
            held = self.whole_numbers(name)
            maker = self.producers.get(name)
            if held is not None:
                return held
            if maker is None or maker.op_type != kind:
                return None
            name = maker.input[0]
        cast = self.producers.get(name)
        own = self.whole_numbers(cast.input[0] if cast is not None and cast.op_type == "Cast" else name)
        zeros = None if maker is None else self.producers.get(maker.input[1])
        if own is None or zeros is None or zeros.op_type != "ConstantOfShape":
            return None
        rest = 2 * dimensions - len(own)
        if rest < 0 or self.whole_numbers(zeros.input[0]) not in (None, [rest]):
            return None
        pairs = np.array([*own, *[0] * rest]).reshape(-1, 2)[::-1]
        return [int(pad) for pad in pairs.T.reshape(-1)]

    def floats(self, tensor: Any, name: str) -> Weights:
        array = self.array(tensor, name)
        if array.dtype.kind in "biuOSU" or array.dtype.kind == "c":
            raise self.unsupported(f"the weights {name!r} have the type {array.dtype}, not floating-point numbers")
        return array.astype(np.float32)

    def array(self, tensor: Any, name: str) -> NDArray[Any]:
        import onnx.numpy_helper

        self.check_size(list(tensor.dims), name)
        return np.asarray(onnx.numpy_helper.to_array(tensor))

    def check_size(self, sizes: list[int], name: str) -> None:
        # The product of a million sizes is a number of millions of digits, so their number comes first.
        many = len(sizes) > MOST_DIMENSIONS or any(size < 0 for size in sizes)
        self.numbers += 0 if many else math.prod(sizes)
        if many or self.numbers > MOST_NUMBERS:
            raise UntrustedFileError(
                f"{self.where}: with {name!r} of {' x '.join(map(str, sizes[:9]))} the weights are too large",
                fix=f"Up to {MOST_NUMBERS:,} numbers are read; AlexNet has 61 million.",
                code="E611",
            )

    def attributes(self, node: Any) -> dict[str, Any]:
        import onnx.helper

        return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}

    def unsupported(self, what: str) -> DataError:
        return DataError(
            f"{self.where}: {what}",
            fix=f"Only a plain chain of these operators can be read: {', '.join(sorted(KNOWN))}.",
            code="E344",
        )


def described(node: Any) -> str:
    """Names a node for a message: its operation, and its own name or that of its output."""
    return f"{printable(node.op_type)} {node.name or (node.output[0] if node.output else '')!r}"


def decimal(value: float) -> float:
    """The decimal number that was meant before it became a 32-bit number."""
    return float(str(np.float32(value)))

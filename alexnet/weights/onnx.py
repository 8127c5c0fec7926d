"""Trained networks in ONNX: the one path from the picture to the answer, with weights and constants.

Operators: https://onnx.ai/onnx/operators/. ONNX divides LRN's alpha by its size, as Caffe and this package do.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import AlexNetError, DataError, UntrustedFileError, UsageError
from alexnet.weights.protobuf import printable

MOST_NUMBERS = 1 << 28  # of all weights together; AlexNet has 61 million
MOST_NODES = 10_000

SIMPLE = {"Relu": "relu", "Dropout": "dropout", "Softmax": "softmax", "Sigmoid": "sigmoid", "Tanh": "tanh"}
KNOWN = (*SIMPLE, "AveragePool", "Conv", "Flatten", "Gemm", "Identity", "LRN", "MatMul, Add", "MaxPool", "Reshape")

Weights = NDArray[np.float32]


class OnnxModel(NamedTuple):
    """What an ONNX file holds; layers are (name, weight, bias) in PyTorch's layout."""

    layers: list[tuple[str, Weights, Weights | None]]
    chain: tuple[str, ...]
    facts: dict[str, Any]


def read_onnx(content: bytes, where: str) -> OnnxModel:
    """Reads an ONNX model whose graph is one chain of the operators in `KNOWN`.

    Args:
        content: the whole file.
        where: its name, for messages.

    Raises:
        UsageError: the package onnx is not installed.
        UntrustedFileError: the file is damaged, too large, or refers to other files.
        DataError: its graph branches or has operators that are not known here; it names the node.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(
            f"{where} is an ONNX file, and the package onnx is not installed",
            fix="Install it: pip install 'alexnet[formats]'",
            code="E240",
        ) from None
    try:
        model = onnx.load_model_from_string(content)
        return _Walk(model.graph, where).run()
    except AlexNetError:
        raise
    except (DecodeError, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        short = printable(str(error))
        raise UntrustedFileError(
            f"{where} is damaged: {short or type(error).__name__}",
            fix="Fetch it again, or export it again.",
            code="E610",
        ) from None


class _Walk:
    """Follows a graph from its input and gathers what it passes."""

    def __init__(self, graph: Any, where: str):
        self.graph, self.where = graph, where
        self.layers: list[tuple[str, Weights, Weights | None]] = []
        self.chain: list[str] = []
        self.facts: dict[str, Any] = {}
        self.pool_pads: list[tuple[int, ...]] = []
        self.convolutions = 0
        self.numbers = 0
        if len(graph.node) > MOST_NODES:
            raise UntrustedFileError(
                f"{where} has {len(graph.node)} nodes; no network of layers has so many",
                fix=f"Export the network alone; up to {MOST_NODES:,} nodes are read.",
                code="E611",
            )
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.made_by = {name: node for node in graph.node for name in node.output if name}
        self.used_by: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.used_by.setdefault(name, []).append(node)

    def run(self) -> OnnxModel:
        self._refuse_other_files()
        current = self._input()
        for _ in range(len(self.graph.node) + 1):
            # Exporters read the shape of a value on the way to a Reshape: that is no branch of the network.
            following = [node for node in self.used_by.get(current, []) if node.op_type != "Shape"]
            if not following:
                if any(map(any, self.pool_pads)):
                    self.facts["pool_pads"] = tuple(self.pool_pads)
                return OnnxModel(self.layers, tuple(self.chain), self.facts)
            if len(following) > 1:
                names = ", ".join(_called(node) for node in following[:5])
                raise self._foreign(f"{len(following)} nodes use the value {current!r} ({names}): the network branches")
            self._node(following[0], current)
            current = following[0].output[0]
        raise UntrustedFileError(
            f"{self.where} is damaged: its graph runs in a circle",
            fix="Fetch it again, or export it again.",
            code="E610",
        )

    def _refuse_other_files(self) -> None:
        tensors = list(self.graph.initializer)
        tensors += [attribute.t for node in self.graph.node for attribute in node.attribute if attribute.HasField("t")]
        for tensor in tensors:
            if tensor.data_location or tensor.external_data:
                raise UntrustedFileError(
                    f"{self.where} keeps the weights {tensor.name!r} in another file, which is not opened",
                    fix="Save it as one file: onnx.save(onnx.load(OLD), NEW, save_as_external_data=False)",
                    code="E612",
                )

    def _input(self) -> str:
        """The name of the picture among the inputs, which in older files include the weights."""
        values = [value for value in self.graph.input if value.name not in self.stored]
        shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
        images = [name for name, shape in shapes.items() if len(shape) == 4]
        if len(images) != 1:
            raise self._foreign(f"it has {len(images)} inputs of four dimensions where one picture is expected")
        shape = shapes[images[0]][1:]
        if all(size > 0 for size in shape):
            self.facts["input"] = tuple(shape)
        return str(images[0])

    def _node(self, node: Any, value: str) -> None:
        kind = node.op_type
        if node.domain not in ("", "ai.onnx"):
            raise self._foreign(f"node {_called(node)} is of the domain {node.domain!r}")
        if kind != "Add" and list(node.input[:1]) != [value]:
            raise self._foreign(f"node {_called(node)} takes the values of the network where weights are expected")
        given = self._attributes(node)
        if kind in SIMPLE:
            self.chain.append(SIMPLE[kind])
        elif kind in ("MaxPool", "AveragePool"):
            self._pool(node, given)
        elif kind == "LRN":
            self._lrn(node, given)
        elif kind == "Flatten":
            if given.get("axis", 1) != 1:
                raise self._foreign(f"node {_called(node)} flattens from axis {given['axis']}")
        elif kind in ("Conv", "Gemm", "MatMul"):
            {"Conv": self._convolution, "Gemm": self._gemm, "MatMul": self._matmul}[kind](node, given)
        elif kind == "Add":
            self._add(node, value)
        elif kind not in ("Identity", "Reshape"):
            raise self._foreign(f"node {_called(node)} is not known here")

    def _pool(self, node: Any, given: dict[str, Any]) -> None:
        self._plain(node, given)
        kernel = list(given.get("kernel_shape", ()))
        pads = tuple(int(pad) for pad in given.get("pads", (0, 0, 0, 0)))
        strides = set(given.get("strides", (1, 1)))
        if len(kernel) != 2 or len(pads) != 4 or len({*kernel}) != 1 or len(strides) != 1:
            raise self._foreign(f"node {_called(node)} does not pool over squares")
        if kernel == [1, 1] and not any(pads) and strides == {1}:
            return  # an adaptive pooling of a grid that has its size already
        self.chain.append("maxpool" if node.op_type == "MaxPool" else "avgpool")
        self.pool_pads.append(pads)
        self.facts["pools"] = (*self.facts.get("pools", ()), (int(kernel[0]), int(strides.pop())))
        if given.get("ceil_mode", 0):
            self.facts["pool_ceil"] = True

    def _lrn(self, node: Any, given: dict[str, Any]) -> None:
        constants = [_decimal(given.get(name, default)) for name, default in LRN_DEFAULTS]
        found = (int(given["size"]), *constants)
        if self.facts.setdefault("lrn", found) != found:
            raise self._foreign(f"node {_called(node)} normalises with other constants than the one before")
        self.chain.append("lrn")

    def _convolution(self, node: Any, given: dict[str, Any]) -> None:
        self._plain(node, given)
        weight = self._constant(node, 1)
        strides, pads = set(given.get("strides", (1, 1))), set(given.get("pads", (0, 0, 0, 0)))
        if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or len(strides) != 1 or len(pads) != 1:
            raise self._foreign(f"node {_called(node)} is no convolution that is the same across and down")
        self._keep(node, weight, self._constant(node, 2) if len(node.input) > 2 and node.input[2] else None)
        self.chain.append("conv")
        self.convolutions += 1
        self.facts[f"conv{self.convolutions}"] = {
            "stride": int(strides.pop()),
            "pad": int(pads.pop()),
            "kernel": weight.shape[2],
            "groups": int(given.get("group", 1)),
        }

    def _gemm(self, node: Any, given: dict[str, Any]) -> None:
        if given.get("transA", 0):
            raise self._foreign(f"node {_called(node)} transposes the values of the network")
        weight = self._constant(node, 1)
        if weight.ndim != 2:
            raise ValueError(f"the weights of {_called(node)} have {weight.ndim} dimensions")
        weight = weight if given.get("transB", 0) else weight.T
        bias = self._constant(node, 2) if len(node.input) > 2 and node.input[2] else None
        alpha, beta = np.float32(given.get("alpha", 1.0)), np.float32(given.get("beta", 1.0))
        if bias is not None:
            bias = np.broadcast_to(bias if beta == 1 else bias * beta, (1, len(weight)))[0]
        self._keep(node, weight if alpha == 1 else weight * alpha, bias)
        self.chain.append("fc")

    def _matmul(self, node: Any, given: dict[str, Any]) -> None:
        weight = self._constant(node, 1)
        if weight.ndim != 2:
            raise ValueError(f"the weights of {_called(node)} have {weight.ndim} dimensions")
        self._keep(node, weight.T, None)
        self.chain.append("fc")

    def _add(self, node: Any, value: str) -> None:
        """A bias that stands on its own behind a convolution or a MatMul."""
        if self.chain[-1:] not in (["conv"], ["fc"]) or self.layers[-1][2] is not None or len(node.input) != 2:
            raise self._foreign(f"node {_called(node)} adds something that is not the bias of a layer")
        name, weight, _ = self.layers.pop()
        added = self._constant(node, 1 if node.input[0] == value else 0)
        beyond = (1,) * (weight.ndim - 2)  # a bias per channel has the same value at each row and column
        shape = (1, len(weight), *beyond)
        try:
            bias = np.broadcast_to(added, shape).reshape(-1)
        except ValueError:
            raise self._foreign(f"node {_called(node)} adds {added.shape}, which is no bias of {name}") from None
        self._keep(node, weight, bias, name)

    def _keep(self, node: Any, weight: Weights, bias: Weights | None, name: str = "") -> None:
        if bias is not None and bias.shape != (len(weight),):
            raise ValueError(f"the biases of {_called(node)} are of shape {bias.shape} for {len(weight)} outputs")
        self.layers.append((name or printable(node.input[1]), weight, None if bias is None else bias.copy()))

    def _plain(self, node: Any, given: dict[str, Any]) -> None:
        """Refuses what changes where a window lies without saying it in numbers."""
        if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or set(given.get("dilations", (1,))) != {1}:
            raise self._foreign(f"node {_called(node)} is dilated, or pads without saying how much (auto_pad)")

    def _constant(self, node: Any, number: int) -> Weights:
        """An input of a node that does not depend on the picture."""
        name = node.input[number]
        tensor, maker = self._origin(name)
        if tensor is not None:
            return self._floats(tensor, name)
        shape = self._origin(maker.input[0])[0] if maker is not None and maker.op_type == "ConstantOfShape" else None
        if shape is None:
            raise self._foreign(f"node {_called(node)} takes {name!r}, which is no constant of the file")
        given = self._attributes(maker)
        value = self._floats(given["value"], name) if "value" in given else np.zeros(1, np.float32)
        sizes = [int(size) for size in self._array(shape, name).reshape(-1)]
        self._count(sizes, name)
        return np.broadcast_to(value.reshape(()), sizes)  # one number seen many times takes no memory

    def _origin(self, name: str) -> tuple[Any, Any]:
        """The tensor that the file stores under a name, or else the node that makes it."""
        for _ in range(len(self.graph.node) + 1):
            maker = self.made_by.get(name)
            if name in self.stored or maker is None or maker.op_type != "Identity":
                break
            name = maker.input[0]
        if name not in self.stored and maker is not None and maker.op_type == "Constant":
            value = self._attributes(maker).get("value")
            return (value if hasattr(value, "dims") else None), maker
        return self.stored.get(name), maker

    def _floats(self, tensor: Any, name: str) -> Weights:
        array = self._array(tensor, name)
        if array.dtype.kind in "biuOSU" or array.dtype.kind == "c":
            raise self._foreign(f"the weights {name!r} are of the type {array.dtype}, not floating-point numbers")
        return array.astype(np.float32)

    def _array(self, tensor: Any, name: str) -> NDArray[Any]:
        import onnx.numpy_helper

        self._count(list(tensor.dims), name)
        return np.asarray(onnx.numpy_helper.to_array(tensor))

    def _count(self, sizes: list[int], name: str) -> None:
        self.numbers += math.prod(sizes)
        if len(sizes) > 8 or any(size < 0 for size in sizes) or self.numbers > MOST_NUMBERS:
            raise UntrustedFileError(
                f"{self.where}: with {name!r} of {' x '.join(map(str, sizes[:9]))} the weights are too large",
                fix=f"Up to {MOST_NUMBERS:,} numbers are read; AlexNet has 61 million.",
                code="E611",
            )

    def _attributes(self, node: Any) -> dict[str, Any]:
        import onnx.helper

        return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}

    def _foreign(self, what: str) -> DataError:
        return DataError(
            f"{self.where}: {what}",
            fix=f"What can be read is a plain chain of these: {', '.join(sorted(KNOWN))}.",
            code="E344",
        )


LRN_DEFAULTS = (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))


def _called(node: Any) -> str:
    return f"{printable(node.op_type)} {node.name or (node.output[0] if node.output else '')!r}"


def _decimal(value: float) -> float:
    """What was written in decimal before it became a 32-bit number."""
    return float(str(np.float32(value)))

"""Reads trained networks in ONNX: the single path from the image to the output, with weights and constants.

Operators: https://onnx.ai/onnx/operators/. ONNX divides LRN's alpha by its size, as Caffe and this package do.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import AlexNetError, DataError, UntrustedFileError, UsageError
from alexnet.weights.protobuf import printable

MOST_NUMBERS = 1 << 28  # of all weights together; AlexNet has 61 million weights
MOST_NODES = 10_000

SIMPLE = {"Relu": "relu", "Dropout": "dropout", "Softmax": "softmax", "Sigmoid": "sigmoid", "Tanh": "tanh"}
KNOWN = (*SIMPLE, "AveragePool", "Conv", "Flatten", "Gemm", "Identity", "LRN", "MatMul, Add", "MaxPool", "Reshape")

Weights = NDArray[np.float32]


class OnnxModel(NamedTuple):
    """The content of an ONNX file; layers are (name, weight, bias) in the layout of PyTorch."""

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
        DataError: its graph branches or has unsupported operators; the message names the node.
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
            fix="Download it again, or export it again.",
            code="E610",
        ) from None


class _Walk:
    """Follows a graph from its input and collects the layers on the way."""

    def __init__(self, graph: Any, where: str):
        self.graph, self.where = graph, where
        self.layers: list[tuple[str, Weights, Weights | None]] = []
        self.chain: list[str] = []
        self.facts: dict[str, Any] = {}
        self.pool_pads: list[tuple[int, ...]] = []
        self.convolutions = 0
        self.numbers = 0  # of all weights so far
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
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def run(self) -> OnnxModel:
        self._refuse_other_files()
        current = self._input()
        for _ in range(len(self.graph.node) + 1):
            # Exporters read the shape of a value before a Reshape: this is not a branch of the network.
            following = [node for node in self.consumers.get(current, []) if node.op_type != "Shape"]
            if not following:
                if any(map(any, self.pool_pads)):
                    self.facts["pool_pads"] = tuple(self.pool_pads)
                return OnnxModel(self.layers, tuple(self.chain), self.facts)
            if len(following) > 1:
                names = ", ".join(_described(node) for node in following[:5])
                raise self._unsupported(
                    f"{len(following)} nodes use the value {current!r} ({names}): the network branches"
                )
            self._add_node(following[0], current)
            current = following[0].output[0]
        raise UntrustedFileError(
            f"{self.where} is damaged: its graph has a cycle",
            fix="Download it again, or export it again.",
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
        """Finds the name of the image among the inputs; in older files the inputs include the weights."""
        values = [value for value in self.graph.input if value.name not in self.stored]
        shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
        images = [name for name, shape in shapes.items() if len(shape) == 4]
        if len(images) != 1:
            raise self._unsupported(f"it has {len(images)} inputs of four dimensions where one image is expected")
        shape = shapes[images[0]][1:]
        if all(size > 0 for size in shape):
            self.facts["input"] = tuple(shape)
        return str(images[0])

    def _add_node(self, node: Any, value: str) -> None:
        kind = node.op_type
        if node.domain not in ("", "ai.onnx"):
            raise self._unsupported(f"node {_described(node)} is of the domain {node.domain!r}")
        if kind != "Add" and list(node.input[:1]) != [value]:
            raise self._unsupported(
                f"node {_described(node)} uses the values of the network where weights are expected"
            )
        attributes = self._attributes(node)
        if kind in SIMPLE:
            self.chain.append(SIMPLE[kind])
        elif kind in ("MaxPool", "AveragePool"):
            self._pool(node, attributes)
        elif kind == "LRN":
            self._lrn(node, attributes)
        elif kind == "Flatten":
            if attributes.get("axis", 1) != 1:
                raise self._unsupported(f"node {_described(node)} flattens from axis {attributes['axis']}")
        elif kind in ("Conv", "Gemm", "MatMul"):
            {"Conv": self._convolution, "Gemm": self._gemm, "MatMul": self._matmul}[kind](node, attributes)
        elif kind == "Add":
            self._add_bias(node, value)
        elif kind not in ("Identity", "Reshape"):
            raise self._unsupported(f"node {_described(node)} is not supported")

    def _pool(self, node: Any, attributes: dict[str, Any]) -> None:
        self._refuse_special_windows(node, attributes)
        kernel = list(attributes.get("kernel_shape", ()))
        pads = tuple(int(pad) for pad in attributes.get("pads", (0, 0, 0, 0)))
        strides = set(attributes.get("strides", (1, 1)))
        if len(kernel) != 2 or len(pads) != 4 or len({*kernel}) != 1 or len(strides) != 1:
            raise self._unsupported(f"node {_described(node)} does not pool over square windows")
        if kernel == [1, 1] and not any(pads) and strides == {1}:
            return  # an adaptive pooling whose input already has the output size
        self.chain.append("maxpool" if node.op_type == "MaxPool" else "avgpool")
        self.pool_pads.append(pads)
        self.facts["pools"] = (*self.facts.get("pools", ()), (int(kernel[0]), int(strides.pop())))
        if attributes.get("ceil_mode", 0):
            self.facts["pool_ceil"] = True

    def _lrn(self, node: Any, attributes: dict[str, Any]) -> None:
        constants = [_decimal(attributes.get(name, default)) for name, default in LRN_DEFAULTS]
        lrn = (int(attributes["size"]), *constants)
        if self.facts.setdefault("lrn", lrn) != lrn:
            raise self._unsupported(f"node {_described(node)} has other LRN constants than the LRN before it")
        self.chain.append("lrn")

    def _convolution(self, node: Any, attributes: dict[str, Any]) -> None:
        self._refuse_special_windows(node, attributes)
        weight = self._constant(node, 1)
        strides, pads = set(attributes.get("strides", (1, 1))), set(attributes.get("pads", (0, 0, 0, 0)))
        if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or len(strides) != 1 or len(pads) != 1:
            raise self._unsupported(
                f"node {_described(node)} has different kernel sizes, strides or padding in height and width"
            )
        self._add_layer(node, weight, self._constant(node, 2) if len(node.input) > 2 and node.input[2] else None)
        self.chain.append("conv")
        self.convolutions += 1
        self.facts[f"conv{self.convolutions}"] = {
            "stride": int(strides.pop()),
            "pad": int(pads.pop()),
            "kernel": weight.shape[2],
            "groups": int(attributes.get("group", 1)),
        }

    def _gemm(self, node: Any, attributes: dict[str, Any]) -> None:
        if attributes.get("transA", 0):
            raise self._unsupported(f"node {_described(node)} transposes its input")
        weight = self._constant(node, 1)
        if weight.ndim != 2:
            raise ValueError(f"the weights of {_described(node)} have {weight.ndim} dimensions")
        weight = weight if attributes.get("transB", 0) else weight.T
        bias = self._constant(node, 2) if len(node.input) > 2 and node.input[2] else None
        alpha, beta = np.float32(attributes.get("alpha", 1.0)), np.float32(attributes.get("beta", 1.0))
        if bias is not None:
            bias = np.broadcast_to(bias if beta == 1 else bias * beta, (1, len(weight)))[0]
        self._add_layer(node, weight if alpha == 1 else weight * alpha, bias)
        self.chain.append("fc")

    def _matmul(self, node: Any, attributes: dict[str, Any]) -> None:
        weight = self._constant(node, 1)
        if weight.ndim != 2:
            raise ValueError(f"the weights of {_described(node)} have {weight.ndim} dimensions")
        self._add_layer(node, weight.T, None)
        self.chain.append("fc")

    def _add_bias(self, node: Any, value: str) -> None:
        """Adds a bias that is a separate node after a convolution or a MatMul."""
        if self.chain[-1:] not in (["conv"], ["fc"]) or self.layers[-1][2] is not None or len(node.input) != 2:
            raise self._unsupported(f"node {_described(node)} adds something that is not the bias of a layer")
        name, weight, _ = self.layers.pop()
        added = self._constant(node, 1 if node.input[0] == value else 0)
        spatial = (1,) * (weight.ndim - 2)  # a bias per channel has the same value in each row and column
        shape = (1, len(weight), *spatial)
        try:
            bias = np.broadcast_to(added, shape).reshape(-1)
        except ValueError:
            raise self._unsupported(
                f"node {_described(node)} adds {added.shape}, which is not a bias of {name}"
            ) from None
        self._add_layer(node, weight, bias, name)

    def _add_layer(self, node: Any, weight: Weights, bias: Weights | None, name: str = "") -> None:
        if bias is not None and bias.shape != (len(weight),):
            raise ValueError(f"the biases of {_described(node)} are of shape {bias.shape} for {len(weight)} outputs")
        self.layers.append((name or printable(node.input[1]), weight, None if bias is None else bias.copy()))

    def _refuse_special_windows(self, node: Any, attributes: dict[str, Any]) -> None:
        """Refuses dilation, and padding whose size the file does not state."""
        if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or set(
            attributes.get("dilations", (1,))
        ) != {1}:
            raise self._unsupported(f"node {_described(node)} is dilated, or pads without stating how much (auto_pad)")

    def _constant(self, node: Any, number: int) -> Weights:
        """Reads an input of a node that does not depend on the image."""
        name = node.input[number]
        tensor, maker = self._origin(name)
        if tensor is not None:
            return self._floats(tensor, name)
        shape = self._origin(maker.input[0])[0] if maker is not None and maker.op_type == "ConstantOfShape" else None
        if shape is None:
            raise self._unsupported(f"node {_described(node)} takes {name!r}, which is not a constant of the file")
        attributes = self._attributes(maker)
        value = self._floats(attributes["value"], name) if "value" in attributes else np.zeros(1, np.float32)
        sizes = [int(size) for size in self._array(shape, name).reshape(-1)]
        self._check_size(sizes, name)
        return np.broadcast_to(value.reshape(()), sizes)  # a broadcast view: one number takes no more memory

    def _origin(self, name: str) -> tuple[Any, Any]:
        """Finds the tensor that the file stores under a name, or else the node that produces it."""
        for _ in range(len(self.graph.node) + 1):
            maker = self.producers.get(name)
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
            raise self._unsupported(f"the weights {name!r} have the type {array.dtype}, not floating-point numbers")
        return array.astype(np.float32)

    def _array(self, tensor: Any, name: str) -> NDArray[Any]:
        import onnx.numpy_helper

        self._check_size(list(tensor.dims), name)
        return np.asarray(onnx.numpy_helper.to_array(tensor))

    def _check_size(self, sizes: list[int], name: str) -> None:
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

    def _unsupported(self, what: str) -> DataError:
        return DataError(
            f"{self.where}: {what}",
            fix=f"Only a plain chain of these operators can be read: {', '.join(sorted(KNOWN))}.",
            code="E344",
        )


LRN_DEFAULTS = (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))


def _described(node: Any) -> str:
    return f"{printable(node.op_type)} {node.name or (node.output[0] if node.output else '')!r}"


def _decimal(value: float) -> float:
    """The decimal number that was meant before it became a 32-bit number."""
    return float(str(np.float32(value)))

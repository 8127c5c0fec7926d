"""Reads trained networks in ONNX: the single path from the image to the output, with weights and constants.

Operators: https://onnx.ai/onnx/operators/. ONNX divides LRN's alpha by its size, as Caffe and this package do.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from alexnet.errors import AlexNetError, UntrustedFileError, UsageError
from alexnet.weights.batch_norm import place_norm
from alexnet.weights.onnx_graph import LRN_DEFAULTS, MOST_DIMENSIONS, SIMPLE, Graph, Weights, decimal, described
from alexnet.weights.onnx_lrn import find_lrn
from alexnet.weights.onnx_size import refuse_costly
from alexnet.weights.protobuf import printable
from alexnet.weights.stored import StoredNorm


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
    refuse_costly(content, where)
    try:
        model = onnx.load_model_from_string(content)
        found = _Walk(model.graph, where).run()
        found.facts["producer"] = printable(model.producer_name)
        return found
    except AlexNetError:
        raise
    except (DecodeError, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        short = printable(str(error))
        raise UntrustedFileError(
            f"{where} is damaged: {short or type(error).__name__}",
            fix="Download it again, or export it again.",
            code="E610",
        ) from None


class _Walk(Graph):
    """Follows a graph from its input and collects the layers on the way."""

    def __init__(self, graph: Any, where: str):
        super().__init__(graph, where)
        self.layers: list[tuple[str, Weights, Weights | None]] = []
        self.chain: list[str] = []
        self.facts: dict[str, Any] = {}
        self.pool_pads: list[tuple[int, ...]] = []
        self.padded = (0, 0, 0, 0)  # top, left, bottom, right: by a Pad before the next convolution or pooling
        self.convolutions = 0

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
            if len(following) > 1 and (lrn := self._exported_lrn(current, following)):
                current = lrn
                continue
            if len(following) > 1:
                names = ", ".join(described(node) for node in following[:5])
                raise self.unsupported(
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
            raise self.unsupported(f"it has {len(images)} inputs of four dimensions where one image is expected")
        shape = shapes[images[0]][1:]
        if all(size > 0 for size in shape):
            self.facts["input"] = tuple(shape)
        return str(images[0])

    def _add_node(self, node: Any, value: str) -> None:
        kind = node.op_type
        if node.domain not in ("", "ai.onnx"):
            raise self.unsupported(f"node {described(node)} is of the domain {node.domain!r}")
        if kind != "Add" and list(node.input[:1]) != [value]:
            raise self.unsupported(f"node {described(node)} uses the values of the network where weights are expected")
        attributes = self.attributes(node)
        # Added zeros are like no value for a maximum after a ReLU only, and they count in an average.
        if any(self.padded) and (kind == "AveragePool" or (kind == "MaxPool" and "relu" not in self.chain[-2:])):
            raise self.unsupported(f"node {described(node)} pools over zeros that were added")
        if kind in ("Conv", "MaxPool"):
            attributes = self._take_padding(attributes)
        if kind == "Pad":
            self._pad(node, attributes)
        elif any(self.padded) and kind not in ("Identity",):
            raise self.unsupported(f"node {described(node)} takes zeros that were added around a feature map")
        elif kind in SIMPLE:
            self.chain.append(SIMPLE[kind])
        elif kind in ("MaxPool", "AveragePool"):
            self._pool(node, attributes)
        elif kind == "LRN":
            self._lrn(node, attributes)
        elif kind == "BatchNormalization":
            self._norm(node, attributes)
        elif kind == "Flatten":
            if attributes.get("axis", 1) != 1:
                raise self.unsupported(f"node {described(node)} flattens from axis {attributes['axis']}")
        elif kind in ("Conv", "Gemm", "MatMul"):
            {"Conv": self._convolution, "Gemm": self._gemm, "MatMul": self._matmul}[kind](node, attributes)
        elif kind == "Add":
            self._add_bias(node, value)
        elif kind not in ("Identity", "Reshape"):
            raise self.unsupported(f"node {described(node)} is not supported")

    def _exported_lrn(self, value: str, following: list[Any]) -> str:
        """Reads the normalization that starts at a value; returns the name of its output, or "" if it is none."""

        def number(name: str) -> float | None:
            tensor = self.origin(name)[0]
            return (
                decimal(self.array(tensor, name).item())
                if tensor is not None and len(tensor.dims) <= MOST_DIMENSIONS and math.prod(tensor.dims) == 1
                else None
            )

        found = find_lrn(value, following, self.producers.get, number, self.attributes, self.pads)
        if found is None:
            return ""
        self._keep_lrn(found.node, (found.size, found.alpha, found.beta, found.k))
        return str(found.node.output[0])

    def _pad(self, node: Any, attributes: dict[str, Any]) -> None:
        """Keeps zeros that are added around the image or a feature map for the layer that follows."""
        pads = self.pads(node, 4) or []
        value = float(attributes.get("value", 0.0))
        if len(node.input) > 2 and node.input[2]:
            value = float(self.constant(node, 2).reshape(-1)[0])
        axes = attributes.get("mode", b"constant") == b"constant" and not (len(node.input) > 3 and node.input[3])
        spatial = len(pads) == 8 and not any(pads[i] for i in (0, 1, 4, 5))
        if not axes or not spatial or value != 0 or min(pads) < 0 or any(self.padded):
            raise self.unsupported(f"node {described(node)} adds other things than zeros around feature maps")
        self.padded = (pads[2], pads[3], pads[6], pads[7])

    def _take_padding(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """The attributes of a convolution or pooling with the zeros that a Pad before it has added."""
        if not any(self.padded):
            return attributes
        pads = tuple(a + b for a, b in zip(attributes.get("pads", (0, 0, 0, 0)), self.padded, strict=True))
        self.padded = (0, 0, 0, 0)
        return {**attributes, "pads": pads}

    def _pool(self, node: Any, attributes: dict[str, Any]) -> None:
        self._refuse_special_windows(node, attributes)
        kernel = list(attributes.get("kernel_shape", ()))
        pads = tuple(int(pad) for pad in attributes.get("pads", (0, 0, 0, 0)))
        strides = set(attributes.get("strides", (1, 1)))
        if len(kernel) != 2 or len(pads) != 4 or len({*kernel}) != 1 or len(strides) != 1:
            raise self.unsupported(f"node {described(node)} does not pool over square windows")
        if kernel == [1, 1] and not any(pads) and strides == {1}:
            return  # an adaptive pooling whose input already has the output size
        if any(pads) and node.op_type == "AveragePool" and attributes.get("count_include_pad", 0):
            raise self.unsupported(f"node {described(node)} pools over zeros that were added")
        self.chain.append("maxpool" if node.op_type == "MaxPool" else "avgpool")
        self.pool_pads.append(pads)
        self.facts["pools"] = (*self.facts.get("pools", ()), (int(kernel[0]), int(strides.pop())))
        if attributes.get("ceil_mode", 0):
            self.facts["pool_ceil"] = True

    def _lrn(self, node: Any, attributes: dict[str, Any]) -> None:
        constants = [decimal(attributes.get(name, default)) for name, default in LRN_DEFAULTS]
        lrn = (int(attributes["size"]), *constants)
        self._keep_lrn(node, lrn)

    def _keep_lrn(self, node: Any, lrn: tuple[float, ...]) -> None:
        if self.facts.setdefault("lrn", lrn) != lrn:
            raise self.unsupported(f"node {described(node)} has other LRN constants than the LRN before it")
        self.chain.append("lrn")

    def _norm(self, node: Any, attributes: dict[str, Any]) -> None:
        if attributes.get("training_mode", 0):
            raise self.unsupported(f"node {described(node)} was exported for training; call model.eval() before")
        values = [self.constant(node, number).copy() for number in range(1, 5)]
        if len({value.shape for value in values}) != 1 or values[0].ndim != 1:
            raise ValueError(f"{described(node)} has values of different lengths")
        scale, shift, mean, variance = values
        norm = StoredNorm(scale, shift, mean, variance, float(attributes.get("epsilon", 1e-5)))
        if why := place_norm(norm, self.layers, self.chain, self.facts, any(map(any, self.pool_pads))):
            raise self.unsupported(f"node {described(node)} {why}")

    def _convolution(self, node: Any, attributes: dict[str, Any]) -> None:
        self._refuse_special_windows(node, attributes)
        weight = self.constant(node, 1)
        around = tuple(attributes.get("pads", (0, 0, 0, 0)))
        after_only = around[:2] == (0, 0) and around[2] == around[3] and not self.convolutions  # as in 2012
        strides, pads = set(attributes.get("strides", (1, 1))), {around[2]} if after_only else set(around)
        if weight.ndim != 4 or weight.shape[2] != weight.shape[3] or len(strides) != 1 or len(pads) != 1:
            raise self.unsupported(
                f"node {described(node)} has different kernel sizes, strides or padding in height and width"
            )
        self._add_layer(node, weight, self.constant(node, 2) if len(node.input) > 2 and node.input[2] else None)
        self.chain.append("conv")
        self.convolutions += 1
        self.facts[f"conv{self.convolutions}"] = {
            "stride": int(strides.pop()),
            "pad": int(pads.pop()),
            "pad_after": after_only and any(around),
            "kernel": weight.shape[2],
            "groups": int(attributes.get("group", 1)),
        }

    def _gemm(self, node: Any, attributes: dict[str, Any]) -> None:
        if attributes.get("transA", 0):
            raise self.unsupported(f"node {described(node)} transposes its input")
        weight = self.constant(node, 1)
        if weight.ndim != 2:
            raise ValueError(f"the weights of {described(node)} have {weight.ndim} dimensions")
        weight = weight if attributes.get("transB", 0) else weight.T
        bias = self.constant(node, 2) if len(node.input) > 2 and node.input[2] else None
        alpha, beta = np.float32(attributes.get("alpha", 1.0)), np.float32(attributes.get("beta", 1.0))
        if bias is not None:
            bias = np.broadcast_to(bias if beta == 1 else bias * beta, (1, len(weight)))[0]
        self._add_layer(node, weight if alpha == 1 else weight * alpha, bias)
        self.chain.append("fc")

    def _matmul(self, node: Any, attributes: dict[str, Any]) -> None:
        weight = self.constant(node, 1)
        if weight.ndim != 2:
            raise ValueError(f"the weights of {described(node)} have {weight.ndim} dimensions")
        self._add_layer(node, weight.T, None)
        self.chain.append("fc")

    def _add_bias(self, node: Any, value: str) -> None:
        """Adds a bias that is a separate node after a convolution or a MatMul."""
        is_layer = self.chain[-1:] in (["conv"], ["fc"]) and len(self.layers) - 1 not in self.facts.get("norms", {})
        if not is_layer or self.layers[-1][2] is not None or len(node.input) != 2:
            raise self.unsupported(f"node {described(node)} adds something that is not the bias of a layer")
        name, weight, _ = self.layers.pop()
        added = self.constant(node, 1 if node.input[0] == value else 0)
        spatial = (1,) * (weight.ndim - 2)  # a bias per channel has the same value in each row and column
        shape = (1, len(weight), *spatial)
        try:
            bias = np.broadcast_to(added, shape).reshape(-1)
        except ValueError:
            raise self.unsupported(
                f"node {described(node)} adds {added.shape}, which is not a bias of {name}"
            ) from None
        self._add_layer(node, weight, bias, name)

    def _add_layer(self, node: Any, weight: Weights, bias: Weights | None, name: str = "") -> None:
        if bias is not None and bias.shape != (len(weight),):
            raise ValueError(f"the biases of {described(node)} are of shape {bias.shape} for {len(weight)} outputs")
        self.layers.append((name or printable(node.input[1]), weight, None if bias is None else bias.copy()))

    def _refuse_special_windows(self, node: Any, attributes: dict[str, Any]) -> None:
        """Refuses dilation, and padding whose size the file does not state."""
        if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or set(
            attributes.get("dilations", (1,))
        ) != {1}:
            raise self.unsupported(f"node {described(node)} is dilated, or pads without stating how much (auto_pad)")

"""Writes a network as an ONNX graph: one node per layer with the layer's name, from pixels 0..255 to probabilities.

PyTorch's own exporter splits LRN into a dozen nodes. Here LRN is the ONNX operator LRN, which divides alpha by the size
as cuda-convnet does. With two towers it becomes Split - LRN - Concat, because normalization stays within a tower.
Normalization within a feature map becomes a square, an AveragePool that counts the padding, and a power. The operators
are those of opset 13 (2020), so older runtimes can read the file too. Resizing and cropping of a prepared square are
two matrix products, which every runtime computes in the same way, while implementations of Resize differ.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from alexnet.errors import UsageError
from alexnet.export.onnx_cue import add_cue
from alexnet.models.layers import Dropout, LocalConv, LocalResponseNorm, PadRightBottom, TowerLinear, WithinMapNorm
from alexnet.models.network import Network

OPSET = 13
IR_VERSION = 8
PIXELS, LOGITS, PROBABILITIES = "pixels", "logits", "probabilities"
Array = NDArray[Any]


def need_onnx() -> Any:
    """Imports the package onnx.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise UsageError(
            "writing ONNX needs the package onnx, which is not installed",
            fix="Install it: pip install 'alexnet[formats]'",
            code="E240",
        ) from None
    return onnx


def onnx_model(network: Network, side: int, pixels: str, about: Mapping[str, Any], temperature: float = 1.0) -> bytes:
    """Converts the network to the bytes of an ONNX file.

    The graph takes `pixels` (batch, 3, side, side) in 0..255, as data preparation crops them, and returns `logits` and
    `probabilities` (batch, classes) of the central view. The batch size is free.

    Args:
        side: side of the input images in pixels.
        pixels: type of the input pixels, uint8 or float32.
        about: written into the metadata, each value as JSON.
        temperature: what the logits are divided by before the softmax; the output `logits` is not divided.

    Raises:
        UsageError: the package onnx is missing, or a layer has no exact counterpart.
    """
    onnx = need_onnx()
    graph = _Graph(onnx)
    view, value = _preprocessed(graph, network, side, pixels)
    shape = (network.in_channels, network.config.crop_size, network.config.crop_size)
    extra = (0, 0)  # zeros at the bottom and right, which become padding of the next convolution
    for name, layer in network.layers.named_children():
        if isinstance(layer, PadRightBottom):
            extra = (-(shape[1] - layer.kernel) % layer.stride, -(shape[2] - layer.kernel) % layer.stride)
            continue
        padded = (shape[0], shape[1] + extra[0], shape[2] + extra[1]) if len(shape) == 3 else shape
        with torch.inference_mode():
            after = tuple(layer(torch.zeros(1, *padded)).shape[1:])
        value = _layer(graph, name, layer, value, shape, after, extra)
        shape, extra = after, (0, 0)
    if network.cue is not None:
        graph.add("Add", "with_cue", [value, add_cue(graph, network.cue, view, network.config.crop_size)])
    graph.nodes[-1].output[0] = LOGITS
    cooled = LOGITS
    if temperature != 1:
        cooled = graph.add("Div", "calibrated", [LOGITS, graph.store("temperature", np.float32(temperature))])
    graph.add("Softmax", "softmax", [cooled], output=PROBABILITIES, axis=1)
    onnx_file = graph.model(side, pixels, shape[0], about)
    onnx.checker.check_model(onnx_file, full_check=True)
    return bytes(onnx_file.SerializeToString())


class _Graph:
    """The nodes and initializers collected so far."""

    def __init__(self, onnx: Any):
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}

    def add(self, kind: str, name: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Adds one node with one output, which has the name of the node."""
        node = self.onnx.helper.make_node(kind, list(inputs), [output or name], name=name, **attributes)
        self.nodes.append(node)
        return output or name

    def split(self, name: str, value: str, parts: int) -> list[str]:
        """Splits a value into equal parts along the channels."""
        outputs = [f"{name}.tower{part + 1}.in" for part in range(parts)]
        self.nodes.append(self.onnx.helper.make_node("Split", [value], outputs, name=f"{name}.split", axis=1))
        return outputs

    def store(self, name: str, array: Any) -> str:
        """Stores a weight or constant under a name."""
        values = array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else array
        self.initializers[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def model(self, side: int, pixels: str, classes: int, about: Mapping[str, Any]) -> Any:
        """Builds the ONNX model with its inputs, outputs and metadata."""
        from alexnet import __version__

        helper, types = self.onnx.helper, self.onnx.TensorProto
        pixel_type = {"uint8": types.UINT8, "float32": types.FLOAT}[pixels]
        input_info = helper.make_tensor_value_info(PIXELS, pixel_type, ["batch", 3, side, side])
        output_infos = [
            helper.make_tensor_value_info(name, types.FLOAT, ["batch", classes]) for name in (LOGITS, PROBABILITIES)
        ]
        graph = helper.make_graph(self.nodes, "alexnet", [input_info], output_infos, list(self.initializers.values()))
        onnx_file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="alexnet")
        onnx_file.ir_version, onnx_file.producer_version = IR_VERSION, __version__
        helper.set_model_props(
            onnx_file, {name: json.dumps(value, ensure_ascii=False) for name, value in about.items()}
        )
        return onnx_file


def view_matrix(side: int, test_size: int | None, crop: int) -> NDArray[np.float32]:
    """Returns (crop, side): the matrix that resizes one column of pixels to `test_size` and crops its center.

    Bilinear resizing with antialiasing is the same weighted sum along rows and along columns, so resizing the columns
    of an identity matrix gives its weights.
    """
    size = test_size or side
    identity = torch.eye(side).expand(1, 1, side, side)
    if size == side:
        weights = identity[0, 0]
    else:
        resized = F.interpolate(identity, (size, side), mode="bilinear", antialias=True, align_corners=False)
        weights = resized[0, 0]
    top = (size - crop) // 2
    return weights[top : top + crop].contiguous().numpy()


def _preprocessed(graph: _Graph, network: Network, side: int, pixels: str) -> tuple[str, str]:
    """Adds the preprocessing from pixels to the input of conv1, as `shrink`, `center_crop` and `prepare_input` do.

    Returns:
        The view in 0..255, and the input of conv1.
    """
    config, value = network.config, PIXELS
    if pixels != "float32":
        value = graph.add("Cast", "float_pixels", [value], to=graph.onnx.TensorProto.FLOAT)
    if config.test_size not in (None, side):
        matrix = view_matrix(side, config.test_size, config.crop_size)
        down, right = graph.store("view_rows.weight", matrix), graph.store("view_columns.weight", matrix.T)
        value = graph.add("MatMul", "view_rows", [down, value])
        value = graph.add("MatMul", "view_columns", [value, right])
    elif side != config.crop_size:
        top = (side - config.crop_size) // 2
        ends = {"starts": [top, top], "ends": [top + config.crop_size] * 2, "axes": [2, 3]}
        bounds = [graph.store(f"view.{name}", np.array(numbers, np.int64)) for name, numbers in ends.items()]
        value = graph.add("Slice", "view", [value, *bounds])
    view = value
    value = graph.add("Sub", "minus_mean", [value, graph.store("input_mean", network.input_mean)])
    if bool((network.input_scale != 1).any()):
        value = graph.add("Mul", "scaled", [value, graph.store("input_scale", network.input_scale)])
    if network.in_channels == 1:
        value = graph.add("ReduceMean", "grey", [value], axes=[1], keepdims=1)
    return view, value


def _layer(
    graph: _Graph,
    name: str,
    layer: nn.Module,
    value: str,
    shape: tuple[int, ...],
    after: tuple[int, ...],
    extra: tuple[int, int],
) -> str:
    """Adds the nodes of one layer; `shape` and `after` are the shapes of one image before and after the layer."""
    simple = {nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.Sigmoid: "Sigmoid"}
    if type(layer) in simple:
        return graph.add(simple[type(layer)], name, [value])
    if isinstance(layer, nn.Conv2d):
        return _convolution(graph, name, layer, value, extra)
    if isinstance(layer, LocalResponseNorm):
        return _lrn(graph, name, layer, value)
    if isinstance(layer, WithinMapNorm):
        return _within_map(graph, name, layer, value)
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return _pool(graph, name, layer, value, shape, after)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return _grid(graph, name, value, shape, after)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        tensors = {"weight": layer.weight, "bias": layer.bias, "mean": layer.running_mean, "var": layer.running_var}
        names = [graph.store(f"{name}.{part}", tensors[part]) for part in tensors]
        return graph.add("BatchNormalization", name, [value, *names], epsilon=layer.eps)
    if isinstance(layer, Dropout):
        if not layer.scale_at_test or layer.p == 0:
            return value
        return graph.add("Mul", name, [value, graph.store(f"{name}.kept", np.float32(1 - layer.p))])
    if isinstance(layer, nn.Flatten):
        return graph.add("Flatten", name, [value], axis=1)
    if isinstance(layer, TowerLinear):
        blocks = []
        for part, part_value in enumerate(graph.split(name, value, layer.towers)):
            outputs = layer.out_features // layer.towers
            rows = slice(part * outputs, (part + 1) * outputs)
            bias = None if layer.bias is None else layer.bias[rows]
            blocks.append(_gemm(graph, f"{name}.tower{part + 1}", layer.weight[rows], bias, part_value))
        return graph.add("Concat", name, blocks, axis=1)
    if isinstance(layer, nn.Linear):
        return _gemm(graph, name, layer.weight, layer.bias, value)
    if isinstance(layer, LocalConv):
        return _local(graph, name, layer, value)
    raise _inexact(name, type(layer).__name__)


def _convolution(graph: _Graph, name: str, layer: nn.Conv2d, value: str, extra: tuple[int, int]) -> str:
    down, right = (int(padding) for padding in layer.padding)
    inputs = [value, graph.store(f"{name}.weight", layer.weight)]
    if layer.bias is not None:
        inputs.append(graph.store(f"{name}.bias", layer.bias))
    return graph.add(
        "Conv",
        name,
        inputs,
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        pads=[down, right, down + extra[0], right + extra[1]],
        group=layer.groups,
    )


def _lrn(graph: _Graph, name: str, layer: LocalResponseNorm, value: str) -> str:
    if layer.size % 2 == 0:  # ONNX then adds one more channel after the center, this program before it
        raise _inexact(name, f"LRN over {layer.size} channels")
    constants: dict[str, Any] = {"size": layer.size, "alpha": layer.alpha, "beta": layer.beta, "bias": layer.k}
    if layer.towers == 1:
        return graph.add("LRN", name, [value], **constants)
    parts = graph.split(name, value, layer.towers)
    normed = [graph.add("LRN", f"{name}.tower{i + 1}", [part], **constants) for i, part in enumerate(parts)]
    return graph.add("Concat", name, normed, axis=1)


def _within_map(graph: _Graph, name: str, layer: WithinMapNorm, value: str) -> str:
    if layer.size % 2 == 0:
        raise _inexact(name, f"normalization within feature maps over {layer.size} pixels")
    squares = graph.add("Mul", f"{name}.squares", [value, value])
    half, kernel = layer.size // 2, [layer.size, layer.size]
    mean = graph.add(
        "AveragePool", f"{name}.mean", [squares], kernel_shape=kernel, pads=[half] * 4, count_include_pad=1
    )
    alpha, one, beta = (
        graph.store(f"{name}.{part}", np.float32(number))
        for part, number in (("alpha", layer.alpha), ("one", 1.0), ("minus_beta", -layer.beta))
    )
    total = graph.add("Add", f"{name}.total", [graph.add("Mul", f"{name}.times_alpha", [mean, alpha]), one])
    return graph.add("Mul", name, [value, graph.add("Pow", f"{name}.power", [total, beta])])


def _pool(
    graph: _Graph,
    name: str,
    layer: nn.MaxPool2d | nn.AvgPool2d,
    value: str,
    shape: tuple[int, ...],
    after: tuple[int, ...],
) -> str:
    kernel, stride = int(layer.kernel_size), int(layer.stride)  # type: ignore[arg-type]
    window: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2}
    overhang = [(outside - 1) * stride + kernel - inside for inside, outside in zip(shape[1:], after[1:], strict=True)]
    if isinstance(layer, nn.MaxPool2d):
        return graph.add("MaxPool", name, [value], **window, ceil_mode=int(bool(layer.ceil_mode)))
    # Runtimes divide differently where a window exceeds the border, so the padding is stated explicitly.
    pads = [0, 0, *(max(0, pixels) for pixels in overhang)]
    return graph.add("AveragePool", name, [value], **window, pads=pads, count_include_pad=0)


def _grid(graph: _Graph, name: str, value: str, shape: tuple[int, ...], after: tuple[int, ...]) -> str:
    """Adds an average over cells of nearly equal size, as weighted sums along rows and columns."""

    def weights(inside: int, cells: int) -> NDArray[np.float32]:
        identity = torch.eye(inside).unsqueeze(0)
        return F.adaptive_avg_pool1d(identity, cells)[0].numpy()  # (inside, cells)

    if after[1:] == (1, 1):
        return graph.add("GlobalAveragePool", name, [value])
    rows = graph.store(f"{name}.rows", weights(shape[1], after[1]).T)
    columns = graph.store(f"{name}.columns", weights(shape[2], after[2]))
    return graph.add("MatMul", name, [graph.add("MatMul", f"{name}.down", [rows, value]), columns])


def _gemm(graph: _Graph, name: str, weight: torch.Tensor, bias: torch.Tensor | None, value: str) -> str:
    inputs = [value, graph.store(f"{name}.weight", weight)]
    if bias is not None:
        inputs.append(graph.store(f"{name}.bias", bias))
    return graph.add("Gemm", name, inputs, transB=1)


def _local(graph: _Graph, name: str, layer: LocalConv, value: str) -> str:
    """Adds a local layer: one-hot kernels copy the window of every position, then each has its own matrix product."""
    kernel, inputs, side = layer.kernel, layer.in_channels, layer.side
    area = kernel * kernel * inputs
    picks = np.zeros((kernel, kernel, inputs, inputs, kernel, kernel), np.float32)
    for row, column, channel in np.ndindex(kernel, kernel, inputs):
        picks[row, column, channel, channel, row, column] = 1.0
    windows = graph.store(f"{name}.windows.weight", picks.reshape(area, inputs, kernel, kernel))
    shapes = {"rows": [0, 0, side * side], "maps": [-1, layer.out_channels, side, side]}
    rows_shape, maps_shape = (
        graph.store(f"{name}.{part}", np.array(numbers, np.int64)) for part, numbers in shapes.items()
    )
    patches = graph.add("Conv", f"{name}.windows", [value, windows], pads=[kernel // 2] * 4, kernel_shape=[kernel] * 2)
    flat = graph.add("Reshape", f"{name}.flat", [patches, rows_shape])  # (N, area, positions)
    positions = graph.add("Transpose", f"{name}.places", [flat], perm=[2, 0, 1])  # (positions, N, area)
    weight = graph.store(f"{name}.weight", layer.weight.reshape(side * side, area, layer.out_channels))
    products = graph.add("MatMul", f"{name}.products", [positions, weight])  # (positions, N, outputs)
    transposed = graph.add("Transpose", f"{name}.back", [products], perm=[1, 2, 0])
    reshaped = graph.add("Reshape", f"{name}.shaped", [transposed, maps_shape])
    return graph.add("Add", name, [reshaped, graph.store(f"{name}.bias", layer.bias)])


def _inexact(name: str, what: str) -> UsageError:
    return UsageError(
        f"{name} cannot be written as ONNX: {what} has no exact counterpart in ONNX",
        fix="Use --to torch-export or hf.",
        code="E237",
    )

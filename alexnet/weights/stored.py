"""What a file of trained weights holds, as one neutral record: the readers make it, `families` asks it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
TEMPERATURES = 1e-7, 1e7  # wider than what is ever fitted; beyond, probabilities are no numbers


@dataclass(frozen=True)
class StoredNorm:
    """Batch normalization of the outputs of a layer: scale * (x - mean) / sqrt(variance + epsilon) + shift."""

    scale: Floats
    shift: Floats
    mean: Floats
    variance: Floats
    epsilon: float = 1e-5  # PyTorch's, which no state dict holds

    def factor(self) -> Floats:
        """What it multiplies by."""
        return np.asarray(self.scale / np.sqrt(self.variance + np.float32(self.epsilon)), np.float32)


@dataclass(frozen=True)
class StoredLayer:
    """A layer with weights, in the layout of PyTorch."""

    name: str  # as in the file
    weight: Floats  # conv (out, in / groups, kh, kw); fc (out, in), inputs ordered channel, row, column
    bias: Floats | None
    norm: StoredNorm | None = None  # batch normalization directly after it


@dataclass(frozen=True)
class StoredNetwork:
    """The content of a file of weights.

    The facts that a file may contain: `input` (channels, height, width); `conv1` ... {stride, pad, kernel, groups};
    `lrn` (size, alpha, beta, k), where alpha is divided by size; `map_norm` (size, alpha, beta) of a normalization
    within maps; `pools` ((kernel, stride), ...); `pool_pads` ((top, left, bottom, right), ...) if a pooling pads;
    `pool_ceil` if one rounds its output size up, although ONNX rounds down by default; `scale` and `mean` of the
    pixels, mean in the order of conv1's channels; `input_norm`, batch normalization of the image; `mean_file` if the
    mean is in another file; `rows_first` for the layout of TensorFlow; `producer`, the program that wrote an ONNX file;
    `own`, buffers of a network of this package; `norms_by_name` if batch normalization was taken to follow a layer
    because of its name.
    """

    kind: str  # PyTorch state dict, Caffe model, Caffe model, V1 layers, NumPy dictionary, ONNX or safetensors
    layers: tuple[StoredLayer, ...]  # in the order of the network
    chain: tuple[str, ...] = ()  # operations in order, if the file has them: conv relu lrn maxpool avgpool fc ...
    facts: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)  # of safetensors files of alexnet: recipe, classes

    @classmethod
    def of_chain(
        cls, kind: str, layers: Sequence[tuple[str, Floats, Floats | None]], chain: tuple[str, ...], facts: Any
    ) -> Self:
        """What a reader of whole networks found: (name, weight, bias) of each layer, and `norms` by their number."""
        norms = facts.get("norms", {})
        stored = tuple(StoredLayer(*layer[:3], norms.get(number)) for number, layer in enumerate(layers))
        return cls(kind, stored, chain, {name: value for name, value in facts.items() if name != "norms"})


def folded(layer: StoredLayer) -> StoredLayer:
    """Returns the layer with its batch normalization multiplied into weights and bias: the same answers in testing."""
    if layer.norm is None:
        return layer
    norm = layer.norm
    factor = norm.factor()
    bias = (0 if layer.bias is None else layer.bias) - norm.mean
    weight = layer.weight * factor.reshape(-1, *(1,) * (layer.weight.ndim - 1))
    return StoredLayer(layer.name, weight.astype(np.float32), (bias * factor + norm.shift).astype(np.float32))


def is_temperature(value: object) -> bool:
    """Whether logits may be divided by a value that a file gives as the temperature of its probabilities."""
    return isinstance(value, int | float) and type(value) is not bool and TEMPERATURES[0] < value < TEMPERATURES[1]

"""Puts the batch normalization of Caffe's and of ONNX's files where it belongs.

Directly after a layer it is kept beside that layer, after a pooling it is multiplied into the weights before, and in
front of the first layer it belongs to the pixels. In other places it would change the zeros that the next convolution
adds, so it is refused with the reason.
"""

from typing import Any

import numpy as np

from alexnet.weights.stored import Floats, StoredLayer, StoredNorm, folded

Layer = tuple[str, Floats, Floats | None]
WEIGHTED = ("conv", "fc")


def place_norm(norm: StoredNorm, layers: list[Layer], chain: list[str], facts: dict[str, Any], padded: bool) -> str:
    """Adds a normalization at the end of the network that was read so far.

    Args:
        layers: of the network so far; changed where the normalization is multiplied into the last one.
        chain: the operations so far.
        facts: gets `input_norm`, or in `norms` the normalization by the number of its layer.
        padded: whether a pooling since the last layer adds zeros.

    Returns:
        Why it cannot be placed, to be said after the name of the layer; "" if it was.
    """
    if not layers:
        if chain:
            return "normalizes what is not the image and not the output of a layer"
        facts["input_norm"] = _one_after(facts["input_norm"], norm) if "input_norm" in facts else norm
        return ""
    name, weight, bias = layers[-1]
    if len(norm.scale) != len(weight):
        return f"normalizes {len(norm.scale)} maps, and {name} before it has {len(weight)}"
    norms: dict[int, StoredNorm] = facts.setdefault("norms", {})
    number = len(layers) - 1
    together = _one_after(norms[number], norm) if number in norms else norm
    start = max(at for at, operation in enumerate(chain) if operation in WEIGHTED)
    between = [operation for operation in chain[start + 1 :] if operation != "dropout"]
    if not between:
        norms[number] = together
        return ""
    if any(operation not in ("maxpool", "avgpool") for operation in between) or padded:
        return "normalizes after an activation function or a padded pooling, where it cannot be multiplied into weights"
    if "maxpool" in between and (norm.factor() < 0).any():
        return "has a negative factor after a maximum, which then is another value"
    norms.pop(number, None)
    merged = folded(StoredLayer(name, weight, bias, together))
    layers[-1] = name, merged.weight, merged.bias
    return ""


def scale_and_shift(scale: Floats, shift: Floats | None) -> StoredNorm:
    """A normalization without statistics: scale * x + shift."""
    zeros = np.zeros(len(scale), np.float32)
    return StoredNorm(scale, zeros if shift is None else shift, zeros, np.ones(len(scale), np.float32), 0.0)


def _one_after(first: StoredNorm, second: StoredNorm) -> StoredNorm:
    """One normalization that does what two in turn do."""
    factor = second.factor()
    shift = (first.shift - second.mean) * factor + second.shift
    return StoredNorm(first.scale * factor, shift, first.mean, first.variance, first.epsilon)

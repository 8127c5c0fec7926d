"""Makes layers of named arrays: NAME.weight with NAME.bias, and the batch normalization that follows a layer.

Names such as `module.` or `_orig_mod.` in front change nothing: only the end of a name and its numbers are looked at.
"""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import DataError, UntrustedFileError
from alexnet.weights.protobuf import printable
from alexnet.weights.stored import Floats, StoredLayer, StoredNorm

Arrays = dict[str, NDArray[Any]]

ENDINGS = (("weights", "weight", "W", "kernel"), ("biases", "bias", "b"))
STATISTICS = ("running_mean", "running_var")
COUNTER = "num_batches_tracked"
INPUT = ("input_mean", "input_scale")  # buffers of the networks of this package


def paired(
    path: Path, arrays: Arrays, in_order: bool, transposed: bool = False, partly: bool = False
) -> tuple[tuple[StoredLayer, ...], dict[str, Any]]:
    """Pairs the arrays of each layer; without `in_order`, sorts the layers by name, convolutions first.

    Args:
        in_order: whether the arrays are already in the order of the network.
        transposed: whether they are in the layout of TensorFlow.
        partly: whether arrays that belong to no convolutional or fully connected layer are ignored.

    Returns:
        The layers, and what the other arrays say: see `StoredNetwork.facts`.

    Raises:
        DataError: there are arrays that are not understood, and not `partly`.
    """
    parts: dict[str, dict[int, NDArray[Any]]] = {}
    norms: dict[str, dict[str, NDArray[Any]]] = {}
    facts: dict[str, Any] = {}
    unused = []
    normalized = {printable(key).rpartition(".")[0] for key in arrays if key.endswith(f".{STATISTICS[0]}")}
    for array_name, array in arrays.items():
        key = printable(array_name)
        name, ending = re.fullmatch(r"(.*?)[._/]?([^._/]*)", key).groups()  # type: ignore[union-attr]
        owner, _, last = key.rpartition(".")
        which = next((i for i, endings in enumerate(ENDINGS) if ending in endings), 2)
        if owner in normalized and last in ("weight", "bias", *STATISTICS, COUNTER):
            norms.setdefault(owner, {})[last] = array
        elif last in INPUT and array.dtype.kind == "f" and array.ndim == 3 and len(array) == 3:
            facts["own"] = {**facts.get("own", {}), last: array}
        elif which == 2 or array.dtype.kind != "f" or (which == 0 and array.ndim not in (2, 4)):
            unused.append(key)
        else:
            parts.setdefault(name, {})[which] = np.asarray(array, np.float32)
    unused += [f"{name}.bias" for name, part in parts.items() if 0 not in part]
    named = [(name, part[0], part.get(1)) for name, part in parts.items() if 0 in part]
    if not in_order:
        named.sort(key=lambda layer: (layer[1].ndim == 2, _natural(layer[0])))
    layers: list[StoredLayer] = []
    for name, weight, bias in named:
        if transposed:
            convolution = layers[-1].weight if layers and layers[-1].weight.ndim == 4 else None
            weight = _channels_first(path, name, weight, convolution)
        if bias is not None and bias.size != len(weight):
            raise damaged(path, f"{name} has {len(weight)} outputs and {bias.size} biases")
        layers.append(StoredLayer(name, weight, None if bias is None else bias.reshape(-1)))
    if not partly:
        for name in sorted(norms, key=_natural):
            at = _normalized_layer(name, norms[name][STATISTICS[0]].size, layers)
            if at is None or not _is_whole(norms[name]):
                unused += [f"{name}.{last}" for last in norms[name] if last != COUNTER]
                continue
            scale, shift, mean, variance = (
                np.asarray(norms[name][last], np.float32) for last in ("weight", "bias", *STATISTICS)
            )
            layers[at] = replace(layers[at], norm=StoredNorm(scale, shift, mean, variance))
            if not name.rpartition(".")[2].isdigit() and "own" not in facts:
                facts["norms_by_name"] = True  # only the numbers of a chain say that nothing stands between
    if unused and not partly:
        raise DataError(
            f"{path} holds {', '.join(unused[:5])}{' ...' if len(unused) > 5 else ''}, "
            "which belong to no convolutional or fully connected layer",
            fix="Batch normalization is read where it comes directly after a layer, other kinds of layers are not: "
            "save only weights, biases and such normalization.",
            code="E342",
        )
    return tuple(layers), facts


def _is_whole(norm: dict[str, NDArray[Any]]) -> bool:
    """Whether batch normalization has its four arrays, all of one length."""
    values = [norm.get(last) for last in ("weight", "bias", *STATISTICS)]
    return all(v is not None and v.ndim == 1 and v.dtype.kind == "f" for v in values) and (
        len({len(v) for v in values if v is not None}) == 1
    )


def _normalized_layer(name: str, channels: int, layers: list[StoredLayer]) -> int | None:
    """Finds the layer whose outputs a batch normalization takes: its position, or None if no layer fits.

    features.1 follows features.0; bn1 belongs to conv1, as in `self.conv1, self.bn1`; block.bn to block.conv; bn6 to
    the sixth layer. features.2 after features.0 is refused: what stands between them is not known.
    """
    fits = [
        i
        for i, layer in enumerate(layers)
        if len(layer.weight) == channels and layer.norm is None and i + 1 < len(layers)
    ]
    parent, _, last = name.rpartition(".")
    if last.isdigit():
        before = f"{parent}.{int(last) - 1}".lstrip(".")
        return next((i for i in fits if layers[i].name == before), None)
    number = re.search(r"(\d*)$", last)[1]  # type: ignore[index]
    siblings = [i for i in fits if layers[i].name.rpartition(".")[0] == parent]
    same = [i for i in siblings if re.search(r"(\d*)$", layers[i].name)[1] == number]  # type: ignore[index]
    if same and (number or len(same) == 1):
        return same[0]
    return int(number) - 1 if number and int(number) - 1 in fits else None


def _channels_first(path: Path, name: str, weight: Floats, convolution: Floats | None) -> Floats:
    """Turns (kh, kw, in, out) into (out, in, kh, kw), and (in, out) into (out, in).

    Args:
        convolution: the weights of the layer before if that is a convolution: the inputs are then ordered by channel,
            row and column instead of row, column and channel.
    """
    if weight.ndim == 4:
        return weight.transpose(3, 2, 0, 1)
    if convolution is None:
        return weight.T
    channels, (inputs, outputs) = len(convolution), weight.shape
    side = math.isqrt(inputs // max(channels, 1))
    if side * side * channels != inputs:
        raise DataError(
            f"{path}: {name} has {inputs} inputs; this is not a square number times the {channels} channels "
            "of the layer before",
            fix="Give the layers names that sort in the order of the network, such as conv1 to fc8.",
            code="E343",
        )
    return weight.reshape(side, side, channels, outputs).transpose(3, 2, 0, 1).reshape(outputs, inputs)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts conv2 before conv10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def damaged(path: Path, how: str) -> UntrustedFileError:
    """The error of a file whose arrays cannot be those of a network."""
    return UntrustedFileError(
        f"{path} is damaged: {how}", fix="Download it again and compare its size and checksum.", code="E610"
    )

"""Writes the branch of cues as ONNX nodes: what color and shape alone add to the logits (`alexnet.models.cue_branch`).

The operators are those of opset 13. Resizing is two matrix products, as for the view.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from alexnet.models.cue_branch import (
    CELLS,
    CLIP,
    COLOR,
    DARK,
    EMPTY,
    GRID,
    LEVELS,
    ORIENTATIONS,
    PARTS,
    SIDE,
    SMALL,
    CueBranch,
)

FLOAT, DOUBLE = 1, 11  # types of ONNX


class _Formula:
    """Nodes one after the other, each with a name of its own."""

    def __init__(self, graph: Any, name: str):
        self.graph, self.name, self.number = graph, name, 0

    def __call__(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Adds a node; numbers and arrays among the inputs are stored."""
        self.number += 1
        name = f"{self.name}.{self.number}"
        values = [
            value if isinstance(value, str) else self.graph.store(f"{name}.{i}", _array(value))
            for i, value in enumerate(inputs)
        ]
        return str(self.graph.add(kind, name, values, **attributes))

    def at_least(self, value: str, least: float) -> str:
        """Values below `least` become it."""
        return self("Max", value, least)

    def root(self, value: str, more: float) -> str:
        """The square root of a value and a small number more."""
        return self("Sqrt", self("Add", value, more))


def add_cue(graph: Any, cue: CueBranch, view: str, side: int) -> str:
    """Adds the nodes of the branch to a graph; returns what they compute, (batch, classes).

    Args:
        view: the pixels (batch, 3, side, side) of the central view, 0..255 as floats.
    """
    make = _Formula(graph, "cue")
    x = view
    if side != SIDE:
        matrix = _resizing(side)
        x = make("MatMul", make("MatMul", matrix, x), matrix.T)
    square = make("Min", make.at_least(x, 0.0), 255.0)
    parts = []
    for name in cue.names:
        features = (_color if name == COLOR else _shape)(make, square)
        part = cue.get_submodule(name)
        center, anchors, weights, width = (part.get_buffer(key).detach().cpu() for key in PARTS)
        features = make("Sub", features, center.numpy())
        own = make("ReduceSum", make("Mul", features, features), np.array([1], np.int64), keepdims=1)
        products = make("MatMul", features, anchors.t().numpy())
        theirs = anchors.square().sum(1)[None].numpy()
        distances = make("Sub", make("Add", own, theirs), make("Mul", products, 2.0))
        near = make("Exp", make("Mul", make.at_least(distances, 0.0), -float(width)))
        exact = make(
            "MatMul", make("Cast", near, to=DOUBLE), weights.double().numpy()
        )  # large terms cancel in this sum
        parts.append(make("Cast", exact, to=FLOAT))
    return parts[0] if len(parts) == 1 else make("Add", *parts)


def _color(make: _Formula, square: str) -> str:
    pixels = make("Reshape", square, np.array([0, 3, SIDE * SIDE], np.int64))
    level = make("Sub", make("Mul", pixels, LEVELS / 256), 0.5)
    level = make("Min", make.at_least(level, 0.0), float(LEVELS - 1))
    level = make("Unsqueeze", level, np.array([3], np.int64))
    away = make("Abs", make("Sub", level, np.arange(LEVELS, dtype=np.float32)))
    shares = make.at_least(make("Sub", 1.0, away), 0.0)  # (batch, 3, pixels, 8)

    def channel(number: int) -> str:
        taken = make("Gather", shares, np.array([number], np.int64), axis=1)
        return make("Squeeze", taken, np.array([1], np.int64))

    green = make("Unsqueeze", channel(1), np.array([3], np.int64))
    blue = make("Unsqueeze", channel(2), np.array([2], np.int64))
    pairs = make("Reshape", make("Mul", green, blue), np.array([0, SIDE * SIDE, LEVELS**2], np.int64))
    sums = make("MatMul", make("Transpose", channel(0), perm=[0, 2, 1]), pairs)
    histogram = make("Mul", make("Reshape", sums, np.array([0, LEVELS**3], np.int64)), 1 / SIDE**2)
    return make.root(histogram, EMPTY)


def _shape(make: _Formula, square: str) -> str:
    luma = np.array([0.299, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1)
    weighted = make("ReduceSum", make("Mul", square, luma), np.array([1], np.int64), keepdims=1)
    gray = make.root(_mean(make, weighted, SIDE // GRID), DARK)
    down = _difference(make, gray, 2)
    right = _difference(make, gray, 3)
    squares = make("Add", make("Mul", down, down), make("Mul", right, right))
    strength = make.root(squares, 1e-12)
    angles = np.pi * (np.arange(ORIENTATIONS) + 0.5) / ORIENTATIONS
    across, along = (np.float32(f(angles)).reshape(1, -1, 1, 1) for f in (np.cos, np.sin))
    towards = make("Abs", make("Add", make("Mul", right, across), make("Mul", down, along)))
    edge = math.cos(math.pi / ORIENTATIONS)
    shares = make.at_least(make("Div", make("Sub", make("Div", towards, strength), edge), 1 - edge), 0.0)
    cell = GRID // CELLS
    cells = make("Mul", _mean(make, make("Mul", shares, strength), cell), float(cell**2))
    parts = [_cut(make, _cut(make, cells, a, a + CELLS - 1, 2), b, b + CELLS - 1, 3) for a in (0, 1) for b in (0, 1)]
    blocks = make("Min", _normalized(make, make("Concat", *parts, axis=1)), CLIP)
    return make("Flatten", _normalized(make, blocks), axis=1)


def _mean(make: _Formula, value: str, size: int) -> str:
    return make("AveragePool", value, kernel_shape=[size, size], strides=[size, size])


def _cut(make: _Formula, value: str, start: int, end: int, axis: int) -> str:
    return make("Slice", value, *(np.array([number], np.int64) for number in (start, end, axis)))


def _difference(make: _Formula, value: str, axis: int) -> str:
    later, earlier = _cut(make, value, 2, GRID, axis), _cut(make, value, 0, GRID - 2, axis)
    pads = [0] * 8
    pads[axis] = pads[4 + axis] = 1
    return make("Pad", make("Sub", later, earlier), np.array(pads, np.int64))


def _normalized(make: _Formula, blocks: str) -> str:
    total = make("ReduceSum", make("Mul", blocks, blocks), np.array([1], np.int64), keepdims=1)
    return make("Div", blocks, make.root(total, SMALL))


def _resizing(side: int) -> Any:
    """(64, side): resizes one column of pixels, as `square` does."""
    identity = torch.eye(side).expand(1, 1, side, side)
    resized = F.interpolate(identity, (SIDE, side), mode="bilinear", antialias=True, align_corners=False)
    return resized[0, 0].contiguous().numpy()


def _array(value: Any) -> Any:
    return np.float32(value) if isinstance(value, float | int) else np.asarray(value)

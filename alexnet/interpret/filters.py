"""The kernels of conv1 as in Figure 3 of the paper, tower above tower, and how much each of them looks at colour.

In the two towers of 2012 one learned mostly grey edges and the other mostly coloured blobs, in every run (section 6.1).
`color_selectivity` puts a number on that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images import Pixels
from alexnet.errors import UsageError
from alexnet.interpret.contact_sheet import enlarged, sheet
from alexnet.models.network import Network
from alexnet.runs.kernel_history import effective_kernels

CHANCE = 2 / 3  # selectivity of a kernel of independent random weights: two of three directions are coloured
COLUMNS = 16  # of Figure 3
SIDE = 1000  # pixels that a sheet is wide at least, or one pixel less a kernel


@dataclass(frozen=True)
class TowerColor:
    """The colour selectivity of one tower's kernels, all in [0, 1]."""

    tower: int  # from 1
    kernels: int
    mean: float
    median: float
    weighted: float  # kernels count by their energy, so that those which learned little do not speak
    coloured: float  # share of the kernels above 1/3, half of chance


def conv1_kernels(model: Network) -> NDArray[np.float32]:
    """The weights of conv1 on the pixels as they go in: (kernels, 3, height, width).

    Raises:
        UsageError: the network looks at grey pictures, or has no layer conv1.
    """
    kernels = effective_kernels(model)
    if kernels is None or kernels.shape[1] != 3:
        raise UsageError(
            "the network sees no colours: its first layer has one grey channel",
            fix="Use a run of an AlexNet that looks at colour pictures (model.in_channels=3).",
            code="E236",
        )
    return kernels


def color_selectivity(kernels: NDArray[np.float32]) -> NDArray[np.float64]:
    """The share of a kernel's energy that is colour: (N, 3, H, W) to (N,), in [0, 1].

    At every place the three weights are split into their mean, which sees brightness, and the rest, which sees
    differences between channels. 0: the same weights for red, green and blue; 1: they sum to nothing everywhere, so
    grey pictures are invisible to it. A kernel of zeros has 0.
    """
    weights = kernels.astype(np.float64)
    rest = weights - weights.mean(1, keepdims=True)
    total = (weights**2).sum((1, 2, 3))
    return np.asarray((rest**2).sum((1, 2, 3)) / np.where(total > 0, total, 1.0))


def tower_colors(kernels: NDArray[np.float32], towers: int) -> list[TowerColor]:
    """The figures of each tower, first its first kernels."""
    found = []
    energy = (kernels.astype(np.float64) ** 2).sum((1, 2, 3))
    shares = color_selectivity(kernels)
    for number, (share, weight) in enumerate(zip(np.split(shares, towers), np.split(energy, towers), strict=True), 1):
        weighted = float((share * weight).sum() / max(weight.sum(), 1e-300))
        above = float((share > 1 / 3).mean())
        found.append(TowerColor(number, len(share), float(share.mean()), float(np.median(share)), weighted, above))
    return found


def kernel_sheet(kernels: NDArray[np.float32], towers: int, *, sort: bool = False) -> Pixels:
    """The kernels as squares, each from its smallest weight (black) to its largest (white); a gap between the towers.

    Args:
        sort: within each tower the greyest first, instead of the order of the network.
    """
    count, _, height, width = kernels.shape
    side = max(height, width)
    each = count // towers
    columns = next((n for n in range(COLUMNS, 7, -1) if each % n == 0), min(each, COLUMNS))
    times = max(1, SIDE // (columns * (side + 1)))
    gap = max(2, times // 2)
    tiles = _tiles(kernels)
    share = color_selectivity(kernels)
    blocks = []
    for tower in range(towers):
        own = np.arange(tower * each, (tower + 1) * each)
        own = own[np.argsort(share[own], kind="stable")] if sort else own
        squares = [enlarged(tiles[i], times) for i in own]
        blocks.append(sheet([squares[i : i + columns] for i in range(0, each, columns)], gap=gap))
    between = np.full((2 * gap, blocks[0].shape[1], 3), 255, np.uint8)
    parts = [part for block in blocks for part in (between, block)][1:]
    return np.concatenate(parts)


def growth_sheet(history: Sequence[tuple[int, NDArray[np.float32]]], towers: int) -> Pixels:
    """The same kernels, epoch below epoch: of each tower those which have the most energy in the end.

    Args:
        history: epochs, in order, and their kernels (N, 3, H, W).
    """
    last = history[-1][1]
    count, _, height, width = last.shape
    each = min(count // towers, COLUMNS // towers)
    energy = (last.astype(np.float64) ** 2).sum((1, 2, 3)).reshape(towers, -1)
    best = np.sort(np.argsort(-energy, axis=1, kind="stable")[:, :each], axis=1)
    chosen = (best + np.arange(towers)[:, None] * (count // towers)).ravel()
    times = max(1, SIDE // (len(chosen) * (max(height, width) + 1)))
    rows = [[enlarged(tile, times) for tile in _tiles(kernels[chosen])] for _, kernels in history]
    return sheet(rows, gap=max(2, times // 2))


def spread(history: Sequence[tuple[int, NDArray[np.float32]]], most: int) -> list[tuple[int, NDArray[np.float32]]]:
    """At most that many of the epochs, closer together at the beginning, where kernels change most; the last is in."""
    places = np.geomspace(1, len(history), min(most, len(history)))
    return [history[place] for place in sorted({round(place) - 1 for place in places})]


def _tiles(kernels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Each kernel from its smallest weight (black) to its largest (white): (N, 3, H, W) to (N, H, W, 3)."""
    low, high = kernels.min((1, 2, 3), keepdims=True), kernels.max((1, 2, 3), keepdims=True)
    scaled = (kernels - low) / np.maximum(high - low, 1e-12)
    tiles: Pixels = np.rint(255 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
    return tiles


GRID = 64  # points a side of the spectrum; a kernel is padded with zeros to it


@dataclass(frozen=True)
class Tuning:
    """One kernel's preferences."""

    orientation: float  # of its stripes against the horizontal, in degrees, in [0, 180)
    frequency: float  # cycles a pixel, in [0, 0.71]
    color: float  # share of its energy that is colour, in [0, 1]; 0 with one channel


def tunings(kernels: NDArray[np.float32]) -> list[Tuning]:
    """Each kernel's preferences, from the largest value of its spectrum, summed over channels: (N, C, H, W) to N.

    The mean of every channel is taken away first, so a blob has the frequency of its shape, not 0. Angles turn
    counter-clockwise as one looks at the picture: 0 is horizontal stripes, 90 vertical ones.
    """
    weights = kernels.astype(np.float64)
    weights = weights - weights.mean((2, 3), keepdims=True)
    spectrum = (np.abs(np.fft.fft2(weights, (GRID, GRID))) ** 2).sum(1)[:, : GRID // 2 + 1]
    rows, columns = np.divmod(spectrum.reshape(len(spectrum), -1).argmax(1), GRID)
    down, right = rows / GRID, np.where(columns > GRID // 2, columns - GRID, columns) / GRID
    # Stripes lie at a right angle to the direction in which they change, and rows count downwards.
    angle = np.degrees(np.arctan2(-down, right)) + 90
    colors = color_selectivity(kernels) if kernels.shape[1] == 3 else np.zeros(len(kernels))
    return [
        Tuning(float(round(a % 180, 3)) % 180, float(f), float(c))
        for a, f, c in zip(angle, np.hypot(down, right), colors, strict=True)
    ]

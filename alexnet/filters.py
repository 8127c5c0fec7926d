"""The kernels of conv1 as in Figure 3 of the paper, tower above tower, and how much each of them looks at colour.

In the two towers of 2012 one learned mostly grey edges and the other mostly coloured blobs, in every run (section 6.1).
`color_selectivity` puts a number on that.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.errors import UsageError
from alexnet.model import Network
from alexnet.sheets import Pixels, enlarged, sheet

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
    layer = dict(model.layers.named_children()).get("conv1")
    if not isinstance(layer, torch.nn.Conv2d) or model.in_channels != 3:
        raise UsageError(
            "the network sees no colours: its first layer has one grey channel",
            fix="Use a run of an AlexNet that looks at colour pictures (model.in_channels=3).",
            code="E236",
        )
    weights = layer.weight * model.input_scale.view(1, 3, 1, 1)
    return weights.detach().float().cpu().contiguous().numpy()


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
    low, high = kernels.min((1, 2, 3), keepdims=True), kernels.max((1, 2, 3), keepdims=True)
    scaled = (kernels - low) / np.maximum(high - low, 1e-12)
    tiles = np.rint(255 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
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

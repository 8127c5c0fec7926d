"""Draws the conv1 kernels as in Figure 3 of the paper, one tower above the other, and measures how much is color.

In the network of 2012, one tower learned mostly gray edges and the other mostly colored blobs, in every run (section
6.1). `color_selectivity` measures this difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images import Pixels
from alexnet.errors import UsageError
from alexnet.interpret.contact_sheet import enlarged, save_png, sheet
from alexnet.models.network import Network
from alexnet.runs.kernel_history import effective_kernels
from alexnet.storage.files import free_name, refuse_to_replace

CHANCE = 2 / 3  # selectivity of a kernel of independent random weights: two of three directions are color
COLUMNS = 16  # of Figure 3
SIDE = 1000  # a sheet is at most about this many pixels wide, with at least one pixel per weight


@dataclass(frozen=True)
class TowerColor:
    """The color selectivity of one tower's kernels, all in [0, 1]."""

    tower: int  # from 1
    kernels: int
    mean: float
    median: float
    weighted: float  # mean weighted by energy, so that kernels which learned little do not matter
    colored: float  # share of the kernels with a selectivity above 1/3, half of `CHANCE`


def conv1_kernels(model: Network) -> NDArray[np.float32]:
    """Returns the conv1 weights as they act on the input pixels: (kernels, 3, height, width).

    Raises:
        UsageError: the network takes gray images, or has no layer conv1.
    """
    kernels = effective_kernels(model)
    if kernels is None or kernels.shape[1] != 3:
        raise UsageError(
            "the network sees no color: its first layer has one gray channel",
            fix="Use a run of an AlexNet that takes color images (model.in_channels=3).",
            code="E236",
        )
    return kernels


def color_selectivity(kernels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Computes the share of each kernel's energy that is color: (N, 3, H, W) to (N,), in [0, 1].

    At every position the three weights are split into their mean, which responds to brightness, and the rest, which
    responds to differences between channels. 0 means equal weights for red, green and blue. 1 means that they sum to
    zero everywhere, so the kernel does not respond to gray images. A kernel of zeros has 0.
    """
    weights = kernels.astype(np.float64)
    rest = weights - weights.mean(1, keepdims=True)
    total = (weights**2).sum((1, 2, 3))
    return np.asarray((rest**2).sum((1, 2, 3)) / np.where(total > 0, total, 1.0))


def tower_colors(kernels: NDArray[np.float32], towers: int) -> list[TowerColor]:
    """Computes the color selectivity of each tower, in the order of the towers."""
    towers_colors = []
    energy = (kernels.astype(np.float64) ** 2).sum((1, 2, 3))
    shares = color_selectivity(kernels)
    for number, (share, weight) in enumerate(zip(np.split(shares, towers), np.split(energy, towers), strict=True), 1):
        weighted = float((share * weight).sum() / max(weight.sum(), 1e-300))
        above = float((share > 1 / 3).mean())
        towers_colors.append(
            TowerColor(number, len(share), float(share.mean()), float(np.median(share)), weighted, above)
        )
    return towers_colors


def kernel_sheet(kernels: NDArray[np.float32], towers: int, *, sort: bool = False) -> Pixels:
    """Draws kernels as squares, each from its smallest weight (black) to its largest (white); a gap separates towers.

    Args:
        sort: sort the kernels of each tower by color selectivity, the grayest first; else in the order of the network.
    """
    count, _, height, width = kernels.shape
    side = max(height, width)
    per_tower = count // towers
    columns = next((n for n in range(COLUMNS, 7, -1) if per_tower % n == 0), min(per_tower, COLUMNS))
    factor = max(1, SIDE // (columns * (side + 1)))
    gap = max(2, factor // 2)
    tiles = _tiles(kernels)
    share = color_selectivity(kernels)
    blocks = []
    for tower in range(towers):
        indices = np.arange(tower * per_tower, (tower + 1) * per_tower)
        indices = indices[np.argsort(share[indices], kind="stable")] if sort else indices
        squares = [enlarged(tiles[i], factor) for i in indices]
        blocks.append(sheet([squares[i : i + columns] for i in range(0, per_tower, columns)], gap=gap))
    spacer = np.full((2 * gap, blocks[0].shape[1], 3), 255, np.uint8)
    parts = [part for block in blocks for part in (spacer, block)][1:]
    return np.concatenate(parts)


def growth_sheet(history: Sequence[tuple[int, NDArray[np.float32]]], towers: int) -> Pixels:
    """Draws the same kernels in one row per epoch: from each tower those with the most energy in the last epoch.

    Args:
        history: epochs, in order, and their kernels (N, 3, H, W).
    """
    last = history[-1][1]
    count, _, height, width = last.shape
    per_tower = min(count // towers, COLUMNS // towers)
    energy = (last.astype(np.float64) ** 2).sum((1, 2, 3)).reshape(towers, -1)
    best = np.sort(np.argsort(-energy, axis=1, kind="stable")[:, :per_tower], axis=1)
    chosen = (best + np.arange(towers)[:, None] * (count // towers)).ravel()
    factor = max(1, SIDE // (len(chosen) * (max(height, width) + 1)))
    rows = [[enlarged(tile, factor) for tile in _tiles(kernels[chosen])] for _, kernels in history]
    return sheet(rows, gap=max(2, factor // 2))


def some_epochs(history: Sequence[tuple[int, NDArray[np.float32]]], most: int) -> list[tuple[int, NDArray[np.float32]]]:
    """Selects at most `most` epochs, denser at the beginning, where kernels change most; the last one is included."""
    positions = np.geomspace(1, len(history), min(most, len(history)))
    return [history[position] for position in sorted({round(position) - 1 for position in positions})]


def _tiles(kernels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scales each kernel from its smallest weight (black) to its largest (white): (N, 3, H, W) to (N, H, W, 3)."""
    low, high = kernels.min((1, 2, 3), keepdims=True), kernels.max((1, 2, 3), keepdims=True)
    scaled = (kernels - low) / np.maximum(high - low, 1e-12)
    tiles: Pixels = np.rint(255 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
    return tiles


@dataclass(frozen=True, eq=False)
class Filters:
    """The conv1 filters of a network, as they act on the pixels."""

    kernels: NDArray[np.float32]  # (N, 3, height, width)
    towers: int
    name: str  # of the run, for the name of the file

    @property
    def tower_colors(self) -> list[TowerColor]:
        """How much each tower sees color."""
        return tower_colors(self.kernels, self.towers)

    def save(self, out: str | Path | None = None, *, sort: bool = False) -> Path:
        """Writes all filters as PNG, tower above tower; by default named after the run, with -filters.png.

        Args:
            sort: within each tower the grayest first, instead of the order of the network.

        Raises:
            UsageError: `out` exists.
            ResourceError: the file cannot be written.
        """
        return _saved(kernel_sheet(self.kernels, self.towers, sort=sort), out, f"{self.name}-filters.png")

    def __repr__(self) -> str:
        count, _, height, width = self.kernels.shape
        colors = " and ".join(f"{each.weighted:.2f}" for each in self.tower_colors)
        return f"Filters({self.name}: {count} of {height} x {width}, color selectivity by energy {colors})"


@dataclass(frozen=True)
class FilterGrowth:
    """The conv1 filters of a run at the end of some of its epochs."""

    epochs: tuple[tuple[int, Filters], ...]

    @classmethod
    def of(
        cls, history: Sequence[tuple[int, NDArray[np.float32]]], towers: int, run: Path, most: int = 8
    ) -> "FilterGrowth":
        """Takes some epochs from what a run has kept, at most `most`, evenly spread.

        Raises:
            UsageError: E284, the run has kept nothing.
        """
        if not history:
            raise UsageError(
                f"{run} has not kept the conv1 filters of its epochs: its folder conv1 is empty",
                fix="Every run keeps them at the end of an epoch; leave --over-training out to see those of a "
                "checkpoint.",
                code="E284",
            )
        name = run.resolve().name
        return cls(tuple((epoch, Filters(kernels, towers, name)) for epoch, kernels in some_epochs(history, most)))

    def save(self, out: str | Path | None = None) -> Path:
        """Writes some filters of each tower as PNG, a row an epoch; by default named after the run.

        Raises:
            UsageError: `out` exists.
            ResourceError: the file cannot be written.
        """
        last = self.epochs[-1][1]
        history = [(epoch, filters.kernels) for epoch, filters in self.epochs]
        return _saved(growth_sheet(history, last.towers), out, f"{last.name}-filters-over-training.png")

    def __repr__(self) -> str:
        return f"FilterGrowth({self.epochs[-1][1].name}: epochs {', '.join(str(epoch) for epoch, _ in self.epochs)})"


def _saved(pixels: Pixels, out: str | Path | None, name: str) -> Path:
    if out is not None:
        refuse_to_replace(Path(out))
    target = Path(out) if out is not None else free_name(Path(name))
    save_png(pixels, target)
    return target


GRID = 64  # side of the spectrum in points; kernels are padded with zeros to this size


@dataclass(frozen=True)
class Tuning:
    """The stimulus that one kernel responds to most."""

    orientation: float  # angle between its stripes and the horizontal, in degrees, in [0, 180)
    frequency: float  # cycles per pixel, in [0, 0.71]
    color: float  # share of its energy that is color, in [0, 1]; 0 with one channel


def tunings(kernels: NDArray[np.float32]) -> list[Tuning]:
    """Finds each kernel's orientation and frequency at the largest value of its spectrum: (N, C, H, W) to N.

    The spectrum is summed over the channels. The mean of every channel is subtracted first, so a blob has the
    frequency of its shape, not 0. Angles count counter-clockwise: 0 is horizontal stripes, 90 is vertical stripes.
    """
    weights = kernels.astype(np.float64)
    weights = weights - weights.mean((2, 3), keepdims=True)
    spectrum = (np.abs(np.fft.fft2(weights, (GRID, GRID))) ** 2).sum(1)[:, : GRID // 2 + 1]
    rows, columns = np.divmod(spectrum.reshape(len(spectrum), -1).argmax(1), GRID)
    down, right = rows / GRID, np.where(columns > GRID // 2, columns - GRID, columns) / GRID
    # Stripes are perpendicular to the direction of change, and rows count downwards.
    angle = np.degrees(np.arctan2(-down, right)) + 90
    colors = color_selectivity(kernels) if kernels.shape[1] == 3 else np.zeros(len(kernels))
    return [
        Tuning(float(round(a % 180, 3)) % 180, float(f), float(c))
        for a, f, c in zip(angle, np.hypot(down, right), colors, strict=True)
    ]

"""What the kernels of conv1 are tuned to: orientation and frequency by the spectrum, colour by `alexnet.filters`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.filters import color_selectivity

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

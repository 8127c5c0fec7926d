"""The compiled loop of `alexnet.kernels.masks`: the finalizer of SplitMix64 over the rows and units of a mask."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.kernels.jit import compiled

A, B, C = np.uint64(30), np.uint64(27), np.uint64(31)
D = np.uint64(11)  # leaves the 53 bits that decide
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
GOLDEN, ONE = np.uint64(0x9E3779B97F4A7C15), np.uint64(1)


@compiled(parallel=False)
def fill(keys: NDArray[np.uint64], first: Any, limit: Any, out: NDArray[np.float32]) -> None:
    """Writes 1 where the number of a row and unit is below the limit, else 0.

    Args:
        keys: (n,) of the rows.
        first: number of the first unit.
        limit: of 53 bits.
        out: (n, units).
    """
    for n in range(out.shape[0]):
        key, row = keys[n], out[n]
        for u in range(out.shape[1]):
            z = key + GOLDEN * (first + np.uint64(u) + ONE)
            z = (z ^ (z >> A)) * FIRST
            z = (z ^ (z >> B)) * SECOND
            row[u] = np.float32((z ^ (z >> C)) >> D < limit)

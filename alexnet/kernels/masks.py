"""Dropout masks as a pure function of (key, row, unit): the same bits on every device and for any number of processes.

A key stands for (seed, step, layer). The numbers are those of `alexnet.rng.hashed`; here the same arithmetic runs as a
compiled loop on a CPU and with PyTorch's integers elsewhere, where 64 bits wrap as unsigned ones do.
"""

import math
from functools import lru_cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from alexnet.rng import DROPOUT, GOLDEN, MULTIPLIERS, stream_key

BITS = 53  # of a number in [0, 1) that decides whether a unit is kept


def start_of(key: int) -> int:
    """The number from which those of all rows start, as a signed integer of 64 bits; it stands for the key."""
    return _signed(stream_key(key, 0, DROPOUT))


def mask(key: int | Tensor, rows: Tensor, units: range, keep: float, like: Tensor) -> Tensor:
    """Draws a mask: (rows, units) of the type and on the device of `like`, 1 where a unit is kept, else 0.

    Args:
        key: of seed, step and layer, or a tensor of its `start_of` on the device of `like`: where the work of a step is
            recorded once and repeated, the number changes and the tensor stays.
        rows: (n,) int64 on the device of `like`: the position of each image in the whole batch.
        units: which units, numbered over the whole layer.
        keep: the probability of 1.
    """
    limit = math.ceil(keep * 2.0**BITS)  # a number below keep is an integer below this one
    start = key if isinstance(key, Tensor) else start_of(key)
    keys_of_rows = _mix(rows + start + _signed(GOLDEN))
    if (
        like.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and (module := compiled()) is not None
        and type(keys_of_rows) is Tensor
    ):
        keys = keys_of_rows.numpy().view(np.uint64)
        out = np.empty((len(rows), len(units)), np.float32)
        module.fill(keys, np.uint64(units.start), np.uint64(limit), out)
        return torch.from_numpy(out).to(like.dtype)
    steps = torch.arange(units.start + 1, units.stop + 1, device=like.device) * _signed(GOLDEN)
    return (_shifted(_mix(keys_of_rows[:, None] + steps), 64 - BITS) < limit).to(like.dtype)


@lru_cache
def compiled() -> ModuleType | None:
    """Returns the module of the compiled loop, or None if numba is not installed."""
    try:
        from alexnet.kernels import mask_loops as module
    except ImportError:
        return None
    return module


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _signed(MULTIPLIERS[0])
    z = (z ^ _shifted(z, 27)) * _signed(MULTIPLIERS[1])
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """Shifts to the right and fills with zeros; PyTorch has only the shift that keeps the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """The signed 64-bit integer of the same bits."""
    number %= 1 << 64
    return number - (1 << 64) if number >= 1 << 63 else number

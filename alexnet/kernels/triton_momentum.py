"""The update of 2012 of all weights as one Triton kernel; imported only where Triton is.

One pass reads weight, gradient and momentum and writes weight and momentum. Learning rates and the flag that stops the
update are read from the memory of the device.
"""

# Triton reads the annotations of a kernel as names of its own, so kernels have none but constexpr.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, allow-incomplete-defs

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096  # numbers that one program updates
FIELDS = 4  # of a weight in the table: addresses of weight, gradient and momentum buffer, and how many numbers


@triton.jit
def momentum_kernel(table, parts, rates, stopped, BLOCK: tl.constexpr):
    """Updates BLOCK numbers of one weight, unless `stopped` is above zero.

    Args:
        table: (weights, FIELDS) int64.
        parts: (programs, 2) int64: which weight, and the first number of it.
        rates: (weights, 3): momentum, learning rate, weight decay.
    """
    part = tl.program_id(0)
    which = tl.load(parts + 2 * part)
    place = tl.load(parts + 2 * part + 1) + tl.arange(0, BLOCK)
    weights = tl.load(table + 4 * which).to(tl.pointer_type(tl.float32))
    gradients = tl.load(table + 4 * which + 1).to(tl.pointer_type(tl.float32))
    buffers = tl.load(table + 4 * which + 2).to(tl.pointer_type(tl.float32))
    count = tl.load(table + 4 * which + 3)
    momentum, rate, decay = tl.load(rates + 3 * which), tl.load(rates + 3 * which + 1), tl.load(rates + 3 * which + 2)
    inside = place < tl.where(tl.load(stopped) <= 0.0, count, 0)
    w = tl.load(weights + place, mask=inside, other=0.0)
    g = tl.load(gradients + place, mask=inside, other=0.0)
    v = tl.load(buffers + place, mask=inside, other=0.0)
    v = momentum * v - rate * (g + decay * w)
    tl.store(buffers + place, v, mask=inside)
    tl.store(weights + place, w + v, mask=inside)


def fused_momentum_steps(steps: Sequence[tuple[Tensor, Tensor, float, float, float]], stopped: Tensor) -> None:
    """Updates all weights; see `alexnet.kernels.momentum.momentum_steps`.

    Weights, gradients and buffers are float32, and each three have the same dense layout.
    """
    device = stopped.device
    rows, parts, rates = [], [], []
    for number, (weight, buffer, *numbers) in enumerate(steps):
        assert weight.grad is not None
        rows.append([weight.data_ptr(), weight.grad.data_ptr(), buffer.data_ptr(), weight.numel()])
        parts += [[number, start] for start in range(0, weight.numel(), BLOCK)]
        rates.append(numbers)
    with torch.no_grad():
        sent = torch.tensor(rows, dtype=torch.int64).to(device, non_blocking=True)
        places = torch.tensor(parts, dtype=torch.int64).to(device, non_blocking=True)
        values = torch.tensor(rates, dtype=torch.float32).to(device, non_blocking=True)
        momentum_kernel[(len(parts),)](sent, places, values, stopped, BLOCK=BLOCK)

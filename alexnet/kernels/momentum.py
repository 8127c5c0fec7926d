"""The update of 2012 of all weights on a device, which a flag there can turn into no update.

The flag is a number on the device: whoever set it need not wait for it, and nor does the update. With Triton it is one
kernel for all weights; otherwise the same formula runs in PyTorch, weight by weight.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from alexnet.kernels import triton_choice

# A weight with its gradient, its momentum buffer, and momentum, learning rate and weight decay.
Step = tuple[Tensor, Tensor, float, float, float]


def momentum_steps(steps: Sequence[Step], stopped: Tensor) -> None:
    """Updates v <- momentum v - rate (gradient + decay w); w <- w + v for each, unless `stopped` is above zero.

    Args:
        steps: weight, whose gradient is set, and buffer, on one device; then the three numbers.
        stopped: a number on that device.
    """
    fused = [step for step in steps if triton_choice.updates(step[0], step[1])]
    if fused:
        from alexnet.kernels.triton_momentum import fused_momentum_steps

        fused_momentum_steps(fused, stopped)
    for step in steps:
        if not triton_choice.updates(step[0], step[1]):
            plain_momentum_step(step, stopped)


@torch.no_grad()
def plain_momentum_step(step: Step, stopped: Tensor) -> None:
    """Updates one weight with the operations of PyTorch."""
    weight, buffer, momentum, rate, decay = step
    assert weight.grad is not None
    moved = (buffer * momentum).add_(weight.grad, alpha=-rate)
    if decay:
        moved.add_(weight, alpha=-rate * decay)
    keep = stopped > 0
    buffer.copy_(torch.where(keep, buffer, moved))
    weight.copy_(torch.where(keep, weight, weight + moved))

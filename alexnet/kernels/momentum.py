"""The update of 2012 of all weights on a device, which a flag there can turn into no update.

The flag is a number on the device: whoever set it need not wait for it, and nor does the update. With Triton it is one
kernel for all weights; otherwise the same formula runs in PyTorch, weight by weight.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from alexnet.kernels.triton_choice import difference, trusted

# A weight whose gradient is set, its momentum buffer, and momentum, learning rate and weight decay.
Step = tuple[Tensor, Tensor, float, float, float]


def momentum_steps(steps: Sequence[Step], stopped: Tensor) -> None:
    """Updates v <- momentum v - rate (gradient + decay w); w <- w + v for each, unless `stopped` is above zero.

    Args:
        steps: all on one device.
        stopped: a number on that device.
    """
    fused = trusted(stopped.device, update_trial)
    together = [step for step in steps if fused and is_dense(step)]
    if together:
        from alexnet.kernels.triton_momentum import fused_momentum_steps

        with torch.cuda.device(stopped.device):
            fused_momentum_steps(together, stopped)
    for step in steps:
        if not (fused and is_dense(step)):
            plain_momentum_step(step, stopped)


def is_dense(step: Step) -> bool:
    """Whether weight, gradient and buffer are float32 in one layout without gaps, so that they are flat arrays."""
    tensors = (step[0], step[0].grad, step[1])
    same = len({t.stride() for t in tensors if t is not None}) == 1
    return same and all(t is not None and t.dtype == torch.float32 for t in tensors) and _has_no_gaps(step[0])


def _has_no_gaps(tensor: Tensor) -> bool:
    return bool(torch.ops.aten.is_non_overlapping_and_dense(tensor))


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


def update_trial(device: torch.device) -> float:
    """Returns how far the kernel is from PyTorch in float64, for two weights and for a flag that stops it."""
    from alexnet.kernels.triton_momentum import fused_momentum_steps

    worst = 0.0
    for flag in (0.0, 1.0):
        found, exact = _trial_steps(device, torch.float32), _trial_steps(torch.device("cpu"), torch.float64)
        fused_momentum_steps(found, torch.tensor(flag, device=device))
        for step, answer in zip(found, exact, strict=True):
            plain_momentum_step(answer, torch.tensor(flag))
            worst = max(worst, difference(step[0], answer[0]), difference(step[1], answer[1]))
    return worst


def _trial_steps(device: torch.device, dtype: torch.dtype) -> list[Step]:
    steps: list[Step] = []
    for count, decay in ((5001, 0.0005), (7, 0.0)):
        values = torch.sin(torch.arange(3.0 * count)).view(3, count)
        weight, gradient, buffer = (row.to(device, dtype, copy=True) for row in values)
        weight.grad = gradient
        steps.append((weight, buffer, 0.9, 0.01, decay))
    return steps

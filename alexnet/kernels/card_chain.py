"""The chain of normalizations and pooling on a CUDA card: which Triton kernels run it there, and their trial.

A chain is an `alexnet.kernels.operators.Chain`, which imports this module.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from alexnet.kernels.triton_choice import difference

TRIAL_SHAPE = (2, 12, 7, 6)


def fits(x: Tensor, chain: Any) -> bool:
    """Whether the kernels can run this chain on this tensor, wherever it is."""
    return (
        x.dtype in (torch.float32, torch.bfloat16)
        and x.ndim == 4
        and x.numel() > 0
        and chain.beta == 0.75
        and {chain.lrn_size, chain.map_size} <= {0, 5}
        and chain.pool < 16
        and x.shape[1] % chain.towers == 0
        and (not chain.pool or min(chain.pooled(side) for side in x.shape[-2:]) > 0)
        and not torch.compiler.is_exporting()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


def forward(x: Tensor, out: Tensor, positions: Tensor, chain: Any) -> None:
    """Applies a chain and writes the result and the positions of the maxima, both channels_last."""
    from alexnet.kernels import triton_chain

    with torch.cuda.device(x.device if x.is_cuda else -1):
        triton_chain.forward(x.contiguous(memory_format=torch.channels_last), out, positions, chain)


def backward(x: Tensor, grad: Tensor, positions: Tensor, chain: Any) -> Tensor:
    """Computes the gradient of a chain for x, channels_last."""
    from alexnet.kernels import triton_chain

    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    out = torch.empty_like(x)
    with torch.cuda.device(x.device if x.is_cuda else -1):
        triton_chain.backward(x, grad, positions, out, chain)
    return out


def farthest(
    device: torch.device, chain: Any, plain: Callable[[Tensor, Any], Tensor], empty: Callable[..., Any]
) -> float:
    """Returns how far values and gradient of a chain are from those of its twin in float64 on the CPU.

    Args:
        plain: the twin.
        empty: makes the outputs of a chain.
    """
    count = 2 * 12 * 7 * 6
    values = (3.0 * torch.sin(torch.arange(float(count)) * 1.7)).view(TRIAL_SHAPE)
    exact = values.double().requires_grad_()
    expected = plain(exact, chain)
    gradient = torch.cos(torch.arange(float(expected.numel()))).view(expected.shape)
    (slope,) = torch.autograd.grad(expected, exact, gradient.double())
    x = values.to(device).contiguous(memory_format=torch.channels_last)
    out, positions = empty(x, chain)
    forward(x, out, positions, chain)
    found = backward(x, gradient.to(device), positions, chain)
    return max(difference(out, expected), difference(found, slope))

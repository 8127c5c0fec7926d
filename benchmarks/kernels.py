"""The compiled loops beside PyTorch's layers: forward and backward, float32, one process, interleaved.

    python benchmarks/kernels.py [--quick] [--threads 2] [--out FILE]

"plain" is nn.LocalResponseNorm (whole maps, NCHW), the formula of the within-map norm, nn.MaxPool2d and ReLU as
written, "ours" is the operator on channels_last maps. Freed memory stays with the process for both, so this compares
the loops, not the allocator (benchmarks/step.py compares that too).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring import interleaved, report
from torch import Tensor, nn

from alexnet.kernels.device import keep_memory
from alexnet.kernels.operators import Chain, momentum_step, run_chain

Maps = Callable[[Tensor], Tensor]
LRN = {"lrn_size": 5, "lrn_scale": 2e-5, "lrn_k": 2.0, "towers": 2}
POOL = {"pool": 3, "stride": 2, "ceil": True}
SHAPES = {1: (96, 55, 55), 2: (256, 27, 27)}
plain_lrn = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)


def plain_map_norm(x: Tensor) -> Tensor:
    """Within-map norm as its formula."""
    return x * (1 + 0.001 * F.avg_pool2d(x * x, 5, 1, 2)) ** -0.75


def plain_first(x: Tensor) -> Tensor:
    """Layer 1 of net 145 after its convolution."""
    return F.relu(F.max_pool2d(plain_lrn(x), 3, 2, ceil_mode=True))


def plain_second(x: Tensor) -> Tensor:
    """Layer 2 of net 145 after its convolution."""
    return F.max_pool2d(plain_map_norm(plain_lrn(F.relu(x))), 3, 2, ceil_mode=True)


CASES: list[tuple[str, int, Maps, Chain]] = [
    ("LRN", 1, plain_lrn, Chain(**LRN)),
    ("LRN", 2, plain_lrn, Chain(**LRN)),
    ("within-map norm", 2, plain_map_norm, Chain(map_size=5, map_scale=4e-5)),
    ("LRN, pool, ReLU", 1, plain_first, Chain(**LRN, **POOL, relu_last=True)),
    ("ReLU, LRN, map norm, pool", 2, plain_second, Chain(**LRN, **POOL, relu_first=True, map_size=5, map_scale=4e-5)),
]


def both_ways(run: Maps, x: Tensor) -> Callable[[], float]:
    """Seconds of a forward and a backward pass."""
    x = x.requires_grad_()
    with torch.no_grad():
        grad = torch.randn_like(run(x))

    def once() -> float:
        start = time.perf_counter()
        torch.autograd.grad(run(x), x, grad)
        return time.perf_counter() - start

    return once


def forward_only(run: Maps, x: Tensor) -> Callable[[], float]:
    """Seconds of a forward pass."""

    def once() -> float:
        with torch.no_grad():
            start = time.perf_counter()
            run(x)
            return time.perf_counter() - start

    return once


def chains(batch: int, rounds: int) -> list[dict[str, Any]]:
    """Every case at one batch size."""
    rows = []
    for name, layer, plain, chain in CASES:
        shape = (batch, *SHAPES[layer])
        x = torch.randn(shape)
        last = x.contiguous(memory_format=torch.channels_last)
        for what, timed in (("forward", forward_only), ("forward + backward", both_ways)):

            def ours(x: Tensor, chain: Chain = chain) -> Tensor:
                return run_chain(x, chain)

            seconds = interleaved({"plain": timed(plain, x), "ours": timed(ours, last)}, rounds)
            rows.append(row(f"{name} {shape}", what, seconds))
    return rows


def update(rounds: int) -> dict[str, Any]:
    """The update of 2012 of 61 million weights: four passes of torch._foreach, and one."""
    weight = torch.randn(61_000_000).requires_grad_()
    weight.grad, buffer = torch.randn(61_000_000), torch.zeros(61_000_000)

    @torch.no_grad()
    def plain() -> float:
        start = time.perf_counter()
        torch._foreach_mul_([buffer], 0.9)
        torch._foreach_add_([buffer], [weight.grad], alpha=-1e-4)
        torch._foreach_add_([buffer], [weight], alpha=-5e-8)
        torch._foreach_add_([weight], [buffer])
        return time.perf_counter() - start

    def ours() -> float:
        start = time.perf_counter()
        momentum_step(weight, buffer, 0.9, 1e-4, 0.0005)
        return time.perf_counter() - start

    return row("SGD of 2012, 61 M weights", "update", interleaved({"plain": plain, "ours": ours}, rounds))


def row(case: str, what: str, seconds: dict[str, float]) -> dict[str, Any]:
    """One line of the table."""
    plain, ours = seconds["plain"], seconds["ours"]
    return {"case": case, "pass": what, "plain ms": plain * 1e3, "ours ms": ours * 1e3, "ratio": plain / ours}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batch 8 and 3 rounds, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    rounds = 3 if options.quick else 9
    rows = [line for batch in ((8,) if options.quick else (32, 128)) for line in chains(batch, rounds)]
    report("kernels", [*rows, update(rounds)], options.out)

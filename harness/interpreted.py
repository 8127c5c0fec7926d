"""Runs the Triton kernels on the CPU, in Triton's interpreter, beside their twins in PyTorch.

`python -m harness.interpreted` writes a line of JSON for each case: its name, and how far values and gradient are from
the twin in float64, as a share of it. A process of its own, because kernels are interpreted only if
TRITON_INTERPRET is set before they are defined.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import torch
from triton.runtime import interpreter

from alexnet.kernels import triton_chain, triton_momentum
from alexnet.kernels.card_chain import backward
from alexnet.kernels.momentum import plain_momentum_step, update_trial
from alexnet.kernels.operators import Chain, _empty_outputs, plain_chain
from alexnet.kernels.triton_choice import difference

NORM = Chain(lrn_size=5, lrn_scale=0.02, lrn_k=2.0, towers=2)
POOLED = replace(NORM, pool=3, stride=2, ceil=True)
MAP = Chain(map_size=5, map_scale=0.004)
CHAINS = {
    "layer 1 of net 145": replace(POOLED, relu_last=True),
    "layer 2 of net 145": replace(POOLED, relu_first=True, map_size=5, map_scale=0.004),
    "LRN": NORM,
    "ReLU, LRN of one tower": replace(NORM, relu_first=True, towers=1, lrn_k=1.0),
    "ReLU, LRN, map norm": replace(NORM, relu_first=True, map_size=5, map_scale=0.004),
    "map norm": MAP,
    "ReLU, map norm, pooling of 2": replace(MAP, relu_first=True, pool=2, stride=2),
    "pooling, ReLU": Chain(pool=3, stride=2, relu_last=True),
    "ReLU, pooling beyond the border": Chain(relu_first=True, pool=3, stride=2, ceil=True),
    "windows that overlap by two": Chain(pool=3, stride=1),
    "windows with gaps": Chain(pool=2, stride=3),
    "ReLU": Chain(relu_first=True),
}
SHAPES = {"map norm": (1, 3, 7, 6), "ReLU, LRN of one tower": (2, 7, 2, 3), "LRN": (1, 12, 3, 2)}
SHAPE = (1, 6, 5, 4)


def quickly() -> None:
    """Lets the interpreter put its functions in the place of Triton's once a launch, not at every inner call."""
    whole, launch, done = interpreter._patch_lang, interpreter.GridExecutor.__call__, set[int]()

    class Nothing:
        def restore(self) -> None:
            pass

    def once(function: Any) -> Any:
        if id(function.__globals__) in done:
            return Nothing()
        done.add(id(function.__globals__))
        return whole(function)

    def begin(self: Any, *arguments: Any, **named: Any) -> Any:
        done.clear()
        return launch(self, *arguments, **named)

    interpreter._patch_lang, interpreter.GridExecutor.__call__ = once, begin


def maps(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Normal numbers around zero, channels_last."""
    values = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.contiguous(memory_format=torch.channels_last)


def both_ways(chain: Chain, x: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and gradient by the kernels; what they do not write is NaN."""
    out, positions = _empty_outputs(x, chain)
    out.fill_(math.nan)
    triton_chain.forward(x, out, positions, chain)
    return out, backward(x, grad, positions, chain)


def distances(chain: Chain, shape: tuple[int, ...], dtype: torch.dtype) -> list[float]:
    """How far values and gradient of a chain are from the twin in float64."""
    x = maps(shape, 0).to(dtype)
    exact = x.double().requires_grad_()
    expected = plain_chain(exact, chain)
    grad = maps(tuple(expected.shape), 1).to(dtype)
    (slope,) = torch.autograd.grad(expected, exact, grad.double())
    out, found = both_ways(chain, x, grad)
    assert out.dtype == found.dtype == dtype
    return [difference(out, expected), difference(found, slope)]


def ties_and_nan() -> list[float]:
    """Pooling where several values are the largest, and where one is not a number: positions as PyTorch has them."""
    chain = Chain(pool=3, stride=2)
    x = torch.tensor([0.0, 1.0, 2.0])[torch.arange(60) * 7 % 3].view(1, 3, 4, 5)
    x[0, 1, 1, 1] = math.nan
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = plain_chain(x, chain)
    grad = maps(tuple(expected.shape), 2)
    (slope,) = torch.autograd.grad(expected, x, grad)
    out, found = both_ways(chain, x.detach(), grad)
    same = torch.equal(out.nan_to_num(7.0), expected.nan_to_num(7.0)) and torch.equal(found, slope)
    return [0.0 if same else 1.0]


def updates() -> list[float]:
    """The update of weights of several sizes, one of them exactly a block, with rates of their own."""
    worst = [update_trial(torch.device("cpu"))]
    for stopped in (0.0, 1.0):
        flag, random = torch.tensor(stopped), torch.Generator().manual_seed(3)
        for count in (1, triton_momentum.BLOCK - 1, triton_momentum.BLOCK, triton_momentum.BLOCK + 1):
            found, exact = [], []
            for rate, decay in ((0.1, 0.0), (1e-4, 0.3), (0.0, 0.0005)):
                weight, grad, buffer = torch.randn(3, count, generator=random)
                for steps, kind in ((found, torch.float32), (exact, torch.float64)):
                    w, v = weight.to(kind, copy=True), buffer.to(kind, copy=True)
                    w.grad = grad.to(kind, copy=True) if not stopped else torch.full_like(w, math.nan)
                    steps.append((w, v, 0.9, rate, decay))
            triton_momentum.fused_momentum_steps(found, flag)
            for step, answer in zip(found, exact, strict=True):
                plain_momentum_step(answer, flag)
                worst.append(max(difference(step[i], answer[i]) for i in (0, 1)))
    return [max(worst)]


def cases() -> Iterator[tuple[str, Callable[[], list[float]]]]:
    """Name and measurement of every case."""
    for name, chain in CHAINS.items():
        shape = SHAPES.get(name, SHAPE)
        yield name, lambda chain=chain, shape=shape: distances(chain, shape, torch.float32)
    for name in ("layer 1 of net 145", "ReLU, map norm, pooling of 2"):
        yield f"{name}, bfloat16", lambda name=name: distances(CHAINS[name], (1, 4, 4, 3), torch.bfloat16)
    yield "ties and NaN", ties_and_nan
    yield "updates", updates


if __name__ == "__main__":
    quickly()
    torch.set_num_threads(1)
    for name, measure in cases():
        print(json.dumps([name, measure()]), flush=True)

"""Compiles the Triton kernels for a card that is not there, as they are launched for the network of 2012.

`python -m harness.compiled_kernels` writes a line of JSON for each kernel and setting: what it is, and how many bytes
of code there are for the card. It needs Triton, whose wheel has the assembler, and no device.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from alexnet.kernels import triton_chain, triton_momentum
from alexnet.kernels.operators import Chain, _empty_outputs

TARGET = GPUTarget("cuda", 90, 32)
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.uint8: "*u8", torch.int64: "*i64"}
FIRST = Chain(lrn_size=5, lrn_scale=2e-5, lrn_k=2.0, towers=2, pool=3, stride=2, ceil=True, relu_last=True)
SECOND = replace(FIRST, relu_first=True, map_size=5, map_scale=4e-5, relu_last=False)
SETTINGS = {
    "layer 1": (FIRST, (2, 96, 55, 55)),
    "layer 2": (SECOND, (2, 256, 27, 27)),
    "pool5": (Chain(relu_first=True, pool=3, stride=2), (2, 256, 13, 13)),
}


class Launches:
    """Takes the place of a kernel and keeps how it is launched, without launching it."""

    def __init__(self, kernel: Any):
        self.kernel, self.seen = kernel, list[tuple[Any, ...]]()

    def __getitem__(self, grid: Any) -> Any:
        def keep(*values: Any, **named: Any) -> None:
            self.seen.append((*values, *named.values()))

        return keep


def compiled(kernel: Any, values: tuple[Any, ...]) -> int:
    """Compiles one launch down to machine code and returns its bytes."""
    signature, constants = {}, {}
    for parameter, value in zip(kernel.params, values, strict=True):
        if parameter.is_constexpr:
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return len(triton.compile(source, target=TARGET).asm["cubin"])


def launches() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """What is launched for a step: setting, kernel and its arguments."""
    names = ("forward_kernel", "lrn_backward_kernel", "map_terms_kernel", "map_backward_kernel")
    for name, (chain, shape) in SETTINGS.items():
        for dtype in (torch.float32, torch.bfloat16):
            spies = {kernel: Launches(getattr(triton_chain, kernel)) for kernel in names}
            with patch.multiple(triton_chain, **spies):
                x = torch.empty(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
                out, places = _empty_outputs(x, chain)
                triton_chain.forward(x, out, places, chain)
                triton_chain.backward(x, out, places, torch.empty_like(x), chain)
            for kernel, spy in spies.items():
                for values in spy.seen:
                    yield f"{name}, {str(dtype).removeprefix('torch.')}, {kernel}", spy.kernel, values
    spy = Launches(triton_momentum.momentum_kernel)
    with patch.object(triton_momentum, "momentum_kernel", spy):
        w = torch.zeros(5)
        w.grad = torch.zeros(5)
        triton_momentum.fused_momentum_steps([(w, torch.zeros(5), 0.9, 0.1, 0.0)], torch.zeros(()))
    yield "update, float32, momentum_kernel", spy.kernel, spy.seen[0]


if __name__ == "__main__":
    for name, kernel, values in launches():
        if len(sys.argv) < 2 or any(word in name for word in sys.argv[1:]):
            print(json.dumps([name, compiled(kernel, values)]), flush=True)

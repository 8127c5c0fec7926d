"""ReLU - LRN - within-map normalization - max pooling - ReLU as one operator, and the update of 2012 as one pass.

Each stage of the chain may be left out. On a CPU in float32 the operator is a compiled loop (see `norm_pool_loops`)
that reads and writes the feature maps once; on a CUDA card it is Triton kernels (`triton_chain`). On other devices, in
other precisions, without numba or Triton, and in an exported network, the same formulas run in PyTorch, with gradients
in closed form. In all cases the backward pass needs only the input and, where it is compiled, one byte for each pooled
value.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.kernels import card_chain
from alexnet.kernels.triton_choice import trusted
from alexnet.kernels.ways import chosen

# The fields of a chain in the order in which the operators take them; beta is always 3/4 there.
STAGES = (
    "bool relu_first, int lrn_size, float lrn_scale, float lrn_k, int towers, int map_size, float map_scale, "
    "int pool, int stride, bool ceil, bool relu_last"
)
NAMES = tuple(stage.split()[1] for stage in STAGES.split(", "))

# Only one compiled loop runs at a time: where OpenMP is missing, numba uses its own thread pool, which ends the process
# if two Python threads enter it at the same time.
LOCK = threading.Lock()

LONG = 64  # a window longer than this is cut to the axis; a shorter one is not, since that changes the last bits


@dataclass(frozen=True)
class Chain:
    """The operations on the feature maps, in this order; a size of 0 leaves a stage out."""

    relu_first: bool = False
    lrn_size: int = 0  # a (k + scale * sum of a_j^2 over so many channels of the tower) ^ -beta
    lrn_scale: float = 0.0
    lrn_k: float = 1.0
    towers: int = 1
    map_size: int = 0  # a (1 + scale * sum of a^2 over map_size x map_size pixels of its channel) ^ -beta
    map_scale: float = 0.0
    beta: float = 0.75  # of both normalizations
    pool: int = 0
    stride: int = 1
    ceil: bool = False  # whether a pooling window that extends beyond the border counts
    relu_last: bool = False

    def pooled(self, side: int) -> int:
        """Returns the pixels along one side after the chain; as in PyTorch, every window starts inside the input."""
        if not self.pool:
            return side
        windows = 1 + (side - self.pool + (self.stride - 1 if self.ceil else 0)) // self.stride
        return windows - (self.ceil and (windows - 1) * self.stride >= side)


def run_chain(x: Tensor, chain: Chain) -> Tensor:
    """Applies a chain: (N, C, H, W) to (N, C, H', W')."""
    if (way := chosen(plain_chain)) is not None:
        return cast(Tensor, way(x, chain))
    on_card = x.device.type == "cuda" and card_chain.fits(x, chain) and trusted(x.device, chain_trial)
    if on_card or is_compiled(x, chain):
        if is_plain_call(x):
            return (_card_forward if on_card else _forward)(x, chain)[0]
        return cast(Tensor, norm_chain(x, *(getattr(chain, name) for name in NAMES))[0])
    return plain_chain(x, chain)


def plain_chain(x: Tensor, chain: Chain) -> Tensor:
    """Applies a chain with the operations of PyTorch, as everywhere where no loop and no kernel is compiled."""
    if chain.relu_first:
        x = F.relu(x)
    if chain.lrn_size:
        # In an exported network len() would be a constant, although the batch may have any size.
        per_tower = x.view(x.shape[0], chain.towers, x.shape[1] // chain.towers, *x.shape[2:])
        x = _power_norm(per_tower, chain.lrn_size, False, chain.lrn_scale, chain.lrn_k, chain.beta).flatten(1, 2)
    if chain.map_size:
        x = _power_norm(x, chain.map_size, True, chain.map_scale, 1.0, chain.beta)
    if chain.pool:
        x = F.max_pool2d(x, chain.pool, chain.stride, ceil_mode=chain.ceil)
    return F.relu(x) if chain.relu_last else x


def is_compiled(x: Tensor, chain: Chain) -> bool:
    """Whether the compiled loop can run this chain on this tensor."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and chain.beta == 0.75
        and {chain.lrn_size, chain.map_size} <= {0, 5}
        and chain.pool < 16  # positions in a window fit into a byte, and 255 stays free
        and (not chain.pool or min(chain.pooled(side) for side in x.shape[-2:]) > 0)
        and not torch.compiler.is_exporting()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and compiled() is not None
    )


def is_plain_call(x: Tensor) -> bool:
    """Whether no gradient and no tracing is needed, so that the loop may be called without PyTorch's dispatcher.

    The first call through the dispatcher imports torch._dynamo, which would slow down the first prediction.
    """
    needs_gradient = x.requires_grad and torch.is_grad_enabled()
    return type(x) is Tensor and not needs_gradient and not torch.compiler.is_compiling()


@lru_cache
def compiled() -> ModuleType | None:
    """Returns the module of compiled loops, or None if numba is not installed."""
    try:
        from alexnet.kernels import norm_pool_loops as module
    except ImportError:
        return None
    return module


def momentum_step(weight: Tensor, buffer: Tensor, momentum: float, rate: float, decay: float) -> bool:
    """Updates v <- momentum v - rate (gradient + decay w); w <- w + v, in one pass, if w, v and the gradient allow it.

    They must be float32 on the CPU and have the same dense memory layout.

    Returns:
        Whether it was done; if not, nothing has changed.
    """
    gradient = weight.grad
    tensors = [t.detach() for t in (weight, gradient, buffer) if t is not None]
    module = compiled()
    if module is None or len(tensors) < 3 or any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return False
    if len({t.stride() for t in tensors}) > 1 or not torch.ops.aten.is_non_overlapping_and_dense(weight):
        return False
    flat = [t.as_strided((t.numel(),), (1,)).numpy() for t in tensors]
    with LOCK:
        _set_threads(module)
        with np.errstate(over="ignore"):  # an infinite rate shows itself in the next loss
            numbers = [np.float32(number) for number in (momentum, rate, decay)]
        module.momentum_step(*flat, *numbers)
    return True


@torch.library.custom_op(
    "alexnet::norm_chain", mutates_args=(), device_types="cpu", schema=f"(Tensor x, {STAGES}) -> (Tensor, Tensor)"
)
def norm_chain(x: Tensor, *stages: Any) -> tuple[Tensor, Tensor]:
    """Applies the chain; returns its result and the position of each maximum in its window, both channels_last."""
    return _forward(x, _chain(stages))


def _forward(x: Tensor, chain: Chain) -> tuple[Tensor, Tensor]:
    module = compiled()
    assert module is not None
    out, positions = _empty_outputs(x, chain)
    with LOCK:
        floors = (_relu_floor(chain.relu_first), _relu_floor(chain.relu_last))
        arrays = (_channels_last(x), _channels_last(out), _channels_last(positions))
        module.chain(*arrays, floors, *_loop_arguments(chain), _set_threads(module))
    return out, positions


@norm_chain.register_kernel("cuda")
def _(x: Tensor, *stages: Any) -> tuple[Tensor, Tensor]:
    return _card_forward(x, _chain(stages))


def _card_forward(x: Tensor, chain: Chain) -> tuple[Tensor, Tensor]:
    out, positions = _empty_outputs(x, chain)
    card_chain.forward(x, out, positions, chain)
    return out, positions


def chain_trial(device: torch.device) -> float:
    """Returns how far the kernels of a card are from `plain_chain`, for the two chains of the network of 2012."""
    first = Chain(lrn_size=5, lrn_scale=0.02, lrn_k=2.0, towers=2, pool=3, stride=2, ceil=True, relu_last=True)
    second = replace(first, relu_first=True, map_size=5, map_scale=0.004, relu_last=False)
    return max(card_chain.farthest(device, chain, plain_chain, _empty_outputs) for chain in (first, second))


@norm_chain.register_fake
def _(x: Tensor, *stages: Any) -> tuple[Tensor, Tensor]:
    return _empty_outputs(x, _chain(stages))


@torch.library.custom_op(
    "alexnet::norm_chain_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor x, Tensor grad, Tensor positions, {STAGES}) -> Tensor",
)
def norm_chain_backward(x: Tensor, grad: Tensor, positions: Tensor, *stages: Any) -> Tensor:
    """Computes the gradient of `norm_chain` for x, channels_last."""
    chain, module = _chain(stages), compiled()
    assert module is not None
    out = torch.empty_like(x, memory_format=torch.channels_last)
    with LOCK:
        arrays = (_channels_last(x), _channels_last(grad), _channels_last(positions), _channels_last(out))
        module.chain_backward(*arrays, _relu_floor(chain.relu_first), *_loop_arguments(chain), _set_threads(module))
    return out


@norm_chain_backward.register_kernel("cuda")
def _(x: Tensor, grad: Tensor, positions: Tensor, *stages: Any) -> Tensor:
    return card_chain.backward(x, grad, positions, _chain(stages))


@norm_chain_backward.register_fake
def _(x: Tensor, grad: Tensor, positions: Tensor, *stages: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def _save_input(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, *ctx.stages = inputs
    ctx.save_for_backward(x, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    x, positions = ctx.saved_tensors
    gradient = None if grad is None else norm_chain_backward(x, grad, positions, *ctx.stages)
    return (gradient, *(None for _ in ctx.stages))


norm_chain.register_autograd(_backward, setup_context=_save_input)


def _power_norm(x: Tensor, *numbers: Any) -> Tensor:
    return cast(Tensor, _PowerNorm.apply(x, *numbers))


class _PowerNorm(torch.autograd.Function):
    """Computes b = a d ^ -beta with d = k + scale * (sum of a^2 over a window), in float32 or better.

    db_j / da_i is d_i ^ -beta for i = j, and -2 beta scale a_i a_j d_j ^ (-beta - 1) for each i in the window of j. So
    da = g d ^ -beta - 2 beta scale a * (sum of g a d ^ (-beta - 1) over the mirrored window).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, planar: bool, scale: float, k: float, beta: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.numbers = size, planar, scale, k, beta
        a = _at_least_float32(x)
        d = (_window_sums(a * a, size, planar) * scale).add_(k)
        return a.mul(d.pow_(-beta)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (size, planar, scale, k, beta) = ctx.saved_tensors, ctx.numbers
        a, g = _at_least_float32(x), _at_least_float32(grad)
        d = _window_sums(a * a, size, planar) * scale + k
        direct = g * d**-beta
        sums = _window_sums(direct * a / d, size, planar, mirrored=True)
        return (direct - 2.0 * beta * scale * a * sums).to(x.dtype), None, None, None, None, None


def _window_sums(a: Tensor, size: int, planar: bool, *, mirrored: bool = False) -> Tensor:
    """Sums windows of `size` channels, or of `size` x `size` pixels (`planar`); size // 2 of them come before.

    A window of even size therefore reaches one further to the front, as in 2012: from f - size / 2 to f + size / 2 - 1
    (cuda-convnet, kFCNorm and kRNorm). Its mirror image, which the backward pass needs, reaches further to the back.
    """
    length = max(a.shape[-2:]) if planar else a.shape[-3]
    size, before, after = _clipped_window(size, length, mirrored)
    if planar:  # zeros outside count in the divisor, so the mean times size^2 is the sum of the clipped window
        if before != after:
            a, before = F.pad(a, (before, after, before, after)), 0
        return F.avg_pool2d(a, size, stride=1, padding=before, count_include_pad=True) * float(size * size)
    padded, channels = F.pad(a, (0, 0, 0, 0, before, after)), a.shape[-3]
    total = padded.narrow(-3, 0, channels).clone()
    for j in range(1, size):
        total = total + padded.narrow(-3, j, channels)
    return total


def _clipped_window(size: int, length: int, mirrored: bool) -> tuple[int, int, int]:
    """Returns the size of a window and how many of it come before and after its center, without what is never inside.

    Args:
        length: of the axis; no window needs to reach further than length - 1 to either side.
    """
    before, after = size // 2, size - 1 - size // 2
    if size > LONG and after >= length:  # every window holds the whole axis, whatever its size
        before = after = length - 1
    if mirrored:
        before, after = after, before
    return before + 1 + after, before, after


def _at_least_float32(a: Tensor) -> Tensor:
    return a.float() if a.dtype in (torch.float16, torch.bfloat16) else a


def _chain(stages: Sequence[Any]) -> Chain:
    return Chain(**dict(zip(NAMES, stages, strict=True)))


def _loop_arguments(chain: Chain) -> tuple[Any, ...]:
    """Returns the fields of a chain as the loops in `alexnet.kernels.norm_pool_loops` take them."""
    lrn = (chain.lrn_size > 0, np.float32(chain.lrn_scale), np.float32(chain.lrn_k), chain.towers)
    return (*lrn, chain.map_size > 0, np.float32(chain.map_scale), chain.pool, chain.stride)


def _relu_floor(relu: bool) -> np.float32:
    """Returns the lowest value that passes: 0 with ReLU, -inf without."""
    return np.float32(0.0 if relu else -np.inf)


def _empty_outputs(x: Tensor, chain: Chain) -> tuple[Tensor, Tensor]:
    n, c, h, w = x.shape
    shape = (n, c, chain.pooled(h), chain.pooled(w))
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    positions_shape = shape if chain.pool else (0, 0, 0, 0)
    return out, torch.empty(positions_shape, dtype=torch.uint8, device=x.device, memory_format=torch.channels_last)


def _channels_last(x: Tensor) -> Any:
    """Returns (N, C, H, W) as a contiguous array (N, H, W, C), without a copy if x is channels_last."""
    return x.detach().permute(0, 2, 3, 1).contiguous().numpy()


def _set_threads(module: ModuleType) -> int:
    """Makes numba use as many threads as PyTorch, and returns their number.

    At its first call numba starts its OpenMP threads and, as a side effect, changes the number of OpenMP threads of the
    whole process. The last bits of PyTorch's sums depend on that number, so it is restored.
    """
    torch_threads = torch.get_num_threads()
    count = min(torch_threads, int(module.numba.config.NUMBA_NUM_THREADS))
    module.numba.set_num_threads(count)
    if torch.get_num_threads() != torch_threads:
        torch.set_num_threads(torch_threads)
    return count

"""The chain ReLU - LRN - within-map normalization - max pooling - ReLU in Triton; imported only where Triton is.

All feature maps are (N, H, W, C) in memory, so the channels of a pixel are adjacent. A program computes some adjacent
pixels and all channels of one tower. Values are read as they are stored and summed in float32. The backward pass reads
the input again and recomputes what it needs; each number of the gradient gathers its parts in a fixed order, so there
is no atomic addition, and the same input gives the same bytes.

With both normalizations the one within maps needs its neighbors complete, so LRN is written to memory first.
"""

# Triton reads the annotations of a kernel as names of its own, so kernels have none but constexpr.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators, allow-incomplete-defs

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

PIXELS = 64  # that one program computes, at most
VALUES = 512  # that one program computes, at most: few for each thread, so that the code is short
INDEPENDENT = 128  # channels that one program computes where none needs its neighbors, at most


@triton.jit
def _pixels(count, H: tl.constexpr, W: tl.constexpr, PIXELS: tl.constexpr):
    """Image, row and column of the pixels of this program, each (P, 1), and which of them there are."""
    place = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)[:, None]
    return (place // (H * W)).to(tl.int64), place // W % H, place % W, place < count


@triton.jit
def _read(x, pixel, inside, channel, first, last, RELU: tl.constexpr):
    """Values at pixels (P, 1) and channels (1, C) of a tower, as float32; 0 outside of either."""
    mask = inside & (channel >= first) & (channel < last)
    value = tl.load(x + pixel + channel, mask=mask, other=0.0).to(tl.float32)
    if RELU:
        value = tl.where(value <= 0.0, 0.0, value)  # NaN stays NaN
    return value


@triton.jit
def _lrn_sum(x, pixel, inside, channel, first, last, RELU: tl.constexpr):
    """Sums of squares over five channels of the tower around each."""
    total = tl.zeros_like(pixel + channel).to(tl.float32)
    for step in tl.static_range(-2, 3):
        value = _read(x, pixel, inside, channel + step, first, last, RELU)
        total += value * value
    return total


@triton.jit
def _map_sum(
    x, image, i, j, inside, channel, first, last,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, RELU: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    """Sums over five times five pixels around (i, j), of squares or as they are."""
    total = tl.zeros_like(j + channel).to(tl.float32)
    for window in range(25):  # a loop of the card: unrolled it would take a minute to compile
        y, z = i + (window // 5 - 2), j + (window % 5 - 2)
        there = inside & (y >= 0) & (y < H) & (z >= 0) & (z < W)
        value = _read(x, ((image * H + y) * W + z) * C, there, channel, first, last, RELU)
        total += value * value if SQUARE else value
    return total


@triton.jit
def _normed(
    x, image, i, j, inside, channel, first, last, scale, k,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, RELU: tl.constexpr, LRN: tl.constexpr, MAP: tl.constexpr,
):  # fmt: skip
    """Values at pixels (i, j) after ReLU and one of the normalizations, or none."""
    pixel = ((image * H + i) * W + j) * C
    value = _read(x, pixel, inside, channel, first, last, RELU)
    if LRN:
        root = tl.rsqrt(k + scale * _lrn_sum(x, pixel, inside, channel, first, last, RELU))
        value = value * root * tl.sqrt(root)
    if MAP:
        total = _map_sum(x, image, i, j, inside, channel, first, last, H, W, C, RELU, True)
        root = tl.rsqrt(k + scale * total)
        value = value * root * tl.sqrt(root)
    return value


@triton.jit
def forward_kernel(
    x, out, places, scale, k, pixels,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    TOWERS: tl.constexpr, RELU: tl.constexpr, LRN: tl.constexpr, MAP: tl.constexpr, POOL: tl.constexpr,
    STRIDE: tl.constexpr, LAST: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Writes some pixels of the output, and with pooling where in its window each maximum is."""
    image, i, j, inside = _pixels(pixels, ROWS, COLUMNS, PIXELS)
    tower = tl.program_id(1)
    first, last = tower * (C // TOWERS), (tower + 1) * (C // TOWERS)
    channel = first + tl.arange(0, CHANNELS)[None, :]
    written = inside & (channel < last)
    if POOL == 0:
        best = _normed(x, image, i, j, inside, channel, first, last, scale, k, H, W, C, RELU, LRN, MAP)
    else:
        y, z = i * STRIDE, j * STRIDE
        best = _normed(x, image, y, z, inside, channel, first, last, scale, k, H, W, C, RELU, LRN, MAP)
        place = tl.zeros_like(j + channel)
        for window in tl.static_range(1, POOL * POOL):
            down, right = y + window // POOL, z + window % POOL
            there = inside & (down < H) & (right < W)
            value = _normed(x, image, down, right, there, channel, first, last, scale, k, H, W, C, RELU, LRN, MAP)
            larger = there & ((value > best) | (value != value))  # as in PyTorch the first maximum counts, and NaN wins
            best, place = tl.where(larger, value, best), tl.where(larger, window, place)
    target = ((image * ROWS + i) * COLUMNS + j) * C + channel
    if LAST:
        if POOL > 0:
            place = tl.where(best <= 0.0, 255, place)
        best = tl.where(best <= 0.0, 0.0, best)
    tl.store(out + target, best.to(out.dtype.element_ty), mask=written)
    if POOL > 0:
        tl.store(places + target, place.to(tl.uint8), mask=written)


@triton.jit
def _gradient(
    grad, places, image, i, j, inside, channel, first, last,
    C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, POOL: tl.constexpr, STRIDE: tl.constexpr,
):  # fmt: skip
    """The gradient at pixels (i, j) before pooling: the sum over the windows whose maximum they are."""
    if POOL == 0:
        total = _read(grad, ((image * ROWS + i) * COLUMNS + j) * C, inside, channel, first, last, False)
    else:
        total = tl.zeros_like(j + channel).to(tl.float32)
        for down in tl.static_range(0, (POOL + STRIDE - 1) // STRIDE):
            for right in tl.static_range(0, (POOL + STRIDE - 1) // STRIDE):
                y, z = i // STRIDE - down, j // STRIDE - right
                a, b = i - y * STRIDE, j - z * STRIDE  # where in that window the pixel is
                there = inside & (y >= 0) & (y < ROWS) & (z >= 0) & (z < COLUMNS) & (a < POOL) & (b < POOL)
                there = there & (channel >= first) & (channel < last)
                source = ((image * ROWS + y) * COLUMNS + z) * C + channel
                place = tl.load(places + source, mask=there, other=255).to(tl.int32)
                value = tl.load(grad + source, mask=there, other=0.0).to(tl.float32)
                total += tl.where(place == a * POOL + b, value, 0.0)
    return total


@triton.jit
def lrn_backward_kernel(
    x, grad, places, out, scale, k, pixels,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    TOWERS: tl.constexpr, RELU: tl.constexpr, LRN: tl.constexpr, POOL: tl.constexpr, STRIDE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Writes the gradient for x of ReLU, LRN and pooling, of which each may be missing.

    With d = k + scale * sum a_j^2:  da_i = g_i d_i ^ -3/4 - 3/2 scale a_i * sum of g_j a_j d_j ^ -7/4.
    """
    image, i, j, inside = _pixels(pixels, H, W, PIXELS)
    tower = tl.program_id(1)
    first, last = tower * (C // TOWERS), (tower + 1) * (C // TOWERS)
    channel = first + tl.arange(0, CHANNELS)[None, :]
    pixel = ((image * H + i) * W + j) * C
    value = _read(x, pixel, inside, channel, first, last, RELU)
    result = _gradient(grad, places, image, i, j, inside, channel, first, last, C, ROWS, COLUMNS, POOL, STRIDE)
    if LRN:
        total, direct = tl.zeros_like(result), tl.zeros_like(result)
        for step in tl.static_range(-2, 3):
            near = channel + step
            g = _gradient(grad, places, image, i, j, inside, near, first, last, C, ROWS, COLUMNS, POOL, STRIDE)
            a = _read(x, pixel, inside, near, first, last, RELU)
            root = tl.rsqrt(k + scale * _lrn_sum(x, pixel, inside, near, first, last, RELU))
            here = g * root * tl.sqrt(root)
            if step == 0:
                direct = here
            total += tl.where((near >= first) & (near < last), here * root * root * a, 0.0)
        result = direct - 1.5 * scale * value * total
    if RELU:
        stored = _read(x, pixel, inside, channel, first, last, False)
        result = tl.where(stored <= 0.0, 0.0, result)
    tl.store(out + pixel + channel, result.to(out.dtype.element_ty), mask=inside & (channel < last))


@triton.jit
def map_terms_kernel(
    x, grad, places, direct, terms, scale, pixels,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    RELU: tl.constexpr, POOL: tl.constexpr, STRIDE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Writes g d ^ -3/4 and g a d ^ -7/4 of the normalization within maps, in float32."""
    image, i, j, inside = _pixels(pixels, H, W, PIXELS)
    block = tl.program_id(1)
    channel = block * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    pixel = ((image * H + i) * W + j) * C
    value = _read(x, pixel, inside, channel, 0, C, RELU)
    root = tl.rsqrt(1.0 + scale * _map_sum(x, image, i, j, inside, channel, 0, C, H, W, C, RELU, True))
    g = _gradient(grad, places, image, i, j, inside, channel, 0, C, C, ROWS, COLUMNS, POOL, STRIDE)
    g = g * root * tl.sqrt(root)
    mask = inside & (channel < C)
    tl.store(direct + pixel + channel, g, mask=mask)
    tl.store(terms + pixel + channel, g * root * root * value, mask=mask)


@triton.jit
def map_backward_kernel(
    x, direct, terms, out, scale, pixels,
    H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, RELU: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Writes the gradient for x of ReLU and the normalization within maps from what `map_terms_kernel` wrote."""
    image, i, j, inside = _pixels(pixels, H, W, PIXELS)
    block = tl.program_id(1)
    channel = block * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    pixel = ((image * H + i) * W + j) * C
    value = _read(x, pixel, inside, channel, 0, C, RELU)
    total = _map_sum(terms, image, i, j, inside, channel, 0, C, H, W, C, False, False)
    result = _read(direct, pixel, inside, channel, 0, C, False) - 1.5 * scale * value * total
    if RELU:
        stored = _read(x, pixel, inside, channel, 0, C, False)
        result = tl.where(stored <= 0.0, 0.0, result)
    tl.store(out + pixel + channel, result.to(out.dtype.element_ty), mask=inside & (channel < C))


def forward(x: Tensor, out: Tensor, places: Tensor, chain: Any) -> None:
    """Applies a chain to x and writes the result and the positions of the maxima; all channels_last, on one device.

    Args:
        chain: an `alexnet.kernels.operators.Chain` with beta 3/4 and normalizations over five.
    """
    relu = chain.relu_first
    if chain.lrn_size and chain.map_size:
        x, relu = _lrn_alone(x, chain), False
    _, c, h, w = x.shape
    n, _, rows, columns = out.shape
    towers = 1 if chain.map_size else chain.towers
    scale, k = (chain.map_scale, 1.0) if chain.map_size else (chain.lrn_scale, chain.lrn_k)
    lrn = chain.lrn_size > 0 and not chain.map_size
    grid, blocks = _grid(n * rows * columns, c // towers, towers)
    forward_kernel[grid](
        x, out, places, scale, k, n * rows * columns, h, w, c, rows, columns, towers, relu, lrn, chain.map_size > 0,
        chain.pool, chain.stride, chain.relu_last, *blocks
    )  # fmt: skip


def _lrn_alone(x: Tensor, chain: Any) -> Tensor:
    n, c, h, w = x.shape
    out = torch.empty_like(x)
    grid, blocks = _grid(n * h * w, c // chain.towers, chain.towers)
    forward_kernel[grid](
        x, out, out, chain.lrn_scale, chain.lrn_k, n * h * w, h, w, c, h, w, chain.towers, chain.relu_first, True,
        False, 0, 1, False, *blocks
    )  # fmt: skip
    return out


def backward(x: Tensor, grad: Tensor, places: Tensor, out: Tensor, chain: Any) -> None:
    """Writes the gradient of a chain for x; see `forward`."""
    n, c, h, w = x.shape
    rows, columns = grad.shape[-2:]
    relu, pool, stride = chain.relu_first, chain.pool, chain.stride
    if chain.map_size:
        both = chain.lrn_size > 0
        a, inner = (_lrn_alone(x, chain), False) if both else (x, relu)
        direct, terms = torch.empty_like(x, dtype=torch.float32), torch.empty_like(x, dtype=torch.float32)
        before = torch.empty_like(x) if both else out
        grid, blocks = _grid(n * h * w, c, None)
        shape = (n * h * w, h, w, c)
        map_terms_kernel[grid](
            a, grad, places, direct, terms, chain.map_scale, *shape, rows, columns, inner, pool, stride, *blocks
        )
        map_backward_kernel[grid](a, direct, terms, before, chain.map_scale, *shape, inner, *blocks)
        if not both:
            return
        grad, rows, columns, pool, stride = before, h, w, 0, 1
    grid, blocks = _grid(n * h * w, c // chain.towers, chain.towers)
    lrn_backward_kernel[grid](
        x, grad, places, out, chain.lrn_scale, chain.lrn_k, n * h * w, h, w, c, rows, columns, chain.towers, relu,
        chain.lrn_size > 0, pool, stride, *blocks
    )  # fmt: skip


def _grid(count: int, channels: int, towers: int | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns how many programs there are, and how many pixels and channels each computes.

    Args:
        count: pixels in all images.
        channels: that a program may not divide, because each needs its neighbors.
        towers: None: the channels are independent, and may be divided.
    """
    size = triton.next_power_of_2(channels)
    size = size if towers is not None else min(size, INDEPENDENT)
    pixels = max(1, min(PIXELS, VALUES // size))
    parts = towers if towers is not None else -(-channels // size)
    return (-(-count // pixels), parts), (pixels, size)

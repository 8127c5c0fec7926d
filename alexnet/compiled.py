"""Loops that numba compiles: the chain ReLU - LRN - within-map norm - max pooling - ReLU, and the update of 2012.

All maps are (N, H, W, C) float32 arrays, the memory of a channels_last tensor, so that the inner loop of everything
runs over neighbouring channels and becomes vector instructions. The chain works on one image and tower at a time, which
stays in the cache between the stages; the units of work are independent and nothing is summed across them, so the
result has the same bytes for any number of threads.

This module imports numba, which takes half a second: `alexnet.kernels` imports it when the first batch arrives.

Why numba: measured beside closed forms in plain PyTorch (4 to 7 times slower) and torch.compile (needs a C++ compiler
on the user's machine), it is the fastest that pip alone installs. Compiled code is kept where numba can write:
NUMBA_CACHE_DIR, else __pycache__ beside this file, else ~/.cache/numba.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]
Places = npt.NDArray[np.uint8]
Place = tuple[int, int]  # an image and the first of some of its maps

# Of fast-math, only what lets sums be vectorised and roots be approximated to the last bit or two: NaN and infinity
# must pass through, for they are how a diverging run is noticed.
FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}
ONE = np.float32(1)
PIXELS = 16  # neighbours in a row that LRN treats together, so that its buffers stay in the first cache
BLOCK = 1 << 15  # elements of a parameter that one thread updates at a time


def compiled(*, parallel: bool) -> Callable[[Any], Any]:
    """numba.njit with this module's settings, without the cache on disk where no folder can be written."""

    def decorate(function: Any) -> Any:
        options = {"parallel": parallel, "fastmath": FAST, "error_model": "numpy", "nogil": True}
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba: "cannot cache function: no locator available"
            return numba.njit(**options)(function)

    return decorate


@compiled(parallel=False)
def window_sums(padded: Maps, size: int, step: int, sums: Maps) -> None:
    """sums[t] = padded[t] + padded[t + step] + .. of `size` terms, all arrays flat."""
    if size == 5:  # the size of 2012 stays in registers
        p, q, r, s, u = padded, padded[step:], padded[2 * step :], padded[3 * step :], padded[4 * step :]
        for t in range(sums.shape[0]):
            sums[t] = p[t] + q[t] + r[t] + s[t] + u[t]
        return
    sums[:] = padded[: sums.shape[0]]
    for j in range(1, size):
        p = padded[j * step :]
        for t in range(sums.shape[0]):
            sums[t] += p[t]


@compiled(parallel=False)
def powers(sums: Maps, scale: Any, k: Any, roots: Maps) -> None:
    """sums <- d ^ -3/4 and roots <- d ^ -1/2 of d = k + scale * sums.

    With r = d ^ -1/2 that is r^2 / sqrt(r): of roots only reciprocals, for which processors have a fast estimate.
    """
    for t in range(sums.shape[0]):
        r = ONE / np.sqrt(k + scale * sums[t])
        roots[t] = r
        sums[t] = r * r * (ONE / np.sqrt(r))


@compiled(parallel=False)
def load(x: Maps, at: Place, pixels: Place, count: int, floor: Any, values: Maps, squares: Maps, half: int) -> None:
    """Pixels first .. last - 1 of a row of image n, max(x, floor), to `values`; to `squares` squared, `half` later.

    Each pixel has the room of its maps and a window. What lies between them stays zero, so that one flat loop sums the
    windows of all these pixels.
    """
    (o, room), (first, last) = at, pixels
    for j in range(first, last):
        start = (j - first) * room
        source, value = x[j, o : o + count], values[start : start + count]
        square = squares[start + half : start + half + count]
        for c in range(count):
            v = floor if source[c] <= floor else source[c]  # NaN stays NaN
            value[c] = v
            square[c] = v * v


@compiled(parallel=False)
def lrn(x: Maps, out: Maps, at: Place, to: Place, count: int, floor: Any, size: int, scale: Any, k: Any) -> None:
    """ReLU (floor 0; none: -inf) and LRN of `count` maps of one image; `at` and `to` are (image, first map).

    out = a (k + scale * sum a_j^2) ^ -3/4. Size 0 leaves LRN out.
    """
    (n, o), (m, p) = at, to
    room = count + size
    values, squares = np.zeros(PIXELS * room, np.float32), np.zeros((PIXELS + 1) * room, np.float32)
    sums, roots = np.zeros(PIXELS * room, np.float32), np.empty(PIXELS * room, np.float32)
    sums[:] = ONE
    for i in range(x.shape[1]):
        for first in range(0, x.shape[2], PIXELS):
            last = min(first + PIXELS, x.shape[2])
            load(x[n, i], (o, room), (first, last), count, floor, values, squares, size // 2)
            if size:
                window_sums(squares, size, 1, sums)
                powers(sums, scale, k, roots)
            for j in range(first, last):
                start = (j - first) * room
                value, power = values[start : start + count], sums[start : start + count]
                target = out[m, i, j, p : p + count]
                for c in range(count):
                    target[c] = value[c] * power[c]


@compiled(parallel=False)
def lrn_backward(
    x: Maps, grad: Maps, out: Maps, at: Place, count: int, floor: Any, size: int, scale: Any, k: Any
) -> None:
    """Gradient of `lrn` for its maps from that of its result, image 0 of `grad`.

    With d = k + scale * sum a_j^2:  da_i = g_i d_i ^ -3/4 - 3/2 scale a_i * sum of g_j a_j d_j ^ -7/4 over the j whose
    window holds i: the window of the forward pass, mirrored (only for even sizes that makes a difference).
    """
    n, o = at
    room, mirrored = count + size, max(size - 1 - size // 2, 0)
    values, squares = np.zeros(PIXELS * room, np.float32), np.zeros((PIXELS + 1) * room, np.float32)
    sums, roots = np.zeros(PIXELS * room, np.float32), np.zeros(PIXELS * room, np.float32)
    direct, terms = np.zeros(PIXELS * room, np.float32), np.zeros((PIXELS + 1) * room, np.float32)
    shifted = terms[mirrored : mirrored + PIXELS * room]
    sums[:] = ONE
    factor = np.float32(-1.5) * scale
    for i in range(x.shape[1]):
        for first in range(0, x.shape[2], PIXELS):
            last = min(first + PIXELS, x.shape[2])
            load(x[n, i], (o, room), (first, last), count, floor, values, squares, size // 2)
            for j in range(first, last):
                start = (j - first) * room
                g, d = grad[0, i, j], direct[start : start + count]
                for c in range(count):
                    d[c] = g[c]
            if size:
                window_sums(squares, size, 1, sums)
                powers(sums, scale, k, roots)
                for t in range(direct.shape[0]):
                    f = direct[t] * sums[t]
                    direct[t] = f
                    shifted[t] = f * (roots[t] * roots[t]) * values[t]
                window_sums(terms, size, 1, sums)
                for t in range(direct.shape[0]):
                    direct[t] += factor * sums[t] * values[t]
            for j in range(first, last):
                start = (j - first) * room
                value, d = values[start : start + count], direct[start : start + count]
                target = out[n, i, j, o : o + count]
                for c in range(count):
                    target[c] = np.float32(0) if value[c] <= floor else d[c]


@compiled(parallel=False)
def map_norm(a: Maps, out: Maps, squares: Maps, count: int, half: int, scale: Any) -> None:
    """Within-map norm of (H, W * count): a (1 + scale * sum of a^2 over the window) ^ -3/4.

    Sums over the columns of a window, then over its rows, both on flat arrays: `squares` is (H + 2 half, W * count),
    and as many zeros as a window reaches over the border stand around everything.
    """
    pad, width, size = half * count, a.shape[1], 2 * half + 1
    columns, sums, roots = np.zeros(width + 2 * pad, np.float32), np.empty(width, np.float32), np.empty_like(a[0])
    inside, flat = columns[pad : pad + width], squares.reshape(-1)
    for i in range(a.shape[0]):
        source, square = a[i], squares[half + i]
        for t in range(width):
            square[t] = source[t] * source[t]
    for i in range(a.shape[0]):
        window_sums(flat[i * width :], size, width, inside)
        window_sums(columns, size, count, sums)
        powers(sums, scale, ONE, roots)
        source, target = a[i], out[i]
        for t in range(width):
            target[t] = source[t] * sums[t]


@compiled(parallel=False)
def map_norm_backward(a: Maps, grad: Maps, squares: Maps, terms: Maps, count: int, half: int, scale: Any) -> None:
    """Turns `grad` of the norm's result into that of `a`: the formula of `lrn_backward`, windows in the plane."""
    pad, width, size = half * count, a.shape[1], 2 * half + 1
    columns, sums, roots = np.zeros(width + 2 * pad, np.float32), np.empty(width, np.float32), np.empty_like(a[0])
    inside, flat, flat_terms = columns[pad : pad + width], squares.reshape(-1), terms.reshape(-1)
    for i in range(a.shape[0]):
        source, square = a[i], squares[half + i]
        for t in range(width):
            square[t] = source[t] * source[t]
    for i in range(a.shape[0]):
        window_sums(flat[i * width :], size, width, inside)
        window_sums(columns, size, count, sums)
        powers(sums, scale, ONE, roots)
        source, g, term = a[i], grad[i], terms[half + i]
        for t in range(width):
            f = g[t] * sums[t]
            g[t] = f
            term[t] = f * (roots[t] * roots[t]) * source[t]
    factor = np.float32(-1.5) * scale
    for i in range(a.shape[0]):
        window_sums(flat_terms[i * width :], size, width, inside)
        window_sums(columns, size, count, sums)
        g, v = grad[i], a[i]
        for t in range(width):
            g[t] += factor * sums[t] * v[t]


@compiled(parallel=False)
def larger(v: Any, here: int, best: Any, place: int) -> tuple[Any, int]:
    """The running maximum and its place after one more value. As in PyTorch the first of equals counts; NaN wins."""
    if (v > best) | (v != v):
        return v, here
    return best, place


@compiled(parallel=False)
def max_pool(a: Maps, out: Maps, places: Places, to: Place, size: int, stride: int, floor: Any) -> None:
    """Max pooling of image 0 and ReLU, and where in its window each maximum lay (255: the ReLU cut it off)."""
    m, p = to
    count = a.shape[3]
    best, place = np.empty(count, np.float32), np.empty(count, np.int32)
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            top, left = i * stride, j * stride
            target, found = out[m, i, j, p : p + count], places[m, i, j, p : p + count]
            if size == 3 and top + 3 <= a.shape[1] and left + 3 <= a.shape[2]:
                q, r, s = a[0, top, left:], a[0, top + 1, left:], a[0, top + 2, left:]
                q0, q1, q2, r0, r1, r2, s0, s1, s2 = q[0], q[1], q[2], r[0], r[1], r[2], s[0], s[1], s[2]
                for c in range(count):
                    b, k = larger(q1[c], np.int32(1), q0[c], np.int32(0))
                    b, k = larger(q2[c], np.int32(2), b, k)
                    b, k = larger(r0[c], np.int32(3), b, k)
                    b, k = larger(r1[c], np.int32(4), b, k)
                    b, k = larger(r2[c], np.int32(5), b, k)
                    b, k = larger(s0[c], np.int32(6), b, k)
                    b, k = larger(s1[c], np.int32(7), b, k)
                    b, k = larger(s2[c], np.int32(8), b, k)
                    target[c] = floor if b <= floor else b
                    found[c] = np.uint8(np.int32(255) if b <= floor else k)
                continue
            best[:] = a[0, top, left]
            place[:] = np.int32(0)
            for ii in range(min(size, a.shape[1] - top)):
                for jj in range(min(size, a.shape[2] - left)):
                    here, source = np.int32(ii * size + jj), a[0, top + ii, left + jj]
                    for c in range(count):
                        best[c], place[c] = larger(source[c], here, best[c], place[c])
            for c in range(count):
                b = best[c]
                target[c] = floor if b <= floor else b
                found[c] = np.uint8(np.int32(255) if b <= floor else place[c])


@compiled(parallel=False)
def max_pool_backward(grad: Maps, places: Places, at: Place, out: Maps, size: int, stride: int) -> None:
    """Gradient of `max_pool` into image 0 of `out`; windows in their order, so sums have one order too."""
    n, o = at
    count = out.shape[3]
    out[:] = np.float32(0)
    for i in range(grad.shape[1]):
        for j in range(grad.shape[2]):
            top, left = i * stride, j * stride
            source, found = grad[n, i, j, o : o + count], places[n, i, j, o : o + count]
            for ii in range(min(size, out.shape[1] - top)):
                for jj in range(min(size, out.shape[2] - left)):
                    here, target = np.uint8(ii * size + jj), out[0, top + ii, left + jj]
                    for c in range(count):
                        target[c] += source[c] if found[c] == here else np.float32(0)


@compiled(parallel=True)
def chain(
    x: Maps,
    out: Maps,
    places: Places,
    floors: tuple[Any, Any],
    lrn_size: int,
    lrn_scale: Any,
    lrn_k: Any,
    towers: int,
    map_half: int,
    map_scale: Any,
    pool: int,
    stride: int,
    threads: int,
) -> None:
    """The whole chain: (N, H, W, C) to (N, H', W', C). A size of 0 (map_half -1) leaves a stage out."""
    count = x.shape[3] // towers
    units, flat = x.shape[0] * towers, (x.shape[1], x.shape[2] * count)
    for t in numba.prange(threads):
        a = np.empty((1, x.shape[1], x.shape[2], count), np.float32)
        z = np.empty((1, x.shape[1], x.shape[2], count), np.float32)
        squares = np.zeros((x.shape[1] + 2 * map_half, flat[1]), np.float32)
        for u in range(units * t // threads, units * (t + 1) // threads):
            n, o = u // towers, u % towers * count
            if map_half < 0 and pool == 0:
                lrn(x, out, (n, o), (n, o), count, floors[0], lrn_size, lrn_scale, lrn_k)
                continue
            lrn(x, a, (n, o), (0, 0), count, floors[0], lrn_size, lrn_scale, lrn_k)
            normed = a
            if map_half >= 0:
                map_norm(a.reshape(flat), z.reshape(flat), squares, count, map_half, map_scale)
                normed = z
            if pool:
                max_pool(normed, out, places, (n, o), pool, stride, floors[1])
            else:
                out[n, :, :, o : o + count] = normed[0]


@compiled(parallel=True)
def chain_backward(
    x: Maps,
    grad: Maps,
    places: Places,
    out: Maps,
    floor: Any,
    lrn_size: int,
    lrn_scale: Any,
    lrn_k: Any,
    towers: int,
    map_half: int,
    map_scale: Any,
    pool: int,
    stride: int,
    threads: int,
) -> None:
    """Gradient of `chain` for x from x alone: what lies between is computed again, for it is cheaper than reading."""
    count = x.shape[3] // towers
    units, flat = x.shape[0] * towers, (x.shape[1], x.shape[2] * count)
    for t in numba.prange(threads):
        a = np.empty((1, x.shape[1], x.shape[2], count), np.float32)
        d = np.empty((1, x.shape[1], x.shape[2], count), np.float32)
        squares = np.zeros((x.shape[1] + 2 * map_half, flat[1]), np.float32)
        terms = np.zeros((x.shape[1] + 2 * map_half, flat[1]), np.float32)
        for u in range(units * t // threads, units * (t + 1) // threads):
            n, o = u // towers, u % towers * count
            if pool:
                max_pool_backward(grad, places, (n, o), d, pool, stride)
            else:
                for i in range(x.shape[1]):
                    for j in range(x.shape[2]):
                        source, target = grad[n, i, j, o : o + count], d[0, i, j]
                        for c in range(count):
                            target[c] = source[c]
            if map_half >= 0:
                lrn(x, a, (n, o), (0, 0), count, floor, lrn_size, lrn_scale, lrn_k)
                map_norm_backward(a.reshape(flat), d.reshape(flat), squares, terms, count, map_half, map_scale)
            lrn_backward(x, d, out, (n, o), count, floor, lrn_size, lrn_scale, lrn_k)


@compiled(parallel=True)
def momentum_step(weights: Maps, gradient: Maps, buffer: Maps, momentum: Any, rate: Any, decay: Any) -> None:
    """v <- momentum v - rate (gradient + decay w); w <- w + v, in one pass over three flat arrays."""
    blocks = (weights.shape[0] + BLOCK - 1) // BLOCK
    for b in numba.prange(blocks):
        for i in range(b * BLOCK, min((b + 1) * BLOCK, weights.shape[0])):
            v = momentum * buffer[i] - rate * (gradient[i] + decay * weights[i])
            buffer[i] = v
            weights[i] += v

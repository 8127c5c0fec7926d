"""Loops compiled by numba: the chain ReLU - LRN - within-map normalization - max pooling - ReLU; the update of 2012.

All feature maps are (N, H, W, C) float32 arrays, the memory layout of a channels_last tensor, so that every inner loop
runs over adjacent channels and is compiled to vector instructions. The chain processes one image at a time (of a single
image, one tower), which stays in the cache between the stages. These units of work are independent and nothing is
summed across them, so the result is bit-identical for any number of threads.

All loops are in one file, because numba's cache detects a change in the file of a function, but not in the file of a
function that it calls.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from alexnet.kernels.jit import compiled

Maps = npt.NDArray[np.float32]
Places = npt.NDArray[np.uint8]
Place = tuple[int, int]  # an image and the first of a group of its channels

# Only the fast-math flags that allow fused products and roots that are exact except for the last one or two bits. NaN
# and infinity must pass through, because they show that a run diverges. Sums keep their order: with "reassoc" the code
# loaded from the cache on disk gave other last bits than the code in the process that had compiled it, so a resumed run
# differed from one that was not interrupted.
FAST = {"contract", "arcp", "afn", "nsz"}

ONE = np.float32(1)
WINDOW, HALF = 5, 2  # size of the window of both normalizations; a constant, so that its loops are unrolled
BLOCK = 1 << 15  # elements of a parameter that one thread updates at a time


@compiled(parallel=False, fast=FAST)
def power(d: Any) -> tuple[Any, Any]:
    """Returns d ^ -3/4 and d ^ -1/2, computed from reciprocal roots, for which processors have a fast estimate."""
    r = ONE / np.sqrt(d)
    return r * r * (ONE / np.sqrt(r)), r


@compiled(parallel=False, fast=FAST)
def lrn(x: Maps, out: Maps, at: Place, to: Place, towers: int, count: int, floor: Any, scale: Any, k: Any) -> None:
    """Applies ReLU (floor 0; without ReLU -inf) and LRN to one image, `count` channels in each tower.

    out = a d ^ -3/4 with d = k + scale * sum a_j^2. `at` and `to` are (image, first channel) in `x` and in `out`.
    """
    (n, o), (m, p) = at, to
    values, squares = np.empty(count, np.float32), np.zeros(count + WINDOW, np.float32)
    for i in range(x.shape[1]):
        for place in range(x.shape[2] * towers):
            j, w = place // towers, place % towers * count
            source, target = x[n, i, j, o + w : o + w + count], out[m, i, j, p + w : p + w + count]
            for c in range(count):
                v = floor if source[c] <= floor else source[c]  # NaN stays NaN
                values[c] = v
                squares[HALF + c] = v * v
            for c in range(count):
                total = squares[c]
                for f in range(1, WINDOW):
                    total += squares[c + f]
                target[c] = values[c] * power(k + scale * total)[0]


@compiled(parallel=False, fast=FAST)
def lrn_backward(
    x: Maps, grad: Maps, out: Maps, at: Place, of: Place, towers: int, count: int, floor: Any, scale: Any, k: Any
) -> None:
    """Computes the gradient of `lrn` for x, at `at` in `x` and `out`, from that of its result, at `of` in `grad`.

    With d = k + scale * sum a_j^2:  da_i = g_i d_i ^ -3/4 - 3/2 scale a_i * sum of g_j a_j d_j ^ -7/4 over the j in the
    window of i, because i lies in the window of j exactly where j lies in the window of i.
    """
    (n, o), (m, p) = at, of
    values, squares = np.empty(count, np.float32), np.zeros(count + WINDOW, np.float32)
    direct, terms = np.empty(count, np.float32), np.zeros(count + WINDOW, np.float32)
    factor = np.float32(-1.5) * scale
    for i in range(x.shape[1]):
        for place in range(x.shape[2] * towers):
            j, w = place // towers, place % towers * count
            source, target = x[n, i, j, o + w : o + w + count], out[n, i, j, o + w : o + w + count]
            g = grad[m, i, j, p + w : p + w + count]
            for c in range(count):
                v = floor if source[c] <= floor else source[c]
                values[c] = v
                squares[HALF + c] = v * v
            for c in range(count):
                total = squares[c]
                for f in range(1, WINDOW):
                    total += squares[c + f]
                three_quarters, half = power(k + scale * total)
                direct[c] = three_quarters * g[c]
                terms[HALF + c] = three_quarters * g[c] * (half * half) * values[c]
            for c in range(count):
                total = terms[c]
                for f in range(1, WINDOW):
                    total += terms[c + f]
                v = direct[c] + factor * total * values[c]
                target[c] = np.float32(0) if values[c] <= floor else v


@compiled(parallel=False, fast=FAST)
def relu(x: Maps, out: Maps, at: Place, to: Place, count: int, floor: Any) -> None:
    """Computes max(x, floor) for `count` channels of one image."""
    (n, o), (m, p) = at, to
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            source, target = x[n, i, j, o : o + count], out[m, i, j, p : p + count]
            for c in range(count):
                target[c] = floor if source[c] <= floor else source[c]


@compiled(parallel=False, fast=FAST)
def relu_backward(x: Maps, grad: Maps, out: Maps, at: Place, of: Place, count: int, floor: Any) -> None:
    """Computes the gradient of `relu` for x from that of its result; arguments as in `lrn_backward`."""
    (n, o), (m, p) = at, of
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            source, target = x[n, i, j, o : o + count], out[n, i, j, o : o + count]
            g = grad[m, i, j, p : p + count]
            for c in range(count):
                target[c] = np.float32(0) if source[c] <= floor else g[c]


@compiled(parallel=False, fast=FAST)
def box_sums(rows: Maps, i: int, count: int, columns: Maps, sums: Maps) -> None:
    """Sums the windows around the pixels of row i: first over the rows of a window, then over its columns.

    `rows` is (H + 2 HALF, W * count), `columns` (W + 2 HALF) * count. Both are padded with zeros for the windows at the
    border, so each sum is one flat loop. `sums` is W * count.
    """
    inside = columns[HALF * count : HALF * count + sums.shape[0]]
    p, q, r, s, u = rows[i], rows[i + 1], rows[i + 2], rows[i + 3], rows[i + 4]
    for t in range(sums.shape[0]):
        inside[t] = p[t] + q[t] + r[t] + s[t] + u[t]
    p, q, r, s, u = columns, columns[count:], columns[2 * count :], columns[3 * count :], columns[4 * count :]
    for t in range(sums.shape[0]):
        sums[t] = p[t] + q[t] + r[t] + s[t] + u[t]


@compiled(parallel=False, fast=FAST)
def map_norm(a: Maps, out: Maps, squares: Maps, count: int, scale: Any) -> None:
    """Applies within-map normalization to (H, W * count): a (1 + scale * sum of a^2 over the window) ^ -3/4."""
    width = a.shape[1]
    columns, sums = np.zeros(width + 2 * HALF * count, np.float32), np.empty(width, np.float32)
    for i in range(a.shape[0]):
        source, square = a[i], squares[HALF + i]
        for t in range(width):
            square[t] = source[t] * source[t]
    for i in range(a.shape[0]):
        box_sums(squares, i, count, columns, sums)
        source, target = a[i], out[i]
        for t in range(width):
            target[t] = source[t] * power(ONE + scale * sums[t])[0]


@compiled(parallel=False, fast=FAST)
def map_norm_backward(a: Maps, grad: Maps, squares: Maps, terms: Maps, count: int, scale: Any) -> None:
    """Replaces `grad` of the result by the gradient for `a`: the formula of `lrn_backward`, with windows of pixels."""
    width, factor = a.shape[1], np.float32(-1.5) * scale
    columns, sums = np.zeros(width + 2 * HALF * count, np.float32), np.empty(width, np.float32)
    for i in range(a.shape[0]):
        source, square = a[i], squares[HALF + i]
        for t in range(width):
            square[t] = source[t] * source[t]
    for i in range(a.shape[0]):
        box_sums(squares, i, count, columns, sums)
        source, g, term = a[i], grad[i], terms[HALF + i]
        for t in range(width):
            three_quarters, half = power(ONE + scale * sums[t])
            f = three_quarters * g[t]
            g[t] = f
            term[t] = f * (half * half) * source[t]
    for i in range(a.shape[0]):
        box_sums(terms, i, count, columns, sums)
        source, g = a[i], grad[i]
        for t in range(width):
            g[t] += factor * sums[t] * source[t]


@compiled(parallel=False, fast=FAST)
def larger(v: Any, here: int, best: Any, place: int) -> tuple[Any, int]:
    """Updates a running maximum and its position by one value; as in PyTorch, the first maximum counts and NaN wins."""
    if (v > best) | (v != v):
        return v, here
    return best, place


@compiled(parallel=False, fast=FAST)
def max_pool(a: Maps, out: Maps, places: Places, to: Place, size: int, stride: int, floor: Any) -> None:
    """Applies max pooling and ReLU to image 0; `places`: where in its window each maximum is (255: ReLU gave 0)."""
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


@compiled(parallel=False, fast=FAST)
def max_pool_backward(grad: Maps, places: Places, at: Place, out: Maps, size: int, stride: int) -> None:
    """Writes the gradient of `max_pool` to image 0 of `out`; the fixed order of the windows fixes the order of sums."""
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


@compiled(parallel=True, fast=FAST)
def chain(
    x: Maps,
    out: Maps,
    places: Places,
    floors: tuple[Any, Any],
    lrn_on: bool,
    lrn_scale: Any,
    lrn_k: Any,
    towers: int,
    map_on: bool,
    map_scale: Any,
    pool: int,
    stride: int,
    threads: int,
) -> None:
    """Runs the whole chain: (N, H, W, C) to (N, H', W', C). With `pool` 0 there is no pooling and no ReLU after it."""
    alone = pool == 0 and not map_on
    count, together = x.shape[3] // towers, towers if x.shape[0] > 1 else 1  # of a single image, for the threads
    wide = together * count
    shape, flat = (1, x.shape[1], x.shape[2], wide), (x.shape[1], x.shape[2] * wide)
    units = x.shape[0] * towers // together
    for t in numba.prange(threads):
        a, z = np.empty(shape, np.float32), np.empty(shape, np.float32)
        squares = np.zeros((flat[0] + 2 * HALF, flat[1]), np.float32)
        for u in range(units * t // threads, units * (t + 1) // threads):
            here = u * together // towers, u * together % towers * count
            first, there = (out, here) if alone else (a, (0, 0))
            if lrn_on:
                lrn(x, first, here, there, together, count, floors[0], lrn_scale, lrn_k)
            else:
                relu(x, first, here, there, wide, floors[0])
            normed = first
            if map_on:
                map_norm(a.reshape(flat), z.reshape(flat), squares, wide, map_scale)
                normed = z
            if pool:
                max_pool(normed, out, places, here, pool, stride, floors[1])
            elif map_on:
                relu(z, out, (0, 0), here, wide, floors[1])


@compiled(parallel=True, fast=FAST)
def chain_backward(
    x: Maps,
    grad: Maps,
    places: Places,
    out: Maps,
    floor: Any,
    lrn_on: bool,
    lrn_scale: Any,
    lrn_k: Any,
    towers: int,
    map_on: bool,
    map_scale: Any,
    pool: int,
    stride: int,
    threads: int,
) -> None:
    """Computes the gradient of `chain` for x; intermediate values are computed again, since reading them is slower."""
    alone = pool == 0 and not map_on
    count, together = x.shape[3] // towers, towers if x.shape[0] > 1 else 1  # of a single image, for the threads
    wide = together * count
    shape, flat = (1, x.shape[1], x.shape[2], wide), (x.shape[1], x.shape[2] * wide)
    units = x.shape[0] * towers // together
    for t in numba.prange(threads):
        a, d = np.empty(shape, np.float32), np.empty(shape, np.float32)
        squares = np.zeros((flat[0] + 2 * HALF, flat[1]), np.float32)
        terms = np.zeros_like(squares)
        for u in range(units * t // threads, units * (t + 1) // threads):
            here = u * together // towers, u * together % towers * count
            last, there = (grad, here) if alone else (d, (0, 0))
            if pool:
                max_pool_backward(grad, places, here, d, pool, stride)
            elif map_on:
                relu(grad, d, here, (0, 0), wide, np.float32(-np.inf))
            if map_on:
                if lrn_on:
                    lrn(x, a, here, (0, 0), together, count, floor, lrn_scale, lrn_k)
                else:
                    relu(x, a, here, (0, 0), wide, floor)
                map_norm_backward(a.reshape(flat), d.reshape(flat), squares, terms, wide, map_scale)
            if lrn_on:
                lrn_backward(x, last, out, here, there, together, count, floor, lrn_scale, lrn_k)
            else:
                relu_backward(x, last, out, here, there, wide, floor)


@compiled(parallel=True, fast=FAST)
def momentum_step(weights: Maps, gradient: Maps, buffer: Maps, momentum: Any, rate: Any, decay: Any) -> None:
    """Updates v <- momentum v - rate (gradient + decay w); w <- w + v, in one pass over three flat arrays."""
    blocks = (weights.shape[0] + BLOCK - 1) // BLOCK
    for b in numba.prange(blocks):
        part = slice(b * BLOCK, min((b + 1) * BLOCK, weights.shape[0]))
        w, g, v = weights[part], gradient[part], buffer[part]
        for i in range(w.shape[0]):
            v[i] = momentum * v[i] - rate * (g[i] + decay * w[i])
            w[i] += v[i]

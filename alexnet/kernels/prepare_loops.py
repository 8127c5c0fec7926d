"""What preparing photos computes, as compiled loops: bicubic resampling with the bits of Pillow's, and sums of pixels.

`alexnet.data.loops` imports them. Weights are integers, 2^22 times themselves (`PRECISION`), sums are integers of 32
bits, and what comes out of each step is rounded to a byte, as in Pillow (src/libImaging/Resample.c), which does one
number at a time. Here a pixel of four rows is done at once. numba does not vectorize that by itself, so `_four_pixels`
says it in the words of LLVM, which are those of no processor.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from alexnet.kernels.jit import compiled

Array = NDArray[Any]
PRECISION = 22  # bits of a weight behind the point
ROWS = 4  # that are handled at once


@intrinsic
def _four_pixels(
    typing: Any,
    source: Any,
    at: Any,
    row: Any,
    weights: Any,
    first: Any,
    count: Any,
    out: Any,
    to: Any,
    out_row: Any,
) -> Any:
    """Computes a pixel in each of four rows: the weighted sum of `count` pixels side by side.

    Args:
        source: bytes of pixels of four; `at`: the first byte; `row`: bytes from row to row.
        weights: 1-D int32; `first`: the place of the first.
        out: bytes; `to`: where the first pixel goes, four bytes of which the last is not used; `out_row`: as `row`.
    """
    place = types.uintp
    signature = types.void(source, place, place, weights, place, place, out, place, place)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, at, row, weights, first, count, out, to, out_row = arguments
        places = {0: source, 3: weights, 6: out}
        data = {n: context.make_array(signature.args[n])(context, builder, each).data for n, each in places.items()}
        four_bytes, four = ir.VectorType(ir.IntType(8), ROWS), ir.VectorType(ir.IntType(32), ROWS)

        def all_four(number: int) -> Any:
            return ir.Constant(four, [number] * 4)

        allocate: Any = cgutils.alloca_once  # numba has no types
        half, empty = all_four(1 << (PRECISION - 1)), ir.Constant(four, ir.Undefined)
        sums, starts = [], [at]
        for _ in range(ROWS):
            sums.append(allocate(builder, four))
            builder.store(half, sums[-1])
            starts.append(builder.add(starts[-1], row))
        with cgutils.for_range(builder, count) as loop:
            weight = builder.load(builder.gep(data[3], [builder.add(first, loop.index)]))
            weight = builder.insert_element(empty, weight, ir.Constant(ir.IntType(32), 0))
            weight = builder.shuffle_vector(weight, empty, all_four(0))
            pixel = builder.mul(loop.index, ir.Constant(at.type, 4))
            for total, start in zip(sums, starts, strict=False):
                place = builder.gep(data[0], [builder.add(start, pixel)])
                bytes_ = builder.load(builder.bitcast(place, four_bytes.as_pointer()))
                bytes_.align = 1
                product = builder.mul(builder.zext(bytes_, four), weight)
                builder.store(builder.add(builder.load(total), product), total)
        for total in sums:
            value = builder.ashr(builder.load(total), all_four(PRECISION))
            value = builder.select(builder.icmp_signed("<", value, all_four(0)), all_four(0), value)
            value = builder.select(builder.icmp_signed(">", value, all_four(255)), all_four(255), value)
            place = builder.bitcast(builder.gep(data[6], [to]), four_bytes.as_pointer())
            builder.store(builder.trunc(value, four_bytes), place).align = 1
            to = builder.add(to, out_row)
        return context.get_dummy_value()

    return signature, generate


four_pixels: Any = _four_pixels  # as loops call it, without the first argument


@compiled(parallel=False)
def across(source: Array, width: int, starts: Array, counts: Array, weights: Array, out: Array) -> None:
    """Resamples the rows of an image: out[y, x] = sum over t of weights[x, t] * source[y, starts[x] + t].

    Args:
        source: (H * width * 4,) uint8, pixels of four bytes, the last of which is not used; H >= 4.
        starts, counts: (size,) int32, which pixels of a row make a pixel.
        weights: (size, most) int32.
        out: (H, 3 * size + 1) uint8; the last column is not used.
    """
    rows, out_row = out.shape
    size, most = weights.shape
    flat, flat_out = weights.reshape(-1), out.reshape(-1)
    for block in range(0, rows, ROWS):
        y = min(block, rows - ROWS)  # the last rows twice, where they are not four
        for x in range(size):
            four_pixels(
                source,
                np.uintp(4 * (y * width + starts[x])),
                np.uintp(4 * width),
                flat,
                np.uintp(x * most),
                np.uintp(counts[x]),
                flat_out,
                np.uintp(y * out_row + 3 * x),
                np.uintp(out_row),
            )


@compiled(parallel=False)
def down(source: Array, starts: Array, counts: Array, weights: Array, out: Array) -> None:
    """Resamples the columns of an image: out[y] = sum over t of weights[y, t] * source[starts[y] + t].

    Args:
        source: (H, columns or more) uint8.
        starts, counts, weights: as for `across`, of the rows.
        out: (size, columns) uint8.
    """
    size, columns = out.shape
    sums = np.empty(columns, np.int32)
    for y in range(size):
        for x in range(columns):
            sums[x] = np.int32(1 << (PRECISION - 1))
        for t in range(counts[y]):
            weight, row = weights[y, t], source[starts[y] + t]
            for x in range(columns):
                sums[x] += np.int32(row[x]) * weight
        line = out[y]
        for x in range(columns):
            line[x] = min(max(sums[x] >> PRECISION, 0), 255)


@compiled(parallel=False)
def add_pixels(pixels: Array, total: Array, products: Array) -> None:
    """Adds an image to sums: `total` gets its pixels, `products` x x^T of each of its pixels x.

    Args:
        pixels: (size, 3 * size) uint8; up to 33,025 a side, so that the products of a row fit into 32 bits.
        total: (size, 3 * size) int64.
        products: (3, 3) int64.
    """
    size = len(pixels)
    for y in range(size):
        line, sums = pixels[y], total[y]
        for i in range(3 * size):
            sums[i] += line[i]
        rr, rg, rb, gg, gb, bb = np.int32(0), np.int32(0), np.int32(0), np.int32(0), np.int32(0), np.int32(0)
        for x in range(size):
            r, g, b = np.int32(line[3 * x]), np.int32(line[3 * x + 1]), np.int32(line[3 * x + 2])
            rr += r * r
            rg += r * g
            rb += r * b
            gg += g * g
            gb += g * b
            bb += b * b
        products[0, 0] += rr
        products[0, 1] += rg
        products[0, 2] += rb
        products[1, 1] += gg
        products[1, 2] += gb
        products[2, 2] += bb
    products[1, 0], products[2, 0], products[2, 1] = products[0, 1], products[0, 2], products[1, 2]

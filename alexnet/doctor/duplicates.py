"""Which pictures are the same: perceptual hashes, the pairs whose hashes are near, groups of copies.

The hash is a difference hash (Krawetz, "Kind of Like That", 2013) of 128 bits: 64 say where a picture of 9 x 8 cells
gets darker from left to right, 64 where one of 8 x 9 cells gets darker from top to bottom. Cells that differ by less
than `STEP` grey levels count as equal, so that the noise of a JPEG on an even background sets no bits.

Near hashes only nominate a pair. It counts if small pictures of 16 x 16 cells in colour agree as well, but for their
mean colour: clothes laid out alike on one sheet have near hashes, and are not the same. Of 3,781 photos of clothes no
two different ones with near hashes came below 12 grey levels; copies that were compressed or resized stay below 3.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images import Pixels

Hashes = NDArray[np.uint64]  # (N, 2): the bits of the columns, the bits of the rows
Pairs = NDArray[np.int64]

CELLS = 16  # a side of the small pictures that are compared in the end
STEP = 2.0  # grey levels
NEAR_BITS = 12  # of 128
NEAR_RMS = 6.0  # grey levels, between the small pictures ...
NEAR_SHARE = 0.3  # ... and as a share of their contrast, which matters for pictures of mist and white walls
BLOCK = 1 << 22  # pairs compared at once, which bounds the memory


def small_image(square: Pixels) -> Pixels:
    """(S, S, 3) to (16, 16, 3), the mean of each cell."""
    return np.asarray(Image.fromarray(square).resize((CELLS, CELLS), Image.Resampling.BOX))


def difference_hash(square: Pixels) -> tuple[Hashes, Hashes]:
    """The hashes of a square (S, S, 3) and of its mirror image, each (2,)."""
    grey = Image.fromarray(square).convert("F")  # ITU-R 601-2 luma, not rounded
    wide = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
    high = np.asarray(grey.resize((8, 9), Image.Resampling.BOX))
    return _hash(wide, high), _hash(wide[:, ::-1], high[:, ::-1])


def _hash(wide: NDArray[np.float32], high: NDArray[np.float32]) -> Hashes:
    bits = np.stack([wide[:, :-1] - wide[:, 1:] > STEP, high[:-1] - high[1:] > STEP])  # (2, 8, 8)
    packed = np.packbits(bits.reshape(2, 64), axis=1)  # (2, 8)
    return packed.view(np.uint64)[:, 0]


def near_hashes(hashes: Hashes, mirrored: Hashes, most: int = NEAR_BITS) -> tuple[Pairs, NDArray[np.bool_]]:
    """All pairs of pictures whose hashes differ in at most `most` of 128 bits, as they are or one of them mirrored.

    Hashes that differ in at most `most` bits agree in one of `most` + 1 bands of bits, so only pictures that share a
    band are compared, in blocks: on hashes as photos have them, a small part of all pairs.

    Args:
        hashes: (N, 2).
        mirrored: (N, 2), of the mirror images.

    Returns:
        (P, 2) indices i < j in ascending order; (P,) whether one is mirrored. A pair that is near both ways,
        as pictures of symmetric things are, comes twice.
    """
    count = len(hashes)
    both = np.concatenate([hashes, mirrored])  # (2N, 2)
    bits = np.unpackbits(np.ascontiguousarray(both).view(np.uint8), axis=1)  # (2N, 128)
    found = []
    for band in np.array_split(np.arange(bits.shape[1]), most + 1):
        keys = bits[:, band].astype(np.int64) @ (1 << np.arange(len(band)) % 62)  # equal bands have equal keys
        order = np.argsort(keys, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1) if count else ():
            plain = bucket[: np.searchsorted(bucket, count)]  # stable sorting leaves a bucket in ascending order
            rows = max(1, BLOCK // len(bucket))
            for start in range(0, len(plain), rows) if len(bucket) > 1 else ():
                some = plain[start : start + rows]
                distance = np.bitwise_count(both[some, None] ^ both[None, bucket]).sum(2, dtype=np.int64)
                first, second = np.nonzero(distance <= most)
                i, j = some[first], bucket[second]
                found.append(np.stack([i, j], 1)[i < j % count])
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), np.int64)
    i, j = pairs.T
    order = np.lexsort((j >= count, j % count, i)) if count else np.empty(0, np.int64)
    return np.stack([i, j % max(count, 1)], 1)[order], (j >= count)[order]


def differences(
    small: Pixels, pairs: Pairs, flipped: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Root mean square difference of the small pictures of each pair without their mean colours, and their contrast.

    Args:
        small: (N, 16, 16, 3).
        pairs: (P, 2).
        flipped: (P,), whether one of the two is mirrored.

    Returns:
        (P,) differences and (P,) standard deviations of the less lively one of the two, all in grey levels.
    """
    rms, contrast = np.empty(len(pairs)), np.empty(len(pairs))
    rows = max(1, BLOCK // small[0].size) if len(small) else 1
    for start in range(0, len(pairs), rows):
        part = slice(start, start + rows)
        first, second = (small[pairs[part, side]].astype(np.float32) for side in (0, 1))
        first, second = (some - some.mean((1, 2), keepdims=True) for some in (first, second))
        second[flipped[part]] = second[flipped[part], :, ::-1]
        rms[part] = np.sqrt(((first - second) ** 2).mean((1, 2, 3), dtype=np.float64))
        powers = [(some**2).mean((1, 2, 3), dtype=np.float64) for some in (first, second)]
        contrast[part] = np.sqrt(np.minimum(*powers))
    return rms, contrast


def near_pairs(hashes: Hashes, mirrored: Hashes, small: Pixels) -> tuple[Pairs, NDArray[np.bool_], NDArray[np.float64]]:
    """The pairs that are copies of one another, though not the same pixels: near in hash and in their small pictures.

    Returns:
        (P, 2) indices i < j, (P,) True where one is the mirror image of the other, (P,) difference in grey levels.
    """
    pairs, flipped = near_hashes(hashes, mirrored)
    rms, contrast = differences(small, pairs, flipped)
    close = (rms <= NEAR_RMS) & (rms <= NEAR_SHARE * contrast)
    pairs, flipped, rms = pairs[close], flipped[close], rms[close]
    # Of two ways to be the same picture the closer one is told; among equals the plain one, which comes first.
    order = np.lexsort((rms, *pairs.T[::-1]))
    pairs, flipped, rms = pairs[order], flipped[order], rms[order]
    first = np.ones(len(pairs), bool)
    first[1:] = np.diff(pairs, axis=0).any(1)
    return pairs[first], flipped[first], rms[first]


def same(keys: Sequence[str]) -> list[list[int]]:
    """Indices that share a key, in ascending order, the groups by their first; single ones too."""
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def connected(count: int, pairs: NDArray[np.integer[Any]]) -> list[list[int]]:
    """Groups of 0..count-1 that pairs (P, 2) join, directly or through others; only those of two or more."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs.tolist():
        low, high = sorted((root(i), root(j)))
        parent[high] = low
    return [group for group in same([str(root(i)) for i in range(count)]) if len(group) > 1]

"""Finds images that show the same: perceptual hashes, pairs with similar hashes, groups of copies.

The hash is a difference hash (Krawetz, "Kind of Like That", 2013) of 128 bits: 64 say where an image of 9 x 8 cells
gets darker from left to right, 64 where one of 8 x 9 cells gets darker from top to bottom. Cells that differ by less
than `STEP` gray levels count as equal, so that JPEG noise on an even background sets no bits.

A similar hash only makes a pair a candidate. The pair is accepted if its small color images of 16 x 16 cells also agree
after their mean colors are subtracted. The second test is needed because different clothes arranged in the same way on
one sheet have similar hashes. The thresholds were chosen on photos of clothes; results/doctor.json has what they find.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.images import Pixels

Hashes = NDArray[np.uint64]  # (N, 2): the bits of the columns, the bits of the rows
Pairs = NDArray[np.int64]

CELLS = 16  # cells per side of the small images that decide in the end
STEP = 2.0  # gray levels
NEAR_BITS = 12  # of 128 bits
NEAR_RMS = 6.0  # gray levels, between the small images ...
NEAR_SHARE = 0.3  # ... and as a share of their contrast, which matters for images of fog and white walls
BLOCK = 1 << 22  # pairs compared at once, which limits the memory


def small_image(square: Pixels) -> Pixels:
    """Shrinks (S, S, 3) to (16, 16, 3): the mean of each cell."""
    return np.asarray(Image.fromarray(square).resize((CELLS, CELLS), Image.Resampling.BOX))


def difference_hash(square: Pixels) -> tuple[Hashes, Hashes]:
    """Computes the hashes of a square image (S, S, 3) and of its mirror image, each (2,)."""
    gray = Image.fromarray(square).convert("F")  # ITU-R 601-2 luma, not rounded
    wide = np.asarray(gray.resize((9, 8), Image.Resampling.BOX))
    high = np.asarray(gray.resize((8, 9), Image.Resampling.BOX))
    return _hash(wide, high), _hash(wide[:, ::-1], high[:, ::-1])


def _hash(wide: NDArray[np.float32], high: NDArray[np.float32]) -> Hashes:
    bits = np.stack([wide[:, :-1] - wide[:, 1:] > STEP, high[:-1] - high[1:] > STEP])  # (2, 8, 8)
    packed = np.packbits(bits.reshape(2, 64), axis=1)  # (2, 8)
    return packed.view(np.uint64)[:, 0]


def near_hashes(hashes: Hashes, mirrored: Hashes, most: int = NEAR_BITS) -> tuple[Pairs, NDArray[np.bool_]]:
    """Finds all pairs of images whose hashes differ in at most `most` of 128 bits, as they are or one of them mirrored.

    Hashes that differ in at most `most` bits are equal in at least one of `most` + 1 bands of bits. So only images with
    an equal band are compared, in blocks; for real photos this is a small part of all pairs.

    Args:
        hashes: (N, 2).
        mirrored: (N, 2), of the mirror images.

    Returns:
        (P, 2) indices i < j in ascending order; (P,) whether one is mirrored. A pair that is similar in both ways, as
        images of symmetric objects are, appears twice.
    """
    count = len(hashes)
    both = np.concatenate([hashes, mirrored])  # (2N, 2)
    bits = np.unpackbits(np.ascontiguousarray(both).view(np.uint8), axis=1)  # (2N, 128)
    matches = []
    for band in np.array_split(np.arange(bits.shape[1]), most + 1):
        keys = bits[:, band].astype(np.int64) @ (1 << np.arange(len(band)) % 62)  # equal bands have equal keys
        order = np.argsort(keys, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1) if count else ():
            originals = bucket[: np.searchsorted(bucket, count)]  # stable sorting leaves a bucket in ascending order
            rows = max(1, BLOCK // len(bucket))
            for start in range(0, len(originals), rows) if len(bucket) > 1 else ():
                block = originals[start : start + rows]
                distance = np.bitwise_count(both[block, None] ^ both[None, bucket]).sum(2, dtype=np.int64)
                first, second = np.nonzero(distance <= most)
                i, j = block[first], bucket[second]
                matches.append(np.stack([i, j], 1)[i < j % count])
    pairs = np.unique(np.concatenate(matches), axis=0) if matches else np.empty((0, 2), np.int64)
    i, j = pairs.T
    order = np.lexsort((j >= count, j % count, i)) if count else np.empty(0, np.int64)
    return np.stack([i, j % max(count, 1)], 1)[order], (j >= count)[order]


def differences(
    small: Pixels, pairs: Pairs, flipped: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Computes the root mean square difference of the small images of each pair without mean color, and their contrast.

    Args:
        small: (N, 16, 16, 3).
        pairs: (P, 2).
        flipped: (P,), whether one of the two is mirrored.

    Returns:
        (P,) differences and (P,) the smaller standard deviation of the two images, all in gray levels.
    """
    rms, contrast = np.empty(len(pairs)), np.empty(len(pairs))
    rows = max(1, BLOCK // small[0].size) if len(small) else 1
    for start in range(0, len(pairs), rows):
        part = slice(start, start + rows)
        first, second = (small[pairs[part, side]].astype(np.float32) for side in (0, 1))
        first, second = (cells - cells.mean((1, 2), keepdims=True) for cells in (first, second))
        second[flipped[part]] = second[flipped[part], :, ::-1]
        rms[part] = np.sqrt(((first - second) ** 2).mean((1, 2, 3), dtype=np.float64))
        powers = [(cells**2).mean((1, 2, 3), dtype=np.float64) for cells in (first, second)]
        contrast[part] = np.sqrt(np.minimum(*powers))
    return rms, contrast


def near_pairs(hashes: Hashes, mirrored: Hashes, small: Pixels) -> tuple[Pairs, NDArray[np.bool_], NDArray[np.float64]]:
    """Finds the pairs of images that are copies with different pixels: similar in hash and in their small images.

    Returns:
        (P, 2) indices i < j, (P,) True where one is the mirror image of the other, (P,) difference in gray levels.
    """
    pairs, flipped = near_hashes(hashes, mirrored)
    rms, contrast = differences(small, pairs, flipped)
    close = (rms <= NEAR_RMS) & (rms <= NEAR_SHARE * contrast)
    pairs, flipped, rms = pairs[close], flipped[close], rms[close]
    # If a pair is similar in both ways, the closer one is kept; for equal distances the one that is not mirrored.
    order = np.lexsort((rms, *pairs.T[::-1]))
    pairs, flipped, rms = pairs[order], flipped[order], rms[order]
    first = np.ones(len(pairs), bool)
    first[1:] = np.diff(pairs, axis=0).any(1)
    return pairs[first], flipped[first], rms[first]


def same(keys: Sequence[str]) -> list[list[int]]:
    """Groups indices by key: ascending within a group, groups in the order of their first index; groups of one too."""
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def connected(count: int, pairs: NDArray[np.integer[Any]]) -> list[list[int]]:
    """Finds the groups of 0..count-1 that pairs (P, 2) connect, directly or through others, without groups of one."""
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

"""Random numbers as a pure function of (seed, epoch, sample, stream), without any state.

A counter-based generator: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014) mixes the four integers that identify a number. So a sample gets the same numbers in any batch, in any order and
in any process.
"""

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# One stream for each kind of choice, so that switching one ingredient off does not change the numbers of the others.
CROP, FLIP, COLOR, SHAPE, JITTER, MIX, DROPOUT, FADE = range(8)


GOLDEN, MULTIPLIERS = 0x9E3779B97F4A7C15, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # of SplitMix64


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Applies the finalizer of SplitMix64 to each element."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MULTIPLIERS[0])
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MULTIPLIERS[1])
    return z ^ (z >> np.uint64(31))


def hashed(seed: int, epoch: int, samples: Indices, stream: int, count: int) -> npt.NDArray[np.uint64]:
    """Returns `count` numbers of 64 random bits for each of n samples: (n, count) uint64."""
    with np.errstate(over="ignore"):
        steps = np.uint64(GOLDEN) * np.arange(1, count + 1, dtype=np.uint64)
        return _mix(sample_keys(seed, epoch, samples, stream)[:, None] + steps[None, :])


def sample_keys(seed: int, epoch: int, samples: Indices, stream: int) -> npt.NDArray[np.uint64]:
    """Returns what the numbers of each of n samples start from: (n,) uint64."""
    golden = np.uint64(GOLDEN)
    with np.errstate(over="ignore"):
        key = np.array([stream_key(seed, epoch, stream)], np.uint64)
        return _mix(key + golden + np.asarray(samples, np.int64).view(np.uint64))


def stream_key(seed: int, epoch: int, stream: int) -> int:
    """Returns what the numbers of all samples start from."""
    golden = np.uint64(GOLDEN)
    with np.errstate(over="ignore"):
        key = _mix(np.array([seed], np.int64).view(np.uint64) + golden)
        for part in (epoch, stream):
            key = _mix(key + golden + np.array([part], np.int64).view(np.uint64))
    return int(key[0])


def uniform(seed: int, epoch: int, samples: Indices, stream: int, count: int = 1) -> Floats:
    """Returns uniform numbers in [0, 1): (n, count) float64, 53 random bits each."""
    return (hashed(seed, epoch, samples, stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(seed: int, epoch: int, samples: Indices, stream: int, high: int, count: int = 1) -> Indices:
    """Returns uniform integers in 0..high-1: (n, count) int64."""
    return (uniform(seed, epoch, samples, stream, count) * high).astype(np.int64)


def normal(seed: int, epoch: int, samples: Indices, stream: int, count: int = 1) -> Floats:
    """Returns standard normal numbers by the formula of Box and Muller: (n, count) float64."""
    u = uniform(seed, epoch, samples, stream, 2 * count)
    radius = np.sqrt(-2.0 * np.log1p(-u[:, :count]))
    return np.asarray(radius * np.cos(2.0 * np.pi * u[:, count:]))


def seed_for(seed: int, step: int, stream: int, part: int = 0) -> int:
    """Returns a seed of 63 bits for the draws of one step of a run, such as those of one of its layers."""
    return int(hashed(seed, step, np.array([part]), stream, 1)[0, 0] >> np.uint64(1))

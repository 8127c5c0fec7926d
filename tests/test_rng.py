"""Random draws without state.

Answers come from SplitMix64 written again here with Python's unbounded integers and checked against its published
outputs, from the known moments of the distributions, Pearson's chi-square by hand, and SciPy's Kolmogorov-Smirnov test.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet import rng

int64s = st.integers(-(2**63), 2**63 - 1)
GOLDEN = 0x9E3779B97F4A7C15


def finalised(z: int) -> int:
    """The output function of SplitMix64 on a state of 64 bits."""
    z %= 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def hashed_slowly(seed: int, epoch: int, sample: int, stream: int, count: int) -> list[int]:
    """Each of the four names in turn moves the state and is scrambled; then plain SplitMix64 from that state."""
    key = 0
    for part in (seed, epoch, stream, sample):
        key = finalised(key + GOLDEN + part)
    return [finalised(key + GOLDEN * i) for i in range(1, count + 1)]


def chi_square(values: np.ndarray, low: float, high: float, bins: int) -> float:
    """Standard deviations by which Pearson's statistic of equal bins exceeds its expectation."""
    counts, _ = np.histogram(values, bins, (low, high))
    assert counts.sum() == values.size
    expected = values.size / bins
    return (((counts - expected) ** 2 / expected).sum() - (bins - 1)) / math.sqrt(2 * (bins - 1))


# The same number of draws along each of the things that name a draw: neighbours must not resemble each other.
AXES = {
    "samples": lambda f, n: f(0, 1, np.arange(n), rng.CROP)[:, 0],
    "count": lambda f, n: f(0, 1, np.array([5]), rng.CROP, count=n)[0],
    "epochs": lambda f, n: np.array([f(0, e, np.array([5]), rng.CROP)[0, 0] for e in range(n)]),
    "seeds": lambda f, n: np.array([f(s, 1, np.array([5]), rng.CROP)[0, 0] for s in range(n)]),
    "streams": lambda f, n: np.array([f(0, 1, np.array([5]), s)[0, 0] for s in range(n)]),
}
along = pytest.mark.parametrize("axis", AXES)
COUNT = 4000


def test_the_slow_generator_gives_the_published_outputs_of_splitmix64():
    # From seed 0, as in the test vectors of the Java and Rust implementations; from 1234567, as on Rosetta Code.
    assert [finalised(GOLDEN * i) for i in (1, 2, 3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [finalised(1234567 + GOLDEN * i) for i in (1, 2, 3, 4)] == published


@given(int64s, int64s, int64s, st.integers(0, 6), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_bits_are_those_of_the_slow_generator_for_any_seed_epoch_and_sample(seed, epoch, sample, stream, count):
    bits = rng.hashed(seed, epoch, np.array([sample]), stream, count)
    assert bits.dtype == np.uint64
    assert bits.tolist() == [hashed_slowly(seed, epoch, sample, stream, count)]


@given(st.lists(int64s, min_size=1, max_size=20), st.data(), int64s, st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_draws_of_a_subset_are_the_subset_of_the_draws(samples, data, seed, count):
    everyone = np.array(samples)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(samples) - 1), max_size=30)), np.int64)
    for draw in (rng.uniform, rng.normal):
        whole = draw(seed, 3, everyone, rng.JITTER, count=count)
        assert np.array_equal(draw(seed, 3, everyone[chosen], rng.JITTER, count=count), whole[chosen])
    whole = rng.integers(seed, 3, everyone, rng.CROP, 33, count=count)
    assert np.array_equal(rng.integers(seed, 3, everyone[chosen], rng.CROP, 33, count=count), whole[chosen])


@given(int64s, st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_asking_for_more_uniform_draws_keeps_the_first_ones(seed, few, more):
    samples = np.arange(4)
    longer = rng.uniform(seed, 1, samples, rng.SHAPE, count=few + more)
    assert np.array_equal(rng.uniform(seed, 1, samples, rng.SHAPE, count=few), longer[:, :few])


def test_all_seeds_epochs_streams_samples_and_positions_give_different_bits():
    names = itertools.product((-1, 0, 1, 2**63 - 1), (0, 1, 2), range(8))
    bits = np.concatenate([rng.hashed(s, e, np.arange(-3, 40), k, 5).ravel() for s, e, k in names])
    assert len(np.unique(bits)) == bits.size == 4 * 3 * 8 * 43 * 5


def test_swapping_the_roles_of_seed_epoch_stream_and_sample_gives_different_bits():
    # A sum or an exclusive or of the four would not tell these apart.
    orders = list(itertools.permutations((1, 2, 3, 4)))
    assert len({int(rng.hashed(a, b, np.array([c]), d, 1)[0, 0]) for a, b, c, d in orders}) == 24


@along
def test_uniform_draws_have_the_mean_variance_and_bins_of_the_uniform_distribution(axis):
    u = AXES[axis](rng.uniform, COUNT)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert abs(u.mean() - 1 / 2) < 4 * math.sqrt(1 / 12 / COUNT)
    # The variance of (u - 1/2)^2 is 1/80 - 1/144 = 1/180.
    assert abs(((u - 0.5) ** 2).mean() - 1 / 12) < 4 * math.sqrt(1 / 180 / COUNT)
    assert abs(chi_square(u, 0.0, 1.0, 50)) < 4


@along
def test_uniform_and_normal_draws_pass_kolmogorov_and_smirnov(axis):
    stats = pytest.importorskip("scipy.stats")
    assert stats.kstest(AXES[axis](rng.uniform, COUNT), "uniform").pvalue > 0.001
    assert stats.kstest(AXES[axis](rng.normal, COUNT), "norm").pvalue > 0.001


@along
def test_neighbouring_draws_are_uncorrelated(axis):
    u = AXES[axis](rng.uniform, COUNT)
    for lag in (1, 2, 32, 128):
        assert abs(np.corrcoef(u[:-lag], u[lag:])[0, 1]) < 4 / math.sqrt(COUNT - lag)


def test_streams_of_the_same_samples_are_uncorrelated():
    u = np.stack([rng.uniform(0, 1, np.arange(COUNT), stream)[:, 0] for stream in range(8)])
    others = np.corrcoef(u)[~np.eye(8, dtype=bool)]
    assert np.abs(others).max() < 4.5 / math.sqrt(COUNT)


@pytest.mark.parametrize("high", [1, 2, 7, 33])
def test_integers_cover_exactly_zero_to_high_minus_one_evenly(high):
    values = rng.integers(0, 1, np.arange(500 * high), rng.CROP, high, count=2)
    assert values.dtype == np.int64
    assert np.unique(values).tolist() == list(range(high))
    if high > 1:
        assert abs(chi_square(values, -0.5, high - 0.5, high)) < 4


@given(int64s, st.integers(0, 6), st.integers(1, 2**20), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_integers_are_the_slow_bits_scaled_to_the_end(seed, stream, high, count):
    by_hand = [(bits >> 11) * high >> 53 for bits in hashed_slowly(seed, 4, 7, stream, count)]
    assert rng.integers(seed, 4, np.array([7]), stream, high, count=count).tolist() == [by_hand]


def test_one_draw_and_part_zero_unless_told():
    for draw in (rng.uniform, rng.normal):
        assert np.array_equal(draw(1, 2, np.array([3]), 4), draw(1, 2, np.array([3]), 4, 1))
    assert np.array_equal(rng.integers(1, 2, np.array([3]), 4, 99), rng.integers(1, 2, np.array([3]), 4, 99, 1))
    assert rng.seed_for(1, 2, 3) == rng.seed_for(1, 2, 3, 0)


@given(st.integers(1, 2**52))
def test_the_extreme_bits_give_zero_and_the_largest_number_below_the_end(high):
    with pytest.MonkeyPatch.context() as patch:
        for bits, unit, integer in ((0, 0.0, 0), (2**64 - 1, 1.0 - 2.0**-53, high - 1)):
            patch.setattr(rng, "hashed", lambda *args, bits=bits: np.full((1, args[-1]), bits, np.uint64))
            assert rng.uniform(0, 1, np.array([0]), 0).item() == unit
            assert rng.integers(0, 1, np.array([0]), 0, high).item() == integer
            assert np.isfinite(rng.normal(0, 1, np.array([0]), 0)).all()


@along
def test_normal_draws_have_the_first_four_moments_of_the_normal_distribution(axis):
    z = AXES[axis](rng.normal, COUNT)
    # Moments 0, 1, 0, 3; the variances of z, z^2, z^3, z^4 are 1, 2, 15, 96.
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 4 * math.sqrt(variance / COUNT)


@given(int64s, int64s, st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_normal_draws_are_the_formula_of_box_and_muller_on_the_slow_bits(seed, sample, count):
    u = [(bits >> 11) / 2**53 for bits in hashed_slowly(seed, 2, sample, rng.COLOR, 2 * count)]
    by_hand = [math.sqrt(-2 * math.log1p(-u[i])) * math.cos(2 * math.pi * u[count + i]) for i in range(count)]
    seen = rng.normal(seed, 2, np.array([sample]), rng.COLOR, count=count)
    np.testing.assert_allclose(seen, [by_hand], rtol=1e-9, atol=1e-12)


def test_normal_draws_of_one_sample_are_uncorrelated():
    z = rng.normal(0, 1, np.arange(COUNT), rng.COLOR, count=3)
    off = np.corrcoef(z.T)[~np.eye(3, dtype=bool)]
    assert np.abs(off).max() < 4 / math.sqrt(COUNT)


@given(int64s, st.integers(0, 2**62))
@settings(max_examples=50, deadline=None)
def test_seeds_for_torch_are_63_bits_of_the_slow_generator_and_torch_takes_them(seed, step):
    made = [rng.seed_for(seed, step, rng.DROPOUT, part) for part in range(3)]
    assert made == [hashed_slowly(seed, step, part, rng.DROPOUT, 1)[0] >> 1 for part in range(3)]
    assert len(set(made)) == 3
    for s in made:
        assert torch.Generator().manual_seed(s).initial_seed() == s

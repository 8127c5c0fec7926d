"""Intervals and exact tests against scipy, published tables and counting by hand."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alexnet.evaluation.intervals import mcnemar, mean_interval, student_quantile, student_share


@pytest.mark.parametrize(
    ("freedom", "printed"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)]
)
def test_quantiles_are_those_of_the_printed_table(freedom, printed):
    assert round(student_quantile(0.95, freedom), 3) == printed


@given(st.floats(0, 60), st.integers(1, 40))
def test_shares_are_those_of_scipy(t, freedom):
    assert student_share(t, freedom) == pytest.approx(1 - 2 * stats.t.sf(t, freedom), abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12))
def test_an_interval_is_that_of_scipy(values):
    found = mean_interval(values)
    scale = stats.sem(values)
    if scale > 1e-12:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=scale)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
        assert found.excludes_zero == (stats.ttest_1samp(values, 0).pvalue < 0.05)


def test_one_value_has_no_interval():
    found = mean_interval([0.25])
    assert (found.mean, found.low, found.high, found.excludes_zero) == (0.25, None, None, False)


def test_the_interval_covers_the_truth_in_19_of_20_samples():
    import numpy as np

    samples = np.random.default_rng(0).normal(0.3, 2.0, (4000, 3))
    found = [mean_interval(sample.tolist()) for sample in samples]
    covered = sum(f.low < 0.3 < f.high for f in found) / len(found)
    assert abs(covered - 0.95) < 0.01


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (0, 1), (5, 0), (3, 4), (2, 7), (6, 6)])
def test_mcnemar_counts_all_ways_to_share_the_disputed_images(only_first, only_second):
    total = only_first + only_second
    least = abs(only_first - only_second)
    ways = [sum(way) for way in itertools.product((0, 1), repeat=total)]
    expected = sum(abs(2 * k - total) >= least for k in ways) / 2**total
    assert mcnemar(only_first, only_second) == pytest.approx(expected)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_the_binomial_test_of_scipy(only_first, only_second):
    if only_first + only_second:
        expected = stats.binomtest(only_first, only_first + only_second).pvalue
        assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9, abs=1e-280)
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first)
    assert math.isfinite(mcnemar(only_first, only_second))

"""McNemar's exact test against SciPy and counting by hand."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alexnet.evaluation.intervals import mcnemar


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

"""The distributions of intervals and tests, against SciPy and printed tables."""

import pytest
from scipy import stats

from alexnet.experiments import distributions


@pytest.mark.parametrize("freedom", [1, 2, 2.5, 5, 7.3, 28, 111.1, 9_999.0])
def test_students_t_for_any_degrees_of_freedom(freedom):
    for t in (0.0, 0.3, -1.0, 2.0, 5.0, 40.0):
        assert distributions.student_p(t, freedom) == pytest.approx(
            2 * stats.t.sf(abs(t), freedom), rel=1e-8, abs=1e-14
        )
    for share in (0.5, 0.95, 0.99):
        assert distributions.student_t(freedom, share) == pytest.approx(stats.t.ppf((1 + share) / 2, freedom), rel=1e-8)


def test_a_printed_table_of_t():
    assert [round(distributions.student_t(f), 3) for f in (1, 2, 5, 10, 30)] == [12.706, 4.303, 2.571, 2.228, 2.042]


@pytest.mark.parametrize("freedom", range(1, 9))
def test_chi_square(freedom):
    for value in (0.0, 0.1, 1.0, 3.84, 20.0, 80.0):
        assert distributions.chi_square_p(value, freedom) == pytest.approx(stats.chi2.sf(value, freedom), rel=1e-9)


@pytest.mark.parametrize(("successes", "count"), [(0, 5), (5, 5), (1, 2), (3, 10), (10, 200), (199, 200)])
def test_the_exact_interval_of_a_proportion(successes, count):
    expected = stats.binomtest(successes, count).proportion_ci(method="exact")
    assert distributions.clopper_pearson(successes, count) == pytest.approx((expected.low, expected.high), abs=1e-9)

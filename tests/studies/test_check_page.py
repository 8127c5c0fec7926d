"""The page docs/check.md: what the rows give, by the thresholds of today; and the test that decides what trains."""

from math import comb

import pytest

from alexnet.storage.files import read_rows
from harness import ROOT
from studies.claims import check_page
from studies.paper import check_calibration

ROWS = read_rows(check_calibration.OUT)[0]


def test_the_page_is_that_of_the_rows_and_of_the_thresholds():
    assert (ROOT / "docs/check.md").read_text() == check_page.document(ROWS)


def test_the_table_counts_every_row_once_and_the_check_is_mostly_right():
    counts = check_page.table(ROWS)
    assert sum(counts.values()) == len(ROWS) == len({(row["case"], row["seed"]) for row in ROWS})
    right = counts[True, True] + counts[False, False]
    assert right >= 0.85 * len(ROWS)
    assert {(row["val_wrong"] / row["val_count"] < 1 - row["majority"] / row["val_count"]) for row in ROWS} == {
        True,
        False,
    }
    for row in ROWS:
        share = 1 - row["majority"] / row["val_count"]
        assert row["trains"] == (tail(row["val_wrong"], row["val_count"], share) < check_calibration.SIGNIFICANT)


def tail(wrong: int, count: int, share: float) -> float:
    return sum(comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(wrong + 1))


@pytest.mark.parametrize(("wrong", "count", "share"), [(0, 5, 0.5), (5, 5, 0.5), (40, 60, 0.9), (258, 287, 0.899)])
def test_the_binomial_tail_is_the_sum_of_its_terms(wrong, count, share):
    assert check_calibration.binomial_tail(wrong, count, share) == pytest.approx(tail(wrong, count, share), rel=1e-9)


def test_sigmoid_alexnet_with_adamw_is_not_said_to_train():
    rows = [row for row in ROWS if "demo activation=sigmoid init=" in row["case"] and "adamw" in row["case"]]
    assert rows
    assert not any(check_page.predicted(row) for row in rows)

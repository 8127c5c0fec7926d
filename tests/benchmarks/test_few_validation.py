"""The trial of few validation images: what a draw gains by hand, and the table of the pages from the rows."""

import numpy as np
import pytest

from alexnet.storage.files import read_rows
from benchmarks import few_validation
from harness import ROOT


def test_what_is_gained_by_hand():
    """A cue that knows all beside a network that says the next class: from 0 to 100 %, whatever is drawn."""
    labels = np.arange(60) % 3
    wrong, right = np.eye(3)[(labels + 1) % 3], np.eye(3)[labels]
    found = few_validation.gains(0.1 * wrong, {"color": right}, labels, images=30)
    assert found == {"images": 30, "used": 1.0, "gain": 100.0, "gain_5_percent": 100.0, "gain_least": 100.0}
    nothing = few_validation.gains(right, {"color": np.zeros((60, 3))}, labels, images=30)
    assert nothing == {"images": 30, "used": 0.0, "gain": 0.0, "gain_5_percent": 0.0, "gain_least": 0.0}


@pytest.mark.parametrize("page", ["own_photos.md", "own_photos.zh-CN.md"])
def test_the_pages_have_the_table_of_the_rows(page):
    assert few_validation.table(read_rows(few_validation.RESULTS)[0]) in (ROOT / "docs" / page).read_text()

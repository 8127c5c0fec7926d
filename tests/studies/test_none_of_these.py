"""docs/probabilities.md shows what the rows of the study of "none of these" give."""

import numpy as np
import pytest

from alexnet.storage.files import read_rows
from harness import ROOT
from studies.robustness import none_of_these as study

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an extra")
ROWS = read_rows(study.OUT)[0]


def test_the_documents_show_the_tables_of_the_rows():
    for name in ("probabilities.md", "probabilities.zh-CN.md"):
        text = (ROOT / "docs" / name).read_text()
        assert study.table(ROWS) in text
        assert study.table_of_sets(ROWS) in text


def test_the_score_of_the_package_is_the_best_on_every_network():
    for row in ROWS:
        means = {score: np.mean([area for area, _, _ in areas.values()]) for score, areas in row["auroc"].items()}
        assert max(means, key=means.__getitem__) == "this package"
        assert row["flagged"]["own"] <= row["promised"] + 3 * (0.05 * 0.95 / row["images"]["own"]) ** 0.5


def test_the_auroc_is_that_of_scikit_learn():
    draws = np.random.default_rng(0)
    own, others = draws.integers(0, 9, 80).astype(float), draws.integers(3, 12, 50).astype(float)
    expected = metrics.roc_auc_score([0] * 80 + [1] * 50, [*own, *others])
    assert study.auroc(own, others) == pytest.approx(expected)
    low, high = study.interval(expected, 80, 50)
    assert 0 <= low < expected < high <= 1

"""A run folder that version 0.1.0 wrote, stopped in the middle of an epoch, is still a run.

tests/fixtures/run-0.1.0 is `alexnet train digits --recipe demo model.width=0.01 epochs=3 batch_size=64
evaluate_every=1`, stopped after step 31 of 54. Figures here are those that 0.1.0 gave, for its first epoch and for the
run resumed to the end.
"""

import json
import shutil
from pathlib import Path

import pytest

from alexnet.runs.checkpoint import load_checkpoint, load_model
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import open_run
from harness import ROOT
from harness.service_process import in_a_thread

BEST_VAL_ERROR, BEST_VAL_LOSS = 0.8780487804878049, 2.2809976865597674
LAST_VAL_ERROR, LAST_VAL_LOSS = 0.8013937282229965, 2.2082704349860753


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "tests/fixtures/run-0.1.0", tmp_path / "run"))


def test_it_opens_with_every_checksum_and_its_state(run, alexnet):
    opened = open_run(run)
    assert (opened.recipe.name, opened.recipe.model.width, len(opened.class_names)) == ("demo", 0.01, 10)
    stored = load_checkpoint(opened)
    assert stored is not None
    assert (stored.state.step, stored.state.best_step, stored.damage) == (31, 18, [])
    assert load_model(opened).config == opened.recipe.model


def test_it_evaluates_to_what_it_noted(run, alexnet):
    outcome = alexnet("evaluate", run, "--split", "val", "--format", "json", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["top1_error"] == pytest.approx(BEST_VAL_ERROR, abs=1.5 / 287)
    assert found["log_loss"] == pytest.approx(BEST_VAL_LOSS, rel=1e-5)


def test_it_resumes_to_the_end(run, alexnet):
    outcome = alexnet("resume", run, "--allow-inexact", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    last = [row for row in read_metrics(open_run(run)) if row["kind"] == "epoch"][-1]
    assert (last["epoch"], last["step"]) == (3, 54)
    # Another processor rounds otherwise, and training amplifies it.
    assert last["val_loss"] == pytest.approx(LAST_VAL_LOSS, abs=0.02)
    assert last["val_top1_error"] == pytest.approx(LAST_VAL_ERROR, abs=0.05)


def test_it_serves(run):
    with in_a_thread(run) as running:
        (served,) = running.service.models
        assert served.class_names == open_run(run).class_names

"""Several runs on one card at the same time, each on its own stream, give the rows that they give alone."""

import pytest
import torch

from alexnet.experiments.runner import Job, run_job
from alexnet.experiments.together import in_turns
from alexnet.training.monitor import Requests
from harness.small_runs import TINY, write_photos

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")]


@pytest.mark.parametrize("together", [2, 8])
def test_runs_in_turns_on_a_card_give_the_rows_that_they_give_alone(tmp_path, together):
    photos, card = str(write_photos(tmp_path / "photos")), torch.device("cuda")
    kinds = {"plain": (), "dropout": ("dropout=0.5",), "tf32": ("precision=tf32",), "bare": ("model.norm=none",)}
    jobs = [
        Job(photos, "photos", name, (*TINY, f"epochs={2 + seed}", *changes), seed)
        for seed in range(2)
        for name, changes in kinds.items()
    ]
    alone = [run_job(job, tmp_path / "alone", card) for job in jobs]
    rows = {
        (row["variant"], row["seed"]): row for row in in_turns(jobs, tmp_path / "turns", card, together, Requests())
    }
    for job, row in zip(jobs, alone, strict=True):
        assert row is not None
        for name in ("settings", "results", "curve", "start_values"):
            assert rows[job.variant, job.seed][name] == row[name], job

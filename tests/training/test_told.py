"""What a run tells of itself and asks for: learning rates, the room of a checkpoint, the error it is chosen by."""

import numpy as np
import pytest
import torch

import alexnet.training.validation
from alexnet.evaluation.evaluate import Evaluation
from alexnet.runs.checkpoint import checkpoint_name
from alexnet.runs.metrics import best_epoch, epochs_of
from alexnet.training.trainer import Trainer

CPU = torch.device("cpu")


def test_the_rate_of_an_epoch_is_that_of_its_steps_in_fine_tuning(start, fit):
    base = start("base", "epochs=1")
    fit(base)
    run = start("fine", f"weights={base.folder}", "old_lr_factor=0.1", "lr=0.001", "schedule=constant", "epochs=1")
    told = fit(run)
    assert [row["lr"] for row in told.rows] == [0.001]  # of the new layer, not the tenth of the others
    assert {step.lr for step in told.steps} == {0.001}


def test_the_rate_of_an_epoch_is_that_of_its_steps_after_a_rollback(start, prepared):
    trainer = Trainer(start("run", "lr=0.016", "schedule=constant"), prepared, CPU)
    trainer.note_rollbacks(2)
    for step in range(4):
        result = trainer.take_step(
            *trainer.batch(trainer.loader.samples(1, step), trainer.clock.at(step)), at := trainer.clock.at(step)
        )
        trainer.advance(result, 1.0)
    row, _ = trainer.end_epoch(at)
    assert row["lr"] == result.lr == 0.004


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("average_decay=0.9",),
        ("algorithm=sgd", "momentum=0"),
        ("algorithm=nesterov",),
        ("algorithm=adamw", "average_decay=0.9"),
    ],
    ids=["2012", "averaged", "plain", "nesterov", "adamw"],
)
def test_the_room_that_is_asked_for_is_what_a_checkpoint_takes(start, prepared, changes):
    run = start("run", "lr=0.0001", *changes)
    trainer = Trainer(run, prepared, CPU)
    asked = trainer.checkpoint_bytes
    at = trainer.clock.at(0)
    trainer.advance(trainer.take_step(*trainer.batch(trainer.loader.samples(1, 0), at), at), 1.0)
    trainer.save({}, best=False)
    files = (run.folder / "checkpoints" / checkpoint_name(run, "LAST")).glob("*.safetensors")
    assert asked == pytest.approx(sum(file.stat().st_size for file in files), rel=0.05)
    assert trainer.checkpoint_bytes == pytest.approx(asked, rel=0.001)


LABELS = np.array([0] * 8 + [1, 2])
ALL_THE_LARGEST = [0] * 10  # 2 of 10 wrong; on average over the classes 2/3
SOME_OF_EACH = [0] * 4 + [1] * 4 + [1, 2]  # 4 of 10 wrong; on average over the classes 1/6


@pytest.mark.parametrize(("weights", "best"), [("none", 1), ("balanced", 2)])
def test_the_best_epoch_is_that_of_the_kept_network_where_classes_are_balanced(start, fit, monkeypatch, weights, best):
    answers = iter([ALL_THE_LARGEST, SOME_OF_EACH, ALL_THE_LARGEST])

    def evaluate(*_, class_names, **__):
        probabilities = np.eye(3, dtype=np.float32)[next(answers)]
        return Evaluation("val", 1, class_names, tuple(map(str, LABELS)), LABELS, probabilities)

    monkeypatch.setattr(alexnet.training.validation, "evaluate", evaluate)
    run = start("run", f"class_weights={weights}")
    fit(run)
    rows = epochs_of(run)
    assert [row["val_top1_error"] for row in rows] == pytest.approx([0.2, 0.4, 0.2])
    expected = (
        [pytest.approx(2 / 3), pytest.approx(1 / 6), pytest.approx(2 / 3)] if weights == "balanced" else [None] * 3
    )
    assert [row.get("val_balanced_error") for row in rows] == expected
    assert best_epoch(rows) == best
    assert checkpoint_name(run, "BEST") == f"step-{4 * best:08d}"

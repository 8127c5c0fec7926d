"""The watchdog on made-up losses, where every note is known, and in training, on planted faults."""

import dataclasses
import math

import pytest
import torch

from alexnet.recipes.named import DEMO, LENET
from alexnet.recipes.recipe import override
from alexnet.runs.checkpoint import load_checkpoint
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import create_run, open_run
from alexnet.training.check import Check, LayerCheck, Verdict
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from alexnet.training.trainer import Trainer
from alexnet.training.watchdog import Watchdog
from harness.small_runs import Recording

TEN = [100] * 10
H = math.log(10)


def seen(topic: str = "sound", update: float = 0.01) -> Check:
    layer = LayerCheck("conv1", 1.0, 1.0, None, 0.5, 0.0, 0.1, update)
    verdicts = (Verdict("ok" if topic == "sound" else "fatal", topic, f"a case of {topic}", "a fix"),)
    return Check((layer,), H, H, H, 0.1, verdicts)


def notes(watchdog: Watchdog, losses, check: Check | None = None, first: int = 1, begin: str = "sound"):
    """(step, topic) of all notes; without a check, examining the network after the first step is a failure."""
    at = first

    def look() -> Check:
        if at == 1:
            return seen(begin)
        assert check is not None, "examined a network that is not suspicious"
        return check

    said = []
    for at, loss in enumerate(losses, first):
        said.append((at, watchdog.step(at, loss, 0.9, look)))
    return [(step, text.partition(":")[0]) for step, text in said if text]


def watchdog(*changes: str, counts=TEN, per_epoch: int = 20, recipe=DEMO) -> Watchdog:
    return Watchdog(override(recipe, ["schedule=constant", *changes]), counts, per_epoch)


# --- made-up losses ------------------------------------------------------------------------------------------------


def test_classes_of_equal_weight_have_the_entropy_of_equal_classes():
    counts = [900, 90, 10]
    frequencies = [n / 1000 for n in counts]
    assert watchdog("class_weights=balanced", counts=[500, 90, 50]).entropy == pytest.approx(math.log(3))
    # At most ten times as much each: 900 * 1, 90 * 10 and 10 * 10 images, as if 9, 9 and 1 of 19.
    capped = [9 / 19, 9 / 19, 1 / 19]
    assert watchdog("class_weights=balanced", "label_smoothing=0", counts=counts).entropy == pytest.approx(
        -sum(f * math.log(f) for f in capped)
    )
    assert watchdog("label_smoothing=0", counts=counts).entropy == pytest.approx(
        -sum(f * math.log(f) for f in frequencies)
    )


@pytest.mark.parametrize("transient", [[], [4.8] * 10 + [2.8] * 10])
def test_a_loss_that_falls_is_not_even_looked_at(transient):
    assert notes(watchdog(), [*transient, *(H * 0.99**i for i in range(600))]) == []


@pytest.mark.parametrize(
    ("check", "topic", "step"),
    [
        (seen("plateau"), "plateau", 249),
        (seen("slow"), "plateau", 249),
        (seen("dead"), "dead units", 99),
        (seen("saturated"), "dead units", 99),
        (seen("sound"), "labels", 249),
        (seen("sound", update=3.0), "rate", 249),
    ],
)
def test_a_flat_loss_is_explained_by_what_the_network_shows(check, topic, step):
    # The mean of 50 is there from step 50 on; 50 such steps, then 100, then 200.
    assert notes(watchdog(), [H] * 3000, check) == [(step, topic)]


def test_the_level_of_a_plateau_is_the_entropy_of_the_classes_not_their_number():
    uneven = [910, *[10] * 9]
    level = -(0.91 * math.log(0.91) + 0.09 * math.log(0.01))
    assert notes(watchdog(counts=uneven), [level] * 300, seen()) == [(249, "labels")]
    assert notes(watchdog(counts=uneven), [level * 0.9] * 300) == []
    smoothed = -(0.919 * 0 + sum(p * math.log(p) for p in [0.9 * 0.91 + 0.01, *[0.9 * 0.01 + 0.01] * 9]))
    assert notes(watchdog("label_smoothing=0.1", counts=uneven), [smoothed] * 300, seen()) == [(249, "labels")]


def test_sigmoids_and_warmups_get_more_time():
    sigmoid = notes(watchdog(recipe=LENET), [H] * 3000, seen())
    warm = notes(watchdog("schedule=one-cycle", "warmup=0.5", "epochs=50"), [H] * 3000, seen())
    assert [topic for _, topic in sigmoid + warm] == ["labels"] * 2
    assert sigmoid[0][0] > 600
    assert warm[0][0] > 500 + 200


def test_a_flat_loss_after_a_faded_start_is_no_fault_of_the_labels():
    # By then the network looks sound: it is about to leave, or the batch is a lucky one.
    assert notes(watchdog(), [H] * 3000, seen("sound"), begin="plateau") == [(249, "plateau")]


def test_a_resumed_watchdog_remembers_a_faded_start():
    first, second = watchdog(), watchdog()
    notes(first, [H] * 100, seen("sound"), begin="plateau")
    second.restore(first.memory(), [])
    assert notes(second, [H] * 900, seen("sound"), first=101) == [(249, "plateau")]


def test_looks_are_rare():
    count = 0

    def look() -> Check:
        nonlocal count
        count += 1
        return seen("plateau")

    watching = watchdog()
    for step in range(1, 20001):
        watching.step(step, H, 0.9, look)
    assert 1 <= count <= 12


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ([3.1 * H] * 100, 20),  # soars at once
        ([1.4 * H] * 200, 101),  # stays high after the transient
        ([2.0] * 50 + [0.5] * 100 + [4.0] * 100, None),  # jumps after it had fallen
    ],
)
def test_a_loss_above_chance_is_too_high_a_rate(losses, step):
    found = notes(watchdog(), losses)
    assert [topic for _, topic in found] == ["rate"]
    assert found[0][0] == (step or 186)  # 36 of 50 at 4.0, the others at 0.5: 3.02 > 1.3 * ln 10 = 2.99


def test_one_class_has_no_plateau():
    assert notes(watchdog(counts=[50]), [0.0] * 3000) == []


def row(training: float, held_out: float | None) -> dict:
    return {"train_top1_error": training} | ({} if held_out is None else {"val_top1_error": held_out})


def test_what_is_learned_but_of_no_use_is_said_once():
    watching = watchdog()
    rows = [row(0.9, 0.9), row(0.4, None), row(0.4, 0.88), row(0.3, 0.5), row(0.3, 0.9), row(0.2, None)]
    assert [watching.epoch(r) for r in rows] == [None] * 6
    assert watching.epoch(row(0.2, 0.89)).startswith("labels: ")
    assert watching.epoch(row(0.1, 0.9)) is None


@pytest.mark.parametrize("stop", [1, 60, 98, 99, 200, 249, 300])
def test_a_watchdog_resumed_from_its_memory_reports_the_same(stop):
    losses = [H + 0.01 * math.sin(i) for i in range(700)]
    whole = notes(watchdog(), losses, seen())
    first, second = watchdog(), watchdog()
    before = notes(first, losses[:stop], seen())
    second.restore(first.memory(), [{"kind": "epoch"}, *({"kind": "note", "text": f"{t}: x"} for _, t in before)])
    assert before + notes(second, losses[stop:], seen(), first=stop + 1) == whole
    assert len(whole) == 1
    assert torch.equal(first.memory(), first.memory())


# --- in training ---------------------------------------------------------------------------------------------------

QUIET = ("evaluate_every=1000", "epochs=75", "input_norm=standardise")  # 300 steps, flat ones are judged at about 249
PLATEAU = ("init=paper", "lr=0.001")


@pytest.fixture(scope="module")
def flat(prepared, tiny, tmp_path_factory):
    """A run whose loss does not move, and what was said while it trained."""
    recipe, monitor = override(tiny, [*QUIET, *PLATEAU]), Recording()
    about = {"source": "colors", "prepared": str(prepared.folder), "fingerprint": prepared.fingerprint}
    run = create_run(tmp_path_factory.mktemp("flat") / "run", recipe, prepared.class_names, about)
    train(run, prepared, device=torch.device("cpu"), monitor=monitor)
    return run, monitor.notes


def shuffled(trainer_batch):
    """Targets that do not follow from the images, different in every step so that they cannot be learned by heart."""

    def batch(self, samples, at, **options):
        images, _ = trainer_batch(self, samples, at, **options)
        generator = torch.Generator().manual_seed(at.step)
        return images, torch.eye(3)[torch.randint(3, (len(images),), generator=generator)]

    return batch


@pytest.mark.parametrize(
    ("changes", "topic"),
    [
        (PLATEAU, "plateau"),
        (("init=source", "bias=-100"), "dead units"),
        (("width=0.25", "lr=0.002"), None),
        (("width=0.25", "lr=0.002", "shuffled"), "labels"),
        (("algorithm=adamw", "lr=0.3", "epochs=10"), "rate"),
    ],
)
def test_a_planted_fault_gets_its_own_note_and_no_other(changes, topic, start, fit, monkeypatch, request):
    if "shuffled" in changes:
        monkeypatch.setattr(Trainer, "batch", shuffled(Trainer.batch))
    if changes == PLATEAU:
        run, said = request.getfixturevalue("flat")
    else:
        run = start("run", *QUIET, *(change for change in changes if "=" in change))
        said = fit(run).notes
    assert [text.partition(":")[0] for text in said] == ([topic] if topic else [])
    rows = [r for r in read_metrics(run) if r["kind"] == "note"]
    assert [r["text"] for r in rows] == said
    assert all(0 < r["step"] <= 300 for r in rows)
    assert read_metrics(run)[-1]["kind"] == "epoch"


def test_a_resumed_run_says_what_an_undisturbed_one_says(start, fit, flat):
    whole, expected = flat
    parts = start("parts", *QUIET, *PLATEAU)
    for steps in (120, 90, 60):
        with pytest.raises(Interrupted):
            fit(open_run(parts.folder), steps)
    fit(open_run(parts.folder))
    tell = [[(r["kind"], r["step"], r.get("text")) for r in read_metrics(run)] for run in (whole, parts)]
    assert tell[0] == tell[1]
    assert len(expected) == 1


@pytest.mark.parametrize("norm", ["lrn", "batch"])
def test_training_is_the_same_to_the_bit_whether_the_watchdog_checks_or_not(norm, start, fit, monkeypatch):
    def always(self, step, loss, error, look):
        assert len(look().layers) == 8

    def never(self, step, loss, error, look):
        return None

    results = []
    for name, step in (("always", always), ("never", never)):
        monkeypatch.setattr(Watchdog, "step", step)
        run = start(name, f"model.norm={norm}", "average_decay=0.9")
        fit(run)
        tensors, state = load_checkpoint(run)[:2]
        results.append(({n: t.numpy().tobytes() for n, t in tensors.items()}, dataclasses.replace(state, seconds=0)))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("held_out", "training", "validation", "said"),
    [
        (8, 0.1, 0.5, False),  # four of eight are wrong: of a coin, and of a network that is right on three of four
        (8, 0.0, 0.5, False),
        (4, 0.0, 0.75, False),
        (2, 0.0, 1.0, False),
        (10, 0.05, 0.5, False),
        (6, 0.2, 0.5, False),
        (8, 0.0, 1.0, True),  # all eight are wrong
        (40, 0.0, 0.5, True),
        (200, 0.1, 0.5, True),
        (1000, 0.2, 0.49, True),
        (1000, 0.2, 0.30, False),
        (8, 0.4, 0.5, False),
    ],
)
def test_labels_are_blamed_only_if_the_validation_images_prove_it(held_out, training, validation, said):
    watching = Watchdog(DEMO, [16, 16], 1, held_out)
    row = {"train_top1_error": training, "val_top1_error": validation}
    notes = [watching.epoch(row), watching.epoch(row)]
    assert [note is not None for note in notes] == [False, said]

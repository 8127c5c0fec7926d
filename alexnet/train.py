"""Training: from a recipe and prepared pictures to a run folder, step by step, stopped and gone on with at any step.

All randomness is a function of (seed, epoch, sample) or (seed, step), so a run that was interrupted and resumed takes
the same steps as one that was not.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from alexnet.check import check_network
from alexnet.dataset import Prepared, epoch_order
from alexnet.errors import DivergedError, UsageError
from alexnet.evaluate import evaluate
from alexnet.guard import Guard
from alexnet.model import Network
from alexnet.optim import rate, set_rates
from alexnet.prefetch import ahead
from alexnet.run import (
    Run,
    append_metrics,
    forget_metrics_after,
    load_checkpoint,
    read_metrics,
    save_checkpoint,
)
from alexnet.trainer import Trainer, crop_size_at, epoch_batches, steps_per_epoch, train_step

SAVE_SECONDS = 60.0  # between two checkpoints that are not the best; changes no result
DEPTH = 2  # batches made while the network works on another; changes no result


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # of the whole run, counted from 1
    steps: int
    steps_per_epoch: int
    loss: float  # running mean over the epoch
    top1_error: float  # on the augmented training pictures, in [0, 1]
    lr: float
    images_per_second: float


class Monitor(Protocol):
    """What training tells while it goes on."""

    def step(self, progress: Progress) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...

    def note(self, text: str) -> None: ...


class Interrupted(Exception):
    """Training was asked to stop and has saved where it stands."""

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"stopped at step {step}")
        self.step = step
        self.signal_number = signal_number


def choose_device(name: str = "auto") -> torch.device:
    """A torch device by name; "auto" takes a GPU where there is one.

    Raises:
        UsageError: if the device is not there.
    """
    if name == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"no device {name!r} here: {str(error).splitlines()[0]}", fix="--device auto chooses one."
        ) from None
    return device


def held_out_split(prepared: Prepared) -> str | None:
    """The split that chooses the best checkpoint."""
    return next((name for name in ("val", "test") if name in prepared.splits), None)


def train(
    run: Run, prepared: Prepared, *, device: torch.device, monitor: Monitor, max_steps: int | None = None
) -> Network:
    """Trains a run to its end, from its newest checkpoint if it has one, and returns the network of the last step.

    Args:
        max_steps: stop after that many steps of this call, as if interrupted.

    Raises:
        DivergedError: when the loss is not finite; what was saved before stays.
        Interrupted: when asked to stop (Ctrl-C, SIGTERM); where it stands is saved.
    """
    recipe = run.recipe
    stored = load_checkpoint(run)
    trainer = Trainer(run, prepared, device, anew=stored is None)
    if stored is not None:
        trainer.restore(*stored)
    forget_metrics_after(run, trainer.state.step)
    count = len(prepared.splits["train"])
    per_epoch = steps_per_epoch(count, recipe)
    steps = per_epoch * recipe.epochs
    counts = np.bincount(trainer.labels.numpy(), minlength=recipe.model.num_classes)
    guard = Guard(recipe, counts.tolist(), per_epoch)
    guard.restore(None if stored is None else stored[0].get("guard"), read_metrics(run))
    first = trainer.state.step
    last_save = time.monotonic()
    last = steps if max_steps is None else min(steps, first + max(max_steps, 1))
    batches = _batches(trainer, first, last, steps, per_epoch)
    with stop_signals() as stopped_by, ahead(batches, DEPTH) as made:
        for step in range(first, last):
            epoch, position = step // per_epoch + 1, step % per_epoch
            progress, warning = _step(trainer, guard, made, epoch, step, steps, per_epoch)
            monitor.step(progress)
            _tell(run, monitor, step + 1, warning)
            best = False
            if position + 1 == per_epoch:
                row, best = _end_epoch(trainer, epoch, step / steps)
                monitor.epoch(row)
                _tell(run, monitor, step + 1, guard.epoch(row))
                append_metrics(run, row)
            stopping = stopped_by() or (max_steps is not None and step + 1 - first >= max_steps)
            done = step + 1 == steps
            if best or done or stopping or time.monotonic() - last_save > SAVE_SECONDS:
                tensors = {**trainer.tensors(), "guard": guard.memory()}
                save_checkpoint(run, trainer.trained, tensors, trainer.state, best=best)
                last_save = time.monotonic()
            if stopping and not done:
                raise Interrupted(step + 1, stopped_by() or signal.SIGINT)
    return trainer.trained


def _batches(
    trainer: Trainer, first: int, last: int, steps: int, per_epoch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pictures and targets of the steps from `first` to before `last`, of `steps` in the whole run."""
    recipe, count = trainer.run.recipe, len(trainer.labels)
    planned: list[npt.NDArray[np.int64]] = []
    for step in range(first, last):
        epoch, position = step // per_epoch + 1, step % per_epoch
        if not planned or position == 0:
            planned = epoch_batches(epoch_order(count, recipe.seed, epoch if recipe.reshuffle else 1), recipe)
        yield trainer.batch(planned[position], epoch, step, step / steps)


def _tell(run: Run, monitor: Monitor, step: int, text: str | None) -> None:
    if text is not None:
        append_metrics(run, {"kind": "note", "step": step, "text": text})
        monitor.note(text)


def _step(
    trainer: Trainer,
    guard: Guard,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    epoch: int,
    step: int,
    steps: int,
    per_epoch: int,
) -> tuple[Progress, str | None]:
    """Takes one step with the next batch; says where the run stands then, and what the guard finds wrong.

    Raises:
        DivergedError: the loss is not finite.
    """
    started = time.monotonic()
    recipe, progress = trainer.run.recipe, step / steps
    lr = set_rates(trainer.optimizer, recipe.optim, epoch, progress)
    images, targets = next(batches)
    trainer.model.train()
    trainer.model.seed_dropout(recipe.seed, step)
    loss, logits = train_step(trainer.model, trainer.optimizer, images, targets, recipe, trainer.class_weights)
    if trainer.average is not None:
        trainer.average.update_parameters(trainer.model)
    value = float(loss)
    if not math.isfinite(value):
        raise DivergedError(
            f"the loss became {value} at step {step + 1} (epoch {epoch}, rate {lr:.3g})",
            fix=f"The weights have run away. Start again with a lower rate, for example lr={recipe.optim.lr / 10:.2g}.",
        )
    errors = float((logits.argmax(1) != targets.argmax(1)).sum())
    warning = None
    if len(images) > 1:  # one picture alone cannot be told apart from others
        warning = guard.step(
            step + 1, value, errors / len(images), lambda: check_network(trainer.model, images, targets, recipe)
        )
    seconds = max(time.monotonic() - started, 1e-9)
    state = trainer.state = replace(
        trainer.state,
        step=step + 1,
        loss_sum=trainer.state.loss_sum + value * len(images),
        errors=trainer.state.errors + errors,
        images=trainer.state.images + len(images),
        seconds=trainer.state.seconds + seconds,
    )
    where = Progress(
        epoch=epoch,
        epochs=recipe.epochs,
        step=step + 1,
        steps=steps,
        steps_per_epoch=per_epoch,
        loss=state.loss_sum / state.images,
        top1_error=state.errors / state.images,
        lr=lr,
        images_per_second=len(images) / seconds,
    )
    return where, warning


def _end_epoch(trainer: Trainer, epoch: int, progress: float) -> tuple[dict[str, Any], bool]:
    """The metrics row of an epoch and whether it is the best so far; the sums of the state start anew."""
    recipe, state = trainer.run.recipe, trainer.state
    row: dict[str, Any] = {
        "kind": "epoch",
        "epoch": epoch,
        "step": state.step,
        "crop_size": crop_size_at(recipe, progress),
        "lr": rate(recipe.optim, "weights", epoch, progress),
        "train_loss": state.loss_sum / state.images,
        "train_top1_error": state.errors / state.images,
    }
    started = time.monotonic()
    split = held_out_split(trainer.prepared)
    best = False
    state = replace(state, loss_sum=0.0, errors=0.0, images=0)
    if split is not None and (epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs):
        result = evaluate(
            trainer.trained, trainer.prepared, split, class_names=trainer.run.class_names, precision=recipe.precision
        )
        row |= {"val_loss": result.log_loss, "val_top1_error": result.top1_error, "val_top5_error": result.top5_error}
        score = (result.top1_error, result.log_loss)
        known = state.best_error is not None and state.best_loss is not None
        if not math.isfinite(result.log_loss):
            raise DivergedError(f"the network's answers are not finite after epoch {epoch}", fix="Use a lower rate.")
        best = not known or score < (state.best_error, state.best_loss)
        if best:
            state = replace(state, best_error=score[0], best_loss=score[1])
    trainer.state = replace(state, seconds=state.seconds + time.monotonic() - started)
    row["seconds"] = trainer.state.seconds
    row["images_per_second"] = epoch * len(trainer.labels) / trainer.state.seconds
    return row, best


@contextmanager
def stop_signals() -> Iterator[Callable[[], int | None]]:
    """Within it, Ctrl-C and SIGTERM only raise a flag (the number of the signal); a second Ctrl-C leaves at once."""
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: seen[0] if seen else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Training: from a recipe and prepared pictures to a run folder, step by step, stopped and gone on with at any step.

All randomness is a function of (seed, epoch, sample) or (seed, step), so a run that was interrupted and resumed takes
the same steps as one that was not.
"""

import math
import signal
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import torch

from alexnet.data.dataset import Prepared, held_out_split
from alexnet.data.loader import ahead, steps_per_epoch
from alexnet.data.remote import arriving
from alexnet.distributed.collectives import Team
from alexnet.errors import DivergedError
from alexnet.evaluation.evaluate import evaluate
from alexnet.models.network import Network
from alexnet.runs.checkpoint import check_room, save_checkpoint, settle
from alexnet.runs.environment import check_conditions, conditions
from alexnet.runs.kernel_history import remember_kernels
from alexnet.runs.metrics import append_metrics, read_metrics
from alexnet.runs.run import Run
from alexnet.storage.locks import only_one
from alexnet.training.check import Check, check_network
from alexnet.training.divergence import ROLLBACKS, SLOWER, diverged, first_bad, first_bad_tensor
from alexnet.training.monitor import Asked, Interrupted, Monitor, Progress, stop_signals
from alexnet.training.optim import rate, set_rates
from alexnet.training.schedule import crop_size_at
from alexnet.training.step import RunawayLoss, team_predict, team_step, train_step
from alexnet.training.trainer import Trainer, shared_checkpoint
from alexnet.training.watchdog import Guard

SAVE_SECONDS = 60.0  # between two checkpoints that are not the best; changes no result
DEPTH = 2  # batches made while the network works on another; changes no result


def train(
    run: Run,
    prepared: Prepared,
    *,
    device: torch.device,
    monitor: Monitor,
    max_steps: int | None = None,
    save_seconds: float = SAVE_SECONDS,
    allow_inexact: bool | Collection[str] = False,
    team: Team | None = None,
) -> Network:
    """Trains a run to its end, from its newest whole checkpoint if it has one, and returns the last network.

    Args:
        max_steps: stop after that many steps of this call, as if interrupted.
        save_seconds: between two checkpoints that are not the best; changes no result.
        allow_inexact: go on although versions, threads or pictures are others, or those named; it is recorded.
        team: the processes that train it together, each of which calls this; None: this one alone. Those that do not
            lead give a run in a folder of their own, for what they write is nobody's.

    Raises:
        DivergedError: when numbers are not finite; what was saved before stays.
        Interrupted: when asked to stop (Ctrl-C, SIGTERM); where it stands is saved.
        UsageError: another process trains this run, or it could not go on exactly.
        UntrustedFileError: no checkpoint of the run is whole.
    """
    team = team or Team()
    here = conditions(prepared, device, team.described)
    rollbacks, told, last = 0, "", None
    with only_one(run.folder), stop_signals() as asked:
        while True:
            stored = shared_checkpoint(run, team)
            inexact = None if stored is None else check_conditions(stored.conditions, here, allow=allow_inexact)
            settle(run, stored)
            trainer = Trainer(run, prepared, device, anew=stored is None, team=team)
            if stored is not None:
                trainer.restore(stored.tensors, stored.state)
            trainer.state = replace(trainer.state, rollbacks=max(rollbacks, trainer.state.rollbacks))
            size = sum(t.nbytes for t in (*trainer.tensors().values(), *trainer.trained.parameters()))
            if team.leads:
                check_room(run, size)
            guard = Guard.of(run.recipe, trainer.labels, steps_per_epoch(len(trainer.labels), run.recipe))
            guard.restore(None if stored is None else stored.tensors.get("guard"), read_metrics(run))
            for kind, text in [("damaged", d) for d in (stored.damage if stored else ())] + [("inexact", inexact)]:
                _tell(run, monitor, trainer.state.step, f"{kind}: {text}" if text else None)
            _tell(run, monitor, trainer.state.step, told or None)
            last = trainer.state.step + max(max_steps, 1) if last is None and max_steps is not None else last
            try:
                return _go(trainer, guard, monitor, here, asked, last, save_seconds)
            except DivergedError as error:
                rollbacks = trainer.state.rollbacks + 1
                if run.recipe.on_nan != "rollback" or rollbacks > ROLLBACKS:
                    raise
                rate = SLOWER**rollbacks
                told = f"rollback: {rollbacks} of {ROLLBACKS}: {error.what}; from here on at {rate:g} of the rate"


def _go(
    trainer: Trainer,
    guard: Guard,
    monitor: Monitor,
    here: dict[str, str],
    asked: Asked,
    last: int | None,
    save_seconds: float,
) -> Network:
    """Takes the steps from where the trainer stands to the end of the run, or to before step `last`."""
    run, recipe, first = trainer.run, trainer.run.recipe, trainer.state.step
    per_epoch = steps_per_epoch(len(trainer.labels), recipe)
    steps, last_save = per_epoch * recipe.epochs, time.monotonic()
    end = steps if last is None else min(steps, last)
    batches = _batches(trainer, first, end, steps, per_epoch)
    with arriving(trainer.prepared, trainer.upcoming()), ahead(batches, DEPTH) as made:
        for step in range(first, end if not _in_vain(trainer) else first):
            epoch, position = step // per_epoch + 1, step % per_epoch
            progress, warning = _step(trainer, guard, made, epoch, step, steps, per_epoch)
            monitor.step(progress)
            _tell(run, monitor, step + 1, warning)
            best = False
            if position + 1 == per_epoch:
                row, best = _end_epoch(trainer, epoch, step / steps)
                row |= remember_kernels(run, epoch, trainer.whole(trainer.trained))
                monitor.epoch(row)
                _tell(run, monitor, step + 1, guard.epoch(row))
                append_metrics(run, row)
            due = asked.saving() or time.monotonic() - last_save >= save_seconds
            stop, save = trainer.team.largest(asked.stop or 0, due)
            stopping = stop > 0 or step + 1 == last
            done = step + 1 == steps or _in_vain(trainer)
            if best or done or stopping or save:
                tensors = {**trainer.tensors(), "guard": guard.memory()}
                _refuse_not_finite(trainer, tensors)
                whole = trainer.whole(trainer.trained)  # every process takes part
                if trainer.team.leads:
                    save_checkpoint(run, whole, tensors, trainer.state, best=best, conditions=here)
                last_save = time.monotonic()
            if done:
                break
            if stopping:
                raise Interrupted(step + 1, int(stop) or signal.SIGINT)
    return trainer.whole(trainer.trained)


def _in_vain(trainer: Trainer) -> bool:
    """Whether the patience of the recipe is at its end."""
    patience = trainer.run.recipe.patience
    return patience > 0 and trainer.state.looks_since_best >= patience


def _refuse_not_finite(trainer: Trainer, tensors: dict[str, torch.Tensor]) -> None:
    """No checkpoint holds a number that is not finite."""
    if bad := first_bad_tensor(tensors):
        step = trainer.state.step
        what = f"the weights are not finite after step {step}"
        raise diverged(trainer.run.folder, what, bad, {"step": step}, trainer.run.recipe.optim.lr)


def _batches(
    trainer: Trainer, first: int, last: int, steps: int, per_epoch: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pictures and targets of the steps from `first` to before `last`, of `steps` in the whole run."""
    for step in range(first, last):
        epoch, position = step // per_epoch + 1, step % per_epoch
        yield trainer.batch(trainer.samples(epoch, position), epoch, step, step / steps)


def _pictures(trainer: Trainer, epoch: int, position: int) -> list[str]:
    return [trainer.prepared.splits["train"].names[i] for i in trainer.samples(epoch, position)]


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
    slower = SLOWER**trainer.state.rollbacks
    lr = slower * set_rates(trainer.optimizer, recipe.optim, epoch, progress)
    for group in trainer.optimizer.param_groups:
        group["lr"] *= slower
    images, targets = next(batches)
    trainer.model.train()
    trainer.model.seed_dropout(recipe.seed, step)
    count, parts = len(images), (trainer.model, trainer.optimizer, images, targets, recipe, trainer.class_weights)
    try:
        if trainer.team.plain:
            loss, logits = train_step(*parts)
            value, wrong = float(loss), float((logits.argmax(1) != targets.argmax(1)).sum())
        else:
            count = len(samples := trainer.samples(epoch, step % per_epoch))
            value, wrong = team_step(trainer.team, *parts, count=count, step=step)
    except RunawayLoss as error:
        trainer.model.seed_dropout(recipe.seed, step)
        raise diverged(
            trainer.run.folder,
            f"the loss became {error.loss:.3g} at step {step + 1} (epoch {epoch}, rate {lr:.3g})",
            first_bad(trainer.alone(), images),
            {"step": step + 1, "epoch": epoch, "rate": lr, "pictures": _pictures(trainer, epoch, step % per_epoch)},
            recipe.optim.lr,
        ) from None
    if trainer.average is not None:
        trainer.average.update_parameters(trainer.model)

    def look() -> Check:
        alone = trainer.team.plain
        whole = (images, targets) if alone else trainer.batch(samples, epoch, step, progress, whole=True)
        return check_network(trainer.alone(), *whole, recipe)

    # One picture alone cannot be told apart from others.
    warning = guard.step(step + 1, value, wrong / count, look) if count > 1 else None
    seconds = max(time.monotonic() - started, 1e-9)
    state = trainer.state = replace(
        trainer.state,
        step=step + 1,
        loss_sum=trainer.state.loss_sum + value * count,
        errors=trainer.state.errors + wrong,
        images=trainer.state.images + count,
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
        images_per_second=count / seconds,
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
            trainer.trained,
            trainer.prepared,
            split,
            class_names=trainer.run.class_names,
            precision=recipe.precision,
            predict=team_predict(trainer.team),
        )
        row |= {"val_loss": result.log_loss, "val_top1_error": result.top1_error, "val_top5_error": result.top5_error}
        score = (result.top1_error, result.log_loss)
        known = state.best_error is not None and state.best_loss is not None
        if not math.isfinite(result.log_loss):
            what = f"the answers on {split} are not finite after epoch {epoch}"
            bad = first_bad_tensor(dict(trainer.trained.named_parameters()))
            raise diverged(trainer.run.folder, what, bad, {"step": state.step, "epoch": epoch}, recipe.optim.lr)
        best = not known or score < (state.best_error, state.best_loss)
        state = replace(state, looks_since_best=0 if best else state.looks_since_best + 1)
        if best:
            state = replace(state, best_error=score[0], best_loss=score[1], best_step=state.step)
    trainer.state = replace(state, seconds=state.seconds + time.monotonic() - started)
    row["seconds"] = trainer.state.seconds
    row["images_per_second"] = epoch * len(trainer.labels) / trainer.state.seconds
    return row, best

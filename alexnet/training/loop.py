"""Training: from a recipe and prepared images to a run folder, step by step, stopped and resumed at any step.

All randomness is a function of (seed, epoch, sample) or (seed, step), so a run that was interrupted and resumed takes
the same steps as one that was not.
"""

import signal
import time
from collections.abc import Collection

import torch

from alexnet.data.dataset import Prepared
from alexnet.data.loader import prefetch
from alexnet.data.remote import arriving
from alexnet.distributed.collectives import ProcessGroup
from alexnet.errors import DivergedError
from alexnet.models.network import Network
from alexnet.runs.checkpoint import check_room, settle
from alexnet.runs.environment import check_conditions, conditions
from alexnet.runs.metrics import append_metrics
from alexnet.runs.run import RunFolder
from alexnet.storage.locks import only_one
from alexnet.training.divergence import ROLLBACKS, SLOWER
from alexnet.training.monitor import SILENT, Interrupted, Monitor, Progress, Requests, stop_signals
from alexnet.training.state import shared_checkpoint
from alexnet.training.trainer import Trainer

SAVE_SECONDS = 60.0  # between two checkpoints that are not the best; changes no result
PREFETCHED = 2  # batches made while the network works on another; changes no result


def train(
    run: RunFolder,
    prepared: Prepared,
    *,
    device: torch.device,
    monitor: Monitor = SILENT,
    max_steps: int | None = None,
    save_seconds: float = SAVE_SECONDS,
    allow_inexact: bool | Collection[str] = False,
    group: ProcessGroup | None = None,
) -> Network:
    """Trains a run to its end, from its newest whole checkpoint if it has one, and returns the last network.

    Args:
        monitor: told every step, epoch and note; nothing is shown by default.
        max_steps: stop after that many steps of this call, as if interrupted.
        save_seconds: between two checkpoints that are not the best; changes no result.
        allow_inexact: go on although versions, threads or images are others, or those named; it is recorded.
        group: the processes that train it together, each of which calls this; None: this one alone. Those that are
            not the main one give a run in a folder of their own, for what they write is nobody's.

    Raises:
        DivergedError: when numbers are not finite; what was saved before stays.
        Interrupted: when asked to stop (Ctrl-C, SIGTERM); where it stands is saved.
        UsageError: another process trains this run, or it could not go on exactly.
        UntrustedFileError: no checkpoint of the run is whole.
    """
    group = group or ProcessGroup()
    here = conditions(prepared, device, group.described)
    rollbacks, reason, end = 0, None, None
    with only_one(run.folder), stop_signals() as requests:
        while True:
            stored = shared_checkpoint(run, group)
            inexact = None if stored is None else check_conditions(stored.conditions, here, allow=allow_inexact)
            settle(run, stored)
            trainer = Trainer(run, prepared, device, stored=stored, group=group)
            trainer.note_rollbacks(rollbacks)
            size = trainer.checkpoint_bytes  # every process takes part
            if group.is_main:
                check_room(run, size)
            for damage in stored.damage if stored else ():
                _note(trainer, monitor, f"damaged: {damage}")
            _note(trainer, monitor, inexact and f"inexact: {inexact}")
            _note(trainer, monitor, reason)
            if end is None and max_steps is not None:
                end = trainer.state.step + max(max_steps, 1)
            try:
                return _take_steps(trainer, monitor, requests, here, end, save_seconds)
            except DivergedError as error:
                rollbacks = trainer.state.rollbacks + 1
                if run.recipe.on_nan != "rollback" or rollbacks > ROLLBACKS:
                    raise
                rate = SLOWER**rollbacks
                reason = f"rollback: {rollbacks} of {ROLLBACKS}: {error.what}; from here on at {rate:g} of the rate"


def _take_steps(
    trainer: Trainer,
    monitor: Monitor,
    requests: Requests,
    here: dict[str, str],
    end: int | None,
    save_seconds: float,
) -> Network:
    """Takes the steps from where the trainer stands to the end of the run, or to before step `end`."""
    clock, first, saved = trainer.clock, trainer.state.step, time.monotonic()
    last = clock.steps if end is None else min(clock.steps, end)
    with (
        arriving(trainer.prepared, trainer.upcoming()),
        prefetch(trainer.batches(first, last), PREFETCHED) as batches,
    ):
        while trainer.state.step < last and not trainer.out_of_patience:
            started, at = time.monotonic(), clock.at(trainer.state.step)
            images, targets = next(batches)
            result = trainer.take_step(images, targets, at)
            warning = trainer.watch(result, images, targets, at)
            seconds = max(time.monotonic() - started, 1e-9)
            trainer.advance(result, seconds)
            monitor.step(Progress.of(trainer.state, clock, at, result, seconds))
            _note(trainer, monitor, warning)
            best = False
            if at.ends_epoch:
                row, best = trainer.end_epoch(at)
                monitor.epoch(row)
                _note(trainer, monitor, trainer.watchdog.epoch(row))
                append_metrics(trainer.run, row)
            done = trainer.state.step == clock.steps or trainer.out_of_patience
            due = requests.take_save() or time.monotonic() - saved >= save_seconds
            stop, save = trainer.group.all_reduce_max(requests.stop or 0, due)
            stopping = stop > 0 or trainer.state.step == end
            if best or done or stopping or save:
                trainer.save(here, best=best)
                saved = time.monotonic()
            if stopping and not done:
                raise Interrupted(trainer.state.step, int(stop) or signal.SIGINT)
    return trainer.whole(trainer.trained)


def _note(trainer: Trainer, monitor: Monitor, text: str | None) -> None:
    """Tells a note and keeps it in the metrics."""
    if text is not None:
        append_metrics(trainer.run, {"kind": "note", "step": trainer.state.step, "text": text})
        monitor.note(text)

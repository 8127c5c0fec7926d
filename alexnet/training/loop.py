"""The training loop: from a recipe and prepared images to a run folder; it can be stopped and resumed at any step.

All randomness is a function of (seed, epoch, sample) or (seed, step). So a run that was interrupted and resumed takes
the same steps as a run without interruption.
"""

import signal
import time
from collections import deque
from collections.abc import Collection, Generator
from typing import cast

import torch

from alexnet.data.dataset import Prepared
from alexnet.data.loader import PREFETCHED, prefetch
from alexnet.data.remote import arriving
from alexnet.distributed.collectives import ProcessGroup
from alexnet.errors import DivergedError
from alexnet.kernels.precision import FAST, algorithms, reproducible
from alexnet.models.network import Network
from alexnet.runs.checkpoint import check_room, settle
from alexnet.runs.environment import check_conditions, conditions, trained_fast
from alexnet.runs.metrics import append_metrics
from alexnet.runs.run import RunFolder
from alexnet.storage.locks import only_one
from alexnet.training.divergence import ROLLBACKS, SLOWER
from alexnet.training.late import BegunStep
from alexnet.training.monitor import SILENT, Interrupted, Monitor, Progress, Requests, stop_signals
from alexnet.training.state import shared_checkpoint
from alexnet.training.trainer import Trainer

SAVE_SECONDS = 60.0  # between two checkpoints, apart from those of a new best network; changes no result
NOT_THE_SAME = "trained with --fast: a run that resumes does not end with the bytes of one that was not interrupted"


def train(
    run: RunFolder,
    prepared: Prepared,
    *,
    device: torch.device,
    monitor: Monitor = SILENT,
    max_steps: int | None = None,
    save_seconds: float = SAVE_SECONDS,
    allow_inexact: bool | Collection[str] = False,
    fast: bool = False,
    group: ProcessGroup | None = None,
) -> Network:
    """Trains a run to its end, from its newest undamaged checkpoint if it has one, and returns the last network.

    Args:
        monitor: receives every step, epoch and note; by default nothing is shown.
        max_steps: stop after this many steps of this call, as if the run was interrupted.
        save_seconds: between two checkpoints, apart from those of a new best network; changes no result.
        allow_inexact: resume although conditions (versions, threads, images) have changed, so that the run is no longer
            bit-identical. True: any condition; names: only these. A note in the metrics records it.
        fast: on a CUDA card allow algorithms that add in another order each time, so that a resumed run does not end
            with the same bytes. A run that was trained so stays so, and a note in the metrics says it when it resumes.
        group: the processes that train the run together, each of which calls this function; None: a single process.
            Processes other than the main one pass a run in a temporary folder of their own.

    Raises:
        DivergedError: a value is not finite; the checkpoints before it stay.
        Interrupted: the run was asked to stop (Ctrl-C, SIGTERM) and has saved a checkpoint.
        UsageError: another process trains this run, or it cannot be resumed exactly.
        UntrustedFileError: every checkpoint of the run is damaged.
    """
    with stop_signals() as requests:
        steps = training(
            run,
            prepared,
            device=device,
            requests=requests,
            monitor=monitor,
            max_steps=max_steps,
            save_seconds=save_seconds,
            allow_inexact=allow_inexact,
            fast=fast,
            group=group,
        )
        while True:
            try:
                next(steps)
            except StopIteration as ended:
                return cast(Network, ended.value)


def training(
    run: RunFolder,
    prepared: Prepared,
    *,
    device: torch.device,
    requests: Requests,
    monitor: Monitor = SILENT,
    max_steps: int | None = None,
    save_seconds: float = SAVE_SECONDS,
    allow_inexact: bool | Collection[str] = False,
    fast: bool = False,
    group: ProcessGroup | None = None,
) -> Generator[None, None, Network]:
    """Trains a run as `train` does, and pauses within each step, so that several runs can train in turns.

    It pauses when the work of a step is under way and before its results are read: on a GPU that work goes on while
    others have their turn. Settings that `reproducible` makes are of the process: runs in turns need it around all.

    Args:
        requests: what was asked for by signals; the caller handles these.
    """
    group = group or ProcessGroup()
    rollbacks, reason, end = 0, None, None
    with only_one(run.folder):
        while True:
            stored = shared_checkpoint(run, group)
            fast = fast or (stored is not None and trained_fast(stored.conditions))
            current = conditions(prepared, device, group.described, recipe=run.recipe, fast=fast)
            inexact = None if stored is None else check_conditions(stored.conditions, current, allow=allow_inexact)
            settle(run, stored)
            trainer = Trainer(run, prepared, device, stored=stored, group=group)
            trainer.note_rollbacks(rollbacks)
            size = trainer.checkpoint_bytes  # a collective operation: every process must call it
            if group.is_main:
                check_room(run, size)
            for damage in stored.damage if stored else ():
                _note(trainer, monitor, f"damaged: {damage}")
            _note(trainer, monitor, inexact and f"inexact: {inexact}")
            if stored is not None and algorithms(device, fast) == FAST:
                _note(trainer, monitor, f"inexact: {NOT_THE_SAME}")
            _note(trainer, monitor, reason)
            if end is None and max_steps is not None:
                end = trainer.state.step + max(max_steps, 1)
            try:
                with reproducible(device, fast=fast):
                    return (yield from _take_steps(trainer, monitor, requests, current, end, save_seconds))
            except DivergedError as error:
                rollbacks = trainer.state.rollbacks + 1
                if run.recipe.on_nan != "rollback" or rollbacks > ROLLBACKS:
                    raise
                factor = SLOWER**rollbacks
                reason = f"rollback: {rollbacks} of {ROLLBACKS}: {error.what}; now at {factor:g} of the learning rate"


def _take_steps(
    trainer: Trainer,
    monitor: Monitor,
    requests: Requests,
    current: dict[str, str],
    end: int | None,
    save_seconds: float,
) -> Generator[None, None, Network]:
    """Takes the remaining steps of the run, or those until it has taken `end` steps in all.

    Args:
        current: the conditions of this process, which every checkpoint stores.
    """
    clock, first, saved = trainer.clock, trainer.state.step, time.monotonic()
    last = clock.steps if end is None else min(clock.steps, end)
    begun: deque[BegunStep] = deque()  # steps whose losses have not been read
    started = saved

    def read_one() -> None:
        nonlocal started
        step = begun[0]
        result = trainer.result(step)
        warning = trainer.watch(result, step.images, step.targets, step.at)
        seconds, started = max(time.monotonic() - started, 1e-9), time.monotonic()
        trainer.advance(result, seconds)
        begun.popleft()
        monitor.step(Progress.of(trainer.state, clock, step.at, result, seconds))
        _note(trainer, monitor, warning)
        _note(trainer, monitor, None if trainer.late is None else trainer.late.take_note())

    with (
        arriving(trainer.prepared, trainer.upcoming()),
        prefetch(trainer.arrivals(first, last), PREFETCHED) as arrivals,
    ):
        while trainer.state.step < last and not trainer.out_of_patience:
            if not begun:
                started = time.monotonic()
            at = clock.at(trainer.state.step + len(begun))
            begun.append(trainer.begin_step(*next(arrivals).wait(), at))
            yield
            while begun and (at.ends_epoch or at.step + 1 == last or not trainer.may_wait(begun)):
                read_one()
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
                while begun:
                    read_one()
                trainer.save(current, best=best)
                saved = time.monotonic()
            if stopping and not done:
                raise Interrupted(trainer.state.step, int(stop) or signal.SIGINT, asked=stop > 0)
    return trainer.whole(trainer.trained)


def _note(trainer: Trainer, monitor: Monitor, text: str | None) -> None:
    """Writes a note to the metrics and gives it to the monitor."""
    if text is not None:
        append_metrics(trainer.run, {"kind": "note", "step": trainer.state.step, "text": text})
        monitor.note(text)

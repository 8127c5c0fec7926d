"""The status of a run that another process trains, read from its folder, and how to make that process save or stop."""

import os
import platform
import signal
import sys
from typing import Any

from alexnet.data.dataset import Prepared
from alexnet.data.loader import steps_per_epoch
from alexnet.errors import ResourceError, UsageError
from alexnet.runs.checkpoint import STATE, checkpoint_name
from alexnet.runs.metrics import best_epoch, number, read_epochs
from alexnet.runs.run import RunFolder
from alexnet.storage.files import parse_json, read_rows
from alexnet.storage.locks import holds_lock, owner_of

NOTES = 20  # how many of the last notes of the run are returned
ROW_KEYS = ("epoch", "step", "lr", "train_loss", "train_top1_error", "val_loss", "val_top1_error", "val_top5_error")


def progress(run: RunFolder, prepared: Prepared | None) -> dict[str, Any]:
    """Returns the progress of a run: {"state", "epoch", "epochs", "step", "steps", "rate", "eta", "rows", ...}.

    "state" is running (a process of this machine holds the lock of the run), elsewhere (a process of another machine
    has taken it), finished or stopped. "rate" is the learning rate. "eta" is in seconds, from the mean time of an epoch
    so far; None unless the run is being trained. Every number is finite or None.
    """
    rows, _ = read_epochs(run.folder / "metrics.jsonl")
    notes = [row for row in read_rows(run.folder / "metrics.jsonl")[0] if row.get("kind") == "note"]
    recipe, count = run.recipe, None if prepared is None else len(prepared.splits["train"])
    per_epoch = None if count is None else steps_per_epoch(count, recipe)
    owner = owner_of(run.folder)
    last = rows[-1] if rows else {}
    done = int(last.get("epoch", 0))
    step = max(int(last.get("step", 0)), _saved_step(run))
    seconds = number(last.get("seconds"))
    running = owner is not None and holds_lock(run.folder, owner)
    elsewhere = owner is not None and not running and owner["host"] != platform.node()
    state = "running" if running else "elsewhere" if elsewhere else "finished" if done >= recipe.epochs else "stopped"
    left = recipe.epochs - done
    return {
        "state": state,
        "can_ask": running,
        "process": owner["pid"] if running and owner is not None else None,
        "host": owner["host"] if owner is not None and (running or elsewhere) else None,
        "epoch": done,
        "epochs": recipe.epochs,
        "step": step,
        "steps": None if per_epoch is None else per_epoch * recipe.epochs,
        "rate": _finite(last.get("lr")),
        "images_per_second": _finite(last.get("images_per_second")),
        "seconds": _finite(seconds),
        "eta": _finite(seconds / done * left) if state in ("running", "elsewhere") and done else None,
        "best_epoch": best_epoch(rows),
        "rows": [{key: _finite(row.get(key)) for key in ROW_KEYS if key in row} for row in rows],
        "notes": [{"step": row.get("step"), "text": str(row.get("text", ""))} for row in notes[-NOTES:]],
        "checkpoint": checkpoint_name(run, "LAST"),
    }


def ask(run: RunFolder, what: str) -> int:
    """Makes the process that trains a run save, or save and stop, by a signal; returns the number of the process.

    Args:
        what: "save" or "stop".

    Raises:
        UsageError: E289, no process of this machine trains the run.
        ResourceError: E530, the system does not allow the signal.
    """
    owner = owner_of(run.folder)
    if sys.platform != "linux" or owner is None or not holds_lock(run.folder, owner):
        raise UsageError(
            f"no process of this machine trains {run.folder.name} now",
            fix="If it trains on another machine, press Ctrl-C there: it saves and stops.",
            code="E289",
        )
    signal_number = signal.SIGTERM if what == "stop" else signal.SIGUSR1
    try:
        # The descriptor refers to this process even if the system gives its number to another process meanwhile.
        process = os.pidfd_open(owner["pid"])
        try:
            if holds_lock(run.folder, owner):
                signal.pidfd_send_signal(process, signal_number)
                return int(owner["pid"])
        finally:
            os.close(process)
    except OSError as error:
        raise ResourceError(
            f"process {owner['pid']} cannot be sent a signal: {(error.strerror or str(error)).lower()}",
            fix="Start alexnet explore as the user who trains.",
            code="E530",
        ) from None
    raise UsageError(f"{run.folder.name} has just ended", fix="See its results.", code="E289")


def _saved_step(run: RunFolder) -> int:
    name = checkpoint_name(run, "LAST")
    try:
        return int(parse_json((run.folder / "checkpoints" / str(name) / STATE).read_bytes())["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _finite(value: object) -> float | int | None:
    if isinstance(value, int):
        return value
    result = number(value)
    return result if result == result else None

"""A run that goes on in another process, as its folder tells it, and the two things it can be asked: save, and stop."""

import json
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
from alexnet.storage.jsonl import read_rows
from alexnet.storage.locks import holds_lock, owner_of

NOTES = 20  # the last notes of the guard that are shown
SHOWN = ("epoch", "step", "lr", "train_loss", "train_top1_error", "val_loss", "val_top1_error", "val_top5_error")


def progress(run: RunFolder, prepared: Prepared | None) -> dict[str, Any]:
    """Where a run stands: {"state", "epochs": rows, "step", "steps", "rate", "images_per_second", "eta", ...}.

    state is running (a process of this machine holds its lock), elsewhere (one of another machine says so), finished
    or stopped. eta is in seconds, by the mean time of an epoch so far; None unless it runs. Every number is finite or
    None.
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
        "rows": [{key: _finite(row.get(key)) for key in SHOWN if key in row} for row in rows],
        "notes": [{"step": row.get("step"), "text": str(row.get("text", ""))} for row in notes[-NOTES:]],
        "checkpoint": checkpoint_name(run, "LAST"),
    }


def ask(run: RunFolder, what: str) -> int:
    """Asks the process that trains a run to save, or to save and stop; gives its number.

    Args:
        what: "save" or "stop".

    Raises:
        UsageError: E289, no process of this machine trains it.
        ResourceError: E530, the system does not allow it.
    """
    owner = owner_of(run.folder)
    if sys.platform != "linux" or owner is None or not holds_lock(run.folder, owner):
        raise UsageError(
            f"no process of this machine trains {run.folder.name} now",
            fix="Ask it where it runs: Ctrl-C stops it and saves.",
            code="E289",
        )
    number_of = signal.SIGTERM if what == "stop" else signal.SIGUSR1
    try:
        # The descriptor stands for the process itself, so its number cannot come to mean another one meanwhile.
        process = os.pidfd_open(owner["pid"])
        try:
            if holds_lock(run.folder, owner):
                signal.pidfd_send_signal(process, number_of)
                return int(owner["pid"])
        finally:
            os.close(process)
    except OSError as error:
        raise ResourceError(
            f"process {owner['pid']} cannot be asked: {(error.strerror or str(error)).lower()}",
            fix="Start alexnet explore as the user who trains.",
            code="E530",
        ) from None
    raise UsageError(f"{run.folder.name} has just ended", fix="Look at its result.", code="E289")


def _saved_step(run: RunFolder) -> int:
    name = checkpoint_name(run, "LAST")
    try:
        return int(json.loads((run.folder / "checkpoints" / str(name) / STATE).read_bytes())["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _finite(value: object) -> float | int | None:
    if isinstance(value, int):
        return value
    found = number(value)
    return found if found == found else None

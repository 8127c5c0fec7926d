"""Checkpoints: written whole or not at all, every byte under a checksum, and passed over when one is damaged.

RUN/checkpoints/step-00000240/model.safetensors     the network to use, with recipe and classes in its header
                              training.safetensors  what else is needed to go on
                              state.json            figures so far, and what exactness hangs on
                              metrics.jsonl         the rows up to this step
                              SHA256SUMS            of these four
RUN/LAST RUN/BEST             the name of a checkpoint and the sha256 of its SHA256SUMS

Kept are the last, the one before it, and the best. A run goes on from the newest that is whole, and since all that
training does is a function of what a checkpoint holds, it ends the same from whichever.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from alexnet.errors import ResourceError, UntrustedFileError, UsageError
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.runs.run import RunFolder
from alexnet.storage.checksums import SUMS, broken, sums_of
from alexnet.storage.files import disk_errors, fsync_folder, write_file, write_through

MODEL, TRAINING, STATE, METRICS = "model.safetensors", "training.safetensors", "state.json", "metrics.jsonl"
ABOUT = "alexnet"  # one entry in the header of the weights: the order of several would be random
POINTERS = ("BEST", "LAST")
POINTER = re.compile(r"(step-\d{8,}) ([0-9a-f]{64})\n")
NAME = re.compile(r"step-(\d{8,})")
ROOM = 2.2  # times the size of a checkpoint that must be free before training starts


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands after a step; all else that training needs is a function of the recipe."""

    step: int  # optimiser steps done
    loss_sum: float = 0.0  # over the images of the epoch so far
    errors: float = 0.0
    images: int = 0
    best_error: float | None = None  # on the held-out split, in [0, 1]
    best_loss: float | None = None
    seconds: float = 0.0  # of training, evaluation included
    best_step: int | None = None
    looks_since_best: int = 0
    rollbacks: int = 0


class Checkpoint(NamedTuple):
    """A checkpoint that was read whole."""

    tensors: dict[str, Tensor]
    state: TrainingState
    conditions: dict[str, str]  # what exactness hangs on; see `alexnet.runs.environment`
    metrics: bytes  # metrics.jsonl at that step
    damage: list[str]  # what was found damaged on the way to it, a line each


def name_of(step: int) -> str:
    """The folder of a checkpoint."""
    return f"step-{step:08d}"


def save_checkpoint(
    run: RunFolder,
    model: Network,
    training: Mapping[str, Tensor],
    state: TrainingState,
    *,
    best: bool = False,
    conditions: Mapping[str, str] | None = None,
) -> None:
    """Writes a checkpoint next to the others, points LAST (and BEST) at it, then removes those that are not kept.

    Args:
        model: the network to use: with averaged weights where the recipe averages.
        training: what else is needed to go on (raw weights, momentum), by name.
        conditions: what exactness hangs on.

    Raises:
        ResourceError: if the disk is full or refuses; the checkpoint before is still whole.
    """
    name, parent = name_of(state.step), run.folder / "checkpoints"
    about = json.dumps({"recipe": asdict(run.recipe), "classes": run.class_names}, ensure_ascii=False)
    metrics = run.folder / METRICS
    doing = f"saving step {state.step} in {run.folder}"
    with disk_errors(doing):
        if (parent / name).exists() and broken(parent / name):
            _remove(parent / name)
        if not (parent / name).exists():
            files = {
                MODEL: safetensors.torch.save(_plain(model.state_dict()), {ABOUT: about}),
                TRAINING: safetensors.torch.save(_plain(training)),
                STATE: json.dumps({**asdict(state), "conditions": dict(conditions or {})}, indent=1).encode(),
                METRICS: metrics.read_bytes() if metrics.exists() else b"",
            }
            files[SUMS] = sums_of(files)
            _need(sum(map(len, files.values())), parent, doing, run)
            temporary = parent / f".{name}"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            for file, content in files.items():
                write_through(temporary / file, content)
            fsync_folder(temporary)
            temporary.rename(parent / name)
            fsync_folder(parent)
        for pointer in POINTERS if best else ("LAST",):
            _point(run, pointer, name)
    _remove_others(run)


def check_room(run: RunFolder, size: int) -> None:
    """Refuses to start what could not be saved.

    Args:
        size: bytes of a checkpoint.

    Raises:
        ResourceError: less than 2.2 times as much is free.
    """
    with disk_errors(f"looking for room in {run.folder}"):
        _need(round(ROOM * size), run.folder, f"starting {run.folder}, which keeps two checkpoints or three", run)


def _need(size: int, folder: Path, doing: str, run: RunFolder) -> None:
    free = shutil.disk_usage(folder).free
    if free >= size:
        return
    last = checkpoint_name(run, "LAST")
    kept = f" Last good checkpoint: {last} (whole)." if last else ""
    raise ResourceError(
        f"disk full while {doing}: need {size / 1e6:.0f} MB, {free / 1e6:.0f} MB free.{kept}",
        fix=f"Make room, then go on: alexnet resume {run.folder}",
        code="E501",
    )


def _point(run: RunFolder, pointer: str, name: str) -> None:
    sums = (run.folder / "checkpoints" / name / SUMS).read_bytes()
    write_file(run.folder / pointer, f"{name} {hashlib.sha256(sums).hexdigest()}\n".encode())


def _remove_others(run: RunFolder) -> None:
    """Keeps the last checkpoint, the one before it and the best."""
    parent = run.folder / "checkpoints"
    last = checkpoint_name(run, "LAST")
    older = [name for name in _names(run) if last is not None and name < last]
    kept = {last, checkpoint_name(run, "BEST"), *older[:1]}
    for folder in parent.iterdir():
        if folder.name not in kept:
            with suppress(OSError):  # the next call tries again; what was to be saved is
                _remove(folder)


def _remove(folder: Path) -> None:
    """Removes a checkpoint; a crash in the middle leaves nothing that looks like a damaged one."""
    hidden = folder if folder.name.startswith(".") else folder.with_name(f".{folder.name}.old")
    if hidden != folder:
        shutil.rmtree(hidden, ignore_errors=True)
        folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _names(run: RunFolder) -> list[str]:
    """The checkpoints there are, newest first."""
    parent = run.folder / "checkpoints"
    found = [path.name for path in parent.iterdir() if NAME.fullmatch(path.name)] if parent.is_dir() else []
    return sorted(found, key=lambda name: int(name.removeprefix("step-")), reverse=True)


def checkpoint_name(run: RunFolder, which: str) -> str | None:
    """The name that LAST or BEST holds, or None where there is none or the file is damaged."""
    try:
        match = POINTER.fullmatch((run.folder / which).read_bytes().decode())
    except (OSError, UnicodeDecodeError):
        return None
    return match[1] if match else None


def pointer_damage(run: RunFolder, which: str) -> str | None:
    """What is wrong with LAST or BEST, or None; that it does not exist is not wrong."""
    path = run.folder / which
    if not path.exists():
        return None
    name = checkpoint_name(run, which)
    if name is not None:
        sums = run.folder / "checkpoints" / name / SUMS
        if sums.is_file() and path.read_bytes().decode().split()[1] == hashlib.sha256(sums.read_bytes()).hexdigest():
            return None
    return f"{path} is damaged: it does not name a checkpoint as it was written"


def load_checkpoint(run: RunFolder) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None if nothing was saved yet.

    Raises:
        UntrustedFileError: there are checkpoints, and none is whole.
    """
    damage: list[str] = []
    for name in _names(run):
        folder = run.folder / "checkpoints" / name
        wrong = broken(folder)
        if not wrong:
            damage += [said for which in POINTERS if (said := pointer_damage(run, which))]
            values, metrics = json.loads((folder / STATE).read_bytes()), (folder / METRICS).read_bytes()
            if said := _metrics_damage(run, metrics, name):
                damage.append(said)
            conditions = values.pop("conditions")
            return Checkpoint(_read(folder, TRAINING), _state(values, folder), conditions, metrics, damage)
        damage += wrong
    if damage:
        raise UntrustedFileError(
            f"no checkpoint of {run.folder} is whole: {damage[0]}",
            fix="Put the folder back from a copy, or start a new run.",
            code="E652",
        )
    return None


def settle(run: RunFolder, checkpoint: Checkpoint | None) -> None:
    """Brings a run folder to where a checkpoint stands: its metrics, LAST and BEST; what is newer is removed.

    Raises:
        ResourceError: if the disk refuses.
    """
    with disk_errors(f"going on in {run.folder}"):
        metrics = b"" if checkpoint is None else checkpoint.metrics
        path = run.folder / METRICS
        if (path.read_bytes() if path.exists() else b"") != metrics:
            write_file(path, metrics)
        if checkpoint is None:
            return
        best, step = checkpoint.state.best_step, checkpoint.state.step
        for pointer, wanted in (("BEST", best), ("LAST", step)):
            name = None if wanted is None else name_of(wanted)
            if name is not None and (run.folder / "checkpoints" / name / SUMS).is_file():
                if checkpoint_name(run, pointer) != name or pointer_damage(run, pointer):
                    _point(run, pointer, name)
            else:
                (run.folder / pointer).unlink(missing_ok=True)
        for folder in list((run.folder / "checkpoints").iterdir()):
            if folder.name.startswith(".") or int(folder.name.removeprefix("step-")) > step:
                _remove(folder)


def load_model(run: RunFolder, which: str = "best") -> Network:
    """The trained network of a run, in evaluation mode.

    Args:
        which: "best" on the held-out split, or "last"; the last as well where nothing was best so far.

    Raises:
        UsageError: if nothing was saved yet.
        UntrustedFileError: if the checkpoint is damaged.
    """
    name = checkpoint_name(run, which.upper())
    for pointer in (which.upper(), "LAST"):
        if said := pointer_damage(run, pointer):
            raise UntrustedFileError(said, fix=f"Repair what can be: alexnet resume {run.folder}", code="E653")
        name = name or checkpoint_name(run, pointer)
    if name is None:
        raise UsageError(
            f"{run.folder} has no checkpoint yet", fix=f"Train it: alexnet resume {run.folder}", code="E254"
        )
    folder = run.folder / "checkpoints" / name
    if wrong := broken(folder):
        other = "last" if which == "best" else "best"
        raise UntrustedFileError(
            wrong[0],
            fix=f"Take the other one with --checkpoint {other}, or go on from one that is whole: "
            f"alexnet resume {run.folder}",
            code="E654",
        )
    with torch.device("meta"):  # no start values are drawn, for none would stay
        model = build_model(run.recipe.model)
    model.to_empty(device="cpu")
    model.load_state_dict(_read(folder, MODEL))
    return model.to(memory_format=torch.channels_last).eval()


def damage_of(run: RunFolder) -> list[str]:
    """Everything in a run folder that is not as it was written, a line each; every byte is read."""
    parent = run.folder / "checkpoints"
    found = broken(run.folder) + [said for which in POINTERS if (said := pointer_damage(run, which))]
    newest = None
    for name in _names(run):
        wrong = broken(parent / name)
        found += wrong
        newest = newest or (None if wrong else name)
    if newest and (said := _metrics_damage(run, (parent / newest / METRICS).read_bytes(), newest)):
        found.append(said)
    return found


def _metrics_damage(run: RunFolder, saved: bytes, name: str) -> str | None:
    path = run.folder / METRICS
    if (path.read_bytes() if path.exists() else b"").startswith(saved):
        return None
    return f"{path} is damaged: it does not begin with the rows that {name} was saved with"


def _state(values: dict[str, Any], folder: Path) -> TrainingState:
    if set(values) != {f.name for f in fields(TrainingState)}:
        raise UntrustedFileError(
            f"{folder / STATE} was written by another version of alexnet",
            fix="Go on with the version that environment.json names.",
            code="E655",
        )
    return TrainingState(**values)


def _read(folder: Path, file: str) -> dict[str, Tensor]:
    return safetensors.torch.load((folder / file).read_bytes())


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

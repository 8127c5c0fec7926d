"""Checkpoints: written completely or not at all, with a checksum for every byte; a damaged one is skipped.

RUN/checkpoints/step-00000240/model.safetensors     the network to use, with recipe and classes in its header
                              training.safetensors  what else is needed to resume
                              state.json            the training state, and the conditions that exactness depends on
                              metrics.jsonl         the rows up to this step
                              SHA256SUMS            of these four
RUN/LAST RUN/BEST             the name of a checkpoint and the sha256 of its SHA256SUMS

The last checkpoint, the one before it and the best are kept. A run resumes from the newest intact checkpoint. Training
depends only on what a checkpoint holds, so it ends with the same result from each of them.
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

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from alexnet.errors import UntrustedFileError, UsageError
from alexnet.models.build import build_model
from alexnet.models.network import Network, attach_cue
from alexnet.runs import forms
from alexnet.runs.room import require_room
from alexnet.runs.run import RunFolder, read_sealed
from alexnet.storage.checksums import SUMS, broken, read_listed, sums_of
from alexnet.storage.files import disk_errors, fsync_folder, write_file, write_through

CUE = "cue.safetensors"  # in a run folder: what color and shape alone add to the answers of its network
MODEL, TRAINING, STATE, METRICS = "model.safetensors", "training.safetensors", "state.json", "metrics.jsonl"
HEADER_KEY = "alexnet"  # a single entry in the header of the weights: the order of several would be random
POINTERS = ("BEST", "LAST")
POINTER_PATTERN = re.compile(r"(step-\d{8,}) ([0-9a-f]{64})\n")
NAME_PATTERN = re.compile(r"step-(\d{8,})")
OWN_PATTERN = re.compile(r"step-\d{8,}|\.step-\d{8,}(\.old)?")  # all that this module puts into checkpoints/
FILES = (MODEL, TRAINING, STATE, METRICS)
FREE_FACTOR = 2.2  # disk space that must be free before training starts, in sizes of a checkpoint


@dataclass(frozen=True)
class TrainingState:
    """The progress of a run after a step; everything else that training needs follows from the recipe."""

    step: int  # optimizer steps done
    loss_sum: float = 0.0  # over the images of the epoch so far
    errors: float = 0.0  # top-1 errors among these images
    images: int = 0
    best_error: float | None = None  # on the validation split, in [0, 1]; see `error_to_choose_by`
    best_loss: float | None = None
    seconds: float = 0.0  # of training, evaluation included
    best_step: int | None = None
    looks_since_best: int = 0  # evaluations since the best one
    rollbacks: int = 0


class Checkpoint(NamedTuple):
    """A checkpoint that was read and is intact."""

    tensors: dict[str, Tensor]
    state: TrainingState
    conditions: dict[str, str]  # what exactness depends on; see `alexnet.runs.environment`
    metrics: bytes  # metrics.jsonl at that step
    damage: list[str]  # what was damaged in newer checkpoints and other files, one line each


def name_of(step: int) -> str:
    """The folder name of the checkpoint at a step."""
    return f"step-{step:08d}"


def file_to_resume(run: RunFolder, step: int) -> Path:
    """The file of the tensors that are needed to resume from a step."""
    return run.folder / "checkpoints" / name_of(step) / TRAINING


def save_checkpoint(
    run: RunFolder,
    model: Network,
    training: Mapping[str, Tensor],
    state: TrainingState,
    *,
    best: bool = False,
    conditions: Mapping[str, str] | None = None,
) -> None:
    """Writes a checkpoint, lets LAST (and BEST) point to it, then removes those that are no longer needed.

    Args:
        model: the network to use; with averaged weights if the recipe averages them.
        training: the tensors by name that are needed in addition to resume (raw weights, momentum).
        best: whether this is the best network so far.
        conditions: what exactness depends on.

    Raises:
        ResourceError: the disk is full or the file system refuses; the previous checkpoint is still intact.
    """
    name, parent = name_of(state.step), run.folder / "checkpoints"
    header = json.dumps({"recipe": asdict(run.recipe), "classes": run.class_names}, ensure_ascii=False)
    metrics = run.folder / METRICS
    doing = f"saving step {state.step} in {run.folder}"
    with disk_errors(doing):
        if (parent / name).exists() and broken(parent / name):
            _remove(parent / name)
        if not (parent / name).exists():
            files = {
                MODEL: safetensors.torch.save(_on_cpu(model.state_dict()), {HEADER_KEY: header}),
                TRAINING: safetensors.torch.save(_on_cpu(training)),
                STATE: json.dumps({**asdict(state), "conditions": dict(conditions or {})}, indent=1).encode(),
                METRICS: metrics.read_bytes() if metrics.exists() else b"",
            }
            files[SUMS] = sums_of(files)
            size = sum(map(len, files.values()))
            _require_room(run, doing, size, size)
            temporary = parent / f".{name}"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            for file, content in files.items():
                write_through(temporary / file, content)
            fsync_folder(temporary)
            temporary.rename(parent / name)
            fsync_folder(parent)
        for pointer in POINTERS if best else ("LAST",):
            _write_pointer(run, pointer, name)
    with suppress(OSError):  # the next call tries again; the new checkpoint is already saved
        _remove_others(run)


def check_room(run: RunFolder, size: int) -> None:
    """Refuses to train a run whose checkpoints would not fit on the disk.

    Args:
        size: bytes of a checkpoint; of a run that has some, the next one must fit.

    Raises:
        ResourceError: too little is free.
    """
    doing = f"starting {run.folder}, which keeps two or three checkpoints"
    with disk_errors(f"checking the free space in {run.folder}"):
        _require_room(run, doing, size if checkpoint_names(run) else round(FREE_FACTOR * size), size)


def _require_room(run: RunFolder, doing: str, needed: int, size: int) -> None:
    there, last = checkpoint_names(run), checkpoint_name(run, "LAST")
    require_room(run.folder, doing, needed=needed, size=size, there=there, last=last)


def _write_pointer(run: RunFolder, pointer: str, name: str) -> None:
    sums = (run.folder / "checkpoints" / name / SUMS).read_bytes()
    write_file(run.folder / pointer, f"{name} {hashlib.sha256(sums).hexdigest()}\n".encode())


def _remove_others(run: RunFolder) -> None:
    """Removes all checkpoints but the last, the one before it and the best; what others put beside them stays."""
    parent = run.folder / "checkpoints"
    last = checkpoint_name(run, "LAST")
    older = [name for name in checkpoint_names(run) if last is not None and step_of(name) < step_of(last)]
    needed = {last, checkpoint_name(run, "BEST"), *older[:1]}
    for folder in parent.iterdir():
        if folder.name not in needed and OWN_PATTERN.fullmatch(folder.name):
            with suppress(OSError):  # and goes on with those that can be removed
                _remove(folder)


def _remove(folder: Path) -> None:
    """Removes a checkpoint; it is hidden first, so that a crash during the removal leaves no damaged checkpoint."""
    hidden = folder if folder.name.startswith(".") else folder.with_name(f".{folder.name}.old")
    if hidden != folder:
        shutil.rmtree(hidden, ignore_errors=True)
        folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def checkpoint_names(run: RunFolder) -> list[str]:
    """The names of all checkpoints, newest first."""
    parent = run.folder / "checkpoints"
    names = [path.name for path in parent.iterdir() if NAME_PATTERN.fullmatch(path.name)] if parent.is_dir() else []
    return sorted(names, key=step_of, reverse=True)


def step_of(name: str) -> int:
    """The step in the name of a checkpoint."""
    return int(name.removeprefix("step-"))


def checkpoint_name(run: RunFolder, which: str) -> str | None:
    """The name of the checkpoint that LAST or BEST points to; None if the file is missing or damaged."""
    try:
        match = POINTER_PATTERN.fullmatch((run.folder / which).read_bytes().decode())
    except (OSError, UnicodeDecodeError):
        return None
    return match[1] if match else None


def pointer_damage(run: RunFolder, which: str) -> str | None:
    """Describes the damage of LAST or BEST; None if it is intact or does not exist."""
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
    """Reads the newest intact checkpoint; None if nothing was saved yet.

    Raises:
        UntrustedFileError: there are checkpoints, but none is intact, or it is not of the form that alexnet writes.
    """
    damage: list[str] = []
    for name in checkpoint_names(run):
        folder = run.folder / "checkpoints" / name
        broken_files = broken(folder, FILES)
        if not broken_files:
            damage += [message for which in POINTERS if (message := pointer_damage(run, which))]
            values = forms.record_of(folder / STATE, (folder / STATE).read_bytes())
            metrics = (folder / METRICS).read_bytes()
            damage += [message] if (message := metrics_damage(run, metrics, name)) else []
            conditions = forms.check_conditions(folder / STATE, values.pop("conditions", None))
            tensors, state = _read_tensors(folder, TRAINING), _training_state(values, folder)
            return Checkpoint(tensors, state, conditions, metrics, damage)
        damage += broken_files
    if damage:
        raise UntrustedFileError(
            f"no checkpoint of {run.folder} is intact: {damage[0]}",
            fix="Put the folder back from a copy, or start a new run.",
            code="E652",
        )
    return None


def settle(run: RunFolder, checkpoint: Checkpoint | None) -> None:
    """Restores a run folder to the state of a checkpoint: its metrics, LAST and BEST; newer files are removed.

    Args:
        checkpoint: None for the state before the first checkpoint.

    Raises:
        ResourceError: the file system refuses.
    """
    with disk_errors(f"resuming {run.folder}"):
        metrics = b"" if checkpoint is None else checkpoint.metrics
        path = run.folder / METRICS
        if (path.read_bytes() if path.exists() else b"") != metrics:
            write_file(path, metrics)
        if checkpoint is None:
            return
        best, step = checkpoint.state.best_step, checkpoint.state.step
        for pointer, pointer_step in (("BEST", best), ("LAST", step)):
            name = None if pointer_step is None else name_of(pointer_step)
            if name is not None and (run.folder / "checkpoints" / name / SUMS).is_file():
                if checkpoint_name(run, pointer) != name or pointer_damage(run, pointer):
                    _write_pointer(run, pointer, name)
            else:
                (run.folder / pointer).unlink(missing_ok=True)
        for folder in list((run.folder / "checkpoints").iterdir()):
            if OWN_PATTERN.fullmatch(folder.name) and (folder.name.startswith(".") or step_of(folder.name) > step):
                _remove(folder)


def load_model(run: RunFolder, which: str = "best") -> Network:
    """Loads the trained network of a run, in evaluation mode.

    Args:
        which: "best" on the validation split, or "last"; also the last if there is no best checkpoint yet.

    Raises:
        UsageError: nothing was saved yet.
        UntrustedFileError: the checkpoint is damaged.
    """
    name = checkpoint_name(run, which.upper())
    for pointer in (which.upper(), "LAST"):
        if message := pointer_damage(run, pointer):
            raise UntrustedFileError(
                message, fix=f"Repair what can be repaired: alexnet resume {run.folder}", code="E653"
            )
        name = name or checkpoint_name(run, pointer)
    if name is None:
        raise UsageError(
            f"{run.folder} has no checkpoint yet", fix=f"Train it: alexnet resume {run.folder}", code="E254"
        )
    folder = run.folder / "checkpoints" / name
    try:
        tensors = read_listed(folder, MODEL, lambda content: _parsed(folder / MODEL, content))
    except UntrustedFileError as error:
        if error.code != "E650":
            raise
        other = "last" if which == "best" else "best"
        raise UntrustedFileError(
            error.what,
            fix=f"Use the other one with --checkpoint {other}, or resume from one that is intact: "
            f"alexnet resume {run.folder}",
            code="E654",
        ) from None
    forms.check_network(folder / MODEL, run.recipe, tensors)
    with torch.device("meta"):  # draws no initial weights: all of them are replaced
        model = build_model(run.recipe.model)
    # Assigned, not copied: PyTorch needs a second of imports to give memory to weights on the meta device.
    model.load_state_dict(attach_cue(model, tensors), assign=True)
    cue = read_sealed(run, CUE)
    if cue is not None:
        branch = _parsed(run.folder / CUE, cue)
        forms.check_cue(run.folder / CUE, run.recipe, branch)
        attach_cue(model, branch)
    return model.to(memory_format=torch.channels_last).eval()


def metrics_damage(run: RunFolder, saved: bytes, name: str) -> str | None:
    """Describes the damage of metrics.jsonl; None if it begins with the rows that a checkpoint was saved with."""
    path = run.folder / METRICS
    if (path.read_bytes() if path.exists() else b"").startswith(saved):
        return None
    return f"{path} is damaged: it does not begin with the rows that {name} was saved with"


def _training_state(values: dict[str, Any], folder: Path) -> TrainingState:
    if set(values) != {f.name for f in fields(TrainingState)}:
        raise UntrustedFileError(
            f"{folder / STATE} was written by another version of alexnet",
            fix="Resume with the version that environment.json names.",
            code="E655",
        )
    forms.check_progress(folder / STATE, values, step_of(folder.name))
    return TrainingState(**values)


def _read_tensors(folder: Path, file: str) -> dict[str, Tensor]:
    return _parsed(folder / file, (folder / file).read_bytes())


def _parsed(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:  # of its parser
        raise forms.foreign(path, str(error).splitlines()[0][:200]) from None


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

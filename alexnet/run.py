"""The run folder: the complete recipe, the environment, the metrics and the checkpoints, every file written whole.

RUN/recipe.json environment.json classes.json data.json   what the run is
RUN/metrics.jsonl                                         one JSON object a line, appended
RUN/checkpoints/step-00000240/                            model.safetensors training.safetensors state.json
RUN/LAST RUN/BEST                                         the name of a checkpoint, in a text file
RUN/evaluation.json report.html                           written at the end
"""

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from alexnet.errors import UntrustedFileError, UsageError
from alexnet.files import disk_errors, fsync_folder, write_file
from alexnet.metrics import read_rows
from alexnet.model import Network, build_model
from alexnet.recipes import Recipe, from_json, to_json


@dataclass(frozen=True)
class Run:
    """A run folder and what it was made for."""

    folder: Path
    recipe: Recipe
    class_names: tuple[str, ...]
    data: Mapping[str, Any]  # source, prepared (folder), fingerprint


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


def create_run(folder: Path, recipe: Recipe, class_names: tuple[str, ...], data: Mapping[str, Any]) -> Run:
    """Makes a new run folder.

    Raises:
        UsageError: if the folder exists and is not empty.
        ResourceError: if it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} exists and is not empty",
            fix=f"Go on with it: alexnet resume {folder}. Or choose another folder with --out.",
        )
    with disk_errors(f"making the run folder {folder}"):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        write_file(folder / "classes.json", json.dumps(class_names, ensure_ascii=False, indent=1).encode())
        write_file(folder / "data.json", json.dumps(dict(data), ensure_ascii=False, indent=1).encode())
        write_file(folder / "environment.json", json.dumps(environment(), indent=1).encode())
        write_file(folder / "recipe.json", to_json(recipe).encode())
    return Run(folder, recipe, class_names, data)


def open_run(folder: Path) -> Run:
    """Reads a run folder.

    Raises:
        UsageError: if it is none.
        UntrustedFileError: if its files are damaged.
    """
    if not (folder / "recipe.json").is_file():
        raise UsageError(f"{folder} is not a run folder: it has no recipe.json", fix="alexnet train DATA makes one.")
    try:
        recipe = from_json((folder / "recipe.json").read_text())
        classes = tuple(json.loads((folder / "classes.json").read_text()))
        data = json.loads((folder / "data.json").read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, FileNotFoundError) as error:
        raise UntrustedFileError(f"the run folder {folder} is damaged: {error}") from None
    return Run(folder, recipe, classes, data)


def environment() -> dict[str, Any]:
    """Versions, machine and command of this process."""
    import torchvision

    from alexnet import __version__

    return {
        "alexnet": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numba": _version("numba"),
        "platform": platform.platform(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "command": " ".join(["alexnet", *sys.argv[1:]]),
    }


def _version(package: str) -> str | None:
    """The installed version, without importing the package; None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor_name() -> str:
    """The model name of the processor, as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def append_metrics(run: Run, row: Mapping[str, Any]) -> None:
    """Adds one line to metrics.jsonl."""
    with disk_errors(f"writing {run.folder / 'metrics.jsonl'}"), (run.folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(dict(row)) + "\n")


def read_metrics(run: Run) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a line torn by a crash is left out."""
    return read_rows(run.folder / "metrics.jsonl")[0]


def forget_metrics_after(run: Run, step: int) -> None:
    """Removes the rows of steps that a resumed run will do again."""
    rows = [row for row in read_metrics(run) if row["step"] <= step]
    with disk_errors(f"writing {run.folder / 'metrics.jsonl'}"):
        write_file(run.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def save_checkpoint(
    run: Run, model: Network, training: Mapping[str, Tensor], state: TrainingState, *, best: bool = False
) -> None:
    """Writes a checkpoint next to the others, points LAST (and BEST) at it, then removes those nobody points at.

    Args:
        model: the network to use: with averaged weights where the recipe averages.
        training: what else is needed to go on (raw weights, momentum), by name.

    Raises:
        ResourceError: if the disk is full or refuses; the checkpoint before is still whole.
    """
    name = f"step-{state.step:08d}"
    parent = run.folder / "checkpoints"
    temporary = parent / f".{name}"
    with disk_errors(f"saving step {state.step} in {run.folder}"):
        if not (parent / name).exists():
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            about = {"recipe": to_json(run.recipe), "classes": json.dumps(run.class_names, ensure_ascii=False)}
            files = {
                "model.safetensors": safetensors.torch.save(_plain(model.state_dict()), about),
                "training.safetensors": safetensors.torch.save(_plain(training)),
            }
            for file, content in files.items():
                write_file(temporary / file, content)
            sums = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
            write_file(temporary / "state.json", json.dumps({**asdict(state), "sha256": sums}, indent=1).encode())
            temporary.rename(parent / name)
            fsync_folder(parent)
        for pointer in ("BEST", "LAST") if best else ("LAST",):
            write_file(run.folder / pointer, name.encode())
    kept = {checkpoint_name(run, pointer) for pointer in ("LAST", "BEST")}
    for folder in parent.iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def checkpoint_name(run: Run, which: str) -> str | None:
    """The name that LAST or BEST holds, or None."""
    pointer = run.folder / which
    return pointer.read_text().strip() if pointer.is_file() else None


def load_checkpoint(run: Run) -> tuple[dict[str, Tensor], TrainingState] | None:
    """The tensors of training and the state at LAST, or None if nothing was saved yet."""
    name = checkpoint_name(run, "LAST")
    if name is None:
        return None
    folder = run.folder / "checkpoints" / name
    return _load_tensors(folder, "training.safetensors"), _state(folder)


def load_model(run: Run, which: str = "best") -> Network:
    """The trained network of a run, in evaluation mode.

    Args:
        which: "best" on the held-out split, or "last".

    Raises:
        UsageError: if nothing was saved yet.
        UntrustedFileError: if the file is damaged.
    """
    name = checkpoint_name(run, which.upper()) or checkpoint_name(run, "LAST")
    if name is None:
        raise UsageError(f"{run.folder} has no checkpoint yet", fix=f"Train it: alexnet resume {run.folder}")
    with torch.device("meta"):  # no start values are drawn, for none would stay
        model = build_model(run.recipe.model)
    model.to_empty(device="cpu")
    file = run.folder / "checkpoints" / name
    try:
        model.load_state_dict(_load_tensors(file, "model.safetensors"))
    except RuntimeError as error:
        raise UntrustedFileError(
            f"the weights in {file} do not fit {run.folder / 'recipe.json'}: {str(error).splitlines()[-1].strip()}",
            fix="One of the two was changed after training.",
        ) from None
    return model.to(memory_format=torch.channels_last).eval()


def _state(folder: Path) -> TrainingState:
    values = _state_values(folder)
    try:
        return TrainingState(**{name: value for name, value in values.items() if name != "sha256"})
    except TypeError as error:
        raise UntrustedFileError(f"{folder / 'state.json'} is damaged: {error}") from None


def _state_values(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise UntrustedFileError(f"{folder / 'state.json'} is damaged or missing: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("sha256"), dict):
        raise UntrustedFileError(f"{folder / 'state.json'} is damaged: it holds no checksums")
    return values


def _load_tensors(folder: Path, file: str) -> dict[str, Tensor]:
    try:
        content = (folder / file).read_bytes()
        expected = _state_values(folder)["sha256"].get(file)
        if hashlib.sha256(content).hexdigest() != expected:
            raise UntrustedFileError(f"{folder / file} is damaged: its sha256 is not the one that was saved with it")
        return safetensors.torch.load(content)
    except (OSError, safetensors.SafetensorError) as error:
        raise UntrustedFileError(f"{folder / file} is damaged or missing: {error}") from None


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

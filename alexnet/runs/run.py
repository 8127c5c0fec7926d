"""The run folder: the complete recipe, the environment and the metrics; every file is written completely or not at all.

RUN/recipe.json environment.json classes.json data.json   what the run is
RUN/SHA256SUMS                                            checksums of these, and of the files written at the end
RUN/metrics.jsonl                                         one JSON object per line, appended
RUN/checkpoints/step-00000240/ RUN/LAST RUN/BEST          see `alexnet.runs.checkpoint`
RUN/conv1/epoch-00003.npy                                 see `alexnet.runs.kernel_history`
RUN/calibration.json                                      see `alexnet.evaluation.run_calibration`
RUN/distribution.safetensors                             see `alexnet.evaluation.run_distribution`
RUN/evaluation.json report.html                           written at the end
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alexnet.errors import UntrustedFileError, UsageError
from alexnet.recipes.recipe import Recipe, to_json
from alexnet.runs.environment import environment
from alexnet.runs.forms import class_names_of, data_of, recipe_of, record_of
from alexnet.storage.checksums import SUMS, lines, read_sums, sums_of
from alexnet.storage.files import disk_errors, file_sha256, temporary_for, write_file

IDENTITY = ("recipe.json", "classes.json", "data.json", "environment.json")


@dataclass(frozen=True)
class RunFolder:
    """A run folder, with its recipe, its classes and its dataset."""

    folder: Path
    recipe: Recipe
    class_names: tuple[str, ...]
    data: Mapping[str, Any]  # source, prepared (folder), fingerprint

    def __repr__(self) -> str:
        return f"RunFolder({self.folder}: {self.recipe.name}, {len(self.class_names)} classes)"


def refuse_existing(folder: Path) -> None:
    """Refuses a folder that is not empty for a new run; allows what is left of a run that was killed while being made.

    Raises:
        UsageError: the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or not _half_made(folder)):
        raise UsageError(
            f"{folder} exists and is not empty",
            fix=f"Resume it: alexnet resume {folder}. Or choose another folder with --out.",
            code="E252",
        )


def _half_made(folder: Path) -> bool:
    """Whether a folder holds nothing but files that `create_run` writes before recipe.json, which makes it a run."""
    names = {SUMS, *IDENTITY} - {"recipe.json"}
    partial = {temporary_for(folder / name).name for name in (SUMS, *IDENTITY)}
    present = {path.name for path in folder.iterdir()}
    return present <= names | partial | {"checkpoints"} and not any((folder / "checkpoints").glob("*"))


def create_run(
    folder: Path,
    recipe: Recipe,
    class_names: tuple[str, ...],
    data: Mapping[str, Any],
    device: torch.device | None = None,
) -> RunFolder:
    """Makes a new run folder.

    Args:
        device: on which it will be trained, for environment.json; None: it will not.

    Raises:
        UsageError: the folder exists and is not empty.
        ResourceError: it cannot be written.
    """
    refuse_existing(folder)
    files = {
        "classes.json": json.dumps(class_names, ensure_ascii=False, indent=1).encode(),
        "data.json": json.dumps(dict(data), indent=1).encode(),  # in ASCII: a path may be invalid UTF-8
        "environment.json": json.dumps(environment(device, recipe.precision), indent=1).encode(),
        "recipe.json": to_json(recipe).encode(),
    }
    with disk_errors(f"making the run folder {folder}"):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        # recipe.json is written last: a folder that has it is a run.
        for name, content in {SUMS: sums_of(files), **files}.items():
            write_file(folder / name, content)
    return RunFolder(folder, recipe, class_names, data)


def open_run(folder: Path) -> RunFolder:
    """Reads a run folder; a link, as runs/last is one, becomes the folder it points to, which stays when it moves on.

    Raises:
        UsageError: the folder is not a run.
        UntrustedFileError: its files are damaged, or not of the form that alexnet writes.
    """
    if folder.is_symlink():
        folder = folder.parent / folder.readlink()
    if not (folder / "recipe.json").is_file():
        raise UsageError(
            f"{folder} is not a run folder: it has no recipe.json", fix="alexnet train DATA makes one.", code="E253"
        )
    sums = read_sums(folder)
    contents = {name: _verified(folder / name, sums.get(name)) for name in IDENTITY}
    recipe, classes, data, _ = ((folder / name, contents[name]) for name in IDENTITY)
    found = recipe_of(*recipe)
    record_of(folder / "environment.json", contents["environment.json"])
    return RunFolder(folder, found, class_names_of(*classes, found.model.num_classes), data_of(*data))


def read_sealed(run: RunFolder, name: str) -> bytes | None:
    """Reads a file that was written within `sealing`; None if there is none, or none that was finished.

    Raises:
        UntrustedFileError: E651, it is damaged.
    """
    if not (run.folder / SUMS).is_file() or not (run.folder / name).is_file():
        return None
    expected = read_sums(run.folder).get(name)
    return None if expected is None else _verified(run.folder / name, expected)


def _verified(path: Path, expected: str | None) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise _damaged(path, "is not as it was written: damaged, or edited by hand")
    return content


def _damaged(path: Path, how: str) -> UntrustedFileError:
    return UntrustedFileError(
        f"{path} {how}",
        fix="Put it back from a copy. To train with another recipe, start a new run: alexnet train DATA field=value.",
        code="E651",
    )


@contextmanager
def sealing(run: RunFolder, *names: str) -> Iterator[None]:
    """Context in which files of a run are written (evaluation.json, report.html); adds them to SHA256SUMS at the end.

    Raises:
        ResourceError: the file system refuses.
    """
    with disk_errors(f"writing the report of {run.folder}"):
        sums = {name: value for name, value in read_sums(run.folder).items() if name not in names}
        # The files have no checksum while they change, so that after a crash none of them looks damaged.
        write_file(run.folder / SUMS, lines(sums))
        yield
        sums |= {name: file_sha256(run.folder / name) for name in names}
        write_file(run.folder / SUMS, lines(sums))

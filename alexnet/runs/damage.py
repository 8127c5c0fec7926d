"""Compares every byte of a run folder with what was written: what `alexnet verify` reports."""

from collections.abc import Iterable
from pathlib import Path

from alexnet.errors import AlexNetError
from alexnet.runs.checkpoint import (
    FILES,
    METRICS,
    POINTERS,
    STATE,
    checkpoint_names,
    file_to_resume,
    load_checkpoint,
    load_model,
    metrics_damage,
    name_of,
    pointer_damage,
)
from alexnet.runs.forms import check_training, record_of
from alexnet.runs.kernel_history import damaged_kernels
from alexnet.runs.metrics import rows_in
from alexnet.runs.run import IDENTITY, RunFolder
from alexnet.storage.checksums import SUMS, broken, read_sums

AT_THE_END = (
    "calibration.json",
    "cues.json",
    "distribution.safetensors",
    "evaluation.json",
    "report.html",
)  # written after the training, where there are any


def damage_of(run: RunFolder) -> list[str]:
    """Lists everything in a run folder that differs from what was written, one line each; reads every byte.

    The kernels of an epoch may be removed, and what others put into the folder is not judged.
    """
    parent = run.folder / "checkpoints"
    damage = broken(run.folder) or _uncovered(run.folder, (*IDENTITY, *AT_THE_END))
    damage += [message for which in POINTERS if (message := pointer_damage(run, which))]
    newest = None
    for name in checkpoint_names(run):
        broken_files = broken(parent / name, FILES)
        damage += broken_files
        newest = newest or (None if broken_files else name)
    if newest:
        saved = (parent / newest / METRICS).read_bytes()
        message = metrics_damage(run, saved, newest) or _foreign_rows(run, saved)
        damage += [message] if message else []
        damage += _missing_pointers(run, newest)
    changed = "is damaged: its bytes are not the ones that were written"
    damage += [f"{path} {changed}" for path in damaged_kernels(run)]
    return damage or _foreign_form(run)


def _foreign_form(run: RunFolder) -> list[str]:
    """What is as it was written by its checksums, and cannot be resumed or answer."""
    try:
        stored = load_checkpoint(run)
        if stored is not None:
            check_training(file_to_resume(run, stored.state.step), run.recipe, stored.tensors)
        if checkpoint_names(run):
            load_model(run)
    except AlexNetError as error:
        return [error.what]
    return []


def _uncovered(folder: Path, names: Iterable[str]) -> list[str]:
    """Files that are there without a checksum, as when lines of SHA256SUMS were lost."""
    sums = read_sums(folder)
    return [f"{folder / name} has no checksum" for name in names if name not in sums and (folder / name).exists()]


def _missing_pointers(run: RunFolder, newest: str) -> list[str]:
    """LAST and BEST are removed by nobody; BEST is there once a network was the best of the validation split."""
    path = run.folder / "checkpoints" / newest / STATE
    best = record_of(path, path.read_bytes()).get("best_step")
    named = {"LAST": newest, "BEST": name_of(best) if type(best) is int else None}
    missing = [
        pointer
        for pointer, name in named.items()
        if name and (run.folder / "checkpoints" / name / SUMS).is_file() and not (run.folder / pointer).exists()
    ]
    return [f"{run.folder / pointer} is missing" for pointer in missing]


def _foreign_rows(run: RunFolder, saved: bytes) -> str | None:
    """Rows after those of the newest checkpoint may be notes, and epochs that follow; a crash may leave half a line."""
    path = run.folder / METRICS
    last = max(
        (row["epoch"] for row in rows_in(saved.decode("utf-8", "replace"))[0] if row["kind"] == "epoch"), default=0
    )
    rest = path.read_bytes()[len(saved) :] if path.exists() else b""
    for line in rest[: rest.rfind(b"\n") + 1].splitlines():
        rows, _ = rows_in(line.decode("utf-8", "replace"))
        if not any(row["kind"] == "note" or last < row.get("epoch", 0) <= run.recipe.epochs for row in rows):
            return f"{path} is damaged: it has rows that this run did not write"
    return None

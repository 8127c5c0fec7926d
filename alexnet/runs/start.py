"""How a run begins: its folder, its recipe, and the dataset that it was or will be trained on."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from alexnet.data.dataset import Prepared
from alexnet.data.exclusions import Excluded
from alexnet.data.folders import nfc
from alexnet.data.image_bytes import MAX_PIXELS, pixel_limit
from alexnet.data.open import changes_since, is_prepared, open_images
from alexnet.data.prepare import PrepareReport
from alexnet.data.remote import open_location
from alexnet.errors import DataError, UsageError
from alexnet.models.network import fingerprint
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.recipe import Recipe, differences, for_classes
from alexnet.runs.forms import check_images
from alexnet.runs.pretrained import assumed_of, open_network
from alexnet.runs.run import RunFolder, create_run, open_run
from alexnet.storage.files import user_path
from alexnet.text import listed

LAST = "last"  # in the folder runs, a link to the newest run


def images_of_run(
    run: RunFolder,
    *,
    tell: Callable[[PrepareReport], None] | None = None,
    progress: ProgressCallback = silent,
    unchanged: bool = False,
    allow_changed: bool = False,
    on_changed: Callable[[str], None] | None = None,
) -> Prepared:
    """Opens the prepared images that a run was trained on; prepares them again if necessary.

    Args:
        tell: called with the report of the preparation, if one was necessary.
        progress: called while images are prepared or compared.
        unchanged: whether the folder that they were prepared from, if it is there, must still hold the same images.
        allow_changed: whether other images of the same classes are accepted; then they are used.
        on_changed: called with a sentence if the folder now holds other images than those prepared, which are used.

    Raises:
        UsageError: the run holds imported weights.
        DataError: the images are gone or have changed.
        UntrustedFileError: E6060, the run does not say which images they were.
    """
    if "imported" in run.data:
        raise UsageError(
            f"{run.folder} holds imported weights and has no images of its own",
            fix=f"alexnet evaluate {run.folder} DATA, or alexnet train DATA --weights {run.folder}",
            code="E256",
        )
    check_images(run.folder / "data.json", run.data)
    data: str = run.data["source"]
    excluded = tuple(Excluded(**each) for each in run.data.get("excluded", ()))
    labels = Path(run.data["labels"]) if "labels" in run.data else None
    prepared, changes = None, ""
    location = run.data["prepared"]
    if run.data.get("sample_of"):  # some images that travel with the run
        location = str(run.folder / location)
    if is_prepared(location):
        prepared = open_location(location)
        if unchanged or allow_changed or on_changed is not None:
            changes = changes_since(prepared, data, excluded=excluded, labels=labels, progress=progress)
    if changes and unchanged and not allow_changed:
        raise _other_images(run, changes)
    if changes and on_changed is not None and not allow_changed:
        on_changed(f"{data} now holds other images ({changes}); used are those that the run was trained on")
    if prepared is None or (changes and allow_changed):
        prepared = open_images(
            data,
            run.recipe.prepare_size,
            whole=run.recipe.prepare_whole,
            tell=tell,
            progress=progress,
            excluded=excluded,
            labels=labels,
            max_pixels=run.data.get("max_pixels", MAX_PIXELS),
        )
        if not allow_changed and not _same_classes(prepared, run):
            raise _other_images(run, f"its classes are {listed(prepared.class_names)}")
    if not _same_classes(prepared, run):
        raise DataError(
            f"{data} has other classes than {run.folder}",
            fix="Put the images back, or start a new run.",
            code="E351",
        )
    if prepared.fingerprint != run.data["fingerprint"] and not allow_changed:
        raise _other_images(run)
    return prepared


def _same_classes(prepared: Prepared, run: RunFolder) -> bool:
    return tuple(map(nfc, prepared.class_names)) == tuple(map(nfc, run.class_names))


def _other_images(run: RunFolder, how: str = "") -> DataError:
    return DataError(
        f"{run.data['source']} no longer holds the images that {run.folder} was trained on{f' ({how})' * bool(how)}",
        fix="Put them back, or start a new run. To resume with other images: alexnet resume RUN --allow-inexact.",
        code="E350",
    )


def start_run(
    folder: Path,
    recipe: Recipe,
    data: str,
    prepared: Prepared,
    excluded: Sequence[Excluded] = (),
    labels: Path | None = None,
    device: torch.device | None = None,
) -> RunFolder:
    """Makes a new run folder for prepared images; it records their source, labels and what is left out.

    Args:
        device: on which it will be trained.
    """
    path = user_path(data)
    about: dict[str, Any] = {
        "source": str(path.resolve()) if path.exists() else data,
        "prepared": prepared.address or str(prepared.folder.resolve()),
        "fingerprint": prepared.fingerprint,
    }
    if labels is not None:
        about["labels"] = str(labels.resolve())
    if pixel_limit() != MAX_PIXELS:
        about["max_pixels"] = pixel_limit()
    if excluded:
        about["excluded"] = [asdict(each) for each in excluded]
    if recipe.weights is not None:
        source, network = open_network(recipe.weights)
        about["weights"] = fingerprint(network)
        if assumed := assumed_of(source):
            about["weights_assumed"] = assumed
    return create_run(folder, for_classes(recipe, len(prepared.class_names)), prepared.class_names, about, device)


def start_or_continue(
    folder: Path,
    recipe: Recipe,
    data: str,
    prepared: Prepared,
    excluded: Sequence[Excluded] = (),
    labels: Path | None = None,
    device: torch.device | None = None,
) -> RunFolder:
    """Returns the run of a folder: a new one, or the one that the same command started there before.

    Raises:
        UsageError: the folder holds a run with another recipe or other images.
    """
    if not (folder / "recipe.json").is_file():
        return start_run(folder, recipe, data, prepared, excluded, labels, device)
    run = open_run(folder)
    changed = {field: pair for field, pair in differences(recipe, run.recipe).items() if field != "name"}
    reasons = [f"{field} is {old!r} there and {new!r} in this command" for field, (old, new) in changed.items()]
    if prepared.fingerprint != run.data.get("fingerprint"):
        reasons.append("it has other images")
    if reasons:
        raise UsageError(
            f"{folder} holds another run: {', '.join(reasons[:3])}{', ...' * (len(reasons) > 3)}",
            fix=f"Repeat the command that started it, or choose another folder with --out. To resume it unchanged: "
            f"torchrun ... -m alexnet resume {folder}",
            code="E297",
        )
    return run


def note_last(folder: Path) -> None:
    """Makes runs/last a link to this run, if the run lies in a folder called runs, or in a folder of that one."""
    folder = folder.absolute()
    runs = next((parent for parent in folder.parents[:2] if parent.name == "runs"), None)
    if runs is None or folder == runs / LAST:
        return
    link = runs / LAST
    with suppress(OSError):  # a file system without links, or a folder that somebody has called so
        if link.is_symlink():
            link.unlink()
        link.symlink_to(folder.relative_to(runs), target_is_directory=True)

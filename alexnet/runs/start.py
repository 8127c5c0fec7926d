"""The stages put together: what a verb needs before and after its one stage."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from alexnet.data.dataset import Prepared
from alexnet.data.exclusions import Excluded
from alexnet.data.open import is_prepared, open_images
from alexnet.data.prepare import PrepareReport
from alexnet.data.remote import open_location
from alexnet.errors import DataError, UsageError
from alexnet.models.network import fingerprint
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.named import RECIPES, find_recipe
from alexnet.recipes.recipe import Recipe, differences, for_classes
from alexnet.runs.pretrained import trained_network
from alexnet.runs.run import RunFolder, create_run, open_run
from alexnet.text import slug


def images_of_run(
    run: RunFolder,
    *,
    tell: Callable[[PrepareReport], None] | None = None,
    progress: ProgressCallback = silent,
    allow_changed: bool = False,
) -> Prepared:
    """The pictures that a run was trained on.

    Args:
        tell: is given what preparing did, if that was necessary.
        progress: called while images are prepared.
        allow_changed: whether others of the same classes will do.

    Raises:
        DataError: if they are gone, or are not the same any more.
    """
    if "imported" in run.data:
        raise UsageError(
            f"{run.folder} holds imported weights and has no pictures of its own",
            fix=f"alexnet evaluate {run.folder} PICTURES, or alexnet train PICTURES --weights {run.folder}",
            code="E256",
        )
    if is_prepared(run.data["prepared"]):
        prepared = open_location(run.data["prepared"])
    else:
        excluded = tuple(Excluded(**each) for each in run.data.get("excluded", ()))
        prepared = open_images(
            run.data["source"], run.recipe.prepare_size, tell=tell, progress=progress, excluded=excluded
        )
    if prepared.class_names != run.class_names:
        raise DataError(
            f"{run.data['source']} has other classes than {run.folder}",
            fix="Put the pictures back, or start a new run.",
            code="E351",
        )
    if prepared.fingerprint != run.data["fingerprint"] and not allow_changed:
        raise DataError(
            f"{run.data['source']} no longer holds the pictures that {run.folder} was trained on",
            fix="Put them back, or start a new run. To train on with others: alexnet resume RUN --allow-inexact.",
            code="E350",
        )
    return prepared


def new_run_folder(data: str) -> Path:
    """A name in runs/ that nobody has, from the time and the data."""
    stem = f"{datetime.now():%Y-%m-%d-%H%M}-{slug(Path(data).name)}"
    names = [stem, *(f"{stem}-{i}" for i in range(2, 1000))]
    return next(path for name in names if not (path := Path("runs") / name).exists())


def start_run(
    folder: Path, recipe: Recipe, data: str, prepared: Prepared, excluded: Sequence[Excluded] = ()
) -> RunFolder:
    """A new run folder for prepared pictures, which says where they come from and which of them were left out."""
    place = Path(data).expanduser()
    about: dict[str, Any] = {
        "source": str(place.resolve()) if place.exists() else data,
        "prepared": prepared.address or str(prepared.folder.resolve()),
        "fingerprint": prepared.fingerprint,
    }
    if excluded:
        about["excluded"] = [asdict(each) for each in excluded]
    if recipe.weights is not None:
        about["weights"] = fingerprint(trained_network(recipe.weights))
    return create_run(folder, for_classes(recipe, len(prepared.class_names)), prepared.class_names, about)


def start_or_continue(
    folder: Path, recipe: Recipe, data: str, prepared: Prepared, excluded: Sequence[Excluded] = ()
) -> RunFolder:
    """The run of a folder: a new one, or the one that the same command has begun there.

    Raises:
        UsageError: the folder holds a run of another recipe or other pictures.
    """
    if not (folder / "recipe.json").is_file():
        return start_run(folder, recipe, data, prepared, excluded)
    run = open_run(folder)
    other = {field: pair for field, pair in differences(recipe, run.recipe).items() if field != "name"}
    told = [f"{field} is {old!r} there and {new!r} here" for field, (old, new) in other.items()]
    if prepared.fingerprint != run.data.get("fingerprint"):
        told.append("its pictures are others")
    if told:
        raise UsageError(
            f"{folder} holds another run: {', '.join(told[:3])}{', ...' * (len(told) > 3)}",
            fix=f"Give the command that began it, or choose another folder with --out. As it is: torchrun ... -m "
            f"alexnet resume {folder}",
            code="E297",
        )
    return run


def recipe_of(name: str) -> Recipe:
    """The recipe of that name, or of that run folder."""
    if name not in RECIPES and Path(name).is_dir():
        return open_run(Path(name)).recipe
    return find_recipe(name)

"""Opens what a user names as prepared images: a folder, a prepared folder, its address, or a named dataset."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from alexnet.data.changes import changed_images
from alexnet.data.dataset import PREPARED, Prepared, open_prepared
from alexnet.data.exclusions import Excluded, leave_out
from alexnet.data.prepare import PrepareReport, cache_key, prepare
from alexnet.data.reader_changes import made_anew, note_reader
from alexnet.data.remote import open_location
from alexnet.data.samples import Samples
from alexnet.data.sources import open_source, refuse_labels
from alexnet.errors import DataError, UsageError
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.recipe import Recipe
from alexnet.storage.download import is_address
from alexnet.storage.files import cache_folder, user_path
from alexnet.text import slug

NOTHING_TO_COMPARE = ("E313", "E320")  # a folder without images, as where a disk is not mounted, or one not readable


def open_images(
    data: str,
    size: int,
    *,
    whole: bool = False,
    tell: Callable[[PrepareReport], None] | None = None,
    progress: ProgressCallback = silent,
    val_share: float = 0.2,
    excluded: Sequence[Excluded] = (),
    exclusions: str = "",
    labels: Path | None = None,
    max_pixels: int | None = None,
) -> Prepared:
    """Opens the prepared images of `data`, and prepares them first if that has not been done yet.

    Args:
        data: a folder with images, a prepared folder, its address, or a named dataset.
        size: side of the prepared images in pixels.
        whole: whether they are whole images, stretched to squares; False: their central squares.
        tell: called with the report of the preparation.
        progress: called while images are prepared.
        val_share: see `open_source`.
        excluded: images to leave out.
        exclusions: the file that names them; "" for the images that a run has left out, which may be missing now.
        labels: a table of files and labels, see `open_source`.
        max_pixels: images with more are left out; by default `pixel_limit`.

    Raises:
        UsageError: `data` was prepared at another size or in the other way, or is prepared already and `excluded` is
            not empty.
    """
    if is_prepared(data):
        refuse_labels(labels, data)
        if excluded:
            raise UsageError(
                f"{data} is prepared already: single images cannot be left out of it",
                fix=f"Run alexnet prepare IMAGES OTHER_FOLDER --exclude {exclusions}, and train on OTHER_FOLDER.",
                code="E283",
            )
        prepared = open_location(data)
        if prepared.size != size:
            raise UsageError(
                f"{data} was prepared at {prepared.size} pixels, the recipe needs {size}",
                fix=f"Prepare the images again with --size {size}.",
                code="E257",
            )
        if prepared.whole != whole:
            raise UsageError(
                f"{data} has {_squares(prepared.whole)}, the recipe needs {_squares(whole)}",
                fix="Set prepare_whole=true, or prepare them again without --whole."
                if prepared.whole
                else "Set prepare_whole=false, or prepare them again with --whole.",
                code="E2141",
            )
        return prepared
    source = open_source(data, val_share=val_share, labels=labels)
    source = leave_out(source, excluded, exclusions or "the run", strict=bool(exclusions))
    key = cache_key(source, size, "auto", max_pixels=max_pixels, whole=whole)[:12]
    out = made_anew(source, cache_folder() / "prepared" / f"{slug(source.name)}-{size}-{key}")
    report = prepare(source, out, size=size, whole=whole, max_pixels=max_pixels, progress=progress)
    if report.skipped:
        note_reader(out)
    if tell is not None:
        tell(report)
    return open_prepared(out)


def changes_since(
    prepared: Prepared,
    data: str,
    *,
    excluded: Sequence[Excluded] = (),
    labels: Path | None = None,
    progress: ProgressCallback = silent,
) -> str:
    """Says how the images in the folder `data` differ from those prepared; "" if they do not, or nobody can tell.

    Nobody can tell where there is no such folder now, or nothing in it, as on a machine that has the prepared images
    alone; nor for prepared folders and named datasets.
    """
    path = Path(data)
    if not path.is_absolute() or not path.is_dir() or is_prepared(data) or prepared.address is not None:
        return ""
    try:
        source = leave_out(open_source(path, labels=labels), excluded, "the run", strict=False)
    except DataError as error:
        return "" if error.code in NOTHING_TO_COMPARE else error.what
    return changed_images(source, prepared, progress)


def is_prepared(data: str) -> bool:
    """Whether `data` is a prepared folder, or an address, which is always that of a prepared folder."""
    return is_address(data) or (user_path(data) / PREPARED).is_file()


def original_files(data: str, labels: Path | None = None) -> Samples | None:
    """Lists the original training images of a folder; None for a prepared folder and for named datasets."""
    if is_prepared(data) or not user_path(data).is_dir():
        return None
    return open_source(data, labels=labels).splits["train"]


def fitted(recipe: Recipe, data: str) -> Recipe:
    """Sets `prepare_size` and `prepare_whole` of the recipe as the images are, if `data` is prepared already."""
    if not is_prepared(data):
        return recipe
    prepared = open_location(data)
    return replace(recipe, prepare_size=prepared.size, prepare_whole=prepared.whole)


def _squares(whole: bool) -> str:
    return "whole images, stretched to squares" if whole else "the central squares of images"

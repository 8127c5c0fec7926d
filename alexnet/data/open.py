"""From what a user names to prepared images: a folder, a prepared set, its address, or a named set."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from alexnet.data.dataset import PREPARED, Prepared, open_prepared
from alexnet.data.exclusions import Excluded, leave_out
from alexnet.data.prepare import PrepareReport, cache_key, prepare
from alexnet.data.remote import open_location
from alexnet.data.samples import Samples
from alexnet.data.sources import open_source
from alexnet.errors import UsageError
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.recipe import Recipe
from alexnet.storage.download import is_address
from alexnet.storage.files import cache_folder
from alexnet.text import slug


def open_images(
    data: str,
    size: int,
    *,
    tell: Callable[[PrepareReport], None] | None = None,
    progress: ProgressCallback = silent,
    held_out: float = 0.2,
    excluded: Sequence[Excluded] = (),
    exclusions: str = "",
) -> Prepared:
    """The prepared pictures of a folder, prepared set, its address or named set; prepared now if they never were.

    Args:
        tell: is given what preparing did.
        progress: called while images are prepared.
        held_out: see `open_source`.
        excluded: pictures to leave out.
        exclusions: the file that names them; "" for a run's own, which may be gone by now.

    Raises:
        UsageError: if `data` is a folder that was prepared at another size, or without regard to `excluded`.
    """
    if is_prepared(data):
        if excluded:
            raise UsageError(
                f"{data} is prepared already: its pictures cannot be left out one by one",
                fix=f"alexnet prepare PICTURES OTHER_FOLDER --exclude {exclusions}, and train on that.",
                code="E283",
            )
        prepared = open_location(data)
        if prepared.size != size:
            raise UsageError(
                f"{data} was prepared at {prepared.size} pixels, the recipe wants {size}",
                fix=f"Prepare the pictures anew with --size {size}.",
                code="E257",
            )
        return prepared
    source = open_source(data, held_out=held_out)
    source = leave_out(source, excluded, exclusions or "the run", strict=bool(exclusions))
    out = cache_folder() / "prepared" / f"{slug(source.name)}-{size}-{cache_key(source, size, 'auto')[:12]}"
    report = prepare(source, out, size=size, progress=progress)
    if tell is not None:
        tell(report)
    return open_prepared(out)


def is_prepared(data: str) -> bool:
    """Whether that is a prepared folder, or an address, where nothing else can lie."""
    return is_address(data) or (Path(data).expanduser() / PREPARED).is_file()


def original_files(data: str) -> Samples | None:
    """The training pictures of a folder as they came; None for a prepared folder and for sets that have no files."""
    if is_prepared(data) or not Path(data).expanduser().is_dir():
        return None
    return open_source(data).splits["train"]


def fitted(recipe: Recipe, data: str) -> Recipe:
    """The recipe at the size at which the pictures were prepared, if `data` is a prepared folder."""
    return replace(recipe, prepare_size=open_location(data).size) if is_prepared(data) else recipe

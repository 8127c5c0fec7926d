"""Opens the images and labels of a folder, of ILSVRC-2012 or of a public dataset as a `Source`; decodes nothing.

What the folders of a tree mean is said by `layout`, what is nobody's image by `folders`, labels that are not names of
folders by `file_labels`; `class_folders` reads them.
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from alexnet.data import public_sets
from alexnet.data.class_folders import open_folder
from alexnet.data.samples import Source
from alexnet.errors import DataError, UsageError
from alexnet.storage.download import is_address
from alexnet.storage.files import cache_folder, user_path


def open_source(
    spec: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    downloads: Path | None = None,
    empty_classes: bool = False,
    labels: Path | None = None,
) -> Source:
    """Lists the images in a folder, or those of a named dataset if there is no such folder.

    Args:
        spec: a folder, or one of `digits`, `cifar10`, `fashion-mnist`, `imagenette`, `flowers102`.
        seed: chooses the validation images if there is no val folder.
        val_share: share of every class that becomes "val" in that case, in [0, 1). 0 is for evaluating all images: a
            folder without train/ is then a single split "train", whether it has class folders or only val/ or test/,
            and may have a single class.
        downloads: folder for named datasets that are downloaded; if None, a folder in `cache_folder`.
        empty_classes: whether class folders without images are accepted, for callers that do not train.
        labels: a table of files and labels, for images that do not lie in class folders; see `file_labels`.

    Raises:
        DataError: the folder cannot be used as it is.
        UsageError: `val_share` is out of range, `spec` is an address, or a package for the named dataset is missing.
        ResourceError: a named dataset could not be downloaded.
    """
    if not 0 <= val_share < 1:
        said = f"val_share is {val_share}, but must be at least 0 and less than 1"
        raise UsageError(said, fix="Choose for example 0.2.", code="E223")
    if is_address(spec):
        raise UsageError(
            f"{spec} is an address: only prepared datasets are read from one, by train, resume, evaluate and bench",
            fix="Give the folder of the images; alexnet prepare IMAGES FOLDER writes a folder that can be uploaded.",
            code="E276",
        )
    path = user_path(spec)
    if path.is_dir():
        return open_folder(path, seed, val_share, empty_classes, labels)
    refuse_labels(labels, str(spec))
    if path.exists():
        archive = path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar"))
        fix = "Unpack it and give the folder." if archive else "Give the folder that holds the class folders."
        raise DataError(f"{path} is {'an archive' if archive else 'a file'}, not a folder", fix=fix, code="E311")
    cache = downloads or cache_folder() / "downloads"
    named: dict[str, Callable[[], Source]] = {
        "digits": lambda: public_sets.digits(seed),
        "cifar10": lambda: public_sets.torchvision_arrays("cifar10", cache),
        "fashion-mnist": lambda: public_sets.torchvision_arrays("fashion-mnist", cache),
        "imagenette": lambda: public_sets.imagenette(cache, partial(open_folder, seed=seed, val_share=val_share)),
        "flowers102": lambda: public_sets.flowers102(cache),
    }
    if str(spec) in named:
        return named[str(spec)]()
    close = get_close_matches(str(spec), named, 1)
    raise DataError(
        f"{path} does not exist" + (f"; did you mean {close[0]}?" if close else ""),
        fix=f"Give a folder with one sub-folder per class, or a named dataset: {', '.join(named)}.",
        code="E310",
    )


def refuse_labels(labels: Path | None, spec: str) -> None:
    """Raises a DataError if labels were given for images that have theirs."""
    if labels is not None:
        raise DataError(
            f"{spec} has its labels already, so {labels} is not read",
            fix="Leave out --labels, or give the folder of the images.",
            code="E372",
        )

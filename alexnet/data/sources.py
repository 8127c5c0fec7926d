"""Lists the images and labels of class folders, of ILSVRC-2012 or of a public dataset as a `Source`.

Nothing is decoded here. `Source.notes` reports every decision that was made for the user.

A folder tree is ROOT/train/CLASS/* with ROOT/val/CLASS/* (or valid, validation) and ROOT/test/CLASS/*, both optional,
or ROOT/CLASS/* without splits. Images in sub-folders of a class folder belong to that class. Links are followed, hidden
files and folders ignored.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np

from alexnet.data import public_sets
from alexnet.data.image_files import EXTENSIONS, hint_for
from alexnet.data.samples import Draw, Samples, Source, split_off_validation
from alexnet.errors import DataError, UsageError
from alexnet.storage.download import is_address
from alexnet.storage.files import cache_folder
from alexnet.text import listed, printable

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


def open_source(
    spec: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    downloads: Path | None = None,
    empty_classes: bool = False,
) -> Source:
    """Lists the images in a folder, or those of a named dataset if there is no such folder.

    Args:
        spec: a folder, or one of `digits`, `cifar10`, `fashion-mnist`, `imagenette`, `flowers102`.
        seed: chooses the validation images if there is no val folder.
        val_share: share of every class that becomes "val" in that case, in [0, 1). 0 is for evaluating all images: a
            folder without train/ is then a single split "train", whether it has class folders or only val/ or test/.
        downloads: folder for named datasets that are downloaded; if None, a folder in `cache_folder`.
        empty_classes: whether class folders without images are accepted, for callers that do not train.

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
    path = Path(spec).expanduser()
    if path.is_dir():
        return _open_folder(path, seed, val_share, empty_classes)
    if path.exists():
        archive = path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar"))
        fix = "Unpack it and give the folder." if archive else "Give the folder that holds the class folders."
        raise DataError(f"{path} is {'an archive' if archive else 'a file'}, not a folder", fix=fix, code="E311")
    cache = downloads or cache_folder() / "downloads"
    named: dict[str, Callable[[], Source]] = {
        "digits": lambda: public_sets.digits(seed),
        "cifar10": lambda: public_sets.torchvision_arrays("cifar10", cache),
        "fashion-mnist": lambda: public_sets.torchvision_arrays("fashion-mnist", cache),
        "imagenette": lambda: public_sets.imagenette(cache, partial(_open_folder, seed=seed, val_share=val_share)),
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


@dataclass(frozen=True)
class _Listing:
    """The content of a folder with class folders."""

    classes: dict[str, list[str]]  # class -> image names relative to the root of the source, sorted; may be empty
    loose: list[str]  # images outside of class folders
    other: Counter[str]  # ending of other files -> their number
    hidden: int  # number of images that are hidden or in hidden folders


def _open_folder(root: Path, seed: int, val_share: float, empty_classes: bool = False) -> Source:
    """Lists a folder tree with or without splits, or ILSVRC-2012."""
    folders = {
        entry.name: Path(entry.path) for entry in _entries(root) if _is_folder(entry) and not _ignored(entry.name)
    }
    split_folders = _split_folders(root, folders)
    notes: list[str] = []
    if "train" in split_folders:
        unused = [name for name in sorted(folders) if folders[name] not in split_folders.values()]
        notes += [f"{root / name} lies beside train and is not used" for name in unused if "devkit" not in name.lower()]
    elif val_share == 0 and len(split_folders) == len(folders) == 1:
        split_folders = {"train": next(iter(split_folders.values()))}
    elif split_folders and len(split_folders) == len(folders):
        names = ", ".join(f"{path.name}/" for path in split_folders.values())
        raise DataError(
            f"{root} has {names} but no train/", fix=f"Put the training images into {root / 'train'}.", code="E312"
        )
    else:
        split_folders = {"train": root}
    listing = _list_classes(split_folders["train"], root)
    _check_train(listing, split_folders["train"], empty_classes)
    notes += _listing_notes(listing, split_folders["train"])
    class_names = tuple(sorted(listing.classes))
    _refuse_names(class_names, split_folders["train"])
    splits = {"train": _samples(root, listing.classes, class_names, split_folders["train"])}
    for split in ("val", "test"):
        if split in split_folders:
            samples = _evaluation_samples(root, split_folders[split], split, class_names, notes)
            if samples is not None:
                splits[split] = samples
    draw = Draw(val_share, seed) if val_share and len(splits) == 1 else None
    if val_share:
        _ensure_val(splits, class_names, seed, val_share, notes)
    return Source(root.resolve().name or "pictures", class_names, splits, tuple(notes), draw)


def _evaluation_samples(
    root: Path, folder: Path, split: str, class_names: tuple[str, ...], notes: list[str]
) -> Samples | None:
    """Lists the images of a val or test folder; None for a test folder without labels. Adds to `notes`."""
    listing = _list_classes(folder, root)
    classes = {name: images for name, images in listing.classes.items() if images}
    # ILSVRC-2012 has val/*.JPEG, Tiny ImageNet val/images/*.JPEG; both have the classes in another file.
    flat = listing.loose if not classes else classes["images"] if set(classes) == {"images"} else []
    if flat and "images" not in class_names:
        if split == "test":
            notes.append(f"{folder} has no class folders, so no labels, and is not used")
            return None
        classes = public_sets.classes_by_ground_truth(root, folder, flat)
    else:
        notes += _listing_notes(listing, folder)
    if not classes:
        raise DataError(f"{folder} has no images", fix="Fill it, or remove the folder.", code="E313")
    absent = sorted(set(class_names) - set(classes))
    if absent:
        notes.append(f"{folder} has no image of {listed(absent)}")
    return _samples(root, classes, class_names, folder)


def _ensure_val(
    splits: dict[str, Samples], class_names: tuple[str, ...], seed: int, val_share: float, notes: list[str]
) -> None:
    """Adds a "val" to `splits` if there is none: the test split, or a part of train. Adds to `notes`."""
    if "val" in splits:
        return
    if "test" in splits:
        splits["val"] = splits.pop("test")
        notes.append("no val folder: test chooses the checkpoint and is called val; no untouched test split is left")
        return
    train = splits["train"]
    in_val = split_off_validation(train.labels, val_share, seed)
    if not in_val.any():
        raise DataError(
            "every class has a single image, so none can be used for validation",
            fix="Add images, or a folder val/.",
            code="E319",
        )
    splits["train"], splits["val"] = train.take(~in_val), train.take(in_val)
    notes.append(f"no val folder: {in_val.sum()} of {len(in_val)} images were split off for validation (seed {seed})")
    single = [name for label, name in enumerate(class_names) if not in_val[train.labels == label].any()]
    if single:
        notes.append(f"val has no image of {listed(single)}: the only image of a class stays in train")


def _split_folders(root: Path, folders: dict[str, Path]) -> dict[str, Path]:
    """Finds the folder of each split. If train/ has no sub-folders but lies beside other folders, it is a class."""
    by_split: dict[str, Path] = {}
    for name, path in sorted(folders.items()):
        split = SPLIT_FOLDERS.get(name.lower())
        if split is None:
            continue
        if split in by_split:
            raise DataError(
                f"{root} has both {by_split[split].name}/ and {name}/", fix="Keep one of them.", code="E317"
            )
        by_split[split] = path
    if "train" in by_split and len(folders) > len(by_split):
        subfolders = [entry for entry in _entries(by_split["train"]) if _is_folder(entry) and not _ignored(entry.name)]
        return by_split if subfolders else {}
    return by_split


def _list_classes(folder: Path, root: Path) -> _Listing:
    """Lists all images in or below the class folders of `folder`, and the other files there."""
    classes: dict[str, list[str]] = {}
    loose: list[str] = []
    other: Counter[str] = Counter()
    hidden = 0
    for entry in _entries(folder):
        if _is_folder(entry):
            images, class_other, class_hidden = _walk(Path(entry.path), root, _ignored(entry.name))
            other += class_other
            hidden += class_hidden
            if not _ignored(entry.name):
                classes[entry.name] = images
        elif _ignored(entry.name):
            hidden += _is_image(entry.name)
        elif _is_image(entry.name):
            loose.append(_relative(Path(entry.path), root))
        else:
            other[Path(entry.name).suffix.lower()] += 1
    return _Listing(classes, sorted(loose), other, hidden)


def _walk(folder: Path, root: Path, inside_hidden: bool) -> tuple[list[str], Counter[str], int]:
    """Lists the images at any depth below `folder`; counts the endings of other files and the hidden images."""
    images: list[str] = []
    other: Counter[str] = Counter()
    hidden = 0
    visited: set[str] = set()
    hidden_folders = {str(folder)} if inside_hidden else set()
    for path, subfolders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(path)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        is_hidden = path in hidden_folders
        hidden_folders.update(os.path.join(path, name) for name in subfolders if is_hidden or _ignored(name))
        prefix = _relative(Path(path), root)
        for file in files:
            if is_hidden or _ignored(file):
                hidden += _is_image(file)
            elif _is_image(file):
                images.append(f"{prefix}/{file}")
            else:
                other[Path(file).suffix.lower()] += 1
    return sorted(images), other, hidden


def _check_train(listing: _Listing, folder: Path, empty_classes: bool) -> None:
    """Raises a DataError that explains how to arrange the folders if `folder` cannot be used for training."""
    classes, example = listing.classes, f"one folder per class: {folder / 'cat'}/*.jpg, {folder / 'dog'}/*.jpg"
    empty = sorted(name for name, images in classes.items() if not images)
    if len(empty) == len(classes):
        if listing.loose:
            raise DataError(
                f"{folder} has {len(listing.loose)} images but no class folders", fix=f"Make {example}.", code="E314"
            )
        others = f", only {_endings(listing.other)}" if listing.other else ""
        raise DataError(f"{folder} has no images{others}", fix=f"Make {example}.", code="E313")
    if len(classes) == 1:
        (name,) = classes
        inner = [entry.name for entry in _entries(folder / name) if _is_folder(entry) and not _ignored(entry.name)]
        fix = f"Did you mean {folder / name}?" if len(inner) > 1 else f"Make {example}."
        raise DataError(f"{folder} has a single class ({name}); a classifier needs at least two", fix=fix, code="E315")
    if empty and not empty_classes:
        others = f" (found {_endings(listing.other)})" if listing.other else ""
        said = f"{folder} has no images of {listed(empty)}{others}"
        raise DataError(said, fix="Add images, or remove the folders.", code="E316")


def _refuse_names(class_names: tuple[str, ...], folder: Path) -> None:
    """Raises a DataError for a class name that JSON, tables and pages cannot show: not UTF-8, or with line breaks."""
    for name in class_names:
        if printable(name) != name:
            raise DataError(
                f"{folder} has a class folder whose name has control characters or is not UTF-8: {name!a}",
                fix="Rename it; the name of the folder is the name of the class.",
                code="E359",
            )


def _listing_notes(listing: _Listing, folder: Path) -> list[str]:
    """Describes what in `folder` is not used."""
    notes = []
    if listing.loose:
        notes.append(f"{len(listing.loose)} images directly in {folder} have no class and are not used")
    if listing.hidden:
        count = f"{listing.hidden} image{'s' * (listing.hidden > 1)}"
        notes.append(f"{count} in hidden files and folders of {folder}: not used")
    if listing.other:
        notes.append(f"files in {folder} that are not used: {_endings(listing.other)}")
    return notes


def _samples(root: Path, classes: dict[str, list[str]], class_names: tuple[str, ...], folder: Path) -> Samples:
    """Lists the images of all classes, in the order of the class names."""
    unknown = sorted(name for name, images in classes.items() if images and name not in class_names)
    if unknown:
        similar = get_close_matches(unknown[0].lower(), [name.lower() for name in class_names], 1)
        hint = " (upper and lower case differ?)" if similar == [unknown[0].lower()] else ""
        raise DataError(
            f"{folder} has classes that train does not have: {listed(unknown)}{hint}",
            fix="Give both the same class folders, or remove these.",
            code="E318",
        )
    pairs = [(name, label) for label, class_name in enumerate(class_names) for name in classes.get(class_name, ())]
    return Samples(tuple(name for name, _ in pairs), np.array([label for _, label in pairs], np.int64), root)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        _refuse(error)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def _refuse(error: OSError) -> None:
    """Raises a DataError for a folder that cannot be listed, which os.walk would silently treat as empty."""
    reason = (error.strerror or str(error)).lower()
    raise DataError(
        f"{error.filename}: {reason}", fix="Make the folder readable, or remove it.", code="E320"
    ) from error


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _endings(other: Counter[str]) -> str:
    """Describes the most frequent file endings with their counts."""
    return ", ".join(
        f"{count} {ending or 'without ending'}{hint_for(ending)}" for ending, count in other.most_common(3)
    )

"""What is on the user's disk: class folders, ILSVRC-2012 or a named public set -> which pictures, which labels.

Nothing is decoded here; a `Source` lists pictures and says in `notes` whatever was decided for the user (a test set
used as val, folders ignored, pictures held out).

A folder tree is ROOT/train/CLASS/* with ROOT/val/CLASS/* (or valid, validation) and ROOT/test/CLASS/* if there are,
or ROOT/CLASS/* without splits. Pictures in sub-folders of a class folder count to that class. Links are followed,
but every real folder is visited once per class, so loops of links end. Hidden files and folders are not looked at.
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
from alexnet.data.samples import Samples, Source, split_off_validation
from alexnet.errors import DataError, UsageError
from alexnet.storage.download import is_address
from alexnet.storage.files import cache_folder
from alexnet.text import listed, printable

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp"),
    *(".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif"),
)
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


def open_source(
    spec: str | Path,
    *,
    seed: int = 0,
    held_out: float = 0.2,
    downloads: Path | None = None,
    empty_classes: bool = False,
) -> Source:
    """The pictures in a folder, or of a named set if there is no such folder.

    Args:
        spec: a folder, or one of `digits`, `cifar10`, `fashion-mnist`, `imagenette`, `flowers102`.
        seed: chooses which pictures are held out where there is no val folder.
        held_out: share of every class held out as "val" in that case, in [0, 1). 0 is for looking at all pictures: a
            folder without train/ is then one split, "train", be it of classes or of one val/ or test/.
        downloads: folder for named sets that are downloaded; that of `cache_folder` if None.
        empty_classes: whether a class folder without pictures is let through, for those who only look.

    Raises:
        DataError: the folder cannot be used as it is.
        UsageError: `held_out` is out of range, `spec` is an address, or a package for the named set is missing.
        ResourceError: a named set could not be downloaded.
    """
    if not 0 <= held_out < 1:
        told = f"held_out is {held_out}, but must be a share from 0 to below 1"
        raise UsageError(told, fix="choose for example 0.2", code="E223")
    if is_address(spec):
        raise UsageError(
            f"{spec} is an address: only prepared sets are read from one, by train, resume, evaluate and bench",
            fix="Give the folder of the pictures; alexnet prepare PICTURES FOLDER makes what can be uploaded.",
            code="E276",
        )
    path = Path(spec).expanduser()
    if path.is_dir():
        return _open_folder(path, seed, held_out, empty_classes)
    if path.exists():
        archive = path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar"))
        fix = "unpack it and give the folder" if archive else "give the folder that holds the class folders"
        raise DataError(f"{path} is {'an archive' if archive else 'a file'}, not a folder", fix=fix, code="E311")
    cache = downloads or cache_folder() / "downloads"
    named: dict[str, Callable[[], Source]] = {
        "digits": lambda: public_sets.digits(seed),
        "cifar10": lambda: public_sets.torchvision_arrays("cifar10", cache),
        "fashion-mnist": lambda: public_sets.torchvision_arrays("fashion-mnist", cache),
        "imagenette": lambda: public_sets.imagenette(cache, partial(_open_folder, seed=seed, held_out=held_out)),
        "flowers102": lambda: public_sets.flowers102(cache),
    }
    if str(spec) in named:
        return named[str(spec)]()
    close = get_close_matches(str(spec), named, 1)
    raise DataError(
        f"{path} does not exist" + (f"; did you mean {close[0]}?" if close else ""),
        fix=f"give a folder with one sub-folder per class, or a named set: {', '.join(named)}",
        code="E310",
    )


@dataclass(frozen=True)
class _Listing:
    """One folder of class folders."""

    classes: dict[str, list[str]]  # class -> picture names relative to the source's root, sorted; may be empty
    loose: list[str]  # pictures that lie in no class folder
    other: Counter[str]  # endings of other files -> how many
    hidden: int  # pictures in hidden places


def _open_folder(root: Path, seed: int, held_out: float, empty_classes: bool = False) -> Source:
    """A folder tree with or without splits, or ILSVRC-2012."""
    folders = {
        entry.name: Path(entry.path) for entry in _entries(root) if _is_folder(entry) and not _ignored(entry.name)
    }
    places = _split_places(root, folders)
    notes: list[str] = []
    if "train" in places:
        unused = [name for name in sorted(folders) if folders[name] not in places.values()]
        notes += [f"{root / name} lies beside train and is not used" for name in unused if "devkit" not in name.lower()]
    elif held_out == 0 and len(places) == len(folders) == 1:
        places = {"train": next(iter(places.values()))}
    elif places and len(places) == len(folders):
        found = ", ".join(f"{path.name}/" for path in places.values())
        raise DataError(
            f"{root} has {found} but no train/", fix=f"put the training pictures into {root / 'train'}", code="E312"
        )
    else:
        places = {"train": root}
    listing = _list_classes(places["train"], root)
    _check_train(listing, places["train"], empty_classes)
    notes += _listing_notes(listing, places["train"])
    class_names = tuple(sorted(listing.classes))
    _refuse_names(class_names, places["train"])
    splits = {"train": _samples(root, listing.classes, class_names, places["train"])}
    for split in ("val", "test"):
        if split in places:
            samples = _evaluation_samples(root, places[split], split, class_names, notes)
            if samples is not None:
                splits[split] = samples
    if held_out:
        _ensure_val(splits, class_names, seed, held_out, notes)
    return Source(root.resolve().name or "pictures", class_names, splits, tuple(notes))


def _evaluation_samples(
    root: Path, place: Path, split: str, class_names: tuple[str, ...], notes: list[str]
) -> Samples | None:
    """The pictures of a val or test folder; None for a test folder without labels. Adds to `notes`."""
    listing = _list_classes(place, root)
    classes = {name: images for name, images in listing.classes.items() if images}
    # ILSVRC-2012 has val/*.JPEG, Tiny ImageNet val/images/*.JPEG, both with the classes in another file.
    flat = listing.loose if not classes else classes["images"] if set(classes) == {"images"} else []
    if flat and "images" not in class_names:
        if split == "test":
            notes.append(f"{place} has no class folders, so no labels, and is not used")
            return None
        classes = public_sets.classes_by_ground_truth(root, place, flat)
    else:
        notes += _listing_notes(listing, place)
    if not classes:
        raise DataError(f"{place} has no pictures", fix="fill it, or remove the folder", code="E313")
    absent = sorted(set(class_names) - set(classes))
    if absent:
        notes.append(f"{place} has no picture of {listed(absent)}")
    return _samples(root, classes, class_names, place)


def _ensure_val(
    splits: dict[str, Samples], class_names: tuple[str, ...], seed: int, held_out: float, notes: list[str]
) -> None:
    """Gives `splits` a "val" if it has none: the test set, or a part of train. Adds to `notes`."""
    if "val" in splits:
        return
    if "test" in splits:
        splits["val"] = splits.pop("test")
        notes.append("no val folder: test chooses the checkpoint and is called val; no untouched test set is left")
        return
    train = splits["train"]
    held = split_off_validation(train.labels, held_out, seed)
    if not held.any():
        raise DataError(
            "every class has a single picture, so none can be held out",
            fix="add pictures, or a folder val/",
            code="E319",
        )
    splits["train"], splits["val"] = train.take(~held), train.take(held)
    notes.append(f"no val folder: {held.sum()} of {len(held)} pictures were held out as val (seed {seed})")
    single = [name for label, name in enumerate(class_names) if not held[train.labels == label].any()]
    if single:
        notes.append(f"val has no picture of {listed(single)}: a single picture stays in train")


def _split_places(root: Path, folders: dict[str, Path]) -> dict[str, Path]:
    """Split -> its folder. A folder called train that holds no folders beside others is a class (of railways)."""
    places: dict[str, Path] = {}
    for folder, path in sorted(folders.items()):
        split = SPLIT_FOLDERS.get(folder.lower())
        if split is None:
            continue
        if split in places:
            raise DataError(f"{root} has both {places[split].name}/ and {folder}/", fix="keep one of them", code="E317")
        places[split] = path
    if "train" in places and len(folders) > len(places):
        inside = [entry for entry in _entries(places["train"]) if _is_folder(entry) and not _ignored(entry.name)]
        return places if inside else {}
    return places


def _list_classes(place: Path, root: Path) -> _Listing:
    """Every picture in or below the class folders of `place`, and what else lies there."""
    classes: dict[str, list[str]] = {}
    loose: list[str] = []
    other: Counter[str] = Counter()
    hidden = 0
    for entry in _entries(place):
        if _is_folder(entry):
            images, others, hiding = _walk(Path(entry.path), root, _ignored(entry.name))
            other += others
            hidden += hiding
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
    """Pictures at any depth below `folder`, endings of other files, and how many pictures lie in hidden places."""
    images: list[str] = []
    other: Counter[str] = Counter()
    hidden = 0
    visited: set[str] = set()
    hidden_folders = {str(folder)} if inside_hidden else set()
    for here, below, files in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(here)
        if real in visited:
            below.clear()
            continue
        visited.add(real)
        hiding = here in hidden_folders
        hidden_folders.update(os.path.join(here, each) for each in below if hiding or _ignored(each))
        prefix = _relative(Path(here), root)
        for file in files:
            if hiding or _ignored(file):
                hidden += _is_image(file)
            elif _is_image(file):
                images.append(f"{prefix}/{file}")
            else:
                other[Path(file).suffix.lower()] += 1
    return sorted(images), other, hidden


def _check_train(listing: _Listing, place: Path, empty_classes: bool) -> None:
    """Raises a DataError that says how to arrange the folders if `place` cannot be trained on."""
    classes, example = listing.classes, f"one folder per class: {place / 'cat'}/*.jpg, {place / 'dog'}/*.jpg"
    empty = sorted(name for name, images in classes.items() if not images)
    if len(empty) == len(classes):
        if listing.loose:
            raise DataError(
                f"{place} has {len(listing.loose)} pictures but no class folders", fix=f"make {example}", code="E314"
            )
        others = f", only {_endings(listing.other)}" if listing.other else ""
        raise DataError(f"{place} has no pictures{others}", fix=f"make {example}", code="E313")
    if len(classes) == 1:
        (name,) = classes
        inner = [entry.name for entry in _entries(place / name) if _is_folder(entry) and not _ignored(entry.name)]
        fix = f"did you mean {place / name}?" if len(inner) > 1 else f"make {example}"
        raise DataError(f"{place} has a single class ({name}); a classifier needs at least two", fix=fix, code="E315")
    if empty and not empty_classes:
        others = f" (found {_endings(listing.other)})" if listing.other else ""
        raise DataError(
            f"{place} has no pictures of {listed(empty)}{others}",
            fix="add pictures, or remove the folders",
            code="E316",
        )


def _refuse_names(class_names: tuple[str, ...], place: Path) -> None:
    """Class names go into JSON, tables and pages, which cannot show bytes that are not UTF-8, nor line breaks."""
    for name in class_names:
        if printable(name) != name:
            raise DataError(
                f"{place} has a class folder whose name has control characters or is not UTF-8: {name!a}",
                fix="rename it; the name of the folder is the name of the class",
                code="E359",
            )


def _listing_notes(listing: _Listing, place: Path) -> list[str]:
    """What in `place` is not used."""
    notes = []
    if listing.loose:
        notes.append(f"{len(listing.loose)} pictures directly in {place} have no class and are not used")
    if listing.hidden:
        notes.append(
            f"{listing.hidden} picture{'s' * (listing.hidden > 1)} in hidden files and folders of {place}: not used"
        )
    if listing.other:
        notes.append(f"files in {place} that are not used: {_endings(listing.other)}")
    return notes


def _samples(root: Path, classes: dict[str, list[str]], class_names: tuple[str, ...], place: Path) -> Samples:
    """The pictures of all classes, in the order of the class names."""
    unknown = sorted(name for name, images in classes.items() if images and name not in class_names)
    if unknown:
        alike = get_close_matches(unknown[0].lower(), [name.lower() for name in class_names], 1)
        hint = " (upper and lower case differ?)" if alike == [unknown[0].lower()] else ""
        raise DataError(
            f"{place} has classes that train does not have: {listed(unknown)}{hint}",
            fix="give both the same class folders, or remove these",
            code="E318",
        )
    pairs = [(name, label) for label, each in enumerate(class_names) for name in classes.get(each, ())]
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
        return False  # a link that leads to itself


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed must not silently count as empty, which is what os.walk makes of it."""
    reason = (error.strerror or str(error)).lower()
    raise DataError(f"{error.filename}: {reason}", fix="make the folder readable, or remove it", code="E320") from error


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _endings(other: Counter[str]) -> str:
    """Counts of the most frequent file endings."""
    return ", ".join(f"{count} {ending or 'without ending'}" for ending, count in other.most_common(3))

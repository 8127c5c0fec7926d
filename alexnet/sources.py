"""What is on the user's disk: class folders, ILSVRC-2012 or a named public set -> which pictures, which labels.

Splits have one name each wherever they come from: "train"; "val", which may choose checkpoints; "test", which is
only reported. Nothing is decoded here; a `Source` lists pictures and says in `notes` whatever was decided for the
user (a test set used as val, folders ignored, pictures held out).

A folder tree is ROOT/train/CLASS/* with ROOT/val/CLASS/* (or valid, validation) and ROOT/test/CLASS/* if there are,
or ROOT/CLASS/* without splits. Pictures in sub-folders of a class folder count to that class. Links are followed,
but every real folder is visited once per class, so loops of links end. Hidden files and folders are not looked at.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.errors import DataError, ResourceError, UsageError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp"),
    *(".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif"),
)
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Samples:
    """The pictures of one split, in a fixed order."""

    names: tuple[str, ...]  # relative to `root`, with forward slashes
    labels: Labels  # (N,), indices into the source's class names
    root: Path | None = None  # the pictures are the files root/name ...
    arrays: NDArray[np.uint8] | None = None  # ... or these pixels, (N, H, W) grey or (N, H, W, 3) RGB

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, index: int) -> Path | NDArray[np.uint8]:
        """What `alexnet.images.prepare_image` takes for the sample at `index`."""
        if self.arrays is not None:
            pixels: NDArray[np.uint8] = self.arrays[index]
            return pixels
        assert self.root is not None
        return self.root / self.names[index]


@dataclass(frozen=True, eq=False)
class Source:
    """A set of labelled pictures as found."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Samples]  # "train" always; "val" and "test" if there are any
    notes: tuple[str, ...] = ()  # decisions made for the user, one sentence each


def open_source(spec: str | Path, *, seed: int = 0, held_out: float = 0.2, downloads: Path | None = None) -> Source:
    """The pictures in a folder, or of a named set if there is no such folder.

    Args:
        spec: a folder, or one of `digits`, `cifar10`, `fashion-mnist`, `imagenette`, `flowers102`.
        seed: chooses which pictures are held out where there is no val folder.
        held_out: share of every class held out as "val" in that case, in (0, 1).
        downloads: folder for named sets that are downloaded; ~/.cache/alexnet/downloads if None.

    Raises:
        DataError: the folder cannot be used as it is.
        UsageError: `held_out` is out of range, or a package for the named set is missing.
        ResourceError: a named set could not be downloaded.
    """
    if not 0 < held_out < 1:
        raise UsageError(f"held_out is {held_out}, but must be a share between 0 and 1", fix="for example: 0.2")
    path = Path(spec).expanduser()
    if path.is_dir():
        return _open_folder(path, seed, held_out)
    if path.exists():
        archive = path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar"))
        fix = "unpack it and give the folder" if archive else "give the folder that holds the class folders"
        raise DataError(f"{path} is {'an archive' if archive else 'a file'}, not a folder", fix=fix)
    cache = downloads or Path.home() / ".cache" / "alexnet" / "downloads"
    named: dict[str, Callable[[], Source]] = {
        "digits": lambda: _digits(seed),
        "cifar10": lambda: _torchvision_arrays("cifar10", cache),
        "fashion-mnist": lambda: _torchvision_arrays("fashion-mnist", cache),
        "imagenette": lambda: _imagenette(cache, seed, held_out),
        "flowers102": lambda: _flowers102(cache),
    }
    if str(spec) in named:
        return named[str(spec)]()
    close = get_close_matches(str(spec), named, 1)
    raise DataError(
        f"{path} does not exist" + (f"; did you mean {close[0]}?" if close else ""),
        fix=f"give a folder with one sub-folder per class, or a named set: {', '.join(named)}",
    )


def hold_out(labels: Labels, share: float, seed: int) -> NDArray[np.bool_]:
    """Which samples to hold out: `share` of every class, at random, the same for the same seed.

    Classes of two or more keep at least one sample on both sides; a single sample is not held out.

    Args:
        labels: (N,) class indices.
        share: in (0, 1).
        seed: not negative.

    Returns:
        (N,), True where held out.
    """
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(round(len(members) * share), 1), len(members) - 1)
        # A stream per class: pictures added to one class leave the choice in the others as it was. Raw numbers of a
        # bit generator stay the same with every NumPy, what `permutation` makes of them may not.
        keys = np.random.Philox(np.random.SeedSequence([seed, int(label)])).random_raw(len(members))
        held[members[np.argsort(keys, kind="stable")[:count]]] = True
    return held


def _take(samples: Samples, chosen: NDArray[np.bool_]) -> Samples:
    names = tuple(name for name, keep in zip(samples.names, chosen, strict=True) if keep)
    arrays = None if samples.arrays is None else samples.arrays[chosen]
    return Samples(names, samples.labels[chosen], samples.root, arrays)


# --- folders -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Listing:
    """One folder of class folders."""

    classes: dict[str, list[str]]  # class -> picture names relative to the source's root, sorted; may be empty
    loose: list[str]  # pictures that lie in no class folder
    other: Counter[str]  # endings of other files -> how many
    hidden: int  # pictures in hidden places


def _open_folder(root: Path, seed: int, held_out: float) -> Source:
    """A folder tree with or without splits, or ILSVRC-2012."""
    folders = {entry.name: Path(entry.path) for entry in _entries(root) if entry.is_dir() and not _ignored(entry.name)}
    places = _split_places(root, folders)
    notes: list[str] = []
    if "train" in places:
        unused = [name for name in sorted(folders) if folders[name] not in places.values()]
        notes += [f"{root / name} lies beside train and is not used" for name in unused if "devkit" not in name.lower()]
    elif places and len(places) == len(folders):
        found = ", ".join(f"{path.name}/" for path in places.values())
        raise DataError(f"{root} has {found} but no train/", fix=f"put the training pictures into {root / 'train'}")
    else:
        places = {"train": root}
    listing = _list_classes(places["train"], root)
    _check_train(listing, places["train"])
    notes += _listing_notes(listing, places["train"])
    class_names = tuple(sorted(listing.classes))
    splits = {"train": _samples(root, listing.classes, class_names, places["train"])}
    for split in ("val", "test"):
        if split in places:
            samples = _evaluation_samples(root, places[split], split, class_names, notes)
            if samples is not None:
                splits[split] = samples
    _ensure_val(splits, class_names, seed, held_out, notes)
    return Source(root.resolve().name or "pictures", class_names, splits, tuple(notes))


def _evaluation_samples(
    root: Path, place: Path, split: str, class_names: tuple[str, ...], notes: list[str]
) -> Samples | None:
    """The pictures of a val or test folder; None for a test folder without labels. Adds to `notes`."""
    listing = _list_classes(place, root)
    classes = {name: pictures for name, pictures in listing.classes.items() if pictures}
    # ILSVRC-2012 has val/*.JPEG, Tiny ImageNet val/images/*.JPEG, both with the classes in another file.
    flat = listing.loose if not classes else classes["images"] if set(classes) == {"images"} else []
    if flat and "images" not in class_names:
        if split == "test":
            notes.append(f"{place} has no class folders, so no labels, and is not used")
            return None
        classes = _by_ground_truth(root, place, flat)
    else:
        notes += _listing_notes(listing, place)
    if not classes:
        raise DataError(f"{place} has no pictures", fix="fill it, or remove the folder")
    absent = sorted(set(class_names) - set(classes))
    if absent:
        notes.append(f"{place} has no picture of {_some(absent)}")
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
    held = hold_out(train.labels, held_out, seed)
    if not held.any():
        raise DataError("every class has a single picture, so none can be held out", fix="add pictures")
    splits["train"], splits["val"] = _take(train, ~held), _take(train, held)
    notes.append(f"no val folder: {held.sum()} of {len(held)} pictures were held out as val (seed {seed})")
    single = [name for label, name in enumerate(class_names) if not held[train.labels == label].any()]
    if single:
        notes.append(f"val has no picture of {_some(single)}: a single picture stays in train")


def _split_places(root: Path, folders: dict[str, Path]) -> dict[str, Path]:
    """Split -> its folder. A folder called train that holds no folders beside others is a class (of railways)."""
    places: dict[str, Path] = {}
    for folder, path in sorted(folders.items()):
        split = SPLIT_FOLDERS.get(folder.lower())
        if split is None:
            continue
        if split in places:
            raise DataError(f"{root} has both {places[split].name}/ and {folder}/", fix="keep one of them")
        places[split] = path
    if "train" in places and len(folders) > len(places):
        inside = [entry for entry in _entries(places["train"]) if entry.is_dir() and not _ignored(entry.name)]
        if not inside:
            return {}
    return places


def _list_classes(place: Path, root: Path) -> _Listing:
    """Every picture in or below the class folders of `place`, and what else lies there."""
    classes: dict[str, list[str]] = {}
    loose: list[str] = []
    other: Counter[str] = Counter()
    hidden = 0
    for entry in _entries(place):
        if entry.is_dir():
            pictures, others, hiding = _walk(Path(entry.path), root, _ignored(entry.name))
            other += others
            hidden += hiding
            if not _ignored(entry.name):
                classes[entry.name] = pictures
        elif _ignored(entry.name):
            hidden += _is_picture(entry.name)
        elif _is_picture(entry.name):
            loose.append(_relative(Path(entry.path), root))
        else:
            other[Path(entry.name).suffix.lower()] += 1
    return _Listing(classes, sorted(loose), other, hidden)


def _walk(folder: Path, root: Path, inside_hidden: bool) -> tuple[list[str], Counter[str], int]:
    """Pictures at any depth below `folder`, endings of other files, and how many pictures lie in hidden places."""
    pictures: list[str] = []
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
                hidden += _is_picture(file)
            elif _is_picture(file):
                pictures.append(f"{prefix}/{file}")
            else:
                other[Path(file).suffix.lower()] += 1
    return sorted(pictures), other, hidden


def _check_train(listing: _Listing, place: Path) -> None:
    """Raises a DataError that says how to arrange the folders if `place` cannot be trained on."""
    classes = listing.classes
    example = f"one folder per class: {place / 'cat'}/*.jpg, {place / 'dog'}/*.jpg"
    empty = sorted(name for name, pictures in classes.items() if not pictures)
    if len(empty) == len(classes):
        if listing.loose:
            raise DataError(f"{place} has {len(listing.loose)} pictures but no class folders", fix=f"make {example}")
        others = f", only {_endings(listing.other)}" if listing.other else ""
        raise DataError(f"{place} has no pictures{others}", fix=f"make {example}")
    if len(classes) == 1:
        (name,) = classes
        inner = [entry.name for entry in _entries(place / name) if entry.is_dir() and not _ignored(entry.name)]
        fix = f"did you mean {place / name}?" if len(inner) > 1 else f"make {example}"
        raise DataError(f"{place} has a single class ({name}); a classifier needs at least two", fix=fix)
    if empty:
        others = f" (found {_endings(listing.other)})" if listing.other else ""
        raise DataError(f"{place} has no pictures of {_some(empty)}{others}", fix="add pictures, or remove the folders")


def _listing_notes(listing: _Listing, place: Path) -> list[str]:
    """What in `place` is not used."""
    notes = []
    if listing.loose:
        notes.append(f"{len(listing.loose)} pictures directly in {place} have no class and are not used")
    if listing.hidden:
        notes.append(f"{listing.hidden} pictures in hidden files and folders of {place} are not used")
    if listing.other:
        notes.append(f"files in {place} that are not used: {_endings(listing.other)}")
    return notes


def _samples(root: Path, classes: dict[str, list[str]], class_names: tuple[str, ...], place: Path) -> Samples:
    """The pictures of all classes, in the order of the class names."""
    unknown = sorted(name for name, pictures in classes.items() if pictures and name not in class_names)
    if unknown:
        alike = get_close_matches(unknown[0].lower(), [name.lower() for name in class_names], 1)
        hint = " (upper and lower case differ?)" if alike == [unknown[0].lower()] else ""
        raise DataError(
            f"{place} has classes that train does not have: {_some(unknown)}{hint}",
            fix="give both the same class folders, or remove these",
        )
    pairs = [(name, label) for label, each in enumerate(class_names) for name in classes.get(each, ())]
    return Samples(tuple(name for name, _ in pairs), np.array([label for _, label in pairs], np.int64), root)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed must not silently count as empty, which is what os.walk makes of it."""
    reason = (error.strerror or str(error)).lower()
    raise DataError(f"{error.filename}: {reason}", fix="make the folder readable, or remove it") from error


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _endings(other: Counter[str]) -> str:
    """Counts of the most frequent file endings."""
    return ", ".join(f"{count} {ending or 'without ending'}" for ending, count in other.most_common(3))


def _some(names: list[str]) -> str:
    """Up to five names, and how many more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# --- ILSVRC-2012: pictures without class folders, classes in another file ------------------------------------------


def _by_ground_truth(root: Path, place: Path, flat: list[str]) -> dict[str, list[str]]:
    """Class -> pictures for a flat val folder, by whichever ground-truth file lies beside it.

    Kaggle's LOC_val_solution.csv; the development kit's ILSVRC2012_validation_ground_truth.txt with its meta.mat; or
    any text file of lines "file-name class" (Tiny ImageNet's val_annotations.txt is one).
    """
    folders = [root, place, *sorted(root.glob("*devkit*")), *sorted(root.glob("*devkit*/data"))]
    if root.resolve().parts[-2:] == ("Data", "CLS-LOC"):
        folders.append(root.resolve().parents[1])
    stems = {Path(name).stem: name for name in flat}
    for folder in folders:
        solution, truth = folder / "LOC_val_solution.csv", folder / "ILSVRC2012_validation_ground_truth.txt"
        pairs: list[tuple[str, str]] = []
        if solution.is_file():
            with solution.open(newline="", encoding="utf-8") as file:
                pairs = [(row["ImageId"], row["PredictionString"].split()[0]) for row in csv.DictReader(file)]
        elif truth.is_file():
            metas = [each / "meta.mat" for each in folders if (each / "meta.mat").is_file()]
            if not metas:
                raise DataError(f"{truth} needs meta.mat beside it", fix="both are in ILSVRC2012_devkit_t12/data")
            wnids = _read_meta(metas[0])
            pairs = [
                (Path(name).stem, wnids[int(line)])
                for name, line in zip(sorted(flat), _lines(truth, len(flat)), strict=True)
            ]
        else:
            for text in sorted(folder.glob("*.txt")):
                rows = [line.split() for line in text.read_text(encoding="utf-8", errors="replace").splitlines()]
                if rows and all(len(row) >= 2 for row in rows) and Path(rows[0][0]).stem in stems:
                    pairs = [(Path(row[0]).stem, row[1]) for row in rows]
                    break
        if pairs:
            classes: dict[str, list[str]] = {}
            for stem, wnid in pairs:
                if stem in stems:
                    classes.setdefault(wnid, []).append(stems.pop(stem))
            if stems:
                raise DataError(
                    f"the ground truth in {folder} misses {_some(sorted(stems.values()))}", fix="complete it"
                )
            return {wnid: sorted(names) for wnid, names in classes.items()}
    raise DataError(
        f"{place} has {len(flat)} pictures but neither class folders nor ground truth",
        fix=f"put LOC_val_solution.csv, or ILSVRC2012_validation_ground_truth.txt and meta.mat, or a text file of "
        f"lines 'file-name class' into {root}; or sort the pictures into class folders",
    )


def _lines(truth: Path, count: int) -> list[str]:
    lines = truth.read_text(encoding="ascii").split()
    if len(lines) != count:
        raise DataError(f"{truth} has {len(lines)} lines for {count} pictures", fix="unpack all of them")
    return lines


def _read_meta(meta: Path) -> dict[int, str]:
    """The development kit's meta.mat: ILSVRC2012_ID -> WNID."""
    synsets = _read_mat(meta)["synsets"]
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}


def _read_mat(path: Path) -> Any:
    """A MATLAB file as a dictionary of arrays."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UsageError(f"reading {path.name} needs SciPy", fix="pip install scipy") from None
    return loadmat(path, squeeze_me=True)


# --- named sets ----------------------------------------------------------------------------------------------------


def _digits(seed: int) -> Source:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels: 64 % train, 16 % val, 20 % test, seeded."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UsageError("the set digits comes with scikit-learn", fix="pip install 'alexnet[digits]'") from None
    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    names = tuple(f"digits/{index:04d}" for index in range(len(grey)))
    everything = Samples(names, bunch.target.astype(np.int64), arrays=np.repeat(grey[..., None], 3, axis=3))
    tested = hold_out(everything.labels, 0.2, seed)
    rest = _take(everything, ~tested)
    held = hold_out(rest.labels, 0.2, seed)
    splits = {"train": _take(rest, ~held), "val": _take(rest, held), "test": _take(everything, tested)}
    return Source("digits", tuple(str(name) for name in bunch.target_names), splits)


def _torchvision_arrays(name: str, cache: Path) -> Source:
    """A set of torchvision that fits into memory; its official test set is "val"."""
    from torchvision.datasets import CIFAR10, FashionMNIST

    dataset = {"cifar10": CIFAR10, "fashion-mnist": FashionMNIST}[name]
    splits = {}
    for split, train in (("train", True), ("val", False)):
        loaded = _downloaded(name, cache, partial(dataset, cache, train=train, download=True))
        names = tuple(f"{split}/{index:05d}" for index in range(len(loaded.data)))
        splits[split] = Samples(names, np.asarray(loaded.targets, np.int64), arrays=np.asarray(loaded.data))
    return Source(name, tuple(loaded.classes), splits, ("val is the official test set",))


def _imagenette(cache: Path, seed: int, held_out: float) -> Source:
    """Ten easy classes of ImageNet, shorter side 320 pixels (fast.ai); its official validation set is "val"."""
    from torchvision.datasets import Imagenette

    loaded = _downloaded("imagenette", cache, partial(Imagenette, cache, size="320px", download=True))
    found = _open_folder(cache / "imagenette2-320", seed, held_out)
    return Source("imagenette", tuple(names[0] for names in loaded.classes), found.splits, found.notes)


def _flowers102(cache: Path) -> Source:
    """102 flowers of Oxford with the official train, val and test lists."""
    from torchvision.datasets import Flowers102

    loaded = _downloaded("flowers102", cache, partial(Flowers102, cache, download=True))
    root = cache / "flowers-102"
    labels = _read_mat(root / "imagelabels.mat")["labels"].astype(np.int64) - 1
    lists = _read_mat(root / "setid.mat")
    splits = {}
    for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        ids = lists[key].astype(np.int64)
        splits[split] = Samples(tuple(f"jpg/image_{each:05d}.jpg" for each in ids), labels[ids - 1], root)
    return Source("flowers102", tuple(loaded.classes), splits)


def _downloaded(name: str, cache: Path, load: Callable[[], Any]) -> Any:
    """What `load` returns; it downloads what is not there yet."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return load()
    except (OSError, RuntimeError) as error:
        raise ResourceError(
            f"{name} could not be downloaded: {error}",
            fix=f"download it by hand where there is a network and put its files into {cache}",
        ) from error

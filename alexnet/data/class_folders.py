"""Lists the images and labels of a folder: what was recognized, read, divided, and noted.

`Source.notes` reports every decision that was made for the user: what is a split, a test split used as val, ignored
folders, validation images taken from train. Images in sub-folders of a class folder belong to that class. Names of
classes are compared in NFC and shown as they are; their order, that of the labels, is the order of their characters.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from alexnet.data import public_sets
from alexnet.data.file_labels import by_class, labels_in_names, read_lists, read_table
from alexnet.data.folders import Tree, nfc, not_used
from alexnet.data.image_files import hint_for
from alexnet.data.layout import Layout, Part, recognize
from alexnet.data.samples import Draw, Samples, Source, split_off_validation
from alexnet.errors import DataError
from alexnet.text import listed, printable


@dataclass
class _Listing:
    """The images of the class folders of a split, and what else is there."""

    classes: dict[str, list[str]]  # class -> image names relative to the root of the source, sorted; may be empty
    loose: list[str]  # images outside of class folders
    other: Counter[str] = field(default_factory=Counter)  # ending of other files -> their number


@dataclass
class _Reading:
    """A folder while it is read: what was found that is not used, and what was decided."""

    root: Path
    tree: Tree
    notes: list[str]
    hidden: int = 0
    own: list[Path] = field(default_factory=list)

    def list_classes(self, part: Part) -> _Listing:
        """Lists all images in or below the class folders of a split, and the other files there."""
        entries = self.tree.entries(part.folder)
        listing = _Listing({}, sorted(_relative(part.folder / name, self.root) for name in entries.images))
        listing.other.update(Path(name).suffix.lower() for name in entries.other)
        self.hidden += sum(map(self.tree.hidden_images, entries.hidden))
        self.own += entries.own
        for name, path in part.classes.items():
            found = self.tree.below(path)
            known = next((other for other in listing.classes if nfc(other) == nfc(name)), name)
            images = sorted(_relative(image, self.root) for image in found.images)
            listing.classes[known] = sorted(listing.classes.get(known, []) + images)
            listing.other += found.other
            self.hidden += found.hidden
            self.own += found.own
        return listing


def open_folder(
    root: Path, seed: int, val_share: float, empty_classes: bool = False, labels: Path | None = None
) -> Source:
    """Lists a folder tree with or without splits, a table of labels, or ILSVRC-2012; arguments as for `open_source`.

    Raises:
        DataError: the folder cannot be used as it is.
    """
    reading = _Reading(root, Tree(), [])
    evaluating = val_share == 0
    if labels is not None:
        splits_by_class = _by_table(reading, labels)
        class_names = _class_names(splits_by_class["train"], labels)
        if len(class_names) == 1 and not evaluating:
            said = f"{labels} has a single class ({class_names[0]}); a classifier needs at least two"
            raise DataError(said, fix="Give the table of all images.", code="E315")
        splits = {split: _samples(root, classes, class_names, labels) for split, classes in splits_by_class.items()}
    else:
        layout = recognize(reading.tree, root, one_split=evaluating)
        reading.notes += layout.notes
        class_names, splits = _by_layout(reading, layout, evaluating, empty_classes)
    draw = Draw(val_share, seed) if val_share and len(splits) == 1 else None
    if val_share:
        _ensure_val(splits, class_names, seed, val_share, reading.notes)
    notes = reading.notes + not_used(reading.hidden, reading.own, root) + _order_note(class_names)
    return Source(root.resolve().name or "pictures", class_names, splits, tuple(notes), draw)


def _by_table(reading: _Reading, labels: Path) -> dict[str, dict[str, list[str]]]:
    """Split -> class -> images, as a table says; all are "train" where it does not name splits."""
    found = reading.tree.below(reading.root)
    reading.hidden, reading.own = found.hidden, found.own
    table = read_table(labels, sorted(_relative(image, reading.root) for image in found.images))
    reading.notes += table.notes
    named = set(table.splits.values())
    if "train" not in named:
        return {"train": by_class(table.classes)}
    return {
        split: by_class({image: label for image, label in table.classes.items() if table.splits[image] == split})
        for split in ("train", "val", "test")
        if split in named
    }


def _by_layout(
    reading: _Reading, layout: Layout, evaluating: bool, empty_classes: bool
) -> tuple[tuple[str, ...], dict[str, Samples]]:
    """Lists the splits that were recognized, with the names of the classes."""
    root, notes, train = reading.root, reading.notes, layout.parts["train"]
    listing = reading.list_classes(train)
    from_names = _labels_in_names(listing, train.folder, notes)
    _check_train(reading.tree, listing, train, empty_classes or evaluating, evaluating)
    notes += _listing_notes(listing, train.folder)
    if evaluating:
        listing.classes = {name: images for name, images in listing.classes.items() if images}
    by_split = {"train": listing.classes}
    if len(layout.parts) == 1 and layout.lists:
        by_split = _by_lists(listing.classes, layout.lists, notes)
    class_names = _class_names(by_split["train"], train.folder)
    splits = {split: _samples(root, by_split[split], class_names, train.folder) for split in by_split}
    for split in ("val", "test"):
        if split in layout.parts:
            samples = _evaluation_samples(reading, layout.parts[split], split, class_names, from_names)
            if samples is not None:
                splits[split] = samples
    return class_names, splits


def _labels_in_names(listing: _Listing, folder: Path, notes: list[str]) -> bool:
    """Takes the classes of loose images from their names, if there are no class folders and they have such names."""
    if not listing.loose or any(listing.classes.values()):
        return False
    classes = labels_in_names(listing.loose)
    if classes is None:
        return False
    example = next(iter(classes))
    notes.append(
        f"{folder} has no class folders: the class is taken from the name of each file, as "
        f"{Path(classes[example][0]).name} is {example}; --labels FILE says otherwise"
    )
    listing.classes, listing.loose = classes, []
    return True


def _by_lists(
    classes: dict[str, list[str]], folders: tuple[Path, ...], notes: list[str]
) -> dict[str, dict[str, list[str]]]:
    """Divides images as lists beside them do (meta/train.txt, meta/test.txt), if there are such lists."""
    splits, where = read_lists(folders, [image for images in classes.values() for image in images])
    if not splits:
        return {"train": classes}
    count = sum(map(len, classes.values()))
    left_out = f"; {count - len(splits)} images are in none of them" if len(splits) < count else ""
    notes.append(f"the splits are those of the lists in {where}{left_out}")
    divided: dict[str, dict[str, list[str]]] = {}
    for name, images in classes.items():
        for image in images:
            if image in splits:
                divided.setdefault(splits[image], {}).setdefault(name, []).append(image)
    return {split: divided[split] for split in ("train", "val", "test") if split in divided}


def _class_names(classes: Iterable[str], where: Path) -> tuple[str, ...]:
    """The names of all classes in the order of their characters.

    Raises:
        DataError: JSON, tables and pages cannot show a name: it is not UTF-8, or has line breaks.
    """
    names = tuple(sorted(classes))
    for name in names:
        if printable(name) != name:
            whole = os.fsencode(name).decode("utf-8", "surrogateescape")
            if printable(whole) == whole:
                raise DataError(
                    f"{where} has the class folder {whole!r}, whose name this Python cannot read, since it takes names "
                    f"for {sys.getfilesystemencoding()}",
                    fix="Start Python with PYTHONUTF8=1 in its environment, or in a UTF-8 locale.",
                    code="E359",
                )
            raise DataError(
                f"{where} has a class folder whose name has control characters or is not UTF-8: {name!a}",
                fix="Rename it; the name of the folder is the name of the class.",
                code="E359",
            )
    return names


def _order_note(class_names: tuple[str, ...]) -> list[str]:
    """Says in which order numbered classes are, if it is not that of the numbers."""
    if not all(name.isdecimal() for name in class_names) or class_names == tuple(sorted(class_names, key=int)):
        return []
    return [f"the classes are numbered in the order of their names as text: {listed(class_names)}"]


def _evaluation_samples(
    reading: _Reading, part: Part, split: str, class_names: tuple[str, ...], from_names: bool
) -> Samples | None:
    """Lists the images of a val or test folder; None for a test folder without labels."""
    root, folder, notes = reading.root, part.folder, reading.notes
    listing = reading.list_classes(part)
    classes = {name: images for name, images in listing.classes.items() if images}
    # ILSVRC-2012 has val/*.JPEG, Tiny ImageNet val/images/*.JPEG; both have the classes in another file.
    flat = listing.loose if not classes else classes["images"] if set(classes) == {"images"} else []
    in_names = labels_in_names(flat) if flat and from_names else None
    if in_names is not None and set(map(nfc, in_names)) <= set(map(nfc, class_names)):
        classes = in_names
    elif flat and "images" not in class_names:
        if split == "test":
            notes.append(f"{folder} has no class folders, so no labels, and is not used")
            return None
        classes = public_sets.classes_by_ground_truth(root, folder, flat)
    else:
        notes += _listing_notes(listing, folder)
    if not classes:
        raise DataError(f"{folder} has no images", fix="Fill it, or move it elsewhere.", code="E313")
    absent = sorted(set(map(nfc, class_names)) - set(map(nfc, classes)))
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
    # Classes without images, which training refuses, must not change what is drawn of the others.
    numbers = np.unique(train.labels, return_inverse=True)[1]
    in_val = split_off_validation(numbers, val_share, seed)
    if not in_val.any():
        raise DataError(
            "every class has a single image, so none can be used for validation",
            fix="Add images, or a folder val/.",
            code="E319",
        )
    splits["train"], splits["val"] = train.take(~in_val), train.take(in_val)
    notes.append(f"no val folder: {in_val.sum()} of {len(in_val)} images were split off for validation (seed {seed})")
    in_train = set(train.labels[~in_val].tolist()) - set(train.labels[in_val].tolist())
    single = [class_names[label] for label in sorted(in_train)]
    if single:
        notes.append(f"val has no image of {listed(single)}: the only image of a class stays in train")


def _check_train(tree: Tree, listing: _Listing, part: Part, empty_classes: bool, single_class: bool) -> None:
    """Raises a DataError that explains how to arrange the folders if a split cannot be used for training."""
    classes, folder = listing.classes, part.folder
    example = f"one folder per class: {folder / 'cat'}/*.jpg, {folder / 'dog'}/*.jpg"
    empty = sorted(name for name, images in classes.items() if not images)
    if len(empty) == len(classes):
        if listing.loose:
            raise DataError(
                f"{folder} has {len(listing.loose)} images but no class folders, and no labels in their names",
                fix=f"Make {example}. Or name a table of labels: --labels FILE, with a line 'filename,label' for each.",
                code="E314",
            )
        others = f", only {_endings(listing.other)}" if listing.other else ""
        raise DataError(f"{folder} has no images{others}", fix=f"Make {example}.", code="E313")
    if len(classes) == 1 and not single_class:
        (name,) = classes
        inner = tree.entries(part.classes[name]).folders if name in part.classes else ()
        fix = f"Did you mean {part.classes[name]}?" if len(inner) > 1 else f"Make {example}."
        raise DataError(f"{folder} has a single class ({name}); a classifier needs at least two", fix=fix, code="E315")
    if empty and not empty_classes:
        others = f" (found {_endings(listing.other)})" if listing.other else ""
        said = f"{folder} has no images of {listed(empty)}{others}"
        raise DataError(said, fix=f"Add images, or move what is no class out of {folder}.", code="E316")


def _listing_notes(listing: _Listing, folder: Path) -> list[str]:
    """Describes what in `folder` is not used."""
    notes = []
    if listing.loose:
        notes.append(f"{len(listing.loose)} images directly in {folder} have no class and are not used")
    if listing.other:
        notes.append(f"files in {folder} that are not used: {_endings(listing.other)}")
    return notes


def _samples(root: Path, classes: dict[str, list[str]], class_names: tuple[str, ...], where: Path) -> Samples:
    """Lists the images of all classes, in the order of the class names."""
    labels = {nfc(name): label for label, name in enumerate(class_names)}
    unknown = sorted(name for name, images in classes.items() if images and nfc(name) not in labels)
    if unknown:
        similar = get_close_matches(unknown[0].lower(), [name.lower() for name in class_names], 1)
        hint = " (upper and lower case differ?)" if similar == [unknown[0].lower()] else ""
        raise DataError(
            f"{where} has classes that train does not have: {listed(unknown)}{hint}",
            fix="Give both the same class folders, or move these elsewhere.",
            code="E318",
        )
    by_label = {labels[nfc(name)]: images for name, images in classes.items() if images}
    pairs = [(name, label) for label in sorted(by_label) for name in by_label[label]]
    return Samples(tuple(name for name, _ in pairs), np.array([label for _, label in pairs], np.int64), root)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _endings(other: Counter[str]) -> str:
    """Describes the most frequent file endings with their counts."""
    return ", ".join(
        f"{count} {ending or 'without ending'}{hint_for(ending)}" for ending, count in other.most_common(3)
    )

"""Recognizes what the folders below a folder mean: classes, parts of a split, or neither.

What looks like a split is never taken for classes: it is read as a split, which one note says, or refused with the
classes that it has. Names decide (`split_names`), and whether folders that lie side by side have the same sub-folders.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from alexnet.data.folders import Tree, nfc
from alexnet.data.split_names import is_annotation, is_filler, is_view, is_weak, split_kinds
from alexnet.errors import DataError
from alexnet.text import listed

CANONICAL = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}  # need no note
DEPTH = 5  # folders that hold nothing but one folder, as archives leave them


@dataclass(frozen=True)
class Part:
    """The class folders of one split, and the folder in which they lie."""

    folder: Path
    classes: dict[str, Path]  # by name; a class may have no images


@dataclass(frozen=True)
class Layout:
    """Where the splits are: "train" always, "val" and "test" if there are any."""

    folder: Path  # the one that was given, or the first below it that holds more than one folder
    parts: dict[str, Part]
    notes: list[str] = field(default_factory=list)
    lists: tuple[Path, ...] = ()  # folders beside the images that may hold lists of them


def recognize(tree: Tree, root: Path, *, one_split: bool = False) -> Layout:
    """Says what the folders below `root` mean.

    Args:
        one_split: whether val/ or test/ alone will do, as for evaluating.

    Raises:
        DataError: they look like a split, but not which; or two of them are the same split.
    """
    folder, lists = _unwrap(tree, root)
    notes = [f"the images are read from {folder}"] if folder != root else []
    folders = tree.entries(folder).folders
    kinds = split_kinds(folders)
    holding = tree.with_images(folder)
    others = [name for name in holding if name not in kinds and not _beside(name, tree, folder)]
    folds = [name for name, kind in kinds.items() if kind == "fold" and name in holding]
    if len(folds) > 1:
        raise _unknown_split(tree, folder, folds)
    splits = {name: kind for name, kind in kinds.items() if kind in CANONICAL}
    if "train" in splits.values() and not _train_is_a_class(tree, folder, splits, others, notes):
        return _by_folders(tree, folder, splits, notes, lists)
    if "train" not in splits.values() and splits and not others:
        if one_split and len(splits) == 1:
            return Layout(folder, {"train": _part(tree, _inner(tree, folder, *splits))}, notes, lists)
        names = ", ".join(f"{name}/" for name in splits)
        raise DataError(
            f"{folder} has {names} but no train/", fix=f"Put the training images into {folder / 'train'}.", code="E312"
        )
    if "train" not in splits.values() and splits:
        return _beside_classes(tree, folder, splits, others, notes, lists)
    if inverted := _below_classes(tree, folder, holding, notes):
        return inverted
    _refuse_same_subfolders(tree, folder, holding, notes)
    unlabeled = [name for name in holding if kinds.get(name) == "unlabeled" and not is_weak(name)]
    notes += [f"{folder / name} says that it has no labels, and is not used" for name in unlabeled]
    apart = {name for name in folders if name in unlabeled or _beside(name, tree, folder)}
    return Layout(folder, {"train": Part(folder, {n: p for n, p in folders.items() if n not in apart})}, notes, lists)


def _unwrap(tree: Tree, root: Path) -> tuple[Path, tuple[Path, ...]]:
    """Descends through folders that hold nothing but one folder, if that is called so or has a split; or `images`."""
    folder = chain = root
    lists: tuple[Path, ...] = ()
    for _ in range(DEPTH):
        holding = tree.with_images(chain)
        beside = [name for name in holding if is_annotation(name)]
        inner = [name for name in holding if name not in beside]
        named = [name for name in inner if is_filler(name)]
        if tree.entries(chain).images or len(inner) != 1 or (beside and not named) or split_kinds(inner):
            break
        below = holding[inner[0]]
        folders_beside = tuple(path for name, path in tree.entries(chain).folders.items() if _lies_beside(tree, path))
        same = nfc(inner[0]).lower() in (nfc(chain.resolve().name).lower(), nfc(root.resolve().name).lower())
        kinds = split_kinds(tree.with_images(below))
        split = "train" in kinds.values() and len(kinds) == len(tree.with_images(below))
        if split or ((same or named) and (len(tree.with_images(below)) > 1 or folders_beside or named)):
            folder, lists = below, (*folders_beside, chain)
        chain = below
    return folder, lists


def _lies_beside(tree: Tree, path: Path) -> bool:
    """Whether a folder is called as what belongs to images without being one of them, and has no images or is apart."""
    return is_annotation(path.name, without_images=not tree.has_images(path))


def _beside(name: str, tree: Tree, folder: Path) -> bool:
    """Whether a folder holds what belongs to images without being one of them: masks beside images/, lists."""
    if tree.has_images(folder / name):
        return is_annotation(name) and any(map(is_filler, tree.with_images(folder)))
    return _lies_beside(tree, folder / name) and bool(tree.below(folder / name).other)


def _train_is_a_class(tree: Tree, folder: Path, splits: dict[str, str], others: list[str], notes: list[str]) -> bool:
    """Whether train/ beside other folders is a class, as of vehicles: train, car, bus."""
    (name, *more) = [name for name, kind in splits.items() if kind == "train"]
    if more or len(splits) > 1 or not others:
        return False
    inner = set(_subfolders(tree, folder / name))
    if inner and (len(others) == 1 or any(inner & set(_subfolders(tree, folder / other)) for other in others)):
        return False
    if not inner and not tree.entries(folder / name).images:
        return False
    if not is_weak(name):
        raise _not_a_class(folder, name, others)
    notes.append(f"{name} is taken for a class, because {listed(others)} beside it are no parts of a split")
    return True


def _by_folders(tree: Tree, folder: Path, splits: dict[str, str], notes: list[str], lists: tuple[Path, ...]) -> Layout:
    """The layout of a folder for each split; other folders beside them are not used."""
    chosen: dict[str, str] = {}
    for kind in CANONICAL:
        names = [name for name, each in splits.items() if each == kind]
        with_classes = [name for name in names if _subfolders(tree, _inner(tree, folder, name))]
        if len(names) > 1 and len(with_classes) != 1:
            first, second = names[:2]
            raise DataError(
                f"{folder} has both {first}/ and {second}/, which are the same split ({kind})"
                if kind not in (first.lower(), second.lower())
                else f"{folder} has both {first}/ and {second}/",
                fix=f"Put the images of {second} into {first}, or move one of them elsewhere.",
                code="E317",
            )
        if names:
            chosen[kind] = with_classes[0] if len(names) > 1 else names[0]
    parts = {kind: _part(tree, _inner(tree, folder, name)) for kind, name in chosen.items()}
    if any(name.lower() not in CANONICAL[kind] for kind, name in chosen.items()):
        notes.append("a split: " + ", ".join(f"{_path(folder, parts[k].folder)} is {k}" for k in chosen))
    unused = [name for name in tree.entries(folder).folders if name not in chosen.values()]
    notes += [
        f"{folder / n} lies beside {chosen['train']} and is not used" for n in unused if "devkit" not in n.lower()
    ]
    return Layout(folder, parts, notes, lists or tuple(folder / name for name in unused if is_annotation(name)))


def _beside_classes(
    tree: Tree, folder: Path, splits: dict[str, str], others: list[str], notes: list[str], lists: tuple[Path, ...]
) -> Layout:
    """The layout of class folders with test/ or val/ beside them, which has the same classes."""
    folders = tree.entries(folder).folders
    parts = {"train": Part(folder, {name: path for name, path in folders.items() if name not in splits})}
    for name, kind in splits.items():
        part = _part(tree, _inner(tree, folder, name))
        inner = set(map(nfc, _subfolders(tree, part.folder)))
        if inner and inner <= set(map(nfc, others)):
            parts[kind] = part
            notes.append(f"{name} has the classes that lie beside it: it is {kind}, and they are train")
        elif not tree.has_images(folder / name):
            notes.append(f"{folder / name} has no images and is not used")
        elif is_weak(name) and not inner:
            parts["train"].classes[name] = folder / name
            notes.append(f"{name} is taken for a class, because {listed(others)} beside it are no parts of a split")
        elif any(inner & set(map(nfc, _subfolders(tree, folder / other))) for other in others):
            raise _unknown_split(tree, folder, [*others, name])
        else:
            raise _not_a_class(folder, name, others)
    return Layout(folder, parts, notes, lists)


def _below_classes(tree: Tree, folder: Path, holding: dict[str, Path], notes: list[str]) -> Layout | None:
    """The layout of splits below classes: cat/train, cat/test, dog/train, dog/test."""
    kinds: dict[str, dict[str, str]] = {}
    for name, path in holding.items():
        inner = _subfolders(tree, path)
        kinds[name] = split_kinds(inner)
        complete = len(kinds[name]) == len(inner) and "train" in kinds[name].values()
        if tree.entries(path).images or not complete or len(set(kinds[name].values())) < len(inner):
            return None
    if len(holding) < 2:
        return None
    parts = {}
    for split in CANONICAL:
        by_class = {
            name: holding[name] / inner for name in holding for inner, kind in kinds[name].items() if kind == split
        }
        if by_class:
            parts[split] = Part(folder, by_class)
    notes.append(f"a split below the classes: every class has {listed(sorted({n for k in kinds.values() for n in k}))}")
    return Layout(folder, parts, notes)


def _refuse_same_subfolders(tree: Tree, folder: Path, holding: dict[str, Path], notes: list[str]) -> None:
    """Raises a DataError if folders side by side have the same sub-folders, unless those are views: front, side."""
    inner = {name: set(map(nfc, _subfolders(tree, _inner(tree, folder, name)))) for name in holding}
    often = Counter(sub for subs in inner.values() for sub in subs)
    shared = {sub for sub, count in often.items() if count > 1}
    if len(inner) < 2 or not shared:
        return
    mostly = all(2 * len(subs & shared) >= len(subs) > 0 for subs in inner.values())
    direct = sum(bool(tree.entries(path).images) for path in holding.values())
    if all(map(is_view, shared)) or len(shared) < 2 or not mostly or 2 * direct > len(inner):
        if mostly:
            notes.append(
                f"{listed(sorted(shared))} lie in several classes: images below a class folder are of that class"
            )
        return
    raise _unknown_split(tree, folder, list(holding))


def _unknown_split(tree: Tree, folder: Path, names: list[str]) -> DataError:
    classes = sorted({nfc(sub) for name in names for sub in _subfolders(tree, _inner(tree, folder, name))})
    parts = listed([f"{name}/" for name in names])
    said = f"{folder} has {parts}, which look like parts of a split and not like classes"
    if not classes:
        return DataError(
            f"{said}, but there are no class folders in them",
            fix=f"Make {folder / 'train'} and {folder / 'val'} with a folder per class, or name a file of labels with "
            "--labels.",
            code="E367",
        )
    return DataError(
        f"{said}: they have the same sub-folders, {listed(classes)}",
        fix=f"If the classes are {listed(classes, 2)}: call the parts train, val and test, or give one of them, "
        f"{folder / names[0]}. If they are {listed(names, 2)}: put these into {folder / 'train'}.",
        code="E367",
    )


def _not_a_class(folder: Path, name: str, others: list[str]) -> DataError:
    return DataError(
        f"{folder / name} is called like a part of a split, but {listed(others)} beside it like classes",
        fix=f"If it is a part of a split, give it the class folders {listed(others, 2)}, or move it elsewhere; if it "
        f"is a class, give it another name, such as {name}_class.",
        code="E368",
    )


def _inner(tree: Tree, folder: Path, name: str) -> Path:
    """The folder of a split: one below it, if that is called alike and is alone: seg_train/seg_train, train/images."""
    path = folder / name
    for _ in range(DEPTH):
        holding = tree.with_images(path)
        if len(holding) != 1 or tree.entries(path).images:
            break
        (inner,) = holding
        same = inner.lower() == path.name.lower() or split_kinds([inner]) == {
            inner: split_kinds([path.name]).get(path.name)
        }
        if not same and not (is_filler(inner) and len(tree.with_images(holding[inner])) > 1):
            break
        path = holding[inner]
    return path


def _part(tree: Tree, folder: Path) -> Part:
    return Part(folder, dict(tree.entries(folder).folders))


def _subfolders(tree: Tree, folder: Path) -> list[str]:
    return list(tree.with_images(folder))


def _path(folder: Path, inner: Path) -> str:
    return inner.relative_to(folder).as_posix()

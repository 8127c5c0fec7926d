"""Public sets by name, downloaded where they do not come with a package -> a `Source`."""

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data.samples import Samples, Source, split_off_validation
from alexnet.errors import DataError, ResourceError, UsageError
from alexnet.text import listed


def digits(seed: int) -> Source:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels: 64 % train, 16 % val, 20 % test, seeded."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UsageError(
            "the set digits comes with scikit-learn", fix="pip install 'alexnet[digits]'", code="E240"
        ) from None
    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    names = tuple(f"digits/{index:04d}" for index in range(len(grey)))
    everything = Samples(names, bunch.target.astype(np.int64), arrays=np.repeat(grey[..., None], 3, axis=3))
    tested = split_off_validation(everything.labels, 0.2, seed)
    rest = everything.take(~tested)
    held = split_off_validation(rest.labels, 0.2, seed)
    splits = {"train": rest.take(~held), "val": rest.take(held), "test": everything.take(tested)}
    return Source("digits", tuple(str(name) for name in bunch.target_names), splits)


def torchvision_arrays(name: str, cache: Path) -> Source:
    """A set of torchvision that fits into memory; its official test set is "val"."""
    from torchvision.datasets import CIFAR10, FashionMNIST

    dataset = {"cifar10": CIFAR10, "fashion-mnist": FashionMNIST}[name]
    splits = {}
    for split, train in (("train", True), ("val", False)):
        loaded = _downloaded(name, cache, partial(dataset, cache, train=train, download=True))
        names = tuple(f"{split}/{index:05d}" for index in range(len(loaded.data)))
        splits[split] = Samples(names, np.asarray(loaded.targets, np.int64), arrays=np.asarray(loaded.data))
    return Source(name, tuple(loaded.classes), splits, ("val is the official test set",))


def imagenette(cache: Path, open_folder: Callable[[Path], Source]) -> Source:
    """Ten easy classes of ImageNet, shorter side 320 pixels (fast.ai); its official validation set is "val"."""
    from torchvision.datasets import Imagenette

    loaded = _downloaded("imagenette", cache, partial(Imagenette, cache, size="320px", download=True))
    found = open_folder(cache / "imagenette2-320")
    return Source("imagenette", tuple(names[0] for names in loaded.classes), found.splits, found.notes)


def flowers102(cache: Path) -> Source:
    """102 flowers of Oxford with the official train, val and test lists."""
    from torchvision.datasets import Flowers102

    loaded = _downloaded("flowers102", cache, partial(Flowers102, cache, download=True))
    root = cache / "flowers-102"
    labels = read_mat(root / "imagelabels.mat")["labels"].astype(np.int64) - 1
    lists = read_mat(root / "setid.mat")
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
            code="E540",
        ) from error


def classes_by_ground_truth(root: Path, place: Path, flat: list[str]) -> dict[str, list[str]]:
    """Class -> pictures for a flat val folder, by whichever ground-truth file lies beside it.

    Kaggle's LOC_val_solution.csv; the development kit's ILSVRC2012_validation_ground_truth.txt with its meta.mat; or
    any text file of lines "file-name class" (Tiny ImageNet's val_annotations.txt is one).

    Args:
        root: the folder the user gave.
        place: the val folder.
        flat: its pictures, relative to `root`.

    Raises:
        DataError: there is no such file, or it misses pictures.
    """
    folders = [root, place, *sorted(root.glob("*devkit*")), *sorted(root.glob("*devkit*/data"))]
    if root.resolve().parts[-2:] == ("Data", "CLS-LOC"):
        folders.append(root.resolve().parents[1])
    for folder in folders:
        try:
            wnids = _ground_truth(folder, folders, flat)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"the ground truth in {folder} is not as ILSVRC-2012 has it: {type(error).__name__} {error}",
                fix="unpack ILSVRC2012_devkit_t12.tar.gz again, or fetch LOC_val_solution.csv again",
                code="E329",
            ) from error
        if wnids:
            missed = sorted(name for name in flat if Path(name).stem not in wnids)
            if missed:
                raise DataError(
                    f"the ground truth in {folder} misses {listed(missed)}",
                    fix="add a line for each, or remove the pictures",
                    code="E321",
                )
            classes: dict[str, list[str]] = {}
            for name in sorted(flat):
                classes.setdefault(wnids[Path(name).stem], []).append(name)
            return classes
    raise DataError(
        f"{place} has {len(flat)} pictures but neither class folders nor ground truth",
        fix=f"put LOC_val_solution.csv, or ILSVRC2012_validation_ground_truth.txt and meta.mat, or a text file of "
        f"lines 'file-name class' into {root}; or sort the pictures into class folders",
        code="E322",
    )


def _ground_truth(folder: Path, folders: list[Path], flat: list[str]) -> dict[str, str]:
    """Stem of a picture's name -> its class, by a file in `folder`; empty if there is none."""
    solution, truth = folder / "LOC_val_solution.csv", folder / "ILSVRC2012_validation_ground_truth.txt"
    if solution.is_file():
        with solution.open(newline="", encoding="utf-8") as file:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    if truth.is_file():
        metas = [each / "meta.mat" for each in folders if (each / "meta.mat").is_file()]
        if not metas:
            raise DataError(
                f"{truth} needs meta.mat beside it", fix="copy it from ILSVRC2012_devkit_t12/data", code="E323"
            )
        wnids = _read_meta(metas[0])
        lines = _lines(truth, len(flat))
        return {Path(name).stem: wnids[int(line)] for name, line in zip(sorted(flat), lines, strict=True)}
    stems = {Path(name).stem for name in flat}
    for text in sorted(folder.glob("*.txt")):
        rows = [line.split() for line in text.read_text(encoding="utf-8", errors="replace").splitlines()]
        if rows and all(len(row) >= 2 for row in rows) and Path(rows[0][0]).stem in stems:
            return {Path(row[0]).stem: row[1] for row in rows}
    return {}


def _lines(truth: Path, count: int) -> list[str]:
    lines = truth.read_text(encoding="ascii").split()
    if len(lines) != count:
        raise DataError(
            f"{truth} has {len(lines)} lines for {count} pictures",
            fix="unpack all pictures that belong to it (ILSVRC2012_img_val.tar)",
            code="E324",
        )
    return lines


def _read_meta(meta: Path) -> dict[int, str]:
    """The development kit's meta.mat: ILSVRC2012_ID -> WNID."""
    synsets = read_mat(meta)["synsets"]
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}


def read_mat(path: Path) -> Any:
    """A MATLAB file as a dictionary of arrays."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UsageError(f"reading {path.name} needs SciPy", fix="pip install scipy", code="E240") from None
    return loadmat(path, squeeze_me=True)

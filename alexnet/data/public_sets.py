"""Opens public datasets by name as a `Source`, and downloads those that do not come with a package."""

import csv
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.data.samples import Samples, Source, split_off_validation
from alexnet.errors import DataError, ResourceError, UsageError
from alexnet.text import listed


def digits(seed: int) -> Source:
    """Opens the 1,797 handwritten digits of scikit-learn, 8x8 pixels: 64 % train, 16 % val, 20 % test, by `seed`."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UsageError(
            "the dataset digits comes with scikit-learn", fix="pip install 'alexnet[digits]'", code="E240"
        ) from None
    bunch = load_digits()
    gray = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    names = tuple(f"digits/{index:04d}" for index in range(len(gray)))
    all_samples = Samples(names, bunch.target.astype(np.int64), arrays=np.repeat(gray[..., None], 3, axis=3))
    in_test = split_off_validation(all_samples.labels, 0.2, seed)
    others = all_samples.take(~in_test)
    in_val = split_off_validation(others.labels, 0.2, seed)
    splits = {"train": others.take(~in_val), "val": others.take(in_val), "test": all_samples.take(in_test)}
    return Source("digits", tuple(str(name) for name in bunch.target_names), splits)


def torchvision_arrays(name: str, cache: Path) -> Source:
    """Opens a dataset of torchvision that fits into memory; its official test split is "val"."""
    from torchvision.datasets import CIFAR10, FashionMNIST

    dataset = {"cifar10": CIFAR10, "fashion-mnist": FashionMNIST}[name]
    splits = {}
    for split, train in (("train", True), ("val", False)):
        loaded = _downloaded(name, cache, partial(dataset, cache, train=train, download=True))
        names = tuple(f"{split}/{index:05d}" for index in range(len(loaded.data)))
        splits[split] = Samples(names, np.asarray(loaded.targets, np.int64), arrays=np.asarray(loaded.data))
    return Source(name, tuple(loaded.classes), splits, ("val is the official test split",))


def imagenette(cache: Path, open_folder: Callable[[Path], Source]) -> Source:
    """Opens ten easy classes of ImageNet, shorter side 320 pixels (fast.ai); its official validation split is "val"."""
    from torchvision.datasets import Imagenette

    loaded = _downloaded("imagenette", cache, partial(Imagenette, cache, size="320px", download=True))
    source = open_folder(cache / "imagenette2-320")
    return Source("imagenette", tuple(names[0] for names in loaded.classes), source.splits, source.notes)


def flowers102(cache: Path) -> Source:
    """Opens the 102 flower classes of Oxford with the official train, val and test splits."""
    from torchvision.datasets import Flowers102

    def download() -> None:
        with suppress(ModuleNotFoundError):  # of SciPy, with which it would read the lists once they are there
            Flowers102(cache, download=True)

    _downloaded("flowers102", cache, download)
    root = cache / "flowers-102"
    labels = read_mat(root / "imagelabels.mat")["labels"].astype(np.int64) - 1
    lists = read_mat(root / "setid.mat")
    splits = {}
    for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        ids = lists[key].astype(np.int64)
        splits[split] = Samples(tuple(f"jpg/image_{number:05d}.jpg" for number in ids), labels[ids - 1], root)
    return Source("flowers102", tuple(Flowers102.classes), splits)


def _downloaded(name: str, cache: Path, load: Callable[[], Any]) -> Any:
    """Calls `load`, which downloads missing files, and turns its errors into a ResourceError."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return load()
    except (OSError, RuntimeError) as error:
        raise ResourceError(
            f"{name} could not be downloaded: {error}",
            fix=f"Download it by hand where there is a network and put its files into {cache}.",
            code="E540",
        ) from error


def classes_by_ground_truth(root: Path, val_folder: Path, flat: list[str]) -> dict[str, list[str]]:
    """Assigns the images of a flat val folder to classes, by the ground-truth file that is found beside it.

    The file is LOC_val_solution.csv of Kaggle; or ILSVRC2012_validation_ground_truth.txt of the development kit with
    its meta.mat; or any text file with lines "file-name class", such as val_annotations.txt of Tiny ImageNet.

    Args:
        root: the folder that the user gave.
        val_folder: the val folder.
        flat: its images, relative to `root`.

    Returns:
        Class name -> its images.

    Raises:
        DataError: there is no such file, or it does not list all images.
    """
    folders = [root, val_folder, *sorted(root.glob("*devkit*")), *sorted(root.glob("*devkit*/data"))]
    if root.resolve().parts[-2:] == ("Data", "CLS-LOC"):
        folders.append(root.resolve().parents[1])
    for folder in folders:
        try:
            wnids = _ground_truth(folder, folders, flat)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"the ground truth in {folder} is not in the format of ILSVRC-2012: {type(error).__name__} {error}",
                fix="Unpack ILSVRC2012_devkit_t12.tar.gz again, or fetch LOC_val_solution.csv again.",
                code="E329",
            ) from error
        if wnids:
            unlisted = sorted(name for name in flat if Path(name).stem not in wnids)
            if unlisted:
                raise DataError(
                    f"the ground truth in {folder} does not list {listed(unlisted)}",
                    fix="Add a line for each, or move the images elsewhere.",
                    code="E321",
                )
            classes: dict[str, list[str]] = {}
            for name in sorted(flat):
                classes.setdefault(wnids[Path(name).stem], []).append(name)
            return classes
    raise DataError(
        f"{val_folder} has {len(flat)} images but neither class folders nor ground truth",
        fix=f"Put LOC_val_solution.csv, or ILSVRC2012_validation_ground_truth.txt and meta.mat, or a text file of "
        f"lines 'file-name class' into {root}; or sort the images into class folders.",
        code="E322",
    )


def _ground_truth(folder: Path, folders: list[Path], flat: list[str]) -> dict[str, str]:
    """Reads the class of each image (stem of its file name -> class) from a file in `folder`; empty without one."""
    solution, truth = folder / "LOC_val_solution.csv", folder / "ILSVRC2012_validation_ground_truth.txt"
    if solution.is_file():
        with solution.open(newline="", encoding="utf-8") as file:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    if truth.is_file():
        metas = [path / "meta.mat" for path in folders if (path / "meta.mat").is_file()]
        if not metas:
            raise DataError(
                f"{truth} needs meta.mat beside it", fix="Copy it from ILSVRC2012_devkit_t12/data.", code="E323"
            )
        wnids = _read_meta(metas[0])
        lines = _class_lines(truth, len(flat))
        return {Path(name).stem: wnids[int(line)] for name, line in zip(sorted(flat), lines, strict=True)}
    stems = {Path(name).stem for name in flat}
    for text in sorted(folder.glob("*.txt")):
        rows = [line.split() for line in text.read_text(encoding="utf-8", errors="replace").splitlines()]
        if rows and all(len(row) >= 2 for row in rows) and Path(rows[0][0]).stem in stems:
            return {Path(row[0]).stem: row[1] for row in rows}
    return {}


def _class_lines(truth: Path, count: int) -> list[str]:
    """Reads the ground truth of the development kit: one class number per image."""
    lines = truth.read_text(encoding="ascii").split()
    if len(lines) != count:
        raise DataError(
            f"{truth} has {len(lines)} lines for {count} images",
            fix="Unpack all images that belong to it (ILSVRC2012_img_val.tar).",
            code="E324",
        )
    return lines


def _read_meta(meta: Path) -> dict[int, str]:
    """Reads meta.mat of the development kit: ILSVRC2012_ID -> WNID."""
    synsets = read_mat(meta)["synsets"]
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}


def read_mat(path: Path) -> Any:
    """Reads a MATLAB file as a dictionary of arrays."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UsageError(f"reading {path.name} needs SciPy", fix="pip install scipy", code="E240") from None
    return loadmat(path, squeeze_me=True)

"""Public sets by name, downloaded where they do not come with a package -> a `Source`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.errors import ResourceError, UsageError
from alexnet.ilsvrc import read_mat
from alexnet.samples import Samples, Source, hold_out


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
    tested = hold_out(everything.labels, 0.2, seed)
    rest = everything.take(~tested)
    held = hold_out(rest.labels, 0.2, seed)
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

"""A user's images as PyTorch datasets: opened, counted, shown as they are and as training sees them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from alexnet.api.bars import progress_callback
from alexnet.api.records import recipe_of
from alexnet.data.augment import ColorStatistics
from alexnet.data.dataset import SPLITS, Prepared, Split, verify
from alexnet.data.exclusions import leave_out, read_exclusions
from alexnet.data.loader import Loader
from alexnet.data.open import is_prepared, open_images
from alexnet.data.prepare import PrepareReport
from alexnet.data.prepare import prepare as prepare_source
from alexnet.data.remote import open_location
from alexnet.data.sources import open_source
from alexnet.errors import DataError
from alexnet.progress import ProgressCallback
from alexnet.recipes.recipe import Recipe, for_classes
from alexnet.storage.files import new_folder, user_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from alexnet.doctor.examine import Examination


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """The images of one split as a map-style PyTorch dataset: (3, size, size) uint8 pixels 0..255, and the label.

    >>> import alexnet
    >>> train = alexnet.load_data("photos/", size=24).train
    >>> len(train), train[0][0].shape, train[0][1]
    (24, torch.Size([3, 24, 24]), 0)
    """

    def __init__(self, split: Split, class_names: tuple[str, ...]):
        self.split, self.class_names = split, class_names

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        index = range(len(self))[index]  # negative ones count from the end; IndexError beyond
        pixels = self.split.read([index])[0]
        return torch.from_numpy(pixels).permute(2, 0, 1), int(self.split.labels[index])

    def tensors(self) -> tuple[Tensor, Tensor]:
        """All images (N, 3, size, size), uint8 pixels 0..255, and all labels (N,): for a split that fits into memory.

        >>> import alexnet
        >>> alexnet.load_data("photos/", size=24).train.tensors()[0].shape
        torch.Size([24, 3, 24, 24])
        """
        pixels = torch.from_numpy(self.split.read(range(len(self)))).permute(0, 3, 1, 2)
        return pixels, torch.from_numpy(self.split.labels.astype("int64"))

    def __repr__(self) -> str:
        return f"ImageDataset({self.split.name}: {len(self):,} images of {self.split.size} pixels)"


class Data:
    """Images prepared for training, by split; `train`, `val` and `test` are datasets, or None where there is none.

    >>> import alexnet
    >>> alexnet.load_data("photos/", size=24)
    Data(photos: 3 classes, 24 train, 6 val; 24 pixels)
    """

    def __init__(self, spec: str, prepared: Prepared, labels: Path | None = None):
        self.spec, self.prepared, self.labels = spec, prepared, labels

    @property
    def train(self) -> ImageDataset:
        """The training split."""
        return ImageDataset(self.prepared.splits["train"], self.class_names)

    @property
    def val(self) -> ImageDataset | None:
        """The validation split."""
        return self._split("val")

    @property
    def test(self) -> ImageDataset | None:
        """The test split."""
        return self._split("test")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the labels."""
        return self.prepared.class_names

    @property
    def size(self) -> int:
        """Pixels a side of every image."""
        return self.prepared.size

    def summary(self) -> dict[str, Any]:
        """Name, size, and the number of images of each class in each split.

        >>> import alexnet
        >>> alexnet.load_data("digits", size=32).summary()["classes"]["0"]
        {'train': 114, 'val': 28, 'test': 36}
        """
        splits = {name: self.prepared.splits[name] for name in SPLITS if name in self.prepared.splits}
        counts = {name: np.bincount(split.labels, minlength=len(self.class_names)) for name, split in splits.items()}
        return {
            "source": self.prepared.source,
            "size": self.size,
            "images": {name: len(split) for name, split in splits.items()},
            "classes": {
                class_name: {name: int(counts[name][label]) for name in splits}
                for label, class_name in enumerate(self.class_names)
            },
        }

    def show(
        self,
        count: int = 24,
        *,
        augmented: bool = False,
        recipe: str | Recipe = "photos",
        split: str = "train",
        epoch: int = 1,
    ) -> "Figure":
        """A grid of images with their classes.

        Args:
            count: images, spread evenly over the split; with `augmented` the first of the epoch.
            augmented: show what training sees: random crops, flips, color noise and mixing of the recipe.
            recipe: whose augmentation that is.
            split: to choose from, where not augmented.
            epoch: of the random choices, counted from 1.

        Raises:
            DataError: there is no such split.
        """
        from alexnet.api.notebook import image_grid

        if augmented:
            views, targets = self.training_views(count, recipe=recipe, epoch=epoch)
            images, labels = views.permute(0, 2, 3, 1).numpy(), targets.numpy()
        else:
            chosen = self._named(split)
            numbers = np.unique(np.linspace(0, len(chosen) - 1, min(count, len(chosen))).astype(np.int64))
            images, labels = chosen.read(numbers), chosen.labels[numbers]
        return image_grid(images, [self.class_names[label] for label in labels])

    def training_views(self, count: int, *, recipe: str | Recipe = "photos", epoch: int = 1) -> tuple[Tensor, Tensor]:
        """What training sees: the first images of an epoch, cropped, flipped, with color noise and mixed by a recipe.

        Args:
            count: images; at most those of one batch of the recipe.
            recipe: whose augmentation it is; its crop is as large as the images where they are smaller.
            epoch: of the random choices, counted from 1.

        Returns:
            (N, 3, crop, crop) uint8 pixels 0..255, rounded, and (N,) labels; of a mixed image the larger part's.

        >>> import alexnet
        >>> images, labels = alexnet.load_data("digits", size=32).training_views(6, recipe="demo")
        >>> images.shape, labels.shape
        (torch.Size([6, 3, 28, 28]), torch.Size([6]))
        """
        chosen = for_classes(recipe if isinstance(recipe, Recipe) else recipe_of(recipe), len(self.class_names))
        crop = min(chosen.model.crop_size, self.size)
        mean = torch.from_numpy(self.prepared.mean_image).mean((0, 1)).view(3, 1, 1)
        colors = ColorStatistics(mean, self.prepared.color_stdevs, self.prepared.color_vectors)
        loader = Loader(self.prepared.splits["train"], chosen, colors)
        samples = loader.samples(epoch, 0)[:count]
        views, targets = loader.batch(samples, epoch=epoch, step=0, size=crop)
        return views.float().round().clamp(0, 255).to(torch.uint8), targets.argmax(1)

    def verify(self, *, progress: bool | ProgressCallback = False) -> None:
        """Reads every prepared image and compares it with its checksum.

        Raises:
            DataError: a file is not as it was written.
        """
        with progress_callback(progress) as told:
            verify(self.prepared, told)

    def _split(self, name: str) -> ImageDataset | None:
        split = self.prepared.splits.get(name)
        return None if split is None else ImageDataset(split, self.class_names)

    def _named(self, name: str) -> Split:
        if name not in self.prepared.splits:
            raise DataError(
                f"{self.prepared.location} has no split {name!r}",
                fix=f"It has: {', '.join(self.prepared.splits)}.",
                code="E325",
            )
        return self.prepared.splits[name]

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(split):,} {name}" for name, split in self.prepared.splits.items())
        return f"Data({self.prepared.source}: {len(self.class_names)} classes, {counts}; {self.size} pixels)"


def named_images(data: str | Path | Data, labels: str | Path | None) -> tuple[str, Path | None]:
    """What names some images, and the table of their labels, if there is one."""
    table = None if labels is None else user_path(labels)
    return (data.spec, table or data.labels) if isinstance(data, Data) else (str(data), table)


def load_data(
    source: str | Path,
    *,
    size: int = 128,
    whole: bool = False,
    exclude: str | Path | None = None,
    labels: str | Path | None = None,
    progress: bool | ProgressCallback = False,
    on_prepared: Callable[[PrepareReport], None] | None = None,
) -> Data:
    """Opens images for training: prepared now, and kept in the cache, if they never were.

    Args:
        source: a folder with a sub-folder per class, or with train/ and val/ that have them; a prepared folder, or its
            address; or digits, cifar10, fashion-mnist, imagenette, flowers102.
        size: pixels a side of the central squares; a prepared folder has its own.
        whole: stretches whole images to squares instead; a prepared folder says itself whether they are.
        exclude: a file that names images to leave out, as `examine` writes it.
        labels: a table of files and labels (filename,label), for images that do not lie in class folders.
        progress: True shows a bar; or a function (stage, done, total).

    Raises:
        DataError: there are no images that can be used.

    >>> import alexnet
    >>> data = alexnet.load_data("digits", size=32)
    >>> image, label = data.train[0]
    >>> tuple(image.shape), image.dtype
    ((3, 32, 32), torch.uint8)
    """
    excluded = () if exclude is None else read_exclusions(Path(exclude))
    _, table = named_images(source, labels)
    if is_prepared(str(source)):
        own = open_location(str(source))
        size, whole = own.size, own.whole
    with progress_callback(progress) as told:
        prepared = open_images(
            str(source),
            size,
            whole=whole,
            tell=on_prepared,
            progress=told,
            excluded=excluded,
            exclusions=str(exclude or ""),
            labels=table,
        )
    return Data(str(source), prepared, table)


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    size: int = 256,
    whole: bool = False,
    encoding: str = "auto",
    strict: bool = False,
    threads: int | None = None,
    exclude: str | Path | None = None,
    max_pixels: int | None = None,
    labels: str | Path | None = None,
    progress: bool | ProgressCallback = False,
) -> PrepareReport:
    """Turns any images into squares of one size in a folder, once, with the statistics that training needs.

    Args:
        source: as for `load_data`; ILSVRC-2012 as it comes.
        out: the folder to write. Interrupted, the same call goes on; done, it does nothing.
        size: pixels of the shorter side, and of the central square that is kept.
        whole: keeps whole images, stretched to squares, as the recipe photos does.
        encoding: raw: 3 bytes a pixel, fastest; jpeg: a seventh of that; auto: raw unless it gets too large.
        strict: stop at the first image that cannot be read, instead of leaving it out and listing it.
        threads: by default one per core.
        exclude: a file that names images to leave out.
        max_pixels: images with more are left out, since they take 4 to 16 bytes of memory a pixel; of a JPEG, which is
            decoded at half its size, four times as many are read, or twice as many if it is progressive. By default
            $ALEXNET_MAX_PIXELS, else 64 million.
        labels: as for `load_data`.

    Raises:
        DataError: there are no images that can be used, or one cannot be read and `strict` is set.
        ResourceError: the disk refuses.

    >>> import alexnet
    >>> report = alexnet.prepare("photos/", "prepared", size=24)
    >>> report.counts["train"]
    {'blue': 8, 'green': 8, 'red': 8}
    """
    opened = open_source(str(source), labels=named_images(source, labels)[1])
    if exclude is not None:
        opened = leave_out(opened, read_exclusions(Path(exclude)), str(exclude))
    with progress_callback(progress) as told:
        return prepare_source(
            opened,
            Path(out),
            size=size,
            whole=whole,
            encoding=encoding,
            strict=strict,
            threads=threads,
            max_pixels=max_pixels,
            progress=told,
        )


def examine(
    source: str | Path,
    *,
    run: str | Path | None = None,
    out: str | Path | None = None,
    labels: str | Path | None = None,
    progress: bool | ProgressCallback = False,
) -> "Examination":
    """Finds what is wrong with a set of images: leaks between splits, copies, unreadable files, wrong labels.

    Nothing in `source` is changed. Writes doctor.html, doctor.json and exclude.jsonl.

    Args:
        source: as for `load_data`.
        run: a run folder, whose network is asked which labels are likely wrong.
        out: the folder to write; by default a new one in doctor/.
        labels: as for `load_data`.

    Raises:
        UsageError: `out` cannot be used, or `source` is a prepared folder.
        DataError: `source` cannot be read at all.

    >>> import alexnet
    >>> print(alexnet.examine("photos/", out="findings").next_steps()[-1])
    alexnet train photos/
    """
    from alexnet.doctor.examine import examine as examine_images  # loading a network to use must not wait for it

    target = Path(out) if out is not None else new_folder("doctor", str(source))
    spec, table = named_images(source, labels)
    with progress_callback(progress) as told:
        return examine_images(spec, target, None if run is None else Path(run), labels=table, progress=told)

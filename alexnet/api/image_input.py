"""What may stand for an image in Python: a file, its bytes, an array, a Pillow image; and what for a dataset."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from alexnet.api.dataset import Data, named_images
from alexnet.data.dataset import Prepared
from alexnet.data.images import Pixels, convert_image
from alexnet.data.open import open_images
from alexnet.data.sources import refuse_labels
from alexnet.errors import UsageError
from alexnet.evaluation.predict import find_images
from alexnet.evaluation.predict import left_out as left_out_of_folders
from alexnet.progress import ProgressCallback
from alexnet.runs.run import RunFolder
from alexnet.runs.start import images_of_run
from alexnet.storage.files import user_path

ImageLike = str | Path | bytes | Pixels | Image
ImagesLike = ImageLike | Iterable[ImageLike]


def as_image(image: ImageLike) -> bytes | Path | Pixels:
    """Returns one image as `prepare_image` takes it.

    Raises:
        UsageError: it is none of the above, or an array of another type or shape.
    """
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, bytes):
        return image
    return convert_image(image)[0] if isinstance(image, Image) else _pixels(image)


def list_images(images: ImageLike | Iterable[ImageLike]) -> list[Path | bytes | Pixels]:
    """Returns one or more images as a list; folders and patterns are replaced by the files that they name.

    Raises:
        UsageError: there are none, or one of them is no image.
        DataError: a name stands for no file.
    """
    single = isinstance(images, str | Path | bytes | np.ndarray) or not isinstance(images, Iterable)
    given: list[Any] = [images] if single else list(images)  # type: ignore[arg-type]
    if all(isinstance(each, str | Path) for each in given):
        return list(find_images(map(str, given)))
    out: list[Path | bytes | Pixels] = []
    for each in given:
        out += find_images([str(each)]) if isinstance(each, str | Path) else [as_image(each)]
    return out


def names_of(images: str | Path | Iterable[str | Path]) -> list[str]:
    """Returns one or more names as a list of strings."""
    return [str(images)] if isinstance(images, str | Path) else [str(each) for each in images]


def images_for(
    record: RunFolder,
    data: Any,
    progress: ProgressCallback,
    tell: Any = None,
    labels: str | Path | None = None,
    changed: Any = None,
) -> Prepared:
    """Opens the images that a network is measured on: those named, or those of its run.

    Args:
        tell: is given the report of the preparation.
        labels: as for `alexnet.train`.
        changed: is given a sentence if the folder of the run's images now holds others.
    """
    if isinstance(data, Data):
        refuse_labels(None if labels is None else user_path(labels), data.prepared.source)
        return data.prepared
    own = record.data.get("source")
    if data is None and labels is not None and own:
        data = own  # the images of the run, with the labels of this table
    if data is None or (labels is None and own in (str(data), str(user_path(data).resolve()))):
        return images_of_run(record, tell=tell, progress=progress, on_changed=changed)
    table, recipe = named_images(data, labels)[1], record.recipe
    return open_images(
        str(data),
        recipe.prepare_size,
        whole=recipe.prepare_whole,
        tell=tell,
        progress=progress,
        val_share=0,
        labels=table,
    )


def left_out(*images: str | Path) -> list[str]:
    """What is not used of the folders among some names, a sentence for each: hidden files, folders of systems, runs."""
    return left_out_of_folders(map(str, images))


def _pixels(image: Any) -> Pixels:
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] == (3,)):
        return image
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", None)
    kind = type(image).__name__
    raise UsageError(
        f"{kind}: this is no image" if shape is None else f"{kind} of {dtype}, shape {tuple(shape)}: this is no image",
        fix="Give a file, its bytes, a uint8 array (H, W, 3) or (H, W) of pixels 0..255, or a Pillow image.",
        code="E217",
    )

"""Predicts the most probable classes of image files, folders and patterns, with the same code as evaluation."""

import base64
import glob
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.data.folders import Tree, not_used
from alexnet.data.image_files import EXTENSIONS
from alexnet.data.images import Pixels, prepare_image
from alexnet.data.loops import load_loops
from alexnet.errors import AlexNetError, DataError, UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.out_of_distribution import NONE_OF_THESE
from alexnet.evaluation.promises import NO_PROMISE, Promise
from alexnet.kernels.ways import are_few, chains


@dataclass(frozen=True)
class Prediction:
    """The answer for one image, or the reason why there is none; a notebook shows it with the image and bars.

    >>> import alexnet
    >>> (answer,) = alexnet.load("runs/last").predict("cat.jpg", k=3)
    >>> round(sum(probability for _, probability in answer.top), 5)
    1.0
    """

    path: Path | None  # None if the image was given as bytes or pixels
    top: tuple[tuple[str, float], ...]  # (class, probability in [0, 1]), most probable first
    error: str = ""
    image: Path | bytes | Pixels | None = field(default=None, repr=False, compare=False)
    sure: bool | None = None  # whether the first class is an answer; None if no precision was asked for
    prediction_set: tuple[str, ...] | None = None  # classes that hold the true one as often as was asked for
    none_of_these: bool | None = None  # whether it is unlike the training images; None if these were not measured
    likeness: float | None = None  # share of validation images that are at least as unlike them, in (0, 1]

    def __str__(self) -> str:
        name = "image" if self.path is None else str(self.path)
        classes = ", ".join(f"{label} {100 * share:.1f} %" for label, share in self.top)
        unsure = "not sure: " if self.sure is False else ""
        unsure = f"{NONE_OF_THESE}: " if self.none_of_these else unsure
        among = "" if self.prediction_set is None else f" (one of: {', '.join(self.prediction_set)})"
        return f"{name}: {self.error or unsure + classes + among}"

    def _repr_html_(self) -> str:
        if self.error or self.image is None:
            return f"<p>{escape(str(self))}</p>"
        rows = "".join(
            f"<tr><td>{escape(label)}</td><td>{100 * share:.1f} %</td>"
            f'<td><div style="background:#1f6fb4;height:.8em;width:{200 * share:.0f}px"></div></td></tr>'
            for label, share in self.top
        )
        unsure = "<p>not sure</p>" if self.sure is False else ""
        unsure = f"<p>{NONE_OF_THESE}</p>" if self.none_of_these else unsure
        return f"<div>{_thumbnail(self.image)}{unsure}<table>{rows}</table></div>"


def _thumbnail(image: Path | bytes | Pixels) -> str:
    buffer = io.BytesIO()
    try:
        Image.fromarray(prepare_image(image, 160)).save(buffer, "PNG")
    except AlexNetError:
        return ""  # the file has gone since
    return f'<img width="160" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def find_images(arguments: Iterable[str]) -> list[Path]:
    """Lists the image files that paths, folders (searched to the bottom) and glob patterns name, in order, each once.

    Folders are read as everywhere (`alexnet.data.folders`): what is hidden, of a system or of this program is left out,
    also where a pattern or one of several arguments, as a shell makes them of one, names it.

    Raises:
        UsageError: there are no arguments.
        DataError: an argument names no image.
    """
    images: dict[Path, None] = {}
    requested, tree = list(arguments), Tree()
    if not requested:
        raise UsageError(
            "no images given",
            fix="Name files, folders or patterns, or - to read paths from standard input.",
            code="E264",
        )
    for argument in requested:
        path = Path(argument)
        named = path.exists()
        if named:
            matches = [path]
        else:
            if argument.startswith("-"):
                raise UsageError(f"unknown option {argument}", fix="alexnet predict --help lists them.", code="E201")
            matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]
        if not matches:
            raise DataError(
                f"{argument}: no such file, folder or pattern",
                fix="Give an image, a folder, or a pattern such as 'holiday/*.jpg'.",
                code="E308",
            )
        fixed = len(path.parts) - 1 if named else _fixed_parts(path)
        if not named or len(requested) > 1:
            matches = [match for match in matches if not tree.is_foreign_below(match, fixed)]
            if named and not matches:
                continue
        files = [path for match in matches for path in _image_files(match, tree)]
        if not files:
            raise _no_images(argument)
        images |= dict.fromkeys(files)
    if not images:
        raise _no_images(", ".join(requested))
    return list(images)


def left_out(arguments: Iterable[str]) -> list[str]:
    """Says, in a sentence for each folder among the arguments, what `find_images` leaves out of it."""
    tree, notes = Tree(), []
    for folder in (Path(argument) for argument in arguments if Path(argument).is_dir()):
        found = tree.below(folder)
        notes += not_used(found.hidden, found.own, folder)
    return notes


def _no_images(where: str) -> DataError:
    return DataError(f"no images in {where}", fix=f"Looked for {', '.join(sorted(EXTENSIONS))}.", code="E309")


def _fixed_parts(pattern: Path) -> int:
    """How many parts of a pattern stand before the first that can match several names."""
    return next((n for n, part in enumerate(pattern.parts) if glob.has_magic(part)), len(pattern.parts))


def _image_files(path: Path, tree: Tree) -> list[Path]:
    """The file itself; for a folder all images in it and in its sub-folders, in order."""
    return sorted(found for found in tree.below(path).images if found.is_file()) if path.is_dir() else [path]


def predict(
    classifier: Classifier,
    images: Sequence[Path | bytes | Pixels],
    *,
    views: int = 1,
    k: int = 5,
    batch_size: int = 32,
    max_pixels: int | None = None,
    raw: bool = False,
    promise: Promise = NO_PROMISE,
) -> Iterator[Prediction]:
    """Predicts the k most probable classes of each image, in order; one that cannot be read gives the reason.

    Args:
        images: paths, the bytes of files, or (H, W, 3) uint8 pixels.
        max_pixels: see `alexnet.data.images.prepare_image`.
        raw: probabilities as the network gives them, without the temperature.
        promise: when an answer is sure, and which classes a set holds; found by `promise_of`.
    """
    load_loops(len(images))
    few = are_few(len(images) * views)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        squares, errors = {}, {}
        for number, image in enumerate(batch):
            try:
                squares[number] = classifier.prepare(image, max_pixels)
            except AlexNetError as error:
                errors[number] = error.what
        with chains("plain") if few else nullcontext():
            looks = classifier.look(np.stack(list(squares.values())), views, batch_size) if squares else []
        seen = dict(zip(squares, looks, strict=True))
        for number, image in enumerate(batch):
            path = image if isinstance(image, Path) else None
            if number in errors:
                yield Prediction(path, (), errors[number], image)
            else:
                answer = classifier.answer(seen[number], views, k, raw=raw, promise=promise)
                top = tuple((each.name, each.probability) for each in answer.top)
                yield Prediction(
                    path,
                    top,
                    image=image,
                    sure=answer.sure,
                    prediction_set=answer.prediction_set,
                    none_of_these=answer.none_of_these,
                    likeness=answer.likeness,
                )

"""From an image to its most probable classes: every command, the service and the page use this one way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data.crops import as_batch
from alexnet.data.folders import nfc
from alexnet.data.images import Pixels, prepare_image
from alexnet.errors import UsageError
from alexnet.evaluation.calibration import scaled
from alexnet.evaluation.out_of_distribution import TrainingImages, image_vectors, none_of_these
from alexnet.evaluation.promises import NO_PROMISE, Calibration, Promise, promise_of
from alexnet.evaluation.views import (
    central_view,
    check_size,
    crop_probabilities,
    probabilities_and_stages,
    view_probabilities,
)
from alexnet.models.network import Network
from alexnet.progress import ProgressCallback, silent

ReadImages = Callable[[NDArray[np.int64]], Pixels]  # indices (n,) to prepared images (n, size, size, 3)


@dataclass(frozen=True)
class ClassProbability:
    """One class and its probability."""

    index: int  # of the output of the network that stands for the class
    name: str
    probability: float  # in [0, 1]


@dataclass(frozen=True)
class Answer:
    """What a network says of one image."""

    top: tuple[ClassProbability, ...]  # most probable first
    none_of_these: bool | None = None  # whether it is unlike the training images; None if these were not measured
    likeness: float | None = None  # share of validation images that are at least as unlike them, in (0, 1]
    sure: bool | None = None  # whether the first of them is an answer; None if no precision was asked for
    prediction_set: tuple[str, ...] | None = None  # None if no coverage was asked for


@dataclass(frozen=True, eq=False)
class Look:
    """What the answer for one image is made of, as the network gave it."""

    probabilities: NDArray[np.float32]  # (classes,), not scaled
    likeness: float | None = None  # see `TrainingImages.likeness`; None if the training images were not measured


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network together with everything that its answers depend on."""

    network: Network
    class_names: tuple[str, ...]  # in the order of the outputs
    prepare_size: int  # side of a prepared image in pixels, as in the recipe of the training
    precision: str = "float32"  # or tf32, bfloat16
    calibration: Calibration | None = None  # None: probabilities are as the network gives them, and nothing is promised
    training_images: TrainingImages | None = None  # None: nothing is called none of these
    whole: bool = False  # whether whole images are stretched to squares, as in that recipe; else they are cut

    def __repr__(self) -> str:
        network = f"{type(self.network).__name__} for {self.network.config.crop_size} pixels"
        return f"Classifier({network}, {len(self.class_names)} classes, images prepared at {self.prepare_size} pixels)"

    def prepare(self, image: bytes | Path | Pixels, max_pixels: int | None = None) -> Pixels:
        """Prepares an image, given as a file, bytes or pixels, for the network: (size, size, 3) uint8.

        Raises:
            DataError: E301 to E306, the image cannot be read.
        """
        return prepare_image(image, self.prepare_size, max_pixels, whole=self.whole)

    def view(self, image: Pixels) -> Tensor:
        """Returns the central view of one prepared image: (1, 3, crop, crop) pixels 0..255, on the network's device."""
        return central_view(self.network, image[None])

    def probabilities(
        self, images: Pixels, views: int = 1, batch_size: int = 64, raw: bool = False
    ) -> NDArray[np.float32]:
        """Computes the class probabilities (N, classes) of prepared images (N, size, size, 3).

        One view is the central crop; ten views are averaged. They are scaled by the temperature of the run.

        Args:
            raw: as the network gives them, without the temperature.

        Raises:
            UsageError: E225, views is neither 1 nor 10; E229, the images are smaller than the network's crop.
        """
        rows = predict_probabilities(
            self.network, images.__getitem__, len(images), views=views, batch_size=batch_size, precision=self.precision
        )
        return rows if raw else self.scaled(rows, views)

    def look(self, images: Pixels, views: int = 1, batch_size: int = 64) -> list[Look]:
        """Computes everything that the answers for prepared images (N, size, size, 3) are made of; see `answer`."""
        options: dict[str, Any] = {"views": views, "batch_size": batch_size, "precision": self.precision}
        if self.training_images is None:
            rows = predict_probabilities(self.network, images.__getitem__, len(images), **options)
            return [Look(row) for row in rows]
        rows, vectors = answers_and_vectors(self.network, images.__getitem__, len(images), **options)
        likeness = self.training_images.likeness(vectors)
        return [Look(row, float(share)) for row, share in zip(rows, likeness, strict=True)]

    def likeness(self, image: Pixels) -> float | None:
        """How like the training images one prepared image is; None if these were not measured."""
        return None if self.training_images is None else self.look(image[None])[0].likeness

    def scaled(self, rows: NDArray[np.float32], views: int = 1) -> NDArray[np.float32]:
        """Scales probabilities (N, classes) that the network gave for so many views by the temperature of the run."""
        return scaled(rows, self.temperature(views))

    def temperature(self, views: int, raw: bool = False) -> float:
        """The temperature for answers from so many views; 1 if none was fitted, or none is wanted."""
        return 1.0 if raw or self.calibration is None else self.calibration.temperature(views)

    @torch.inference_mode()
    def crop_probabilities(self, image: Pixels) -> NDArray[np.float32]:
        """Computes the class probabilities of each crop of one prepared image, not scaled: (10, classes).

        (2, classes) if the crop leaves no margin: all five crops are then the same, and so are their mirror images.
        """
        self.network.eval()
        batch = as_batch(image[None]).to(self.network.input_mean.device)
        return crop_probabilities(self.network, batch, 10, self.precision)[0].float().cpu().numpy()

    def top(self, probabilities: NDArray[np.float32], k: int = 5) -> tuple[ClassProbability, ...]:
        """Returns the k most probable classes of one row (classes,), most probable first, ties in output order."""
        best = np.argsort(-probabilities, kind="stable")[:k]
        return tuple(ClassProbability(int(i), self.class_names[i], float(probabilities[i])) for i in best)

    @property
    def measured(self) -> bool:
        """Whether something can be promised about the answers."""
        return self.calibration is not None and self.calibration.measured

    def promise(self, views: int, min_precision: float | None = None, coverage: float | None = None) -> Promise:
        """Finds what answers from so many views promise; errors as those of `promise_of`."""
        return promise_of(self.calibration, views, min_precision, coverage)

    def answer(self, look: Look, views: int, k: int, *, raw: bool = False, promise: Promise = NO_PROMISE) -> Answer:
        """Answers for one image from what the network gave; an image that is none of these is never sure.

        Args:
            raw: name these probabilities instead of those scaled by the temperature; what is sure does not change.
        """
        row_scaled = self.scaled(look.probabilities[None], views)[0]
        members = promise.prediction_set(row_scaled)
        names = None if members is None else tuple(self.class_names[i] for i in members)
        unlike, sure = none_of_these(look.likeness), promise.sure(row_scaled)
        return Answer(
            self.top(look.probabilities if raw else row_scaled, k), unlike, look.likeness, sure and not unlike, names
        )

    def index_of(self, name: str) -> int:
        """Returns the index of the output for a class.

        Raises:
            UsageError: E246, the network does not know the class.
        """
        outputs = {nfc(each): output for output, each in enumerate(self.class_names)}
        if nfc(name) not in outputs:
            names = self.class_names
            listing = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
            raise UsageError(f"the network knows no class {name!r}", fix=f"It knows: {listing}.", code="E246")
        return outputs[nfc(name)]


@torch.inference_mode()
def predict_probabilities(
    network: Network,
    read: ReadImages,
    count: int,
    *,
    views: int = 1,
    batch_size: int = 64,
    precision: str = "float32",
    progress: ProgressCallback = silent,
) -> NDArray[np.float32]:
    """Computes the class probabilities of images 0..count-1, each evaluated once: (count, classes) float32.

    Args:
        read: returns prepared images by index.
        views: 1, the central crop, or 10, whose probabilities are averaged.
        progress: called with (stage, done, count) after every batch.

    Raises:
        UsageError: views is neither 1 nor 10, or the images are smaller than the network's crop.
    """
    _check_views(views)
    network.eval()
    batches = _batches(network, read, count, batch_size, progress)
    return np.concatenate(
        [view_probabilities(network, batch, views, precision).float().cpu().numpy() for batch in batches]
    )


@torch.inference_mode()
def answers_and_vectors(
    network: Network,
    read: ReadImages,
    count: int,
    *,
    views: int = 1,
    batch_size: int = 64,
    precision: str = "float32",
    progress: ProgressCallback = silent,
    stage: str = "evaluating",
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Computes what `predict_probabilities` does, and vectors of the central view for each stage: (count, D) each.

    Args:
        stage: what the work is called in `progress`.

    Raises:
        UsageError: as `predict_probabilities`.
    """
    _check_views(views)
    network.eval()
    rows: list[NDArray[np.float32]] = []
    vectors: list[list[NDArray[np.float32]]] = []
    for batch in _batches(network, read, count, batch_size, progress, stage):
        probabilities, pixels, maps = probabilities_and_stages(network, batch, views, precision)
        rows.append(probabilities.float().cpu().numpy())
        vectors.append(image_vectors(pixels, maps))
    return np.concatenate(rows), [np.concatenate(each) for each in zip(*vectors, strict=True)]


def _batches(
    network: Network,
    read: ReadImages,
    count: int,
    batch_size: int,
    progress: ProgressCallback,
    stage: str = "evaluating",
) -> Iterator[Tensor]:
    """Yields the images in batches, on the device of the network; tells `progress` of each when it is done."""
    for start in range(0, count, batch_size):
        images = read(np.arange(start, min(start + batch_size, count)))
        check_size(network, images)
        yield as_batch(images).to(network.input_mean.device)
        progress(stage, start + len(images), count)


def _check_views(views: int) -> None:
    if views not in (1, 10):
        raise UsageError(
            f"views={views}: a network is evaluated on 1 view (the central crop) or on 10",
            fix="Choose 1 or 10.",
            code="E225",
        )

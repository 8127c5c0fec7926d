"""Chooses what a file of weights does not say by its accuracy on a few labeled images.

Every combination of what is still open is tried on some images, and the best of them on all. The more combinations are
tried, the more the accuracy of the best one flatters; it tells a network that answers from one that guesses.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.images import prepare_image
from alexnet.data.samples import Samples
from alexnet.data.sources import open_source
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.models.shapes import grid_sizes
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.config import AlexNetConfig, LeNetConfig
from alexnet.weights.draft import Draft, with_channels, with_pixels
from alexnet.weights.families import CAFFE_PIXELS, HALF, TORCHVISION, UNIT, ZERO, equal
from alexnet.weights.identify import Identified, built, class_names_of

MOST_IMAGES = 1000  # of all classes together
FIRST = 48  # images that every combination is tried on
FINALISTS = 8  # combinations that are tried on all images

MNIST = equal(255 * 0.1307), equal(1 / (255 * 0.3081))  # Normalize of PyTorch's example for MNIST
LEVELS = ZERO, equal(1.0)
PIXELS = {1: (UNIT, MNIST, HALF, LEVELS), 3: (TORCHVISION, HALF, UNIT, CAFFE_PIXELS, LEVELS)}


@dataclass(frozen=True)
class Trial:
    """How one combination answers."""

    draft: Draft
    accuracy: float  # in [0, 1]
    log_loss: float


def choose(
    draft: Draft,
    path: Path,
    images: str | Path,
    class_names: tuple[str, ...] | None = None,
    *,
    progress: ProgressCallback = silent,
) -> Identified:
    """Builds the network of a file as it answers best on labeled images.

    Args:
        images: a folder of class folders. They are matched with the outputs by name; a file without names takes theirs,
            in their order.
        class_names: in the order of the outputs, if they are known.

    Raises:
        UsageError: E209, the folders do not belong to the outputs, or no image can be read.
        DataError: the folder cannot be used.
    """
    classes = draft.config.num_classes
    samples, labels, names = _labeled(images, classes, class_names)
    chosen = _spread(labels)
    read = _reader(samples, chosen)
    first = _Trials(read, labels[chosen])
    drafts = list(_alternatives(draft))
    rounds: list[Trial] = []
    for number, each in enumerate(drafts, 1):
        try:
            rounds.append(first.run(each, path, FIRST))
        except AlexNetError:
            if each is draft:
                raise  # as it was assumed it must at least be buildable
        progress("trying assumptions", number, len(drafts))
    best = sorted(rounds, key=_rank)[:FINALISTS]
    finals = sorted((first.run(trial.draft, path, MOST_IMAGES) for trial in best), key=_rank)
    winner, assumed = finals[0], first.run(draft, path, MOST_IMAGES)
    if winner.accuracy <= assumed.accuracy and winner.log_loss >= assumed.log_loss:
        winner = assumed
    tried = {topic for each in drafts for topic in _differing(draft, each)}
    settled = replace(winner.draft, unknown=draft.unknown - tried, given=draft.given | tried)
    found = built(settled, path)
    record: dict[str, Any] = {
        "images": first.count(MOST_IMAGES),
        "accuracy": winner.accuracy,
        "assumed_accuracy": assumed.accuracy,
        "combinations": len(drafts),
        "chance": 1 / classes,
    }
    return replace(found, class_names=names, check=record)


def _rank(trial: Trial) -> tuple[float, float]:
    return -trial.accuracy, trial.log_loss


def _alternatives(draft: Draft) -> Iterator[Draft]:
    """Yields the draft itself and every other combination of what is open."""
    config, open_ones = draft.config, draft.unknown
    options: list[list[Callable[[Draft], Draft]]] = []

    def fields(*choices: dict[str, Any]) -> None:
        options.append([partial(_with_fields, values=c) for c in choices])

    if "activation" in open_ones:
        kinds = ("relu", "sigmoid", "tanh")
        fields(*({"activation": kind} for kind in kinds))
    if "conv activation" in open_ones:
        fields({"conv_activation": True}, {"conv_activation": False})
    if "pooling" in open_ones and not isinstance(config, AlexNetConfig):
        fields({"pooling": "max"}, {"pooling": "average"})
    if isinstance(config, LeNetConfig) and "input size" in open_ones:
        # 28 pixels with a margin of 2 and 32 pixels without one give the same shapes.
        fields({}, {"crop_size": 28, "conv1_padding": 2}, {"crop_size": 32, "conv1_padding": 0})
    if isinstance(config, AlexNetConfig) and "normalization" in open_ones:
        lrn = {"norm": "lrn", "norm1": "after-activation", "norm2": "after-activation"}
        after = {**lrn, "norm1": "after-pool", "norm2": "after-pool"}
        ks = (1.0, 2.0) if "k of LRN" in open_ones else (config.lrn_k,)
        fields({"norm": "none"}, *({**place, "lrn_k": k} for place in (lrn, after) for k in ks))
    if {"mean", "scale"} <= open_ones:
        presets = PIXELS[3 if draft.layers[0].weight.shape[1] == 3 else 1]
        options.append([lambda d: d, *(lambda d, p=p: with_pixels(d, *p) for p in presets)])
    elif "scale" in open_ones:
        scales = (equal(1 / 255), equal(1.0), equal(1 / 127.5))
        options.append([lambda d: d, *(lambda d, s=s: replace(d, scale=s) for s in scales)])
    if "channels" in open_ones:
        options.append([partial(with_channels, bgr=False), partial(with_channels, bgr=True)])
    yield draft
    seen = {_key(draft)}
    for combination in itertools.product(*options):
        other = draft
        for change in combination:
            other = change(other)
        if _key(other) not in seen and _fits(draft, other):
            seen.add(_key(other))
            yield other


def _fits(draft: Draft, other: Draft) -> bool:
    """Whether the shapes of another input size are those of the file."""
    if not isinstance(other.config, LeNetConfig):
        return True
    return grid_sizes(draft.config)["pool2"] == grid_sizes(other.config)["pool2"]


def _with_fields(draft: Draft, values: dict[str, Any]) -> Draft:
    config = replace(draft.config, **values)
    size = config.crop_size if isinstance(config, LeNetConfig) else draft.recipe.prepare_size
    return replace(draft, recipe=replace(draft.recipe, model=config, prepare_size=size))


def _key(draft: Draft) -> tuple[Any, ...]:
    return draft.config, tuple(np.ravel(draft.mean)), draft.scale, draft.bgr


def _differing(one: Draft, other: Draft) -> set[str]:
    """The topics in which two drafts differ."""
    both = replace(one, unknown=one.unknown), replace(other, unknown=one.unknown)
    mine, theirs = ({each.topic: each.value for each in draft.assumptions()} for draft in both)
    return {topic for topic in {*mine, *theirs} if mine.get(topic) != theirs.get(topic)}


class _Trials:
    """The labeled images, prepared once for each size."""

    def __init__(self, read: Callable[[int], tuple[NDArray[np.uint8], NDArray[np.bool_]]], labels: NDArray[np.int64]):
        self.read, self.labels = read, labels
        self.prepared: dict[int, tuple[NDArray[np.uint8], NDArray[np.int64]]] = {}

    def images(self, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        if size not in self.prepared:
            pixels, readable = self.read(size)
            self.prepared[size] = pixels, self.labels[readable]
        return self.prepared[size]

    def count(self, most: int) -> int:
        return min(most, *(len(labels) for _, labels in self.prepared.values()), most)

    def run(self, draft: Draft, path: Path, most: int) -> Trial:
        found = built(draft, path)
        pixels, labels = self.images(draft.recipe.prepare_size)
        classifier = Classifier(found.network, found.class_names, draft.recipe.prepare_size)
        probabilities = classifier.probabilities(pixels[:most]).astype(np.float64)
        labels = labels[:most]
        right = probabilities[np.arange(len(labels)), labels]
        loss = float(-np.log(np.maximum(np.nan_to_num(right), 1e-12)).mean())
        return Trial(draft, float((probabilities.argmax(1) == labels).mean()), loss)


def _labeled(
    images: str | Path, classes: int, class_names: tuple[str, ...] | None
) -> tuple[Samples, NDArray[np.int64], tuple[str, ...]]:
    """Lists the images with the number of the output for each, and the names of the outputs."""
    source = open_source(images, val_share=0)
    split = next(name for name in ("test", "val", "train") if name in source.splits)
    samples, folders = source.splits[split], source.class_names
    names = class_names or class_names_of(classes)
    if set(folders) <= set(names):
        outputs = [names.index(folder) for folder in folders]
    elif class_names is None and len(folders) == classes:
        names, outputs = folders, list(range(classes))
    else:
        raise UsageError(
            f"the {len(folders)} class folders of {images} do not belong to the {classes} outputs of the network",
            fix="Give folders with the names of the classes (--classes FILE), or one folder for each output, in order.",
            code="E209",
        )
    return samples, np.array(outputs, np.int64)[samples.labels], names


def _spread(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of up to `MOST_IMAGES` images, the classes in turn, so that the first few are of all classes."""
    turns = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turns[members] = np.arange(len(members))
    return np.argsort(turns, kind="stable")[:MOST_IMAGES]


def _reader(
    samples: Samples, chosen: NDArray[np.int64]
) -> Callable[[int], tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    def read(size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        pixels, readable = [], np.zeros(len(chosen), bool)
        for at, index in enumerate(chosen):
            try:
                pixels.append(prepare_image(samples.image(int(index)), size))
                readable[at] = True
            except AlexNetError:
                continue  # one bad file among the examples does not matter; none at all is refused below
        if not pixels:
            raise UsageError(
                "none of the images for --check can be read",
                fix="Give a folder of class folders with images.",
                code="E209",
            )
        return np.stack(pixels), readable

    return read

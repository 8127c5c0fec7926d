"""Measures what simple cues know about the classes: fitted on training images, asked once on validation images.

Cues of the content (color, shape) are what a network has to beat; the others (size, file, compression, border) should
know nothing, and if they do, the images of the classes were made in different ways. At most 2,000 training and 1,000
validation images are used, so that it takes seconds for any number.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alexnet.cues import pixels
from alexnet.cues.files import (
    FileFacts,
    compression_features,
    content_bytes,
    log_bytes,
    size_features,
    size_regressors,
    surplus,
)
from alexnet.cues.kernel import Choice, Matrix, choose, evenly, fit, squared_distances, typical_distance
from alexnet.cues.pixels import Features
from alexnet.data.images import Pixels
from alexnet.evaluation.intervals import wilson_interval

MOST_TRAIN, MOST_HELD_OUT, MOST_FOR_LEAK = 2000, 1000, 1000
FEWEST_TRAIN, FEWEST_HELD_OUT = 20, 10  # with fewer images nothing that is measured means anything
COLOR, SHAPE, BOTH, EDGES = "color histogram", "HOG", "color histogram and HOG", "colors at the edges"
SIZE, FILE_SIZE, COMPRESSION, BORDER = "image size and aspect", "file size", "format and JPEG quality", "border"
# Standard deviations that count as none: a hundredth of a size, a tenth of a file size, two steps of quality.
FLOORS = {SIZE: 0.02, FILE_SIZE: 0.1, COMPRESSION: 2.0, BORDER: 4.0}


@dataclass(frozen=True, eq=False)
class Looked:
    """The images of one split that were looked at."""

    labels: NDArray[np.int64]  # (N,)
    names: tuple[str, ...]
    squares: Pixels  # (N, 64, 64, 3)
    files: tuple[FileFacts | None, ...] | None = None  # None if there are no original files

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Cue:
    """How well one cue tells the classes apart on the validation images."""

    name: str
    kind: Literal["content", "leak"]
    accuracy: float  # in [0, 1]
    low: float  # of its 95 % interval
    high: float
    chance: float  # how probable so many right answers would be for the best guess without looking, in [0, 1]
    left_out: float  # accuracy on training images, each left out in turn

    def skill(self, guessing: float) -> float:
        """The share of the errors of guessing that the cue avoids; 1 if it is always right."""
        return (self.accuracy - guessing) / (1 - guessing) if guessing < 1 else 0.0


@dataclass(frozen=True)
class Cues:
    """What all cues know; `baseline` is the best cue of the content, chosen on the training images."""

    split: str  # the validation split
    train: int  # images
    images: int  # of the validation split
    classes: int
    guessing: float  # accuracy of always naming the largest class, in [0, 1]
    cues: tuple[Cue, ...]
    baseline: str
    wrong: tuple[str, ...]  # the validation images that the baseline gets wrong ...
    names: tuple[str, ...]  # ... of these
    note: str = ""  # why some cues were not measured

    def cue(self, name: str) -> Cue:
        """The cue of that name."""
        return next(each for each in self.cues if each.name == name)

    def record(self) -> dict[str, Any]:
        """All of it as plain values; the same images give the same."""
        return asdict(self)


def from_record(record: dict[str, Any]) -> Cues:
    """The cues that `Cues.record` has written."""
    values = {**record, "cues": tuple(Cue(**each) for each in record["cues"])}
    return Cues(**{**values, "wrong": tuple(record["wrong"]), "names": tuple(record["names"])})


def chosen(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` indices, of every class in proportion, ascending; the same for the same labels."""
    return np.sort(np.argsort(labels, kind="stable")[evenly(len(labels), most)])


def too_few(train: int, held_out: int, classes: int) -> str:
    """Why the cues of so few images are not measured; "" if they are."""
    if classes < 2:
        return "there is a single class"
    if train < FEWEST_TRAIN or held_out < FEWEST_HELD_OUT:
        return f"{train} training and {held_out} validation images are too few to tell a cue from chance"
    return ""


def measure(split: str, train: Looked, held_out: Looked, classes: int, note: str = "") -> Cues:
    """Measures all cues for which there is something to look at.

    Args:
        split: the name of the validation split.
        note: what else is to be said, such as that there are no original files.
    """
    counts = np.bincount(train.labels, minlength=classes)
    guessing = float((held_out.labels == counts.argmax()).mean())
    pairs = {name: _pair(of(train.squares), of(held_out.squares)) for name, of in CONTENT.items()}
    pairs[BOTH] = (pairs[COLOR][0] + pairs[SHAPE][0], pairs[COLOR][1] + pairs[SHAPE][1])
    choices = {name: choose(pair[0], train.labels, classes) for name, pair in pairs.items()}
    rivals = (COLOR, SHAPE, BOTH)  # of equally good ones the simpler
    baseline = max(rivals, key=lambda name: choices[name].left_out)
    cues, right = [], {}
    for name, pair in pairs.items():
        if name != BOTH or baseline == BOTH:
            asked = (pair, train.labels, held_out.labels, classes, guessing)
            cue, right[name] = _asked(name, "content", choices[name], *asked)
            cues.append(cue)
    with_files = _with_files(train), _with_files(held_out)
    has_files = min(map(len, with_files)) >= FEWEST_HELD_OUT
    for name, of in LEAKS.items():
        if name != BORDER and not has_files:
            continue
        first, second = (train, held_out) if name == BORDER else with_files
        first = _some(first, chosen(first.labels, MOST_FOR_LEAK))
        features = of(first, second)
        base = float((second.labels == counts.argmax()).mean())
        scale = np.maximum(features[0].std(0), FLOORS[name]).astype(np.float32)
        pair = _pair(features[0] / scale, features[1] / scale)
        choice = choose(pair[0], first.labels, classes)
        cues.append(_asked(name, "leak", choice, pair, first.labels, second.labels, classes, base)[0])
    wrong = tuple(name for name, ok in zip(held_out.names, right[baseline], strict=True) if not ok)
    return Cues(split, len(train), len(held_out), classes, guessing, tuple(cues), baseline, wrong, held_out.names, note)


def _asked(
    name: str,
    kind: Literal["content", "leak"],
    choice: Choice,
    pair: tuple[Matrix, Matrix],
    labels: NDArray[np.int64],
    held_out: NDArray[np.int64],
    classes: int,
    guessing: float,
) -> tuple[Cue, NDArray[np.bool_]]:
    fitted = fit(pair[0], labels, classes, choice)
    right = fitted.classes(pair[1]) == held_out
    hits, count = int(right.sum()), len(right)
    chance = binomial_tail(hits, count, guessing)
    return Cue(name, kind, hits / count, *wilson_interval(hits, count), chance, choice.left_out), right


def binomial_tail(hits: int, count: int, share: float) -> float:
    """The probability of at least so many hits among `count` if each has probability `share`."""
    if hits == 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    logs = [
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(share)
        + (count - k) * math.log1p(-share)
        for k in range(hits, count + 1)
    ]
    return min(1.0, math.fsum(math.exp(each) for each in logs))


def _pair(train: Features, held_out: Features) -> tuple[Matrix, Matrix]:
    distances = squared_distances(train, train)
    typical = typical_distance(distances)
    return distances / typical, squared_distances(held_out, train) / typical


def _some(looked: Looked, rows: NDArray[np.int64]) -> Looked:
    names = tuple(looked.names[i] for i in rows.tolist())
    files = None if looked.files is None else tuple(looked.files[i] for i in rows.tolist())
    return Looked(looked.labels[rows], names, looked.squares[rows], files)


def _with_files(looked: Looked) -> Looked:
    files = looked.files or (None,) * len(looked)
    return _some(looked, np.array([i for i, facts in enumerate(files) if facts is not None], np.int64))


def _facts(looked: Looked) -> list[FileFacts]:
    return [facts for facts in looked.files or () if facts is not None]


def _compression(train: Looked, held_out: Looked) -> tuple[Features, Features]:
    formats = sorted(Counter(facts.format for facts in _facts(train)))
    return compression_features(_facts(train), formats), compression_features(_facts(held_out), formats)


def _file_sizes(train: Looked, held_out: Looked) -> tuple[Features, Features]:
    """File sizes beyond what the images explain, by a regression on the training images."""
    regressors = []
    for looked in (train, held_out):
        content = np.array([content_bytes(square) for square in looked.squares], np.int64)
        regressors.append(size_regressors(_facts(looked), content))
    coefficients = np.asarray(np.linalg.lstsq(regressors[0], log_bytes(_facts(train)), rcond=None)[0], np.float64)
    return (
        surplus(_facts(train), regressors[0], coefficients),
        surplus(_facts(held_out), regressors[1], coefficients),
    )


def _sizes(train: Looked, held_out: Looked) -> tuple[Features, Features]:
    return size_features(_facts(train)), size_features(_facts(held_out))


def _borders(train: Looked, held_out: Looked) -> tuple[Features, Features]:
    return pixels.border(train.squares), pixels.border(held_out.squares)


CONTENT: dict[str, Callable[[Pixels], Features]] = {
    COLOR: pixels.color_histogram,
    SHAPE: pixels.hog,
    EDGES: pixels.edge_colors,
}
LEAKS: dict[str, Callable[[Looked, Looked], tuple[Features, Features]]] = {
    SIZE: _sizes,
    FILE_SIZE: _file_sizes,
    COMPRESSION: _compression,
    BORDER: _borders,
}

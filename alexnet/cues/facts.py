"""Measures the facts of the training images from which a recipe is fitted; see `alexnet.recipes.fitting`.

Only training images are looked at: the validation images have no say in what the recipe becomes.
"""

from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from alexnet.cues import pixels
from alexnet.cues.files import facts_of
from alexnet.cues.kernel import choose, evenly, fit, squared_distances, typical_distance
from alexnet.cues.measure import FEWEST_TRAIN, binomial_tail, chosen
from alexnet.data.dataset import Prepared
from alexnet.data.samples import Samples
from alexnet.data.sources import open_source
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.fitting import Facts

MOST_LOOKED_AT = 900
MOST_HEADERS = 100
FEWEST_MIRRORED = 40  # images of which mirror images are asked
GRAY = 3  # gray levels by which the channels of a gray pixel may differ, after JPEG


def typical_side(data: str, labels: Path | None = None) -> int:
    """The shorter side of a typical training image in pixels, before it is prepared; 0 if none can be read."""
    return side_of(open_source(data, labels=labels).splits["train"])


def side_of(samples: Samples) -> int:
    """The shorter side of a typical image: the median over some of them, from their headers."""
    if samples.arrays is not None:
        return int(min(samples.arrays.shape[1:3]))
    headers = (facts_of(Path(str(samples.image(int(row))))) for row in evenly(len(samples), MOST_HEADERS))
    sides = [min(found.width, found.height) for found in headers if found is not None]
    return round(median(sides)) if sides else 0


def facts_of_prepared(prepared: Prepared, side: int, progress: ProgressCallback = silent) -> Facts:
    """Measures what is known about the training images.

    Args:
        side: of a typical image in pixels, before it was prepared.
    """
    split, classes = prepared.splits["train"], len(prepared.class_names)
    counts = tuple(np.bincount(split.labels, minlength=classes).tolist())
    if prepared.address is not None or len(split) < FEWEST_TRAIN or classes < 2:
        return Facts(counts, side)
    rows = chosen(split.labels, MOST_LOOKED_AT)
    rows = rows[np.argsort(split.labels[rows], kind="stable")]  # so that every third image is of every class
    squares = np.zeros((len(rows), pixels.SIDE, pixels.SIDE, 3), np.uint8)
    for done, row in enumerate(rows):
        squares[done] = pixels.small_square(split.read([row])[0])
        if done % 100 == 0:
            progress("looking at the images", done, len(rows))
    progress("looking at the images", len(rows), len(rows))
    labels = split.labels[rows]
    spread = np.ptp(squares.astype(np.int16), axis=-1)
    gray = bool((np.quantile(spread.reshape(len(rows), -1), 0.99, axis=1) <= GRAY).mean() > 0.99)
    outlines = pixels.hog(squares)
    upright, mirrored, by_chance = _mirrored(squares, outlines, labels, classes)
    return Facts(
        counts,
        side,
        gray,
        max(counts) / len(split),
        _left_out(pixels.color_histogram(squares), labels, classes),
        _left_out(outlines, labels, classes),
        upright,
        mirrored,
        by_chance,
    )


def _left_out(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> float:
    distances = squared_distances(features, features)
    return choose(distances / typical_distance(distances), labels, classes).left_out


def _mirrored(
    squares: NDArray[np.uint8], outlines: NDArray[np.float32], labels: NDArray[np.int64], classes: int
) -> tuple[float | None, float | None, float]:
    """Accuracy of outlines on a third of the images and on their mirror images, and how probable such a loss is."""
    asked = np.arange(len(labels)) % 3 == 0
    if asked.sum() < FEWEST_MIRRORED:
        return None, None, 1.0
    known, truth = outlines[~asked], labels[~asked]
    distances = squared_distances(known, known)
    typical = typical_distance(distances)
    model = fit(distances / typical, truth, classes, choose(distances / typical, truth, classes))
    views = outlines[asked], pixels.hog(squares[asked][:, :, ::-1])
    upright, mirrored = (model.classes(squared_distances(view, known) / typical) == labels[asked] for view in views)
    lost, won = int((upright & ~mirrored).sum()), int((mirrored & ~upright).sum())
    return float(upright.mean()), float(mirrored.mean()), binomial_tail(lost, lost + won, 0.5)

"""Compares runs on the same held-out images: which run is right where others err, and whether chance explains it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from alexnet.data.dataset import Prepared
from alexnet.errors import UsageError
from alexnet.evaluation.evaluate import Evaluation, evaluate
from alexnet.evaluation.intervals import mcnemar
from alexnet.evaluation.run_calibration import temperature_of
from alexnet.progress import ProgressCallback, silent
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import RunFolder, open_run
from alexnet.runs.start import images_of_run

UNEVEN = 3  # images of the largest class over those of the smallest


@dataclass(frozen=True)
class Pair:
    """Two runs on the same images."""

    first: int  # index among the runs
    second: int
    only_first: int  # images that only the first run classifies correctly
    only_second: int
    p: float  # of McNemar's exact test, in [0, 1]

    @property
    def difference(self) -> int:
        """Errors of the second run minus errors of the first, in images."""
        return self.only_first - self.only_second


def open_runs(folders: Sequence[Path]) -> tuple[list[RunFolder], Prepared]:
    """Opens two or more runs and the dataset that all of them were trained on.

    Raises:
        UsageError: fewer than two runs, one named twice, or runs on different data (it names the field that differs).
        DataError: the images are gone.
    """
    if len(folders) < 2:
        raise UsageError("there is nothing to compare with", fix="Name two run folders or more.", code="E294")
    paths = [folder.resolve() for folder in folders]
    repeated = [str(folder) for i, folder in enumerate(folders) if paths[i] in paths[:i]]
    if repeated:
        raise UsageError(f"{repeated[0]} is named twice", fix="Name each run once.", code="E294")
    runs = [open_run(folder) for folder in folders]
    first = runs[0]
    for run in runs[1:]:
        for field, first_value, other_value in (
            ("classes", first.class_names, run.class_names),
            ("prepare_size", first.recipe.prepare_size, run.recipe.prepare_size),
            ("prepare_whole", first.recipe.prepare_whole, run.recipe.prepare_whole),
            ("fingerprint", first.data.get("fingerprint"), run.data.get("fingerprint")),
        ):
            if first_value != other_value:
                raise UsageError(
                    f"{first.folder} and {run.folder} were not trained on the same data: {field} is "
                    f"{_short(first_value)} and {_short(other_value)}",
                    fix="Compare runs of one prepared dataset; alexnet evaluate RUN DATA measures each on any images.",
                    code="E293",
                )
    return runs, images_of_run(first)


def split_to_report(prepared: Prepared, split: str | None) -> str:
    """Chooses the split to report: the one that is named, else test, else val.

    Raises:
        UsageError: there is no such split.
    """
    held_out = [name for name in ("test", "val") if name in prepared.splits]
    chosen = split or (held_out[0] if held_out else "train")
    if chosen not in prepared.splits:
        raise UsageError(
            f"the dataset has no split {chosen!r}", fix=f"It has: {', '.join(prepared.splits)}.", code="E296"
        )
    return chosen


def evaluate_runs(
    runs: Sequence[RunFolder],
    prepared: Prepared,
    split: str,
    *,
    views: int = 1,
    checkpoint: str = "best",
    device: torch.device | None = None,
    progress: ProgressCallback = silent,
) -> list[Evaluation]:
    """Evaluates every run on a split; the images are in the same order in every evaluation."""
    device, evaluations = device or torch.device("cpu"), []
    for run in runs:
        model = load_model(run, checkpoint).place(device)
        evaluations.append(
            evaluate(
                model,
                prepared,
                split,
                class_names=run.class_names,
                views=views,
                precision=run.recipe.precision,
                progress=progress,
                temperature=temperature_of(run, model, views),
            )
        )
    return evaluations


def right(evaluation: Evaluation) -> npt.NDArray[np.bool_]:
    """Whether the most probable class of each image is the true one: (N,)."""
    return np.asarray(evaluation.probabilities.argmax(1) == evaluation.labels)


def balanced_accuracy(evaluation: Evaluation) -> float:
    """The mean over the classes of the share of their images that are right, in [0, 1]; empty classes do not count."""
    counts = evaluation.confusion.sum(1)
    return float((evaluation.confusion.diagonal()[counts > 0] / counts[counts > 0]).mean())


def error_to_choose_by(evaluation: Evaluation, class_weights: str) -> float:
    """The error by which the best network of a run is chosen, in [0, 1]; that of the classes if all count the same.

    Where one class has fifty times the images of another, the lowest error may be that of calling everything by its
    name.
    """
    return 1 - balanced_accuracy(evaluation) if class_weights == "balanced" else evaluation.top1_error


def is_uneven(evaluation: Evaluation) -> bool:
    """Whether the largest class has at least three times as many images as the smallest that has any."""
    counts = evaluation.confusion.sum(1)
    return bool(counts.max() >= UNEVEN * counts[counts > 0].min())


def pairs(evaluations: Sequence[Evaluation]) -> list[Pair]:
    """Compares every two runs and tests their difference with McNemar's exact test."""
    correct = [right(evaluation) for evaluation in evaluations]
    compared = []
    for i, j in itertools.combinations(range(len(correct)), 2):
        only_first, only_second = int((correct[i] & ~correct[j]).sum()), int((~correct[i] & correct[j]).sum())
        compared.append(Pair(i, j, only_first, only_second, mcnemar(only_first, only_second)))
    return compared


def disputed(evaluations: Sequence[Evaluation], limit: int) -> npt.NDArray[np.int64]:
    """Indices of the images that some runs classify correctly and others do not.

    First come those where the runs' probabilities of the true class differ most.
    """
    correct = np.stack([right(e) for e in evaluations])
    indices = np.flatnonzero(correct.any(0) & ~correct.all(0))
    labels = evaluations[0].labels[indices]
    probability = np.stack([e.probabilities[indices, labels] for e in evaluations])  # (runs, images)
    gap = probability.max(0) - probability.min(0) if len(indices) else np.zeros(0)
    return indices[np.argsort(-gap, kind="stable")][:limit]


def _short(value: object) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Runs beside one another on the same held-out pictures: who is right where the others are wrong, and is it chance?"""

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
from alexnet.progress import ProgressCallback, silent
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import RunFolder, open_run
from alexnet.runs.start import images_of_run


@dataclass(frozen=True)
class Pair:
    """Two runs on the same pictures."""

    first: int  # place among the runs
    second: int
    only_first: int  # pictures that it alone gets right
    only_second: int
    p: float  # of McNemar's exact test, in [0, 1]

    @property
    def difference(self) -> int:
        """Errors of the second less those of the first, in pictures."""
        return self.only_first - self.only_second


def open_runs(folders: Sequence[Path]) -> tuple[list[RunFolder], Prepared]:
    """Two or more runs and the pictures that all of them were trained on.

    Raises:
        UsageError: fewer than two, one named twice, or runs on different pictures (it names the field that differs).
        DataError: the pictures are gone.
    """
    if len(folders) < 2:
        raise UsageError("there is nothing to compare with", fix="Name two run folders or more.", code="E294")
    places = [folder.resolve() for folder in folders]
    twice = [str(folder) for i, folder in enumerate(folders) if places[i] in places[:i]]
    if twice:
        raise UsageError(f"{twice[0]} is named twice", fix="Name each run once.", code="E294")
    runs = [open_run(folder) for folder in folders]
    first = runs[0]
    for run in runs[1:]:
        for field, mine, theirs in (
            ("classes", first.class_names, run.class_names),
            ("prepare_size", first.recipe.prepare_size, run.recipe.prepare_size),
            ("fingerprint", first.data.get("fingerprint"), run.data.get("fingerprint")),
        ):
            if mine != theirs:
                raise UsageError(
                    f"{first.folder} and {run.folder} were not trained on the same data: {field} is "
                    f"{_short(mine)} and {_short(theirs)}",
                    fix="Compare runs of one prepared set; alexnet evaluate RUN DATA measures each on any pictures.",
                    code="E293",
                )
    return runs, images_of_run(first)


def held_out_name(prepared: Prepared, split: str | None) -> str:
    """The split to report: the one that is named, else test, else val.

    Raises:
        UsageError: there is no such split.
    """
    names = [name for name in ("test", "val") if name in prepared.splits]
    chosen = split or (names[0] if names else "train")
    if chosen not in prepared.splits:
        raise UsageError(
            f"the pictures have no split {chosen!r}", fix=f"They have: {', '.join(prepared.splits)}.", code="E296"
        )
    return chosen


def answers(
    runs: Sequence[RunFolder],
    prepared: Prepared,
    split: str,
    *,
    views: int = 1,
    checkpoint: str = "best",
    device: torch.device | None = None,
    progress: ProgressCallback = silent,
) -> list[Evaluation]:
    """What every run says of the pictures of a split, in the same order."""
    place = device or torch.device("cpu")
    return [
        evaluate(
            load_model(run, checkpoint).to(place),
            prepared,
            split,
            class_names=run.class_names,
            views=views,
            precision=run.recipe.precision,
            progress=progress,
        )
        for run in runs
    ]


def right(evaluation: Evaluation) -> npt.NDArray[np.bool_]:
    """(N,) which pictures the most probable class is right for."""
    return np.asarray(evaluation.probabilities.argmax(1) == evaluation.labels)


def pairs(evaluations: Sequence[Evaluation]) -> list[Pair]:
    """Every two runs, with the test of their difference."""
    hits = [right(evaluation) for evaluation in evaluations]
    out = []
    for i, j in itertools.combinations(range(len(hits)), 2):
        only_first, only_second = int((hits[i] & ~hits[j]).sum()), int((~hits[i] & hits[j]).sum())
        out.append(Pair(i, j, only_first, only_second, mcnemar(only_first, only_second)))
    return out


def disputed(evaluations: Sequence[Evaluation], limit: int) -> npt.NDArray[np.int64]:
    """Pictures that some runs get right and others not, those first on which the belief in the truth differs most."""
    hits = np.stack([right(e) for e in evaluations])
    places = np.flatnonzero(hits.any(0) & ~hits.all(0))
    labels = evaluations[0].labels[places]
    belief = np.stack([e.probabilities[places, labels] for e in evaluations])  # (runs, pictures)
    spread = belief.max(0) - belief.min(0) if len(places) else np.zeros(0)
    return places[np.argsort(-spread, kind="stable")][:limit]


def _short(value: object) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

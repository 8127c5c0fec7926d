"""Several runs together: comparisons on the same images, ensembles, equal answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.api.bars import progress_callback
from alexnet.evaluation.compare import Pair, disputed, evaluate_runs, open_runs, pairs, split_to_report
from alexnet.evaluation.ensemble import Ensemble, check_splits, combine, find_weights
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.predict import find_images
from alexnet.experiments.page import write_comparison
from alexnet.export.backends import Backend, open_backend
from alexnet.export.parity import Parity, check_equal, compare_answers
from alexnet.kernels.device import choose_device
from alexnet.progress import ProgressCallback
from alexnet.recipes.recipe import differences
from alexnet.runs.metrics import epochs_of
from alexnet.storage.files import refuse_to_replace


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs on the same images of one split.

    >>> import alexnet
    >>> comparison = alexnet.compare("runs/photos", "runs/other", split="val")
    >>> comparison.pairs[0].p
    1.0
    """

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    pairs: tuple[Pair, ...]  # every two, with McNemar's exact test
    page: Path | None  # where it was written

    def __repr__(self) -> str:
        errors = ", ".join(
            f"{name} {100 * e.top1_error:.1f} %" for name, e in zip(self.names, self.evaluations, strict=True)
        )
        return f"Comparison({self.evaluations[0].split}, top-1 error: {errors})"


def compare(
    *runs: str | Path,
    split: str | None = None,
    views: int = 1,
    checkpoint: str = "best",
    out: str | Path | None = None,
    device: str = "auto",
    progress: bool | ProgressCallback = False,
) -> Comparison:
    """Sets runs beside one another: errors, whether a difference is chance, and, with `out`, a page with curves.

    Args:
        runs: two or more run folders that were trained on the same images.
        split: test, val or train; by default test where there is one, else val.
        views: 1 or 10.
        checkpoint: the "best" on validation, or the "last".
        out: the page to write.

    Raises:
        UsageError: fewer than two runs, runs on other images, no such split, or `out` exists.

    >>> import alexnet
    >>> alexnet.compare("runs/photos", "runs/other", split="val").names
    ('photos', 'other')
    """
    if out is not None:
        refuse_to_replace(Path(out))
    opened, prepared = open_runs([Path(run) for run in runs])
    chosen = split_to_report(prepared, split)
    with progress_callback(progress) as told:
        evaluations = evaluate_runs(
            opened,
            prepared,
            chosen,
            views=views,
            checkpoint=checkpoint,
            device=choose_device(device),
            progress=told,
        )
    names, tested = short_names(runs), pairs(evaluations)
    page = None
    if out is not None:
        changes: dict[str, dict[str, Any]] = {
            name: {k: new for k, (_, new) in differences(run.recipe, opened[0].recipe).items()}
            for name, run in zip(names, opened, strict=True)
        }
        page = write_comparison(
            Path(out),
            names,
            [epochs_of(run) for run in opened],
            evaluations,
            tested,
            disputed(evaluations, limit=40),
            prepared.splits[chosen].read,
            changes,
        )
    return Comparison(tuple(names), tuple(evaluations), tuple(tested), page)


def ensemble(
    *runs: str | Path,
    split: str | None = None,
    weights_on: str | None = None,
    views: int = 1,
    checkpoint: str = "best",
    device: str = "auto",
    progress: bool | ProgressCallback = False,
) -> Ensemble:
    """Averages the probabilities of several runs, as the entry of 2012 did with five networks.

    Args:
        runs: two or more run folders that were trained on the same images.
        split: what is reported: by default test where there is one, else val.
        weights_on: find weights on this split, another than the one reported; by default equal ones.
        views: 1 or 10.
        checkpoint: the "best" on validation, or the "last".
        device: as for `load`.

    Returns:
        `.combined` and `.members` are evaluations, `.gain("top1_error")` says what averaging gains.

    Raises:
        UsageError: fewer than two runs, runs on other images, or weights found on what is reported.

    >>> import alexnet
    >>> alexnet.ensemble("runs/photos", "runs/other", split="val").gain("top1_error")
    (0.0, [0.0, 0.0])
    """
    opened, prepared = open_runs([Path(run) for run in runs])
    chosen = split_to_report(prepared, split)
    check_splits(chosen, weights_on)
    place, weights = choose_device(device), None
    with progress_callback(progress) as told:

        def evaluated(name: str) -> list[Evaluation]:
            return evaluate_runs(
                opened, prepared, name, views=views, checkpoint=checkpoint, device=place, progress=told
            )

        if weights_on is not None:
            weights = find_weights(evaluated(split_to_report(prepared, weights_on)))
        return combine(evaluated(chosen), weights)


@dataclass(frozen=True, eq=False)
class ParityCheck:
    """How two networks answer the same images.

    >>> import alexnet
    >>> alexnet.parity("runs/photos", "runs/other", "photos/red").equal
    True
    """

    parity: Parity
    first: Backend
    second: Backend
    errors: dict[Path, str]  # images that could not be read

    @property
    def equal(self) -> bool:
        """Whether all answers lie within the tolerance."""
        return self.parity.equal

    def check(self) -> None:
        """Refuses answers that are not equal.

        Raises:
            UntrustedFileError: E663.
        """
        check_equal(self.parity, self.first, self.second)

    def __repr__(self) -> str:
        verdict = "equal" if self.equal else "NOT equal"
        return f"ParityCheck({self.first.name} and {self.second.name}: {verdict} on {self.parity.images} images)"


def parity(
    first: str | Path, second: str | Path, images: str | Path | Sequence[str | Path], *, trust: bool = False
) -> ParityCheck:
    """Compares the answers of two networks: run folders, ONNX files, exported programs, exported folders.

    Args:
        first: the network to compare with.
        second: the other one.
        images: files, folders or patterns.
        trust: open exported programs (.pt2), which can run code: only for files that you made yourself.

    Raises:
        UsageError: one of them is nothing that can be asked, or they have other classes.
        UntrustedFileError: an exported program without `trust`, or a damaged file.

    >>> import alexnet
    >>> alexnet.parity("runs/photos", "runs/other", "photos/red/0.png")
    ParityCheck(runs/photos and runs/other: equal on 1 images)
    """
    names = [images] if isinstance(images, str | Path) else list(images)
    paths = find_images(map(str, names))
    one, other = open_backend(Path(first), trust=trust), open_backend(Path(second), trust=trust)
    apart, errors = compare_answers(one, other, paths)
    return ParityCheck(apart, one, other, errors)


def short_names(runs: Sequence[str | Path]) -> list[str]:
    """Short names of run folders: the last part of the path, or the whole where two end the same."""
    short = [Path(run).resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [str(run) for run in runs]

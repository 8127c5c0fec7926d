"""Several runs together: ablations with paired seeds, comparisons on the same images, ensembles, equal answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alexnet.api.bars import progress_callback
from alexnet.distributed.launchers import refuse_several
from alexnet.evaluation.compare import Pair, disputed, evaluate_runs, open_runs, pairs, split_to_report
from alexnet.evaluation.ensemble import Ensemble, check_splits, combine, find_weights
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.predict import find_images
from alexnet.experiments import results, runner
from alexnet.experiments.ablation import Effect, effects, jobs_of, rows_for, unchanged
from alexnet.experiments.page import title_of, write_ablation, write_comparison
from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from alexnet.export.backends import Backend, open_backend
from alexnet.export.parity import Parity, check_equal, compare_answers
from alexnet.kernels.device import choose_device
from alexnet.progress import ProgressCallback
from alexnet.recipes.ingredients import Variant, variants_of
from alexnet.recipes.recipe import differences
from alexnet.runs.metrics import epochs_of
from alexnet.storage.files import refuse_to_replace


@dataclass(frozen=True, eq=False)
class Ablation:
    """The runs of an ablation: those wanted, and those that have no row yet.

    >>> import alexnet
    >>> ablation = alexnet.ablate("digits", base="demo", vary="no-lrn", seeds=2)
    >>> ablation
    Ablation(demo against no-lrn: 0 of 4 runs done)
    >>> print(ablation.commands[0])
    alexnet train DATA --recipe demo seed=0
    """

    base: str
    variants: tuple[Variant, ...]
    jobs: tuple[Job, ...]
    missing: tuple[Job, ...]
    unchanged: tuple[str, ...]  # variants that are the base already
    folder: Path
    views: int
    device: torch.device
    nproc: int

    @property
    def rows_file(self) -> Path:
        """Where every finished run has a row."""
        return self.folder / "rows.jsonl"

    @property
    def runs(self) -> int:
        """How many different runs are wanted."""
        return len({runner.key(job, self.device) for job in self.jobs})

    @property
    def commands(self) -> list[str]:
        """What one would type for each missing run."""
        return [results.command(job.base, job.changes, job.seed, job.labels) for job in self.missing]

    def estimate(self) -> float:
        """Seconds that the missing runs would take, from a few real steps of each variant."""
        return runner.estimate(self.missing, self.device) / self.nproc

    def run(self, on_row: Callable[[Row, int], None] = lambda row, left: None) -> bool:
        """Does the missing runs, each once; stopped, the same call goes on.

        Args:
            on_row: is given every new row and how many runs are left.

        Returns:
            False if Ctrl-C or SIGTERM stopped it; what was done is saved.
        """
        return runner.run_jobs(
            self.missing, self.rows_file, self.folder / "runs", processes=self.nproc, device=self.device, tell=on_row
        )

    @property
    def rows(self) -> list[Row]:
        """The rows of the runs that are done."""
        return rows_for(results.read(self.rows_file), self.jobs, [runner.key(job, self.device) for job in self.jobs])

    @property
    def split(self) -> str:
        """The split that is reported: test where there is one, else validation."""
        return results.reported_split(self.rows)

    def effects(self) -> list[Effect]:
        """What each variant changes, with its interval over paired seeds."""
        shown = [variant for variant in self.variants if variant.name not in self.unchanged]
        return effects(self.rows, shown, self.split, self.views)

    def report(self) -> Path:
        """Writes effects.svg and report.html; gives the path of the page."""
        rows = self.rows
        title = title_of(self.base, rows)
        return write_ablation(self.folder, title, self.effects(), rows, self.split, self.views)[1]

    def __repr__(self) -> str:
        names = ", ".join(variant.name for variant in self.variants)
        return f"Ablation({self.base} against {names}: {self.runs - len(self.missing)} of {self.runs} runs done)"


def ablate(
    data: str | Path,
    *,
    base: str = "photos",
    vary: str = "",
    seeds: int = 3,
    changes: Sequence[str] = (),
    out: str | Path | None = None,
    nproc: int = 1,
    views: int = 1,
    labels: str | Path | None = None,
    device: str = "auto",
) -> Ablation:
    """Plans runs in which ingredients are switched one at a time, with paired seeds; `.run()` does them.

    Args:
        data: as for `train`.
        base: the recipe that is varied.
        vary: ingredients, or field=value, separated by commas; joined with + they are changed together.
        seeds: how many; 3 runs seeds 0, 1 and 2.
        changes: of every run, the base too, as typed: "epochs=20".
        out: folder of the results; by default ablations/BASE-DATA.
        nproc: runs at the same time, one thread each.
        views: views of an image that effects and report use; the rows have 1 and 10.
        labels: as for `train`.

    Raises:
        UsageError: there is no such recipe, ingredient or field, or this is one of several processes.

    >>> import alexnet
    >>> len(alexnet.ablate("digits", base="demo", vary="no-lrn,tanh", seeds=2).jobs)
    6
    """
    refuse_several("train every run of the ablation")
    variants = variants_of(vary)
    folder = Path(out) if out is not None else Path("ablations") / f"{base}-{Path(data).resolve().name}"
    table = Path(labels).expanduser() if labels is not None else None
    jobs = jobs_of(str(data), base, variants, range(seeds), changes, labels=table)
    place = choose_device(device)
    missing = runner.waiting(jobs, folder / "rows.jsonl", place)
    same = unchanged(jobs, [runner.key(job) for job in jobs])
    return Ablation(base, tuple(variants), tuple(jobs), tuple(missing), tuple(same), folder, views, place, nproc)


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

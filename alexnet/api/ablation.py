"""An ablation: runs with ingredients switched one at a time, how many of them, and what they say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from alexnet.distributed.launchers import refuse_several
from alexnet.experiments import results, runner, sequential
from alexnet.experiments.ablation import Effect, effects, jobs_of, rows_for, unchanged
from alexnet.experiments.page import title_of, write_ablation
from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from alexnet.experiments.together import processes, run_jobs
from alexnet.experiments.verdicts import AIM, MATTERS
from alexnet.kernels.device import choose_device
from alexnet.recipes.ingredients import Variant, variants_of
from alexnet.storage.files import user_path


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
    together: int
    until: float | None = None  # half-width in points: with it variants get seeds until their intervals are so narrow

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
        share = processes(self.together, len(self.missing)) if self.device.type == "cpu" else 1
        return runner.estimate(self.missing, self.device) / share

    def run(self, on_row: Callable[[Row, int], None] = lambda row, left: None) -> bool:
        """Does the missing runs, each once; stopped, the same call goes on.

        Args:
            on_row: is given every new row and how many runs are left.

        Returns:
            False if Ctrl-C or SIGTERM stopped it; what was done is saved.
        """
        missing = self.missing
        while missing:
            runs = self.folder / "runs"
            if not run_jobs(missing, self.rows_file, runs, together=self.together, device=self.device, tell=on_row):
                return False
            missing = () if self.until is None else tuple(self.next_look())
        return True

    def next_look(self) -> list[Job]:
        """The runs that have no row yet before the intervals are looked at again; none when all are narrow enough."""
        assert self.until is not None
        most = 1 + max(job.seed for job in self.jobs)
        jobs = sequential.wanted(self.jobs, self.rows, self.shown, self.until, most, self.views)
        return runner.waiting(jobs, self.rows_file, self.device)

    @property
    def shown(self) -> list[Variant]:
        """The variants that are not the base."""
        return [variant for variant in self.variants if variant.name not in self.unchanged]

    @property
    def rows(self) -> list[Row]:
        """The rows of the runs that are done."""
        return rows_for(results.read(self.rows_file), self.jobs, [runner.key(job, self.device) for job in self.jobs])

    @property
    def split(self) -> str:
        """The split that is reported: test where there is one, else validation."""
        return results.reported_split(self.rows)

    @property
    def matters(self) -> float:
        """The smallest effect that matters, in points: 1, or 1 / 0.6 of the half-width that was asked for."""
        return 100 * MATTERS if self.until is None else self.until / AIM

    def effects(self) -> list[Effect]:
        """What each variant adds to the errors of the base, with intervals and verdicts."""
        return effects(self.rows, self.shown, self.split, self.views, self.matters)

    def report(self) -> Path:
        """Writes effects.svg and report.html; gives the path of the page."""
        rows = self.rows
        title = title_of(self.base, rows)
        return write_ablation(self.folder, title, self.effects(), rows, self.split, self.views, self.matters)[1]

    def __repr__(self) -> str:
        names = ", ".join(variant.name for variant in self.variants)
        return f"Ablation({self.base} against {names}: {self.runs - len(self.missing)} of {self.runs} runs done)"


def ablate(
    data: str | Path,
    *,
    base: str = "photos",
    vary: str = "",
    seeds: int | None = None,
    until: float | None = None,
    changes: Sequence[str] = (),
    out: str | Path | None = None,
    together: int = 1,
    views: int = 1,
    labels: str | Path | None = None,
    device: str = "auto",
) -> Ablation:
    """Plans runs in which ingredients are switched one at a time, on the same seeds; `.run()` does them.

    Args:
        data: as for `train`.
        base: the recipe that is varied.
        vary: ingredients, or field=value, separated by commas; joined with + they are changed together.
        seeds: how many; 3 runs seeds 0, 1 and 2; with `until` at most so many, 30 by default.
        until: the half-width in points at which a variant has seeds enough; 6 come before the first look.
        changes: of every run, the base too, as typed: "epochs=20".
        out: folder of the results; by default ablations/BASE-DATA.
        together: runs at the same time, each as it would be alone: on a CPU in processes, at most one for each core,
            that share its threads; on a GPU in turns in one process.
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
    if until is not None:
        sequential.check_until(until)
    seeds = seeds if seeds is not None else 3 if until is None else sequential.MOST
    folder = Path(out) if out is not None else Path("ablations") / f"{base}-{Path(data).resolve().name}"
    table = user_path(labels) if labels is not None else None
    jobs = jobs_of(str(data), base, variants, range(seeds), changes, labels=table)
    place = choose_device(device)
    missing = runner.waiting(jobs, folder / "rows.jsonl", place)
    same = unchanged(jobs, [runner.key(job) for job in jobs])
    planned = Ablation(
        base,
        tuple(variants),
        tuple(jobs),
        tuple(missing),
        tuple(same),
        folder,
        views,
        place,
        together,
        until,
    )
    return planned if until is None else replace(planned, missing=tuple(planned.next_look()))

"""Training from the outside: what is about to happen, started alone or on several processes, resumed, and its end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alexnet.api.bars import TrainingBars, in_notebook, progress_callback
from alexnet.api.dataset import Data, named_images
from alexnet.api.fitting import Fitting, few_images, given_fields, unchanged, write_search
from alexnet.api.records import recipe_of
from alexnet.api.run import Run
from alexnet.api.warning import warn_of_assumed
from alexnet.cues.judge import lines as cue_lines
from alexnet.cues.look import cues_of_prepared
from alexnet.cues.measure import Cues
from alexnet.cues.mix import mix_run
from alexnet.cues.store import write_cues
from alexnet.data.dataset import Prepared
from alexnet.data.exclusions import Excluded, read_exclusions
from alexnet.data.open import fitted, open_images
from alexnet.data.prepare import PrepareReport
from alexnet.distributed.launch import check_scheme
from alexnet.distributed.rendezvous import (
    ALONE,
    Division,
    Rendezvous,
    check_out,
    device_of_rank,
    final_errors,
    is_speaker,
    join_rendezvous,
    joined_group,
    started_by_alexnet,
    starts_workers,
    train_in_workers,
    world_size_of,
)
from alexnet.evaluation.run_calibration import calibrate_run
from alexnet.kernels.device import check_processes, choose_device
from alexnet.progress import ProgressCallback
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe, for_classes, named_fields, override, with_fields
from alexnet.runs.pretrained import assumed_of, fine_tuning, located, open_network
from alexnet.runs.run import RunFolder, refuse_existing
from alexnet.runs.start import images_of_run, note_last, start_or_continue, start_run
from alexnet.storage.files import new_folder
from alexnet.training.check import Check
from alexnet.training.loop import SAVE_SECONDS
from alexnet.training.loop import train as train_run
from alexnet.training.monitor import Monitor, Monitors
from alexnet.training.plan import Plan as Schedule
from alexnet.training.schedule import check_recipe

OnPrepared = Callable[[PrepareReport], None]
MAY_CHANGE = ("processes",)  # condition of exactness that a job of torchrun may come back without


class WorkersEnded(Exception):
    """The processes that trained a run ended with an exit code other than 0, after one of them has told why.

    >>> import alexnet
    >>> alexnet.WorkersEnded(4).exit_code
    4
    """

    def __init__(self, exit_code: int):
        super().__init__(f"the processes that trained the run ended with exit code {exit_code}; their message is above")
        self.exit_code = exit_code


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """A run that is about to be trained: everything is decided and prepared, nothing is trained.

    >>> import alexnet
    >>> plan = alexnet.plan("photos/", recipe="small-photos", epochs=2)
    >>> plan.recipe.epochs
    2
    """

    data: str  # as it was named
    schedule: Schedule
    excluded: Sequence[Excluded]
    division: Division
    rendezvous: Rendezvous | None
    out: Path | None = None  # the run folder, where it was named
    resumed: Run | None = None  # the run that goes on
    labels: Path | None = None  # a table of files and labels
    cues: Cues | None = None  # what simple cues know; see `alexnet.cues`
    cues_missing: str = ""  # why they were not measured
    decided: Mapping[str, str] = field(default_factory=dict)  # what was fitted to the images and the clock, and why
    searched: Sequence[Mapping[str, Any]] = ()  # the short runs of a search, one row each

    @property
    def recipe(self) -> Recipe:
        """The complete recipe."""
        return self.schedule.recipe

    @property
    def speaks(self) -> bool:
        """Whether this process tells what goes on; of several processes the main one does."""
        return is_speaker(self.rendezvous)

    @property
    def announces(self) -> bool:
        """Whether this process says which run folder it is; not where `alexnet` started it, which has said so."""
        return self.speaks and not started_by_alexnet()

    @property
    def reports(self) -> bool:
        """Whether this process writes the report after training; not where it only starts those that train."""
        return self.speaks and not starts_workers(self.division)

    def __repr__(self) -> str:
        return f"Training{self.schedule!r}"

    def lines(self) -> dict[str, str]:
        """What is about to happen, in a few lines."""
        few = few_images(self.recipe, self.schedule.prepared)
        return {**self.schedule.lines(), **self.decided, **cue_lines(self.cues, self.cues_missing), **few}

    def check(self) -> Check:
        """Whether the network will train: signal and gradient of every layer on the first images."""
        return self.schedule.check()

    def estimate(self) -> float:
        """Seconds that training by one process would take, from a few real steps; validation is not counted."""
        return self.schedule.estimate()

    def start(self) -> Run:
        """Makes the run folder; by default a new one in runs/, and `runs/last` points to it.

        Raises:
            UsageError: it exists and holds something, or another run.
        """
        if self.resumed is not None:
            return self.resumed
        prepared, recipe = self.schedule.prepared, self.recipe
        about = (recipe, self.data, prepared, self.excluded, self.labels, self.schedule.device)
        if self.rendezvous is None:
            record = start_run(self.out or new_folder("runs", self.data), *about)
        elif self.speaks:
            record = start_or_continue(check_out(self.out), *about)
        else:
            record = RunFolder(check_out(self.out), recipe, prepared.class_names, {})
        if self.speaks:
            if self.cues is not None:
                write_cues(record, self.cues)
            if self.searched:
                write_search(record, self.searched)
            note_last(record.folder)
        return Run(record)

    def train(
        self,
        run: Run,
        *,
        save_seconds: float = SAVE_SECONDS,
        callbacks: Sequence[Monitor] = (),
        progress: bool = False,
        allow_inexact: bool = False,
        fast: bool = False,
    ) -> Run:
        """Trains the run that `start` gave; arguments as for `alexnet.train`.

        Raises:
            WorkersEnded: the processes that it started failed.
        """
        prepared, device = self.schedule.prepared, self.schedule.device
        if starts_workers(self.division):
            options = [*(["--allow-inexact"] if allow_inexact else []), *(["--fast"] if fast else [])]
            if code := train_in_workers(run.folder, self.division, str(device), save_seconds, *options):
                raise WorkersEnded(code)
            return run
        allowed: bool | tuple[str, ...] = allow_inexact
        if self.rendezvous is not None and self.resumed is None:
            allowed = MAY_CHANGE  # torchrun may start this again with fewer machines, or more: that is to allow it
        group_of_run = joined_group(run.record, prepared, device, self.division, self.rendezvous)
        with group_of_run as (record, group), ExitStack() as shown:
            monitors = list(callbacks) if group.is_main else []
            if progress and group.is_main:
                monitors.insert(0, shown.enter_context(TrainingBars()))
            train_run(
                record,
                prepared,
                device=device,
                monitor=Monitors(monitors),
                save_seconds=save_seconds,
                allow_inexact=allowed,
                fast=fast,
                group=group,
            )
        if group.is_main:  # only now, since the other processes need not wait for it
            # In a notebook the lines of the epochs stay the last thing that is drawn.
            with progress_callback(progress and not in_notebook()) as told:
                mix_run(run.record, prepared, device=device, progress=told)
                calibrate_run(run.record, prepared, device=device, progress=told)
        return run


def plan(
    data: str | Path | Data,
    *,
    recipe: str | Path | Recipe | None = None,
    weights: str | Path | None = None,
    out: str | Path | None = None,
    exclude: str | Path | None = None,
    labels: str | Path | None = None,
    device: str = "auto",
    division: Division = ALONE,
    progress: bool | ProgressCallback = False,
    on_prepared: OnPrepared | None = None,
    changes: Sequence[str] = (),
    cues: bool = True,
    minutes: float | None = None,
    search: int = 0,
    **fields: Any,
) -> TrainingPlan:
    """Decides and prepares everything for a run, and trains nothing; arguments as for `train`.

    Args:
        division: how the work is divided among processes.
        on_prepared: is given what preparing the images did.
        changes: fields to change as one types them: "epochs=20".
        cues: measure what color, shape, and what should not know tell of the classes; takes seconds, changes no result.
        minutes: that the run shall take on this machine; epochs, crops and width are planned for it.
        search: so many settings are tried first, in short runs on a part of the training images.

    Raises:
        AlexNetError: the recipe or the data cannot be used.

    >>> import alexnet
    >>> alexnet.plan("digits", recipe="demo", epochs=2).lines()["training"].partition(" of 64")[0]
    '2 epochs of 18 steps'
    """
    rendezvous, folder = join_rendezvous(division), None if out is None else Path(out)
    if rendezvous is not None:
        check_out(folder)
    elif folder is not None:
        refuse_existing(folder)
    base = located(base_recipe(recipe, weights, tells=is_speaker(rendezvous)))
    spec, table = named_images(data, labels)
    given = given_fields(base, named_fields(base, changes, fields))
    fitting = Fitting(given, minutes, search, measures=rendezvous is None)
    chosen = located(with_fields(override(fitted(base, spec), changes), fields))
    started_from = chosen
    place = device_of_rank(choose_device(device), rendezvous)
    check_processes(place, division.nproc if starts_workers(division) else 1)
    check_scheme(chosen, division.scheme, world_size_of(rendezvous, division), exact=division.exact)
    excluded = () if exclude is None else read_exclusions(Path(exclude))
    tell = on_prepared if is_speaker(rendezvous) else None

    def prepare_images() -> tuple[Recipe, Prepared]:
        sized = fitting.before(started_from, spec, table)
        with progress_callback(progress) as told:
            return sized, open_images(
                spec,
                sized.prepare_size,
                whole=sized.prepare_whole,
                tell=tell,
                progress=told,
                excluded=excluded,
                exclusions=str(exclude),
                labels=table,
            )

    chosen, prepared = prepare_images() if rendezvous is None else rendezvous.first_on_each_machine(prepare_images)
    chosen = for_classes(chosen, len(prepared.class_names))
    with progress_callback(progress) as told:
        chosen = fitting.after(chosen, prepared, place, told)
    base = unchanged(base, started_from, chosen)
    check_recipe(chosen, prepared)
    schedule = Schedule(chosen, base, prepared, place)
    known: Cues | None = None
    missing = ""
    if cues and is_speaker(rendezvous):
        with progress_callback(progress) as told:
            known, missing = cues_of_prepared(prepared, spec, table, told)
    return TrainingPlan(
        spec,
        schedule,
        excluded,
        division,
        rendezvous,
        folder,
        labels=table,
        cues=known,
        cues_missing=missing,
        decided=fitting.lines(),
        searched=fitting.rows,
    )


@contextmanager
def resuming(
    run: Run | str | Path,
    *,
    device: str = "auto",
    division: Division = ALONE,
    allow_inexact: bool = False,
    progress: bool | ProgressCallback = False,
    on_prepared: OnPrepared | None = None,
) -> Iterator[TrainingPlan]:
    """The plan of a run that is to be resumed; within it a mistake ends all processes of the run with one message."""
    rendezvous = join_rendezvous(division)
    with final_errors(rendezvous):
        opened = run if isinstance(run, Run) else Run.open(run)
        place = device_of_rank(choose_device(device), rendezvous)
        check_processes(place, division.nproc if starts_workers(division) else 1)
        check_scheme(opened.recipe, division.scheme, world_size_of(rendezvous, division), exact=division.exact)
        tell = on_prepared if is_speaker(rendezvous) else None

        def find_images() -> Prepared:
            with progress_callback(progress) as told:
                return images_of_run(
                    opened.record, tell=tell, progress=told, unchanged=True, allow_changed=allow_inexact
                )

        prepared = find_images() if rendezvous is None else rendezvous.first_on_each_machine(find_images)
        schedule = Schedule(opened.recipe, opened.recipe, prepared, place)
        yield TrainingPlan(
            opened.record.data["source"], schedule, (), division, rendezvous, opened.folder, resumed=opened
        )


def base_recipe(recipe: str | Path | Recipe | None, weights: str | Path | None, *, tells: bool = True) -> Recipe:
    """Where the fields of a run start from, before the changes: the named recipe; by default photos, or finetune.

    Args:
        tells: whether to warn of what was assumed of a file of weights; of several processes one does.
    """
    if weights is None:
        return recipe if isinstance(recipe, Recipe) else recipe_of(recipe) if recipe else find_recipe("photos")
    if recipe is None:
        base, assumed = fine_tuning(str(weights))
    else:
        base = replace(recipe if isinstance(recipe, Recipe) else recipe_of(recipe), weights=str(weights))
        assumed = assumed_of(open_network(str(weights))[0]) if Path(weights).is_file() else {}
    if tells:
        warn_of_assumed(weights, assumed)
    return base

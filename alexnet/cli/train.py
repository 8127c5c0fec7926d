"""The verbs that train: train, resume, and verify what came of it."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from alexnet.distributed.rendezvous import (
    ALONE,
    Divided,
    Division,
    Rendezvous,
    check_out,
    device_of_rank,
    final_errors,
    is_speaker,
    join_rendezvous,
    joined_group,
    silent,
    started_by_alexnet,
    starts_workers,
    train_in_workers,
    world_size_of,
)

if TYPE_CHECKING:
    from alexnet.data.dataset import Prepared
    from alexnet.runs.run import RunFolder


MAY_CHANGE = ("processes",)  # condition of exactness that a job of torchrun may come back without

Changes = Annotated[str, Parameter(allow_leading_hyphen=True, show_default=False)]


def train(
    data: str,
    *changes: Changes,
    recipe: str | None = None,
    weights: str | None = None,
    out: Path | None = None,
    exclude: Path | None = None,
    device: str = "auto",
    save_seconds: float = 60.0,
    check: bool = False,
    dry_run: bool = False,
    division: Divided = ALONE,
) -> None:
    """Train a network on your pictures. Nothing but the path is needed.

    Every field of the recipe can be changed: field=value or --field value. alexnet recipes shows them all.

    For example:
      alexnet train photos/
      alexnet train photos/ epochs=20 --lr 0.005 model.dropout=0.3
      alexnet train photos/ --weights imagenet
      alexnet train photos/ --exclude doctor/photos/exclude.jsonl --class-weights balanced
      alexnet train /data/ILSVRC2012 --recipe alexnet-2012 --dry-run
      alexnet train photos/ --parallel hybrid --nproc 4
      torchrun --nproc-per-node=4 -m alexnet train photos/ --parallel data --out runs/photos
      alexnet train https://data.example.org/ilsvrc-prepared --recipe alexnet-2012

    Parameters
    ----------
    data
        As for alexnet prepare, or a folder that it made, or the address of one: https://HOST/FOLDER, s3://BUCKET/FOLDER.
    changes
        Fields of the recipe to change.
    recipe
        Where the fields start from; alexnet recipes lists them. By default photos, or finetune with --weights.
    weights
        Start from trained weights, with a new last layer: imagenet (torchvision's), a run folder, or a file that
        alexnet identify knows. Without --recipe the network is that of the weights.
    out
        The run folder; by default a new one in runs/.
    exclude
        Leave out the pictures that this file names; alexnet doctor writes one.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    save_seconds
        Between two checkpoints; the best network is always saved. Changes no result.
    check
        First say whether the network will train, as alexnet check does.
    dry_run
        Show the plan and an estimate from a few real steps, then stop; only the prepared pictures stay.
    """
    from alexnet.cli import tables, tables_networks
    from alexnet.cli.terminal import bars
    from alexnet.data.exclusions import read_exclusions
    from alexnet.data.open import fitted, open_images
    from alexnet.distributed.launch import check_scheme
    from alexnet.kernels.device import choose_device
    from alexnet.recipes.named import find_recipe
    from alexnet.recipes.recipe import for_classes, override
    from alexnet.runs.pretrained import fine_tuning
    from alexnet.runs.run import RunFolder, refuse_existing
    from alexnet.runs.start import new_run_folder, start_or_continue, start_run
    from alexnet.text import duration
    from alexnet.training.plan import check_run, rehearse, run_plan
    from alexnet.training.schedule import check_recipe

    rendezvous = join_rendezvous(division)
    if rendezvous is not None:
        check_out(out)
    elif out is not None and not dry_run:
        refuse_existing(out)
    if weights is not None and recipe is None:
        base = fine_tuning(weights)
    else:
        base = find_recipe(recipe or "photos")
        base = base if weights is None else replace(base, weights=weights)
    chosen = override(fitted(base, data), changes)
    place = device_of_rank(choose_device(device), rendezvous)
    check_scheme(chosen, division.scheme, world_size_of(rendezvous, division), exact=division.exact)
    excluded = () if exclude is None else read_exclusions(exclude)
    tell = tables.prepared if is_speaker(rendezvous) else silent

    def prepare_images() -> "Prepared":
        with bars() as progress:
            return open_images(
                data,
                chosen.prepare_size,
                tell=tell,
                progress=progress,
                excluded=excluded,
                exclusions=str(exclude),
            )

    prepared = prepare_images() if rendezvous is None else rendezvous.first_on_each_machine(prepare_images)
    chosen = for_classes(chosen, len(prepared.class_names))
    check_recipe(chosen, prepared)
    if is_speaker(rendezvous):
        tables.plan(run_plan(chosen, base, prepared, place))
        if check:
            tables_networks.check(check_run(chosen, prepared, place))
    if dry_run:
        took = duration(rehearse(chosen, prepared, place))
        tables.say(f"estimate   {took} of training by one process, from a few steps. Nothing was saved.")
        return
    if rendezvous is None:
        run = start_run(out or new_run_folder(data), chosen, data, prepared, excluded)
    elif is_speaker(rendezvous):
        run = start_or_continue(check_out(out), chosen, data, prepared, excluded)
    else:
        run = RunFolder(check_out(out), chosen, prepared.class_names, {})
    # torchrun may start this again with fewer machines, or more: to ask it for that is to allow it.
    _train(
        run, prepared, place, save_seconds, division, rendezvous, allow_inexact=() if rendezvous is None else MAY_CHANGE
    )


def resume(
    run: Path,
    *,
    device: str = "auto",
    save_seconds: float = 60.0,
    allow_inexact: bool = False,
    division: Divided = ALONE,
) -> None:
    """Go on with a run that was stopped or killed, as if it had not been: it ends with the same bytes.

    For example:
      alexnet resume runs/2026-11-24-1530-photos
      alexnet resume runs/2026-11-24-1530-photos --allow-inexact
      alexnet resume runs/2026-11-24-1530-photos --parallel data --nproc 4

    Parameters
    ----------
    run
        The run folder.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    save_seconds
        Between two checkpoints; the best network is always saved. Changes no result.
    allow_inexact
        Go on although versions, machine, threads or pictures are not those it was saved with; the run records it.
    """
    from alexnet.cli import tables
    from alexnet.cli.terminal import bars
    from alexnet.distributed.launch import check_scheme
    from alexnet.kernels.device import choose_device
    from alexnet.runs.run import open_run
    from alexnet.runs.start import images_of_run

    rendezvous = join_rendezvous(division)
    with final_errors(rendezvous):
        opened = open_run(run)
        place = device_of_rank(choose_device(device), rendezvous)
        check_scheme(opened.recipe, division.scheme, world_size_of(rendezvous, division), exact=division.exact)
        tell = tables.prepared if is_speaker(rendezvous) else silent

        def find_images_of_run() -> "Prepared":
            with bars() as progress:
                return images_of_run(opened, tell=tell, progress=progress, allow_changed=allow_inexact)

        prepared = find_images_of_run() if rendezvous is None else rendezvous.first_on_each_machine(find_images_of_run)
        _train(opened, prepared, place, save_seconds, division, rendezvous, allow_inexact=allow_inexact)


def verify(run: Path, *, replay: bool = False, device: str = "auto") -> None:
    """Read every file of a run, and the pictures it was trained on, and compare them with their checksums.

    For example:
      alexnet verify runs/photos
      alexnet verify runs/photos --replay

    Parameters
    ----------
    run
        The run folder.
    replay
        Also train the recipe for a few steps twice, once killed in the middle and resumed, and compare the bytes.
    device
        Where to replay: auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables
    from alexnet.cli.terminal import bars
    from alexnet.data import dataset
    from alexnet.errors import DivergedError, UntrustedFileError
    from alexnet.kernels.device import choose_device
    from alexnet.runs.checkpoint import damage_of
    from alexnet.runs.run import open_run
    from alexnet.runs.start import images_of_run
    from alexnet.training import replay as replaying

    opened = open_run(run)
    if wrong := damage_of(opened):
        raise UntrustedFileError(
            "\n".join(wrong),
            fix=f"alexnet resume {run} goes on from the newest checkpoint that is whole and repairs what it can.",
            code="E656",
        )
    print(f"{run}: every file is as it was written")
    if "imported" in opened.data:
        return
    with bars() as progress:
        prepared = images_of_run(opened, tell=tables.prepared, progress=progress)
        dataset.verify(prepared, progress)
    print(f"{prepared.location}: every picture is as it was prepared")
    if replay:
        found = replaying.replay(opened, prepared, choose_device(device))
        what = f"{found.steps} steps, and again with kill -9 at step {found.killed_at}, from {found.resumed_from} on"
        if found.different:
            raise DivergedError(
                f"not the same: {what}: {', '.join(found.different)} differ",
                fix="Please report it with environment.json.",
                code="E404",
            )
        print(f"{what}: the same bytes")


def _train(
    run: "RunFolder",
    prepared: "Prepared",
    device: Any,
    save_seconds: float,
    division: Division,
    rendezvous: Rendezvous | None,
    *,
    allow_inexact: bool | tuple[str, ...] = False,
) -> None:
    from contextlib import nullcontext

    from alexnet.cli import tables
    from alexnet.cli.terminal import TrainingMonitor, bars
    from alexnet.report.run_report import report_run
    from alexnet.training.loop import train as train_run
    from alexnet.training.monitor import SILENT, Interrupted

    if is_speaker(rendezvous) and not started_by_alexnet():
        print(f"run folder: {run.folder}   (Ctrl-C stops and saves)", flush=True)
    if starts_workers(division):
        options = ["--allow-inexact"] if allow_inexact is True else []
        sys.exit(train_in_workers(run.folder, division, str(device), save_seconds, *options))
    with joined_group(run, prepared, device, division, rendezvous) as (mine, group):
        try:
            with TrainingMonitor() if group.is_main else nullcontext(SILENT) as monitor:
                train_run(
                    mine,
                    prepared,
                    device=device,
                    monitor=monitor,
                    save_seconds=save_seconds,
                    allow_inexact=allow_inexact,
                    group=group,
                )
        except Interrupted as stopped:
            if group.is_main:
                told = f"stopped and saved at step {stopped.step}; go on with: alexnet resume {run.folder}"
                print(f"alexnet: {told}", file=sys.stderr)
            sys.exit(128 + stopped.signal_number)
    if group.is_main:
        with bars() as progress:
            evaluations, page = report_run(run, prepared, progress=progress)
        tables.results(run, evaluations, page)

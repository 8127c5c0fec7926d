"""The verbs that train: train, resume, and verify what came of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import alexnet
from alexnet.cli.options import ALONE, Changes, Device, Divided, Fast, Labels, RunPath
from alexnet.language.speak import said, tell

if TYPE_CHECKING:
    from alexnet.api.plan import TrainingPlan


def train(
    data: str,
    *changes: Changes,
    recipe: str | None = None,
    weights: str | None = None,
    out: Path | None = None,
    exclude: Path | None = None,
    labels: Labels = None,
    device: Device = "auto",
    save_seconds: float = 60.0,
    check: bool = False,
    dry_run: bool = False,
    fast: Fast = False,
    no_cues: bool = False,
    minutes: float | None = None,
    search: int = 0,
    division: Divided = ALONE,
) -> None:
    """Train a network on your images. Nothing but the path is needed.

    Every field of the recipe can be changed: field=value or --field value. alexnet recipes photos shows them all.

    For example:
      alexnet train photos/
      alexnet train photos/ --minutes 10
      alexnet train photos/ --minutes 30 --search 4
      alexnet train photos/ epochs=20 --lr 0.005 model.dropout=0.3
      alexnet train photos/ --weights imagenet
      alexnet train photos/ --exclude doctor/photos/exclude.jsonl class_weights=balanced
      alexnet train /data/ILSVRC2012 --recipe alexnet-2012 --dry-run
      alexnet train photos/ --parallel hybrid --nproc 4
      torchrun --nproc-per-node=4 -m alexnet train photos/ --parallel data --out runs/photos
      alexnet train https://data.example.org/ilsvrc-prepared --recipe alexnet-2012

    Parameters
    ----------
    data
        As for alexnet prepare, or a folder that it made, or the address of one: https://HOST/FOLDER, s3://BUCKET/FOLDER.
    recipe
        Where the fields start from; alexnet recipes lists them. By default photos, or finetune with --weights.
    weights
        Start from pretrained weights, with a new last layer: imagenet (torchvision's), a run folder, or a file that
        alexnet identify knows. Without --recipe the network is that of the weights.
    out
        The run folder; by default a new one in runs/. runs/last points to the newest.
    exclude
        Leave out the images that this file names; alexnet doctor writes one.
    save_seconds
        Between two checkpoints; the best network is always saved. Changes no result.
    check
        First say whether the network will train, as alexnet check does.
    dry_run
        Show the plan and an estimate from a few real steps, then stop; only the prepared images stay.
    no_cues
        Do not first measure, in seconds, what color and shape alone reach, and whether image size, file size,
        compression or borders give the classes away. It changes nothing in the training.
    minutes
        How long the run shall take: epochs, crop sizes and width of the network are planned for the speed of this
        machine. By default what suits the images, and no more than 15; for the recipe photos.
    search
        First try so many settings, 2 to 8, in short runs on a part of the training images; the validation images have
        no say. It takes half as long again, and the run keeps every trial in search.jsonl.
    """
    from alexnet.cli import tables, tables_networks, terminal
    from alexnet.text import duration

    plan = alexnet.plan(
        data,
        recipe=recipe,
        weights=weights,
        out=None if dry_run else out,
        exclude=exclude,
        labels=labels,
        device=device,
        division=division,
        progress=True,
        on_prepared=tables.prepared,
        changes=changes,
        cues=not no_cues,
        minutes=minutes,
        search=search,
    )
    if plan.speaks:
        tables.plan(plan.lines())
        if check:
            tables_networks.check(plan.check())
    if dry_run:
        took = duration(plan.estimate())
        terminal.say(f"estimate   {took} of training by one process, from a few steps. Nothing was saved.")
        return
    _train(plan, save_seconds, fast=fast)


def resume(
    run: RunPath,
    *,
    device: Device = "auto",
    save_seconds: float = 60.0,
    allow_inexact: bool = False,
    fast: Fast = False,
    division: Divided = ALONE,
) -> None:
    """Resume a run that was stopped or killed: it ends with the same bytes as one that was not.

    For example:
      alexnet resume runs/last
      alexnet resume runs/2026-11-24-1530-photos --allow-inexact
      alexnet resume runs/2026-11-24-1530-photos --parallel data --nproc 4

    Parameters
    ----------
    save_seconds
        Between two checkpoints; the best network is always saved. Changes no result.
    allow_inexact
        Resume although versions, machine, threads or images are not those it was saved with; the run records it.
    """
    from alexnet.api.plan import resuming
    from alexnet.cli import tables

    with resuming(
        run, device=device, division=division, allow_inexact=allow_inexact, progress=True, on_prepared=tables.prepared
    ) as plan:
        _train(plan, save_seconds, allow_inexact=allow_inexact, fast=fast)


def verify(run: RunPath, *, replay: bool = False, device: Device = "auto") -> None:
    """Read every file of a run, and the images it was trained on, and compare them with their checksums.

    For example:
      alexnet verify runs/last
      alexnet verify runs/photos --replay

    Parameters
    ----------
    replay
        Also train the recipe for a few steps twice, once killed in the middle and resumed, and compare the bytes.
    """
    from alexnet.cli import tables

    opened = alexnet.Run.open(run)
    result = opened.verify(replayed=replay, device=device, progress=True, on_prepared=tables.prepared)
    if "imported" in opened.record.data:
        tell(f"{opened.folder}: every file is as it was written")
    else:
        tell(f"{opened.folder}: every file is as it was written, and so are the images it was trained on")
    if result is not None:
        tell(
            f"{result.steps} steps, and again with kill -9 at step {result.killed_at}, resumed from "
            f"{result.resumed_from}: the same bytes"
        )


def _train(plan: "TrainingPlan", save_seconds: float, *, allow_inexact: bool = False, fast: bool = False) -> None:
    """Trains, says how to go on where it was stopped, and shows the results at the end."""
    from alexnet.cli import tables, terminal

    run = plan.start()
    if plan.announces:
        tell(f"run folder: {run.folder}   (Ctrl-C stops and saves)")
    try:
        plan.train(run, save_seconds=save_seconds, progress=True, allow_inexact=allow_inexact, fast=fast)
    except alexnet.Interrupted as stopped:
        if plan.speaks:
            told = f"stopped and saved at step {stopped.step}; resume it with: alexnet resume {run.folder}"
            tell(f"alexnet: {told}", stderr=True)
        sys.exit(128 + stopped.signal_number)
    except alexnet.WorkersEnded as ended:
        sys.exit(ended.exit_code)
    if plan.reports:
        with tables.trained(run.folder):
            evaluations, page = run.evaluate_and_report(
                progress=True, allow_changed=allow_inexact, device=plan.schedule.device
            )
        tables.results(run.folder, evaluations, page)
        for line in run.verdict_lines(evaluations):
            if line.startswith("try:"):
                step = line.removeprefix("try:").strip()
                print(f"{said('try:')}    {said(step)}")  # not wrapped: it is there to be copied
            else:
                terminal.explain(line)

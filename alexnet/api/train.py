"""Trains a network on images, and resumes a run that was stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet.api.dataset import Data
from alexnet.api.plan import OnPrepared, plan, resuming
from alexnet.api.run import Run
from alexnet.distributed.rendezvous import ALONE, Division, starts_workers
from alexnet.errors import UsageError
from alexnet.recipes.recipe import Recipe
from alexnet.training.loop import SAVE_SECONDS
from alexnet.training.monitor import Monitor


def train(
    data: str | Path | Data,
    *,
    recipe: str | Path | Recipe | None = None,
    weights: str | Path | None = None,
    out: str | Path | None = None,
    exclude: str | Path | None = None,
    labels: str | Path | None = None,
    device: str = "auto",
    save_seconds: float = SAVE_SECONDS,
    callbacks: Sequence[Monitor] = (),
    progress: bool = False,
    parallel: str | None = None,
    nproc: int = 1,
    exact: bool = False,
    fast: bool = False,
    cues: bool = True,
    minutes: float | None = None,
    search: int = 0,
    **fields: Any,
) -> Run:
    """Trains a network on images and gives the run.

    Args:
        data: a folder with a sub-folder per class, or with train/ and val/ that have them; a prepared folder or its
            address; digits, cifar10 and other named sets; or what `load_data` gave.
        recipe: where the fields start from: a name, a run folder or a record. By default photos, or finetune with
            `weights`.
        weights: start from pretrained weights, with a new last layer: "imagenet", a run folder, or a file.
        out: the run folder; by default a new one in runs/.
        exclude: a file that names images to leave out, as `examine` writes it.
        labels: a table of files and labels (filename,label), for images that do not lie in class folders.
        device: auto, cpu, cuda, mps, or a torch device such as cuda:1.
        save_seconds: between two checkpoints; the best network is always saved. Changes no result.
        callbacks: told every step, epoch and note, in this process only: not with `nproc`. See `alexnet.Monitor`, and
            `alexnet.TensorBoard` for one.
        progress: True shows bars and a line for every epoch.
        parallel: divide the work among processes: data, towers or hybrid.
        nproc: processes to start on this machine.
        exact: the same bits for 1, 2, 4 or 8 processes.
        fast: on a CUDA card use algorithms that may add in another order each time, so that a resumed run does not end
            with the same bytes.
        cues: first measure what simple cues know of the classes, as a baseline; takes seconds, changes no result.
        minutes: that the run shall take on this machine; by default what suits the images, 15 at most. Only for
            recipes that fit themselves to images and time, as photos does.
        search: so many settings, 2 to 8, are tried first, in short runs on a part of the training images.
        fields: of the recipe to change: epochs=20, dropout=0.3, `**{"model.norm": "none"}`.

    Raises:
        AlexNetError: the recipe or the data cannot be used, the disk is full, or numbers are not finite.
        Interrupted: Ctrl-C or SIGTERM; where it stands is saved, and `resume` goes on.

    >>> import alexnet, tempfile
    >>> folder = tempfile.mkdtemp() + "/run"
    >>> run = alexnet.train("digits", recipe="demo", out=folder, epochs=1, device="cpu", **{"model.width": 0.02})
    >>> [row["epoch"] for row in run.metrics]
    [1]
    """
    division = Division(parallel=parallel, nproc=nproc, exact=exact)  # type: ignore[arg-type]
    _refuse_callbacks(callbacks, division)
    planned = plan(
        data,
        recipe=recipe,
        weights=weights,
        out=out,
        exclude=exclude,
        labels=labels,
        device=device,
        division=division,
        progress=progress,
        cues=cues,
        minutes=minutes,
        search=search,
        **fields,
    )
    return planned.train(planned.start(), save_seconds=save_seconds, callbacks=callbacks, progress=progress, fast=fast)


def resume(
    run: Run | str | Path,
    *,
    device: str = "auto",
    save_seconds: float = SAVE_SECONDS,
    allow_inexact: bool = False,
    fast: bool = False,
    callbacks: Sequence[Monitor] = (),
    progress: bool = False,
    division: Division = ALONE,
    on_prepared: OnPrepared | None = None,
) -> Run:
    """Resumes a run that was stopped or killed; it ends with the bytes of one that was not.

    Args:
        run: the run, or its folder.
        allow_inexact: resume although versions, machine, threads or images differ; the run records it.

    Raises:
        UsageError: something differs from when it was stopped.
        AlexNetError, Interrupted: as for `train`.

    >>> import alexnet
    >>> alexnet.resume("runs/last").metrics[-1]["epoch"]
    2
    """
    _refuse_callbacks(callbacks, division)
    with resuming(
        run, device=device, division=division, allow_inexact=allow_inexact, progress=progress, on_prepared=on_prepared
    ) as planned:
        return planned.train(
            planned.start(),
            save_seconds=save_seconds,
            callbacks=callbacks,
            progress=progress,
            allow_inexact=allow_inexact,
            fast=fast,
        )


def _refuse_callbacks(callbacks: Sequence[Monitor], division: Division) -> None:
    """Refuses callbacks of a run that other processes train, which would never be told."""
    if callbacks and starts_workers(division):
        raise UsageError(
            f"callbacks are told nothing of a run that {division.nproc} other processes train",
            fix="Leave them out and read run.metrics, or call alexnet.train in each process, started by torchrun.",
            code="E2142",
        )

"""Many runs, each once: from what is to be tried to rows of a results file, stopped and gone on with at any moment.

Runs with the same seed are paired: the order of the pictures, their crops and mirrors and the masks of dropout are
functions of (seed, epoch, sample) or (seed, step) and so the same in all of them; start values are the same as far as
`start_values` in the rows says.
"""

import hashlib
import multiprocessing
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from alexnet.data.dataset import SPLITS, Prepared
from alexnet.data.loader import steps_per_epoch
from alexnet.data.open import fitted, open_images
from alexnet.errors import DivergedError, UsageError
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments import results
from alexnet.models.build import build_model
from alexnet.models.summary import summarise
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe, for_classes, override
from alexnet.runs.checkpoint import load_model
from alexnet.runs.environment import commit, environment
from alexnet.runs.metrics import epochs_of, read_metrics
from alexnet.runs.run import RunFolder, open_run
from alexnet.runs.start import start_run
from alexnet.storage.jsonl import append
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from alexnet.training.plan import rehearse
from alexnet.training.schedule import check_recipe

CURVE = ("epoch", "lr", "train_loss", "train_top1_error", "val_loss", "val_top1_error", "val_top5_error")
BACKWARD = 3  # a training step of a picture costs about three times what looking at it does


@dataclass(frozen=True)
class Job:
    """One run that is wanted."""

    data: str  # as for `alexnet train`
    base: str  # the name of a recipe
    variant: str  # what it is called in tables
    changes: tuple[str, ...]  # of the base, as typed; the seed apart
    seed: int
    study: str = ""
    until: float | None = None  # stop at the end of the epoch whose training error is no higher, in [0, 1]
    views: tuple[int, ...] = (1, 10)  # to look at held-out pictures with; 10 only where the recipe mirrors
    keep: bool = True  # whether the run folder stays


def planned(job: Job) -> tuple[Recipe, Prepared]:
    """The recipe of a run and its pictures, prepared now if they never were.

    Raises:
        UsageError: an override that the base does not take, or a network that the pictures do not fit.
    """
    recipe = override(fitted(find_recipe(job.base), job.data), [*job.changes, f"seed={job.seed}"])
    prepared = _images(job.data, recipe.prepare_size)
    recipe = for_classes(recipe, len(prepared.class_names))
    check_recipe(recipe, prepared)
    return recipe, prepared


@lru_cache(maxsize=8)
def _images(data: str, size: int) -> Prepared:
    """Looks through a folder once, not once a run."""
    return open_images(data, size)


def key(job: Job) -> str:
    """What `results.row_key` gives for the finished run."""
    recipe, prepared = planned(job)
    return results.key_of(recipe, prepared.fingerprint, job.until)


def waiting(jobs: Iterable[Job], file: Path) -> list[Job]:
    """Those whose row is not in the results file yet; of jobs that are the same run, the first.

    All pictures are prepared when it returns.
    """
    done = {results.row_key(row) for row in results.read(file)}
    wanted = {key(job): job for job in reversed(list(jobs))}
    return [job for name, job in reversed(wanted.items()) if name not in done]


def estimate(jobs: Sequence[Job], device: torch.device) -> float:
    """Seconds that the runs would take one after the other: a few real steps of each variant, and looking at pictures.

    A look at a picture counts as a third of a training step with it. Runs that may stop early count in full.
    """
    seconds: dict[tuple[str, str, tuple[str, ...]], float] = {}
    for job in jobs:
        kind = (job.data, job.base, job.changes)
        if kind not in seconds:
            recipe, prepared = planned(job)
            count = {name: len(split) for name, split in prepared.splits.items()}
            held_out = sum(count.values()) - count["train"]
            looks = recipe.epochs // recipe.evaluate_every * count.get("val", 0)
            looks += count["train"] + held_out * sum(views_of(job, recipe))
            steps = rehearse(recipe, prepared, device)
            seconds[kind] = steps * (1 + looks / (BACKWARD * recipe.epochs * count["train"]))
    return sum(seconds[job.data, job.base, job.changes] for job in jobs)


def views_of(job: Job, recipe: Recipe) -> tuple[int, ...]:
    """Views to test with: ten only where the network saw mirror images too."""
    return tuple(v for v in job.views if v == 1 or recipe.augment.flip)


def run_jobs(
    jobs: Sequence[Job],
    file: Path,
    runs: Path,
    *,
    processes: int = 1,
    device: torch.device | None = None,
    tell: Callable[[dict[str, Any], int], None] = lambda row, left: None,
) -> bool:
    """Does the runs and appends a row for each as it ends.

    Args:
        runs: where the run folders go; what an interruption left there is gone on with.
        processes: runs at the same time, each with one thread if there are several.
        tell: given every new row and how many runs are left.

    Returns:
        False if Ctrl-C or SIGTERM stopped it; what was done is saved.
    """
    place = device or torch.device("cpu")
    if processes < 1:
        raise UsageError(
            f"--jobs {processes}: at least one run at a time", fix="Leave it out, or --jobs 2.", code="E298"
        )
    if processes == 1:
        for done, job in enumerate(jobs, 1):
            row = run_job(job, runs, place)
            if row is None:
                return False
            append(file, row)
            tell(row, len(jobs) - done)
        return True
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited; two processes with all threads each slow one another tenfold
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(run_job, job, runs, place) for job in jobs]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                row = future.result()
                if row is None:
                    pool.shutdown(cancel_futures=True)
                    return False
                append(file, row)
                tell(row, len(jobs) - done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return True


def run_job(job: Job, runs: Path, device: torch.device) -> dict[str, Any] | None:
    """Trains one run, or goes on with it, and measures the network as it is at the end; None if it was stopped.

    The last network counts, not the best on the held-out pictures: nothing is chosen on what is reported.
    """
    recipe, prepared = planned(job)
    run = _opened(job, recipe, prepared, runs)
    began, outcome = time.process_time(), "finished"
    try:
        if job.until is None:
            train(run, prepared, device=device)
        else:
            train_until(run, prepared, device, job.until)
    except Interrupted:
        return None
    except DivergedError:
        outcome = "diverged"
    row = _row(job, run, prepared, device, outcome)
    row["processor_seconds"] = round(time.process_time() - began, 1)  # of this process only, after a resumption
    if not job.keep:
        shutil.rmtree(run.folder)
    return row


def train_until(run: RunFolder, prepared: Prepared, device: torch.device, error: float) -> None:
    """Trains to the end of the first epoch whose running training error is at most `error`, or of the recipe.

    Raises:
        Interrupted: stopped by a signal.
    """
    per_epoch = steps_per_epoch(len(prepared.splits["train"]), run.recipe)
    steps = 1  # a first step tells where an interrupted run stands
    while not any(row["train_top1_error"] <= error for row in epochs_of(run)):
        try:
            train(run, prepared, device=device, max_steps=steps)
            return
        except Interrupted as stopped:
            if steps > 1 and stopped.step % per_epoch:
                raise  # not by us: we ask for whole epochs
            steps = per_epoch - stopped.step % per_epoch


def run_folder(job: Job, runs: Path) -> Path:
    """Where a run of `run_job` is, or will be."""
    name = re.sub(r"[^\w.=-]+", "-", job.variant).strip("-.")[:60]
    return runs / f"{name}-seed{job.seed}-{key(job)[:8]}"


def _opened(job: Job, recipe: Recipe, prepared: Prepared, runs: Path) -> RunFolder:
    """The folder of a run, made if it is not there."""
    folder = run_folder(job, runs)
    if (folder / "recipe.json").is_file():
        return open_run(folder)
    shutil.rmtree(folder, ignore_errors=True)  # a crash before the run began
    return start_run(folder, recipe, job.data, prepared)


def _row(job: Job, run: RunFolder, prepared: Prepared, device: torch.device, outcome: str) -> dict[str, Any]:
    epochs = epochs_of(run)
    counted = summarise(build_model(run.recipe.model))
    machine = environment()
    return {
        "study": job.study,
        "base": job.base,
        "variant": job.variant,
        "changes": list(job.changes),
        "seed": job.seed,
        "command": results.command(job.base, job.changes, job.seed),
        "settings": results.settings(run.recipe),
        "recipe_sha256": results.recipe_sha256(run.recipe),
        "until_train_error": job.until,
        "data": {
            "name": prepared.source,
            "fingerprint": prepared.fingerprint,
            "classes": len(prepared.class_names),
            "size": prepared.size,
            "pictures": {name: len(split) for name, split in prepared.splits.items()},
        },
        "outcome": outcome,
        "results": {} if outcome == "diverged" else _measured(job, run, prepared, device),
        "curve": [{name: _rounded(row[name]) for name in CURVE if name in row} for row in epochs],
        "seconds": round(epochs[-1]["seconds"], 1) if epochs else None,
        "parameters": counted.parameters,
        "multiply_adds": counted.multiply_adds,
        "start_values": initial_weight_hashes(run.recipe),
        "notes": [row["text"] for row in read_metrics(run) if row.get("kind") == "note"],
        "environment": {name: value for name, value in machine.items() if name != "command"},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _measured(
    job: Job, run: RunFolder, prepared: Prepared, device: torch.device
) -> dict[str, dict[str, dict[str, Any]]]:
    """split -> views -> errors in [0, 1] and log-loss; training pictures with one view, without augmentation."""
    model = load_model(run, "last").to(device)
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for split in (name for name in SPLITS if name in prepared.splits):
        for views in views_of(job, run.recipe) if split != "train" else (1,):
            precision = run.recipe.precision
            found = evaluate(
                model, prepared, split, class_names=run.class_names, views=views, precision=precision
            ).summary()
            figures = {name: _rounded(found[name]) for name in ("top1_error", "top5_error", "log_loss")}
            out.setdefault(split, {})[str(views)] = figures
    return out


def initial_weight_hashes(recipe: Recipe) -> dict[str, str]:
    """For every learned tensor the beginning of the sha256 of its start values: equal where runs start alike."""
    model = build_model(recipe.model, seed=recipe.seed)
    return {
        name.removeprefix("layers."): hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()[:12]
        for name, value in model.named_parameters()
    }


def _rounded(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value

"""Executes many runs, each once, and appends a row per run to a results file; can be stopped and resumed at any time.

Runs with the same seed are paired. The order of the images, their crops and flips and the dropout masks are functions
of (seed, epoch, sample) or (seed, step), so they are the same in all of these runs. Initial weights are the same as far
as `start_values` in the rows shows.
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
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import torch

from alexnet.data.dataset import SPLITS, Prepared
from alexnet.data.loader import steps_per_epoch
from alexnet.data.open import fitted, open_images
from alexnet.errors import DivergedError, UsageError
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments import answers, results
from alexnet.models.build import build_model
from alexnet.models.summary import summarize
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe, for_classes, override
from alexnet.runs.checkpoint import load_model
from alexnet.runs.environment import card_name, commit, environment
from alexnet.runs.metrics import epochs_of, read_metrics
from alexnet.runs.run import RunFolder, open_run
from alexnet.runs.start import start_run
from alexnet.storage.files import append
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from alexnet.training.plan import Plan
from alexnet.training.schedule import check_recipe

CURVE = ("epoch", "lr", "train_loss", "train_top1_error", "val_loss", "val_top1_error", "val_top5_error")
CPU = torch.device("cpu")
BACKWARD = 3  # training on an image costs about three times as much as evaluating it


@dataclass(frozen=True)
class Job:
    """One run to be done."""

    data: str  # as for `alexnet train`
    base: str  # the name of a recipe
    variant: str  # its name in tables
    changes: tuple[str, ...]  # overrides of the base, as typed, without the seed
    seed: int
    study: str = ""
    until: float | None = None  # stop after the first epoch with at most this training error, in [0, 1]
    views: tuple[int, ...] = (1, 10)  # for evaluating held-out images; 10 only if the recipe flips images
    keep: bool = True  # whether to keep the run folder
    labels: Path | None = None  # a table of files and labels, for images that do not lie in class folders


def planned(job: Job) -> tuple[Recipe, Prepared]:
    """Returns the recipe and the dataset of a run; prepares the dataset if that was not done before.

    Raises:
        UsageError: the base does not accept an override, or the images do not fit the network.
    """
    recipe = override(fitted(find_recipe(job.base), job.data), [*job.changes, f"seed={job.seed}"])
    prepared = _dataset(job.data, recipe.prepare_size, job.labels)
    recipe = for_classes(recipe, len(prepared.class_names))
    check_recipe(recipe, prepared)
    return recipe, prepared


@lru_cache(maxsize=8)
def _dataset(data: str, size: int, labels: Path | None) -> Prepared:
    """Opens a dataset once, not once per run."""
    return open_images(data, size, labels=labels)


def key(job: Job, device: torch.device = CPU) -> str:
    """Returns what `results.row_key` will return for the finished run."""
    recipe, prepared = planned(job)
    return results.key_of(recipe, prepared.fingerprint, job.until, (device.type, card_name(device)))


def waiting(jobs: Iterable[Job], file: Path, device: torch.device = CPU) -> list[Job]:
    """Returns the jobs without a row in the results file; of jobs that are the same run, only the first.

    All datasets are prepared when this returns.
    """
    done = {results.row_key(row) for row in results.read(file)}
    by_key = {key(job, device): job for job in reversed(list(jobs))}
    return [job for job_key, job in reversed(by_key.items()) if job_key not in done]


def estimate(jobs: Sequence[Job], device: torch.device) -> float:
    """Estimates the seconds of the runs, one after the other, from a few real training steps of each variant.

    Evaluating an image counts as a third of training on it. Runs that may stop early count in full.
    """
    seconds: dict[tuple[str, str, tuple[str, ...]], float] = {}
    for job in jobs:
        variant = (job.data, job.base, job.changes)
        if variant not in seconds:
            recipe, prepared = planned(job)
            count = {name: len(split) for name, split in prepared.splits.items()}
            held_out = sum(count.values()) - count["train"]
            evaluations = recipe.epochs // recipe.evaluate_every * count.get("val", 0)
            evaluations += count["train"] + held_out * sum(views_of(job, recipe))
            steps = Plan(recipe, recipe, prepared, device).estimate()
            seconds[variant] = steps * (1 + evaluations / (BACKWARD * recipe.epochs * count["train"]))
    return sum(seconds[job.data, job.base, job.changes] for job in jobs)


def views_of(job: Job, recipe: Recipe) -> tuple[int, ...]:
    """Returns the numbers of views to evaluate with: ten only if the network was trained on flipped images."""
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
    """Executes the runs and appends a row for each when it ends.

    Args:
        runs: the folder of the run folders; interrupted runs in it are resumed.
        processes: number of runs at the same time; with more than one, each uses one thread.
        tell: called with every new row and the number of runs left.

    Returns:
        False if Ctrl-C or SIGTERM stopped it; finished work is saved.
    """
    chosen_device = device or CPU
    if processes < 1:
        raise UsageError(
            f"--jobs {processes}: at least one run at a time", fix="Leave it out, or use --jobs 2.", code="E298"
        )
    if processes == 1:
        for done, job in enumerate(jobs, 1):
            row = run_job(job, runs, chosen_device)
            if row is None:
                return False
            append(file, row)
            tell(row, len(jobs) - done)
        return True
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited; processes that all use every core slow each other down very much
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker, initargs=(stop,)) as pool:
        futures = [pool.submit(_work, job, runs, chosen_device) for job in jobs]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                row = future.result()
                if row is None:
                    stop.set()
                    pool.shutdown(cancel_futures=True)
                    return False
                append(file, row)
                tell(row, len(jobs) - done)
        except BaseException:
            stop.set()
            for child in multiprocessing.active_children():
                child.terminate()  # it saves its run; a signal that only this process got would leave it training
            pool.shutdown(cancel_futures=True)
            raise
    return True


_stop: Event | None = None  # in a worker: whether it may begin no further run


def _start_worker(stop: Event) -> None:
    global _stop
    torch.set_num_threads(1)
    _stop = stop


def _work(job: Job, runs: Path, device: torch.device) -> dict[str, Any] | None:
    """Does a run, unless all are being stopped: a pool does not cancel what it handed to a worker already."""
    assert _stop is not None
    return None if _stop.is_set() else run_job(job, runs, device)


def run_job(job: Job, runs: Path, device: torch.device) -> dict[str, Any] | None:
    """Trains or resumes one run and evaluates its last network; returns None if it was stopped.

    The last network counts, not the one with the best validation error, because the reported split must not be used
    to choose a checkpoint.
    """
    recipe, prepared = planned(job)
    run = _opened(job, recipe, prepared, runs, device)
    started, outcome = time.process_time(), "finished"
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
    row["processor_seconds"] = round(time.process_time() - started, 1)  # of this process only, if the run was resumed
    if not job.keep:
        shutil.rmtree(run.folder)
    return row


def train_until(run: RunFolder, prepared: Prepared, device: torch.device, error: float) -> None:
    """Trains to the end of the first epoch with a running training error of at most `error`, or of the recipe.

    Raises:
        Interrupted: a signal stopped it.
    """
    per_epoch = steps_per_epoch(len(prepared.splits["train"]), run.recipe)
    steps = 1  # the first step shows the position of an interrupted run
    while not any(row["train_top1_error"] <= error for row in epochs_of(run)):
        try:
            train(run, prepared, device=device, max_steps=steps)
            return
        except Interrupted as stopped:
            if steps > 1 and stopped.step % per_epoch:
                raise  # a signal stopped it: this function asks only for full epochs
            steps = per_epoch - stopped.step % per_epoch


def run_folder(job: Job, runs: Path, device: torch.device = CPU) -> Path:
    """Returns the path of the run folder that `run_job` uses."""
    name = re.sub(r"[^\w.=-]+", "-", job.variant).strip("-.")[:60]
    return runs / f"{name}-seed{job.seed}-{key(job, device)[:8]}"


def _opened(job: Job, recipe: Recipe, prepared: Prepared, runs: Path, device: torch.device = CPU) -> RunFolder:
    """Opens the run folder, or creates it if it does not exist."""
    folder = run_folder(job, runs, device)
    if (folder / "recipe.json").is_file():
        return open_run(folder)
    shutil.rmtree(folder, ignore_errors=True)  # left by a crash before the run was created
    return start_run(folder, recipe, job.data, prepared, labels=job.labels, device=device)


def _row(job: Job, run: RunFolder, prepared: Prepared, device: torch.device, outcome: str) -> dict[str, Any]:
    epochs = epochs_of(run)
    network_summary = summarize(build_model(run.recipe.model))
    facts = environment(device, run.recipe.precision)
    return {
        "study": job.study,
        "base": job.base,
        "variant": job.variant,
        "changes": list(job.changes),
        "seed": job.seed,
        "command": results.command(job.base, job.changes, job.seed, job.labels),
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
        "parameters": network_summary.parameters,
        "multiply_adds": network_summary.multiply_adds,
        "start_values": initial_weight_hashes(run.recipe),
        "notes": [row["text"] for row in read_metrics(run) if row.get("kind") == "note"],
        "environment": {name: value for name, value in facts.items() if name != "command"},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _measured(
    job: Job, run: RunFolder, prepared: Prepared, device: torch.device
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns split -> views -> errors in [0, 1], log loss, and which held-out images were wrong.

    Training images use one view, without augmentation.
    """
    model = load_model(run, "last").place(device)
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for split in (name for name in SPLITS if name in prepared.splits):
        for views in views_of(job, run.recipe) if split != "train" else (1,):
            precision = run.recipe.precision
            evaluation = evaluate(model, prepared, split, class_names=run.class_names, views=views, precision=precision)
            summary = evaluation.summary()
            values = {name: _rounded(summary[name]) for name in ("top1_error", "top5_error", "log_loss")}
            if split != "train":
                values[answers.WRONG] = answers.pack(answers.wrong_images(evaluation))
            out.setdefault(split, {})[str(views)] = values
    return out


def initial_weight_hashes(recipe: Recipe) -> dict[str, str]:
    """Returns the start of the sha256 of the initial weights of every parameter tensor; equal weights, equal hashes."""
    model = build_model(recipe.model, seed=recipe.seed)
    return {
        name.removeprefix("layers."): hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()[:12]
        for name, value in model.named_parameters()
    }


def _rounded(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value

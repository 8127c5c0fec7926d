"""One run of an experiment: what it is, whether it has a row already, and doing it, which ends with its row.

Runs with the same seed share draws. The order of the images, their crops and flips and the dropout masks are functions
of (seed, epoch, sample) or (seed, step), so they are the same in all of these runs. Initial weights are the same as far
as `start_values` in the rows shows.
"""

import hashlib
import re
import shutil
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch

from alexnet.data.dataset import SPLITS, Prepared
from alexnet.data.loader import steps_per_epoch
from alexnet.data.open import fitted, open_images
from alexnet.errors import DivergedError
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments import answers, results
from alexnet.models.build import build_model
from alexnet.models.summary import summarize
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe, for_classes, override
from alexnet.runs.checkpoint import load_checkpoint, load_model
from alexnet.runs.environment import card_name, commit, environment
from alexnet.runs.metrics import epochs_of, read_metrics
from alexnet.runs.run import RunFolder, open_run
from alexnet.runs.start import start_run
from alexnet.training.loop import training
from alexnet.training.monitor import Interrupted, Requests, stop_signals
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
    recipe = override(fitted(find_recipe(job.base), job.data), [*as_it_is(job), *job.changes, f"seed={job.seed}"])
    prepared = _dataset(job.data, recipe.prepare_size, recipe.prepare_whole, job.labels)
    recipe = for_classes(recipe, len(prepared.class_names))
    check_recipe(recipe, prepared)
    return recipe, prepared


def as_it_is(job: Job) -> tuple[str, ...]:
    """The changes that keep a base which would fit itself to the images from doing so, and its answers its own.

    Runs that are compared must differ in what is said of them and in nothing else.
    """
    return ("fit=none", "cues=none") if find_recipe(job.base).fit != "none" else ()


@lru_cache(maxsize=8)
def _dataset(data: str, size: int, whole: bool, labels: Path | None) -> Prepared:
    """Opens a dataset once, not once per run."""
    return open_images(data, size, whole=whole, labels=labels)


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


def run_job(job: Job, runs: Path, device: torch.device) -> dict[str, Any] | None:
    """Trains or resumes one run and evaluates its last network; returns its row, or None if a signal stopped it.

    The last network counts, not the one with the best validation error, because the reported split must not be used
    to choose a checkpoint.
    """
    threads = torch.get_num_threads()
    try:
        with stop_signals() as requests:
            steps = job_steps(job, runs, device, requests, threads)
            while True:
                try:
                    next(steps)
                except StopIteration as ended:
                    return cast("dict[str, Any] | None", ended.value)
    finally:
        torch.set_num_threads(threads)


def job_steps(
    job: Job, runs: Path, device: torch.device, requests: Requests, threads: int
) -> Generator[None, None, dict[str, Any] | None]:
    """Does a run as `run_job` does, and pauses within each step of training, so that several can go in turns.

    Args:
        requests: asks the run to save and stop.
        threads: of a run that begins; one that was begun goes on with as many as then, else it would not be exact.
    """
    recipe, prepared = planned(job)
    run = _opened(job, recipe, prepared, runs, device)
    torch.set_num_threads(_threads_of(run) or threads)
    seconds, started = 0.0, time.process_time()
    train = _train_until(run, prepared, device, job.until, requests)
    outcome = "finished"
    try:
        for _ in train:
            seconds += time.process_time() - started
            yield
            started = time.process_time()
    except Interrupted:
        return None
    except DivergedError:
        outcome = "diverged"
    row = _row(job, run, prepared, device, outcome)
    # Of this process only, if the run was resumed.
    row["processor_seconds"] = round(seconds + time.process_time() - started, 1)
    if not job.keep:
        shutil.rmtree(run.folder)
    return row


def _threads_of(run: RunFolder) -> int | None:
    """With how many threads a run was trained so far."""
    stored = load_checkpoint(run)
    threads = None if stored is None else stored.conditions.get("threads")
    return None if threads is None else int(threads)


def _train_until(
    run: RunFolder, prepared: Prepared, device: torch.device, error: float | None, requests: Requests
) -> Generator[None, None, None]:
    """Trains to the end of the recipe, or of the first epoch with a running training error of at most `error`.

    Raises:
        Interrupted: it was asked to stop.
    """
    if error is None:
        yield from training(run, prepared, device=device, requests=requests)
        return
    per_epoch = steps_per_epoch(len(prepared.splits["train"]), run.recipe)
    steps = 1  # the first step shows the position of an interrupted run
    while not any(row["train_top1_error"] <= error for row in epochs_of(run)):
        try:
            yield from training(run, prepared, device=device, requests=requests, max_steps=steps)
            return
        except Interrupted as stopped:
            if requests.stop is not None:
                raise
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
        "command": results.command(job.base, (*as_it_is(job), *job.changes), job.seed, job.labels),
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

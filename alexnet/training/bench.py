"""Speed of each part of training on this machine, which part limits, and how long a recipe would take.

Each part is timed alone, through the functions that training itself calls: a warm-up call, then the median of repeated
calls. The estimate of a run adds the parts, as if training ran them one after the other.
"""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.data.dataset import Prepared, Split, validation_split
from alexnet.data.device_images import described
from alexnet.data.images import prepare_image
from alexnet.data.loader import epoch_order
from alexnet.data.samples import Samples
from alexnet.data.shards import Shard
from alexnet.errors import DivergedError
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.kernels.device import finish
from alexnet.recipes.recipe import Recipe
from alexnet.runs.run import RunFolder
from alexnet.training.optim import set_learning_rates
from alexnet.training.schedule import crop_size_at
from alexnet.training.step import RunawayLoss, train_step
from alexnet.training.trainer import Trainer

MIN_CALLS = 3  # however long they take
DATA_PARTS = ("reading", "decoding", "augmentation")  # parts that bring images to the model, in every step


@dataclass(frozen=True)
class Rates:
    """Images per second of each part, and what follows from them."""

    parts: dict[str, float]  # "preparing" (once), "reading", "decoding", "augmentation", "model", "evaluation"
    limit: str  # which part limits training, in words
    training_seconds: float  # of the whole recipe, evaluations included
    batch_size: int
    device: str
    images: str | None = None  # where they are, if batches are made on the device


def repeated(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds of a call, repeated for about `seconds` after one call as warm-up."""
    call()
    times: list[float] = []
    while len(times) < MIN_CALLS or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def verdict(parts: dict[str, float], *, once: bool = False) -> str:
    """Which part limits training, in words, from images per second.

    The speed of the data is that of reading, decoding and augmentation one after the other.

    Args:
        once: whether images are read only once in a run, and then stay on the device.
    """
    each = ("augmentation",) if once else DATA_PARTS
    seconds = {name: 1.0 / parts[name] for name in each if name in parts}
    ratio = 1.0 / sum(seconds.values()) / parts["model"]
    if ratio >= 1.0:
        return f"model-bound: data could feed {times(ratio)} more"
    slowest = max(seconds, key=seconds.__getitem__)
    return f"data-bound: the model could take {times(1.0 / ratio)} more; the slowest part is {slowest}"


def times(ratio: float) -> str:
    """A ratio with two significant digits: 1.3x, 23x, 230x."""
    return f"{ratio:.1f}x" if ratio < 10 else f"{float(f'{ratio:.2g}'):,.0f}x"


def measure(
    recipe: Recipe, prepared: Prepared, device: torch.device, originals: Samples | None = None, seconds: float = 20.0
) -> Rates:
    """Times every part of a recipe.

    Args:
        originals: the files from which the images were prepared, if they are available.
        seconds: for all parts together, roughly; slow machines take longer.
    """
    trainer = Trainer(RunFolder(Path(), recipe, prepared.class_names, {}), prepared, device)
    train, planned = prepared.splits["train"], trainer.loader.epoch(1)
    share = seconds / 10
    parts: dict[str, float] = {}
    if originals is not None and originals.root is not None:
        parts["preparing"] = preparing_rate(originals, prepared.size, share, whole=prepared.whole)
    parts |= reading_rates(train, planned, share)
    parts["augmentation"] = augmentation_rate(trainer, planned[0], share)
    model, step_total = step_seconds(trainer, planned, 5 * share)
    parts["model"] = model
    parts["evaluation"] = evaluation_rate(trainer, share)
    return Rates(
        parts=parts,
        limit=verdict(parts, once=getattr(trainer.loader, "placement", None) == "memory"),
        training_seconds=step_total * trainer.clock.steps + evaluating_seconds(recipe, prepared, parts["evaluation"]),
        batch_size=len(planned[0]),
        device=str(device),
        images=described(train, len(planned[0]), device),
    )


def preparing_rate(originals: Samples, size: int, seconds: float, *, whole: bool = False) -> float:
    """Files per second that are decoded and resized, whole or cut, with as many threads as `prepare` uses."""
    threads = os.cpu_count() or 1
    indices = epoch_order(len(originals), 0, 0)[: 16 * threads]

    def prepare_one(index: int) -> bool:
        try:
            prepare_image(originals.image(index), size, whole=whole)
        except Exception:  # `prepare` reports damaged files; here only the time counts
            return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        return len(indices) / repeated(lambda: list(pool.map(prepare_one, indices.tolist())), seconds)


def reading_rates(split: Split, planned: list[Any], seconds: float) -> dict[str, float]:
    """Images per second from the disk, or from the file cache of the operating system.

    For raw pixels there is only "reading". For JPEG files "reading" reads their bytes, and "decoding" is the additional
    time to decode them into pixels.
    """
    next_batch = _cycle(planned)
    count = len(planned[0])
    total = repeated(lambda: split.read(next_batch()), seconds)
    if all(shard.offsets is None for shard in split.shards):
        return {"reading": count / total}
    reading = repeated(lambda: _read_bytes(split, next_batch()), seconds)
    return {"reading": count / reading, "decoding": count / max(total - reading, 1e-9)}


def _read_bytes(split: Split, indices: Any) -> int:
    """Reads every byte of JPEG images without decoding them; returns how many."""
    total = 0
    for shard, _, positions in split.places(indices):
        assert shard.offsets is not None
        data = np.memmap(shard.path, np.uint8, "r")
        total += sum(len(data[shard.offsets[i] : shard.offsets[i + 1]].tobytes()) for i in positions)
    return total


def augmentation_rate(trainer: Trainer, samples: Any, seconds: float) -> float:
    """Images per second that are turned from prepared images in memory into model input, on its device."""
    recipe, split = trainer.run.recipe, trainer.prepared.splits["train"]
    labels = split.labels[samples]
    shard = Shard(Path(), "", (), labels, split.read(samples), None)
    loader = replace(trainer.loader, split=replace(split, labels=labels, shards=(shard,), bring=None))
    size, count = crop_size_at(recipe, 1.0), len(samples)

    def augment() -> None:
        images, _ = loader.batch(np.arange(count), epoch=1, step=0, size=size)
        trainer.on_device(images)
        finish(trainer.device)

    return count / repeated(augment, seconds)


def step_seconds(trainer: Trainer, planned: list[Any], seconds: float) -> tuple[float, float]:
    """Times forward, backward and update at every crop size of the recipe, weighted by how long each size lasts.

    Returns:
        Images per second of the model alone, and seconds of a complete step with reading and augmentation.
    """
    model, complete = 0.0, 0.0
    periods = crop_periods(trainer.run.recipe)
    for start, share in periods:
        fetching, stepping = _time_one_size(trainer, planned, start, seconds / len(periods))
        model += share * stepping
        complete += share * (fetching + stepping)
    return len(planned[0]) / model, complete


def _time_one_size(trainer: Trainer, planned: list[Any], progress: float, seconds: float) -> tuple[float, float]:
    """Seconds to make a batch, and seconds of the step on it, at this progress of a run."""
    recipe = trainer.run.recipe
    # At progress 0 the learning rate may be 0, and then no weight would be updated.
    lr = set_learning_rates(trainer.optimizer, recipe.optim, 1, max(progress, 0.1))
    at = replace(trainer.clock.at(0), progress=progress)
    images, targets = trainer.batch(planned[0], at)
    trainer.model.train()

    def step() -> None:
        trainer.model.seed_dropout(recipe.seed, 0)
        if trainer.late is not None:
            trainer.late.take(images, targets)
            finish(trainer.device)
            return
        train_step(trainer.model, trainer.optimizer, images, targets, recipe, trainer.class_weights)
        if trainer.average is not None:
            trainer.average.update_parameters(trainer.model)
        finish(trainer.device)

    next_batch = _cycle(planned)

    def fetch() -> None:
        trainer.batch(next_batch(), at)
        finish(trainer.device)

    fetching = repeated(fetch, 0.2 * seconds)
    try:
        return fetching, repeated(step, 0.8 * seconds)
    except RunawayLoss as error:
        raise DivergedError(
            f"the loss became {error.loss:.3g} while steps were timed (learning rate {lr:.3g})",
            fix=f"Choose a lower learning rate, for example optim.lr={recipe.optim.lr / 10:.2g}.",
            code="E401",
        ) from None


def crop_periods(recipe: Recipe) -> list[tuple[float, float]]:
    """Start and duration of each crop size of a recipe, both as shares of the run."""
    starts = sorted({0.0, *(start for start, _ in recipe.growing_crops)})
    return [(start, end - start) for start, end in zip(starts, [*starts[1:], 1.0], strict=True)]


def evaluation_rate(trainer: Trainer, seconds: float) -> float:
    """Images per second in evaluation with one view, reading included."""
    name = validation_split(trainer.prepared) or "train"
    split = trainer.prepared.splits[name]
    count = min(len(split), 64)
    precision = trainer.run.recipe.precision
    duration = repeated(lambda: predict_probabilities(trainer.trained, split.read, count, precision=precision), seconds)
    return count / duration


def evaluating_seconds(recipe: Recipe, prepared: Prepared, rate: float) -> float:
    """Seconds of all evaluations on the validation split during a run.

    Args:
        rate: images per second.
    """
    name = validation_split(prepared)
    evaluations = -(-recipe.epochs // recipe.evaluate_every)
    return 0.0 if name is None else evaluations * len(prepared.splits[name]) / rate


def without_weights(recipe: Recipe) -> Recipe:
    """The recipe without its pretrained weights: they do not change the speed and need not be downloaded."""
    return replace(recipe, weights=None, optim=replace(recipe.optim, old_lr_factor=1.0))


def _cycle(planned: list[Any]) -> Callable[[], Any]:
    """Returns a function that gives the full batches of an epoch one by one, again and again."""
    full = [batch for batch in planned if len(batch) == len(planned[0])]
    position = -1

    def next_batch() -> Any:
        nonlocal position
        position = (position + 1) % len(full)
        return full[position]

    return next_batch

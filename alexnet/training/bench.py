"""How fast each part of training is on this machine, which one limits, and how long a recipe would take.

Parts are timed one by one with what training itself calls, a warm-up before each, medians of repeated calls. Training
takes its parts in turn, so a step lasts as long as all of them together.
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

from alexnet.data.augment import mix, training_views
from alexnet.data.crops import as_batch
from alexnet.data.dataset import Prepared, Split, validation_split
from alexnet.data.images import prepare_image
from alexnet.data.loader import epoch_order
from alexnet.data.samples import Samples
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.kernels.device import finish
from alexnet.recipes.recipe import Recipe
from alexnet.runs.run import RunFolder
from alexnet.training.optim import set_learning_rates
from alexnet.training.schedule import crop_size_at
from alexnet.training.step import train_step
from alexnet.training.trainer import Trainer

FEW = 3  # calls at least, however long they take
ALWAYS = ("reading", "decoding", "augmentation")  # parts that bring pictures to the model, at every step


@dataclass(frozen=True)
class Rates:
    """Pictures per second of each part, and what they come to."""

    parts: dict[str, float]  # "preparing" (once), "reading", "decoding", "augmentation", "model", "evaluation"
    limit: str  # which part limits, in words
    training_seconds: float  # of the whole recipe, evaluations included
    batch_size: int
    device: str


def repeated(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds of a call that is repeated for about so long, after one that does not count."""
    call()
    times: list[float] = []
    while len(times) < FEW or sum(times) < seconds:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def verdict(parts: dict[str, float]) -> str:
    """Which part limits training, in words, from pictures per second.

    The data is as fast as reading, decoding and augmentation in turn.
    """
    seconds = {name: 1.0 / parts[name] for name in ALWAYS if name in parts}
    ratio = 1.0 / sum(seconds.values()) / parts["model"]
    if ratio >= 1.0:
        return f"model-bound: data could feed {times(ratio)} more"
    slowest = max(seconds, key=seconds.__getitem__)
    return f"data-bound: the model could take {times(1.0 / ratio)} more; the slowest part is {slowest}"


def times(ratio: float) -> str:
    """A ratio with two digits that count: 1.3x, 23x, 230x."""
    return f"{ratio:.1f}x" if ratio < 10 else f"{float(f'{ratio:.2g}'):,.0f}x"


def measure(
    recipe: Recipe, prepared: Prepared, device: torch.device, originals: Samples | None = None, seconds: float = 20.0
) -> Rates:
    """Times every part of a recipe.

    Args:
        originals: the files from which the pictures were prepared, if they are there.
        seconds: for all parts together, about; slow machines take longer.
    """
    trainer = Trainer(RunFolder(Path(), recipe, prepared.class_names, {}), prepared, device)
    train, planned = prepared.splits["train"], trainer.loader.epoch(1)
    share = seconds / 10
    parts: dict[str, float] = {}
    if originals is not None and originals.root is not None:
        parts["preparing"] = preparing_rate(originals, prepared.size, share)
    parts |= reading_rates(train, planned, share)
    parts["augmentation"] = augmentation_rate(trainer, planned[0], share)
    model, step_total = step_seconds(trainer, planned, 5 * share)
    parts["model"] = model
    parts["evaluation"] = evaluation_rate(trainer, share)
    return Rates(
        parts=parts,
        limit=verdict(parts),
        training_seconds=step_total * trainer.clock.steps + evaluating_seconds(recipe, prepared, parts["evaluation"]),
        batch_size=len(planned[0]),
        device=str(device),
    )


def preparing_rate(originals: Samples, size: int, seconds: float) -> float:
    """Files per second decoded, shrunk and cut by as many threads as preparing takes."""
    threads = os.cpu_count() or 1
    chosen = epoch_order(len(originals), 0, 0)[: 16 * threads]

    def prepare_one(index: int) -> bool:
        try:
            prepare_image(originals.image(index), size)
        except Exception:  # whatever it is, `prepare` says it; here only the time counts
            return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        return len(chosen) / repeated(lambda: list(pool.map(prepare_one, chosen.tolist())), seconds)


def reading_rates(split: Split, planned: list[Any], seconds: float) -> dict[str, float]:
    """Pictures per second from the disk, from the system's memory where it has kept them.

    Of raw pixels "reading" is all there is; of JPEGs it is their bytes, and "decoding" is what turning them to pixels
    takes on top.
    """
    turn = _turns(planned)
    count = len(planned[0])
    whole = repeated(lambda: split.read(turn()), seconds)
    if all(shard.offsets is None for shard in split.shards):
        return {"reading": count / whole}
    reading = repeated(lambda: _read_bytes(split, turn()), seconds)
    return {"reading": count / reading, "decoding": count / max(whole - reading, 1e-9)}


def _read_bytes(split: Split, indices: Any) -> int:
    """Touches every byte of JPEG pictures without decoding them."""
    total = 0
    for shard, _, inside in split.places(indices):
        assert shard.offsets is not None
        data = np.memmap(shard.path, np.uint8, "r")
        total += sum(len(data[shard.offsets[i] : shard.offsets[i + 1]].tobytes()) for i in inside)
    return total


def augmentation_rate(trainer: Trainer, samples: Any, seconds: float) -> float:
    """Pictures per second from prepared to what the model gets, on its device."""
    recipe = trainer.run.recipe
    images = as_batch(trainer.prepared.splits["train"].read(samples))
    size = crop_size_at(recipe, 1.0)
    targets = torch.zeros(len(images), recipe.model.num_classes)

    def augment() -> None:
        views = training_views(
            images, size, recipe.augment, trainer.loader.colors, seed=recipe.seed, epoch=1, samples=samples
        )
        views, _ = mix(views, targets, recipe.augment, seed=recipe.seed, step=0)
        views.to(trainer.device).contiguous(memory_format=torch.channels_last)
        finish(trainer.device)

    return len(images) / repeated(augment, seconds)


def step_seconds(trainer: Trainer, planned: list[Any], seconds: float) -> tuple[float, float]:
    """Forward, backward and update at every crop size that the recipe grows through, in proportion.

    Returns:
        Pictures per second of the model alone, and seconds of a whole step with reading and augmentation.
    """
    model, whole = 0.0, 0.0
    periods = crop_periods(trainer.run.recipe)
    for start, share in periods:
        fetching, stepping = _one_size(trainer, planned, start, seconds / len(periods))
        model += share * stepping
        whole += share * (fetching + stepping)
    return len(planned[0]) / model, whole


def _one_size(trainer: Trainer, planned: list[Any], progress: float, seconds: float) -> tuple[float, float]:
    """Seconds that a batch takes to come, and seconds of the step on it, at that point of a run."""
    recipe = trainer.run.recipe
    set_learning_rates(trainer.optimizer, recipe.optim, 1, max(progress, 0.1))  # a rate may be 0 at the very start
    at = replace(trainer.clock.at(0), progress=progress)
    images, targets = trainer.batch(planned[0], at)
    trainer.model.train()

    def step() -> None:
        trainer.model.seed_dropout(recipe.seed, 0)
        train_step(trainer.model, trainer.optimizer, images, targets, recipe, trainer.class_weights)
        if trainer.average is not None:
            trainer.average.update_parameters(trainer.model)
        finish(trainer.device)

    turn = _turns(planned)
    fetching = repeated(lambda: trainer.batch(turn(), at), 0.2 * seconds)
    return fetching, repeated(step, 0.8 * seconds)


def crop_periods(recipe: Recipe) -> list[tuple[float, float]]:
    """Where each crop size of a recipe begins and how much of the run it lasts, both as shares of the run."""
    starts = sorted({0.0, *(start for start, _ in recipe.growing_crops)})
    return [(start, end - start) for start, end in zip(starts, [*starts[1:], 1.0], strict=True)]


def evaluation_rate(trainer: Trainer, seconds: float) -> float:
    """Pictures per second of one view, reading included."""
    name = validation_split(trainer.prepared) or "train"
    split = trainer.prepared.splits[name]
    count = min(len(split), 64)
    precision = trainer.run.recipe.precision
    run = repeated(lambda: predict_probabilities(trainer.trained, split.read, count, precision=precision), seconds)
    return count / run


def evaluating_seconds(recipe: Recipe, prepared: Prepared, rate: float) -> float:
    """Of all looks at the held-out pictures in the course of a run."""
    name = validation_split(prepared)
    looks = -(-recipe.epochs // recipe.evaluate_every)
    return 0.0 if name is None else looks * len(prepared.splits[name]) / rate


def without_weights(recipe: Recipe) -> Recipe:
    """The recipe without the trained weights it starts from: they change no time, and need not be downloaded."""
    return replace(recipe, weights=None, optim=replace(recipe.optim, old_lr_factor=1.0))


def _turns(planned: list[Any]) -> Callable[[], Any]:
    """Gives the full batches of an epoch in turn, and again from the first."""
    full = [batch for batch in planned if len(batch) == len(planned[0])]
    position = -1

    def next_one() -> Any:
        nonlocal position
        position = (position + 1) % len(full)
        return full[position]

    return next_one

"""How long an epoch takes here: a few real steps, with their images, at every crop size. Nothing is saved."""

import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from alexnet.data.dataset import Prepared, validation_split
from alexnet.data.loader import PREFETCHED, prefetch
from alexnet.errors import DivergedError
from alexnet.recipes.recipe import Recipe, for_classes
from alexnet.runs.run import RunFolder
from alexnet.training.trainer import Trainer

STEPS = 3  # that are timed, after one that warms up
FORWARD = 0.35  # of the time of a step, that an image takes which is only asked


def seconds_per_image(recipe: Recipe, prepared: Prepared, device: torch.device, *, steps: int = STEPS) -> float:
    """Seconds of training one image, on average over the crop sizes of a run."""
    sizes = recipe.growing_crops or ((0.0, recipe.model.crop_size),)
    ends = [*(share for share, _ in sizes[1:]), 1.0]
    return sum(
        seconds_at(recipe, prepared, device, size, steps=steps) * (end - start)
        for (start, size), end in zip(sizes, ends, strict=True)
        if end > start
    )


def seconds_at(recipe: Recipe, prepared: Prepared, device: torch.device, size: int, *, steps: int = STEPS) -> float:
    """Seconds of training one image at a crop size; the fastest of a few steps, as on a machine that is idle."""
    growing = ((0.0, size),) if recipe.growing_crops else ()
    one = for_classes(replace(recipe, growing_crops=growing, epochs=steps + 1), len(prepared.class_names))
    times = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(RunFolder(Path(folder), one, prepared.class_names, {}), prepared, device)
        last = min(steps + 1, trainer.clock.steps)
        with prefetch(trainer.batches(0, last), PREFETCHED) as batches, suppress(DivergedError):  # the run will say so
            for step in range(last):
                started = time.monotonic()
                images, targets = next(batches)
                try:
                    trainer.take_step(images, targets, trainer.clock.at(step))
                finally:
                    times.append((time.monotonic() - started) / len(images))
    return min(times[1:] or times)


def evaluation_images(prepared: Prepared, epochs: int, every: int, *, views: int) -> float:
    """How many images are only asked in a run and after it: validation in between, then what the end reports."""
    split = validation_split(prepared)
    if split is None:
        return 0.0
    held_out = len(prepared.splits[split])
    reported = sum(len(prepared.splits[name]) for name in prepared.splits if name != "train")
    return held_out * (epochs / every + views + 2) + reported * views

"""How long an epoch takes here: a few real steps, with their images, at every crop size. Nothing is saved."""

import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from alexnet.data.dataset import Prepared, validation_split
from alexnet.data.loader import prefetch
from alexnet.errors import DivergedError
from alexnet.evaluation import run_calibration, run_distribution
from alexnet.recipes.recipe import Recipe, for_classes
from alexnet.runs.run import RunFolder
from alexnet.training.trainer import Trainer

STEPS = 5  # that are timed, after one that warms up
AHEAD = 1  # batches that are made meanwhile: with more, those that are timed would be there already
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
    """Seconds of training one image at a crop size: the median of a few steps."""
    growing = ((0.0, size),) if recipe.growing_crops else ()
    one = for_classes(replace(recipe, growing_crops=growing, epochs=steps + 1), len(prepared.class_names))
    times = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(RunFolder(Path(folder), one, prepared.class_names, {}), prepared, device)
        last = min(steps + 1, trainer.clock.steps)
        with prefetch(trainer.batches(0, last), AHEAD) as batches, suppress(DivergedError):  # the run will say so
            for step in range(last):
                started = time.monotonic()
                images, targets = next(batches)
                try:
                    trainer.take_step(images, targets, trainer.clock.at(step))
                finally:
                    times.append((time.monotonic() - started) / len(images))
    return statistics.median(times[1:] or times)


def looks(prepared: Prepared, times: int, *, views: int) -> int:
    """How many views are asked in a run and once it has ended: for the cues, the temperature, what is unlike, a report.

    Args:
        times: that the validation split is asked in the run.
        views: those of an image in the answer that has most: 2 with mirror images, where crops leave no margin.
    """
    kinds = 1 if views == 1 else 1 + views  # one view, and all together
    between = validation_split(prepared)
    asked = 0 if between is None else len(prepared.splits[between]) * times
    asked += sum(len(prepared.splits[name]) for name in prepared.splits if name != "train") * kinds
    if "val" in prepared.splits:
        asked += min(len(prepared.splits["val"]), run_calibration.MOST_IMAGES) * (1 + kinds)
        asked += sum(min(len(prepared.splits[name]), run_distribution.MOST_IMAGES) for name in ("train", "val"))
    return asked

"""What is about to happen: a run in a few lines, a check of its network, and an estimate from a few real steps."""

import math
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from alexnet.data.dataset import SPLITS, Prepared
from alexnet.data.loader import steps_per_epoch
from alexnet.recipes.recipe import Recipe, differences, for_classes
from alexnet.runs.run import RunFolder, create_run
from alexnet.training.check import Check, check_network
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted, Progress, Silent
from alexnet.training.trainer import Trainer

FEW_STEPS = 1000  # below this a network from scratch is hardly trained; the plan says so


def run_plan(recipe: Recipe, base: Recipe, prepared: Prepared, device: torch.device) -> dict[str, str]:
    """What is about to happen, in a few lines.

    Args:
        base: the recipe from which this one was changed.
    """
    counts = {name: len(prepared.splits[name]) for name in SPLITS if name in prepared.splits}
    steps = steps_per_epoch(counts["train"], recipe)
    base = replace(for_classes(base, recipe.model.num_classes), prepare_size=recipe.prepare_size)
    changed = differences(recipe, base)
    count = f"{steps} step{'s' * (steps > 1)}"
    plan = {
        "data": f"{len(prepared.class_names)} classes, " + ", ".join(f"{n} {name}" for name, n in counts.items()),
        "recipe": base.name + "".join(f", {field}={new!r} (was {old!r})" for field, (old, new) in changed.items()),
        "training": f"{recipe.epochs} epochs of {count} of {recipe.batch_size} pictures on {device}",
    }
    if recipe.weights is None and steps * recipe.epochs < FEW_STEPS:
        plan["note"] = (
            f"{steps * recipe.epochs} steps may be too few to learn much from so few pictures: "
            f"try epochs={math.ceil(FEW_STEPS / steps)}, or a smaller batch_size"
        )
    return plan


class _Timing(Silent):
    """Notes how long each step takes and shows nothing."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.seconds: list[float] = []

    def step(self, progress: Progress) -> None:
        """Notes the time since the last step."""
        now = time.monotonic()
        self.seconds.append(now - self.last)
        self.last = now

    def epoch(self, row: dict[str, Any]) -> None:
        """Leaves the evaluation out of the next step."""
        self.last = time.monotonic()


def check_run(recipe: Recipe, prepared: Prepared, device: torch.device, count: int = 32) -> Check:
    """The network of a recipe, as training would start it, checked on its first pictures.

    Args:
        count: how many of the first batch are looked at.
    """
    recipe = for_classes(recipe, len(prepared.class_names))
    trainer = Trainer(RunFolder(Path(), recipe, prepared.class_names, {}), prepared, device)
    images, targets = trainer.batch(trainer.loader.samples(1, 0)[:count], trainer.clock.at(0))
    return check_network(trainer.model, images, targets, recipe)


def rehearse(recipe: Recipe, prepared: Prepared, device: torch.device, steps: int = 4) -> float:
    """Takes a few real steps at every crop size, saves and throws away: the seconds that the whole run would take.

    Looking at the held-out pictures is not in it.
    """
    grown = ((0.0, recipe.model.crop_size), *recipe.growing_crops)
    total = steps_per_epoch(len(prepared.splits["train"]), recipe) * recipe.epochs
    estimate = 0.0
    for (start, size), end in zip(grown, [*(share for share, _ in grown[1:]), 1.0], strict=True):
        if start == end:
            continue
        timing = _Timing()
        crops = replace(recipe, growing_crops=((0.0, size),) if recipe.growing_crops else ())
        with tempfile.TemporaryDirectory() as folder, suppress(Interrupted):
            run = create_run(Path(folder) / "run", crops, prepared.class_names, {})
            train(run, prepared, device=device, monitor=timing, max_steps=steps)
        estimate += statistics.median(timing.seconds) * total * (end - start)
    return estimate

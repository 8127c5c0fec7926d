"""A run before it starts: its plan in a few lines, a check of its network, and an estimate of its duration."""

import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from alexnet.data.dataset import SPLITS, Prepared
from alexnet.data.device_images import described
from alexnet.data.loader import steps_per_epoch
from alexnet.kernels.precision import bfloat16_units
from alexnet.recipes.recipe import Recipe, differences, for_classes
from alexnet.runs.run import RunFolder, create_run
from alexnet.training.check import Check, check_network
from alexnet.training.loop import train
from alexnet.training.monitor import Monitor, Progress, planned_end
from alexnet.training.trainer import Trainer

FEW_STEPS = 1000  # with fewer steps a network trained from scratch learns little; the plan says so


@dataclass(frozen=True, eq=False)
class Plan:
    """A run before it starts: what it will do, whether its network will train, and how long it will take."""

    recipe: Recipe
    base: Recipe  # before the overrides
    prepared: Prepared
    device: torch.device

    def __repr__(self) -> str:
        return f"Plan({'; '.join(f'{name}: {text}' for name, text in self.lines().items())})"

    def lines(self) -> dict[str, str]:
        """The plan in a few lines: data, recipe and training, each with its name."""
        recipe, prepared = self.recipe, self.prepared
        counts = {name: len(prepared.splits[name]) for name in SPLITS if name in prepared.splits}
        steps = steps_per_epoch(counts["train"], recipe)
        base = replace(for_classes(self.base, recipe.model.num_classes), prepare_size=recipe.prepare_size)
        overrides = differences(recipe, base)
        count = f"{steps} step{'s' * (steps > 1)}"
        lines = {
            "data": f"{len(prepared.class_names)} classes, " + ", ".join(f"{n} {name}" for name, n in counts.items()),
            "recipe": base.name
            + "".join(f", {field}={new!r} (was {old!r})" for field, (old, new) in overrides.items()),
            "training": f"{recipe.epochs} epochs of {count} of {recipe.batch_size} images on {self.device}",
        }
        if (images := described(prepared.splits["train"], recipe.batch_size, self.device)) is not None:
            lines["images"] = images
        if recipe.precision == "float32" and (units := bfloat16_units(self.device)):
            lines["precision"] = (
                f"float32; this processor has {units}, so precision=bfloat16 may train faster, with other rounding"
            )
        if recipe.weights is None and steps * recipe.epochs < FEW_STEPS:
            lines["note"] = (
                f"{steps * recipe.epochs} steps are few for a network from scratch: more images gain most, or "
                "pretrained weights (--weights imagenet)"
            )
        return lines

    def check(self, count: int = 32) -> Check:
        """Checks the network with its initial weights on the first training images.

        Args:
            count: how many images of the first batch are used.
        """
        recipe, prepared = for_classes(self.recipe, len(self.prepared.class_names)), self.prepared
        trainer = Trainer(RunFolder(Path(), recipe, prepared.class_names, {}), prepared, self.device)
        images, targets = trainer.batch(trainer.loader.samples(1, 0)[:count], trainer.clock.at(0))
        return check_network(trainer.model, images, targets, recipe)

    def estimate(self, steps: int = 4) -> float:
        """Estimates the seconds of the run from a few real steps at every crop size, in temporary run folders.

        The estimate does not include evaluation on the validation split.
        """
        recipe, prepared = self.recipe, self.prepared
        crop_sizes = ((0.0, recipe.model.crop_size), *recipe.growing_crops)
        total = steps_per_epoch(len(prepared.splits["train"]), recipe) * recipe.epochs
        estimate = 0.0
        for (start, size), end in zip(crop_sizes, [*(share for share, _ in crop_sizes[1:]), 1.0], strict=True):
            if start == end:
                continue
            timing = _Timing()
            one_size = replace(recipe, growing_crops=((0.0, size),) if recipe.growing_crops else ())
            with tempfile.TemporaryDirectory() as folder, planned_end():
                run = create_run(Path(folder) / "run", one_size, prepared.class_names, {})
                train(run, prepared, device=self.device, monitor=timing, max_steps=steps)
            estimate += statistics.median(timing.seconds) * total * (end - start)
        return estimate


class _Timing(Monitor):
    """Measures how long each step takes."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.seconds: list[float] = []

    def step(self, progress: Progress) -> None:
        """Records the time since the last step."""
        now = time.monotonic()
        self.seconds.append(now - self.last)
        self.last = now

    def epoch(self, row: dict[str, Any]) -> None:
        """Restarts the clock, so that the evaluation does not count in the next step."""
        self.last = time.monotonic()

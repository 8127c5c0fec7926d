"""A short search for a better recipe: successive halving over a few declared settings (Jamieson and Talwalkar 2016).

Every setting is trained for a few epochs on four fifths of the training images and asked about the last fifth; the
better half goes on with twice as many epochs, from the start. The validation images are not looked at. Epochs are
counted, not minutes, so the same images and recipe give the same rows and the same choice.
"""

import math
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from alexnet.data.dataset import Prepared
from alexnet.data.loader import PREFETCHED, prefetch
from alexnet.data.parts import divided_training
from alexnet.errors import DivergedError, UsageError
from alexnet.evaluation.compare import error_to_choose_by
from alexnet.evaluation.evaluate import evaluate
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.recipe import Recipe, flat, with_fields
from alexnet.runs.run import RunFolder
from alexnet.text import percent
from alexnet.training.trainer import Trainer

FEWEST, MOST = 2, 8  # settings
SHARE = 0.2  # of the training images that are asked
SEED = 1  # of their choice
COST = 0.5  # epochs of the whole search, in those of the run


@dataclass(frozen=True)
class Found:
    """What a search has found."""

    name: str  # of the best setting
    fields: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]  # one for each setting that was trained, in order

    def line(self) -> str:
        """The result in one line."""
        if not self.rows:
            return "nothing to try: what the settings of a search would change is given, or has no effect here"
        last = [row for row in self.rows if row["rung"] == self.rows[-1]["rung"]]
        shown = ", ".join(f"{row['setting']} {percent(row['accuracy'])}" for row in last)
        settings = len({row["setting"] for row in self.rows})
        return (
            f"{self.name} is best of {settings} settings in {len(self.rows)} short runs (in the last, of "
            f"{last[0]['epochs']} epochs, on a fifth of the training images: {shown})"
        )


def declared_settings(recipe: Recipe, count: int, given: Collection[str] = frozenset()) -> dict[str, dict[str, Any]]:
    """The first `count` settings by name, as fields to change; those that change nothing in this recipe are left out.

    Args:
        given: fields that a user decided; a setting with one of them would not be used as it was tried.

    Raises:
        UsageError: E2024, the count is not between 2 and 8.
    """
    if not FEWEST <= count <= MOST:
        raise UsageError(
            f"search={count}: the settings that are tried are {FEWEST} to {MOST}",
            fix="Choose for example 4.",
            code="E2024",
        )
    known, augment = flat(recipe), recipe.augment
    mixes = augment.mixup + augment.cutmix > 0
    crops = 0.35 if augment.min_area >= 0.6 else 0.7
    tried: dict[str, dict[str, Any]] = {
        "as planned": {},
        "without mixup and cutmix" if mixes else "with mixup and cutmix": {
            "augment.mixup": 0.0 if mixes else 0.3,
            "augment.cutmix": 0.0 if mixes else 0.3,
        },
        "half the learning rate": {"optim.lr": recipe.optim.lr / 2},
        f"parts from {crops:.0%} of an image on": {"augment.min_area": crops},
        "dropout 0.2": {"model.dropout": 0.2},
        "twice the learning rate": {"optim.lr": recipe.optim.lr * 2},
        "color augmentation off" if augment.jitter else "color augmentation on": {
            "augment.jitter": 0.0 if augment.jitter else 0.3
        },
        "three times the weight decay": {"optim.weight_decay": recipe.optim.weight_decay * 3},
    }
    fixed = {*given} if augment.view == "zoom" else {*given, "augment.min_area"}  # which is of zooming only
    different = {
        name: fields
        for name, fields in tried.items()
        if not fields
        or (fixed.isdisjoint(fields) and any(known.get(field, value) != value for field, value in fields.items()))
    }
    return dict(list(different.items())[:count])


def rungs(settings: int, epochs: int) -> list[tuple[int, int]]:
    """How many settings are trained for how many epochs, rung by rung; together about half of the epochs of a run."""
    levels = max(1, math.ceil(math.log2(settings)))
    first = max(1, round(COST * epochs / (settings * levels)))
    return [(math.ceil(settings / 2**level), first * 2**level) for level in range(levels)]


def search(
    recipe: Recipe,
    prepared: Prepared,
    device: torch.device,
    count: int,
    progress: ProgressCallback = silent,
    given: Collection[str] = frozenset(),
) -> Found:
    """Tries `count` settings and finds the best by its accuracy, of equal ones by its log loss.

    Args:
        given: fields that no setting may change; where none is left but the plan itself, nothing is trained.
    """
    settings = declared_settings(recipe, count, given)
    if len(settings) == 1:
        (name,) = settings
        return Found(name, {}, ())
    parts = divided_training(prepared, SHARE, SEED)
    rows: list[Mapping[str, Any]] = []
    left = list(settings)
    plan = rungs(len(settings), recipe.epochs)
    total = sum(number for number, _ in plan)
    for rung, (number, epochs) in enumerate(plan):
        left = left[:number]
        scores = {}
        for name in left:
            progress("trying settings", len(rows), total)
            accuracy, loss = score(with_fields(recipe, {**settings[name], "epochs": epochs}), parts, device)
            scores[name] = (-accuracy, loss)
            rows.append(
                {"rung": rung + 1, "setting": name, "epochs": epochs, "accuracy": accuracy, "log_loss": loss}
                | {"fields": settings[name]}
            )
        left = sorted(left, key=lambda name: scores[name])
    progress("trying settings", total, total)
    return Found(left[0], settings[left[0]], tuple(rows))


def score(recipe: Recipe, prepared: Prepared, device: torch.device) -> tuple[float, float]:
    """Trains a recipe and asks its network about `val`: accuracy in [0, 1] and log loss; 0 and infinity if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder), replace(recipe, patience=0), prepared.class_names, {})
        trainer = Trainer(run, prepared, device)
        try:
            with prefetch(trainer.batches(0, trainer.clock.steps), PREFETCHED) as batches:
                for step in range(trainer.clock.steps):
                    images, targets = next(batches)
                    trainer.take_step(images, targets, trainer.clock.at(step))
        except DivergedError:
            return 0.0, math.inf
        found = evaluate(trainer.trained, prepared, "val", class_names=prepared.class_names, precision=recipe.precision)
        if not math.isfinite(found.log_loss):
            return 0.0, math.inf
        return 1 - error_to_choose_by(found, recipe.class_weights), found.log_loss

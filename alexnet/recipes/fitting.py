"""Decides the fields of a recipe for the images and the time that there are; every decision with its reason.

Pure functions of facts that others have measured: `alexnet.cues.facts` looks at the training images, and
`alexnet.training.pace` at the clock. What a user has given is never changed. The thresholds were chosen on parts of the
training images of three sets (docs/own_photos.md).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from alexnet.recipes.recipe import Recipe, flat, with_fields
from alexnet.text import percent

PASSES = 300_000  # images that a network is shown in a run: what a few thousand photos need, from scratch
FEWEST_EPOCHS, MOST_EPOCHS = 30, 150
PATIENCE = 3  # with more time, so many times as many epochs; beyond that a network learns its images by heart
ENOUGH = 2 / 3  # of the wanted epochs: with fewer of them a narrower network learns more
SMALL, MIDDLE = 40, 80  # pixels of the shorter side, up to which strides are 1 and 2
PHOTO = 128  # from here on images are treated as photos
SMALLEST = 24  # pixels to which smaller images are enlarged
LOOKS = 16  # at the validation images in a run
UNEVEN = 10.0  # times as many images in the largest class as in the smallest
FEW_OF_A_CLASS = 1000
LOST = 0.25  # share of what outlines know of the classes that is lost in mirror images, from which they are others
SURE = 0.01  # probability of a difference by chance


@dataclass(frozen=True)
class Facts:
    """What was measured of the training images."""

    counts: tuple[int, ...]  # images of each class
    side: int  # shorter side of a typical image in pixels, before it is prepared
    gray: bool = False
    guessing: float = 0.0  # accuracy of naming the largest class, in [0, 1]
    color: float | None = None  # accuracy of a color histogram on images that were left out; None: not measured
    shape: float | None = None  # the same of outlines (HOG)
    upright: float | None = None  # accuracy of outlines on other images; None: not measured
    mirrored: float | None = None  # the same on their mirror images
    by_chance: float = 1.0  # probability of such a difference if mirror images were as good

    @property
    def images(self) -> int:
        """Training images."""
        return sum(self.counts)

    @property
    def typical_class(self) -> int:
        """Images of a typical class: the median."""
        return sorted(self.counts)[len(self.counts) // 2] if self.counts else 0

    def skill(self, accuracy: float) -> float:
        """The share of the errors of guessing that an accuracy avoids."""
        return (accuracy - self.guessing) / (1 - self.guessing) if self.guessing < 1 else 0.0


@dataclass(frozen=True)
class Decision:
    """One decision: the fields that it sets, and what and why in one line."""

    topic: str
    text: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A network of some width on crops of some sizes; from the most to the least work."""

    width: float
    crops: tuple[int, ...]  # growing

    def fields(self) -> dict[str, Any]:
        """The fields of the recipe."""
        starts = {1: (0.0,), 2: (0.0, 0.6), 3: (0.0, 0.4, 0.8)}[len(self.crops)]
        return {
            "model.width": self.width,
            "model.crop_size": self.crops[-1],
            "model.test_size": self.crops[-1],
            "growing_crops": tuple(zip(starts, self.crops, strict=True)),
        }


def size_decision(side: int) -> Decision:
    """Decides how large images are prepared, and what conv1 looks like, from the shorter side of a typical image."""
    if side >= PHOTO:
        text = f"photos of {side} pixels: prepared at 192, conv1 with kernels of 11 and a stride of 4"
        return Decision("size", text, {})
    if side > MIDDLE:
        text = f"images of {side} pixels: prepared at {PHOTO}, no larger"
        return Decision("size", text, {"prepare_size": PHOTO})
    size = max(side, SMALLEST)
    if side > SMALL:
        conv1 = {"model.conv1_kernel": 7, "model.conv1_stride": 2, "model.conv1_padding": 3}
        text = f"images of {side} pixels: no zoom, conv1 with kernels of 7 and a stride of 2"
    else:
        conv1 = {"model.conv1_kernel": 5, "model.conv1_stride": 1, "model.conv1_padding": 2}
        text = f"images of {side} pixels: no zoom, conv1 with kernels of 5 and a stride of 1"
    if size > side:
        text += f", enlarged to {size}"
    zoom = {"augment.min_area": 0.7, "augment.max_aspect": 1.15, "augment.rotation": 5.0, "model.dropout": 0.3}
    return Decision("size", text, {"prepare_size": size, **conv1, **zoom})


def candidates(prepare_size: int) -> tuple[Candidate, ...]:
    """Networks for images prepared at this size, from the most to the least work."""
    full: tuple[int, ...]
    less: tuple[int, ...]
    least: tuple[int, ...]
    if prepare_size > PHOTO:
        full, less, least = (96, 128, 160), (80, 96, 112), (64, 80, 96)
    elif prepare_size > MIDDLE:
        full, less, least = (96, 112, 128), (80, 96, 112), (64, 80, 96)
    else:
        full = less = least = (3 * prepare_size // 4, prepare_size) if prepare_size > SMALL else (prepare_size,)
    if prepare_size <= SMALL:  # with a stride of 1 they take as much work as a photo; wider ones gain little
        return tuple(Candidate(width, full) for width in (0.7, 0.5, 0.35, 0.25, 0.18))
    steps = ((1.0, full), (0.7, full), (0.5, full), (0.5, less), (0.35, less), (0.25, least))
    return tuple(Candidate(width, tuple(min(size, prepare_size) for size in crops)) for width, crops in steps)


def wanted_epochs(images: int) -> int:
    """Passes over the images that a network needs from scratch; more for few images."""
    return min(max(round(PASSES / max(images, 1)), FEWEST_EPOCHS), MOST_EPOCHS)


def data_decisions(facts: Facts) -> list[Decision]:
    """Decides what follows from the images alone."""
    out = []
    if facts.gray:
        text = "one gray channel and no color noise: the images have no color"
        out.append(Decision("gray", text, {"model.in_channels": 1, "augment.color_noise": 0.0}))
    if (found := _color(facts)) is not None:
        out.append(found)
    if (found := _mirror(facts)) is not None:
        out.append(found)
    if facts.counts and max(facts.counts) >= UNEVEN * max(min(facts.counts), 1):
        text = (
            f"class_weights=balanced: the largest class has {max(facts.counts):,} images, the smallest "
            f"{min(facts.counts):,}; no class counts more than tenfold, no label is smoothed toward a rare class, no "
            "cues are mixed in, and the epoch with the best balanced accuracy is kept"
        )
        out.append(Decision("balance", text, {"class_weights": "balanced", "label_smoothing": 0.0, "cues": "none"}))
    if facts.images < 1000:
        size = 32 if facts.images >= 300 else 16
        text = f"batches of {size}: {facts.images:,} images would give few steps with more"
        out.append(Decision("batch", text, {"batch_size": size}))
    return out


def _color(facts: Facts) -> Decision | None:
    if facts.color is None or facts.shape is None:
        return None
    what = "brightness" if facts.gray else "color"
    known, outlines = facts.skill(facts.color), facts.skill(facts.shape)
    if known < max(outlines, 0.1) and known < 0.5:
        text = (
            f"{what} augmentation on: {what} alone tells classes apart at {percent(facts.color)}, "
            f"outlines at {percent(facts.shape)}"
        )
        return Decision("color", text, {})
    text = (
        f"{what} augmentation, mixup and cutmix off: {what} alone tells classes apart at {percent(facts.color)}, "
        f"outlines at {percent(facts.shape)}, guessing at {percent(facts.guessing)}"
    )
    off = ("color_noise", "jitter", "mixup", "cutmix")
    return Decision("color", text, {f"augment.{name}": 0.0 for name in off})


def _mirror(facts: Facts) -> Decision | None:
    if facts.upright is None or facts.mirrored is None:
        return None
    lost = facts.upright - facts.mirrored
    told = f"outlines know {percent(facts.mirrored)} of mirror images and {percent(facts.upright)} of the others"
    if facts.by_chance < SURE and lost >= LOST * (facts.upright - facts.guessing):
        return Decision("mirror", f"no mirror images: {told}", {"augment.flip": False})
    return Decision("mirror", f"mirror images are the same: {told}", {})


def step_decisions(recipe: Recipe, images: int, steps: int) -> list[Decision]:
    """Decides how strong regularization is, from the epochs and steps that there are."""
    out = []
    augment = recipe.augment
    if recipe.epochs < wanted_epochs(images) / 2 and (augment.mixup or augment.cutmix):
        text = f"mixup and cutmix off: they pay with more than {recipe.epochs} epochs"
        out.append(Decision("mixing", text, {"augment.mixup": 0.0, "augment.cutmix": 0.0}))
    decay = min(recipe.average_decay, round(max(1 - 6 / max(steps, 1), 0.5), 4))
    if decay < recipe.average_decay:
        text = f"average_decay={decay}: the moving average of the weights must forget the first of {steps:,} steps"
        out.append(Decision("average", text, {"average_decay": decay}))
    every = round(recipe.epochs / LOOKS)
    if every >= 1 and every != recipe.evaluate_every:
        out.append(Decision("evaluation", f"validation every {every} epochs", {"evaluate_every": every}))
    return out


def apply(recipe: Recipe, decisions: Iterable[Decision], given: frozenset[str]) -> tuple[Recipe, list[Decision]]:
    """Sets what was decided, but for the fields that are given; also returns the decisions that changed or kept one.

    A decision all of whose fields are given is not one any more.
    """
    out = []
    for decision in decisions:
        known = flat(recipe)
        fields = {name: value for name, value in decision.fields.items() if name not in given and name in known}
        if decision.fields and not fields:
            continue
        recipe = with_fields(recipe, fields)
        out.append(Decision(decision.topic, decision.text, fields))
    return recipe, out


def choose_candidate(
    images: int,
    prepare_size: int,
    seconds: float,
    cost: Callable[[Candidate], tuple[float, float]],
    *,
    most: int,
) -> tuple[Candidate, int, float]:
    """Chooses the widest network that has epochs enough within some seconds; of none, the one that has most.

    Args:
        cost: seconds of one epoch, and of all that is asked of a network in a run and after it.
        most: epochs that are wanted at most.

    Returns:
        The network, its epochs, and the seconds of one.
    """
    wanted = ENOUGH * wanted_epochs(images)
    found: tuple[Candidate, int, float] | None = None
    for candidate in candidates(prepare_size):
        each, asked = cost(candidate)
        epochs = max(1, min(most, int((seconds - asked) / each)))
        if found is None or each < found[2]:
            found = candidate, epochs, each
        if epochs >= min(wanted, most):
            return candidate, epochs, each
    assert found is not None
    return found

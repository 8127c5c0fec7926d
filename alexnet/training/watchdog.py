"""The watchdog of a run: reports once, in words, why the loss does not fall, while there is time to stop.

It receives the loss and the error of every step. It checks the network on the batch in the first step, and when the
loss looks wrong. Different faults give the same loss curve, flat at the entropy of the classes, but differ inside the
network: dead units, images that the network cannot distinguish, too high a learning rate, or a sound network on labels
without information.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.cues.measure import binomial_tail
from alexnet.data.samples import balanced_weights
from alexnet.recipes.recipe import Recipe
from alexnet.training.check import STEP, Check, entropy_of, fastest_layer, plateau_fix

RECENT = 50  # steps over which the loss is averaged
NEAR = 0.02  # share of the entropy: a loss this near has learned the class frequencies, but nothing more
PATIENCE = (200, 2000)  # steps after the warm-up until a flat loss is suspicious: two epochs, within these bounds
HIGH = 1.3  # too high a loss over RECENT steps, as a multiple of ln(classes); the transient of 2012 is over by then
SOARING = 3.0  # the same over 20 steps, for a loss that rises fast
PROOF = 0.01  # probability of the errors in validation, below which they mean something
TOPICS = ("plateau", "dead units", "labels", "rate")  # first words of notes in metrics.jsonl; stored, so they stay


class Watchdog:
    """Watches a run. Checkpoints store its memory, so that a resumed run reports the same as an uninterrupted one.

    Args:
        class_counts: training images of each class.
        held_out: validation images; None if their number is not known.
    """

    def __init__(self, recipe: Recipe, class_counts: Sequence[int], steps_per_epoch: int, held_out: int | None = None):
        total = sum(class_counts)
        classes, smoothing = len(class_counts), recipe.label_smoothing
        frequencies = [count / total for count in class_counts]
        self.recipe, self.held_out = recipe, held_out
        self.uniform = math.log(classes)
        self.entropy = entropy_of([(1 - smoothing) * f + smoothing / classes for f in frequencies])
        if recipe.class_weights == "balanced":
            # Where all classes count the same, their frequencies do not help.
            shares = balanced_weights(class_counts) * np.asarray(class_counts) / total
            self.entropy = entropy_of([(1 - smoothing) * f + smoothing / classes for f in shares.tolist()])
        self.chance = 1 - sum(f * f for f in frequencies)  # error of predictions drawn with the class frequencies
        slow = 1 if recipe.model.activation == "relu" else 3  # sigmoids learn to distinguish images slowly at first
        self.patience = slow * min(max(PATIENCE[0], 2 * steps_per_epoch), PATIENCE[1])
        warmup = recipe.optim.warmup if recipe.optim.schedule == "one-cycle" else 0.0
        self.warmup_steps = math.ceil(warmup * steps_per_epoch * recipe.epochs)
        self.losses: deque[float] = deque(maxlen=RECENT)
        self.flat_steps = 0  # in a row with a mean loss near the entropy
        self.next_check = RECENT  # flat steps at which the network is checked
        self.lowest = math.inf  # mean loss so far
        self.useless_epochs = 0  # in a row in which training learned nothing that helps in validation
        self.faded_at_start = False  # whether the initial weights hardly pass on differences between images
        self.reported: set[str] = set()  # topics

    @classmethod
    def of(cls, recipe: Recipe, labels: Tensor, steps_per_epoch: int, held_out: int | None = None) -> "Watchdog":
        """A watchdog for a run on training images with these labels, (N,), and this number of validation images."""
        counts = torch.bincount(labels, minlength=recipe.model.num_classes).tolist()
        return cls(recipe, counts, steps_per_epoch, held_out)

    def memory(self) -> Tensor:
        """What a checkpoint stores of the watchdog: a few float64 numbers and the recent losses."""
        numbers = [self.flat_steps, self.next_check, self.lowest, self.useless_epochs, self.faded_at_start]
        return torch.tensor([*numbers, *self.losses], dtype=torch.float64)

    def restore(self, memory: Tensor | None, rows: Sequence[Mapping[str, Any]]) -> None:
        """Restores the memory of a checkpoint, if there is one, and the topics of the notes in metrics.jsonl."""
        if memory is not None:
            flat, next_check, self.lowest, useless, faded, *losses = memory.tolist()
            self.faded_at_start = bool(faded)
            self.flat_steps, self.next_check, self.useless_epochs = int(flat), int(next_check), int(useless)
            self.losses.extend(losses)
        for row in rows:
            if row.get("kind") == "note":
                self.reported.add(str(row.get("text", "")).partition(":")[0])

    def may_check(self, step: int, waiting: int) -> bool:
        """Whether a step that waits to be processed may lead to a check of the network.

        Args:
            step: the last of them, counted from 1.
            waiting: how many there are.
        """
        if self.entropy <= 0:
            return False
        return step == 1 or (self.flat_steps + waiting >= self.next_check and not self.reported.issuperset(TOPICS[:3]))

    def step(self, step: int, loss: float, error: float, examine: Callable[[], Check]) -> str | None:
        """Processes a step; returns a note on what is wrong, or None.

        Args:
            step: of the whole run, counted from 1.
            loss: of the batch, before the step.
            error: top-1 error of the batch, in [0, 1].
            examine: checks the network on the batch; called at the first step and at most a few times later.
        """
        if self.entropy <= 0:
            return None
        if step == 1:
            self.faded_at_start = "plateau" in examine().topics
        self.losses.append(loss)
        if len(self.losses) >= 20 and sum(list(self.losses)[-20:]) / 20 > SOARING * self.uniform:
            return self._note("rate", self._too_high(f"the loss is {loss:.3g}"))
        if len(self.losses) < RECENT:
            return None
        mean = sum(self.losses) / RECENT
        has_fallen = self.lowest < self.uniform * (1 - NEAR)
        if mean > HIGH * self.uniform and (step > 2 * RECENT or has_fallen):
            lowest = f" from {self.lowest:.2f}" if has_fallen else ""
            return self._note("rate", self._too_high(f"the loss rose{lowest} to {mean:.3g}"))
        self.lowest = min(self.lowest, mean)
        # The loss is below while a network starts to learn, and above until the bias of fc8 fits the frequencies.
        near = self.entropy * (1 - NEAR) <= mean <= max(self.entropy, self.uniform) * (1 + NEAR)
        self.flat_steps = self.flat_steps + 1 if near else 0
        if not near:
            self.next_check = RECENT
            return None
        if self.flat_steps < self.next_check or self.reported.issuperset(TOPICS[:3]):
            return None
        self.next_check = 2 * self.flat_steps
        after_warmup = step - self.warmup_steps
        if after_warmup >= self.patience and self.flat_steps >= min(self.patience, after_warmup) // 2:
            self.next_check = 2 * max(self.flat_steps, self.patience)
            return self._explain(mean, examine(), patient=True)
        return self._explain(mean, examine(), patient=False)

    def epoch(self, row: Mapping[str, Any]) -> str | None:
        """Processes the metrics of an epoch; returns a note on what is wrong, or None."""
        validation, training = row.get("val_top1_error"), row["train_top1_error"]
        if validation is None:
            return None
        useless = training < 0.5 * self.chance and validation >= 0.95 * self.chance
        useless = useless and self._proves(training, validation)
        self.useless_epochs = self.useless_epochs + 1 if useless else 0
        if self.useless_epochs < 2:
            return None
        return self._note(
            "labels",
            f"the top-1 error is {100 * training:.0f} % on training images and {100 * validation:.0f} % on validation "
            "images, no better than chance: the labels do not follow from the images, or the two splits are labeled "
            "differently. Look at some images of each class in both.",
        )

    def _proves(self, training: float, validation: float) -> bool:
        """Whether there are enough validation images to say that what was learned does not help there.

        If it helped half as much as in training, so many errors must be improbable.
        """
        if self.held_out is None:
            return True
        wrong, helped = round(validation * self.held_out), (training + self.chance) / 2
        return binomial_tail(wrong, self.held_out, helped) < PROOF

    def _explain(self, mean: float, check: Check, *, patient: bool) -> str | None:
        """A note on the cause of a flat loss, or None; `patient`: it has been flat too long for a slow start."""
        for verdict in check.verdicts:
            if verdict.topic in ("dead", "saturated"):
                return self._note("dead units", f"{verdict.text}. {verdict.fix}")
        if not patient or self.reported & {"dead units", "plateau", "rate"}:
            return None
        flat = f"the loss stays at {mean:.3g}, the entropy of the classes ({self.entropy:.3g})"
        if fastest_layer(check.layers, self.recipe).update > STEP:
            return self._note("rate", self._too_high(flat))
        for verdict in check.verdicts:
            if verdict.topic in ("plateau", "slow", "inputs"):
                return self._note("plateau", f"{flat}, because {verdict.text}. {verdict.fix}")
        if self.faded_at_start:
            text = "the initial weights hardly pass on differences between images, and recovery takes long"
            return self._note("plateau", f"{flat}, because {text}. {plateau_fix(self.recipe)}")
        return self._note(
            "labels",
            f"{flat}, although signal, gradients and learning rate are sound: the labels do not seem to follow from "
            "the images. Look at some images of each class.",
        )

    def _too_high(self, what: str) -> str:
        lower = self.recipe.optim.lr / 10
        return (
            f"{what}, more than that of a network that knows nothing ({self.uniform:.2f}): the learning rate is too "
            f"high. Start again with optim.lr={lower:.2g}."
        )

    def _note(self, topic: str, text: str) -> str | None:
        """The text of a note, or None if its topic was reported before."""
        if topic in self.reported:
            return None
        self.reported.add(topic)
        return f"{topic}: {text}"

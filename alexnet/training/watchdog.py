"""The guard that watches a run: why the loss does not fall, said once, in words, while there is time to stop.

It is fed the loss and the error of every step; it looks at the network, through a check of the batch, after the first
step and when those look wrong. Faults look alike from outside (a flat loss at the entropy of the classes) and differ
inside: units that are dead, pictures that the network cannot tell apart, too high a rate, or a sound network on labels
that say nothing.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from alexnet.recipes.recipe import Recipe
from alexnet.training.check import STEP, Check, entropy_of, plateau_fix

RECENT = 50  # steps over which the loss is averaged
NEAR = 0.02  # of the entropy: as near to it as this is "has learned the class frequencies, no more"
PATIENCE = (200, 2000)  # steps after the warmup before a flat loss is suspicious, within two epochs where they allow
HIGH = 1.3  # loss over ln(classes), over RECENT steps; the transient of 2012 is over by then
SOARING = 3.0  # the same, at once: over 20 steps
TOPICS = ("plateau", "dead units", "labels", "rate")


class Watchdog:
    """Watches a run. Its memory goes into the checkpoints, so that a resumed run says what an undisturbed one says.

    Args:
        class_counts: training pictures of each class.
    """

    def __init__(self, recipe: Recipe, class_counts: Sequence[int], steps_per_epoch: int):
        total = sum(class_counts)
        classes, smoothing = len(class_counts), recipe.label_smoothing
        frequencies = [count / total for count in class_counts]
        self.recipe = recipe
        self.uniform = math.log(classes)
        self.entropy = entropy_of([(1 - smoothing) * f + smoothing / classes for f in frequencies])
        if recipe.class_weights == "balanced":
            self.entropy = self.uniform  # then all classes weigh alike, and answering their frequencies gains nothing
        self.chance = 1 - sum(f * f for f in frequencies)  # error of answers that are drawn as often as their class
        slow = 1 if recipe.model.activation == "relu" else 3  # sigmoids in their middle are slow to tell things apart
        self.patience = slow * min(max(PATIENCE[0], 2 * steps_per_epoch), PATIENCE[1])
        warmup = recipe.optim.warmup if recipe.optim.schedule == "one-cycle" else 0.0
        self.warm = math.ceil(warmup * steps_per_epoch * recipe.epochs)
        self.losses: deque[float] = deque(maxlen=RECENT)
        self.flat = 0  # steps for which the mean has been near the entropy
        self.next_look = RECENT
        self.low = math.inf
        self.learned_without_use = 0  # epochs in a row
        self.faded = False  # whether the start let next to nothing through that tells pictures apart
        self.said: set[str] = set()

    @classmethod
    def of(cls, recipe: Recipe, labels: Tensor, steps_per_epoch: int) -> "Watchdog":
        """A guard for a run over pictures with these labels, (N,)."""
        return cls(recipe, torch.bincount(labels, minlength=recipe.model.num_classes).tolist(), steps_per_epoch)

    def memory(self) -> Tensor:
        """What a checkpoint must hold for the guard to go on: a few float64 numbers and the recent losses."""
        numbers = [self.flat, self.next_look, self.low, self.learned_without_use, self.faded, *self.losses]
        return torch.tensor(numbers, dtype=torch.float64)

    def restore(self, memory: Tensor | None, rows: Sequence[Mapping[str, Any]]) -> None:
        """Takes over what `memory` gave, if there is one, and what was said, from the rows of metrics.jsonl."""
        if memory is not None:
            flat, next_look, self.low, learned, faded, *losses = memory.tolist()
            self.faded = bool(faded)
            self.flat, self.next_look, self.learned_without_use = int(flat), int(next_look), int(learned)
            self.losses.extend(losses)
        for row in rows:
            if row.get("kind") == "note":
                self.said.add(str(row.get("text", "")).partition(":")[0])

    def step(self, step: int, loss: float, error: float, look: Callable[[], Check]) -> str | None:
        """Takes in a step; what is wrong, or None.

        Args:
            step: of the whole run, counted from 1.
            loss: of the batch, before the step.
            error: top-1 error of the batch, in [0, 1].
            look: checks the network on the batch; called at the first step and a few times later at most.
        """
        if self.entropy <= 0:
            return None
        if step == 1:
            self.faded = "plateau" in look().topics
        self.losses.append(loss)
        if len(self.losses) >= 20 and sum(list(self.losses)[-20:]) / 20 > SOARING * self.uniform:
            return self._say("rate", self._too_high(f"the loss is {loss:.3g}"))
        if len(self.losses) < RECENT:
            return None
        mean = sum(self.losses) / RECENT
        fallen = self.low < self.uniform * (1 - NEAR)
        if mean > HIGH * self.uniform and (step > 2 * RECENT or fallen):
            jumped = f", after {self.low:.2f}" if fallen else ""
            return self._say("rate", self._too_high(f"the loss rose to {mean:.3g}{jumped}"))
        self.low = min(self.low, mean)
        # A network that begins to learn is below; one whose fc8 bias still looks for the frequencies is above.
        near = self.entropy * (1 - NEAR) <= mean <= max(self.entropy, self.uniform) * (1 + NEAR)
        self.flat = self.flat + 1 if near else 0
        if not near:
            self.next_look = RECENT
            return None
        if self.flat < self.next_look or self.said.issuperset(TOPICS[:3]):
            return None
        self.next_look = 2 * self.flat
        if step - self.warm >= self.patience and self.flat >= min(self.patience, step - self.warm) // 2:
            self.next_look = 2 * max(self.flat, self.patience)
            return self._judge(mean, look(), patient=True)
        return self._judge(mean, look(), patient=False)

    def epoch(self, row: Mapping[str, Any]) -> str | None:
        """Takes in the metrics of an epoch; what is wrong, or None."""
        held_out, training = row.get("val_top1_error"), row["train_top1_error"]
        if held_out is None:
            return None
        useless = training < 0.5 * self.chance and held_out >= 0.95 * self.chance
        self.learned_without_use = self.learned_without_use + 1 if useless else 0
        if self.learned_without_use < 2:
            return None
        return self._say(
            "labels",
            f"the error is {100 * training:.0f} % on training pictures and {100 * held_out:.0f} % on held-out ones, no "
            "better than chance: the labels do not follow from the pictures, or both splits label them differently. "
            "Look at some pictures of each class in both.",
        )

    def _judge(self, mean: float, seen: Check, *, patient: bool) -> str | None:
        """What a flat loss comes from; `patient`: it has been flat too long for a slow start."""
        for verdict in seen.verdicts:
            if verdict.topic in ("dead", "saturated"):
                return self._say("dead units", f"{verdict.text}. {verdict.fix}")
        if not patient or self.said & {"dead units", "plateau", "rate"}:
            return None
        flat = f"the loss stays at {mean:.3g}, the entropy of the classes ({self.entropy:.3g})"
        if max(layer.update for layer in seen.layers) > STEP:
            return self._say("rate", self._too_high(flat))
        for verdict in seen.verdicts:
            if verdict.topic in ("plateau", "slow", "inputs"):
                return self._say("plateau", f"{flat}, because {verdict.text}. {verdict.fix}")
        if self.faded:
            text = "the start let next to nothing through that tells pictures apart, and it takes long to recover"
            return self._say("plateau", f"{flat}, because {text}. {plateau_fix(self.recipe)}")
        return self._say(
            "labels",
            f"{flat}, although signal, gradients and rate are sound: the labels seem not to follow from the pictures. "
            "Look at some pictures of each class.",
        )

    def _too_high(self, what: str) -> str:
        lower = self.recipe.optim.lr / 10
        return (
            f"{what}, more than that of a network that knows nothing ({self.uniform:.2f}): the rate is too high. "
            + (f"Start again with optim.lr={lower:.2g}.")
        )

    def _say(self, topic: str, text: str) -> str | None:
        if topic in self.said:
            return None
        self.said.add(topic)
        return f"{topic}: {text}"

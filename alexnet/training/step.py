"""One step of gradient descent, by one process or by several together; and an evaluation that several share.

The loss is that of the whole batch: every process divides its sum over images by what the batch weighs, so that the
sum of the gradients is the gradient, however unevenly the images fall.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from alexnet.distributed.collectives import ProcessGroup, all_reduce_gradients, all_reduce_in_order, micro_batch_count
from alexnet.distributed.data_parallel import set_mask_rows
from alexnet.distributed.hybrid import hybrid_pass
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.models.network import Network
from alexnet.recipes.recipe import Recipe
from alexnet.training.divergence import runs_away


class RunawayLoss(Exception):
    """The loss from which no step leads anywhere."""

    def __init__(self, loss: float):
        super().__init__(f"loss {loss}")
        self.loss = loss


def train_step(
    model: Network,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    class_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of gradient descent.

    Args:
        images: (N, 3, H, W) pixels 0..255.
        targets: (N, classes) probabilities.
        class_weights: (classes,); see `weighted_loss`. None: all alike.

    Returns:
        The mean loss before the step, a scalar, and the logits (N, classes).

    Raises:
        RunawayLoss: the loss is not finite or beyond recovery; no step is taken.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        logits = model(images)
    if class_weights is None:
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    else:
        loss = weighted_loss(logits.float(), targets, class_weights, recipe.label_smoothing)
    if runs_away(value := float(loss.detach()), logits.shape[1]):
        raise RunawayLoss(value)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach(), logits.detach()


def weighted_loss(logits: Tensor, targets: Tensor, class_weights: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy in which class c counts class_weights[c] times, divided by what the targets weigh together.

    For targets that are certain this is `F.cross_entropy(logits, labels, weight=class_weights)`; for probabilities
    PyTorch would divide by the number of pictures, so that a blend of two labels would not lie between the two.

    Args:
        logits: (N, classes).
        targets: (N, classes) probabilities.
    """
    total = F.cross_entropy(logits, targets, class_weights, reduction="sum", label_smoothing=label_smoothing)
    return total / (targets @ class_weights).sum()


@dataclass(frozen=True)
class StepResult:
    """What came of a step."""

    loss: float  # mean over the whole batch, before the step
    wrong: float  # of its images, by top-1
    count: int  # images of the whole batch
    lr: float  # of the weights


def group_step(
    group: ProcessGroup,
    model: Network,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    class_weights: Tensor | None,
    *,
    count: int,
    step: int,
) -> tuple[float, float]:
    """One step on the whole batch; arguments as for `trainer.train_step`.

    Args:
        images: those of this process, `group.rows(count)` of the batch.
        targets: those of its pictures; with hybrid those of the whole batch.
        count: pictures of the whole batch.
        step: from which the dropout masks follow.

    Returns:
        The mean loss of the whole batch before the step, and how many of its pictures were answered wrong.

    Raises:
        RunawayLoss: the loss is not finite or beyond recovery; no process takes the step.
    """
    loss = _StepLoss(group, recipe, class_weights, targets, count)
    pieces, first = group.micro_batches(count), group.rows(count).start
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def masks(rows: slice | Tensor) -> None:
        set_mask_rows(model, count, rows)
        model.seed_dropout(recipe.seed, step)

    def precision() -> torch.autocast:
        return torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")

    optimizer.zero_grad(set_to_none=True)
    if group.scheme == "hybrid":
        hybrid_pass(
            group, model, images, count, set_mask_rows=masks, precision=precision, loss_of=loss, check=loss.check
        )
        optimizer.step()
        return loss.value, loss.wrong
    kept: list[tuple[int, Sequence[Tensor]]] = []
    for place, whole in pieces:
        masks(whole)
        rows = slice(whole.start - first, whole.stop - first)
        with precision():
            logits = model(images[rows]).float()
        part = loss(place, logits, rows)
        if not group.micro_batch:
            loss.check()
        part.backward()  # type: ignore[no-untyped-call]
        if group.micro_batch:
            kept.append((place, [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]))
            optimizer.zero_grad(set_to_none=True)
    if group.micro_batch:
        loss.check()
        all_reduce_in_order(group, parameters, kept, micro_batch_count(count, group.micro_batch))
    elif group.scheme == "data":
        all_reduce_gradients(group, parameters)
    optimizer.step()
    return loss.value, loss.wrong


class _StepLoss:
    """The loss of a batch piece by piece, each divided by what the whole batch weighs.

    Loss, errors and weight of each piece stand at its place, zeros elsewhere: their sum over processes is exact.
    """

    def __init__(self, group: ProcessGroup, recipe: Recipe, class_weights: Tensor | None, targets: Tensor, count: int):
        self.group, self.recipe, self.class_weights, self.targets = group, recipe, class_weights, targets
        number = 1 if group.scheme == "towers" else group.size
        if group.micro_batch:
            number = micro_batch_count(count, group.micro_batch)
        self.figures = torch.zeros(3, number, dtype=torch.float64)
        self.value = 0.0  # mean over the batch, once checked
        if group.scheme == "hybrid":  # every process has all targets
            self.weight = _weight(targets, class_weights)
            return
        first = group.rows(count).start
        for place, rows in group.micro_batches(count):
            self.figures[2, place] = _weight(targets[rows.start - first : rows.stop - first], class_weights)
        self.weight = _ordered(self._shared(self.figures[2]))

    def __call__(self, place: int, logits: Tensor, rows: slice | Tensor) -> Tensor:
        """The part of the loss that pictures have, by their rows among the targets; backward goes from there."""
        chosen, smoothing = self.targets[rows], self.recipe.label_smoothing
        loss = F.cross_entropy(logits, chosen, self.class_weights, reduction="sum", label_smoothing=smoothing)
        if self.group.scheme != "hybrid" or place == self.group.rank:  # there every process has the losses of all
            self.figures[0, place] = float(loss.detach())
            self.figures[1, place] = float((logits.argmax(1) != chosen.argmax(1)).sum())
        return loss / self.weight

    def check(self) -> None:
        """Shares the losses, when all are known.

        Raises:
            RunawayLoss: that of the batch is not finite or beyond recovery.
        """
        self.figures = self._shared(self.figures)
        self.value = _ordered(self.figures[0]) / self.weight
        if runs_away(self.value, self.recipe.model.num_classes):
            raise RunawayLoss(self.value)

    @property
    def wrong(self) -> float:
        """Pictures of the batch that were answered wrong."""
        return float(self.figures[1].sum())

    def _shared(self, figures: Tensor) -> Tensor:
        """The figures of all pieces; of towers, every process has them already."""
        return figures if self.group.scheme == "towers" else self.group.all_reduce(figures.clone(), "figures")


def group_predictor(group: ProcessGroup) -> Callable[..., NDArray[np.float32]]:
    """`predict_probabilities` for a team that shares the pictures: the same batches, dealt out in turn."""

    def predict(
        model: Network,
        read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        count: int,
        *,
        batch_size: int = 64,
        **options: Any,
    ) -> NDArray[np.float32]:
        if group.scheme != "data" or group.size == 1:
            return predict_probabilities(model, read, count, batch_size=batch_size, **options)
        out = torch.zeros(count, model.config.num_classes)
        for number, start in enumerate(range(0, count, batch_size)):
            if number % group.size != group.rank:
                continue
            here = np.arange(start, min(start + batch_size, count))
            some = predict_probabilities(
                model, partial(_chosen, read, here), len(here), batch_size=batch_size, **options
            )
            out[here] = torch.from_numpy(some)
        return np.asarray(group.all_reduce(out, "answers").numpy())  # the others had zeros there

    return predict


def _chosen(
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]], among: NDArray[np.int64], which: NDArray[np.int64]
) -> NDArray[np.uint8]:
    return read(among[which])


def _weight(targets: Tensor, class_weights: Tensor | None) -> float:
    return float(len(targets)) if class_weights is None else float((targets @ class_weights).double().sum())


def _ordered(numbers: Tensor) -> float:
    total = 0.0
    for number in numbers.tolist():
        total += number
    return total

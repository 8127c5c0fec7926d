"""One step of stochastic gradient descent, by one process or by a process group; and prediction by a process group.

The loss is the mean over the whole batch: every process divides its sum over images by the total weight of the batch.
So the sum of the gradients of all processes is the gradient of the batch, even if processes have unequal numbers of
images.
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
from alexnet.kernels.precision import autocast, rounding
from alexnet.models.network import Network
from alexnet.recipes.recipe import Recipe
from alexnet.training.divergence import runs_away


class RunawayLoss(Exception):
    """Raised for a loss from which a run cannot recover."""

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
    """Takes one step of stochastic gradient descent in a single process.

    Args:
        images: (N, 3, H, W) pixels 0..255.
        targets: (N, classes) probabilities.
        class_weights: (classes,); see `weighted_loss`. None: all classes count the same.

    Returns:
        The mean loss before the step, a scalar, and the logits (N, classes).

    Raises:
        RunawayLoss: the loss is not finite or beyond recovery; no step is taken.
    """
    with rounding(images.device, recipe.precision):
        with autocast(images.device, recipe.precision):
            logits = model(images, check_range=False)
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
    """Cross-entropy in which class c counts class_weights[c] times, divided by the total weight of the targets.

    For one-hot targets this is `F.cross_entropy(logits, labels, weight=class_weights)`. For probabilities PyTorch would
    divide by the number of images; then the loss of a mixture of two labels would not lie between the losses of both.

    Args:
        logits: (N, classes).
        targets: (N, classes) probabilities.
    """
    total = F.cross_entropy(logits, targets, class_weights, reduction="sum", label_smoothing=label_smoothing)
    return total / (targets @ class_weights).sum()


@dataclass(frozen=True)
class StepResult:
    """The result of a step."""

    loss: float  # mean over the whole batch, before the step
    wrong: float  # top-1 errors among its images
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
    """Takes one step on the whole batch in a process group; other arguments as for `train_step`.

    Args:
        images: those of this process, `group.rows(count)` of the batch.
        targets: those of these images; with hybrid those of the whole batch.
        count: images in the whole batch.
        step: determines the dropout masks.

    Returns:
        The mean loss of the whole batch before the step, and the number of top-1 errors among its images.

    Raises:
        RunawayLoss: the loss is not finite or beyond recovery; no process takes the step.
    """
    loss = _StepLoss(group, recipe, class_weights, targets, count)
    micro_batches, first = group.micro_batches(count), group.rows(count).start
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def set_masks(rows: slice | Tensor) -> None:
        model.seed_dropout(recipe.seed, step)
        set_mask_rows(model, rows)

    precision = partial(autocast, images.device, recipe.precision)

    with rounding(images.device, recipe.precision):
        optimizer.zero_grad(set_to_none=True)
        if group.scheme == "hybrid":
            hybrid_pass(
                group,
                model,
                images,
                count,
                set_mask_rows=set_masks,
                precision=precision,
                loss_of=loss,
                check=loss.check,
            )
            optimizer.step()
            return loss.value, loss.wrong
        gradients: list[tuple[int, Sequence[Tensor]]] = []
        for position, batch_rows in micro_batches:
            set_masks(batch_rows)
            rows = slice(batch_rows.start - first, batch_rows.stop - first)
            with precision():
                logits = model(images[rows], check_range=False).float()
            part = loss(position, logits, rows)
            if not group.micro_batch:
                loss.check()
            part.backward()  # type: ignore[no-untyped-call]
            if group.micro_batch:
                gradients.append((position, [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]))
                optimizer.zero_grad(set_to_none=True)
        if group.micro_batch:
            loss.check()
            all_reduce_in_order(group, parameters, gradients, micro_batch_count(count, group.micro_batch))
        elif group.scheme == "data":
            all_reduce_gradients(group, parameters)
        optimizer.step()
        return loss.value, loss.wrong


class _StepLoss:
    """The loss of a batch, computed in parts, each divided by the total weight of the whole batch.

    Loss, errors and weight of each part have their own position in a table, and other processes have zeros there. So
    the all-reduce of the table is exact.
    """

    def __init__(self, group: ProcessGroup, recipe: Recipe, class_weights: Tensor | None, targets: Tensor, count: int):
        self.group, self.recipe, self.class_weights, self.targets = group, recipe, class_weights, targets
        number = 1 if group.scheme == "towers" else group.size
        if group.micro_batch:
            number = micro_batch_count(count, group.micro_batch)
        self.sums = torch.zeros(3, number, dtype=torch.float64)  # loss, errors and weight of each part
        self.value = 0.0  # mean over the batch, after `check`
        if group.scheme == "hybrid":  # every process has all targets
            self.weight = _weight(targets, class_weights)
            return
        first = group.rows(count).start
        for position, rows in group.micro_batches(count):
            self.sums[2, position] = _weight(targets[rows.start - first : rows.stop - first], class_weights)
        self.weight = _sum_in_order(self._all_reduced(self.sums[2]))

    def __call__(self, position: int, logits: Tensor, rows: slice | Tensor) -> Tensor:
        """The loss of one part, to start the backward pass from.

        Args:
            position: of the part in the table.
            logits: (n, classes) of its images.
            rows: of its images among the targets.
        """
        targets, smoothing = self.targets[rows], self.recipe.label_smoothing
        loss = F.cross_entropy(logits, targets, self.class_weights, reduction="sum", label_smoothing=smoothing)
        # With hybrid every process computes the losses of all parts, but each part must be counted once.
        if self.group.scheme != "hybrid" or position == self.group.rank:
            self.sums[0, position] = float(loss.detach())
            self.sums[1, position] = float((logits.argmax(1) != targets.argmax(1)).sum())
        return loss / self.weight

    def check(self) -> None:
        """Sums the losses over all processes, when all parts are computed.

        Raises:
            RunawayLoss: the loss of the batch is not finite or beyond recovery.
        """
        self.sums = self._all_reduced(self.sums)
        self.value = _sum_in_order(self.sums[0]) / self.weight
        if runs_away(self.value, self.recipe.model.num_classes):
            raise RunawayLoss(self.value)

    @property
    def wrong(self) -> float:
        """Number of top-1 errors in the batch."""
        return float(self.sums[1].sum())

    def _all_reduced(self, sums: Tensor) -> Tensor:
        """The table with all parts; with towers every process has it already."""
        return sums if self.group.scheme == "towers" else self.group.all_reduce(sums.clone(), "losses")


def group_predictor(group: ProcessGroup) -> Callable[..., NDArray[np.float32]]:
    """`predict_probabilities` for a process group: the same batches, distributed over the processes in turn."""

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
            rows = np.arange(start, min(start + batch_size, count))
            probabilities = predict_probabilities(
                model, partial(_read_subset, read, rows), len(rows), batch_size=batch_size, **options
            )
            out[rows] = torch.from_numpy(probabilities)
        return np.asarray(group.all_reduce(out, "predictions").numpy())  # other processes have zeros in these rows

    return predict


def _read_subset(
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]], subset: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.uint8]:
    return read(subset[positions])


def _weight(targets: Tensor, class_weights: Tensor | None) -> float:
    return float(len(targets)) if class_weights is None else float((targets @ class_weights).cpu().double().sum())


def _sum_in_order(numbers: Tensor) -> float:
    total = 0.0  # Tensor.sum may add in another order
    for number in numbers.tolist():
        total += number
    return total

"""One step of gradient descent that several processes take together, and a look at a split that they share.

The loss is that of the whole batch: every process divides its sum over pictures by what the batch weighs, so that the
sum of the gradients is the gradient, however unevenly the pictures fall.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from alexnet.checkpoint import Checkpoint, load_checkpoint
from alexnet.collectives import Team, piece_count, sum_gradients, sum_in_order
from alexnet.divergence import runs_away
from alexnet.evaluate import predict_probabilities
from alexnet.model import Network
from alexnet.recipes import Recipe
from alexnet.run import Run
from alexnet.spread import has_batch_norm, place_masks
from alexnet.trainer import RunawayLoss


def team_step(
    team: Team,
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
        images: those of this process, `team.rows(count)` of the batch.
        count: pictures of the whole batch.
        step: from which the dropout masks follow.

    Returns:
        The mean loss of the whole batch before the step, and how many of its pictures were answered wrong.

    Raises:
        RunawayLoss: the loss is not finite or beyond recovery; no process takes the step.
    """
    pieces, number = team.pieces(count), team.size if team.scheme == "data" else 1
    if team.piece:
        number = piece_count(count, team.piece)
    first = team.rows(count).start
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    # Loss, errors and weight of each piece at its place, zeros elsewhere: their sum over processes is exact.
    figures = torch.zeros(3, number, dtype=torch.float64)
    inside = [slice(rows.start - first, rows.stop - first) for _, rows in pieces]
    for (place, _), rows in zip(pieces, inside, strict=True):
        figures[2, place] = _weight(targets[rows], class_weights)
    weight = _ordered(_shared(team, figures[2]))
    optimizer.zero_grad(set_to_none=True)
    value, classes = 0.0, recipe.model.num_classes
    needed = has_batch_norm(model)  # a process without pictures still takes part in its sums
    kept: list[tuple[int, Sequence[Tensor]]] = []
    for (place, whole), rows in zip(pieces, inside, strict=True):
        place_masks(model, count, whole)
        model.seed_dropout(recipe.seed, step)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            some = needed or rows.stop > rows.start
            logits = model(images[rows]).float() if some else torch.zeros(0, classes, requires_grad=True)
        smoothing = recipe.label_smoothing
        loss = F.cross_entropy(logits, targets[rows], class_weights, reduction="sum", label_smoothing=smoothing)
        figures[0, place] = float(loss.detach())
        figures[1, place] = float((logits.argmax(1) != targets[rows].argmax(1)).sum())
        if not team.piece:
            value = _refuse_runaway(team, figures, weight, classes)
        (loss / weight).backward()  # type: ignore[no-untyped-call]
        if team.piece:
            kept.append((place, [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]))
            optimizer.zero_grad(set_to_none=True)
    if team.piece:
        value = _refuse_runaway(team, figures, weight, classes)
        sum_in_order(team, parameters, kept, number)
    elif team.scheme == "data":
        sum_gradients(team, parameters)
    optimizer.step()
    return value, float(figures[1].sum())


def team_predict(team: Team) -> Callable[..., NDArray[np.float32]]:
    """`predict_probabilities` for a team that shares the pictures: the same batches, dealt out in turn."""

    def predict(
        model: Network,
        read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
        count: int,
        *,
        batch_size: int = 64,
        **options: Any,
    ) -> NDArray[np.float32]:
        if team.scheme != "data" or team.size == 1:
            return predict_probabilities(model, read, count, batch_size=batch_size, **options)
        out = torch.zeros(count, model.config.num_classes)
        for number, start in enumerate(range(0, count, batch_size)):
            if number % team.size != team.rank:
                continue
            here = np.arange(start, min(start + batch_size, count))
            some = predict_probabilities(
                model, partial(_chosen, read, here), len(here), batch_size=batch_size, **options
            )
            out[here] = torch.from_numpy(some)
        return np.asarray(team.sum(out, "answers").numpy())  # the others had zeros there

    return predict


def shared_checkpoint(run: Run, team: Team) -> Checkpoint | None:
    """The newest whole checkpoint, read by the leader alone; of a single process its own."""
    stored = load_checkpoint(run) if team.leads else None
    if team.size == 1:
        return stored
    rest = team.share(None if stored is None else stored._replace(tensors={}))
    tensors = team.share_tensors({} if stored is None else stored.tensors)
    return None if rest is None else rest._replace(tensors=tensors)


def _chosen(
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]], among: NDArray[np.int64], which: NDArray[np.int64]
) -> NDArray[np.uint8]:
    return read(among[which])


def _shared(team: Team, figures: Tensor) -> Tensor:
    """The figures of all pieces; of towers, every process has them already."""
    return team.sum(figures.clone(), "figures") if team.scheme == "data" else figures


def _refuse_runaway(team: Team, figures: Tensor, weight: float, classes: int) -> float:
    figures.copy_(_shared(team, figures))
    value = _ordered(figures[0]) / weight
    if runs_away(value, classes):
        raise RunawayLoss(value)
    return value


def _weight(targets: Tensor, class_weights: Tensor | None) -> float:
    return float(len(targets)) if class_weights is None else float((targets @ class_weights).double().sum())


def _ordered(numbers: Tensor) -> float:
    total = 0.0
    for number in numbers.tolist():
        total += number
    return total

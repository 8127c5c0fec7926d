"""One weird trick (2014): the pictures divided up to pool5, the units of the fully connected layers after it.

The convolutions are most of the work and few of the weights, so every process has all of them and its pictures of the
batch. The fully connected layers are little of the work and most of the weights, so every process has some rows of
each and sees all pictures. Where the two meet, a step goes through turns: in each, every process sends a part of its
pool5 to all others, and all together take that mixture of pictures forward and backward through their units. What the
next turn needs travels while this one is computed, and so do the gradients of the turn before on their way home; the
gradients of the convolutions are added up while those of earlier layers are still computed.

That is scheme (c) of section 4 of the paper below. In its scheme (b) a turn is the pictures of one process, whose link
alone is busy; here all links are. Batch norm after a fully connected layer needs all pictures at once: then there is
one turn, its scheme (a). The weights of all layers move once a step, with the gradient of the whole batch.

Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from alexnet.distributed.collectives import ProcessGroup, all_reduce_during_backward
from alexnet.distributed.data_parallel import sync_batch_norm
from alexnet.distributed.tensor_parallel import GatherUnits, join, keep_own_rows, set_mask_columns
from alexnet.errors import UsageError
from alexnet.models.fusion import run_layers
from alexnet.models.layers import TowerLinear
from alexnet.models.network import Network

BORDER = "meet_pictures"
Rows = list[slice]  # of a batch, by rank of the process that looks at them


def check_hybrid(model: Network) -> None:
    """Refuses a network whose fully connected layers cannot be divided.

    Raises:
        UsageError: some of them see only one tower.
    """
    for name, layer in model.layers.named_children():
        if isinstance(layer, TowerLinear):
            raise UsageError(
                f"{name} sees one tower only, and hybrid divides fully connected layers that see all",
                fix="Use --parallel towers or --parallel data, or model.towers_talk=true.",
                code="E299",
            )


def head_of(model: Network) -> list[str]:
    """Names of the layers after the maps become one row a picture."""
    names = [name for name, _ in model.layers.named_children()]
    return names[names.index("flatten") + 1 :]


class _Own(nn.Module):
    """The pictures of a batch that this process looks at: (N, ...) to (part of N, ...); remembers N."""

    def __init__(self, group: ProcessGroup):
        super().__init__()
        self.group, self.count = group, 0

    def forward(self, x: Tensor) -> Tensor:
        self.count = len(x)
        return x[self.group.part(self.count)]


class _All(nn.Module):
    """What all processes made of their pictures, in order: (part of N, F) to (N, F). Nothing flows back."""

    def __init__(self, group: ProcessGroup, own: _Own):
        super().__init__()
        self.group, self.own = group, own

    def forward(self, x: Tensor) -> Tensor:
        return join(self.group, x, self.group.widths(self.own.count), 0, "features of answers")


def divide_hybrid(model: Network, group: ProcessGroup) -> frozenset[str]:
    """Leaves of a network all convolutions and this process's units of the other layers; changed in place.

    It answers a whole batch as it did before, in all processes; `hybrid_pass` trains it. Gives the names of the layers
    that are divided.

    Raises:
        UsageError: see `check_hybrid`.
    """
    if group.size == 1:
        return frozenset()
    check_hybrid(model)
    head = head_of(model)
    sync_batch_norm(model, group, [name for name, _ in model.layers.named_children() if name not in head])
    own = _Own(group)
    layers: list[tuple[str, nn.Module]] = [("own_pictures", own)]
    first = next(name for name in head if isinstance(model.layers.get_submodule(name), nn.Linear))
    set_mask_columns([model.layers.get_submodule(name) for name in head[head.index(first) :]], group)
    for name, layer in model.layers.named_children():
        if name == head[0]:
            layers.append((BORDER, _All(group, own)))
        if name in head:
            if isinstance(layer, nn.Linear) and name != first:
                layers.append((f"meet_{name}", GatherUnits(group, layer.in_features)))
            keep_own_rows(layer, group)
        layers.append((name, layer))
    layers.append(("meet_logits", GatherUnits(group, model.config.num_classes, last=True)))
    model.layers = nn.Sequential(OrderedDict(layers))
    return frozenset(head)


def turns_of(group: ProcessGroup, count: int, *, at_once: bool) -> list[Rows]:
    """The turns in which a batch of `count` goes through the divided layers: the rows of each process in each.

    Args:
        at_once: one turn; otherwise as many as processes, none of them empty.
    """
    parts = [group.part(count, rank) for rank in range(group.size)]
    if at_once:
        return [parts]
    turns = []
    for turn in range(group.size):
        inside = [group.part(part.stop - part.start, turn) for part in parts]
        rows = [slice(p.start + i.start, p.start + i.stop) for p, i in zip(parts, inside, strict=True)]
        if any(r.stop > r.start for r in rows):
            turns.append(rows)
    return turns


def hybrid_pass(
    group: ProcessGroup,
    model: Network,
    images: Tensor,
    count: int,
    *,
    set_mask_rows: Callable[[Tensor], None],
    precision: Callable[[], AbstractContextManager[Any]],
    loss_of: Callable[[int, Tensor, Tensor], Tensor],
    check: Callable[[], None],
) -> None:
    """Forward and backward of one step: every parameter of this process gets the gradient of the whole batch.

    Args:
        images: (n, 3, H, W), those of this process.
        count: pictures of the whole batch.
        place_masks: prepares the dropout masks for these rows of the batch, of all processes.
        precision: within it the network computes.
        loss_of: (number of the turn, logits, their rows of the batch) to their part of the loss.
        check: is called when all parts of the loss are known; raises what makes the step void.
    """
    border = [name for name, _ in model.layers.named_children()].index(BORDER)
    convolutions, head = list(model.layers)[1:border], list(model.layers)[border + 1 :]
    with precision():
        made = run_layers(convolutions, model.prepare_input(images)).contiguous()
    mine, start = made.detach(), group.part(count).start
    gradient = torch.empty_like(mine)

    def own(rows: Rows) -> slice:
        return slice(rows[group.rank].start - start, rows[group.rank].stop - start)

    def send(rows: Rows) -> tuple[list[Tensor], list[Any]]:
        part = mine[own(rows)]
        there = [mine.new_empty(r.stop - r.start, mine.shape[1]) for r in rows]
        there[group.rank] = part
        return there, group.begin_exchange(dict.fromkeys(range(group.size), part), dict(enumerate(there)), "features")

    def send_back(rows: Rows, grad: Tensor) -> tuple[Tensor, Tensor, list[Any]]:
        parts = list(torch.split(grad, [r.stop - r.start for r in rows]))
        back = grad.new_empty(group.size, *parts[group.rank].shape)
        back[group.rank] = parts[group.rank]
        works = group.begin_exchange(dict(enumerate(parts)), dict(enumerate(back)), "gradients of features")
        return back, grad, works  # what is sent must not go away

    turns = turns_of(group, count, at_once=any(isinstance(layer, nn.BatchNorm1d) for layer in head))
    under_way, returning = send(turns[0]), []
    for number, rows in enumerate(turns):
        there, works = under_way
        if number + 1 < len(turns):
            under_way = send(turns[number + 1])
        group.finish(works, "features")
        features = torch.cat(there).requires_grad_()
        which = torch.cat([torch.arange(r.start, r.stop) for r in rows]).to(images.device)
        set_mask_rows(which)
        with precision():
            logits = run_layers(head, features).float()
        loss_of(number, logits, which).backward()  # type: ignore[no-untyped-call]
        assert features.grad is not None
        returning.append((rows, *send_back(rows, features.grad)))
    for rows, back, _, works in returning:
        group.finish(works, "gradients of features")
        gradient[own(rows)] = back.sum(0)
    check()
    with all_reduce_during_backward(group, [p for layer in convolutions for p in layer.parameters()]):
        made.backward(gradient)  # type: ignore[no-untyped-call]

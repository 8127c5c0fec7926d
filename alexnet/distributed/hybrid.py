"""Hybrid parallelism ("one weird trick", 2014): images divided up to pool5, fully connected layers divided by units.

The convolutional layers have most of the computation and few of the weights, so every process has all of them and its
own images of the batch. The fully connected layers have little of the computation and most of the weights, so every
process has some rows of each and sees all images. Between the two, a step runs in turns. In each turn every process
sends pool5 of some of its images to all others, and all processes together compute the forward and backward pass of
these images through their units. The features of the next turn and the gradients of the last one are sent while a turn
is computed. The gradients of the convolutional layers are all-reduced while those of earlier layers are still computed.

This is scheme (c) of section 4 of the paper below. In its scheme (b) a turn has the images of one process, so only the
link of that process is busy; here all links are busy. Batch normalization after a fully connected layer needs all
images at once: then there is one turn, as in its scheme (a). The weights of all layers are updated once a step, with
the gradient of the whole batch.

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

BORDER = "gather_images"  # the layer between the two kinds of layers
Rows = list[slice]  # of a batch, by rank of the process that has the images


def check_hybrid(model: Network) -> None:
    """Refuses a network whose fully connected layers cannot be divided.

    Raises:
        UsageError: one of them sees only one tower.
    """
    for name, layer in model.layers.named_children():
        if isinstance(layer, TowerLinear):
            raise UsageError(
                f"{name} sees only one tower, and --parallel hybrid divides fully connected layers that see all towers",
                fix="Use --parallel towers or --parallel data, or model.towers_talk=true.",
                code="E299",
            )


def head_of(model: Network) -> list[str]:
    """Names of the layers after `flatten`: there an image is one row of features."""
    names = [name for name, _ in model.layers.named_children()]
    return names[names.index("flatten") + 1 :]


class _OwnImages(nn.Module):
    """The images of a batch that this process computes: (N, ...) to (part of N, ...); remembers N."""

    def __init__(self, group: ProcessGroup):
        super().__init__()
        self.group, self.count = group, 0

    def forward(self, x: Tensor) -> Tensor:
        self.count = len(x)
        return x[self.group.part(self.count)]


class _GatherImages(nn.Module):
    """Gathers the features of all images, in order: (part of N, F) to (N, F). No gradient passes through it."""

    def __init__(self, group: ProcessGroup, own_images: _OwnImages):
        super().__init__()
        self.group, self.own_images = group, own_images

    def forward(self, x: Tensor) -> Tensor:
        return join(self.group, x, self.group.widths(self.own_images.count), 0, "features in evaluation")


def divide_hybrid(model: Network, group: ProcessGroup) -> frozenset[str]:
    """Keeps the convolutional layers of a network and the units of this process in the layers after; in place.

    Called on a whole batch, in all processes, the network gives the same output as before; `hybrid_pass` trains it.

    Returns:
        The names of the divided layers.

    Raises:
        UsageError: see `check_hybrid`.
    """
    if group.size == 1:
        return frozenset()
    check_hybrid(model)
    head = head_of(model)
    sync_batch_norm(model, group, [name for name, _ in model.layers.named_children() if name not in head])
    own_images = _OwnImages(group)
    layers: list[tuple[str, nn.Module]] = [("own_images", own_images)]
    first = next(name for name in head if isinstance(model.layers.get_submodule(name), nn.Linear))
    set_mask_columns([model.layers.get_submodule(name) for name in head[head.index(first) :]], group)
    for name, layer in model.layers.named_children():
        if name == head[0]:
            layers.append((BORDER, _GatherImages(group, own_images)))
        if name in head:
            if isinstance(layer, nn.Linear) and name != first:
                layers.append((f"gather_{name}", GatherUnits(group, layer.in_features)))
            keep_own_rows(layer, group)
        layers.append((name, layer))
    layers.append(("gather_logits", GatherUnits(group, model.config.num_classes, last=True)))
    model.layers = nn.Sequential(OrderedDict(layers))
    return frozenset(head)


def turns_of(group: ProcessGroup, count: int, *, at_once: bool) -> list[Rows]:
    """The turns in which a batch of `count` passes the divided layers: for each turn, the rows of each process.

    Args:
        at_once: all images in one turn; otherwise there are as many turns as processes, without empty ones.
    """
    parts = [group.part(count, rank) for rank in range(group.size)]
    if at_once:
        return [parts]
    turns = []
    for turn in range(group.size):
        offsets = [group.part(part.stop - part.start, turn) for part in parts]
        rows = [slice(p.start + o.start, p.start + o.stop) for p, o in zip(parts, offsets, strict=True)]
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
    """Computes forward and backward of one step: every parameter of this process gets the gradient of the whole batch.

    Args:
        images: (n, 3, H, W), those of this process.
        count: images in the whole batch.
        set_mask_rows: prepares the dropout masks for these rows of the batch, which are images of all processes.
        precision: gives the context in which the network computes.
        loss_of: (number of the turn, logits, their rows of the batch) to their part of the loss.
        check: is called when all parts of the loss are known; raises if the step must not be taken.
    """
    border = [name for name, _ in model.layers.named_children()].index(BORDER)
    convolutions, head = list(model.layers)[1:border], list(model.layers)[border + 1 :]
    with precision():
        outputs = run_layers(convolutions, model.prepare_input(images)).contiguous()
    own_features, start = outputs.detach(), group.part(count).start
    gradient = torch.empty_like(own_features)

    def own_rows(rows: Rows) -> slice:
        return slice(rows[group.rank].start - start, rows[group.rank].stop - start)

    def send(rows: Rows) -> tuple[list[Tensor], list[Any]]:
        part = own_features[own_rows(rows)]
        parts = [own_features.new_empty(r.stop - r.start, own_features.shape[1]) for r in rows]
        parts[group.rank] = part
        return parts, group.begin_exchange(dict.fromkeys(range(group.size), part), dict(enumerate(parts)), "features")

    def send_back(rows: Rows, grad: Tensor) -> tuple[Tensor, Tensor, list[Any]]:
        parts = list(torch.split(grad, [r.stop - r.start for r in rows]))
        returned = grad.new_empty(group.size, *parts[group.rank].shape)
        returned[group.rank] = parts[group.rank]
        works = group.begin_exchange(dict(enumerate(parts)), dict(enumerate(returned)), "gradients of features")
        return returned, grad, works  # `grad` is returned too, so that its memory lives until it is sent

    turns = turns_of(group, count, at_once=any(isinstance(layer, nn.BatchNorm1d) for layer in head))
    in_transit, returning = send(turns[0]), []
    for number, rows in enumerate(turns):
        parts, works = in_transit
        if number + 1 < len(turns):
            in_transit = send(turns[number + 1])
        group.finish(works, "features")
        features = torch.cat(parts).requires_grad_()
        positions = torch.cat([torch.arange(r.start, r.stop) for r in rows]).to(images.device)
        set_mask_rows(positions)
        with precision():
            logits = run_layers(head, features).float()
        loss_of(number, logits, positions).backward()  # type: ignore[no-untyped-call]
        assert features.grad is not None
        returning.append((rows, *send_back(rows, features.grad)))
    for rows, returned, _, works in returning:
        group.finish(works, "gradients of features")
        gradient[own_rows(rows)] = returned.sum(0)
    check()
    with all_reduce_during_backward(group, [p for layer in convolutions for p in layer.parameters()]):
        outputs.backward(gradient)  # type: ignore[no-untyped-call]

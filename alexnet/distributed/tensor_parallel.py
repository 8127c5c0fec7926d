"""Tensor parallelism: layers whose units are divided among processes, with activations and gradients exchanged.

A process has some rows of every weight, bias and buffer of such a layer, and so some of its units. Before a layer that
needs the units of all processes stands `GatherUnits`: forward it gathers the activations, backward it sends every
gradient to the process that has the unit and adds them there. A checkpoint holds the complete tensors.
"""

from collections.abc import Collection, Iterable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet.distributed.collectives import ProcessGroup
from alexnet.models.layers import Dropout, TowerLinear


class GatherUnits(nn.Module):
    """Gathers the units of all processes: (N, part of `units`, ...) to (N, units, ...).

    Args:
        last: whether all processes compute the same from here on, so that each has the complete gradient already.
    """

    def __init__(self, group: ProcessGroup, units: int, *, last: bool = False):
        super().__init__()
        self.group, self.units, self.last = group, units, last

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, _GatherUnits.apply(x, self.group, self.group.widths(self.units), self.last))


class _GatherUnits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup, widths: list[int], last: bool) -> Tensor:
        ctx.group, ctx.widths, ctx.last = group, widths, last
        return join(group, x, widths, 1, "activations")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        group: ProcessGroup = ctx.group
        parts = torch.split(grad, ctx.widths, 1)
        own = parts[group.rank]
        if ctx.last:
            return own.contiguous(), None, None, None
        outgoing = torch.cat([part.flatten() for part in parts])
        incoming = outgoing.new_empty(group.size * own.numel())
        group.sent["gradients of activations"] += outgoing.nbytes - own.nbytes
        with group.watched("gradients of activations"):
            dist.all_to_all_single(incoming, outgoing, [own.numel()] * group.size, [part.numel() for part in parts])
        return incoming.view(group.size, *own.shape).sum(0), None, None, None


def join(group: ProcessGroup, x: Tensor, widths: list[int], dim: int, what: str) -> Tensor:
    """Gathers the tensors of all processes and concatenates them along `dim`, where their sizes are `widths`."""
    largest = max(widths)
    if x.shape[dim] < largest:  # all_gather needs tensors of one shape
        shape = list(x.shape)
        shape[dim] = largest - x.shape[dim]
        x = torch.cat([x, x.new_zeros(shape)], dim)
    parts = group.all_gather(x.contiguous(), what)
    return torch.cat([part.narrow(dim, 0, width) for part, width in zip(parts, widths, strict=True)], dim)


def keep_own_rows(layer: nn.Module, group: ProcessGroup) -> None:
    """Keeps only the rows of this process in the tensors of a layer; changes it in place."""
    for key, parameter in list(layer.named_parameters(recurse=False)):
        setattr(layer, key, nn.Parameter(own_rows(parameter.detach(), group)))
    for key, buffer in list(layer.named_buffers(recurse=False)):
        setattr(layer, key, own_rows(buffer, group))


def set_mask_columns(layers: Iterable[nn.Module], group: ProcessGroup) -> None:
    """Makes every dropout layer draw the masks of the units of this process."""
    units = 0
    for layer in reversed(list(layers)):
        if isinstance(layer, nn.Linear):
            units = layer.in_features * (layer.towers if isinstance(layer, TowerLinear) else 1)
        if isinstance(layer, Dropout):
            layer.columns = group.part(units)


def own_rows(tensor: Tensor, group: ProcessGroup) -> Tensor:
    """The rows of a tensor that this process has; a scalar is not divided."""
    return tensor if tensor.ndim == 0 else tensor[group.part(len(tensor))].clone()


def own_parts(tensors: dict[str, Tensor], group: ProcessGroup, layers: Collection[str]) -> dict[str, Tensor]:
    """The parts that this process has of the tensors of a complete network; only the layers `layers` are divided."""
    return {name: own_rows(t, group) if _layer(name) in layers else t for name, t in tensors.items()}


def whole_tensors(tensors: dict[str, Tensor], group: ProcessGroup, layers: Collection[str]) -> dict[str, Tensor]:
    """Gathers the complete tensors of a network whose layers `layers` are divided; every process calls it."""
    out = {}
    for name, tensor in tensors.items():
        if _layer(name) not in layers or tensor.ndim == 0:
            out[name] = tensor
            continue
        widths = [int(w) for w in group.all_gather(torch.tensor([len(tensor)]), "checkpoint")]
        out[name] = join(group, tensor.detach().contiguous(), widths, 0, "checkpoint")
    return out


def _layer(name: str) -> str:
    """The layer name in a tensor name of a checkpoint: optimizer/momentum/layers.fc6.weight -> fc6."""
    return name.partition("layers.")[2].partition(".")[0]

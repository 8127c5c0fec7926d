"""Layers whose units are divided among processes: who has which rows, and how activations and gradients meet.

A process has some rows of every weight, bias and buffer of such a layer, and so some of its units. What sees the units
of all is fed by `Meet`: it gathers activations forward, and backward brings every gradient home and adds it up. A
checkpoint holds the whole tensors.
"""

from collections.abc import Collection, Iterable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet.distributed.collectives import Team
from alexnet.models.layers import Dropout, TowerLinear


class Meet(nn.Module):
    """Puts the units of all processes side by side: (N, part of `units`, ...) to (N, units, ...).

    Args:
        last: whether all processes go on alike from here, so that each has the whole gradient already.
    """

    def __init__(self, team: Team, units: int, *, last: bool = False):
        super().__init__()
        self.team, self.units, self.last = team, units, last

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, _Meet.apply(x, self.team, self.team.widths(self.units), self.last))


class _Meet(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, team: Team, widths: list[int], last: bool) -> Tensor:
        ctx.team, ctx.widths, ctx.last = team, widths, last
        return join(team, x, widths, 1, "activations")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        team: Team = ctx.team
        parts = torch.split(grad, ctx.widths, 1)
        mine = parts[team.rank]
        if ctx.last:
            return mine.contiguous(), None, None, None
        outgoing = torch.cat([part.flatten() for part in parts])
        incoming = outgoing.new_empty(team.size * mine.numel())
        team.sent["gradients of activations"] += outgoing.nbytes - mine.nbytes
        with team.watched("gradients of activations"):
            dist.all_to_all_single(incoming, outgoing, [mine.numel()] * team.size, [part.numel() for part in parts])
        return incoming.view(team.size, *mine.shape).sum(0), None, None, None


def join(team: Team, x: Tensor, widths: list[int], dim: int, what: str) -> Tensor:
    """The tensors of all processes one after the other along `dim`, in which they may differ: `widths`."""
    most = max(widths)
    if x.shape[dim] < most:
        shape = list(x.shape)
        shape[dim] = most - x.shape[dim]
        x = torch.cat([x, x.new_zeros(shape)], dim)
    parts = team.gather(x.contiguous(), what)
    return torch.cat([part.narrow(dim, 0, width) for part, width in zip(parts, widths, strict=True)], dim)


def keep_part(layer: nn.Module, team: Team) -> None:
    """Leaves of the tensors of a layer the rows of this process; changed in place."""
    for key, parameter in list(layer.named_parameters(recurse=False)):
        setattr(layer, key, nn.Parameter(part_of(parameter.detach(), team)))
    for key, buffer in list(layer.named_buffers(recurse=False)):
        setattr(layer, key, part_of(buffer, team))


def place_columns(layers: Iterable[nn.Module], team: Team) -> None:
    """Makes every dropout layer draw the masks of all units and use those of this process."""
    units = 0
    for layer in reversed(list(layers)):
        if isinstance(layer, nn.Linear):
            units = layer.in_features * (layer.towers if isinstance(layer, TowerLinear) else 1)
        if isinstance(layer, Dropout):
            layer.columns = units, team.part(units)


def part_of(tensor: Tensor, team: Team) -> Tensor:
    """The rows of this process; of a number by itself the whole."""
    return tensor if tensor.ndim == 0 else tensor[team.part(len(tensor))].clone()


def parts_of(tensors: dict[str, Tensor], team: Team, layers: Collection[str]) -> dict[str, Tensor]:
    """What a process has of the named tensors of a whole network, of which these layers are divided."""
    return {name: part_of(t, team) if _layer(name) in layers else t for name, t in tensors.items()}


def whole_of(tensors: dict[str, Tensor], team: Team, layers: Collection[str]) -> dict[str, Tensor]:
    """The named tensors of the whole network from the parts of these layers; every process calls it and gets them."""
    out = {}
    for name, tensor in tensors.items():
        if _layer(name) not in layers or tensor.ndim == 0:
            out[name] = tensor
            continue
        widths = [int(w) for w in team.gather(torch.tensor([len(tensor)]), "checkpoint")]
        out[name] = join(team, tensor.detach().contiguous(), widths, 0, "checkpoint")
    return out


def _layer(name: str) -> str:
    """The layer of a tensor by its name in a checkpoint: optimizer/momentum/layers.fc6.weight -> fc6."""
    return name.partition("layers.")[2].partition(".")[0]

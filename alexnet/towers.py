"""The towers of 2012, one in each process: half of every layer's maps and units, which meet where the network says.

A process has the rows of every weight, bias and buffer that belong to its tower: of a grouped convolution those of its
group. Before a layer that sees both towers, after pool2, pool5, fc6 and fc7, the activations are gathered (forward) and
their gradients added where they came from (backward); after fc8 the logits are gathered. Nothing else crosses, and
every process has the whole batch, so the steps are those of one process up to the order of sums.

Source: [code] layers-145.cfg, where each layer names its GPU; section 3.2 of the paper.
"""

from collections import OrderedDict
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet.collectives import Team
from alexnet.config import AlexNetConfig, ModelConfig
from alexnet.errors import UsageError
from alexnet.layers import Dropout, LocalResponseNorm, TowerLinear
from alexnet.model import Network


def check_towers(config: ModelConfig, size: int) -> None:
    """Refuses a network that does not fall into as many towers as there are processes.

    Raises:
        UsageError: it has other towers, or LRN across their border.
    """
    towers = config.towers if isinstance(config, AlexNetConfig) else 1
    if size != towers or size < 2:
        raise UsageError(
            f"{size} processes for a network of {towers} tower{'s' * (towers > 1)}",
            fix="Give each tower a process: --nproc 2 with model.towers=2. A network of one tower: --parallel data.",
            code="E275",
        )
    assert isinstance(config, AlexNetConfig)
    if config.norm == "lrn" and not config.lrn_per_tower and {config.norm1, config.norm2} != {"none"}:
        raise UsageError(
            "response normalisation across the border of the towers needs both in one process",
            fix="Use model.lrn_per_tower=true, or --parallel data.",
            code="E275",
        )


class Meet(nn.Module):
    """Puts the features of all towers side by side: (N, C, ...) in each process to (N, sum of C, ...) in all.

    Args:
        last: whether all processes go on alike from here, so that each has the whole gradient already.
    """

    def __init__(self, team: Team, *, last: bool):
        super().__init__()
        self.team, self.last = team, last

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, _Meet.apply(x, self.team, self.last))


class _Meet(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, team: Team, last: bool) -> Tensor:
        widths = (
            [int(w) for w in team.gather(torch.tensor([x.shape[1]]), "widths")] if last else [x.shape[1]] * team.size
        )
        ctx.team, ctx.last, ctx.widths = team, last, widths
        return join(team, x, widths, 1, "activations")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        team: Team = ctx.team
        parts = torch.split(grad, ctx.widths, 1)
        if ctx.last:
            return parts[team.rank].contiguous(), None, None
        outgoing = torch.stack([part.contiguous() for part in parts])
        incoming = torch.empty_like(outgoing)
        team.sent["gradients of activations"] += (team.size - 1) * outgoing[0].nbytes
        with team.watched("gradients of activations"):
            dist.all_to_all_single(incoming, outgoing)
        return incoming.sum(0), None, None


def join(team: Team, x: Tensor, widths: list[int], dim: int, what: str) -> Tensor:
    """The tensors of all processes one after the other along `dim`, in which they may differ: `widths`."""
    most = max(widths)
    if x.shape[dim] < most:
        shape = list(x.shape)
        shape[dim] = most - x.shape[dim]
        x = torch.cat([x, x.new_zeros(shape)], dim)
    parts = team.gather(x.contiguous(), what)
    return torch.cat([part.narrow(dim, 0, width) for part, width in zip(parts, widths, strict=True)], dim)


def split_towers(model: Network, team: Team) -> Network:
    """The network with the layers of this process's tower only; changed in place.

    Raises:
        UsageError: see `check_towers`.
    """
    check_towers(model.config, team.size)
    layers: list[tuple[str, nn.Module]] = []
    for name, layer in model.layers.named_children():
        sees_all = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        sees_all &= not isinstance(layer, TowerLinear) and name != "conv1"
        if sees_all:
            layers.append((f"meet_{name}", Meet(team, last=False)))
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            layer.groups = 1
        if isinstance(layer, TowerLinear | LocalResponseNorm):
            layer.towers = 1
        if isinstance(layer, Dropout):
            layer.part, layer.parts = team.rank, team.size
        for key, parameter in list(layer.named_parameters(recurse=False)):
            setattr(layer, key, nn.Parameter(part_of(parameter.detach(), team)))
        for key, buffer in list(layer.named_buffers(recurse=False)):
            setattr(layer, key, part_of(buffer, team))
        layers.append((name, layer))
    layers.append(("meet_logits", Meet(team, last=True)))
    model.layers = nn.Sequential(OrderedDict(layers))
    return model


def part_of(tensor: Tensor, team: Team) -> Tensor:
    """The rows of this process; of a number by itself the whole."""
    return tensor if tensor.ndim == 0 else torch.tensor_split(tensor, team.size)[team.rank].clone()


def parts_of(tensors: dict[str, Tensor], team: Team) -> dict[str, Tensor]:
    """What a process has of the named tensors of a whole network: rows of those of layers, all of the others."""
    return {name: part_of(t, team) if "layers." in name else t for name, t in tensors.items()}


def whole_of(tensors: dict[str, Tensor], team: Team) -> dict[str, Tensor]:
    """The named tensors of the whole network from those of its towers; every process calls it and gets them."""
    out = {}
    for name, tensor in tensors.items():
        if "layers." not in name or tensor.ndim == 0:
            out[name] = tensor
            continue
        widths = [int(w) for w in team.gather(torch.tensor([len(tensor)]), "checkpoint")]
        out[name] = join(team, tensor.detach().contiguous(), widths, 0, "checkpoint")
    return out

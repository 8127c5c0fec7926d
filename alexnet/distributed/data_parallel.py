"""A network whose pictures are spread over processes: batch norm over all of them, masks that fit, one step together.

Every process has all weights and its rows of the batch. What it computes of a picture hangs on no other picture but in
batch norm, whose sums are exchanged, so that the step is that of one process up to the order of sums.
"""

from collections.abc import Collection
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.distributed.collectives import ProcessGroup
from alexnet.models.layers import Dropout
from alexnet.models.network import Network


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient of a sum that all use is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return group.all_reduce(x.clone(), "batch norm")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.group.all_reduce(grad.clone(), "batch norm"), None


class SyncBatchNorm(nn.Module):
    """Batch norm over the pictures of all processes, with the parameters and buffers of a local one, under its names.

    The variance is that about the common mean, in a second pass: the mean of squares less the square of the mean would
    lose digits.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, local: nn.BatchNorm1d | nn.BatchNorm2d, group: ProcessGroup):
        super().__init__()
        assert local.momentum is not None
        self.group, self.eps, self.momentum = group, local.eps, local.momentum
        self.weight, self.bias = local.weight, local.bias
        for name, buffer in local.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        dims = (0, *range(2, x.ndim))
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        wide = x if x.dtype == torch.float64 else x.float()
        count = float(
            self.group.all_reduce(torch.tensor([x.numel() / max(1, x.shape[1])], device=x.device), "batch norm")
        )
        mean = cast(Tensor, _Sum.apply(wide.sum(dims), self.group)) / count
        centred = wide - mean.view(shape)
        variance = cast(Tensor, _Sum.apply((centred * centred).sum(dims), self.group)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1.0, 1.0)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


def sync_batch_norm(model: Network, group: ProcessGroup, among: Collection[str] | None = None) -> frozenset[str]:
    """Makes the batch norms of a network go over all processes of the team; changed in place.

    Args:
        among: names of the layers that see the pictures of one process only; None: all of them.

    Returns:
        The names of the layers of which a process has a part: none.
    """
    if group.size > 1:
        for name, layer in list(model.layers.named_children()):
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and (among is None or name in among):
                setattr(model.layers, name, SyncBatchNorm(layer, group))
    return frozenset()


def has_batch_norm(model: nn.Module) -> bool:
    """Whether what a network says of a picture hangs on the others of its batch."""
    return any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | SyncBatchNorm) for m in model.modules())


def set_mask_rows(model: nn.Module, count: int, rows: slice | Tensor) -> None:
    """Makes every dropout layer draw the masks of a batch of `count` and use those of `rows`."""
    for layer in model.modules():
        if isinstance(layer, Dropout):
            layer.rows = count, rows

"""Data parallelism: the images of a batch divided among processes, with batch normalization over the whole batch.

Every process has all weights and its rows of the batch. What it computes for an image depends on other images only in
batch normalization, whose sums are all-reduced. So a step is that of one process up to the order of sums.
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
    """The sum over all processes. Every process uses the sum, so its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return group.all_reduce(x.clone(), "batch normalization")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.group.all_reduce(grad.clone(), "batch normalization"), None


class SyncBatchNorm(nn.Module):
    """Batch normalization over the images of all processes.

    It takes over the parameters and buffers of a local layer, under the same names. The variance is computed around the
    common mean, in a second pass: the mean of squares minus the square of the mean would lose digits.
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
        values = x if x.dtype == torch.float64 else x.float()
        local_count = torch.tensor([x.numel() / max(1, x.shape[1])], device=x.device)
        count = float(self.group.all_reduce(local_count, "batch normalization"))
        mean = cast(Tensor, _Sum.apply(values.sum(dims), self.group)) / count
        centered = values - mean.view(shape)
        variance = cast(Tensor, _Sum.apply((centered * centered).sum(dims), self.group)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1.0, 1.0)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centered * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


def sync_batch_norm(model: Network, group: ProcessGroup, among: Collection[str] | None = None) -> frozenset[str]:
    """Replaces the batch normalization layers of a network with ones over the process group; changes it in place.

    Args:
        among: names of the layers that see only the images of one process; None: all layers.

    Returns:
        The names of the layers that are divided among processes: none.
    """
    if group.size > 1:
        for name, layer in list(model.layers.named_children()):
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and (among is None or name in among):
                setattr(model.layers, name, SyncBatchNorm(layer, group))
    return frozenset()


def has_batch_norm(model: nn.Module) -> bool:
    """Whether the output of a network for an image depends on the other images of the batch."""
    return any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | SyncBatchNorm) for m in model.modules())


def set_mask_rows(model: nn.Module, rows: slice | Tensor) -> None:
    """Makes every dropout layer draw the masks of these rows of the whole batch."""
    for layer in model.modules():
        if isinstance(layer, Dropout):
            layer.rows = rows

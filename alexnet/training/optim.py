"""Optimizers and learning-rate schedules: the update of 2012, its learning rate per epoch, and newer ones.

There are four groups of parameters, which 2012 treats differently: the weights, the biases (twice the learning rate, no
weight decay), and the same two of conv1 (lower learning rate from epoch 67, frozen from 72; with `dexp` only frozen).
Scale and shift of batch normalization count as biases. In fine-tuning the layers without pretrained weights are two
more groups. The weights of a layer with its own weight decay are a group of their own.
"""

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from alexnet.errors import UsageError
from alexnet.kernels.momentum import momentum_steps
from alexnet.kernels.operators import momentum_step
from alexnet.recipes.config import OptimConfig

LEAST_POWER = 300  # 10 ** -300 is nothing, and the next powers are no numbers any more
Tensors = tuple[Tensor, ...] | list[Tensor]


class SGD2012(torch.optim.Optimizer):
    """SGD with momentum as in 2012: v <- m v - lr * (gradient + decay * w); w <- w + v.

    The momentum buffer holds steps that are already multiplied by the learning rate. torch.optim.SGD multiplies its
    buffer by the current learning rate instead, so the two differ for some steps after every change of the learning
    rate. Source: [code] src/weights.cu:146-198 and section 5 of the paper.

    As in PyTorch's fused optimizers, `found_inf` may be set to a tensor on the device of the weights: if it is not zero
    the step writes nothing, and the host need not wait for the device to know.
    """

    found_inf: Tensor | None = None

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, momentum: float):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates all parameters that have a gradient and a learning rate above zero."""
        assert closure is None
        stopped = self.found_inf
        if stopped is not None and stopped.device.type == "cpu":
            if bool(stopped):
                return
            stopped = None
        steps: list[tuple[Tensor, Tensor, float, float, float]] = []
        for group in self.param_groups:
            lr, decay = group["lr"], group["weight_decay"]
            weights = [w for w in group["params"] if w.grad is not None]
            if lr == 0.0 or not weights:
                continue
            for w in weights:
                if "momentum_buffer" not in self.state[w]:
                    self.state[w]["momentum_buffer"] = torch.zeros_like(w)
            momentum = group["momentum"]
            if stopped is not None:
                steps += [(w, self.state[w]["momentum_buffer"], momentum, lr, decay) for w in weights]
                continue
            weights = [
                w for w in weights if not momentum_step(w, self.state[w]["momentum_buffer"], momentum, lr, decay)
            ]
            if not weights:
                continue
            buffers = [self.state[w]["momentum_buffer"] for w in weights]
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, [w.grad for w in weights], alpha=-lr)
            if decay:
                torch._foreach_add_(buffers, weights, alpha=-lr * decay)
            torch._foreach_add_(weights, buffers)
        if steps:
            assert stopped is not None
            momentum_steps(steps, stopped)


def parameter_groups(model: nn.Module, config: OptimConfig, new_layers: Collection[str] = ()) -> list[dict[str, Any]]:
    """The groups of parameters with their names; empty groups are left out.

    Args:
        new_layers: in fine-tuning, names of the layers without pretrained weights.

    Raises:
        UsageError: `layer_decay` names a layer without weights, or one layer twice.
    """
    own_decays = dict(config.layer_decay)
    groups: dict[str, list[Tensor]] = {
        prefix + kind: [] for prefix in ("", "conv1_", "new_") for kind in ("weights", "biases")
    }
    decays = {name: config.weight_decay * (name.endswith("weights") or config.decay_biases) for name in groups}
    layers: list[str] = []
    for name, parameter in model.named_parameters():
        layer = name.rpartition(".")[0].rpartition(".")[2]
        prefix = "new_" if layer in new_layers else "conv1_" if layer == "conv1" else ""
        # A bias that is not shared over positions has as many dimensions as the feature maps of its layer.
        weights = parameter.ndim > 1 and not name.endswith("bias")
        group = prefix + ("weights" if weights else "biases")
        if weights:
            layers.append(layer)
            if layer in own_decays:
                group = f"{prefix}{layer}_weights".replace("conv1_conv1", "conv1")
                decays[group] = own_decays[layer]
        groups.setdefault(group, []).append(parameter)
    if unknown := sorted(own_decays.keys() - set(layers)):
        raise UsageError(
            f"optim.layer_decay names {', '.join(unknown)}, which the network does not have",
            fix=f"Its layers with weights: {', '.join(layers)}.",
            code="E285",
        )
    if len(own_decays) < len(config.layer_decay):
        raise UsageError("optim.layer_decay names a layer twice", fix="Give each layer once.", code="E286")
    return [
        {"name": name, "params": params, "lr": config.lr, "weight_decay": decays[name]}
        for name, params in groups.items()
        if params
    ]


def build_optimizer(model: nn.Module, config: OptimConfig, new_layers: Collection[str] = ()) -> torch.optim.Optimizer:
    """The optimizer of a configuration, over the groups of `parameter_groups`."""
    groups = parameter_groups(model, config, new_layers)
    if config.algorithm == "sgd-2012":
        return SGD2012(groups, config.lr, config.momentum)
    if config.algorithm in ("sgd", "nesterov"):
        nesterov = config.algorithm == "nesterov" and config.momentum > 0
        return torch.optim.SGD(groups, config.lr, config.momentum, nesterov=nesterov, fused=True)
    return torch.optim.AdamW(groups, config.lr, betas=(config.momentum, 0.999), fused=True)


def learning_rate(config: OptimConfig, group: str, epoch: int, progress: float) -> float:
    """The learning rate of a parameter group.

    Args:
        group: one of the names of `parameter_groups`.
        epoch: counted from 1, as in the diary of 2012.
        progress: share of the run that is done, in [0, 1).
    """
    conv1, biases = group.startswith("conv1"), group.endswith("biases")
    base = config.lr * (config.bias_lr_factor if biases else 1.0)
    if not group.startswith("new_"):
        base *= config.old_lr_factor
    if config.schedule == "constant":
        return base
    if config.schedule == "one-cycle":
        if progress < config.warmup:
            return base * progress / config.warmup
        after = (progress - config.warmup) / (1.0 - config.warmup)
        return base * 0.5 * (1.0 + math.cos(math.pi * after))
    if conv1 and config.conv1_freeze_epoch is not None and epoch >= config.conv1_freeze_epoch:
        return 0.0
    if config.schedule == "dexp":
        if biases:  # schedB = dexp[10, .., 2]: a tenth from the middle of the run on
            return base if progress < 0.5 else base / 10.0
        plateau = min(int(progress * config.dexp_steps), config.dexp_steps - 1)
        try:
            return base * math.pow(config.dexp_factor, -plateau / max(1, config.dexp_steps - 1))
        except OverflowError:  # a factor near zero lets the learning rate rise without bound; the first loss tells
            return math.inf
    if biases and not config.biases_follow:
        return base
    drops = config.conv1_drop_epochs if conv1 else config.drop_epochs
    return base / math.pow(10.0, min(sum(epoch >= at for at in drops), LEAST_POWER))


def told_rate(config: OptimConfig, epoch: int, progress: float, factor: float = 1.0) -> float:
    """The learning rate that a run tells: that of the weights, in fine-tuning of the new layers."""
    return factor * learning_rate(config, "new_weights", epoch, progress)


def set_learning_rates(
    optimizer: torch.optim.Optimizer, config: OptimConfig, epoch: int, progress: float, factor: float = 1.0
) -> float:
    """Sets the learning rate of every group for this step and returns the one that is told.

    Args:
        factor: of all of them, less than 1 after a rollback.
    """
    for group in optimizer.param_groups:
        group["lr"] = factor * learning_rate(config, group["name"], epoch, progress)
    return told_rate(config, epoch, progress, factor)


def update_average(average: AveragedModel, model: nn.Module, decay: float, updates: int) -> None:
    """Updates an average whose number of updates is known, which `AveragedModel` reads from its device.

    Args:
        average: with buffers, and `moving_average(decay)` as its update.
        updates: those before this one.
    """
    pairs = [
        (old.detach(), new.detach())
        for own, other in (
            (average.module.parameters(), model.parameters()),
            (average.module.buffers(), model.buffers()),
        )
        for old, new in zip(own, other, strict=True)
    ]
    update = moving_average(decay)
    for floating in (True, False):
        averages = [old for old, _ in pairs if old.is_floating_point() == floating]
        values = [new for old, new in pairs if old.is_floating_point() == floating]
        if averages and updates == 0:
            torch._foreach_copy_(averages, values)
        elif averages:
            update(averages, values, updates)
    average.n_averaged += 1


def moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """The update a <- d a + (1 - d) w with d = min(decay, (1 + n) / (10 + n)) after n updates.

    In the first updates d is smaller, so the first weights are forgotten faster.
    """

    @torch.no_grad()
    def update(averages: Tensors, weights: Tensors, updates: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            torch._foreach_copy_(averages, weights)
            return
        n = int(updates)
        torch._foreach_lerp_(averages, weights, 1.0 - min(decay, (1 + n) / (10 + n)))

    return update

"""Comparison of a process group with a single process: losses and gradients of both, step by step.

Every process of the group has the network as the scheme divides it. The main process also has the complete network,
which takes the same steps alone. The gradients of the parts are gathered and compared tensor by tensor.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.distributed.collectives import ProcessGroup
from alexnet.distributed.tensor_parallel import own_parts, whole_tensors
from alexnet.models.build import build_model
from alexnet.recipes.recipe import Recipe
from alexnet.training.optim import build_optimizer, set_learning_rates
from alexnet.training.step import group_step, train_step
from alexnet.training.trainer import divide


def follow(
    group: ProcessGroup, recipe: Recipe, counts: list[int], *, double: bool = False, same_weights: bool = False
) -> dict[str, Any]:
    """Takes one step for each of `counts` with a single process and with the process group.

    Args:
        counts: images in the batch of each step.
        double: compute in 64 bits, so that rounding cannot hide a difference.
        same_weights: the group starts every step from the weights of the single process; otherwise both keep their own.

    Returns:
        In the main process, for every step: `losses` of both; `gradients`, the largest relative difference of a tensor
        (norm of the difference over the norm of the gradient of the single process); and `worst`, its name.
    """
    dtype = torch.float64 if double else torch.float32
    alone, part = (build_model(recipe.model, seed=recipe.seed).to(dtype).train() for _ in range(2))
    divided = divide(part, group)
    networks = [network.to(memory_format=torch.channels_last) for network in (alone, part)]
    optimizers = [build_optimizer(network, recipe.optim) for network in networks]
    out: dict[str, Any] = {"losses": [], "gradients": [], "worst": []}
    for step, count in enumerate(counts):
        images, targets = _batch(recipe, count, step)
        for optimizer in optimizers:
            set_learning_rates(optimizer, recipe.optim, 1, step / len(counts))
        if same_weights:
            state = group.broadcast_tensors(alone.state_dict() if group.is_main else {})
            part.load_state_dict(own_parts(dict(state), group, divided))
        if group.is_main:
            alone.seed_dropout(recipe.seed, step)
            single_loss = float(train_step(alone, optimizers[0], images, targets, recipe)[0])
        rows = group.rows(count)
        own = targets if group.scheme == "hybrid" else targets[rows]
        group_loss, _ = group_step(group, part, optimizers[1], images[rows], own, recipe, None, count=count, step=step)
        gradients = whole_tensors({n: p.grad for n, p in part.named_parameters() if p.grad is not None}, group, divided)
        if group.is_main:
            expected = {n: p.grad for n, p in alone.named_parameters() if p.grad is not None}
            assert expected.keys() == gradients.keys()
            differences = {name: _difference(grad, gradients[name]) for name, grad in expected.items()}
            worst = max(differences, key=lambda name: differences[name])
            out["losses"].append([single_loss, group_loss])
            out["gradients"].append(differences[worst])
            out["worst"].append(worst)
    return out


def _difference(one: Tensor, other: Tensor) -> float:
    norm = one.double().norm()
    return float((one.double() - other.double()).norm() / norm) if norm > 0 else float(other.double().norm())


def _batch(recipe: Recipe, count: int, step: int) -> tuple[Tensor, Tensor]:
    """Noise with a random class for each image: (count, 3, crop, crop) in 0..255, (count, classes)."""
    rng = np.random.default_rng([recipe.seed, step])
    size, classes = recipe.model.crop_size, recipe.model.num_classes
    images = torch.from_numpy(rng.integers(0, 256, (count, 3, size, size)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, classes, count))
    return images.contiguous(memory_format=torch.channels_last), F.one_hot(labels, classes).float()

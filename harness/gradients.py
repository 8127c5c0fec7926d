"""Whether a team takes the steps of one process: losses and gradients side by side, step by step.

Every process of the team has the network as its scheme divides it; the leader also has the whole network, which takes
the same steps alone. The gradients of the parts are put together and compared tensor by tensor.
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
    """Takes a step for each of `counts`, pictures in its batch, with one process and with the team.

    Args:
        double: in 64 bits, so that what is not the same cannot hide behind rounding.
        same_weights: the team starts every step from the weights of the one process; otherwise both go their own way.

    Returns:
        Of the leader, for every step: `losses` of both, and `gradients`, the largest difference of a tensor: the norm
        of the difference over the norm of the gradient of one process; `worst` names it.
    """
    kind = torch.float64 if double else torch.float32
    alone, mine = (build_model(recipe.model, seed=recipe.seed).to(kind).train() for _ in range(2))
    divided = divide(mine, group)
    networks = [network.to(memory_format=torch.channels_last) for network in (alone, mine)]
    optimizers = [build_optimizer(network, recipe.optim) for network in networks]
    out: dict[str, Any] = {"losses": [], "gradients": [], "worst": []}
    for step, count in enumerate(counts):
        images, targets = _batch(recipe, count, step)
        for optimizer in optimizers:
            set_learning_rates(optimizer, recipe.optim, 1, step / len(counts))
        if same_weights:
            state = group.broadcast_tensors(alone.state_dict() if group.is_main else {})
            mine.load_state_dict(own_parts(dict(state), group, divided))
        if group.is_main:
            alone.seed_dropout(recipe.seed, step)
            one = float(train_step(alone, optimizers[0], images, targets, recipe)[0])
        rows = group.rows(count)
        some = targets if group.scheme == "hybrid" else targets[rows]
        together, _ = group_step(group, mine, optimizers[1], images[rows], some, recipe, None, count=count, step=step)
        gradients = whole_tensors({n: p.grad for n, p in mine.named_parameters() if p.grad is not None}, group, divided)
        if group.is_main:
            theirs = {n: p.grad for n, p in alone.named_parameters() if p.grad is not None}
            assert theirs.keys() == gradients.keys()
            apart = {name: _difference(grad, gradients[name]) for name, grad in theirs.items()}
            worst = max(apart, key=lambda name: apart[name])
            out["losses"].append([one, together])
            out["gradients"].append(apart[worst])
            out["worst"].append(worst)
    return out


def _difference(one: Tensor, other: Tensor) -> float:
    norm = one.double().norm()
    return float((one.double() - other.double()).norm() / norm) if norm > 0 else float(other.double().norm())


def _batch(recipe: Recipe, count: int, step: int) -> tuple[Tensor, Tensor]:
    """Noise with a class for each picture: (count, 3, crop, crop) in 0..255, (count, classes)."""
    draw = np.random.default_rng([recipe.seed, step])
    size, classes = recipe.model.crop_size, recipe.model.num_classes
    images = torch.from_numpy(draw.integers(0, 256, (count, 3, size, size)).astype(np.float32))
    labels = torch.from_numpy(draw.integers(0, classes, count))
    return images.contiguous(memory_format=torch.channels_last), F.one_hot(labels, classes).float()

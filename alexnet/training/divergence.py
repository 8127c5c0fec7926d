"""Divergence of a run: detects values that are not finite, finds the first of them, and writes a report."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet.errors import DivergedError
from alexnet.models.network import Network
from alexnet.storage.files import disk_errors, write_file

RUNAWAY = 1e6  # times ln(classes): no run recovers from such a loss
ROLLBACKS = 3
SLOWER = 0.5  # factor of the learning rate after a rollback
RECORD = "diverged.json"


def runs_away(loss: float, classes: int) -> bool:
    """Whether a loss is not finite, or so large that the run cannot recover."""
    return not loss <= highest_loss(classes)


def highest_loss(classes: int) -> float:
    """The highest loss from which a run may recover."""
    return RUNAWAY * max(1.0, math.log(classes))


@torch.no_grad()
def first_bad(network: Network, images: Tensor) -> str | None:
    """Where the first value that is not finite appears in a forward pass, in words; None if all are finite."""
    if not bool(torch.isfinite(images).all()):
        return "the images themselves"
    activations = network.activations(images, check_range=False)
    for name, layer in network.layers.named_children():
        if not all(bool(torch.isfinite(parameter).all()) for parameter in layer.parameters()):
            return f"the weights of {name}"
        if not bool(torch.isfinite(activations[name]).all()):
            return f"the output of {name}"
    return None


def first_bad_tensor(tensors: dict[str, Tensor]) -> str | None:
    """The name of the first tensor with a value that is not finite."""
    for name, tensor in tensors.items():
        if not name.startswith("guard") and not bool(torch.isfinite(tensor).all()):
            return name
    return None


def diverged(folder: Path, what: str, where: str | None, facts: dict[str, Any], lr: float) -> DivergedError:
    """Writes a report of a diverged run into its folder and returns the error to raise.

    Args:
        what: what is not finite, and at which step.
        where: where it appeared first; see `first_bad`.
        facts: step, epoch, and what else helps to find the cause, such as the names of the images in the batch.
        lr: the learning rate of the recipe.
    """
    origin = f"; first not finite: {where}" if where else ""
    record = json.dumps({"what": what, "first_bad": where, **facts}, indent=1, ensure_ascii=False)
    with disk_errors(f"writing {folder / RECORD}"):
        write_file(folder / RECORD, record.encode("utf-8", "backslashreplace"))
    if where == "the images themselves":
        fix = f"Check the images named in {folder / RECORD}."
    elif where is not None and where.startswith("the output of") and "norm" in where:
        fix = (
            "A normalization divides by a power of k + alpha * sum of squares, which must be above zero and within the "
            "range of float32: check the fields of the recipe for it (alpha, beta, k), and try a lower learning rate, "
            f"for example optim.lr={lr / 10:.2g}."
        )
    elif facts.get("step") == 1 and "rate" in facts:  # the loss before the first step: no rate has acted yet
        fix = (
            "The initial weights are too large for float32, so no learning rate helps: use smaller ones "
            "(model.init=kaiming, a smaller model.init_scale or model.bias), and see what alexnet check says."
        )
    else:
        fix = (
            f"The weights diverged. Start again with a lower learning rate, for example optim.lr={lr / 10:.2g}, or "
            f"with on_nan=rollback. {folder / RECORD} names the images of the batch; earlier checkpoints are finite."
        )
    return DivergedError(f"{what}{origin}", fix=fix, code="E401")

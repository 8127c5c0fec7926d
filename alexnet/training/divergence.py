"""A run whose numbers are not finite any more: where it began, what is kept of it, and how to go on."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet.errors import DivergedError
from alexnet.models.network import Network
from alexnet.storage.files import disk_errors, write_file

RUNAWAY = 1e6  # times ln(classes): a loss from which no run comes back
ROLLBACKS = 3
SLOWER = 0.5  # what a rollback multiplies the rate by
RECORD = "diverged.json"


def runs_away(loss: float, classes: int) -> bool:
    """Whether a loss is not finite, or so large that the weights are lost."""
    return not loss <= RUNAWAY * max(1.0, math.log(classes))


@torch.no_grad()
def first_bad(network: Network, images: Tensor) -> str | None:
    """What is first not finite on the way through a network, in words; None if all of it is finite."""
    if not bool(torch.isfinite(images).all()):
        return "the pictures themselves"
    activations = network.activations(images)
    for name, layer in network.layers.named_children():
        if not all(bool(torch.isfinite(parameter).all()) for parameter in layer.parameters()):
            return f"the weights of {name}"
        if not bool(torch.isfinite(activations[name]).all()):
            return f"the output of {name}"
    return None


def first_bad_tensor(tensors: dict[str, Tensor]) -> str | None:
    """The name of the first tensor with a number that is not finite."""
    for name, tensor in tensors.items():
        if not name.startswith("guard") and not bool(torch.isfinite(tensor).all()):
            return name
    return None


def diverged(folder: Path, what: str, where: str | None, facts: dict[str, Any], lr: float) -> DivergedError:
    """The error of a run that ran away, and its record in the run folder.

    Args:
        what: what was seen, and at which step.
        where: see `first_bad`.
        facts: step, epoch, and what else helps to look into it: the pictures of the batch by name.
        lr: the rate of the recipe.
    """
    begin = f"; first bad: {where}" if where else ""
    record = json.dumps({"what": what, "first_bad": where, **facts}, indent=1, ensure_ascii=False)
    with disk_errors(f"writing {folder / RECORD}"):
        write_file(folder / RECORD, record.encode("utf-8", "backslashreplace"))
    if where == "the pictures themselves":
        fix = f"Look at the pictures named in {folder / RECORD}."
    else:
        fix = (
            f"The weights have run away. Start again with a lower rate, for example optim.lr={lr / 10:.2g}, or with "
            f"on_nan=rollback. {folder / RECORD} names the pictures of the batch; the checkpoints before are finite."
        )
    return DivergedError(f"{what}{begin}", fix=fix, code="E401")

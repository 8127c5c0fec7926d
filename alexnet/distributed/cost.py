"""What training on several processes costs before it is tried: bytes on every link, memory, and the time of a step.

The formulas count what `collectives`, `tensor_parallel` and `hybrid` send in a step; signals of a few bytes are left
out. A count is that of the process that sends most.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from alexnet.distributed.collectives import Scheme
from alexnet.distributed.hybrid import head_of
from alexnet.distributed.towers import layers_seeing_all_towers
from alexnet.errors import UsageError
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.models.summary import Summary, summarise
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.recipe import Recipe

FLOAT = 4  # bytes
PASSES = 3  # forward, and twice as much backward: multiply-adds of a step over those of a forward pass
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class StepCost:
    """One step of one process."""

    scheme: Scheme
    size: int  # processes
    batch_size: int  # of all processes together
    sent: dict[str, int]  # bytes that leave a process, by what they are
    memory: dict[str, int]  # bytes in a process
    multiply_adds: int  # of the step, of one process
    multiply_adds_alone: int  # of the step, where one process does all
    # What travels while the process computes: the share of it that can, in [0, 1], and the multiply-adds meanwhile.
    meanwhile: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def bytes_sent(self) -> int:
        """All that leaves a process in a step."""
        return sum(self.sent.values())

    def seconds(self, multiply_adds_per_second: float, bytes_per_second: float) -> tuple[float, float]:
        """Seconds that a step computes, and that it then still waits for what is sent."""
        waits = 0.0
        for name, size in self.sent.items():
            share, work = self.meanwhile.get(name, (0.0, 0.0))
            covered = min(share * size / bytes_per_second, work / multiply_adds_per_second)
            waits += size / bytes_per_second - covered
        return self.multiply_adds / multiply_adds_per_second, waits

    def speedup(self, multiply_adds_per_second: float, bytes_per_second: float) -> float:
        """Times as fast as one process."""
        alone = self.multiply_adds_alone / multiply_adds_per_second
        return alone / sum(self.seconds(multiply_adds_per_second, bytes_per_second))


def step_cost(recipe: Recipe, scheme: Scheme, size: int) -> StepCost:
    """The bill of a full batch.

    data: every process sends 2 (size - 1) / size of the gradients of all parameters (a sum around a ring), and of two
    sums of batch norm forward and backward.
    towers: every process sends its half of pool2, pool5, fc6 and fc7, and of the logits, forward, and backward the
    other half of the gradients of the first four.
    hybrid: the gradients of the convolutions as with data; its pictures of pool5 to all others and their gradients
    back; its part of fc6 and fc7, and of the logits, forward, and backward the others' parts of the first two.
    """
    with torch.device("meta"):
        model = build_model(recipe.model)
    counts = summarise(model)
    if scheme == "data":
        return _data(recipe, model, counts, size)
    return _hybrid(recipe, model, counts, size) if scheme == "hybrid" else _towers(recipe, model, counts, size)


def _data(recipe: Recipe, model: Network, counts: Summary, size: int) -> StepCost:
    batch, weights = recipe.batch_size, FLOAT * counts.parameters
    sent = {
        "gradients": _summed(model.parameters(), size),
        "batch norm": _summed_norms(model.layers, size),
    }
    memory = {
        "weights, gradients, momentum": 3 * weights,
        "activations": counts.training_bytes(batch)["activations"] // size,
        "message": weights,
    }
    work = PASSES * counts.multiply_adds
    return StepCost("data", size, batch, sent, memory, work * _most(batch, size), work * batch)


def _towers(recipe: Recipe, model: Network, counts: Summary, size: int) -> StepCost:
    if not isinstance(recipe.model, AlexNetConfig):
        raise UsageError(
            "this network has one tower", fix="Use --parallel data, or an AlexNet with model.towers=2.", code="E275"
        )
    batch, weights = recipe.batch_size, FLOAT * counts.parameters
    seeing_all, gathered, before = layers_seeing_all_towers(model), 0, 0
    for layer in counts.layers:
        gathered += FLOAT * batch * before if layer.name in seeing_all else 0
        before = layer.activations
    rendezvous = gathered // size * (size - 1)
    logits = FLOAT * batch * _most(recipe.model.num_classes, size) * (size - 1)
    sent = {"activations": rendezvous + logits, "gradients of activations": rendezvous}
    activations = counts.training_bytes(batch)["activations"] // size + gathered
    memory = {"weights, gradients, momentum": 3 * weights // size, "activations": activations}
    work = PASSES * batch * counts.multiply_adds
    return StepCost("towers", size, batch, sent, memory, work // size, work)


def _hybrid(recipe: Recipe, model: Network, counts: Summary, size: int) -> StepCost:
    batch, others = recipe.batch_size, size - 1
    share, head = _most(batch, size), head_of(model)
    front = [layer for name, layer in model.layers.named_children() if name not in head]
    units = [m.in_features for m in model.layers if isinstance(m, nn.Linear)]
    features, hidden = units[0], units[1:]
    passed_on = sum(_most(width, size) for width in (*hidden, recipe.model.num_classes))
    sent = {
        "gradients": _summed((p for layer in front for p in layer.parameters()), size),
        "batch norm": _summed_norms(front, size),
        "features": FLOAT * others * share * features,
        "gradients of features": FLOAT * (batch - batch // size) * features,
        "activations": FLOAT * others * batch * passed_on,
        "gradients of activations": FLOAT * batch * sum(width - width // size for width in hidden),
    }
    before, after = ([layer for layer in counts.layers if (layer.name in head) == inside] for inside in (False, True))
    at_once = any(isinstance(model.layers.get_submodule(name), nn.BatchNorm1d) for name in head)
    turn = batch if at_once else _most(batch, size)
    kept = share * sum(layer.activations for layer in before)
    kept += turn * (2 * features + sum(layer.activations for layer in after))  # the next turn is there already
    weights = sum(layer.parameters for layer in before) + sum(layer.parameters for layer in after) // size
    memory = {"weights, gradients, momentum": 3 * FLOAT * weights, "activations": FLOAT * kept}
    front_work = PASSES * share * sum(layer.multiply_adds for layer in before)
    head_work = PASSES * batch * sum(layer.multiply_adds for layer in after) // size
    alone = PASSES * batch * counts.multiply_adds
    # The first layer's gradients come last; the first turn's pictures and the last turn's gradients are waited for.
    first = next(layer.parameters for layer in before if layer.parameters)
    later = 1 - first / max(1, sum(layer.parameters for layer in before))
    waiting = 0.0 if at_once else others / size
    meanwhile = {"gradients": (later, front_work * 2 / PASSES)}
    meanwhile |= dict.fromkeys(("features", "gradients of features"), (waiting, waiting * head_work / 2))
    return StepCost("hybrid", size, batch, sent, memory, front_work + head_work, alone, meanwhile)


def _summed(parameters: Iterable[nn.Parameter], size: int) -> int:
    """Bytes that a process sends in the sums of their gradients."""
    return 2 * (size - 1) * FLOAT * sum(p.numel() for p in parameters) // size


def _summed_norms(layers: Iterable[nn.Module], size: int) -> int:
    norms = [layer.num_features for layer in layers if isinstance(layer, BATCH_NORM)]
    return 2 * (size - 1) * FLOAT * (4 * sum(norms) + len(norms)) // size


def _most(count: int, size: int) -> int:
    """The largest part of `count` that falls to one of `size` processes."""
    return -(-count // size)

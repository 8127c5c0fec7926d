"""Cost of a training step on several processes, computed without running it: bytes sent, memory and time.

The formulas count what `collectives`, `tensor_parallel` and `hybrid` send in a step, without messages of a few bytes.
Each number is that of the process that sends most.
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
from alexnet.models.summary import Summary, summarize
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.recipe import Recipe

FLOAT = 4  # bytes
PASSES = 3  # forward, and twice as much backward: multiply-adds of a step over those of a forward pass
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class StepCost:
    """The cost of one step for one process."""

    scheme: Scheme
    size: int  # world size
    batch_size: int  # of all processes together
    sent: dict[str, int]  # bytes that a process sends, by what they hold
    memory: dict[str, int]  # bytes that a process needs, by what they hold
    multiply_adds: int  # of the step, in one process
    multiply_adds_alone: int  # of the step, if one process does all the work
    # What is sent while the process computes: the share of it, in [0, 1], and the multiply-adds during that time.
    meanwhile: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def bytes_sent(self) -> int:
        """All bytes that a process sends in a step."""
        return sum(self.sent.values())

    def seconds(self, multiply_adds_per_second: float, bytes_per_second: float) -> tuple[float, float]:
        """Seconds that a step computes, and seconds that it then still waits for communication."""
        waiting = 0.0
        for name, size in self.sent.items():
            share, work = self.meanwhile.get(name, (0.0, 0.0))
            covered = min(share * size / bytes_per_second, work / multiply_adds_per_second)
            waiting += size / bytes_per_second - covered
        return self.multiply_adds / multiply_adds_per_second, waiting

    def speedup(self, multiply_adds_per_second: float, bytes_per_second: float) -> float:
        """How many times as fast as one process."""
        alone = self.multiply_adds_alone / multiply_adds_per_second
        return alone / sum(self.seconds(multiply_adds_per_second, bytes_per_second))


def step_cost(recipe: Recipe, scheme: Scheme, size: int) -> StepCost:
    """The cost of a step on a full batch.

    data: every process sends 2 (size - 1) / size of the gradients of all parameters (a ring all-reduce), and the same
    share of two sums of batch normalization, forward and backward.
    towers: forward, every process sends its half of pool2, pool5, fc6, fc7 and the logits; backward, it sends the other
    half of the gradients of the first four.
    hybrid: the gradients of the convolutional layers are sent as with data. Every process sends pool5 of its images to
    all others and their gradients back. Forward, it sends its part of fc6, fc7 and the logits; backward, it sends the
    parts of the others of fc6 and fc7.
    """
    with torch.device("meta"):
        model = build_model(recipe.model)
    counts = summarize(model)
    if scheme == "data":
        return _data(recipe, model, counts, size)
    return _hybrid(recipe, model, counts, size) if scheme == "hybrid" else _towers(recipe, model, counts, size)


def _data(recipe: Recipe, model: Network, counts: Summary, size: int) -> StepCost:
    batch, weights = recipe.batch_size, FLOAT * counts.parameters
    sent = {
        "gradients": _all_reduced(model.parameters(), size),
        "batch normalization": _all_reduced_statistics(model.layers, size),
    }
    memory = {
        "weights, gradients, momentum": 3 * weights,
        "activations": counts.training_bytes(batch)["activations"] // size,
        "flattened gradients": weights,
    }
    work = PASSES * counts.multiply_adds
    return StepCost("data", size, batch, sent, memory, work * _largest_part(batch, size), work * batch)


def _towers(recipe: Recipe, model: Network, counts: Summary, size: int) -> StepCost:
    if not isinstance(recipe.model, AlexNetConfig):
        raise UsageError(
            "this network has one tower", fix="Use --parallel data, or an AlexNet with model.towers=2.", code="E275"
        )
    batch, weights = recipe.batch_size, FLOAT * counts.parameters
    seeing_all, gathered, inputs = layers_seeing_all_towers(model), 0, 0
    for layer in counts.layers:
        gathered += FLOAT * batch * inputs if layer.name in seeing_all else 0
        inputs = layer.activations
    hidden = gathered // size * (size - 1)
    logits = FLOAT * batch * _largest_part(recipe.model.num_classes, size) * (size - 1)
    sent = {"activations": hidden + logits, "gradients of activations": hidden}
    activations = counts.training_bytes(batch)["activations"] // size + gathered
    memory = {"weights, gradients, momentum": 3 * weights // size, "activations": activations}
    work = PASSES * batch * counts.multiply_adds
    return StepCost("towers", size, batch, sent, memory, work // size, work)


def _hybrid(recipe: Recipe, model: Network, counts: Summary, size: int) -> StepCost:
    batch, others = recipe.batch_size, size - 1
    share, head = _largest_part(batch, size), head_of(model)
    front = [layer for name, layer in model.layers.named_children() if name not in head]
    units = [m.in_features for m in model.layers if isinstance(m, nn.Linear)]
    features, hidden = units[0], units[1:]
    gathered_units = sum(_largest_part(width, size) for width in (*hidden, recipe.model.num_classes))
    sent = {
        "gradients": _all_reduced((p for layer in front for p in layer.parameters()), size),
        "batch normalization": _all_reduced_statistics(front, size),
        "features": FLOAT * others * share * features,
        "gradients of features": FLOAT * (batch - batch // size) * features,
        "activations": FLOAT * others * batch * gathered_units,
        "gradients of activations": FLOAT * batch * sum(width - width // size for width in hidden),
    }
    before, after = ([layer for layer in counts.layers if (layer.name in head) == inside] for inside in (False, True))
    at_once = any(isinstance(model.layers.get_submodule(name), nn.BatchNorm1d) for name in head)
    turn = batch if at_once else _largest_part(batch, size)
    activations = share * sum(layer.activations for layer in before)
    # The features of the next turn arrive while this turn is computed.
    activations += turn * (2 * features + sum(layer.activations for layer in after))
    weights = sum(layer.parameters for layer in before) + sum(layer.parameters for layer in after) // size
    memory = {"weights, gradients, momentum": 3 * FLOAT * weights, "activations": FLOAT * activations}
    front_work = PASSES * share * sum(layer.multiply_adds for layer in before)
    head_work = PASSES * batch * sum(layer.multiply_adds for layer in after) // size
    alone = PASSES * batch * counts.multiply_adds
    # Nothing is computed while the gradients of the first layer, the features of the first turn and the gradients of
    # the last turn are sent.
    first = next(layer.parameters for layer in before if layer.parameters)
    covered_share = 1 - first / max(1, sum(layer.parameters for layer in before))
    covered_turns = 0.0 if at_once else others / size
    meanwhile = {"gradients": (covered_share, front_work * 2 / PASSES)}
    meanwhile |= dict.fromkeys(("features", "gradients of features"), (covered_turns, covered_turns * head_work / 2))
    return StepCost("hybrid", size, batch, sent, memory, front_work + head_work, alone, meanwhile)


def _all_reduced(parameters: Iterable[nn.Parameter], size: int) -> int:
    """Bytes that a process sends to all-reduce the gradients of parameters."""
    return 2 * (size - 1) * FLOAT * sum(p.numel() for p in parameters) // size


def _all_reduced_statistics(layers: Iterable[nn.Module], size: int) -> int:
    """Bytes that a process sends to all-reduce the sums of batch normalization, forward and backward."""
    channels = [layer.num_features for layer in layers if isinstance(layer, BATCH_NORM)]
    return 2 * (size - 1) * FLOAT * (4 * sum(channels) + len(channels)) // size


def _largest_part(count: int, size: int) -> int:
    """The largest part of `count` that one of `size` processes gets."""
    return -(-count // size)

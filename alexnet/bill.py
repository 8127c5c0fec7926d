"""What training on several processes costs before it is tried: bytes on every link, memory, and the time of a step.

The formulas count what `alexnet.collectives` and `alexnet.towers` send in a step; signals of a few bytes are left out.
"""

from dataclasses import dataclass

from torch import nn

from alexnet.collectives import Scheme
from alexnet.config import AlexNetConfig
from alexnet.errors import UsageError
from alexnet.layers import TowerLinear
from alexnet.model import build_model
from alexnet.recipes import Recipe
from alexnet.summary import summarise

FLOAT = 4  # bytes
PASSES = 3  # forward, and twice as much backward: multiply-adds of a step over those of a forward pass


@dataclass(frozen=True)
class Bill:
    """One step of one process."""

    scheme: Scheme
    size: int  # processes
    batch_size: int  # of all processes together
    sent: dict[str, int]  # bytes that leave a process, by what they are
    memory: dict[str, int]  # bytes in a process
    multiply_adds: int  # of the step, of one process
    multiply_adds_alone: int  # of the step, where one process does all

    @property
    def bytes_sent(self) -> int:
        """All that leaves a process in a step."""
        return sum(self.sent.values())

    def seconds(self, multiply_adds_per_second: float, bytes_per_second: float) -> tuple[float, float]:
        """Seconds that a step computes and that it sends, one after the other."""
        return self.multiply_adds / multiply_adds_per_second, self.bytes_sent / bytes_per_second

    def speedup(self, multiply_adds_per_second: float, bytes_per_second: float) -> float:
        """Times as fast as one process, if nothing is sent while it computes, as is so here."""
        alone = self.multiply_adds_alone / multiply_adds_per_second
        return alone / sum(self.seconds(multiply_adds_per_second, bytes_per_second))


def bill(recipe: Recipe, scheme: Scheme, size: int) -> Bill:
    """The bill of a full batch.

    data: every process sends 2 (size - 1) / size of the gradients of all parameters (a sum around a ring), and of two
    sums of batch norm forward and backward.
    towers: every process sends its half of pool2, pool5, fc6 and fc7, and of the logits, forward, and backward the
    other half of the gradients of the first four.
    """
    model = build_model(recipe.model)
    counts = summarise(model)
    alone = PASSES * recipe.batch_size * counts.multiply_adds
    activations = counts.training_bytes(recipe.batch_size)["activations"]
    weights = FLOAT * counts.parameters
    if scheme == "data":
        norms = sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d))
        layers = sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in model.modules())
        around = 2 * (size - 1)
        sent = {
            "gradients": around * weights // size,
            "batch norm": around * FLOAT * (4 * norms + layers) // size,
        }
        share = -(-recipe.batch_size // size)
        memory = {"weights, gradients, momentum": 3 * weights, "activations": activations // size, "message": weights}
        return Bill(scheme, size, recipe.batch_size, sent, memory, alone * share // recipe.batch_size, alone)
    if not isinstance(recipe.model, AlexNetConfig):
        raise UsageError(
            "this network has one tower", fix="Use --parallel data, or an AlexNet with model.towers=2.", code="E275"
        )
    features, here = {}, 0
    before = 0
    for layer, (name, module) in zip(counts.layers, model.layers.named_children(), strict=True):
        sees_all = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        if sees_all and name != "conv1" and not isinstance(module, TowerLinear):
            features[name] = before
        here += layer.multiply_adds // size
        before = layer.activations
    others = size - 1
    meetings = FLOAT * recipe.batch_size * sum(features.values()) // size * others
    logits = FLOAT * recipe.batch_size * -(-recipe.model.num_classes // size) * others
    sent = {"activations": meetings + logits, "gradients of activations": meetings}
    gathered = FLOAT * recipe.batch_size * sum(features.values())
    memory = {"weights, gradients, momentum": 3 * weights // size, "activations": activations // size + gathered}
    return Bill(scheme, size, recipe.batch_size, sent, memory, PASSES * recipe.batch_size * here, alone)

"""Dropout and the two towers on one image: answers under many masks, and with an exchange between the towers cut.

Nothing here changes the network: masks are drawn by layers of their own, and cut weights are copies.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from alexnet.data.images import Pixels
from alexnet.distributed.cost import FLOAT
from alexnet.distributed.towers import layers_seeing_all_towers
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.interpret.ideas import Floats, answer_of, run_with
from alexnet.kernels.masks import start_of
from alexnet.models.layers import Dropout
from alexnet.models.network import Network, last_layer
from alexnet.rng import DROPOUT, seed_for


@dataclass(frozen=True, eq=False)
class DropoutTrial:
    """The answers to one image under many dropout masks, and with the scaling of test time."""

    share: float  # dropped, as the probability of each unit
    kept: dict[str, NDArray[np.bool_]]  # by dropout layer, which units each mask keeps: (masks, units)
    probabilities: Floats  # (masks, classes)
    at_test: Floats  # (classes,), one pass with the scaling of test time
    scales_at_test: bool  # False: the kept units were scaled in training instead


@torch.inference_mode()
def dropout_trial(
    classifier: Classifier, image: Pixels, *, share: float | None = None, masks: int = 100, seed: int = 0
) -> DropoutTrial:
    """Answers for one image under many masks, drawn as training draws those of a batch.

    Args:
        share: probability with which a unit is dropped where the recipe has dropout; None: as it has it.
        masks: how many.
        seed: of the masks.

    Raises:
        UsageError: E2121, the network has no dropout.
    """
    model = classifier.network
    found = {name: layer for name, layer in model.layers.named_children() if isinstance(layer, Dropout)}
    if not found:
        raise UsageError(
            "this network has no dropout", fix="Choose a run of an AlexNet, such as the gallery.", code="E2121"
        )
    used = [layer for layer in found.values() if layer.p > 0] or list(found.values())
    own_share = max(layer.p for layer in used)
    view = classifier.view(image)
    model.eval()
    layers = list(model.layers.named_children())
    start = next(i for i, (name, _) in enumerate(layers) if name in found)
    x = model.prepare_input(view)
    for _, layer in layers[:start]:
        x = layer(x)
    scaled, dropped, kept = x, x.expand(masks, *x.shape[1:]), dict[str, NDArray[np.bool_]]()
    part = 0
    for name, layer in layers[start:]:
        if not isinstance(layer, Dropout):
            scaled, dropped = layer(scaled), layer(dropped)
            continue
        p = layer.p if share is None or layer not in used else share
        trial = Dropout(p, layer.scale_at_test)
        trial.key = start_of_mask(seed, part)
        part += 1
        kept[name] = trial(torch.ones(dropped.shape, device=x.device)).flatten(1).cpu().numpy() > 0
        dropped, scaled = trial(dropped), trial.eval()(scaled)
    cue = 0.0 if model.cue is None else model.cue(view)
    answers, at_test = (answer_of(classifier, each + cue) for each in (dropped, scaled))
    own = next(iter(found.values())).scale_at_test
    return DropoutTrial(own_share if share is None else share, kept, answers, at_test[0], own)


def start_of_mask(seed: int, part: int) -> Tensor:
    """The key of the masks of a dropout layer, as `Network.seed_dropout` makes it for the first step of a run."""
    return torch.tensor(start_of(seed_for(seed, 0, DROPOUT, part)), dtype=torch.int64)


@dataclass(frozen=True)
class Exchange:
    """A layer in which the towers meet: what has to come from the other tower."""

    layer: str
    values: int  # for one image, to all towers together
    to: str  # "all": every tower receives what the others have; "first": one tower receives the rest

    @property
    def bytes(self) -> int:
        """In float32."""
        return FLOAT * self.values


def exchanges(model: Network) -> list[Exchange]:
    """Lists the layers that see feature maps of all towers, with the values that cross for one image on the way in.

    Both towers need the half that the other has; only for the logits it is enough that one receives the rest.

    Raises:
        UsageError: E2122, the network has one tower.
    """
    towers = int(getattr(model.config, "towers", 1))
    if towers < 2:
        raise UsageError(
            "this network has one tower", fix="Choose a run with model.towers=2, such as the gallery.", code="E2122"
        )
    size = model.config.crop_size
    model.eval()
    with torch.inference_mode():
        shapes = model.activations(torch.zeros(1, 3, size, size, device=model.input_mean.device))
    seeing, last, names = layers_seeing_all_towers(model), last_layer(model), list(shapes)
    found = []
    for name in seeing:
        values = shapes[names[names.index(name) - 1]].numel()
        if name == last:
            found.append(Exchange(name, values // towers * (towers - 1), "first"))
        else:
            found.append(Exchange(name, values * (towers - 1), "all"))
    return found


@torch.inference_mode()
def answer_with_cuts(classifier: Classifier, image: Pixels, cut: Collection[str]) -> Floats:
    """Answers for one image (classes,) where in some layers each tower gets zeros in the place of what the other has.

    In the last layer, which belongs to no tower, only the first tower is left.

    Raises:
        UsageError: E2122, as for `exchanges`; E2123, in a layer to be cut nothing crosses.
    """
    model = classifier.network
    places = [each.layer for each in exchanges(model)]
    for name in cut:
        if name not in places:
            raise UsageError(
                f"nothing crosses between the towers at {name}", fix=f"It does at: {', '.join(places)}.", code="E2123"
            )
    layers = dict(model.layers.named_children())
    changed = {name: _without_the_other(model, name, layers[name]) for name in cut}
    return run_with(classifier, image, changed).probabilities


def _without_the_other(model: Network, name: str, layer: nn.Module) -> "_Cut":
    weight: Tensor = layer.weight.detach().clone()  # type: ignore[operator]
    towers = int(getattr(model.config, "towers", 1))
    inputs = weight.shape[1] // towers
    if name == last_layer(model):
        weight[:, inputs:] = 0
    else:
        outputs = weight.shape[0] // towers
        for tower in range(towers):
            rows = slice(tower * outputs, (tower + 1) * outputs)
            weight[rows, : tower * inputs] = 0
            weight[rows, (tower + 1) * inputs :] = 0
    return _Cut(layer, weight)


@dataclass(frozen=True, eq=False)
class _Cut:
    """A layer with other weights."""

    layer: nn.Module
    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = functional_call(self.layer, {"weight": self.weight}, (x,))
        return result

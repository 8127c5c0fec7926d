"""The rungs of the ladder of speed: how a training step of the network of 2012 is taken, from plain to fastest.

RUNGS is the one place where they are listed. A rung is a function of the device and the batch that builds a step; it
stands in the list as soon as what it measures exists, and not before. Rungs that cannot run somewhere say why.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe
from alexnet.training.optim import build_optimizer
from alexnet.training.step import train_step
from harness import ROOT
from studies.gpu.smoke import precisions

sys.path.append(str(ROOT / "benchmarks"))  # where the plain network is, in scripts that import each other by name
from step import STEP_GFLOP, plain_network

Step = Callable[[], Any]
# Both in bfloat16 are in channels_last, too.
PLAIN, PLAIN_BF16 = "plain float32", "plain bfloat16"
TORCHVISION, COMPILED = "torchvision float32", "torchvision bfloat16 compiled"
OURS = "ours "  # with which the names of our rungs begin
FEW = 64  # units of the fully connected layers in a trial


@dataclass(frozen=True)
class Rung:
    """One way to take a step."""

    name: str
    build: Callable[[torch.device, int, bool], Step]  # of device, images in the batch, and whether it is a trial
    precision: str  # that of the matrix product whose rate it could reach
    only_cuda: str = ""  # why it runs nowhere else


def inputs(device: torch.device, batch: int, side: int = 224, classes: int = 1000) -> tuple[Tensor, Tensor]:
    """Images 0..255 and labels, on the device."""
    random = torch.Generator().manual_seed(0)
    images = 255 * torch.rand(batch, 3, side, side, generator=random)
    return images.to(device), (torch.arange(batch) % classes).to(device)


def plain_step(model: nn.Module, device: torch.device, batch: int, *, bfloat16: bool) -> Step:
    """A step as a tutorial has it: torch.optim.SGD, its defaults, autocast if asked."""
    images, labels = inputs(device, batch)
    images = images / 255
    model = model.to(device).train()
    if bfloat16:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=0.0005)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return step


def plain(bfloat16: bool) -> Callable[[torch.device, int, bool], Step]:
    """The step of the network of 2012 in PyTorch's own layers."""

    def build(device: torch.device, batch: int, tiny: bool) -> Step:
        network = plain_network(FEW) if tiny else plain_network()
        return plain_step(network, device, batch, bfloat16=bfloat16)

    return build


def torchvision_network(tiny: bool) -> nn.Module:
    """The AlexNet of torchvision: one tower, 64 maps in conv1, no norms."""
    from torchvision.models import alexnet

    network: nn.Module = alexnet()
    if tiny:
        network.classifier = nn.Linear(9216, 1000)
    return network


def torchvision_plain(device: torch.device, batch: int, tiny: bool) -> Step:
    """torchvision's network as it is found."""
    return plain_step(torchvision_network(tiny), device, batch, bfloat16=False)


def torchvision_compiled(device: torch.device, batch: int, tiny: bool) -> Step:
    """torchvision's network as PyTorch makes it fastest."""
    network = torchvision_network(tiny).to(memory_format=torch.channels_last)
    return plain_step(torch.compile(network), device, batch, bfloat16=True)


def our_recipe(tiny: bool, precision: str) -> Recipe:
    """The network of 2012 whole; in a trial an eighth as wide, on the same images."""
    recipe = find_recipe("alexnet-2012")
    model = replace(recipe.model, width=1 / 8) if tiny else recipe.model
    return replace(recipe, model=model, precision=precision)


def our_network(recipe: Recipe, device: torch.device) -> Network:
    """The network of a recipe as training holds it."""
    return build_model(recipe.model).to(device).to(memory_format=torch.channels_last)


def ours(precision: str) -> Callable[[torch.device, int, bool], Step]:
    """Our step as `alexnet train` takes it, without the images' way to the device."""

    def build(device: torch.device, batch: int, tiny: bool) -> Step:
        recipe = our_recipe(tiny, precision)
        model = our_network(recipe, device).train()
        optimizer = build_optimizer(model, recipe.optim)
        images, labels = inputs(device, batch)
        images = images.contiguous(memory_format=torch.channels_last)
        targets = F.one_hot(labels, recipe.model.num_classes).float()

        def step() -> None:
            model.seed_dropout(recipe.seed, 0)
            train_step(model, optimizer, images, targets, recipe)

        return step

    return build


NO_COMPILER = "torch.compile needs a C++ compiler on the CPU"
RUNGS: tuple[Rung, ...] = (
    Rung(PLAIN, plain(bfloat16=False), "float32"),
    Rung(PLAIN_BF16, plain(bfloat16=True), "bfloat16"),
    Rung(TORCHVISION, torchvision_plain, "float32"),
    Rung(COMPILED, torchvision_compiled, "bfloat16", only_cuda=NO_COMPILER),
    *(Rung(f"{OURS}{precision}", ours(precision), precision) for precision in precisions()),
)
__all__ = ["COMPILED", "OURS", "PLAIN", "PLAIN_BF16", "RUNGS", "STEP_GFLOP", "TORCHVISION", "Rung", "Step"]

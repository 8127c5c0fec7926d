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

from alexnet.kernels.ways import Way, chains
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe
from alexnet.training.graphs import recorder_for
from alexnet.training.late import LateSteps
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


def our_step(
    precision: str, take: Callable[[Network, torch.optim.Optimizer, Recipe, Tensor, Tensor], Step], way: Way
) -> Callable[[torch.device, int, bool], Step]:
    """Our step without the images' way to the device.

    Args:
        take: builds what takes it.
        way: in which chains of layers are computed on a card; elsewhere as is best there.
    """

    def build(device: torch.device, batch: int, tiny: bool) -> Step:
        recipe = replace(our_recipe(tiny, precision), batch_size=batch)
        model = our_network(recipe, device).train()
        optimizer = build_optimizer(model, recipe.optim)
        images, labels = inputs(device, batch)
        images = images.contiguous(memory_format=torch.channels_last)
        targets = F.one_hot(labels, recipe.model.num_classes).float()
        step = take(model, optimizer, recipe, images, targets)

        def in_this_way() -> None:
            model.seed_dropout(recipe.seed, 0)
            with chains(way if device.type == "cuda" else "kernels"):
                step()

        return in_this_way

    return build


def at_once(model: Network, optimizer: torch.optim.Optimizer, recipe: Recipe, images: Tensor, targets: Tensor) -> Step:
    """The step whose loss is read before the update, as on a CPU."""
    return lambda: train_step(model, optimizer, images, targets, recipe)


def late(model: Network, optimizer: torch.optim.Optimizer, recipe: Recipe, images: Tensor, targets: Tensor) -> Step:
    """The step whose loss nobody waits for, with one kernel for the update."""
    steps = LateSteps(model, optimizer, None, recipe, None)
    return lambda: steps.take(images, targets)


def recorded(model: Network, optimizer: torch.optim.Optimizer, recipe: Recipe, images: Tensor, targets: Tensor) -> Step:
    """The same with forward and backward pass as a CUDA graph: what `alexnet train` takes on a card."""
    steps = LateSteps(model, optimizer, None, recipe, None, recorder=recorder_for(images.device))

    def step() -> None:
        steps.take(images, targets)
        if (failure := steps.take_note()) is not None:
            raise RuntimeError(failure)

    return step


def our_rungs(precision: str) -> tuple[Rung, ...]:
    """The rungs of ours in one precision, each with one thing more than the one before."""
    name = f"{OURS}{precision}"
    return (
        Rung(name, our_step(precision, at_once, "plain"), precision),
        Rung(f"{name}, compiled chain", our_step(precision, at_once, "compiled"), precision, only_cuda=NO_COMPILER),
        Rung(f"{name}, Triton chain", our_step(precision, at_once, "kernels"), precision, only_cuda=NO_TRITON),
        Rung(f"{name}, one update, loss read late", our_step(precision, late, "kernels"), precision),
        Rung(f"{name}, CUDA graph", our_step(precision, recorded, "kernels"), precision, only_cuda=NO_GRAPH),
    )


NO_COMPILER = "torch.compile needs a C++ compiler on the CPU"
NO_TRITON = "Triton kernels run on a card"
NO_GRAPH = "graphs are recorded on a card"
RUNGS: tuple[Rung, ...] = (
    Rung(PLAIN, plain(bfloat16=False), "float32"),
    Rung(PLAIN_BF16, plain(bfloat16=True), "bfloat16"),
    Rung(TORCHVISION, torchvision_plain, "float32"),
    Rung(COMPILED, torchvision_compiled, "bfloat16", only_cuda=NO_COMPILER),
    *(rung for precision in precisions() for rung in our_rungs(precision)),
)
__all__ = ["COMPILED", "OURS", "PLAIN", "PLAIN_BF16", "RUNGS", "STEP_GFLOP", "TORCHVISION", "Rung", "Step"]

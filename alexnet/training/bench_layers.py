"""Time of each layer, forward and backward, and its speed as a share of the peak of the machine.

The peak is the speed of a large matrix product. Layers that run as one operator in training are one row. `caffe time`
did the same for Caffe.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from alexnet.kernels.device import finish, memory_format
from alexnet.kernels.operators import run_chain
from alexnet.kernels.precision import autocast, rounding
from alexnet.models.fusion import chain_from
from alexnet.models.network import Network
from alexnet.models.summary import summarize
from alexnet.training.bench import repeated

PEAK_SIDE = 2048  # side of the matrices whose product gives the peak


@dataclass(frozen=True)
class LayerTime:
    """Time of one layer, or of layers that run as one operator, for one batch."""

    name: str
    forward_ms: float
    backward_ms: float
    forward_flops: int  # two per multiply-add of convolutional and fully connected layers; 0 for others
    backward_flops: int

    def gflops(self) -> float:
        """10^9 operations per second over both passes."""
        return (self.forward_flops + self.backward_flops) / (self.forward_ms + self.backward_ms) / 1e6


@dataclass(frozen=True)
class LayerTimes:
    """Times of all layers of a network."""

    layers: tuple[LayerTime, ...]
    peak_gflops: float  # of a product of two PEAK_SIDE x PEAK_SIDE matrices, same precision, device and threads
    batch_size: int
    threads: int
    device: str
    precision: str = "float32"

    def __repr__(self) -> str:
        total = f"{self.forward_ms:.1f} ms forward, {self.backward_ms:.1f} ms backward"
        return f"LayerTimes({len(self.layers)} layers, batch of {self.batch_size}: {total})"

    @property
    def forward_ms(self) -> float:
        """Sum over the layers."""
        return sum(layer.forward_ms for layer in self.layers)

    @property
    def backward_ms(self) -> float:
        """Sum over the layers."""
        return sum(layer.backward_ms for layer in self.layers)

    @property
    def total(self) -> LayerTime:
        """The sums over all layers, as a row."""
        flops = [(layer.forward_flops, layer.backward_flops) for layer in self.layers]
        return LayerTime("all", self.forward_ms, self.backward_ms, *map(sum, zip(*flops, strict=True)))

    def share_of_peak(self, layer: LayerTime) -> float:
        """Speed as a share of the matrix product, in [0, 1] apart from noise."""
        return layer.gflops() / self.peak_gflops


def layer_flops(model: Network, batch_size: int) -> dict[str, tuple[int, int]]:
    """Operations of every layer for a batch, forward and backward.

    Backward is twice forward: once for the weights and once for the input. The first layer with weights needs no
    gradient for its input, the image.
    """
    flops = {}
    first = True
    for layer in summarize(model).layers:
        forward = 2 * layer.multiply_adds * batch_size
        flops[layer.name] = forward, forward if first else 2 * forward
        first = first and not layer.learned
    return flops


def peak_gflops(device: torch.device, seconds: float = 1.0, precision: str = "float32") -> float:
    """Speed of a large matrix product on the device, in 10^9 operations per second."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.randn(2, PEAK_SIDE, PEAK_SIDE, device=device, dtype=dtype).unbind()

    def product() -> None:
        torch.mm(a, b)
        finish(device)

    with rounding(device, precision):
        return 2 * PEAK_SIDE**3 / repeated(product, seconds) / 1e9


def time_layers(
    model: Network, batch_size: int, device: torch.device, seconds: float = 20.0, precision: str = "float32"
) -> LayerTimes:
    """Times every layer of a network on the output of the layer before, in training mode.

    Args:
        precision: that of the recipe, in which the layers and the peak are computed.
    """
    flops = layer_flops(model, batch_size)
    model = model.place(device).train()
    size = model.config.crop_size
    pixels = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8, device=device)
    x = model.prepare_input(pixels).contiguous(memory_format=memory_format(device))
    groups = grouped(model)
    rows = []
    learned_before = False
    for names, layer_run in groups:
        run = in_precision(layer_run, device, precision)
        layers = [model.layers.get_submodule(name) for name in names]
        weights = [p for layer in layers for p in layer.parameters()]
        x = x.detach().requires_grad_(learned_before)
        inputs = [*weights, *([x] if learned_before else [])]
        with rounding(device, precision):
            forward, backward, x = _time_one(run, x, inputs, seconds / len(groups) / 2)
        learned_before = learned_before or bool(weights)
        forward_flops, backward_flops = (sum(flops[name][i] for name in names) for i in (0, 1))
        rows.append(LayerTime(" ".join(names), 1e3 * forward, 1e3 * backward, forward_flops, backward_flops))
    peak = peak_gflops(device, precision=precision)
    return LayerTimes(tuple(rows), peak, batch_size, torch.get_num_threads(), str(device), precision)


def in_precision(run: Callable[[Tensor], Tensor], device: torch.device, precision: str) -> Callable[[Tensor], Tensor]:
    """The function of an operator under the casts with which training calls it."""

    def cast_and_run(x: Tensor) -> Tensor:
        with autocast(device, precision):
            return run(x)

    return cast_and_run


def grouped(model: Network) -> list[tuple[tuple[str, ...], Callable[[Tensor], Tensor]]]:
    """Names and function of each operator of a network: one layer, or a chain of layers that run as one."""
    named = list(model.layers.named_children())
    groups: list[tuple[tuple[str, ...], Callable[[Tensor], Tensor]]] = []
    while named:
        chain, count = chain_from([layer for _, layer in named])
        run = (lambda x, chain=chain: run_chain(x, chain)) if count > 1 else named[0][1]
        groups.append((tuple(name for name, _ in named[:count]), run))
        named = named[count:]
    return groups


def _time_one(
    run: Callable[[Tensor], Tensor] | nn.Module, x: Tensor, inputs: list[Tensor], seconds: float
) -> tuple[float, float, Tensor]:
    """Times one operator.

    Args:
        inputs: the tensors whose gradients the backward pass computes.

    Returns:
        Seconds forward, seconds backward, and the output.
    """

    def forward() -> Tensor:
        out: Tensor = run(x)
        finish(x.device)
        return out

    forward_seconds = repeated(forward, seconds)
    out = forward()
    if not inputs:
        return forward_seconds, 0.0, out
    gradient: Any = torch.randn_like(out)

    def backward() -> None:
        torch.autograd.grad(out, inputs, gradient, retain_graph=True)
        finish(x.device)

    return forward_seconds, repeated(backward, seconds), out

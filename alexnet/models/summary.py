"""Counts a network layer by layer: shapes, parameters, multiply-adds, memory; and what the sources state."""

from dataclasses import dataclass
from html import escape

import torch
from torch import nn

from alexnet.models.layers import LocalConv
from alexnet.models.network import Network

# Neurons as listed in the caption of figure 2 of the paper. Its conv1 is a mistake: 96 * 55 * 48 for 96 * 55 * 55.
PAPER_NEURONS = {
    "conv1": 253_440,
    "conv2": 186_624,
    "conv3": 64_896,
    "conv4": 64_896,
    "conv5": 43_264,
    "fc6": 4_096,
    "fc7": 4_096,
    "fc8": 1_000,
}


@dataclass(frozen=True)
class Published:
    """The size of a network as its source states it, or as it follows from the files of the source."""

    parameters: str
    multiply_adds: str = ""
    neurons: str = ""
    source: str = "layers-145.cfg"


PUBLISHED = {
    "alexnet-2012": Published("60,965,224", "724,406,816", "659,272"),
    "alexnet-paper": Published("60 million", "", "650,000", "the paper"),
    "caffe": Published("60,965,224", "724,406,816", "659,272", "bvlc_alexnet"),
    "caffenet": Published("60,965,224", "724,406,816", "659,272", "caffenet"),
    "alexnet-owt": Published("61,100,840", "0.71 G", "", "torchvision"),
    "finetune": Published("61,100,840", "0.71 G", "", "torchvision"),
    "alexnet-d2l": Published("50,844,008 (color, 1,000 classes)", "", "", "the book's code"),
    "lenet": Published("61,706", "", "", "the book's code"),
    "cifar-80sec": Published("145,578", "", "", "layers-80sec.cfg"),
    "cifar-19pct": Published("89,578", "", "", "layers-19pct.cfg"),
    "cifar-18pct": Published("89,578", "", "", "layers-18pct.cfg"),
    "cifar-13pct": Published("1,116,490", "", "", "layers-conv-local-13pct.cfg"),
    "cifar-11pct": Published("2,112,970", "", "", "layers-conv-local-11pct.cfg"),
    "figure-1": Published("89,578", "", "", "layers-19pct.cfg"),
    "net-145-half": Published("59.8 million", "", "", "layers-145-half.cfg"),
    "net-147": Published("60.97 million", "", "", "layers-147.cfg"),
    "net-148": Published("60.97 million", "", "", "layers-148.cfg"),
    "net-150": Published("60.7 million", "", "", "layers-150.cfg"),
    "net-167": Published("60.97 million", "", "", "layers-167.cfg"),
}


@dataclass(frozen=True)
class LayerSummary:
    """The counts of one layer for one image."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of the output, without N
    parameters: int
    multiply_adds: int  # of convolutional and fully connected layers
    learned: bool  # whether it is a convolutional or fully connected layer

    @property
    def activations(self) -> int:
        """Number of output values."""
        return int(torch.Size(self.shape).numel())


def _cells(layer: LayerSummary) -> tuple[str, ...]:
    """The figures of a layer as text."""
    shape = " x ".join(map(str, layer.shape))
    return layer.name, layer.kind, shape, f"{layer.parameters:,}", f"{layer.multiply_adds:,}"


@dataclass(frozen=True)
class Summary:
    """The counts of a whole network."""

    layers: tuple[LayerSummary, ...]
    input_shape: tuple[int, int, int]

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass of one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def neurons(self) -> int:
        """Outputs of convolutional and fully connected layers, as the paper counts them."""
        return sum(layer.activations for layer in self.layers if layer.learned)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.input_shape))
        counted = f"{self.parameters:,} parameters, {self.multiply_adds:,} multiply-adds"
        return f"Summary({len(self.layers)} layers on {size} pixels: {counted})"

    def __str__(self) -> str:
        rows = [("layer", "kind", "output", "parameters", "multiply-adds"), *map(_cells, self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) if i < 3 else cell.rjust(width) for i, (cell, width) in enumerate(cells))
            for cells in (list(zip(row, widths, strict=True)) for row in rows)
        )
        return "\n".join((*lines, f"{self.parameters:,} parameters, {self.multiply_adds:,} multiply-adds"))

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{'</td><td>'.join(map(escape, _cells(layer)))}</td></tr>" for layer in self.layers)
        head = "<tr><th>layer</th><th>kind</th><th>output</th><th>parameters</th><th>multiply-adds</th></tr>"
        return f"<table>{head}{rows}</table><p>{self.parameters:,} parameters</p>"

    def training_bytes(self, batch_size: int) -> dict[str, int]:
        """Returns the bytes of a float32 training step: weights, gradients, momentum, all activations of a batch."""
        weights = 4 * self.parameters
        activations = 4 * batch_size * sum(layer.activations for layer in self.layers)
        return {"weights": weights, "gradients": weights, "momentum": weights, "activations": activations}


def summarize(model: Network) -> Summary:
    """Counts a network for one image of its nominal crop size."""
    size = model.config.crop_size
    device = model.input_mean.device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        outputs = model.activations(torch.zeros(1, 3, size, size, device=device))
    model.train(was_training)
    layers = []
    for name, module in model.layers.named_children():
        learned = isinstance(module, nn.Conv2d | nn.Linear | LocalConv)
        shape = tuple(outputs[name].shape[1:])
        positions = shape[1] * shape[2] if isinstance(module, nn.Conv2d) else 1
        weight = module.weight.numel() if isinstance(module, nn.Conv2d | nn.Linear | LocalConv) else 0
        parameters = sum(p.numel() for p in module.parameters())
        layers.append(LayerSummary(name, type(module).__name__, shape, parameters, positions * weight, learned))
    return Summary(tuple(layers), (3, size, size))

"""AlexNet, LeNet, small nets for CIFAR-10: pixels 0..255 in, logits out, every ingredient a field of a frozen record.

The mean (and, for some recipes, the standard deviation) of the training pixels is a buffer of the network, so training,
evaluation, prediction and export cannot preprocess differently. A network is a chain of named layers; `activations`
returns every named intermediate, `forward` only the last.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet.errors import UsageError
from alexnet.models.fusion import run_layers
from alexnet.models.layers import Dropout
from alexnet.recipes.config import ModelConfig
from alexnet.rng import DROPOUT, seed_for

Named = tuple[str, nn.Module]


class Network(nn.Module):
    """A chain of named layers on pixels 0..255."""

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, config: ModelConfig, layers: Sequence[Named], in_channels: int):
        super().__init__()
        self.config = config
        self.in_channels = in_channels
        side = config.crop_size if config.input_norm == "mean-image" else 1
        # Its channels lie side by side as those of the pictures do, so that the difference is one straight pass.
        self.register_buffer("input_mean", torch.zeros(side, side, 3).permute(2, 0, 1))
        self.register_buffer("input_scale", torch.ones(3, 1, 1))
        self.layers = nn.Sequential(OrderedDict(layers))

    def set_input_statistics(
        self, mean_image: npt.NDArray[np.floating[Any]], channel_std: npt.NDArray[np.floating[Any]]
    ) -> "Network":
        """Takes what the network subtracts and divides by from the training pixels.

        Args:
            mean_image: (size, size, 3), in 0..255, at least as large as the crop; its central square is used, whatever
                the position of a crop, as in 2012 ([code] convdata_jpeg.py:95, 209-211).
            channel_std: (3,), standard deviation of each channel over all pixels, in grey levels; a channel that is the
                same everywhere is not divided.
        """
        image = torch.from_numpy(np.ascontiguousarray(mean_image, np.float32)).permute(2, 0, 1)
        kind = self.config.input_norm
        if kind == "mean-image":
            size = self.config.crop_size
            top, left = (image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2
            self.input_mean.copy_(image[:, top : top + size, left : left + size])
        elif kind != "unit":
            self.input_mean.copy_(image.mean((1, 2), keepdim=True))
        if kind == "standardise":
            std = torch.from_numpy(np.asarray(channel_std, np.float32)).view(3, 1, 1)
            self.input_scale.copy_(1.0 / torch.where(std > 0, std, 1.0))
        elif kind == "unit":
            self.input_scale.fill_(1.0 / 255.0)
        return self

    def prepare_input(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) pixels 0..255, uint8 or float, to what conv1 sees: (N, in_channels, H, W) float."""
        x = (images.to(self.input_scale.dtype) - self.input_mean).mul_(self.input_scale)
        return x if self.in_channels == 3 else x.mean(1, keepdim=True)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) pixels 0..255 to (N, num_classes) logits."""
        return run_layers(list(self.layers), self.prepare_input(images))

    def activations(self, images: Tensor) -> dict[str, Tensor]:
        """Every named intermediate of one forward pass, in order: `conv1`, `norm1`, ... `fc8` (the logits).

        Here every layer runs by itself, while `forward` runs neighbours as one operator where that is faster.
        """
        x = self.prepare_input(images)
        out: dict[str, Tensor] = {}
        for name, layer in self.layers.named_children():
            x = layer(x)
            out[name] = x
        return out

    def seed_dropout(self, seed: int, step: int) -> None:
        """Makes the dropout masks of the next forward pass a function of (seed, step)."""
        for part, layer in enumerate(m for m in self.modules() if isinstance(m, Dropout)):
            device = self.input_mean.device
            if layer.generator is None or layer.generator.device != device:
                layer.generator = torch.Generator(device)
            layer.generator.manual_seed(seed_for(seed, step, DROPOUT, part))


def last_layer(network: Network) -> str:
    """The name of the layer that gives the logits: it starts anew when the classes change."""
    return [name for name, m in network.layers.named_children() if isinstance(m, nn.Linear)][-1]


def fingerprint(network: Network) -> str:
    """sha256 of all weights and buffers of a network, to tell whether they are still the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def layer_names(model: Network) -> list[str]:
    """The layers in order, as `Network.activations` names them."""
    return [name for name, _ in model.layers.named_children()]


def check_layer(model: Network, layer: str) -> int:
    """The place of a layer in the chain.

    Raises:
        UsageError: there is none of this name.
    """
    names = layer_names(model)
    if layer not in names:
        raise UsageError(f"the network has no layer {layer!r}", fix=f"It has: {', '.join(names)}.", code="E235")
    return names.index(layer)

"""The base class of all networks: a chain of named layers, pixels 0..255 in, logits out.

The mean (and, for some recipes, the standard deviation) of the training pixels is a buffer of the network, so training,
evaluation, prediction and export cannot preprocess differently. `activations` returns the output of every named layer,
`forward` only that of the last.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet.errors import UsageError
from alexnet.kernels.device import memory_format
from alexnet.kernels.masks import start_of
from alexnet.models.cue_branch import PREFIX, CueBranch
from alexnet.models.fusion import run_layers
from alexnet.models.layers import Dropout, LocalConv
from alexnet.recipes.config import ModelConfig
from alexnet.rng import DROPOUT, seed_for

Named = tuple[str, nn.Module]
FEW_VALUES = 3 * 16 * 16  # a batch this small may well be dark


class Network(nn.Module):
    """A chain of named layers on pixels 0..255."""

    input_mean: Tensor
    input_scale: Tensor

    def __init__(self, config: ModelConfig, layers: Sequence[Named], in_channels: int):
        super().__init__()
        self.config = config
        self.in_channels = in_channels
        side = config.crop_size if config.input_norm == "mean-image" else 1
        # The channels of a pixel are adjacent in memory, as in the images, so the subtraction reads both in order.
        self.register_buffer("input_mean", torch.zeros(side, side, 3).permute(2, 0, 1))
        self.register_buffer("input_scale", torch.ones(3, 1, 1))
        self.layers = nn.Sequential(OrderedDict(layers))
        self.cue: CueBranch | None = None  # what color and shape alone say, added to the logits; after training only

    def set_input_statistics(
        self, mean_image: npt.NDArray[np.floating[Any]], channel_std: npt.NDArray[np.floating[Any]]
    ) -> "Network":
        """Sets what the network subtracts from the pixels and divides them by, from statistics of the training split.

        Args:
            mean_image: (size, size, 3), in 0..255, at least as large as the crop; its central square is used for every
                position of a crop, as in 2012 ([code] convdata_jpeg.py:95, 209-211).
            channel_std: (3,), standard deviation of each channel over all pixels, in gray levels; a constant channel is
                not divided.
        """
        image = torch.from_numpy(np.ascontiguousarray(mean_image, np.float32)).permute(2, 0, 1)
        input_norm = self.config.input_norm
        if input_norm == "mean-image":
            size = self.config.crop_size
            top, left = (image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2
            self.input_mean.copy_(image[:, top : top + size, left : left + size])
        elif input_norm != "unit":
            self.input_mean.copy_(image.mean((1, 2), keepdim=True))
        if input_norm == "standardise":
            std = torch.from_numpy(np.asarray(channel_std, np.float32)).view(3, 1, 1)
            self.input_scale.copy_(1.0 / torch.where(std > 0, std, 1.0))
        elif input_norm == "unit":
            self.input_scale.fill_(1.0 / 255.0)
        return self

    def place(self, device: torch.device) -> Self:
        """Moves the network to a device, in the memory layout that is best there."""
        return self.to(device).to(memory_format=memory_format(device))

    def prepare_input(self, images: Tensor) -> Tensor:
        """Converts pixels 0..255, (N, 3, H, W) uint8 or float, to the input of conv1: (N, in_channels, H, W) float."""
        x = (images.to(self.input_scale.dtype) - self.input_mean).mul_(self.input_scale)
        if memory_format(x.device) is torch.contiguous_format:  # every later layer keeps the layout of this
            x = x.contiguous()
        return x if self.in_channels == 3 else x.mean(1, keepdim=True)

    def forward(self, images: Tensor, *, check_range: bool = True) -> Tensor:
        """Computes (N, num_classes) logits from (N, 3, H, W) pixels 0..255.

        Args:
            images: uint8 or float.
            check_range: refuse floats in 0..1; under `torch.compile` and in exports this is never checked.

        Raises:
            UsageError: E218, the pixels are floats in 0..1.
        """
        if check_range:
            check_pixel_range(images)
        logits = run_layers(list(self.layers), self.prepare_input(images))
        return logits if self.cue is None else logits + self.cue(images)

    def stages(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Computes the logits, and what enters every later convolution, is flattened, or enters the last layer.

        The logits are those of `forward` to the last bit: no chain of adjacent layers goes across these places.
        """
        layers = list(self.layers)
        ends = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | LocalConv)][1:]
        ends += [i for i, layer in enumerate(layers) if isinstance(layer, nn.Flatten)]
        ends += [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear)][-1:]
        x, start, maps = self.prepare_input(images), 0, []
        for end in ends:
            x, start = run_layers(layers[start:end], x), end
            maps.append(x)
        logits = run_layers(layers[start:], x)
        return (logits if self.cue is None else logits + self.cue(images)), maps

    def activations(self, images: Tensor, *, check_range: bool = True) -> dict[str, Tensor]:
        """Returns the output of every layer of one forward pass, in order: `conv1`, `norm1`, ... `fc8` (the logits).

        Here every layer runs separately, while `forward` runs adjacent layers as one operator where that is faster. The
        logits are those of the layers, without what a cue adds.

        Raises:
            UsageError: as for `forward`.
        """
        if check_range:
            check_pixel_range(images)
        x = self.prepare_input(images)
        out: dict[str, Tensor] = {}
        for name, layer in self.layers.named_children():
            x = layer(x)
            out[name] = x
        return out

    def seed_dropout(self, seed: int, step: int) -> None:
        """Makes the dropout masks of the next forward pass, of a whole batch, a function of (seed, step)."""
        layers = [m for m in self.modules() if isinstance(m, Dropout)]
        if not layers:
            return
        numbers = [start_of(seed_for(seed, step, DROPOUT, part)) for part in range(len(layers))]
        starts = torch.tensor(numbers, dtype=torch.int64).to(self.input_mean.device, non_blocking=True)
        for layer, start in zip(layers, starts, strict=True):
            layer.key, layer.rows = start, None


def check_pixel_range(images: Tensor) -> None:
    """Refuses a float batch whose values all lie in 0..1, as torchvision's `ToTensor` scales them.

    The answers for such a batch would be those for a black image. A batch of zeros is black in both scales.

    Raises:
        UsageError: E218.
    """
    if not images.is_floating_point() or images.numel() <= FEW_VALUES or _is_traced(images):
        return
    least, most = (float(value) for value in torch.aminmax(images.detach()))
    if least >= 0 and 0 < most <= 1:
        raise UsageError(
            f"all {images.numel():,} values of the batch lie in [{least:.3g}, {most:.3g}], and the network takes "
            "pixels 0..255",
            fix="Give uint8 pixels, with torchvision.transforms.PILToTensor() in the place of ToTensor(), or multiply "
            "by 255: network(images * 255). The network subtracts the mean itself, so leave out Normalize() too. An "
            "image may really be that dark: check_range=False.",
            code="E218",
        )


def _is_traced(images: Tensor) -> bool:
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() or type(images) is not Tensor:
        return True
    return images.is_meta or (images.is_cuda and torch.cuda.is_current_stream_capturing())


def attach_cue(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives a network the branch of cues that stored tensors hold, if they hold one; returns them in its state dict.

    Args:
        tensors: those of a network, or of a cue alone, by the names of `Network.state_dict`.
    """
    own = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
    if own:
        network.cue = CueBranch(own)
    return dict(tensors)


def last_layer(network: Network) -> str:
    """Returns the name of the layer that computes the logits; it is initialized again when the classes change."""
    return [name for name, m in network.layers.named_children() if isinstance(m, nn.Linear)][-1]


def fingerprint(network: Network) -> str:
    """Computes the sha256 of all weights and buffers of a network, to detect any change in them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def layer_names(model: Network) -> list[str]:
    """Returns the names of the layers in order, as in `Network.activations`."""
    return [name for name, _ in model.layers.named_children()]


def check_layer(model: Network, layer: str) -> int:
    """Returns the position of a layer in the chain.

    Raises:
        UsageError: the network has no layer of this name.
    """
    names = layer_names(model)
    if layer not in names:
        raise UsageError(f"the network has no layer {layer!r}", fix=f"It has: {', '.join(names)}.", code="E235")
    return names.index(layer)

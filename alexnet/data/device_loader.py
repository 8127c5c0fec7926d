"""Makes training batches on the device: uint8 images there, then crops, flips, color noise and blends as tensors.

The random choices are drawn on the CPU, some numbers for each image, as in `alexnet.data.loader`; they are functions of
(seed, epoch, sample). Crops, flips and color noise round each operation as the compiled loop of the CPU does, so their
bits are the same; other augmentations are the same functions of `alexnet.data.augment`, rounded as the device does.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet.data.augment import ColorStatistics, first_of_chunk, recolored, windows, zoom
from alexnet.data.device_images import DeviceImages, InMemory, Placement, Ring, placement_for
from alexnet.data.loader import Loader
from alexnet.rng import Indices


@dataclass(frozen=True, eq=False)
class DeviceLoader(Loader):
    """Makes the same batches as `Loader`, on a device."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    placement: Placement = "memory"

    @cached_property
    def images(self) -> DeviceImages:
        """The images of the split, in the memory of the device or on their way."""
        return (InMemory if self.placement == "memory" else Ring)(self.split, self.device)

    @cached_property
    def device_colors(self) -> ColorStatistics:
        """The statistics of the colors, with the mean on the device."""
        return replace(self.colors, mean=self.colors.mean.to(self.device))

    @cached_property
    def device_labels(self) -> Tensor:
        """The labels of the training images on the device: (N,) int64."""
        return self.labels.to(self.device)

    def targets(self, samples: NDArray[np.int64]) -> Tensor:
        """One-hot targets on the device: (n, classes)."""
        labels = self.device_labels[_sent(samples, self.device)]
        classes = torch.arange(self.recipe.model.num_classes, device=self.device)
        return (labels[:, None] == classes).float()

    def views(self, samples: NDArray[np.int64], *, epoch: int, size: int) -> Tensor:
        """The augmented images on the device, before those of a batch are blended: (n, 3, size, size)."""
        config, seed = self.recipe.augment, self.recipe.seed
        pixels, rows = self.images.batch(samples)
        keys: dict[str, Any] = {"seed": seed, "epoch": epoch, "samples": samples}
        if config.view == "zoom":
            images = pixels[_sent(rows, self.device)].permute(0, 3, 1, 2)
            views = zoom(images, size, seed, epoch, first_of_chunk(samples, config.chunk), config)
        else:
            views = cut(pixels, rows, *windows(self.split.size, size, config, **keys), size)
        return recolored(views, config, self.device_colors, **keys)


def cut(pixels: Tensor, rows: Indices, offsets: Indices, flipped: NDArray[np.bool_], size: int) -> Tensor:
    """Cuts one window out of each image, some of them flipped, in one pass: (n, 3, size, size) uint8, channels_last.

    Args:
        pixels: (M, H, W, 3) uint8, on a device.
        rows: (n,) which images.
        offsets: (n, 2) top and left of each window.
        flipped: (n,) which windows are flipped horizontally.
    """
    first = offsets[:, 1] + np.where(flipped, size - 1, 0)
    numbers = _sent(np.stack([rows, offsets[:, 0], first, np.where(flipped, -1, 1)]), pixels.device)
    images, top, left, direction = (each.view(-1, 1, 1) for each in numbers)
    along = torch.arange(size, device=pixels.device)
    y, x = top + along.view(1, -1, 1), left + direction * along.view(1, 1, -1)
    return pixels[images, y, x].permute(0, 3, 1, 2)


def loader_for(loader: Loader, device: torch.device, images: str = "auto") -> Loader:
    """Returns a loader for training on a device: on a CUDA card one that makes batches there, else the one given.

    Args:
        images: "auto", or where they are, on any device: "host", "memory" or "ring".
    """
    placement: Any = placement_for(loader.split, device) if images == "auto" else images
    if placement == "host":
        return loader
    return DeviceLoader(loader.split, loader.recipe, loader.colors, device, placement)


def _sent(numbers: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers)).to(device, non_blocking=True)

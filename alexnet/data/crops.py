"""Crops that choose nothing at random: centre, ten crops, the size of test time; and images as a batch."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.data.images import Pixels


def center_crop(images: Tensor, size: int) -> Tensor:
    """The central size x size window of (..., H, W)."""
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


def ten_crop(images: Tensor, size: int) -> Tensor:
    """Top left, top right, centre, bottom left, bottom right, then the mirrors of the five: (N, 10, 3, size, size).

    The channels of a pixel lie side by side, as convolutions on a CPU want them.
    """
    bottom, right = images.shape[-2] - size, images.shape[-1] - size
    corners = [(0, 0), (0, right), (bottom // 2, right // 2), (bottom, 0), (bottom, right)]
    shape = (len(images), 2, len(corners), size, size, images.shape[1])
    views = torch.empty(shape, dtype=images.dtype, device=images.device).permute(0, 1, 2, 5, 3, 4)
    mirrored = images.flip(-1)
    for i, (y, x) in enumerate(corners):
        views[:, 0, i] = images[..., y : y + size, x : x + size]
        views[:, 1, i] = mirrored[..., y : y + size, right - x : right - x + size]
    return views.flatten(1, 2)


def shrink(images: Tensor, size: int | None) -> Tensor:
    """Square pictures resized to `size` pixels a side (bilinear, antialiased), or as they are for None."""
    if size is None or size == images.shape[-1]:
        return images
    return F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)


def as_batch(images: Pixels) -> Tensor:
    """uint8 (n, H, W, 3) pictures as a (n, 3, H, W) tensor on the same memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)

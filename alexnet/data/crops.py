"""Crops without randomness: the center crop, the ten crops, and the size at test time; and images as a batch."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.data.images import Pixels


def center_crop(images: Tensor, size: int) -> Tensor:
    """Cuts out the central size x size window: (..., H, W) -> (..., size, size)."""
    top, left = (images.shape[-2] - size) // 2, (images.shape[-1] - size) // 2
    return images[..., top : top + size, left : left + size]


def ten_crop(images: Tensor, size: int) -> Tensor:
    """Cuts the ten crops of ten-crop evaluation: (N, 3, H, W) -> (N, 10, 3, size, size).

    They are top left, top right, center, bottom left, bottom right, then the horizontal flips of these five. In memory
    the channels of a pixel are adjacent (channels last), which is the fast layout for convolutions on a CPU.
    """
    bottom, right = images.shape[-2] - size, images.shape[-1] - size
    corners = [(0, 0), (0, right), (bottom // 2, right // 2), (bottom, 0), (bottom, right)]
    shape = (len(images), 2, len(corners), size, size, images.shape[1])
    views = torch.empty(shape, dtype=images.dtype, device=images.device).permute(0, 1, 2, 5, 3, 4)
    flipped = images.flip(-1)
    for i, (y, x) in enumerate(corners):
        views[:, 0, i] = images[..., y : y + size, x : x + size]
        views[:, 1, i] = flipped[..., y : y + size, right - x : right - x + size]
    return views.flatten(1, 2)


def shrink(images: Tensor, size: int | None) -> Tensor:
    """Resizes square images to `size` x `size` pixels (bilinear, antialiased); None leaves them as they are."""
    if size is None or size == images.shape[-1]:
        return images
    return F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)


def as_batch(images: Pixels) -> Tensor:
    """Views uint8 images (n, H, W, 3) as a tensor (n, 3, H, W) on the same memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)

"""From prepared pictures to what the network sees: crops, mirrors, colour noise, and the ten views of testing.

Pure functions on batches (N, 3, H, W) of uint8 pixels. Every random choice is drawn for a (seed, epoch, sample), so an
image gets the same view whatever the batch size, the number of processes, or a restart in between.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import rng
from alexnet.recipes.config import AugmentConfig
from alexnet.rng import Indices

# Eigenvalues and eigenvectors (columns) of the RGB covariance of ImageNet, pixels in 0..1: the constants of "Lighting"
# in fb.resnet.torch, which most training code since has copied whatever its pictures are.
LIGHTING_VALUES = np.array([0.2175, 0.0188, 0.0045])
LIGHTING_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


@dataclass(frozen=True)
class ColorStatistics:
    """What colour noise needs to know of the training pixels, all in grey levels."""

    mean: Tensor  # what the network subtracts: (3, H, W) of one crop, or (3, 1, 1)
    stdevs: npt.NDArray[np.floating[Any]]  # (3,) square roots of the eigenvalues of the RGB covariance
    vectors: npt.NDArray[np.floating[Any]]  # (3, 3), eigenvectors in columns


def crop_offsets(seed: int, epoch: int, samples: Indices, margin: int) -> Indices:
    """Top and left of a random crop for each sample: (n, 2) in 0..margin inclusive.

    From 256 to 224 pixels that is 33 positions along each side ([code] convdata_jpeg.py:237-246), 33 * 33 * 2 = 2,178
    views with the mirror; the paper's 2,048 counts 32.
    """
    return rng.integers(seed, epoch, samples, rng.CROP, margin + 1, count=2)


def crop(images: Tensor, offsets: Indices, size: int) -> Tensor:
    """One size x size window of each image: (N, 3, H, W) and (N, 2) offsets (top, left) to (N, 3, size, size)."""
    shape = (len(images), images.shape[1], size, size)
    out = torch.empty(shape, dtype=images.dtype, memory_format=torch.channels_last)
    for i, (top, left) in enumerate(offsets.tolist()):
        out[i] = images[i, :, top : top + size, left : left + size]
    return out


def flips(seed: int, epoch: int, samples: Indices) -> npt.NDArray[np.bool_]:
    """Which samples are mirrored: (n,) with probability one half."""
    return rng.uniform(seed, epoch, samples, rng.FLIP)[:, 0] < 0.5


def flip(images: Tensor, mirrored: npt.NDArray[np.bool_]) -> Tensor:
    """Mirrors the chosen images left to right; the others stay as they are."""
    chosen = torch.from_numpy(mirrored).view(-1, 1, 1, 1)
    return torch.where(chosen, images.flip(-1), images)


def color_shifts(
    seed: int,
    epoch: int,
    samples: Indices,
    color_stdevs: npt.NDArray[np.floating[Any]],
    color_vectors: npt.NDArray[np.floating[Any]],
    color_scale: str = "stdev",
) -> Tensor:
    """The PCA colour noise of each sample in grey levels, before its coefficient: (n, 3) float32.

    V (s * z) with z standard normal, V the eigenvectors (columns) of the RGB covariance of the training pixels and s
    the *square roots* of its eigenvalues ([code] convdata_jpeg.py:57-66). Section 4.1 of the paper has the eigenvalues
    themselves, which means something only on one scale of the pixels: with "eigenvalue" they are those of pixels in
    0..1; on 0..255 the first would move a picture by thousands of grey levels. "lighting" takes those of ImageNet
    instead of those of the training pixels, as the widespread transform of that name does.
    """
    z = rng.normal(seed, epoch, samples, rng.COLOR, count=3)
    scale = color_stdevs if color_scale == "stdev" else 255.0 * (color_stdevs / 255.0) ** 2
    shifts = (z * scale) @ color_vectors.T
    if color_scale == "lighting":
        shifts = (z * 255.0 * LIGHTING_VALUES) @ LIGHTING_VECTORS.T
    return torch.from_numpy(shifts.astype(np.float32))


def color_noise(images: Tensor, shifts: Tensor, coefficient: float, mean: Tensor) -> Tensor:
    """Adds coefficient * shift to all pixels of an image, then draws it towards the mean by 1 + coefficient.

    The division keeps the scale of training near that of testing ([code] convdata_jpeg.py:155-179). It acts on pixels
    without their mean, so raw pixels p with mean m become m + (p - m + coefficient * shift) / (1 + coefficient).

    Args:
        images: (N, 3, H, W), 0..255.
        shifts: (N, 3), grey levels.
        mean: (3, H, W) or (3, 1, 1), grey levels.

    Returns:
        (N, 3, H, W) float32, not clipped.
    """
    noise = coefficient * shifts.view(-1, 3, 1, 1)
    return mean + (images.float() - mean + noise) / (1.0 + coefficient)


def zoom(images: Tensor, size: int, seed: int, epoch: int, samples: Indices, config: AugmentConfig) -> Tensor:
    """A random part of each picture, rotated and mirrored, as a square of `size` pixels, in one bilinear sampling.

    The share of the area is even in [min_area, 1], the logarithm of the aspect ratio even in +- log(max_aspect), the
    position even among those inside the picture; what a rotation brings in from outside is reflected.

    Returns:
        (N, 3, size, size) float32 in 0..255.
    """
    u = torch.from_numpy(rng.uniform(seed, epoch, samples, rng.SHAPE, count=5).astype(np.float32))
    area = config.min_area + (1.0 - config.min_area) * u[:, 0]
    aspect = torch.exp((2.0 * u[:, 1] - 1.0) * math.log(config.max_aspect))
    wide, high = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
    x, y = (2.0 * u[:, 2] - 1.0) * (1.0 - wide), (2.0 * u[:, 3] - 1.0) * (1.0 - high)
    angle = (2.0 * u[:, 4] - 1.0) * math.radians(config.rotation)
    side = torch.ones_like(area)
    if config.flip:
        side = torch.from_numpy(np.where(flips(seed, epoch, samples), -1.0, 1.0).astype(np.float32))
    rows = (
        torch.stack([side * wide * angle.cos(), -high * angle.sin(), x], dim=1),
        torch.stack([side * wide * angle.sin(), high * angle.cos(), y], dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1), [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def jitter(images: Tensor, strength: float, seed: int, epoch: int, samples: Indices) -> Tensor:
    """Brightness, then contrast about the picture's mean, then saturation, each by a factor even in 1 +- strength."""
    u = torch.from_numpy(rng.uniform(seed, epoch, samples, rng.JITTER, count=3).astype(np.float32))
    brightness, contrast, saturation = ((1.0 + strength * (2.0 * u - 1.0))[:, i].view(-1, 1, 1, 1) for i in range(3))
    x = images * brightness
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * contrast
    grey = (x * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (grey + (x - grey) * saturation).clamp_(0.0, 255.0)


def windows(
    side: int, size: int, config: AugmentConfig, *, seed: int, epoch: int, samples: Indices
) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Where the crops of pictures of `side` pixels lie, for every view but zoom, and which of them are mirrored.

    Returns:
        (n, 2) top and left, and (n,).
    """
    leaders = _leaders(samples, config.chunk)
    if config.view == "crop":
        offsets = crop_offsets(seed, epoch, leaders, side - size)
    else:
        offsets = np.full((len(samples), 2), (side - size) // 2, np.int64)
    return offsets, flips(seed, epoch, leaders) if config.flip else np.zeros(len(samples), np.bool_)


def shifts_at(
    config: AugmentConfig, colors: ColorStatistics, *, seed: int, epoch: int, samples: Indices
) -> Tensor | None:
    """`color_shifts` of an epoch (counted from 1), (n, 3); None where there is no colour noise."""
    if config.color_noise and (config.color_noise_until is None or epoch < config.color_noise_until):
        return color_shifts(seed, epoch, samples, colors.stdevs, colors.vectors, config.color_scale)
    return None


def training_views(
    images: Tensor,
    size: int,
    config: AugmentConfig,
    colors: ColorStatistics,
    *,
    seed: int,
    epoch: int,
    samples: Indices,
) -> Tensor:
    """The views of one epoch: (N, 3, H, H) uint8 to (N, 3, size, size), uint8 where nothing changes the pixels.

    Args:
        epoch: counted from 1.
        samples: (N,) positions of the images in the training set, in the order of the batch.
    """
    if config.view == "zoom":
        views = zoom(images, size, seed, epoch, _leaders(samples, config.chunk), config)
    else:
        offsets, mirrored = windows(images.shape[-1], size, config, seed=seed, epoch=epoch, samples=samples)
        views = flip(crop(images, offsets, size), mirrored)
    if config.jitter:
        views = jitter(views.float(), config.jitter, seed, epoch, samples)
    shifts = shifts_at(config, colors, seed=seed, epoch=epoch, samples=samples)
    if shifts is not None:
        if config.color_shrink:
            views = color_noise(views, shifts, config.color_noise, colors.mean)
        else:
            views = views + config.color_noise * shifts.view(-1, 3, 1, 1)
    return views


def _leaders(samples: Indices, chunk: int) -> Indices:
    """In 2012 one crop and one flip served 32 consecutive images: the first of them draws for all."""
    leaders: Indices = samples[np.arange(len(samples)) // chunk * chunk]
    return leaders


def fade(images: Tensor, config: AugmentConfig, *, seed: int, step: int) -> Tensor:
    """Replaces a chunk of pictures, with probability `fade`, by a blend with another stretch of the batch.

    (1 - fade_share) * the chunk + fade_share * as many pictures that start anywhere else in the batch, around its end;
    the labels stay those of the chunk. `fade=0.05 chunk=32` is the "fade" of January 2013, which stands commented out
    in the source ([code] convdata_jpeg.py:248-260). There the other stretch lay earlier in a file of 1,024 pictures
    and colour noise came after the blend; here it lies in the batch and each has its own. A function of (seed, step).

    Args:
        images: (N, 3, H, W).

    Returns:
        (N, 3, H, W): float32 where something was blended, else what was given.
    """
    count, chunk = len(images), config.chunk
    if not config.fade or count < 2 * chunk:
        return images
    starts = np.arange(0, count, chunk)
    u = rng.uniform(seed, step, starts, rng.FADE, count=2)
    chosen = np.repeat(u[:, 0] < config.fade, chunk)[:count]
    if not chosen.any():
        return images
    # Shifted by a chunk or more, whichever way around, so that a chunk is never blended with itself.
    shifts = np.repeat(chunk + (u[:, 1] * (count - 2 * chunk + 1)).astype(np.int64), chunk)[:count]
    rows, others = torch.from_numpy(chosen), torch.from_numpy((np.arange(count) + shifts)[chosen] % count)
    blended = images.float() if images.dtype == torch.uint8 else images.clone()
    blended[rows] = torch.lerp(images[rows].float(), images[others].float(), config.fade_share)
    return blended


def mix(images: Tensor, targets: Tensor, config: AugmentConfig, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Blends the pictures of a batch (mixup), pastes rectangles between them (cutmix), or leaves them as they are.

    Sources: Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019. One decision per batch, a function of
    (seed, step).

    Args:
        images: (N, 3, H, W).
        targets: (N, classes) probabilities.

    Returns:
        Images of the same shape and targets blended in the same proportion.
    """
    generator = np.random.default_rng([seed, step, rng.MIX])
    choice = generator.random()
    if choice >= config.cutmix + config.mixup:
        return images, targets
    partner = torch.from_numpy(generator.permutation(len(images)))
    if choice < config.cutmix:
        share = generator.beta(config.cutmix_alpha, config.cutmix_alpha)
        height, width = images.shape[-2:]
        half_y, half_x = (0.5 * side * math.sqrt(1.0 - share) for side in (height, width))
        y, x = generator.integers(height), generator.integers(width)
        top, bottom = max(round(y - half_y), 0), min(round(y + half_y), height)
        left, right = max(round(x - half_x), 0), min(round(x + half_x), width)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
        share = 1.0 - (bottom - top) * (right - left) / (height * width)
    else:
        share = generator.beta(config.mixup_alpha, config.mixup_alpha)
        mixed = torch.lerp(images[partner].float(), images.float(), share)
    return mixed, torch.lerp(targets[partner], targets, share)

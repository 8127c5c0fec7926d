"""Data augmentation: random crops, horizontal flips, PCA color augmentation ("color noise"), mixup and cutmix.

Pure functions on batches (N, 3, H, W) of uint8 pixels. Every random choice for an image depends only on (seed, epoch,
sample), so an image is augmented in the same way for any batch size, any number of processes, and after a restart.
Blends of images within a batch depend only on (seed, step).
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
# in fb.resnet.torch. Most later training code has copied them, also for images of other kinds.
LIGHTING_VALUES = np.array([0.2175, 0.0188, 0.0045])
LIGHTING_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


@dataclass(frozen=True)
class ColorStatistics:
    """The statistics of the training pixels that color noise needs, all in gray levels."""

    mean: Tensor  # what the network subtracts: (3, H, W) of one crop, or (3, 1, 1)
    stdevs: npt.NDArray[np.floating[Any]]  # (3,) square roots of the eigenvalues of the RGB covariance
    vectors: npt.NDArray[np.floating[Any]]  # (3, 3), eigenvectors in columns


def crop_offsets(seed: int, epoch: int, samples: Indices, margin: int) -> Indices:
    """Draws the top and left of a random crop for each sample: (n, 2) in 0..margin inclusive.

    From 256 to 224 pixels there are 33 positions along each side ([code] convdata_jpeg.py:237-246), which gives
    33 * 33 * 2 = 2,178 different crops with the horizontal flip; the paper counts 32 positions, which gives 2,048.
    """
    return rng.integers(seed, epoch, samples, rng.CROP, margin + 1, count=2)


def crop(images: Tensor, offsets: Indices, size: int) -> Tensor:
    """Cuts one size x size crop out of each image: (N, 3, H, W), (N, 2) offsets (top, left) -> (N, 3, size, size)."""
    shape = (len(images), images.shape[1], size, size)
    out = torch.empty(shape, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
    for i, (top, left) in enumerate(offsets.tolist()):
        out[i] = images[i, :, top : top + size, left : left + size]
    return out


def flips(seed: int, epoch: int, samples: Indices) -> npt.NDArray[np.bool_]:
    """Draws which samples are flipped horizontally: (n,), each True with probability one half."""
    return rng.uniform(seed, epoch, samples, rng.FLIP)[:, 0] < 0.5


def flip(images: Tensor, flipped: npt.NDArray[np.bool_]) -> Tensor:
    """Flips the images where `flipped` (N,) is True from left to right; the others stay as they are."""
    condition = torch.from_numpy(flipped).to(images.device).view(-1, 1, 1, 1)
    return torch.where(condition, images.flip(-1), images)


def color_shifts(
    seed: int,
    epoch: int,
    samples: Indices,
    color_stdevs: npt.NDArray[np.floating[Any]],
    color_vectors: npt.NDArray[np.floating[Any]],
    color_scale: str = "stdev",
) -> Tensor:
    """Draws the PCA color noise of each sample in gray levels, before its coefficient: (n, 3) float32.

    It is V (s * z) with z standard normal, V the eigenvectors (columns) of the RGB covariance of the training pixels
    and s the *square roots* of its eigenvalues ([code] convdata_jpeg.py:57-66). Section 4.1 of the paper has the
    eigenvalues themselves, which depend on the scale of the pixels. "eigenvalue" takes those of pixels in 0..1; on
    0..255 the first one would shift an image by thousands of gray levels. "lighting" uses the eigenvalues and
    eigenvectors of ImageNet instead of those of the training pixels, as the common transform of that name does.
    """
    z = rng.normal(seed, epoch, samples, rng.COLOR, count=3)
    scale = color_stdevs if color_scale == "stdev" else 255.0 * (color_stdevs / 255.0) ** 2
    shifts = (z * scale) @ color_vectors.T
    if color_scale == "lighting":
        shifts = (z * 255.0 * LIGHTING_VALUES) @ LIGHTING_VECTORS.T
    return torch.from_numpy(shifts.astype(np.float32))


def color_noise(images: Tensor, shifts: Tensor, coefficient: float, mean: Tensor) -> Tensor:
    """Adds coefficient * shift to all pixels of an image, then shrinks the result towards the mean by 1 + coefficient.

    The division keeps the scale of training images near that of test images ([code] convdata_jpeg.py:155-179). It
    acts on pixels without their mean: a pixel p with mean m becomes
    m + (p - m + coefficient * shift) / (1 + coefficient).

    Args:
        images: (N, 3, H, W), 0..255.
        shifts: (N, 3), gray levels.
        mean: (3, H, W) or (3, 1, 1), gray levels.

    Returns:
        (N, 3, H, W) float32, not clipped.
    """
    noise = coefficient * shifts.view(-1, 3, 1, 1)
    # A tensor: CUDA multiplies by the reciprocal of a number, which rounds otherwise.
    divisor = torch.full((), 1.0 + coefficient, dtype=torch.float32, device=images.device)
    return mean + (images.float() - mean + noise) / divisor


def zoom(images: Tensor, size: int, seed: int, epoch: int, samples: Indices, config: AugmentConfig) -> Tensor:
    """Cuts out a random part of each image, rotates, flips and resizes it to `size` pixels, in one bilinear sampling.

    The share of the area is uniform in [min_area, 1], the logarithm of the aspect ratio uniform in +- log(max_aspect),
    and the position uniform among those inside the image. Where a rotation reaches beyond the border of the image, the
    image is continued by reflection.

    Returns:
        (N, 3, size, size) float32 in 0..255.
    """
    u = torch.from_numpy(rng.uniform(seed, epoch, samples, rng.SHAPE, count=5).astype(np.float32))
    area = config.min_area + (1.0 - config.min_area) * u[:, 0]
    aspect = torch.exp((2.0 * u[:, 1] - 1.0) * math.log(config.max_aspect))
    width, height = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
    x, y = (2.0 * u[:, 2] - 1.0) * (1.0 - width), (2.0 * u[:, 3] - 1.0) * (1.0 - height)
    angle = (2.0 * u[:, 4] - 1.0) * math.radians(config.rotation)
    flip_sign = torch.ones_like(area)
    if config.flip:
        flip_sign = torch.from_numpy(np.where(flips(seed, epoch, samples), -1.0, 1.0).astype(np.float32))
    rows = (
        torch.stack([flip_sign * width * angle.cos(), -height * angle.sin(), x], dim=1),
        torch.stack([flip_sign * width * angle.sin(), height * angle.cos(), y], dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1).to(images.device), [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def jitter(images: Tensor, strength: float, seed: int, epoch: int, samples: Indices) -> Tensor:
    """Changes brightness, then contrast around the mean of the image, then saturation, by factors of 1 +- strength.

    The three factors of an image are uniform in [1 - strength, 1 + strength]; the result is clipped to 0..255.
    """
    u = torch.from_numpy(rng.uniform(seed, epoch, samples, rng.JITTER, count=3).astype(np.float32)).to(images.device)
    brightness, contrast, saturation = ((1.0 + strength * (2.0 * u - 1.0))[:, i].view(-1, 1, 1, 1) for i in range(3))
    x = images * brightness
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * contrast
    gray = (x * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (gray + (x - gray) * saturation).clamp_(0.0, 255.0)


def windows(
    side: int, size: int, config: AugmentConfig, *, seed: int, epoch: int, samples: Indices
) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Chooses the crops of images of `side` pixels, for every view except zoom, and which crops are flipped.

    Returns:
        (n, 2) top and left of each crop, and (n,) True where it is flipped.
    """
    first_samples = first_of_chunk(samples, config.chunk)
    if config.view == "crop":
        offsets = crop_offsets(seed, epoch, first_samples, side - size)
    else:
        offsets = np.full((len(samples), 2), (side - size) // 2, np.int64)
    return offsets, flips(seed, epoch, first_samples) if config.flip else np.zeros(len(samples), np.bool_)


def shifts_at(
    config: AugmentConfig, colors: ColorStatistics, *, seed: int, epoch: int, samples: Indices
) -> Tensor | None:
    """Draws the `color_shifts` of an epoch (counted from 1): (n, 3), or None if the epoch has no color noise."""
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
    """Augments a batch as the recipe says: (N, 3, H, H) uint8 -> (N, 3, size, size).

    The result is uint8 if the pixel values stay unchanged (only crops and flips), otherwise float32.

    Args:
        epoch: counted from 1.
        samples: (N,) positions of the images in the training split, in the order of the batch.
    """
    if config.view == "zoom":
        views = zoom(images, size, seed, epoch, first_of_chunk(samples, config.chunk), config)
    else:
        offsets, flipped = windows(images.shape[-1], size, config, seed=seed, epoch=epoch, samples=samples)
        views = flip(crop(images, offsets, size), flipped)
    return recolored(views, config, colors, seed=seed, epoch=epoch, samples=samples)


def recolored(
    views: Tensor, config: AugmentConfig, colors: ColorStatistics, *, seed: int, epoch: int, samples: Indices
) -> Tensor:
    """Changes the colors of views as the recipe says; arguments as for `training_views`, the mean on their device."""
    if config.jitter:
        views = jitter(views.float(), config.jitter, seed, epoch, samples)
    shifts = shifts_at(config, colors, seed=seed, epoch=epoch, samples=samples)
    if shifts is not None:
        shifts = shifts.to(views.device, non_blocking=True)
        if config.color_shrink:
            views = color_noise(views, shifts, config.color_noise, colors.mean)
        else:
            views = views + config.color_noise * shifts.view(-1, 3, 1, 1)
    return views


def first_of_chunk(samples: Indices, chunk: int) -> Indices:
    """Returns for each sample the first sample of its chunk, whose random numbers the whole chunk uses: (n,).

    In 2012 one crop and one flip were used for 32 consecutive images.
    """
    first_samples: Indices = samples[np.arange(len(samples)) // chunk * chunk]
    return first_samples


def fade(images: Tensor, config: AugmentConfig, *, seed: int, step: int) -> Tensor:
    """Blends a chunk of images, with probability `fade`, with other images of the batch.

    The chunk becomes (1 - fade_share) * chunk + fade_share * others, where "others" are equally many consecutive
    images from another random position in the batch, continued at its start where it ends. The labels stay those of
    the chunk. `fade=0.05 chunk=32` is the "fade" of January 2013, which is commented out in the source ([code]
    convdata_jpeg.py:248-260). There the other images came from an earlier part of a file of 1,024 images, and color
    noise was added after the blend; here they come from the batch, and each image already has its own color noise.
    The blend is a function of (seed, step).

    Args:
        images: (N, 3, H, W).

    Returns:
        (N, 3, H, W): float32 if something was blended, otherwise `images` unchanged.
    """
    count, chunk = len(images), config.chunk
    if not config.fade or count < 2 * chunk:
        return images
    starts = np.arange(0, count, chunk)
    u = rng.uniform(seed, step, starts, rng.FADE, count=2)
    is_blended = np.repeat(u[:, 0] < config.fade, chunk)[:count]
    if not is_blended.any():
        return images
    # The shift is at least one chunk in both directions, so a chunk is never blended with itself.
    shifts = np.repeat(chunk + (u[:, 1] * (count - 2 * chunk + 1)).astype(np.int64), chunk)[:count]
    places = np.stack([np.flatnonzero(is_blended), (np.arange(count) + shifts)[is_blended] % count])
    rows, others = torch.from_numpy(places).to(images.device)
    blended = images.float() if images.dtype == torch.uint8 else images.clone()
    blended[rows] = torch.lerp(images[rows].float(), images[others].float(), config.fade_share)
    return blended


def mix(images: Tensor, targets: Tensor, config: AugmentConfig, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Blends the images of a batch (mixup), pastes rectangles between them (cutmix), or leaves them as they are.

    Sources: Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019. One choice is made per batch; it is a
    function of (seed, step).

    Args:
        images: (N, 3, H, W).
        targets: (N, classes) probabilities.

    Returns:
        Images of the same shape, and the targets blended in the same proportion.
    """
    generator = np.random.default_rng([seed, step, rng.MIX])
    choice = generator.random()
    if choice >= config.cutmix + config.mixup:
        return images, targets
    partner = torch.from_numpy(generator.permutation(len(images))).to(images.device)
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

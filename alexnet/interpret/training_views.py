"""What training sees of one image: the views of several epochs, and its color noise along chosen axes.

The same function that makes the batches of training makes these (`alexnet.data.augment.training_views`).
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.data.augment import ColorStatistics, color_noise, training_views
from alexnet.data.crops import as_batch, center_crop
from alexnet.data.images import Pixels
from alexnet.recipes.config import AugmentConfig
from alexnet.recipes.recipe import Recipe

Uint8 = NDArray[np.uint8]


def switched(augment: AugmentConfig, *, crop: bool, flip: bool, noise: bool) -> AugmentConfig:
    """The augmentation of a recipe with some of its parts switched off, and those that it lacks as in 2012.

    Only what can be seen on one image: nothing is mixed with another, and each image has a crop of its own.
    """
    own = AugmentConfig()
    view = (augment.view if augment.view != "center" else own.view) if crop else "center"
    return replace(
        augment,
        view=view,
        flip=flip,
        chunk=1,
        color_noise=(augment.color_noise or own.color_noise) if noise else 0.0,
        color_noise_until=None,
        jitter=augment.jitter if noise else 0.0,
        fade=0.0,
        mixup=0.0,
        cutmix=0.0,
    )


def views_of_epochs(
    image: Pixels, recipe: Recipe, augment: AugmentConfig, colors: ColorStatistics, *, sample: int, epochs: int
) -> Uint8:
    """The views of one prepared image in the first epochs of a run: (epochs, crop, crop, 3), rounded.

    Args:
        sample: its position in the training split, on which the random choices depend.
    """
    batch, size = as_batch(image[None]), recipe.model.crop_size
    views = [
        training_views(
            batch, size, augment, colors, seed=recipe.seed, epoch=epoch, samples=np.array([sample], np.int64)
        )
        for epoch in range(1, epochs + 1)
    ]
    return _pixels(torch.cat([each.float() for each in views]))


def shifted_along(
    image: Pixels, size: int, augment: AugmentConfig, colors: ColorStatistics, axes: list[float]
) -> Uint8:
    """The central crop (size, size, 3) with color noise of chosen strength along the three axes of the colors.

    Args:
        axes: what training would draw from a normal distribution for each axis, the axis of largest variance first.
    """
    strengths = np.array(axes[::-1])  # the statistics are in ascending order
    shift = torch.from_numpy(((strengths * colors.stdevs) @ colors.vectors.T).astype(np.float32))[None]
    coefficient = augment.color_noise or AugmentConfig().color_noise
    crop = center_crop(as_batch(image[None]), size)
    if augment.color_shrink:
        changed = color_noise(crop, shift, coefficient, colors.mean)
    else:
        changed = crop.float() + coefficient * shift.view(-1, 3, 1, 1)
    pixels: Uint8 = _pixels(changed)[0]
    return pixels


def _pixels(views: torch.Tensor) -> Uint8:
    pixels: Uint8 = views.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return pixels

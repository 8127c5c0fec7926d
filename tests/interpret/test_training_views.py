"""What training sees of an image: against the batches of training, and color noise by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.data.augment import ColorStatistics
from alexnet.data.loader import Loader
from alexnet.interpret.training_views import shifted_along, switched, views_of_epochs
from alexnet.recipes.config import AugmentConfig

MEAN = torch.full((3, 1, 1), 100.0)


@pytest.mark.parametrize(
    "augment",
    [
        AugmentConfig(),
        AugmentConfig(color_noise=0.0),
        AugmentConfig(view="zoom", rotation=10.0),
        AugmentConfig(jitter=0.3),
        AugmentConfig(color_shrink=False, color_scale="eigenvalue"),
        AugmentConfig(view="center", flip=False),
    ],
)
@pytest.mark.parametrize("sample", [0, 11])
def test_the_views_are_those_of_the_batches_of_training(prepared, tiny, augment, sample):
    recipe = replace(tiny, augment=augment)
    colors = ColorStatistics(MEAN, prepared.color_stdevs, prepared.color_vectors)
    own = switched(augment, crop=augment.view != "center", flip=augment.flip, noise=augment.color_noise > 0)
    image = prepared.splits["train"].read([sample])[0]
    found = views_of_epochs(image, recipe, own, colors, sample=sample, epochs=3)
    loader = Loader(prepared.splits["train"], recipe, colors)
    for epoch in (1, 2, 3):
        batch, _ = loader.batch(np.array([3, sample]), epoch=epoch, step=0, size=recipe.model.crop_size)
        expected = batch[1].float().round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        # The compiled loop of the loader may round the last bit in another order.
        assert np.abs(found[epoch - 1].astype(int) - expected).max() <= 1


def test_what_is_switched_off_is_gone(prepared, tiny):
    image = prepared.splits["train"].read([0])[0]
    colors = ColorStatistics(MEAN, prepared.color_stdevs, prepared.color_vectors)
    margin = (image.shape[0] - tiny.model.crop_size) // 2
    center = image[margin : margin + tiny.model.crop_size, margin : margin + tiny.model.crop_size]

    def views(**on):
        switches = {"crop": False, "flip": False, "noise": False} | on
        return views_of_epochs(image, tiny, switched(tiny.augment, **switches), colors, sample=0, epochs=8)

    assert all(np.array_equal(each, center) for each in views())
    flipped = views(flip=True)
    assert {each.tobytes() for each in flipped} == {center.tobytes(), np.ascontiguousarray(center[:, ::-1]).tobytes()}
    assert len({each.tobytes() for each in views(crop=True)}) > 3
    assert all(any(np.array_equal(each, window) for window in windows(image, 20)) for each in views(crop=True))
    assert len({each.tobytes() for each in views(noise=True)}) == 8


def windows(image, size):
    places = range(image.shape[0] - size + 1)
    return [image[i : i + size, j : j + size] for i in places for j in places]


@pytest.mark.parametrize("shrink", [True, False])
@pytest.mark.parametrize("axes", [[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, -3], [1, -1, 2]])
def test_color_noise_along_the_axes_by_hand(shrink, axes):
    image = np.full((8, 8, 3), (120, 100, 80), np.uint8)
    vectors = np.eye(3)[:, [2, 0, 1]]  # ascending: blue, red, green
    colors = ColorStatistics(MEAN, np.array([10.0, 20.0, 40.0]), vectors)
    found = shifted_along(image, 6, AugmentConfig(color_noise=0.5, color_shrink=shrink), colors, axes)
    # The first axis has the largest variance: green by 40, then red by 20, then blue by 10.
    shift = 0.5 * np.array([20.0 * axes[1], 40.0 * axes[0], 10.0 * axes[2]])
    pixels = np.array([120.0, 100.0, 80.0])
    expected = 100 + (pixels - 100 + shift) / 1.5 if shrink else pixels + shift
    assert found.shape == (6, 6, 3)
    assert np.abs(found[2, 3] - expected).max() <= 0.5

"""What the network is shown.

Answers come from images whose pixels are their own coordinates, so that every window is known exactly, from numpy
and brute-force loops in float64, from torchvision's TenCrop, and from the published color statistics of the 2014
cuda-convnet2 data file (V, s and the spreads of R, G and B that they imply).
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from alexnet import rng
from alexnet.data import augment
from alexnet.data.augment import ColorStatistics
from alexnet.data.crops import center_crop, ten_crop
from alexnet.recipes.config import AugmentConfig

# Gray levels; eigenvectors in columns.
STDEVS = np.array([19.72, 37.09, 121.78])
VECTORS = np.array([[0.418, -0.713, -0.564], [-0.817, -0.024, -0.576], [0.397, 0.701, -0.592]])
COLORS = ColorStatistics(torch.full((3, 1, 1), 100.0), STDEVS, VECTORS)


def numbered(count: int, height: int, width: int | None = None) -> torch.Tensor:
    """(N, 3, H, W) uint8: red is the row, green the column, blue the number of the image."""
    n, y, x = np.meshgrid(*(np.arange(k) for k in (count, height, width or height)), indexing="ij")
    return torch.from_numpy(np.stack([y, x, n], axis=1).astype(np.uint8))


def window(n: int, rows: list[int], columns: list[int]) -> torch.Tensor:
    """The numbered pixels of these rows and columns."""
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return torch.from_numpy(np.stack([y, x, np.full_like(y, n)]).astype(np.uint8))


def random_pictures(count: int, height: int, width: int | None = None, seed: int = 0) -> torch.Tensor:
    shape = (count, 3, height, width or height)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def views(images: torch.Tensor, size: int, config: AugmentConfig, **names) -> torch.Tensor:
    names = {"seed": 0, "epoch": 1, "samples": np.arange(len(images))} | names
    return augment.training_views(images, size, config, COLORS, **names)


# Crops and mirrors ---------------------------------------------------------------------------------------------------


def test_crop_cuts_exactly_the_window_at_the_offsets():
    images = numbered(5, 256)
    offsets = np.array([[0, 0], [32, 32], [0, 32], [32, 0], [7, 19]])
    cut = augment.crop(images, offsets, 224)
    for n, (top, left) in enumerate(offsets.tolist()):
        assert torch.equal(cut[n], window(n, list(range(top, top + 224)), list(range(left, left + 224))))


def test_offsets_take_each_of_the_33_values_of_each_axis_evenly_and_independently():
    # 256 - 224 = 32 = 2 * border, both ends included: 33 positions an axis.
    per_cell = 20
    offsets = augment.crop_offsets(0, 1, np.arange(33 * 33 * per_cell), 256 - 224)
    for axis in (0, 1):
        assert np.unique(offsets[:, axis]).tolist() == list(range(33))
    counts = np.bincount(offsets[:, 0] * 33 + offsets[:, 1], minlength=33 * 33)
    cells = 33 * 33 - 1
    statistic = ((counts - per_cell) ** 2 / per_cell).sum()
    assert abs(statistic - cells) < 4 * math.sqrt(2 * cells)


def test_training_views_are_windows_of_the_numbered_pixels_mirrored_half_of_the_time():
    count = 400
    cut = views(numbered(count, 16), 12, AugmentConfig(color_noise=0.0), samples=np.arange(count)).numpy()
    assert cut.dtype == np.uint8
    mirrored, seen = 0, set()
    for n, view in enumerate(cut):
        top, left, right = int(view[0, 0, 0]), int(view[1, 0, 0]), int(view[1, 0, -1])
        columns = list(range(left, left + 12)) if left < right else list(range(left, left - 12, -1))
        assert np.array_equal(view, window(n % 256, list(range(top, top + 12)), columns).numpy())
        mirrored += left > right
        seen.add((top, min(left, right), left > right))
    assert abs(mirrored - count / 2) < 4 * math.sqrt(count / 4)
    assert seen == {(y, x, m) for y in range(5) for x in range(5) for m in (False, True)}


@pytest.mark.parametrize("view", ["crop", "center", "zoom"])
def test_one_half_is_mirrored_to_a_hundredth(view):
    """Forty standard deviations away from 40 %, ten from 47 %."""
    count = 20_000
    config, samples = AugmentConfig(view=view, color_noise=0.0, min_area=1.0, max_aspect=1.0), np.arange(count)
    if view == "zoom":  # an image whose left half is dark, seen whole
        images = torch.zeros(count, 3, 2, 2, dtype=torch.uint8)
        images[..., 1] = 200
        seen = views(images, 2, config, seed=9, samples=samples)
        mirrored = (seen[:, 0, 0, 0] > seen[:, 0, 0, 1]).numpy()
    else:
        mirrored = augment.windows(256, 224, config, seed=9, epoch=1, samples=samples)[1]
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / math.sqrt(count)
    # Neither neighbors nor the next epoch repeat each other.
    assert abs((mirrored[1:] == mirrored[:-1]).mean() - 0.5) < 5 * 0.5 / math.sqrt(count)
    later = augment.flips(9, 2, samples)
    assert abs((mirrored == later).mean() - 0.5) < 5 * 0.5 / math.sqrt(count)


def test_an_image_gets_another_view_in_another_epoch_and_of_another_seed():
    images, config = numbered(30, 256), AugmentConfig(color_noise=0.0)
    first = views(images, 224, config)
    for other in (views(images, 224, config, epoch=2), views(images, 224, config, seed=1)):
        # 2,178 views: one or two of 30 could coincide.
        assert sum(torch.equal(a, b) for a, b in zip(first, other, strict=True)) <= 2


def test_switching_the_mirror_off_leaves_the_crops_as_they_were():
    images = numbered(40, 16)
    plain = views(images, 12, AugmentConfig(color_noise=0.0, flip=False))
    both = views(images, 12, AugmentConfig(color_noise=0.0))
    mirrored = [not torch.equal(a, b) for a, b in zip(plain, both, strict=True)]
    assert 5 < sum(mirrored) < 35
    for a, b, m in zip(plain, both, mirrored, strict=True):
        assert torch.equal(a.flip(-1) if m else a, b)


EVERYTHING = {
    "2012": AugmentConfig(),
    "zoom": AugmentConfig(view="zoom", rotation=20.0, jitter=0.4, color_noise_until=None),
    "center": AugmentConfig(view="center", color_shrink=False),
}


@pytest.mark.parametrize("config", EVERYTHING.values(), ids=EVERYTHING)
@given(batch=st.lists(st.integers(0, 11), min_size=1, max_size=12), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=15, deadline=None)
def test_an_image_gets_the_same_view_whatever_batch_it_is_in(config, batch, seed):
    images = random_pictures(12, 16)
    samples = np.arange(12) * 1000
    whole = views(images, 12, config, seed=seed, samples=samples)
    some = views(images[batch], 12, config, seed=seed, samples=samples[batch])
    assert torch.equal(some, whole[batch])


def test_flip_mirrors_only_the_chosen_images():
    images = numbered(3, 4, 7)
    flipped = augment.flip(images, np.array([True, False, True]))
    for n, columns in enumerate([range(6, -1, -1), range(7), range(6, -1, -1)]):
        assert torch.equal(flipped[n], window(n, list(range(4)), list(columns)))


def test_center_crop_and_the_center_view_are_the_middle_window():
    # 16 pixels of border on each side.
    expected = window(0, list(range(16, 240)), list(range(16, 240)))
    assert torch.equal(center_crop(numbered(1, 256), 224)[0], expected)
    config = AugmentConfig(view="center", flip=False, color_noise=0.0)
    assert torch.equal(views(numbered(1, 256), 224, config)[0], expected)


def test_ten_crop_is_four_corners_and_the_center_in_the_order_of_2012_and_then_their_mirrors():
    ten = ten_crop(numbered(2, 256), 224)
    for n in (0, 1):
        for i, (top, left) in enumerate([(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)]):
            rows, columns = list(range(top, top + 224)), list(range(left, left + 224))
            assert torch.equal(ten[n, i], window(n, rows, columns))
            assert torch.equal(ten[n, i + 5], window(n, rows, columns[::-1]))


@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 28), (20, 30, 16), (8, 8, 8)])
def test_ten_crop_agrees_with_torchvision_which_puts_the_center_last(height, width, size):
    # Theirs crops the mirrored image, whose top left window is the mirror of the top right one.
    images = random_pictures(2, height, width)
    theirs = torch.stack(v2.TenCrop(size)(images), dim=1)
    assert torch.equal(ten_crop(images, size), theirs[:, [0, 1, 4, 2, 3, 6, 5, 9, 8, 7]])


# Color noise --------------------------------------------------------------------------------------------------------


def test_color_shifts_are_eigenvectors_times_square_roots_times_normal_draws():
    samples = np.array([3, 1, 4])
    shifts = augment.color_shifts(7, 2, samples, STDEVS, VECTORS)
    z = rng.normal(7, 2, samples, rng.COLOR, count=3)
    for n in range(3):
        for channel in range(3):
            by_hand = sum(VECTORS[channel, k] * STDEVS[k] * z[n, k] for k in range(3))
            assert shifts[n, channel].item() == pytest.approx(by_hand, rel=1e-5, abs=1e-4)


def test_color_shifts_of_the_paper_have_the_squares_of_the_standard_deviations():
    """Section 4.1: eigenvalues, which are squares; here of pixels between 0 and 1, in gray levels."""
    z = rng.normal(7, 2, np.arange(6), rng.COLOR, 3)
    expected = [[sum(VECTORS[c, k] * v[k] * STDEVS[k] ** 2 / 255 for k in range(3)) for c in range(3)] for v in z]
    shifts = augment.color_shifts(7, 2, np.arange(6), STDEVS, VECTORS, "eigenvalue").numpy()
    assert shifts == pytest.approx(np.array(expected), rel=1e-5)


def test_color_shifts_have_the_covariance_of_the_pixels():
    count = 40_000
    shifts = augment.color_shifts(0, 1, np.arange(count), STDEVS, VECTORS).numpy().astype(np.float64)
    expected = sum(np.outer(VECTORS[:, k], VECTORS[:, k]) * STDEVS[k] ** 2 for k in range(3))
    variances = np.diag(expected)
    # A sample covariance of normal numbers has the variance (c_ij^2 + c_ii c_jj) / n.
    error = np.sqrt((expected**2 + np.outer(variances, variances)) / count)
    assert (np.abs(np.cov(shifts.T) - expected) < 4 * error).all()
    assert (np.abs(shifts.mean(0)) < 4 * np.sqrt(variances / count)).all()
    # The spreads of red, green and blue that the published statistics describe.
    assert shifts.std(0) == pytest.approx([74.0, 72.0, 77.0], rel=0.015)


@pytest.mark.parametrize("mean", [torch.full((3, 1, 1), 120.0), torch.arange(75.0).view(3, 5, 5)])
def test_color_noise_is_added_and_the_difference_to_the_mean_divided_by_one_plus_the_coefficient(mean):
    images, shifts = random_pictures(2, 5), torch.tensor([[10.0, -20.0, 300.0], [0.0, 5.0, 7.5]])
    noised = augment.color_noise(images, shifts, 0.1, mean)
    m = np.broadcast_to(mean.numpy().astype(np.float64), (3, 5, 5))
    for n in range(2):
        for c in range(3):
            by_hand = m[c] + (images[n, c].numpy() - m[c] + 0.1 * shifts[n, c].item()) / 1.1
            np.testing.assert_allclose(noised[n, c].numpy(), by_hand, rtol=1e-5, atol=1e-3)


def test_color_noise_of_one_pixel_by_hand():
    # The pixel is 44 above the mean and gets 0.1 * 110 = 11 more: (44 + 11) / 1.1 = 50 above the mean.
    pixel, mean = torch.full((1, 3, 1, 1), 144, dtype=torch.uint8), torch.full((3, 1, 1), 100.0)
    noised = augment.color_noise(pixel, torch.full((1, 3), 110.0), 0.1, mean)
    assert noised.flatten().tolist() == pytest.approx([150.0] * 3)


def test_training_views_put_the_color_noise_on_the_mirrored_crop_about_the_mean_in_place():
    images = numbered(20, 16)
    colors = ColorStatistics(torch.arange(432.0).view(3, 12, 12) / 4, STDEVS, VECTORS)
    samples = np.arange(20)
    noised = augment.training_views(images, 12, AugmentConfig(), colors, seed=5, epoch=66, samples=samples)
    plain = views(images, 12, AugmentConfig(color_noise=0.0), seed=5, epoch=66).numpy().astype(np.float64)
    shifts = (rng.normal(5, 66, samples, rng.COLOR, count=3) * STDEVS) @ VECTORS.T
    m = colors.mean.numpy().astype(np.float64)
    by_hand = m + (plain - m + 0.1 * shifts[:, :, None, None]) / 1.1
    np.testing.assert_allclose(noised.numpy(), by_hand, rtol=1e-5, atol=1e-3)


def test_without_the_shrinking_the_noise_is_only_added():
    images, samples = random_pictures(4, 8), np.arange(4)
    config = AugmentConfig(view="center", flip=False, color_shrink=False, color_noise=0.2)
    shifts = (rng.normal(0, 1, samples, rng.COLOR, count=3) * STDEVS) @ VECTORS.T
    by_hand = images.numpy().astype(np.float64) + 0.2 * shifts[:, :, None, None]
    np.testing.assert_allclose(views(images, 8, config).numpy(), by_hand, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("epoch", "until", "coefficient", "touched"),
    [
        (1, 67, 0.1, True),
        (66, 67, 0.1, True),
        (67, 67, 0.1, False),
        (90, 67, 0.1, False),
        (90, None, 0.1, True),
        (1, 67, 0.0, False),
        (1, None, 0.0, False),
    ],
)
def test_color_noise_stops_at_its_epoch_and_leaves_the_bytes_untouched(epoch, until, coefficient, touched):
    images = random_pictures(3, 8)
    config = AugmentConfig(view="center", flip=False, color_noise=coefficient, color_noise_until=until)
    seen = views(images, 8, config, epoch=epoch)
    assert (seen.dtype == torch.uint8) is not touched
    assert torch.equal(seen, images) is not touched


# Zoom ----------------------------------------------------------------------------------------------------------------


WHOLE = AugmentConfig(view="zoom", flip=False, min_area=1.0, max_aspect=1.0, color_noise=0.0)


def ramps(count: int, size: int) -> torch.Tensor:
    """(N, 3, size, size) float: red is the row and green the column of the pixel's center, in [-1, 1]."""
    centres = (2 * torch.arange(size) + 1) / size - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([y, x, torch.zeros_like(x)]).expand(count, 3, size, size)


def affine_slowly(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Bilinear sampling at matrix @ (x, y, 1), coordinates -1..1 at the image's edges, mirrored beyond them."""
    _, height, width = image.shape

    def inside(position: float, length: int) -> float:
        position = (position + 0.5) % (2 * length)  # the edge lies half a pixel outside the first center
        position = (2 * length - position if position > length else position) - 0.5
        return min(max(position, 0.0), length - 1.0)

    out = np.zeros((3, size, size))
    for i in range(size):
        for j in range(size):
            x, y = matrix @ np.array([(2 * j + 1) / size - 1, (2 * i + 1) / size - 1, 1.0])
            px, py = inside((x + 1) * width / 2 - 0.5, width), inside((y + 1) * height / 2 - 0.5, height)
            for row in range(height):
                for column in range(width):
                    weight = max(0.0, 1 - abs(row - py)) * max(0.0, 1 - abs(column - px))
                    if weight:
                        out[:, i, j] += weight * image[:, row, column]
    return out


def test_zoom_on_everything_without_turning_is_the_image_itself():
    images = random_pictures(3, 16)
    torch.testing.assert_close(views(images, 16, WHOLE), images.float(), rtol=0, atol=1e-2)


@pytest.mark.parametrize("size", [8, 11, 24])
def test_zoom_on_everything_without_turning_is_the_plain_bilinear_resize(size):
    images = random_pictures(3, 16)
    resized = F.interpolate(images.float(), size=(size, size), mode="bilinear", align_corners=False)
    torch.testing.assert_close(views(images, size, WHOLE), resized, rtol=0, atol=1e-2)


@pytest.mark.parametrize("sample", [0, 1, 2, 3])
def test_zoom_agrees_with_sampling_an_affine_map_point_by_point(sample):
    config = AugmentConfig(view="zoom", flip=False, min_area=0.3, max_aspect=1.5, rotation=30.0)
    image, samples = random_pictures(1, 9), np.array([sample])
    u = rng.uniform(0, 1, samples, rng.SHAPE, count=5)[0]
    area, aspect = 0.3 + 0.7 * u[0], 1.5 ** (2 * u[1] - 1)
    wide, high = min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
    angle = math.radians(30) * (2 * u[4] - 1)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    position = np.array([(2 * u[2] - 1) * (1 - wide), (2 * u[3] - 1) * (1 - high)])
    matrix = np.column_stack([turn @ np.diag([wide, high]), position])
    by_hand = affine_slowly(image[0].numpy().astype(np.float64), matrix, 7)
    seen = augment.zoom(image, 7, 0, 1, samples, config)[0]
    np.testing.assert_allclose(seen.numpy(), by_hand, rtol=0, atol=1e-2)


def seen_rectangles(config: AugmentConfig, count: int = 1500) -> tuple[np.ndarray, ...]:
    """Width, height (shares of the image's sides) and center of each view, read off linear ramps.

    Bilinear sampling of a ramp is exact away from the border: the two middle pixels of 8 give slope and center.
    """
    seen = augment.zoom(ramps(count, 64), 8, 0, 1, np.arange(count), config).double().numpy()
    y, x = seen[:, 0, 3:5, 3:5], seen[:, 1, 3:5, 3:5]
    slopes = [(a[:, 1] - a[:, 0]).mean(-1) * 4 for a in (y, x)]
    slopes_across = [(a[:, :, 1] - a[:, :, 0]).mean(-1) * 4 for a in (y, x)]
    high, wide = np.hypot(slopes[0], slopes[1]), np.hypot(slopes_across[0], slopes_across[1])
    angle = np.arctan2(slopes_across[0], slopes_across[1])
    return wide, high, x.mean((1, 2)), y.mean((1, 2)), angle


def even(values: np.ndarray, low: float, high: float) -> bool:
    """Whether mean and spread are those of numbers even in [low, high], which none leaves."""
    spread = (high - low) / math.sqrt(12)
    close = abs(values.mean() - (low + high) / 2) < 4 * spread / math.sqrt(len(values))
    return close and abs(values.std() / spread - 1) < 0.08 and low - 1e-4 <= values.min() <= values.max() <= high + 1e-4


def test_zoomed_squares_lie_inside_the_image_and_their_area_and_position_are_even():
    wide, high, x, y, angle = seen_rectangles(AugmentConfig(flip=False, min_area=0.25, max_aspect=1.0))
    np.testing.assert_allclose(wide, high, rtol=1e-4)
    np.testing.assert_allclose(angle, 0.0, atol=1e-5)
    assert even(wide * high, 0.25, 1.0)
    assert (np.abs(x) + wide).max() < 1 + 1e-4
    assert (np.abs(y) + high).max() < 1 + 1e-4
    small = wide < 0.95
    assert even((x / (1 - wide))[small], -1.0, 1.0)
    assert even((y / (1 - high))[small], -1.0, 1.0)
    assert abs(np.corrcoef(x, y)[0, 1]) < 4 / math.sqrt(len(x))


def test_zoomed_rectangles_keep_to_the_smallest_area_and_the_widest_aspect():
    # The smallest share times the widest aspect is below one, so no side has to be cut for the small ones.
    wide, high, x, y, _ = seen_rectangles(AugmentConfig(flip=False, min_area=0.25, max_aspect=2.0))
    assert (wide * high).min() > 0.25 - 1e-4
    ratio = np.log2(wide / high)
    assert even(ratio[wide * high < 0.45], -1.0, 1.0)
    assert np.abs(ratio).max() < 1 + 1e-4
    assert (np.abs(x) + wide).max() < 1 + 1e-4
    assert (np.abs(y) + high).max() < 1 + 1e-4


def test_zoomed_views_turn_evenly_up_to_the_rotation_either_way():
    *_, angle = seen_rectangles(AugmentConfig(flip=False, min_area=0.25, max_aspect=1.0, rotation=15.0))
    assert even(np.degrees(angle), -15.0, 15.0)


def test_a_mirrored_zoom_is_the_flip_of_the_plain_zoom():
    images, samples = random_pictures(40, 16), np.arange(40)
    config = dict(view="zoom", min_area=0.3, rotation=20.0)
    plain = augment.zoom(images, 12, 0, 1, samples, AugmentConfig(flip=False, **config))
    both = augment.zoom(images, 12, 0, 1, samples, AugmentConfig(flip=True, **config))
    mirrored = augment.flips(0, 1, samples)
    assert 5 < mirrored.sum() < 35
    torch.testing.assert_close(both, augment.flip(plain, mirrored), rtol=0, atol=1e-2)


# Jitter --------------------------------------------------------------------------------------------------------------


def test_jitter_of_strength_zero_changes_nothing():
    images = random_pictures(3, 6).float()
    torch.testing.assert_close(augment.jitter(images, 0.0, 0, 1, np.arange(3)), images, rtol=0, atol=1e-3)


def test_jitter_of_a_plain_gray_image_is_brightness_alone_even_in_one_plus_minus_the_strength():
    images = torch.full((1500, 3, 2, 2), 100.0)
    seen = augment.jitter(images, 0.4, 0, 1, np.arange(1500)).numpy()
    assert np.ptp(seen, axis=(1, 2, 3)).max() < 1e-3
    assert even(seen[:, 0, 0, 0] / 100, 0.6, 1.4)


def test_jitter_takes_contrast_about_the_mean_and_saturation_about_the_luma():
    count, strength = 1500, 0.3
    samples = np.arange(count)
    # Gray, half 90 and half 110: no saturation; the mean gives brightness b, the difference 20 b c.
    grey = torch.tensor([90.0, 110.0]).view(1, 1, 1, 2).expand(count, 3, 1, 2)
    seen = augment.jitter(grey, strength, 3, 1, samples).double().numpy()
    brightness = seen.mean((1, 2, 3)) / 100
    contrast = (seen[:, 0, 0, 1] - seen[:, 0, 0, 0]) / (20 * brightness)
    assert even(contrast, 0.7, 1.3)
    # One color (120, 100, 80) of mean 100: contrast makes it 100 b + b c (20, 0, -20), whose luma is
    # 100 b + b c (0.299 * 20 - 0.114 * 20) = 100 b + 3.7 b c; saturation keeps that and stretches red minus blue.
    color = torch.tensor([120.0, 100.0, 80.0]).view(1, 3, 1, 1).expand(count, 3, 2, 2)
    red, green, blue = augment.jitter(color, strength, 3, 1, samples).double().numpy()[:, :, 0, 0].T
    luma = brightness * (100 + 3.7 * contrast)
    np.testing.assert_allclose(0.299 * red + 0.587 * green + 0.114 * blue, luma, rtol=1e-5)
    saturation = (red - blue) / (40 * brightness * contrast)
    assert even(saturation, 0.7, 1.3)
    np.testing.assert_allclose(green, luma + saturation * (100 * brightness - luma), rtol=1e-5)
    factors = np.corrcoef([brightness, contrast, saturation])[~np.eye(3, dtype=bool)]
    assert np.abs(factors).max() < 4 / math.sqrt(count)


def test_jitter_stays_within_the_gray_levels():
    images = random_pictures(30, 6).float()
    images[:, :, :3] = 255.0
    images[:, :, 3:, :3] = 0.0
    seen = augment.jitter(images, 0.9, 0, 1, np.arange(30))
    assert seen.min() == 0.0
    assert seen.max() == 255.0


# Mixing --------------------------------------------------------------------------------------------------------------


def mixed_batches(config: AugmentConfig, images: torch.Tensor, steps: int):
    """Batches of one-hot targets, one class an image, that came out changed."""
    for step in range(steps):
        mixed, targets = augment.mix(images, torch.eye(len(images)), config, seed=0, step=step)
        if not torch.equal(targets, torch.eye(len(images))):
            yield mixed.double(), targets.double()


@pytest.mark.parametrize("share", ["mixup", "cutmix"])
@given(seed=st.integers(0, 2**63 - 1), step=st.integers(0, 10**6), classes=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_mixed_targets_stay_probabilities_and_depend_on_seed_and_step_only(share, seed, step, classes):
    images, config = random_pictures(6, 8, 10), AugmentConfig(**{share: 1.0})
    targets = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(classes), 6)).float()
    mixed, blended = augment.mix(images, targets, config, seed=seed, step=step)
    torch.testing.assert_close(blended.sum(1), torch.ones(6))
    assert blended.min() >= 0.0
    again, blended_again = augment.mix(images, targets, config, seed=seed, step=step)
    assert torch.equal(mixed, again)
    assert torch.equal(blended, blended_again)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutmix_targets_are_the_shares_of_pixels_counted_one_by_one_in_one_rectangle(dtype):
    values = torch.tensor([10, 20, 30, 40, 50, 60])
    images = values.view(6, 1, 1, 1).expand(6, 3, 12, 20).to(dtype)
    batches = list(mixed_batches(AugmentConfig(cutmix=1.0), images, 100))
    assert len(batches) > 80
    boxes = set()
    for mixed, targets in batches:
        for n in range(6):
            for k in range(6):
                pixels = (mixed[n] == values[k]).double().mean().item()
                assert targets[n, k].item() == pytest.approx(pixels, abs=1e-6)
        strange = (mixed != images).any(1)
        (box,) = {tuple(map(tuple, picture.nonzero().tolist())) for picture in strange if picture.any()}
        rows, columns = {y for y, _ in box}, {x for _, x in box}
        assert len(box) == (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
        boxes.add((min(rows), min(columns), len(rows), len(columns)))
    assert len(boxes) > 60


def test_cutmix_leaves_the_images_it_was_given_as_they_were():
    images = random_pictures(4, 8)
    before = images.clone()
    for step in range(20):
        augment.mix(images, torch.eye(4), AugmentConfig(cutmix=0.5, mixup=0.5), seed=0, step=step)
    assert torch.equal(images, before)


def test_mixup_blends_images_pixel_by_pixel_in_the_proportion_of_the_targets():
    images = random_pictures(5, 6)
    batches = list(mixed_batches(AugmentConfig(mixup=1.0, mixup_alpha=1.0), images, 60))
    assert len(batches) > 50
    flat = images.double().numpy().reshape(5, -1)
    for mixed, targets in batches:
        by_hand = targets.numpy() @ flat
        np.testing.assert_allclose(mixed.numpy().reshape(5, -1), by_hand, atol=1e-3)
        assert ((targets > 0).sum(1) <= 2).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_shares_have_the_mean_and_variance_of_their_beta_distribution(alpha):
    images = torch.zeros(8, 3, 1, 1)
    batches = list(mixed_batches(AugmentConfig(mixup=1.0, mixup_alpha=alpha), images, 1000))
    shares = np.array([targets.diagonal().min().item() for _, targets in batches])
    # Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2 a + 1)).
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 4 * math.sqrt(variance / len(shares))
    assert shares.var() == pytest.approx(variance, rel=0.1)


def test_nothing_is_mixed_at_shares_of_zero():
    images, targets = random_pictures(4, 8), torch.eye(4)
    for step in range(50):
        mixed, blended = augment.mix(images, targets, AugmentConfig(), seed=0, step=step)
        assert torch.equal(mixed, images)
        assert mixed.dtype == torch.uint8
        assert torch.equal(blended, targets)


def test_the_shares_are_the_frequencies_of_cutmix_mixup_and_neither():
    # Two colors, 0 and 1: mixup makes numbers between, cutmix only swaps pixels.
    images = (torch.arange(8) % 2).float().view(8, 1, 1, 1).expand(8, 3, 16, 16)
    count = {"cutmix": 0, "mixup": 0, "neither": 0}
    for step in range(1000):
        config = AugmentConfig(cutmix=0.5, mixup=0.2, mixup_alpha=1.0)
        mixed, targets = augment.mix(images, torch.eye(8), config, seed=0, step=step)
        whole = torch.equal(targets, torch.eye(8))
        count["neither" if whole else "cutmix" if set(mixed.unique().tolist()) <= {0.0, 1.0} else "mixup"] += 1
    for kind, share in (("cutmix", 0.5), ("mixup", 0.2), ("neither", 0.3)):
        # A few rectangles are empty, and a few blends meet only their own color; 2 % allow for them.
        assert abs(count[kind] - 1000 * share) < 4 * math.sqrt(1000 * share * (1 - share)) + 20

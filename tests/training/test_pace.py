"""The speed of this machine is measured without a trace, and only asked of what is to be trained."""

import itertools

import pytest
import torch

from alexnet.recipes.recipe import override
from alexnet.training import pace

CPU = torch.device("cpu")


@pytest.mark.parametrize("changes", [[], ["optim.lr=1e30"], ["batch_size=64"], ["epochs=1000"]])
def test_nothing_is_left_behind_even_where_training_fails(prepared, tiny, tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    assert 0 < pace.seconds_per_image(override(tiny, changes), prepared, CPU) < 60
    assert list(tmp_path.iterdir()) == []


def test_the_fastest_step_counts_and_the_first_only_warms_up(prepared, tiny, monkeypatch):
    ticks = itertools.accumulate([0, 0.8, 5, 16, 5, 24, 5, 40])  # 8 images a step: 0.1, then 2, 3, 5 seconds an image
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(ticks))
    assert pace.seconds_at(tiny, prepared, CPU, 20) == pytest.approx(2)


@pytest.mark.parametrize(
    ("growing", "expected"),
    [("[[0, 16], [0.5, 20]]", 0.5 * 16 + 0.5 * 20), ("[[0, 16], [0.25, 18], [0.75, 20]]", 4 + 9 + 5), ("[]", 20)],
)
def test_crop_sizes_count_as_long_as_they_are_used(prepared, tiny, monkeypatch, growing, expected):
    monkeypatch.setattr(pace, "seconds_at", lambda recipe, prepared, device, size, *, steps: size)
    recipe = override(tiny, ["model.pool5_grid=1", "model.input_norm=mean-pixel", f"growing_crops={growing}"])
    assert pace.seconds_per_image(recipe, prepared, CPU) == expected


def test_images_that_are_only_asked(prepared):
    # 7 of val: 4 looks, 1 view for the cues, 1 for the temperature and one for good measure; 7 + 5 reported
    assert pace.evaluation_images(prepared, 8, 2, views=1) == 7 * (4 + 1 + 2) + (7 + 5) * 1

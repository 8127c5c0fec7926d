"""The speed of this machine is measured without a trace, and only asked of what is to be trained."""

import itertools
from types import SimpleNamespace

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


def test_the_median_of_the_steps_counts_and_the_first_only_warms_up(prepared, tiny, monkeypatch):
    taken = [800, 16, 24, 10, 48, 56]  # seconds of steps of 8 images, the fourth of 2: 100, then 2, 3, 5, 6, 7 an image
    ticks = itertools.accumulate(tick for seconds in taken for tick in (5, seconds))
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: next(ticks)))  # that of other threads goes on
    assert pace.seconds_at(tiny, prepared, CPU, 20) == pytest.approx(5)


@pytest.mark.parametrize(
    ("growing", "expected"),
    [("[[0, 16], [0.5, 20]]", 0.5 * 16 + 0.5 * 20), ("[[0, 16], [0.25, 18], [0.75, 20]]", 4 + 9 + 5), ("[]", 20)],
)
def test_crop_sizes_count_as_long_as_they_are_used(prepared, tiny, monkeypatch, growing, expected):
    monkeypatch.setattr(pace, "seconds_at", lambda recipe, prepared, device, size, *, steps: size)
    recipe = override(tiny, ["model.pool5_grid=1", "model.input_norm=mean-pixel", f"growing_crops={growing}"])
    assert pace.seconds_per_image(recipe, prepared, CPU) == expected


@pytest.mark.parametrize(("views", "expected"), [(1, 28 + 12 + 7 * 2 + 26 + 7), (2, 28 + 12 * 3 + 7 * 4 + 26 + 7)])
def test_images_that_are_only_asked(prepared, views, expected):
    """7 of val four times; 7 + 5 of the report; val for the cues and the temperature; 26 + 7 for what is unlike."""
    assert len(prepared.splits["train"]) == 26
    assert pace.looks(prepared, 4, views=views) == expected

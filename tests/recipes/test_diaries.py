"""The diaries of the nets of 2012: in every epoch each recipe does what the notebook of its own parameter file says.

The numbers are typed from layers/layer-params-NET.cfg of the released source (and of layer-params-145-half.cfg for the
half net), not from the recipes. A state holds from its epoch on, counted from 1: learning rates of weights and biases,
the same of conv1, and whether there is color noise. "Killed" in an epoch means that the one before was the last.
"""

import re
from typing import NamedTuple

import pytest
import torch

from alexnet.data import augment
from alexnet.data.augment import ColorStatistics
from alexnet.models.build import build_model
from alexnet.recipes.config import AlexNetConfig, OptimConfig
from alexnet.recipes.ingredients import BY_NAME
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import differences, override
from alexnet.training.optim import build_optimizer, learning_rate, set_learning_rates

GROUPS = ("weights", "biases", "conv1_weights", "conv1_biases")


class Diary(NamedTuple):
    """What one parameter file says."""

    epochs: int
    noise_ends: int | None
    states: dict[int, tuple[float, float, float, float]]  # from this epoch on, in the order of GROUPS


DIARIES = {
    "alexnet-2012": Diary(90, 67, {
        1: (1e-2, 0.02, 1e-2, 0.02), 25: (1e-3, 0.02, 1e-3, 0.02), 51: (1e-4, 0.02, 1e-4, 0.02),
        67: (1e-4, 0.02, 1e-5, 0.02), 72: (1e-4, 0.02, 0, 0), 79: (1e-5, 0.02, 0, 0),
    }),
    "net-145-half": Diary(95, 66, {
        1: (1e-2, 0.02, 1e-2, 0.02), 20: (1e-3, 0.02, 1e-3, 0.02), 48: (1e-4, 0.02, 1e-4, 0.02),
        66: (1e-4, 0.02, 1e-5, 0.02), 72: (1e-4, 0.02, 0, 0), 78: (1e-5, 0.02, 0, 0),
    }),
    "net-147": Diary(89, None, {
        1: (1e-2, 0.002, 1e-2, 0.002), 23: (1e-3, 0.002, 1e-3, 0.002), 51: (1e-4, 0.002, 1e-4, 0.002),
        79: (1e-5, 0.002, 0, 0),
    }),
    "net-148": Diary(96, 69, {
        1: (1e-2, 0.02, 1e-2, 0.02), 22: (1e-3, 0.02, 1e-3, 0.02), 44: (1e-4, 0.02, 1e-4, 0.02),
        69: (1e-4, 0.02, 1e-5, 0.02), 73: (1e-4, 0.02, 0, 0), 86: (1e-5, 0.02, 0, 0),
    }),
    "net-150": Diary(91, 66, {
        1: (1e-2, 0.02, 1e-2, 0.02), 25: (1e-3, 0.02, 1e-3, 0.02), 49: (1e-4, 0.02, 1e-4, 0.02),
        66: (1e-4, 0.02, 1e-5, 0.02), 72: (1e-4, 0.02, 0, 0), 79: (1e-5, 0.02, 0, 0),
    }),
    # dexp[1000,4]: four levels of 23.75 epochs, each a tenth of the one before; biases dexp[10,2]: half of 95 epochs.
    "net-167": Diary(95, 63, {
        1: (1e-2, 0.02, 1e-2, 0.02), 25: (1e-3, 0.02, 1e-3, 0.02), 49: (1e-4, 0.002, 1e-4, 0.002),
        73: (1e-5, 0.002, 0, 0),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", DIARIES)
def test_learning_rates_are_those_of_the_nets_own_diary_in_every_epoch(name):
    diary, recipe = DIARIES[name], RECIPES[name]
    assert (recipe.epochs, recipe.batch_size) == (diary.epochs, 128)
    for epoch in range(1, diary.epochs + 1):
        state = diary.states[max(e for e in diary.states if e <= epoch)]
        for group, expected in zip(GROUPS, state, strict=True):
            seen = learning_rate(recipe.optim, group, epoch, (epoch - 1) / diary.epochs)
            assert seen == pytest.approx(expected, rel=1e-9, abs=0), (epoch, group)


@pytest.mark.parametrize("name", DIARIES)
def test_color_noise_ends_in_the_epoch_of_the_nets_own_diary(name):
    diary, config = DIARIES[name], RECIPES[name].augment
    colors = ColorStatistics(torch.zeros(3, 1, 1), *(torch.eye(3).numpy()[i] for i in (0, slice(None))))
    assert (config.color_noise, config.color_scale, config.color_shrink) == (0.1, "stdev", True)
    for epoch in range(1, diary.epochs + 1):
        shifts = augment.shifts_at(config, colors, seed=0, epoch=epoch, samples=torch.arange(2).numpy())
        assert (shifts is not None) is (diary.noise_ends is None or epoch < diary.noise_ends), epoch


@pytest.mark.parametrize("name", DIARIES)
def test_the_rest_of_the_training_is_that_of_net_145(name):
    shared = {"epochs", "augment.color_noise_until", "name"}
    shared |= {f"optim.{f}" for f in ("drop_epochs", "conv1_drop_epochs", "conv1_freeze_epoch", "bias_lr_factor")}
    shared |= {"optim.schedule", "optim.dexp_factor"} if name == "net-167" else set()
    changed = differences(RECIPES[name], RECIPES["alexnet-2012"])
    assert {field for field in changed if not field.startswith("model.")} <= shared


@pytest.mark.parametrize("name", DIARIES)
def test_conv1_stays_as_it_is_once_it_is_frozen_and_the_rest_moves(name):
    diary, config = DIARIES[name], RECIPES[name].optim
    frozen = next(epoch for epoch, state in diary.states.items() if state[2:] == (0, 0))
    model = build_model(AlexNetConfig(norm="none", width=1 / 96, crop_size=52, num_classes=3))
    optimizer = build_optimizer(model, config)
    for epoch in (frozen - 1, frozen, diary.epochs):
        set_learning_rates(optimizer, config, epoch, (epoch - 1) / diary.epochs)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        for n, p in model.named_parameters():
            assert torch.equal(p, before[n]) is (epoch >= frozen and n.startswith("layers.conv1.")), (epoch, n)


@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_the_schedules_that_2012_did_not_have_never_freeze_conv1(schedule):
    config = OptimConfig(schedule=schedule, conv1_freeze_epoch=2)
    assert learning_rate(config, "conv1_weights", 5, 0.5) == learning_rate(config, "weights", 5, 0.5) > 0


# Pairs ---------------------------------------------------------------------------------------------------------------

PAIRS = {"no-lrn": "net-148", "plain-pooling": "net-147", "half-net": "net-145-half", "silent-towers": "net-150"}


@pytest.mark.parametrize(("name", "net"), PAIRS.items())
def test_what_else_a_net_of_2012_differs_in_is_said_beside_its_figures(name, net):
    ingredient = BY_NAME[name]
    alone = override(RECIPES["alexnet-2012"], ingredient.changes)
    changed = differences(RECIPES[net], alone)
    del changed["name"]
    assert len(changed) > 2
    assert net.removeprefix("net-") in ingredient.recorded
    said = set(re.findall(r"[\d.]+\d|\d", ingredient.besides))
    for field, (ours, _) in changed.items():
        if field == "model.norm2":
            continue
        numbers = {str(v) for v in (ours if isinstance(ours, tuple) else (ours,)) if v is not None}
        known = {str(v) for v in _values(alone, field)} | {"78", "78.0"}  # not dated in the half net
        assert numbers - known <= said, field


def _values(recipe, field):
    section, _, name = field.rpartition(".")
    value = getattr(getattr(recipe, section) if section else recipe, name)
    return value if isinstance(value, tuple) else (value,)


def test_net_167_stands_beside_170_whose_rate_falls_less():
    text = BY_NAME["lrn-1-only"].besides
    assert all(part in text for part in ("1 / 1000 (1 / 250)", "63 (68)", "73 (74)"))


@pytest.mark.parametrize("name", [n for n, i in BY_NAME.items() if i.notebook and n != "ten-views"])
def test_every_pair_of_the_notebook_says_what_else_differs_and_no_other_ingredient_does(name):
    assert BY_NAME[name].besides
    assert sum(bool(i.besides) for i in BY_NAME.values()) == sum(i.notebook is not None for i in BY_NAME.values()) - 1

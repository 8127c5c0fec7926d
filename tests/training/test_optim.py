"""How weights move.

Answers come from the update rules written as numpy loops in float64, from torch.optim.SGD, from the difference of the
two momentum buffers derived by hand, and from the diary of net 145 and the automatic schedules of 2013.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.recipes.config import AlexNetConfig, OptimConfig
from alexnet.training.optim import SGD2012, build_optimizer, learning_rate, parameter_groups, set_learning_rates

GROUPS = ("weights", "biases", "conv1_weights", "conv1_biases")
CONFIG_2012 = OptimConfig()


def gradients(steps: int, shape: tuple[int, ...] = (3, 2)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(steps, *shape))


def start(shape: tuple[int, ...] = (3, 2)) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


def run(optimizer: torch.optim.Optimizer, w: torch.Tensor, grads: np.ndarray, rates: list[float]) -> list[np.ndarray]:
    """The weights after each step."""
    path = []
    for g, lr in zip(grads, rates, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        w.grad = torch.from_numpy(g.copy())
        optimizer.step()
        path.append(w.detach().numpy().copy())
    return path


def sgd_2012(decay: float, momentum: float = 0.9) -> tuple[SGD2012, torch.Tensor]:
    w = nn.Parameter(torch.from_numpy(start()))
    return SGD2012([{"params": [w], "weight_decay": decay}], lr=1.0, momentum=momentum), w


def sgd_2012_slowly(grads: np.ndarray, rates: list[float], decay: float, momentum: float = 0.9) -> list[np.ndarray]:
    """v <- 0.9 v - rate (g + decay w); w <- w + v, number by number."""
    w, v, path = start(), np.zeros((3, 2)), []
    for g, lr in zip(grads, rates, strict=True):
        for i in range(3):
            for j in range(2):
                v[i, j] = momentum * v[i, j] - lr * g[i, j] - lr * decay * w[i, j]
                w[i, j] = w[i, j] + v[i, j]
        path.append(w.copy())
    return path


# The update of 2012 --------------------------------------------------------------------------------------------------


def test_one_number_moves_as_computed_by_hand():
    # w = 1, rate 0.1, momentum 0.5, decay 0.2; gradients 1 and 2, the second at a tenth of the rate.
    w = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = SGD2012([{"params": [w], "weight_decay": 0.2}], lr=0.1, momentum=0.5)
    w.grad = torch.tensor([1.0], dtype=torch.float64)
    optimizer.step()
    # v = -0.1 * (1 + 0.2) = -0.12
    assert w.item() == pytest.approx(0.88)
    optimizer.param_groups[0]["lr"] = 0.01
    w.grad = torch.tensor([2.0], dtype=torch.float64)
    optimizer.step()
    # v = -0.06 - 0.01 * (2 + 0.2 * 0.88) = -0.08176
    assert w.item() == pytest.approx(0.79824)


@pytest.mark.parametrize("decay", [0.0, 0.0005, 0.3])
@pytest.mark.parametrize("rates", [[0.1], [0.1] * 8, [0.1] * 4 + [0.01] * 4, [0.01, 0.1, 0.05, 0.2, 0.02]])
def test_the_update_of_2012_is_its_formula_also_across_changes_of_the_rate(rates, decay):
    optimizer, w = sgd_2012(decay)
    grads = gradients(len(rates))
    expected = sgd_2012_slowly(grads, rates, decay)
    np.testing.assert_allclose(run(optimizer, w, grads, rates), expected, rtol=1e-12, atol=1e-14)


@given(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=6), st.floats(0, 0.5), st.floats(0, 0.99))
@settings(max_examples=40, deadline=None)
def test_the_update_of_2012_is_its_formula_for_any_rates_decay_and_momentum(rates, decay, momentum):
    optimizer, w = sgd_2012(decay, momentum)
    grads = gradients(len(rates))
    expected = sgd_2012_slowly(grads, rates, decay, momentum)
    np.testing.assert_allclose(run(optimizer, w, grads, rates), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_it_agrees_with_torch_until_the_rate_changes_and_then_differs_by_the_old_momentum(decay):
    before, after = 0.1, 0.01
    grads, rates = gradients(6), [before] * 5 + [after]
    ours = run(*sgd_2012(decay), grads, rates)
    w = nn.Parameter(torch.from_numpy(start()))
    torch_sgd = torch.optim.SGD([w], lr=before, momentum=0.9, weight_decay=decay)
    theirs = run(torch_sgd, w, grads[:5], rates[:5])
    np.testing.assert_allclose(ours[:5], theirs, rtol=1e-12, atol=1e-14)
    # At a constant rate v = -rate b, with b torch's buffer. Then v' = 0.9 v - after g = -0.9 before b - after g,
    # while torch moves by -after (0.9 b + g): ours lies lower by 0.9 (before - after) b.
    b = torch_sgd.state[w]["momentum_buffer"].numpy().copy()
    theirs += run(torch_sgd, w, grads[5:], rates[5:])
    difference = -0.9 * (before - after) * b
    assert np.abs(difference).min() > 1e-4
    np.testing.assert_allclose(ours[5] - theirs[5], difference, rtol=1e-9, atol=1e-12)


def test_a_saved_state_continues_as_if_never_stopped():
    grads, rates = gradients(6), [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    whole = run(*sgd_2012(0.01), grads, rates)
    first, w = sgd_2012(0.01)
    run(first, w, grads[:4], rates[:4])
    second, continued = sgd_2012(0.01)
    continued.data.copy_(w.data)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(run(second, continued, grads[4:], rates[4:]), whole[4:])


def test_parameters_without_a_gradient_and_groups_without_a_rate_stay():
    still, frozen, moving = (nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = SGD2012([{"params": [still, moving]}, {"params": [frozen]}], lr=0.1, momentum=0.9)
    for lr in (0.1, 0.0, 0.0):  # with momentum already gathered
        optimizer.param_groups[1]["lr"] = lr
        kept = frozen.detach().clone()
        moving.grad, frozen.grad = torch.ones(2), torch.ones(2)
        optimizer.step()
    assert torch.equal(still, torch.ones(2))
    assert torch.equal(frozen, kept)
    # -0.1, then -0.1 - 0.09, then -0.1 - 0.09 - 0.081: 1 - 0.1 - 0.19 - 0.271
    assert moving.tolist() == pytest.approx([0.439] * 2)


# The optimisers of a configuration -----------------------------------------------------------------------------------


class OneMatrix(nn.Module):
    """A model of six weights."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.from_numpy(start()))


RATES = [0.1, 0.1, 0.1, 0.02, 0.02]


def path_of(config: OptimConfig) -> list[np.ndarray]:
    model = OneMatrix()
    return run(build_optimizer(model, config), model.w, gradients(len(RATES)), RATES)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_nesterovs_step_and_the_plain_one_without_momentum(momentum):
    decay, w, b, expected = 0.05, start(), np.zeros((3, 2)), []
    for g, lr in zip(gradients(len(RATES)), RATES, strict=True):
        d = g + decay * w
        b = momentum * b + d
        w = w - lr * (d + momentum * b)
        expected.append(w)
    seen = path_of(OptimConfig(algorithm="nesterov", momentum=momentum, weight_decay=decay))
    np.testing.assert_allclose(seen, expected, rtol=1e-12, atol=1e-14)


def test_adamw_is_adam_with_the_decay_beside_the_gradient():
    decay, w, m, v, expected = 0.05, start(), np.zeros((3, 2)), np.zeros((3, 2)), []
    for t, (g, lr) in enumerate(zip(gradients(len(RATES)), RATES, strict=True), start=1):
        w = w - lr * decay * w
        m, v = 0.8 * m + 0.2 * g, 0.999 * v + 0.001 * g**2
        w = w - lr * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        expected.append(w)
    seen = path_of(OptimConfig(algorithm="adamw", momentum=0.8, weight_decay=decay))
    np.testing.assert_allclose(seen, expected, rtol=1e-9, atol=1e-12)


def test_sgd_2012_of_a_configuration_has_its_momentum_and_decay():
    seen = path_of(OptimConfig(momentum=0.7, weight_decay=0.05))
    expected = sgd_2012_slowly(gradients(len(RATES)), RATES, 0.05, 0.7)
    np.testing.assert_allclose(seen, expected, rtol=1e-12, atol=1e-14)


# Groups --------------------------------------------------------------------------------------------------------------


def small_alexnet(norm: str = "lrn") -> Network:
    return build_model(AlexNetConfig(width=1 / 48, num_classes=3, crop_size=52, norm=norm))


LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


@pytest.mark.parametrize("norm", ["lrn", "batch"])
def test_every_parameter_is_in_exactly_the_group_of_its_kind(norm):
    model = small_alexnet(norm)
    expected = {group: set() for group in GROUPS}
    for layer in LAYERS:
        module, prefix = model.layers.get_submodule(layer), "conv1_" if layer == "conv1" else ""
        expected[prefix + "weights"].add(module.weight)
        if module.bias is not None:
            expected[prefix + "biases"].add(module.bias)
    for module in model.layers:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            expected["biases"] |= {module.weight, module.bias}
    groups = parameter_groups(model, CONFIG_2012)
    assert {g["name"]: set(g["params"]) for g in groups} == {name: x for name, x in expected.items() if x}
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


@pytest.mark.parametrize("algorithm", ["sgd-2012", "nesterov", "adamw"])
@pytest.mark.parametrize("norm", ["lrn", "batch"])
def test_without_gradients_weights_decay_and_biases_and_gains_do_not(norm, algorithm):
    model, config = small_alexnet(norm), OptimConfig(algorithm=algorithm, lr=0.5, weight_decay=0.02)
    optimizer = build_optimizer(model, config)
    with torch.no_grad():
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
            p.copy_(torch.linspace(1.0, 2.0, p.numel()).view_as(p))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step()
    # By rate times decay; Nesterov's first step counts its gradient once more, times the momentum.
    lost = 0.5 * 0.02 * (1.9 if algorithm == "nesterov" else 1.0)
    for name, p in model.named_parameters():
        decays = any(name == f"layers.{layer}.weight" for layer in LAYERS)
        torch.testing.assert_close(p.detach(), before[name] * (1.0 - lost if decays else 1.0))
        assert torch.equal(p, before[name]) is not decays


# Schedules -----------------------------------------------------------------------------------------------------------

# The diary of net 145: from this epoch on, the rates of weights, biases, weights of conv1 and biases of conv1.
DIARY = {
    1: (0.01, 0.02, 0.01, 0.02),
    25: (0.001, 0.02, 0.001, 0.02),
    51: (0.0001, 0.02, 0.0001, 0.02),
    67: (0.0001, 0.02, 0.00001, 0.02),
    72: (0.0001, 0.02, 0.0, 0.0),
    79: (0.00001, 0.02, 0.0, 0.0),
}


@pytest.mark.parametrize("epoch", range(1, 91))
def test_the_rates_of_2012_are_those_of_the_diary_in_every_epoch(epoch):
    entry = DIARY[max(e for e in DIARY if e <= epoch)]
    for group, expected in zip(GROUPS, entry, strict=True):
        assert learning_rate(CONFIG_2012, group, epoch, (epoch - 1) / 90) == pytest.approx(expected, rel=1e-12, abs=0)


def test_set_rates_gives_each_group_its_rate_and_returns_that_of_the_weights():
    optimizer = build_optimizer(small_alexnet(), CONFIG_2012)
    for epoch, entry in DIARY.items():
        assert set_learning_rates(optimizer, CONFIG_2012, epoch, 0.0) == pytest.approx(entry[0])
        by_name = {g["name"]: g["lr"] for g in optimizer.param_groups}
        assert by_name == pytest.approx(dict(zip(GROUPS, entry, strict=True)), rel=1e-12, abs=0)


@pytest.mark.parametrize("algorithm", ["sgd-2012", "nesterov", "adamw"])
def test_conv1_is_really_frozen_from_epoch_72_and_the_rest_is_not(algorithm):
    model, config = small_alexnet(), OptimConfig(algorithm=algorithm)
    optimizer = build_optimizer(model, config)
    generator = torch.Generator().manual_seed(0)
    for epoch in (70, 71, 72, 73, 90):
        set_learning_rates(optimizer, config, epoch, 0.0)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
        for name, p in model.named_parameters():
            assert torch.equal(p, before[name]) is (epoch >= 72 and name.startswith("layers.conv1."))


def test_biases_follow_the_drops_where_configured():
    config = OptimConfig(biases_follow=True, conv1_freeze_epoch=None)
    seen = [
        (learning_rate(config, "biases", e, 0.0), learning_rate(config, "conv1_biases", e, 0.0))
        for e in (1, 25, 51, 67, 79)
    ]
    expected = [(0.02, 0.02), (0.002, 0.002), (0.0002, 0.0002), (0.0002, 0.00002), (0.00002, 0.00002)]
    np.testing.assert_allclose(seen, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("progress", "weights", "biases"),
    [
        (0.0, 0.01, 0.02),
        (0.2499, 0.01, 0.02),
        (0.25, 0.001587, 0.02),
        (0.4999, 0.001587, 0.02),
        (0.5, 0.000252, 0.002),
        (0.7499, 0.000252, 0.002),
        (0.75, 0.00004, 0.002),
        (0.9999, 0.00004, 0.002),
    ],
)
def test_dexp_has_the_four_plateaus_of_2013_and_the_biases_fall_once_at_half(progress, weights, biases):
    config = OptimConfig(schedule="dexp", conv1_freeze_epoch=None)
    for prefix in ("", "conv1_"):
        assert learning_rate(config, prefix + "weights", 72, progress) == pytest.approx(weights, rel=1e-3)
        assert learning_rate(config, prefix + "biases", 72, progress) == pytest.approx(biases, rel=1e-9)


@given(st.integers(1, 8), st.floats(1, 1000), st.floats(0, 1, exclude_max=True))
def test_dexp_plateaus_are_equally_long_and_geometrically_spaced_from_the_base_to_the_end(steps, factor, progress):
    config = OptimConfig(schedule="dexp", lr=0.3, dexp_steps=steps, dexp_factor=factor)
    plateaus = np.geomspace(0.3, 0.3 / factor, steps) if steps > 1 else [0.3]
    edges = [i / steps for i in range(1, steps)]
    expected = plateaus[sum(progress >= edge for edge in edges)]
    if all(abs(progress - edge) > 1e-9 for edge in edges):
        assert learning_rate(config, "weights", 1, progress) == pytest.approx(expected, rel=1e-9)


def test_the_constant_schedule_is_the_base_rate_everywhere():
    config = OptimConfig(schedule="constant", lr=0.3, bias_lr_factor=2.0)
    for epoch, progress in ((1, 0.0), (72, 0.5), (500, 0.99)):
        assert [learning_rate(config, g, epoch, progress) for g in GROUPS] == pytest.approx([0.3, 0.6, 0.3, 0.6])


@given(st.floats(0, 0.9), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_one_cycle_rises_evenly_to_the_peak_and_then_falls_to_zero(warmup, one, other):
    config = OptimConfig(schedule="one-cycle", lr=0.4, warmup=warmup)
    early, late = sorted((one, other))
    first, second = (learning_rate(config, "weights", 1, p) for p in (early, late))
    assert min(first, second) >= 0.0
    assert max(first, second) <= 0.4 * (1 + 1e-12)
    if late < warmup:
        assert first <= second
        assert second == pytest.approx(0.4 * late / warmup)
    elif early >= warmup:
        assert first >= second
    assert learning_rate(config, "biases", 1, one) == pytest.approx(2 * learning_rate(config, "weights", 1, one))


@pytest.mark.parametrize("warmup", [0.0, 0.25, 0.5])
def test_one_cycle_starts_at_zero_peaks_after_the_warmup_and_follows_half_a_cosine(warmup):
    config = OptimConfig(schedule="one-cycle", lr=0.4, warmup=warmup)

    def at(progress: float) -> float:
        return learning_rate(config, "weights", 1, progress)

    assert at(0.0) == (0.0 if warmup else 0.4)
    assert at(warmup) == pytest.approx(0.4)
    # A third, a half and two thirds of the way down: cos(60), cos(90), cos(120) degrees.
    down = 1.0 - warmup
    seen = [at(warmup + down * share) for share in (1 / 3, 1 / 2, 2 / 3)]
    assert seen == pytest.approx([0.3, 0.2, 0.1])
    assert at(1.0 - 1e-9) == pytest.approx(0.0, abs=1e-12)
    assert math.isclose(at(warmup + 0.1 * down) + at(warmup + 0.9 * down), 0.4)

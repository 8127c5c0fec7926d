"""What a check measures, against plain numpy, and what it says of planted faults: each its own and no other."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import alexnet as face
from alexnet.api import networks
from alexnet.api.plan import base_recipe
from alexnet.errors import UsageError
from alexnet.models.build import build_model
from alexnet.models.layers import Dropout
from alexnet.models.network import Network
from alexnet.recipes.config import LeNetConfig
from alexnet.recipes.named import DEMO, LENET, PHOTOS, find_recipe
from alexnet.recipes.recipe import for_classes, override
from alexnet.training.check import check_network, entropy_of, plateau_fix
from alexnet.training.plan import Plan
from harness.small_runs import CLASSES, TINY, colored

LABELS = np.arange(12) % len(CLASSES)
MEAN, STD = np.full((30, 30, 3), 76.0), np.full(3, 58.0)


@pytest.fixture
def healthy(tiny):
    """A recipe whose first step is sound."""
    return override(tiny, ["input_norm=standardise", "width=0.25"])


def pictures(size: int = 20) -> torch.Tensor:
    return torch.from_numpy(colored(LABELS, 7, size)).permute(0, 3, 1, 2)


def targets() -> torch.Tensor:
    return torch.eye(len(CLASSES))[torch.from_numpy(LABELS)]


def network(recipe):
    return build_model(recipe.model, seed=recipe.seed).set_input_statistics(MEAN, STD)


def topics(recipe, model=None, images=None):
    model = network(recipe) if model is None else model
    images = pictures(recipe.model.crop_size) if images is None else images
    return check_network(model, images, targets(), recipe).topics


# --- the numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sgd", "adamw"])
def test_every_number_of_a_small_network_is_that_of_its_formula(algorithm):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, 3, 1, 1)).astype(np.float32)
    w1, b1 = rng.normal(0, 0.01, (3, 3)).astype(np.float32), np.array([-9.0, 0.0, 1.0], np.float32)
    w2, b2 = rng.normal(0, 1, (2, 3)).astype(np.float32), np.zeros(2, np.float32)
    y = np.array([[1, 0], [1, 0], [0.5, 0.5], [0, 1]], np.float32)
    layers = [("conv1", nn.Conv2d(3, 3, 1)), ("relu1", nn.ReLU()), ("flat", nn.Flatten()), ("fc2", nn.Linear(3, 2))]
    model = Network(LeNetConfig(num_classes=2), layers, in_channels=3)
    values = {"conv1.weight": w1[:, :, None, None], "conv1.bias": b1, "fc2.weight": w2, "fc2.bias": b2}
    model.layers.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
    recipe = override(
        LENET, [f"algorithm={algorithm}", "lr=0.125", "momentum=0.75", "label_smoothing=0", "activation=relu"]
    )
    found = check_network(model, torch.from_numpy(x), torch.from_numpy(y), recipe)

    def rms(a):
        return math.sqrt((a**2).mean())

    u = x[:, :, 0, 0] @ w1.T + b1
    h = np.maximum(u, 0)
    z = h @ w2.T + b2
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    dz = (p - y) / 4
    du = dz @ w2 * (u > 0)
    first, last = found.layers
    assert (first.name, last.name) == ("conv1", "fc2")
    assert found.loss == pytest.approx(-(y * np.log(p)).sum(1).mean(), rel=1e-5)
    assert found.expected_loss == pytest.approx(math.log(2))
    assert found.entropy == pytest.approx(-(0.625 * math.log(0.625) + 0.375 * math.log(0.375)))
    assert first.signal == pytest.approx(u.std(ddof=1), rel=1e-4)
    assert last.signal == pytest.approx(z.std(ddof=1), rel=1e-4)
    assert first.activated == pytest.approx(h.std(ddof=1), rel=1e-4)
    assert (first.ratio, last.activated, last.dead) == (None, None, None)
    assert last.ratio == pytest.approx(z.std(ddof=1) / u.std(ddof=1), rel=1e-4)
    assert first.spread == pytest.approx(rms(h.std(0)) / rms(h), rel=1e-4)
    assert last.spread == pytest.approx(rms(z.std(0)) / rms(z), rel=1e-4)
    assert first.dead == pytest.approx((h == 0).all(0).mean())
    assert first.dead > 0
    assert (first.gradient, last.gradient) == (pytest.approx(rms(du), rel=1e-4), pytest.approx(rms(dz), rel=1e-4))
    gw1, gw2 = du.T @ x[:, :, 0, 0], dz.T @ h
    steps = [0.125 * rms(g) / rms(w) for g, w in ((gw1, w1), (gw2, w2))]
    # As if the network answered the class frequencies.
    dz = (y.mean(0) - y) / 4
    gw1, gw2 = (dz @ w2 * (u > 0)).T @ x[:, :, 0, 0], dz.T @ h
    pace = 0.125 / 0.25 * ((gw1**2).sum() + (gw2**2).sum())
    if algorithm == "adamw":
        steps = [0.125 / rms(w) for w in (w1, w2)]
        pace = 0.125 * (np.abs(gw1).sum() + np.abs(gw2).sum())
    assert [layer.update for layer in found.layers] == pytest.approx(steps, rel=1e-4)
    assert found.pace == pytest.approx(pace / found.entropy, rel=1e-4)


def test_batch_norm_is_measured_with_the_statistics_of_the_batch():
    recipe = for_classes(override(PHOTOS, ["crop_size=48", "test_size=none", "width=0.125"]), 3)
    model = network(recipe).train()
    undropped = [layer for layer in model.layers if isinstance(layer, Dropout)]
    for layer in undropped:
        layer.p = 0.0
    seen = check_network(model, pictures(48), targets(), recipe)
    with torch.no_grad():
        acts = model.activations(pictures(48))
    expected = [float(acts[name].std()) for name in ("conv1", "conv5", "fc7", "fc8")]
    assert [x.signal for x in seen.layers if x.name in ("conv1", "conv5", "fc7", "fc8")] == pytest.approx(
        expected, rel=1e-4
    )


def test_entropy_is_that_of_fair_coins():
    assert entropy_of([0.25] * 4) == pytest.approx(2 * math.log(2))
    assert entropy_of([1.0, 0.0]) == 0


# --- what it says --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", "demo", "lenet", "photos"])
def test_sound_networks_get_no_other_verdict(name, healthy):
    small = ["crop_size=48", "test_size=none"]
    recipes = {"tiny": healthy, "demo": DEMO, "lenet": LENET, "photos": override(PHOTOS, small)}
    assert topics(for_classes(recipes[name], len(CLASSES))) == ("sound",)


def plant(model, fault):
    """Puts a fault into the weights."""
    layers = dict(model.layers.named_children())
    with torch.no_grad():
        if fault == "plateau":
            for name in ("conv3", "conv4", "conv5"):
                layers[name].weight.mul_(0.01)
                layers[name].bias.fill_(1.0)
        elif fault == "dead":
            layers["conv4"].bias.fill_(-1000.0)
        elif fault == "saturated":
            layers["conv2"].bias.fill_(50.0)
        elif fault == "numbers":
            layers["conv2"].weight[0, 0, 0, 0] = math.nan
        elif fault == "start":
            layers["fc8"].weight.mul_(60.0)


@pytest.mark.parametrize("fault", ["plateau", "dead", "saturated", "numbers", "start"])
def test_a_fault_of_the_weights_gets_its_own_verdict_and_no_other(fault, healthy):
    recipe = for_classes(LENET, len(CLASSES)) if fault == "saturated" else override(healthy, ["lr=0.001"])
    model = network(recipe)
    plant(model, fault)
    found = check_network(model, pictures(recipe.model.crop_size), targets(), recipe)
    assert found.topics == (fault,)
    (verdict,) = found.verdicts
    assert verdict.severity == ("warning" if fault == "start" else "fatal")
    assert verdict.fix
    if fault == "plateau":
        assert "from conv" in verdict.text
        assert "model.norm=batch" in verdict.fix
    if fault in ("dead", "saturated"):
        assert {"dead": "conv4", "saturated": "conv2"}[fault] in verdict.text


@pytest.mark.parametrize(("change", "topic"), [("lr=10", "rate"), ("lr=1e-12", "slow"), ("lr=0.02", "sound")])
def test_a_wrong_rate_is_said(change, topic, healthy):
    assert topics(override(healthy, [change])) == (topic,)


def test_the_rate_that_is_advised_is_sound(healthy):
    found = check_network(network(healthy), pictures(), targets(), override(healthy, ["lr=10"]))
    advised = found.verdicts[0].fix.rpartition("optim.")[2].rstrip(".")
    assert topics(override(healthy, [advised])) == ("sound",)


@pytest.mark.parametrize("fault", ["blank", "black", "unit", "centred", "nan"])
def test_wrong_images_are_said(fault, healthy):
    images = pictures().float()
    wrong = {
        "blank": torch.full_like(images, 200.0),
        "black": torch.zeros_like(images),
        "unit": images / 255,
        "centred": images - 120,
        "nan": images.clone().index_fill_(0, torch.tensor([3]), math.nan),
    }[fault]
    found = check_network(network(healthy), wrong, targets(), healthy)
    assert [(v.topic, v.severity) for v in found.verdicts] == [("inputs", "fatal")]


def test_a_network_without_the_mean_of_the_images_is_said(healthy):
    model = build_model(healthy.model, seed=0)
    model.input_scale.fill_(1 / 58)
    found = check_network(model, 155 + pictures() // 4, targets(), healthy)
    assert [(v.topic, v.severity) for v in found.verdicts] == [("inputs", "warning")]


def test_one_image_cannot_be_compared(healthy):
    with pytest.raises(UsageError, match="at least 2"):
        check_network(network(healthy), pictures()[:1], targets()[:1], healthy)


# --- what it leaves alone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["lrn", "batch"])
def test_a_check_changes_nothing_of_the_network(norm, training, healthy):
    recipe = override(healthy, [f"model.norm={norm}"])
    model = network(recipe).train(training)
    model.seed_dropout(0, 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    drops = [m for m in model.modules() if isinstance(m, Dropout)]
    keys, everywhere = [(drop.key, drop.rows, drop.columns) for drop in drops], torch.get_rng_state()
    some = next(model.parameters())
    some.grad = torch.ones_like(some)
    with torch.no_grad():
        check_network(model, pictures(), targets(), recipe)
    assert len(drops) == 2
    assert [(drop.key, drop.rows, drop.columns) for drop in drops] == keys
    assert torch.equal(torch.get_rng_state(), everywhere)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [p.grad is None for p in model.parameters()] == [False] + [True] * (len(list(model.parameters())) - 1)
    assert torch.equal(some.grad, torch.ones_like(some))
    assert {m.training for m in model.modules()} == {training}


def test_a_run_is_checked_as_its_first_step_would_find_it(prepared, healthy):
    plan = Plan(healthy, healthy, prepared, torch.device("cpu"))
    found = plan.check()
    assert [layer.name for layer in found.layers] == [*(f"conv{i}" for i in range(1, 6)), "fc6", "fc7", "fc8"]
    assert found.expected_loss == pytest.approx(math.log(3))
    assert plan.check() == found
    assert dataclasses.replace(found, verdicts=()) != plan.check(count=4)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("lenet", ["model.activation=relu"]),
        ("lenet", []),
        ("cifar-18pct", []),
        ("alexnet-2012", []),
        ("alexnet-2012", ["model.init=paper"]),
        ("alexnet-2012", ["model.activation=tanh"]),
        ("alexnet-2012", ["model.activation=sigmoid"]),
        ("alexnet-2012", ["model.activation=sigmoid", "optim.algorithm=adamw"]),
        ("demo", ["model.init=paper"]),
        ("cifar-18pct", ["model.activation=sigmoid"]),
        ("cifar-18pct", ["model.activation=sigmoid", "optim.algorithm=adamw"]),
        ("lenet", ["optim.algorithm=sgd"]),
    ],
)
def test_the_advice_for_the_plateau_can_be_typed(name, change):
    recipe = override(find_recipe(name), change)
    advice = re.findall(r"((?:model|optim)\.\w+=[\w.]*\w)", plateau_fix(recipe))
    assert any([override(recipe, [typed]) != recipe for typed in advice])  # a list: every one must be a field


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("demo", ["activation=sigmoid", "algorithm=sgd-2012", "lr=0.01"]),
        ("demo", ["activation=sigmoid", "init=source"]),
        ("demo", ["activation=sigmoid", "init=xavier"]),
        ("demo", ["activation=tanh", "init=source"]),
        ("demo", ["activation=tanh", "init=paper", "algorithm=sgd-2012", "lr=0.01"]),
        ("demo", ["init=source"]),
        ("demo", ["init=paper", "algorithm=sgd-2012", "lr=0.01"]),
        ("cifar-18pct", ["activation=sigmoid", "layer_decay=[]"]),
        ("lenet", ["algorithm=sgd-2012", "lr=0.01"]),
    ],
)
def test_the_first_advice_for_the_plateau_is_a_cure_by_the_same_check(name, change):
    recipe = for_classes(override(find_recipe(name), change), len(CLASSES))
    recipe = override(recipe, ["conv1_stride=2"]) if name == "demo" else recipe
    size = recipe.model.crop_size
    assert topics(recipe, network_of(recipe), pictures(size)) == ("plateau",)
    first = re.split(r", or | or |\.(?= |$)", plateau_fix(recipe))[0]
    cure = override(recipe, re.findall(r"((?:model|optim)\.\w+=[\w.]*\w)", first))
    assert cure != recipe
    assert "plateau" not in topics(cure, network_of(cure), pictures(size))


def network_of(recipe):
    """The network with statistics of the pixels in its own size."""
    side = recipe.model.crop_size
    return build_model(recipe.model, seed=recipe.seed).set_input_statistics(np.full((side, side, 3), 76.0), STD)


def test_one_layer_with_tiny_weights_does_not_make_the_rate_of_adamw_too_high(healthy):
    recipe = override(healthy, ["algorithm=adamw", "lr=0.002"])
    model = network(recipe)
    with torch.no_grad():
        model.layers.conv1.weight.mul_(1e-3)
    found = check_network(model, pictures(), targets(), recipe)
    assert max(layer.update for layer in found.layers) > 1
    assert "rate" not in found.topics
    assert "rate" in check_network(network(recipe), pictures(), targets(), override(recipe, ["lr=0.3"])).topics


@pytest.mark.parametrize("change", ["norm=batch", "init=kaiming", "activation=tanh"])
def test_what_trains_beside_the_sigmoid_is_sound(change):  # the innocent twins of a sigmoid AlexNet with adamw
    recipe = for_classes(override(find_recipe("demo"), ["conv1_stride=2", change]), len(CLASSES))
    assert topics(recipe, network_of(recipe), pictures(28)) == ("sound",)


def test_check_takes_the_recipe_that_train_takes(trained, monkeypatch):
    asked = []
    monkeypatch.setattr(networks, "base_recipe", lambda *given: asked.append(given) or base_recipe(*given))
    found = networks.check(trained / "photos", device="cpu", changes=TINY)
    plan = face.plan(trained / "photos", device="cpu", changes=TINY)
    assert asked == [(None, None)]
    assert plan.recipe.name == "photos"
    assert found == plan.check()


@pytest.mark.parametrize(
    ("changes", "code"),
    [((), 0), (("optim.lr=1e-9",), 0), (("optim.lr=1000",), 4), (("norm=none", "activation=sigmoid"), 4)],
)
def test_the_command_ends_with_the_code_of_its_verdict(changes, code, trained, alexnet):
    outcome = alexnet("check", trained / "photos", *TINY, *changes, "--device", "cpu")
    assert outcome.code == code, outcome.err
    assert ("E402 with these settings the network would not train" in outcome.err) == (code == 4)
    assert ("fatal: " in outcome.out) == (code == 4)

"""Check whether a network will train: one forward and one backward pass before the first step, explained in words.

What keeps a network on the plateau ("the loss is stuck at 6.9") is not a small signal but a signal that is the same for
every image. Biases of 1 keep the activations large, while the differences between images become smaller from layer to
layer. Two numbers separate initial weights that train from those that do not: `spread`, the share of a layer's output
that differs between images, and `pace`, how much the first step lowers the loss through these differences. The
thresholds are set by results/check_calibration.jsonl, networks that were checked and then trained (docs/check.md).

A check does not change the network: no gradient, buffer, mode or random state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.errors import UsageError
from alexnet.models.layers import Dropout, LocalConv
from alexnet.models.network import Network
from alexnet.recipes.config import AlexNetConfig, CifarNetConfig, LeNetConfig
from alexnet.recipes.recipe import Recipe

Severity = Literal["ok", "warning", "fatal"]
Topic = Literal["numbers", "inputs", "dead", "saturated", "rate", "start", "plateau", "slow", "sound"]

SPREAD = 0.01  # in the input of the last layer; initial weights that train have more, others less
PACE = {True: 1e-4, False: 0.02}  # True: AdamW, whose steps do not depend on the size of the gradients
SLOW = {True: 1e-4, False: 1e-4}  # the same for any spread: the loss falls only after hundreds of steps
DEAD = 0.9  # share of the units of a layer; fully connected layers with sound initial weights have less than half
STEP = 0.5  # relative first update of a layer; sound recipes stay well below
FALL = 1.5  # factor between two layers that counts as fading


@dataclass(frozen=True)
class LayerCheck:
    """Numbers of one layer with weights, and of the layers between it and the next one."""

    name: str
    signal: float  # standard deviation of its outputs, over images, positions and units
    activated: float | None  # the same after the activation function that follows; None: there is none
    ratio: float | None  # signal over that of the layer before
    spread: float  # rms of the standard deviations between images, over the rms of all; after the activation, 0 to 1
    dead: float | None  # share of units (channels) that are zero, or saturated in tanh or sigmoid, for all images
    gradient: float  # rms of d loss / d output
    update: float  # rms of the first step of its weights over the rms of the weights


@dataclass(frozen=True)
class Verdict:
    """One result of a check, in words."""

    severity: Severity
    topic: Topic
    text: str
    fix: str  # what to change; empty if nothing needs to change


@dataclass(frozen=True)
class Check:
    """The result of checking a network on a batch."""

    layers: tuple[LayerCheck, ...]
    loss: float
    expected_loss: float  # ln(classes): the loss of a network that knows nothing
    entropy: float  # of the mean target of the batch: the loss of a network that knows only the class frequencies
    pace: float  # share of the entropy by which the first step lowers the loss through differences between images
    verdicts: tuple[Verdict, ...]

    def __repr__(self) -> str:
        verdicts = "; ".join(f"{verdict.severity}: {verdict.text}" for verdict in self.verdicts)
        return f"Check({len(self.layers)} layers, loss {self.loss:.3f}: {verdicts})"

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What the verdicts are about."""
        return tuple(verdict.topic for verdict in self.verdicts)


@dataclass
class _Stage:
    """A layer with weights in the forward pass, with its tensors."""

    name: str
    weight: Tensor
    input: Tensor
    output: Tensor
    activation: nn.Module | None = None
    activated: Tensor | None = None


def check_network(model: Network, images: Tensor, targets: Tensor, recipe: Recipe) -> Check:
    """Measures a network on one training batch and gives verdicts.

    Batch normalization uses the statistics of the batch, dropout its expectation. The learning rate is `optim.lr`, the
    highest of the run. The pace is the decrease of the loss to first order: with g the gradient of the weights for a
    network that already predicts the class frequencies, lr / (1 - momentum) * |g|^2 with SGD and lr * |g|_1 with Adam.

    Args:
        images: (N, 3, H, W) pixels 0..255 after data augmentation, at least two images.
        targets: (N, classes) probabilities.

    Raises:
        UsageError: fewer than two images.
    """
    if len(images) < 2:
        raise UsageError(
            "a check compares images: it needs at least 2 in the batch", fix="Use batch_size=2 or more.", code="E227"
        )
    with torch.enable_grad():
        prepared = model.prepare_input(images)
        stages, logits = _pass(model, prepared)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
        weights, outputs = [s.weight for s in stages], [s.output for s in stages]
        gradients = torch.autograd.grad(loss, [*outputs, *weights], retain_graph=True)
        mean = targets.mean(0)
        # Of the loss of a network that predicts the class frequencies.
        frequency_gradients = torch.autograd.grad(logits, weights, ((mean - targets) / len(targets)).to(logits.dtype))
    rates = [_learning_rate(recipe, last=stage is stages[-1]) for stage in stages]
    layers: list[LayerCheck] = []
    for i, (stage, rate) in enumerate(zip(stages, rates, strict=True)):
        activations = stage.output if stage.activated is None else stage.activated
        signal = _to_float(stage.output.float().std())
        weight_rms, gradient_rms = _rms(stage.weight), _rms(gradients[len(stages) + i])
        # The first step of Adam is the learning rate, in every weight whose gradient is not zero.
        step = rate * (float(gradient_rms > 0) if recipe.optim.algorithm == "adamw" else gradient_rms)
        layers.append(
            LayerCheck(
                name=stage.name,
                signal=signal,
                activated=None if stage.activated is None else _to_float(stage.activated.float().std()),
                ratio=_ratio(signal, layers[-1].signal) if layers else None,
                spread=_ratio(_difference(activations), _rms(activations)),
                dead=None if stage.activated is None else _dead_share(stage.activation, stage.activated),
                gradient=_rms(gradients[i]),
                update=_ratio(step, weight_rms),
            )
        )
    smoothed = (1 - recipe.label_smoothing) * mean + recipe.label_smoothing / len(mean)
    entropy = entropy_of(smoothed.tolist())
    pace = sum(_first_order(gradient, rate, recipe) for gradient, rate in zip(frequency_gradients, rates, strict=True))
    check = Check(
        layers=tuple(layers),
        loss=_to_float(loss),
        expected_loss=math.log(targets.shape[1]),
        entropy=entropy,
        pace=_ratio(pace, entropy),
        verdicts=(),
    )
    verdicts = _input_verdicts(images, prepared.detach(), recipe)
    if "fatal" not in [verdict.severity for verdict in verdicts]:
        verdicts += verdicts_of(check, recipe)
    sound = Verdict("ok", "sound", "signal, gradients and learning rate are sound", "")
    return Check(check.layers, check.loss, check.expected_loss, entropy, check.pace, tuple(verdicts) or (sound,))


def entropy_of(frequencies: Sequence[float]) -> float:
    """Entropy in nats of frequencies that sum to 1: the loss of a network that predicts them for every image."""
    return -sum(f * math.log(f) for f in frequencies if f > 0)


def _pass(model: Network, x: Tensor) -> tuple[list[_Stage], Tensor]:
    stages: list[_Stage] = []
    for name, layer in model.layers.named_children():
        layer_input = x
        if isinstance(layer, Dropout):
            x = x * (1 - layer.p) if layer.scale_at_test else x
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            x = F.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)
        else:
            x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.Linear | LocalConv):
            stages.append(_Stage(name, layer.weight, layer_input, x))
        elif isinstance(layer, nn.ReLU | nn.Tanh | nn.Sigmoid) and stages:
            stages[-1].activation, stages[-1].activated = layer, x.detach()
    return stages, x


def _learning_rate(recipe: Recipe, *, last: bool) -> float:
    return recipe.optim.lr * (1.0 if last or recipe.weights is None else recipe.optim.old_lr_factor)


def _first_order(gradient: Tensor, rate: float, recipe: Recipe) -> float:
    """The decrease of the loss by the steps along a gradient, to first order."""
    if recipe.optim.algorithm == "adamw":
        return rate * _to_float(gradient.float().abs().sum())
    return rate / (1 - recipe.optim.momentum) * _to_float(gradient.float().square().sum())


def _to_float(value: Tensor) -> float:
    return float(value.detach())


def _ratio(value: float, base: float) -> float:
    return value / base if base else 0.0


def _rms(x: Tensor) -> float:
    return _to_float(x.float().square().mean().sqrt())


def _difference(x: Tensor) -> float:
    """Root mean square, over units and positions, of the standard deviation between images."""
    return _to_float(x.float().var(0, correction=0).mean().sqrt())


def _dead_share(activation: nn.Module | None, x: Tensor) -> float:
    """Share of the units or channels that are zero or saturated for all images."""
    if isinstance(activation, nn.ReLU):
        inactive = x <= 0
    elif isinstance(activation, nn.Tanh):
        inactive = x.abs() > 0.99
    else:
        inactive = (x - 0.5).abs() > 0.49
    return _to_float(inactive.transpose(0, 1).flatten(1).all(1).float().mean())


def _input_verdicts(images: Tensor, prepared: Tensor, recipe: Recipe) -> list[Verdict]:
    pixels = images.float()
    low, high = _to_float(pixels.min()), _to_float(pixels.max())
    if not bool(torch.isfinite(pixels).all()):
        return [Verdict("fatal", "inputs", "some pixels are not finite", "Check how the images are made.")]
    if _difference(pixels) < 0.5:
        text = f"the images do not differ from each other (pixels {low:.3g} to {high:.3g})"
        if high > 1.0 or low == high:
            return [Verdict("fatal", "inputs", text, "Check the prepared images: they may be blank.")]
    # Color noise exceeds the range a little; subtracting a mean exceeds it by far.
    outside_share = _to_float(((pixels < -32) | (pixels > 287)).float().mean())
    if outside_share > 0.01 or high <= 1.0:
        text = f"pixels range from {low:.3g} to {high:.3g}, and the network expects 0 to 255"
        return [Verdict("fatal", "inputs", text, "Do not divide by 255 or subtract a mean: the network does it.")]
    mean, std = abs(_to_float(prepared.mean())), _to_float(prepared.std())
    if mean > (5.0 if recipe.model.input_norm == "unit" else 1.5) * std:
        text = f"the input of the first layer is not centered: mean {mean:.3g}, standard deviation {std:.3g}"
        return [Verdict("warning", "inputs", text, "Use model.input_norm=standardise with the mean of these images.")]
    return []


def verdicts_of(check: Check, recipe: Recipe) -> list[Verdict]:
    """Verdicts on the causes of what was measured; consequences of a cause get no verdict."""
    layers = check.layers
    values = [(x.name, value) for x in layers for value in (x.signal, x.gradient, x.update)]
    if bad := [name for name, value in [*values, ("the loss", check.loss)] if not math.isfinite(value)]:
        text = f"values are not finite from {bad[0]} on"
        fix = "Check the pixels and the initial weights; use a lower learning rate."
        return [Verdict("fatal", "numbers", text, fix)]
    # If the inputs are the same for every image, each unit is on or off for all of them: that is the plateau.
    input_spreads = [1.0, *(x.spread for x in layers)]
    dead = [x for x, spread in zip(layers, input_spreads, strict=False) if (x.dead or 0.0) > DEAD and spread >= SPREAD]
    if dead:
        first = dead[0]
        share = f"{100 * (first.dead or 0):.0f} % of the units after {first.name}"
        fix = (
            "Start with smaller biases and weights (model.init=kaiming). If this happened during training, use a "
            "lower learning rate."
        )
        if recipe.model.activation == "relu":
            return [Verdict("fatal", "dead", f"{share} are zero for every image: no signal passes them", fix)]
        return [Verdict("fatal", "saturated", f"{share} are saturated for every image", fix)]
    out = []
    fastest = fastest_layer(layers, recipe)
    if fastest.update > STEP:
        text = f"the first step changes the weights of {fastest.name} by {fastest.update:.2g} times their size"
        fix = f"Lower the learning rate: optim.lr={_lower(recipe, fastest.update):.1g}."
        out.append(Verdict("fatal", "rate", text, fix))
    if check.loss > check.expected_loss + max(0.5, 0.25 * check.expected_loss):
        last = layers[-1]
        text = (
            f"the loss starts at {check.loss:.2f}, and a network that knows nothing has ln(classes) = "
            f"{check.expected_loss:.2f}: the outputs of {last.name} differ too much ({last.signal:.2g})"
        )
        fix = f"Use smaller initial weights in {last.name}, or scale the input (model.input_norm=standardise)."
        out.append(Verdict("warning", "start", text, fix))
    input_spread = layers[-2].spread if len(layers) > 1 else layers[-1].spread
    is_adamw = recipe.optim.algorithm == "adamw"
    # The first step of AdamW replaces weights that are smaller than it, so what they pass on says nothing.
    replaced = is_adamw and max(x.update for x in layers) > 1
    if input_spread < SPREAD and check.pace < PACE[is_adamw] and not replaced:
        start, end, fall = _fading([(x.name, x.spread) for x in layers[:-1]])
        change = f"falls {fall:.0f}x from {start} to {end}" if fall > FALL else "is very small"
        text = (
            f"the difference between images {change}: it is {100 * input_spread:.2g} % of the input of "
            f"{layers[-1].name}, so the loss will stay on the plateau for a long time"
        )
        # With ReLU and AdamW some of these networks get off it after some hundred steps; the others never did.
        severity: Severity = "warning" if is_adamw and recipe.model.activation == "relu" else "fatal"
        out.append(Verdict(severity, "plateau", text, plateau_fix(recipe)))
    elif check.pace < SLOW[is_adamw] and not replaced:
        start, end, fall = _fading([(x.name, x.signal) for x in layers])
        reason = f"the signal falls {fall:.0f}x from {start} to {end}" if fall > 10 else "the learning rate is very low"
        has_init = isinstance(recipe.model, AlexNetConfig | CifarNetConfig)
        fix = "Use model.init=kaiming." if fall > 10 and has_init else "Raise optim.lr."
        out.append(Verdict("warning", "slow", f"the first steps will change almost nothing: {reason}", fix))
    return out


def fastest_layer(layers: Sequence[LayerCheck], recipe: Recipe) -> LayerCheck:
    """The layer whose relative first step says whether the learning rate is too high.

    With SGD the step follows the gradient, so the largest counts. Every step of AdamW is as large as the learning rate,
    so a single layer with tiny initial weights outgrows them at once and loses nothing; the median layer counts.
    """
    ordered = sorted(layers, key=lambda x: x.update)
    return ordered[len(ordered) // 2] if recipe.optim.algorithm == "adamw" else ordered[-1]


def _lower(recipe: Recipe, update: float) -> float:
    """A learning rate at which the relative first update is sound."""
    return recipe.optim.lr * 0.05 / update


def _fading(values: Sequence[tuple[str, float]]) -> tuple[str, str, float]:
    """Where a value falls most over consecutive layers: first layer, last layer, factor.

    Args:
        values: layer name and value, in the order of the layers.
    """
    largest_fall = (values[0][0], values[-1][0], 1.0)
    start = 0
    for i in range(1, len(values)):
        if values[i][1] * FALL > values[i - 1][1]:
            start = i
        elif (fall := values[start][1] / max(values[i][1], 1e-30)) > largest_fall[2]:
            largest_fall = (values[start][0], values[i][0], fall)
    return largest_fall


def plateau_fix(recipe: Recipe) -> str:
    """Advice that gets a network off the plateau, with overrides that can be typed."""
    config, is_adamw = recipe.model, recipe.optim.algorithm == "adamw"
    if isinstance(config, LeNetConfig):  # it has one initialization and no normalization
        if config.activation == "relu":
            return f"Try three times the learning rate: optim.lr={3 * recipe.optim.lr:g}."
        adamw = "" if is_adamw else ", or optim.algorithm=adamw with optim.lr=0.004"
        return f"Use model.activation=relu{adamw}."
    if isinstance(config, CifarNetConfig):
        if config.activation == "sigmoid":
            adamw = "" if is_adamw else " and optim.algorithm=adamw with optim.lr=0.002"
            return f"Use model.init=xavier{adamw}, or model.activation=relu with model.init=kaiming."
        return "model.init=kaiming fixes it."
    if config.activation == "sigmoid":  # each of its eight layers keeps a small part of the differences
        return "Use model.norm=batch, or model.activation=relu with model.init=kaiming."
    if config.init == "kaiming":
        return "model.norm=batch fixes it."
    if config.activation == "relu" and config.init != "source" and config.width * config.init_scale >= 1:
        return "model.init=source (sigma 0.03 in conv3-5) or model.init=kaiming fixes it."
    return "model.init=kaiming or model.norm=batch fixes it."

"""Will it train? One forward and one backward pass before the first step, and what they say in words.

What keeps a network on the plateau ("the loss is stuck at 6.9") is not a small signal but a signal that is the same for
every picture: biases of 1 keep the activations up while what differs between pictures fades from layer to layer. Two
figures tell, measured on starts that train and starts that do not: `spread`, the share of what enters a layer that
differs between pictures, and `pace`, by how much the first step lowers the loss through it.

Nothing here touches the network: no gradient, buffer, mode or random state of it changes.
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

Topic = Literal["numbers", "inputs", "dead", "saturated", "rate", "start", "plateau", "slow", "sound"]

SPREAD = 0.01  # of what enters the last layer; the paper's start has 0.009, that of the source 0.11, Caffe's 0.075
PACE = {True: 1e-6, False: 0.02}  # adamw or not: Adam divides the size of the gradients out again
SLOW = {True: 1e-7, False: 1e-5}  # whatever the spread; hundreds of steps go by before the loss falls
DEAD = 0.9  # share of the units of a layer; sound starts have up to 0.4 in fc layers on 16 pictures
STEP = 0.5  # relative first update of a layer; sound recipes have up to 0.2
FALL = 1.5  # from one layer to the next, that counts as fading


@dataclass(frozen=True)
class LayerCheck:
    """One layer with weights, and what stands between it and the next."""

    name: str
    signal: float  # standard deviation of its outputs, over pictures, places and units
    activated: float | None  # the same after the activation that follows; None: there is none
    ratio: float | None  # signal over that of the layer before
    spread: float  # rms over units of the deviation between pictures, over the rms of all; after the activation, 0 to 1
    dead: float | None  # share of units (maps) that are zero, or at the end of tanh or sigmoid, in all pictures
    gradient: float  # rms of d loss / d output
    update: float  # rms of the first step of its weights over the rms of the weights


@dataclass(frozen=True)
class Verdict:
    """One finding."""

    severity: Literal["ok", "warning", "fatal"]
    topic: Topic
    text: str
    fix: str  # what to change; empty if nothing


@dataclass(frozen=True)
class Check:
    """What a first look at a network on a batch gives."""

    layers: tuple[LayerCheck, ...]
    loss: float
    expected_loss: float  # ln(classes): what a network that knows nothing has
    entropy: float  # of the mean target of the batch: what a network that knows only the class frequencies has
    pace: float  # share of the entropy by which the first step lowers the loss through what differs between pictures
    verdicts: tuple[Verdict, ...]

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What the verdicts are about."""
        return tuple(verdict.topic for verdict in self.verdicts)


@dataclass
class _Stage:
    """A layer with weights on its way through the network."""

    name: str
    weight: Tensor
    entered: Tensor
    output: Tensor
    activation: nn.Module | None = None
    activated: Tensor | None = None


def check_network(model: Network, images: Tensor, targets: Tensor, recipe: Recipe) -> Check:
    """Measures a network on one batch of training, and judges it.

    Batch norm uses the statistics of the batch, dropout its expectation. The rate is `optim.lr`, the highest of the
    run. The pace is the first-order fall of the loss: with g the gradient of the weights for a network that already
    answers the class frequencies, rate / (1 - momentum) * |g|^2 with SGD and rate * |g|_1 with Adam.

    Args:
        images: (N, 3, H, W) pixels 0..255, as training sees them, at least two.
        targets: (N, classes) probabilities.

    Raises:
        UsageError: fewer than two pictures.
    """
    if len(images) < 2:
        raise UsageError(
            "a check compares pictures: it needs at least 2 in the batch", fix="Use batch_size=2 or more.", code="E227"
        )
    with torch.enable_grad():
        prepared = model.prepare_input(images)
        stages, logits = _pass(model, prepared)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
        weights, outputs = [s.weight for s in stages], [s.output for s in stages]
        gradients = torch.autograd.grad(loss, [*outputs, *weights], retain_graph=True)
        mean = targets.mean(0)
        apart = torch.autograd.grad(logits, weights, ((mean - targets) / len(targets)).to(logits.dtype))
    rates = [_rate(recipe, last=stage is stages[-1]) for stage in stages]
    layers: list[LayerCheck] = []
    for i, (stage, rate) in enumerate(zip(stages, rates, strict=True)):
        after = stage.output if stage.activated is None else stage.activated
        signal = _number(stage.output.float().std())
        size, slope = _rms(stage.weight), _rms(gradients[len(stages) + i])
        # The first step of Adam is the rate in every weight that has a gradient at all.
        step = rate * (float(slope > 0) if recipe.optim.algorithm == "adamw" else slope)
        layers.append(
            LayerCheck(
                name=stage.name,
                signal=signal,
                activated=None if stage.activated is None else _number(stage.activated.float().std()),
                ratio=_over(signal, layers[-1].signal) if layers else None,
                spread=_over(_difference(after), _rms(after)),
                dead=None if stage.activated is None else _dead(stage.activation, stage.activated),
                gradient=_rms(gradients[i]),
                update=_over(step, size),
            )
        )
    smoothed = (1 - recipe.label_smoothing) * mean + recipe.label_smoothing / len(mean)
    entropy = entropy_of(smoothed.tolist())
    pace = sum(_first_order(gradient, rate, recipe) for gradient, rate in zip(apart, rates, strict=True))
    found = Check(
        layers=tuple(layers),
        loss=_number(loss),
        expected_loss=math.log(targets.shape[1]),
        entropy=entropy,
        pace=_over(pace, entropy),
        verdicts=(),
    )
    verdicts = _input_verdicts(images, prepared.detach(), recipe)
    if "fatal" not in [verdict.severity for verdict in verdicts]:
        verdicts += _verdicts(found, recipe)
    sound = Verdict("ok", "sound", "signal, gradients and rate are sound", "")
    return Check(found.layers, found.loss, found.expected_loss, entropy, found.pace, tuple(verdicts) or (sound,))


def entropy_of(frequencies: Sequence[float]) -> float:
    """Entropy in nats of frequencies that sum to 1: the loss of a network that answers them for every picture."""
    return -sum(f * math.log(f) for f in frequencies if f > 0)


def _pass(model: Network, x: Tensor) -> tuple[list[_Stage], Tensor]:
    stages: list[_Stage] = []
    for name, layer in model.layers.named_children():
        entered = x
        if isinstance(layer, Dropout):
            x = x * (1 - layer.p) if layer.scale_at_test else x
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            x = F.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)
        else:
            x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.Linear | LocalConv):
            stages.append(_Stage(name, layer.weight, entered, x))
        elif isinstance(layer, nn.ReLU | nn.Tanh | nn.Sigmoid) and stages:
            stages[-1].activation, stages[-1].activated = layer, x.detach()
    return stages, x


def _rate(recipe: Recipe, *, last: bool) -> float:
    return recipe.optim.lr * (1.0 if last or recipe.weights is None else recipe.optim.old_lr_factor)


def _first_order(gradient: Tensor, rate: float, recipe: Recipe) -> float:
    if recipe.optim.algorithm == "adamw":
        return rate * _number(gradient.float().abs().sum())
    return rate / (1 - recipe.optim.momentum) * _number(gradient.float().square().sum())


def _number(value: Tensor) -> float:
    return float(value.detach())


def _over(value: float, base: float) -> float:
    return value / base if base else 0.0


def _rms(x: Tensor) -> float:
    return _number(x.float().square().mean().sqrt())


def _difference(x: Tensor) -> float:
    return _number(x.float().var(0, correction=0).mean().sqrt())


def _dead(activation: nn.Module | None, x: Tensor) -> float:
    if isinstance(activation, nn.ReLU):
        silent = x <= 0
    elif isinstance(activation, nn.Tanh):
        silent = x.abs() > 0.99
    else:
        silent = (x - 0.5).abs() > 0.49
    return _number(silent.transpose(0, 1).flatten(1).all(1).float().mean())


def _input_verdicts(images: Tensor, prepared: Tensor, recipe: Recipe) -> list[Verdict]:
    pixels = images.float()
    low, high = _number(pixels.min()), _number(pixels.max())
    if not bool(torch.isfinite(pixels).all()):
        return [Verdict("fatal", "inputs", "some pixels are not numbers", "Look at what makes the pictures.")]
    if _difference(pixels) < 0.5:
        text = f"the pictures do not differ from one another (pixels {low:.3g} to {high:.3g})"
        if high > 1.0 or low == high:
            return [Verdict("fatal", "inputs", text, "Look at the prepared pictures: they may be blank.")]
    # Colour noise goes a little beyond the range; a mean that was already subtracted goes far.
    beyond = _number(((pixels < -32) | (pixels > 287)).float().mean())
    if beyond > 0.01 or high <= 1.0:
        text = f"pixels go from {low:.3g} to {high:.3g}, the network takes 0 to 255"
        return [Verdict("fatal", "inputs", text, "Do not divide by 255 or subtract a mean: the network does.")]
    mean, std = abs(_number(prepared.mean())), _number(prepared.std())
    if mean > (5.0 if recipe.model.input_norm == "unit" else 1.5) * std:
        text = f"what enters the first layer is not centred: mean {mean:.3g}, deviation {std:.3g}"
        return [Verdict("warning", "inputs", text, "Use model.input_norm=standardise on the pictures' own mean.")]
    return []


def _verdicts(found: Check, recipe: Recipe) -> list[Verdict]:
    """The causes; what merely follows from one of them is not said."""
    layers = found.layers
    figures = [(x.name, value) for x in layers for value in (x.signal, x.gradient, x.update)]
    if bad := [name for name, value in [*figures, ("the loss", found.loss)] if not math.isfinite(value)]:
        text = f"numbers are no longer finite from {bad[0]} on"
        return [Verdict("fatal", "numbers", text, "Look at the pixels and the start values; use a lower rate.")]
    kind = "relu" if recipe.model.activation == "relu" else "saturated"
    # Units that get the same from every picture are all on or all off: that is the plateau.
    entered = [1.0, *(x.spread for x in layers)]
    dead = [x for x, spread in zip(layers, entered, strict=False) if (x.dead or 0.0) > DEAD and spread >= SPREAD]
    if dead:
        first = dead[0]
        share = f"{100 * (first.dead or 0):.0f} % of the units after {first.name}"
        fix = "Start with smaller biases and weights (model.init=kaiming), or a lower rate if this came in training."
        if kind == "relu":
            return [Verdict("fatal", "dead", f"{share} are zero for every picture: nothing gets through", fix)]
        return [Verdict("fatal", "saturated", f"{share} are at their limit for every picture", fix)]
    out = []
    fastest = max(layers, key=lambda x: x.update)
    if fastest.update > STEP:
        text = f"the first step changes the weights of {fastest.name} by {fastest.update:.2g} times their size"
        out.append(Verdict("fatal", "rate", text, f"Lower the rate: optim.lr={_lower(recipe, fastest.update):.1g}."))
    if found.loss > found.expected_loss + max(0.5, 0.25 * found.expected_loss):
        last = layers[-1]
        text = f"the loss starts at {found.loss:.2f}; a network that knows nothing has ln(classes) = "
        text += f"{found.expected_loss:.2f}: the outputs of {last.name} are too far apart ({last.signal:.2g})"
        fix = f"Use smaller start values in {last.name}, or scale the input (model.input_norm=standardise)."
        out.append(Verdict("warning", "start", text, fix))
    entering = layers[-2].spread if len(layers) > 1 else layers[-1].spread
    if entering < SPREAD and found.pace < PACE[recipe.optim.algorithm == "adamw"]:
        start, end, fall = _fading([(x.name, x.spread) for x in layers[:-1]])
        where = f"falls {fall:.0f}x from {start} to {end}" if fall > FALL else "is next to nothing"
        text = f"what tells pictures apart {where}, to {100 * entering:.2g} % of what enters {layers[-1].name}: "
        out.append(Verdict("fatal", "plateau", text + "this will sit on the plateau for long", plateau_fix(recipe)))
    elif found.pace < SLOW[recipe.optim.algorithm == "adamw"]:
        start, end, fall = _fading([(x.name, x.signal) for x in layers])
        where = f"the signal falls {fall:.0f}x from {start} to {end}" if fall > 10 else "the rate is very low"
        starts = isinstance(recipe.model, AlexNetConfig | CifarNetConfig)
        fix = "Use model.init=kaiming." if fall > 10 and starts else "Raise optim.lr."
        out.append(Verdict("warning", "slow", f"the first steps will change hardly anything: {where}", fix))
    return out


def _lower(recipe: Recipe, update: float) -> float:
    return recipe.optim.lr * 0.05 / update


def _fading(figures: Sequence[tuple[str, float]]) -> tuple[str, str, float]:
    """Where a figure falls most in consecutive layers: from which, to which, how many times."""
    best = (figures[0][0], figures[-1][0], 1.0)
    start = 0
    for i in range(1, len(figures)):
        if figures[i][1] * FALL > figures[i - 1][1]:
            start = i
        elif (fall := figures[start][1] / max(figures[i][1], 1e-30)) > best[2]:
            best = (figures[start][0], figures[i][0], fall)
    return best


def plateau_fix(recipe: Recipe) -> str:
    """What gets a network off the plateau, as one would type it."""
    config = recipe.model
    if config.activation != "relu":
        return "Use model.activation=relu, or optim.algorithm=adamw with a rate of a few thousandths."
    if isinstance(config, AlexNetConfig) and config.init != "source":
        return "model.init=source (sigma 0.03 in conv3-5) or model.init=kaiming fixes it."
    if isinstance(config, CifarNetConfig):
        return "model.init=kaiming fixes it."
    if isinstance(config, LeNetConfig):  # it has one start and no norm
        return f"Try three times the rate: optim.lr={3 * recipe.optim.lr:g}."
    return "model.init=kaiming or model.norm=batch fixes it."

"""The ideas of AlexNet on one image, as numbers: activation functions, a convolution step by step, pooling, LRN.

Each function computes what would happen with one ingredient changed and everything else as it was trained. Layers run
one by one, as in `Network.activations`; the network itself is not changed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from alexnet.data.images import Pixels
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.models.layers import LocalConv, LocalResponseNorm, activation_layer
from alexnet.models.network import Network, check_layer

Floats = NDArray[np.float32]
Step = Callable[[Tensor], Tensor]
ACTIVATIONS = ("relu", "sigmoid", "tanh")
LARGEST_SLOPE = {"relu": 1.0, "sigmoid": 0.25, "tanh": 1.0}
FLAT = 0.05  # of the largest slope; below it a unit passes next to nothing of its gradient


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the network says of an image when something in it has been changed."""

    outputs: dict[str, Tensor]  # of each layer, with the batch dimension
    probabilities: Floats  # (classes,), scaled by the temperature of the run


def run_with(classifier: Classifier, image: Pixels, changed: Mapping[str, Step]) -> Outcome:
    """Runs the network layer by layer on the central view of a prepared image, with other functions for some layers.

    Args:
        changed: by the name of a layer, what computes its output from its input.
    """
    model, view = classifier.network, classifier.view(image)
    model.eval()
    x, outputs = model.prepare_input(view), dict[str, Tensor]()
    for name, layer in model.layers.named_children():
        x = changed.get(name, layer)(x)
        outputs[name] = x
    logits = x if model.cue is None else x + model.cue(view)
    return Outcome(outputs, answer_of(classifier, logits)[0])


def answer_of(classifier: Classifier, logits: Tensor) -> Floats:
    """Turns logits (N, classes) into the probabilities that the run answers with: (N, classes)."""
    return classifier.scaled(torch.softmax(logits.detach().float(), 1).cpu().numpy())


def layer_of(model: Network, name: str, kind: type[nn.Module] | tuple[type[nn.Module], ...], what: str) -> nn.Module:
    """Finds a layer of a kind by its name.

    Raises:
        UsageError: E235, there is no layer of this name; E2120, it is of another kind.
    """
    check_layer(model, name)
    layer = dict(model.layers.named_children())[name]
    if not isinstance(layer, kind):
        names = [each for each, module in model.layers.named_children() if isinstance(module, kind)]
        raise UsageError(
            f"{name} is no layer of {what}",
            fix=f"Of this kind it has: {', '.join(names)}." if names else "This network has none of this kind.",
            code="E2120",
        )
    return layer


# --- activation functions --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ActivationTrial:
    """One activation function at one layer, or at all of them, with the weights as they were trained."""

    name: str
    values: Floats  # the output of the layer: (units, ...)
    zero: float  # share of these values that are exactly 0
    flat: float  # share of them where the slope is below `FLAT` of the largest slope of the function
    gradients: dict[str, float]  # by layer with weights up to this one: norm of d score / d weights
    probabilities: Floats


def activation_trials(
    classifier: Classifier, image: Pixels, layer: str, *, everywhere: bool = False
) -> list[ActivationTrial]:
    """Replaces the activation function of a layer, or of all, by each of `ACTIVATIONS` in turn.

    The gradients are those of the logit of the class that the network answers as it is. A logit is taken because the
    gradient of a loss fades where the network is certain, whatever its activation functions do.

    Raises:
        UsageError: E235 or E2120, there is no such activation layer.
    """
    model = classifier.network
    layer_of(model, layer, (nn.ReLU, nn.Sigmoid, nn.Tanh), "activation functions")
    kinds = (nn.ReLU, nn.Sigmoid, nn.Tanh)
    replaced = [name for name, each in model.layers.named_children() if isinstance(each, kinds)]
    label = int(run_with(classifier, image, {}).probabilities.argmax())
    return [_trial(classifier, image, layer, name, replaced if everywhere else [layer], label) for name in ACTIVATIONS]


def _trial(
    classifier: Classifier, image: Pixels, layer: str, name: str, replaced: list[str], label: int
) -> ActivationTrial:
    model, function = classifier.network, activation_layer(name)  # type: ignore[arg-type]
    below = list(model.layers.named_children())[: check_layer(model, layer) + 1]
    weights: dict[str, Tensor] = {}
    changed: dict[str, Step] = {each: function for each in replaced}
    for each, module in below:
        if isinstance(module, nn.Conv2d | nn.Linear | LocalConv):
            weights[each] = module.weight.detach().requires_grad_()
            changed[each] = _with_weight(module, weights[each])
    with torch.enable_grad():
        outcome = run_with(classifier, image, changed)
        score = list(outcome.outputs.values())[-1][0, label]
        found = torch.autograd.grad(score, list(weights.values()))
    values = outcome.outputs[layer].detach()[0].float()
    return ActivationTrial(
        name,
        values.cpu().contiguous().numpy(),
        float((values == 0).float().mean()),
        float((slope_at(name, values) < FLAT * LARGEST_SLOPE[name]).float().mean()),
        {each: float(gradient.norm()) for each, gradient in zip(weights, found, strict=True)},
        outcome.probabilities,
    )


def _with_weight(module: nn.Module, weight: Tensor) -> Step:
    return lambda x: functional_call(module, {"weight": weight}, (x,))


def slope_at(name: str, outputs: Tensor) -> Tensor:
    """The derivative of an activation function, from its output."""
    if name == "relu":
        return (outputs > 0).to(outputs.dtype)
    return outputs * (1 - outputs) if name == "sigmoid" else 1 - outputs.square()


# --- a convolution ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ConvolutionRow:
    """Everything that one unit of a convolution computes in one row of its feature map."""

    inputs: Floats  # (kernel height, padded width): what the kernel meets in the chosen channel, zeros at the border
    kernel: Floats  # (kernel height, kernel width): its weights for this channel
    products: Floats  # (columns, kernel height, kernel width)
    sums: Floats  # (columns, channels): the products added up, for each channel that the unit sees
    channels: tuple[int, ...]  # their numbers in the layer before
    bias: float
    values: Floats  # (columns,): all sums and the bias
    top: int  # the first row of the window, in rows of the input; negative in the border
    stride: int
    padding: int


def convolution_row(convolution: nn.Conv2d, x: Tensor, unit: int, row: int, channel: int) -> ConvolutionRow:
    """Computes one row of a feature map product by product.

    Args:
        x: the input of the layer: (channels, H, W).
        unit: the output channel.
        row: of the feature map.
        channel: position among the channels that the unit sees, whose products are kept.
    """
    height, width = convolution.kernel_size
    stride, padding = int(convolution.stride[0]), int(convolution.padding[0])
    per_group = convolution.in_channels // convolution.groups
    first = unit // (convolution.out_channels // convolution.groups) * per_group
    padded = F.pad(x[first : first + per_group].float(), (padding,) * 4)
    strip = padded[:, row * stride : row * stride + height]
    windows = strip.unfold(2, width, stride).permute(2, 0, 1, 3)  # (columns, channels, height, width)
    weight = convolution.weight[unit].detach().float()
    products = windows * weight
    bias = 0.0 if convolution.bias is None else float(convolution.bias[unit].detach())
    sums = products.sum((2, 3))
    return ConvolutionRow(
        strip[channel].cpu().numpy(),
        weight[channel].cpu().numpy(),
        products[:, channel].cpu().numpy(),
        sums.cpu().numpy(),
        tuple(range(first, first + per_group)),
        bias,
        (sums.sum(1) + bias).cpu().numpy(),
        row * stride - padding,
        stride,
        padding,
    )


# --- pooling ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pooled:
    """A feature map after max pooling, and where each maximum came from."""

    size: int  # of the window; it moves by 2
    values: Floats  # (H', W')
    rows: NDArray[np.int64]  # (H', W'), of the maxima in the map
    columns: NDArray[np.int64]

    @property
    def sources(self) -> int:
        """How many different places of the map the maxima come from; windows that overlap can share one."""
        return len(set(zip(self.rows.ravel().tolist(), self.columns.ravel().tolist(), strict=True)))


def pooled(values: Floats, size: int, ceil: bool) -> Pooled:
    """Takes the maximum of each `size` x `size` window of a map (H, W), with stride 2; the first one of equal ones.

    Args:
        ceil: whether a window that reaches over the border counts.
    """
    x = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
    # A map that is smaller than the window is one window.
    down, right = (max(0, size - side) for side in values.shape)
    x = F.pad(x, (0, right, 0, down), value=-torch.inf)
    maxima, places = F.max_pool2d(x, size, stride=2, ceil_mode=ceil, return_indices=True)
    rows, columns = np.divmod(places[0, 0].numpy(), x.shape[-1])
    return Pooled(size, maxima[0, 0].numpy(), rows, columns)


# --- local response normalization ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Normalized:
    """Local response normalization of one unit at one position, with its neighbors."""

    first: int  # number of the first channel of `before`: that of the tower
    before: Floats  # (channels of the tower,), at the position
    after: Floats
    neighbors: tuple[int, int]  # the first and last channel whose squares count
    squares: float  # the sum of their squares
    divisor: float


def normalized(norm: LocalResponseNorm, x: Tensor, unit: int, row: int, column: int) -> Normalized:
    """Normalizes one position of the input (channels, H, W) of a layer, and says what one unit there is divided by."""
    per_tower = len(x) // norm.towers
    first = unit // per_tower * per_tower
    position = x[:, row : row + 1, column : column + 1].float()
    after = norm(position[None])[0, first : first + per_tower, 0, 0]
    # As in 2012, the window of an even size has one channel more before the unit than after it.
    low = max(first, unit - norm.size // 2)
    high = min(first + per_tower, unit - norm.size // 2 + norm.size) - 1
    squares = float(position[low : high + 1].square().sum())
    divisor = (norm.k + norm.alpha / norm.size * squares) ** norm.beta
    before = position[first : first + per_tower, 0, 0]
    return Normalized(first, before.cpu().numpy(), after.cpu().numpy(), (low, high), squares, float(divisor))

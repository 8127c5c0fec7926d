"""What a page shows of a network at work: its plan with the towers, the ten crops, maps as bytes, what a unit reads."""

import base64
from typing import Any

import numpy as np
import torch
from torch import nn

from alexnet.data.images import Pixels
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.interpret.features import Floats, layer_values
from alexnet.models.layers import Dropout, LocalConv, LocalResponseNorm, PadRightBottom, TowerLinear, WithinMapNorm
from alexnet.models.network import Network, check_layer

SLICES = 12  # input maps that a unit's kernel is shown for, the strongest ones
NORMS = (LocalResponseNorm, WithinMapNorm, nn.BatchNorm2d, nn.BatchNorm1d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
CONVOLUTIONS = (nn.Conv2d, LocalConv)


def kind_of(layer: nn.Module) -> str:
    """One word for a layer: conv, fc, pool, norm, activation, or pass for one that only reshapes, pads or drops."""
    if isinstance(layer, CONVOLUTIONS):
        return "conv"
    if isinstance(layer, nn.Linear):
        return "fc"
    if isinstance(layer, POOLS):
        return "pool"
    if isinstance(layer, NORMS):
        return "norm"
    return "pass" if isinstance(layer, nn.Flatten | Dropout | PadRightBottom) else "activation"


def plan(model: Network) -> list[dict[str, Any]]:
    """The layers in order: name, kind, shape of the output for one picture, towers, and whether these meet in it.

    Two towers meet in a layer when its units see the maps of both. The last layer belongs to no tower.
    """
    towers = int(getattr(model.config, "towers", 1))
    size, device = model.config.crop_size, model.input_mean.device
    model.eval()
    with torch.inference_mode():
        shapes = model.activations(torch.zeros(1, 3, size, size, device=device))
    last = [name for name, layer in model.layers.named_children() if isinstance(layer, nn.Linear)][-1]
    out, weighted = [], 0
    for name, layer in model.layers.named_children():
        kind = kind_of(layer)
        apart = (isinstance(layer, nn.Conv2d) and layer.groups > 1) or isinstance(layer, TowerLinear)
        out.append(
            {
                "name": name,
                "kind": kind,
                "shape": list(shapes[name].shape[1:]),
                "towers": 1 if name == last else towers,
                "meets": kind in ("conv", "fc") and towers > 1 and weighted > 0 and not apart,
                "parameters": sum(p.numel() for p in layer.parameters()),
            }
        )
        weighted += kind in ("conv", "fc")
    return out


def maps_of(classifier: Classifier, picture: Pixels, layer: str) -> Floats:
    """What a layer gives for the central view of a prepared picture: (units, H, W), with 1 x 1 for units that are none.

    Raises:
        UsageError: there is no such layer.
    """
    values = layer_values(classifier, picture, layer)
    return np.ascontiguousarray(values.reshape(-1, 1, 1) if values.ndim == 1 else values)


def as_bytes(values: Floats) -> dict[str, Any]:
    """Units as signed bytes for a page: {"shape", "limits", "values"}; value = byte / 127 * limit of its unit.

    Args:
        values: (units, ...) finite.

    Returns:
        limits: the largest |value| of each unit; values: base64 of int8 in the order of `values`.
    """
    flat = values.reshape(len(values), -1).astype(np.float64)
    limits = np.abs(flat).max(1) if flat.size else np.zeros(len(flat))
    levels = np.rint(127 * flat / np.where(limits > 0, limits, 1)[:, None]).astype(np.int8)
    return {
        "shape": list(values.shape),
        "limits": [float(f"{limit:.6g}") for limit in limits],
        "values": base64.b64encode(levels.tobytes()).decode(),
    }


def unit_kernel(model: Network, layer: str, unit: int) -> dict[str, Any] | None:
    """The kernel of a unit of a convolution, or of the convolution whose maps a norm, pooling or ReLU passes on.

    Returns:
        {"layer", "bias", "inputs", "of", ...as_bytes}: of conv1 its channels together, (channels, h, w), as the pixels
        go in; of others the slices for the `SLICES` input maps with the largest weights, numbered in `inputs`, of `of`
        in all. None for fully connected layers and for layers whose filters differ from place to place.

    Raises:
        UsageError: there is no such layer or unit.
    """
    layers = list(model.layers.named_children())[: check_layer(model, layer) + 1]
    convolutions = [i for i, (_, each) in enumerate(layers) if isinstance(each, nn.Conv2d)]
    if not convolutions or any(isinstance(each, nn.Flatten | LocalConv) for _, each in layers[convolutions[-1] :]):
        return None
    name, convolution = layers[convolutions[-1]]
    assert isinstance(convolution, nn.Conv2d)
    weights = convolution.weight.detach().float().cpu().numpy()
    check_unit(layer, unit, len(weights))
    own = weights[unit]
    first = len(convolutions) == 1
    if first:
        scale = model.input_scale.detach().float().cpu().numpy().reshape(3, 1, 1)
        own = own * (scale if len(own) == 3 else scale.mean())
        inputs = list(range(len(own)))
    else:
        strength = np.sqrt((own.astype(np.float64) ** 2).sum((1, 2)))
        chosen = np.argsort(-strength, kind="stable")[:SLICES]
        group = unit // (len(weights) // convolution.groups)
        inputs = [int(i) + group * len(own) for i in chosen]
        own = own[chosen]
    bias = None if convolution.bias is None else float(convolution.bias.detach()[unit])
    count = len(weights[unit])
    return {"layer": name, "bias": bias, "inputs": inputs, "of": count, "first": first, **as_bytes(own)}


def check_unit(layer: str, unit: int, units: int) -> None:
    """Refuses a unit that a layer does not have.

    Raises:
        UsageError: E287.
    """
    if not 0 <= unit < units:
        raise UsageError(f"{layer} has no unit {unit}", fix=f"Its units are 0 to {units - 1}.", code="E287")

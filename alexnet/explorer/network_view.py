"""Describes a network for the page: its layers and towers, its feature maps as bytes, the kernel of a unit."""

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

KERNEL_SLICES = 12  # slices of a kernel that are shown, those with the largest weights
NORMS = (LocalResponseNorm, WithinMapNorm, nn.BatchNorm2d, nn.BatchNorm1d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
CONVOLUTIONS = (nn.Conv2d, LocalConv)


def layer_kind(layer: nn.Module) -> str:
    """The kind of a layer: conv, fc, pool, norm, activation, or pass for flattening, padding and dropout."""
    if isinstance(layer, CONVOLUTIONS):
        return "conv"
    if isinstance(layer, nn.Linear):
        return "fc"
    if isinstance(layer, POOLS):
        return "pool"
    if isinstance(layer, NORMS):
        return "norm"
    return "pass" if isinstance(layer, nn.Flatten | Dropout | PadRightBottom) else "activation"


def describe_layers(model: Network) -> list[dict[str, Any]]:
    """The layers in order: name, kind, output shape for one image, towers, whether the towers meet in it, parameters.

    The towers meet in a layer if its units see the feature maps of both. The last layer belongs to no tower.
    """
    towers = int(getattr(model.config, "towers", 1))
    size, device = model.config.crop_size, model.input_mean.device
    model.eval()
    with torch.inference_mode():
        shapes = model.activations(torch.zeros(1, 3, size, size, device=device))
    last = [name for name, layer in model.layers.named_children() if isinstance(layer, nn.Linear)][-1]
    layers, weighted = [], 0
    for name, layer in model.layers.named_children():
        kind = layer_kind(layer)
        per_tower = (isinstance(layer, nn.Conv2d) and layer.groups > 1) or isinstance(layer, TowerLinear)
        layers.append(
            {
                "name": name,
                "kind": kind,
                "shape": list(shapes[name].shape[1:]),
                "towers": 1 if name == last else towers,
                "meets": kind in ("conv", "fc") and towers > 1 and weighted > 0 and not per_tower,
                "parameters": sum(p.numel() for p in layer.parameters()),
            }
        )
        weighted += kind in ("conv", "fc")
    return layers


def feature_maps(classifier: Classifier, image: Pixels, layer: str) -> Floats:
    """The output of a layer for the central view of a prepared image: (channels, H, W); a flat layer has H = W = 1.

    Raises:
        UsageError: there is no such layer.
    """
    values = layer_values(classifier, image, layer)
    return np.ascontiguousarray(values.reshape(-1, 1, 1) if values.ndim == 1 else values)


def as_bytes(values: Floats) -> dict[str, Any]:
    """Values as signed bytes for the page: {"shape", "limits", "values"}; value = byte / 127 * limit of its unit.

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
    """The kernel of a channel: of a convolutional layer, or of the last one before a norm, pooling or activation.

    Returns:
        {"layer", "bias", "inputs", "of", "first", ...as_bytes}. The kernel of the first convolutional layer is whole,
        (channels, h, w), scaled to pixels 0..255; of another one it has the `KERNEL_SLICES` slices with the largest
        weights, whose input channels are in `inputs`, out of `of`. None for fully connected layers and for locally
        connected ones, whose kernels differ from position to position.

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
    kernel = weights[unit]
    first = len(convolutions) == 1
    if first:
        scale = model.input_scale.detach().float().cpu().numpy().reshape(3, 1, 1)
        kernel = kernel * (scale if len(kernel) == 3 else scale.mean())
        inputs = list(range(len(kernel)))
    else:
        strength = np.sqrt((kernel.astype(np.float64) ** 2).sum((1, 2)))
        chosen = np.argsort(-strength, kind="stable")[:KERNEL_SLICES]
        group = unit // (len(weights) // convolution.groups)
        inputs = [int(i) + group * len(kernel) for i in chosen]
        kernel = kernel[chosen]
    bias = None if convolution.bias is None else float(convolution.bias.detach()[unit])
    count = len(weights[unit])
    return {"layer": name, "bias": bias, "inputs": inputs, "of": count, "first": first, **as_bytes(kernel)}


def check_unit(layer: str, unit: int, units: int) -> None:
    """Refuses a unit that a layer does not have.

    Raises:
        UsageError: E287.
    """
    if not 0 <= unit < units:
        raise UsageError(f"{layer} has no unit {unit}", fix=f"Its units are 0 to {units - 1}.", code="E287")

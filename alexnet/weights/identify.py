"""Finds out which network a file of weights holds, and builds that network with these weights.

The order of the colors, the mean and the scale that the network was trained with go into the first layer and the input
buffers, so the same image gives the same answer as in the framework that wrote the file.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from alexnet.errors import AlexNetError, DataError, UntrustedFileError
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.recipes.config import AlexNetConfig, LeNetConfig, NormPlace
from alexnet.recipes.named import ALEXNET_D2L, ALEXNET_OWT, CAFFE, CAFFENET, LENET
from alexnet.recipes.recipe import Recipe, from_json
from alexnet.weights.read import StoredLayer, StoredNetwork, read_stored

# Gray levels of red, green and blue over ILSVRC-2012: the mean of Caffe's ilsvrc_2012_mean.npy, and the mean and
# standard deviation of torchvision.
CAFFE_MEAN = (122.67891434, 116.66876762, 104.00698793)
TORCHVISION_MEAN = (123.675, 116.28, 103.53)
TORCHVISION_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Identified:
    """A network that was read from a file."""

    kind: str  # of the file
    variant: str  # name of the recipe whose network it is
    recipe: Recipe  # this recipe with the configuration of the network in the file
    network: Network  # with the weights, in evaluation mode
    class_names: tuple[str, ...]
    notes: tuple[str, ...]  # what was converted, and what was assumed because the file does not say it

    def __repr__(self) -> str:
        counted = f"{len(self.class_names)} classes, {len(self.notes)} notes"
        return f"Identified({self.kind}: the network of {self.variant}, {counted})"


def identify(path: Path) -> Identified:
    """Builds the network from a file of trained weights: of alexnet, PyTorch, Caffe, NumPy or ONNX.

    Raises:
        UsageError: there is no such file.
        UntrustedFileError: it is damaged, or it does more than hold weights.
        DataError: it is something else, or its layers fit no known network; the message says how they differ.
    """
    stored = read_stored(path)
    if "recipe" in stored.metadata:
        return _from_our_file(path, stored)
    convolutions = [layer for layer in stored.layers if layer.weight.ndim == 4]
    linear = [layer for layer in stored.layers if layer.weight.ndim == 2]
    ordered = [*convolutions, *linear]
    config: AlexNetConfig | LeNetConfig
    if len(convolutions) == 5 and len(linear) == 3:
        base, config, notes = _alexnet(stored, convolutions, linear)
    elif len(convolutions) == 2 and linear:
        base, config, notes = _lenet(stored, convolutions, linear)
    else:
        shapes = ", ".join(f"{layer.name} {_shape(layer.weight.shape)}" for layer in stored.layers[:12])
        raise DataError(
            f"{path} ({stored.kind}) is neither an AlexNet nor a LeNet: it has {len(convolutions)} convolutional and "
            f"{len(linear)} fully connected layers; an AlexNet has 5 and 3, a LeNet 2 and at least 1",
            fix=f"Give a file of an AlexNet or a LeNet. The layers of this file: {shapes or 'none'}.",
            code="E347",
        )
    network = build_model(config)
    misfits = _misfits(network, ordered)
    if misfits:
        raise DataError(
            f"{path} ({stored.kind}) is nearest to {base.name}, but " + "; ".join(misfits),
            fix="alexnet summary " + base.name + " shows the layers that it must have.",
            code="E347",
        )
    # The networks of Caffe take blue, green, red, even if the file was converted to another format.
    bgr = bool(stored.facts.get("bgr", base in (CAFFE, CAFFENET)))
    notes += _copy_weights(network, ordered, bgr)
    notes += _set_input(network, stored, base, bgr)
    # A LeNet was trained on images of exactly its input size, not on crops of larger ones.
    size = config.crop_size if base is LENET else max(base.prepare_size, config.crop_size)
    recipe = replace(base, model=config, prepare_size=size)
    return Identified(stored.kind, base.name, recipe, network.eval(), class_names_of(config.num_classes), tuple(notes))


def class_names_of(count: int) -> tuple[str, ...]:
    """Returns class names for a file that has none: those of ImageNet for 1,000 outputs, otherwise 0, 1, 2 ..."""
    if count == 1000:
        from torchvision.models import AlexNet_Weights

        return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])
    return tuple(str(i) for i in range(count))


def _from_our_file(path: Path, stored: StoredNetwork) -> Identified:
    try:
        recipe = from_json(stored.metadata["recipe"])
        network = build_model(recipe.model)
        network.load_state_dict(safetensors.torch.load_file(path))
    except (ValueError, RuntimeError, AlexNetError, safetensors.SafetensorError) as error:
        raise UntrustedFileError(
            f"{path} does not hold the network that its header describes: {error}",
            fix="Save it again with alexnet, or restore it from a copy.",
            code="E613",
        ) from None
    names = tuple(json.loads(stored.metadata.get("classes", "[]"))) or class_names_of(recipe.model.num_classes)
    return Identified("alexnet", recipe.name, recipe, network.eval(), names, ())


def _alexnet(
    stored: StoredNetwork, convolutions: list[StoredLayer], linear: list[StoredLayer]
) -> tuple[Recipe, AlexNetConfig, list[str]]:
    """Chooses the recipe and configuration that follow from the shapes and the other facts in the file."""
    outs = [len(layer.weight) for layer in convolutions]
    towers = _groups(outs[0], convolutions[1])
    grid = math.isqrt(linear[0].weight.shape[1] // outs[4])
    notes: list[str] = []
    if towers > 1:
        base = CAFFENET if _order(stored.chain, 1) == "after-pool" else CAFFE
        if not stored.chain:
            notes += [f"the file does not say the order and constants of LRN and pooling: assumed as in {base.name}"]
    else:
        base = ALEXNET_D2L if grid == 5 or outs[0] == 96 else ALEXNET_OWT
    assert isinstance(base.model, AlexNetConfig)
    first = convolutions[0].weight
    changes: dict[str, Any] = {
        "num_classes": len(linear[2].weight),
        "in_channels": first.shape[1],
        "channels": tuple(outs),
        "fc_features": (len(linear[0].weight), len(linear[1].weight)),
        "towers": towers,
        "towers_talk": _groups(outs[1], convolutions[2]) == 1,
        "conv1_kernel": first.shape[2],
        "input_norm": "standardise" if base is ALEXNET_OWT else "unit" if base is ALEXNET_D2L else "mean-pixel",
    }
    conv1 = stored.facts.get("conv1", {})
    if "stride" in conv1:
        changes["conv1_stride"] = int(conv1["stride"])
    if "pad" in conv1:
        changes["conv1_padding"] = int(conv1["pad"])
    if "input" in stored.facts:
        changes["crop_size"] = int(stored.facts["input"][-1])
    if stored.kind == "ONNX" and not stored.facts.get("pool_ceil"):
        # ONNX rounds sizes down; graphs converted from Caffe, which rounds up, pad at the right and the bottom instead.
        pads = stored.facts.get("pool_pads", ((0, 0, 0, 0),) * 3)
        changes["pool_rounding"], _, changes["pool5_rounding"] = ("ceil" if any(p[2:]) else "floor" for p in pads)
    if stored.chain:
        changes["norm"] = "lrn" if "lrn" in stored.chain else "none"
        changes["norm1"], changes["norm2"] = _order(stored.chain, 1), _order(stored.chain, 2)
    if "lrn" in stored.facts:
        size, alpha, beta, k = stored.facts["lrn"]
        changes |= {"lrn_size": int(size), "lrn_alpha": float(alpha), "lrn_beta": float(beta), "lrn_k": float(k)}
    return base, replace(base.model, **changes), notes


def _lenet(
    stored: StoredNetwork, convolutions: list[StoredLayer], linear: list[StoredLayer]
) -> tuple[Recipe, LeNetConfig, list[str]]:
    outs = (len(convolutions[0].weight), len(convolutions[1].weight))
    side = int(stored.facts["input"][-1]) if "input" in stored.facts else 28
    grid = math.isqrt(linear[0].weight.shape[1] // outs[1])
    padding = next((p for p in (0, 2) if ((side + 2 * p - 4) // 2 - 4) // 2 == grid), 2)
    changes: dict[str, Any] = {}
    notes: list[str] = []
    if stored.chain:
        before_pool = stored.chain[: stored.chain.index("fc")] if "fc" in stored.chain else stored.chain
        activations = [op for op in stored.chain if op in ("relu", "sigmoid", "tanh")]
        changes["activation"] = activations[0] if activations else "relu"
        changes["conv_activation"] = any(op in ("relu", "sigmoid", "tanh") for op in before_pool)
        changes["pooling"] = "average" if "avgpool" in stored.chain else "max"
    else:
        notes += ["the file does not say the activation function and the pooling: assumed sigmoid and average pooling"]
    assert isinstance(LENET.model, LeNetConfig)
    config = replace(
        LENET.model,
        num_classes=len(linear[-1].weight),
        crop_size=side,
        channels=outs,
        fc_features=tuple(len(layer.weight) for layer in linear[:-1]),
        conv1_padding=padding,
        **changes,
    )
    return LENET, config, notes


def _groups(inputs: int, layer: StoredLayer) -> int:
    per_group = layer.weight.shape[1]
    return inputs // per_group if inputs % per_group == 0 else 1


def _order(chain: tuple[str, ...], number: int) -> NormPlace:
    """Returns where LRN is between convolution `number` and the next one."""
    starts = [i for i, op in enumerate(chain) if op == "conv"]
    part = chain[starts[number - 1] + 1 : starts[number]] if len(starts) > number else ()
    if "lrn" not in part:
        return "none"
    at = part.index("lrn")
    if "maxpool" in part[:at]:
        return "after-pool"
    return "after-activation" if "relu" in part[:at] else "before-activation"


def _layers_with_weights(network: Network) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    return [(n, m) for n, m in network.layers.named_children() if isinstance(m, nn.Conv2d | nn.Linear)]


def _misfits(network: Network, layers: list[StoredLayer]) -> list[str]:
    """Describes where the shapes in the file differ from those of the network."""
    misfits = []
    for (name, module), layer in zip(_layers_with_weights(network), layers, strict=True):
        if tuple(module.weight.shape) != layer.weight.shape:
            ours, theirs = _shape(tuple(module.weight.shape)), _shape(layer.weight.shape)
            misfits.append(f"{layer.name} is {theirs} where {name} is {ours}")
    return misfits


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


@torch.no_grad()
def _copy_weights(network: Network, layers: list[StoredLayer], bgr: bool) -> list[str]:
    """Copies the weights into the network; the first layer is reordered from blue, green, red to red, green, blue."""
    for (name, module), layer in zip(_layers_with_weights(network), layers, strict=True):
        weight = layer.weight[:, ::-1] if bgr and name == "conv1" and layer.weight.shape[1] == 3 else layer.weight
        module.weight.copy_(_tensor(weight))
        if module.bias is not None:
            module.bias.copy_(torch.zeros(len(weight)) if layer.bias is None else _tensor(layer.bias))
    return ["the input channels of conv1 were reordered from blue, green, red to red, green, blue"] if bgr else []


def _set_input(network: Network, stored: StoredNetwork, base: Recipe, bgr: bool) -> list[str]:
    """Sets the mean that is subtracted from the pixels and their scale; returns notes about what was assumed."""
    facts = stored.facts
    if base is ALEXNET_OWT:
        network.input_mean.copy_(_tensor(np.array(TORCHVISION_MEAN)).view(3, 1, 1))
        network.input_scale.copy_(1.0 / _tensor(np.array(TORCHVISION_STD)).view(3, 1, 1))
        return ["pixels are normalized with the mean and standard deviation of torchvision"]
    if base in (CAFFE, CAFFENET):
        given = facts.get("mean")
        mean = CAFFE_MEAN if given is None else given[::-1] if bgr else given
        network.input_mean.copy_(_tensor(np.array(mean)).view(3, 1, 1))
        network.input_scale.fill_(float(facts.get("scale", 1.0)))
        return [] if given is not None else ["the file has no mean: assumed the mean of ILSVRC-2012 that Caffe ships"]
    network.input_scale.fill_(float(facts.get("scale", 1.0 / 255.0)))
    return [] if "scale" in facts else ["the file does not say how pixels are scaled: assumed 0..1"]


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))

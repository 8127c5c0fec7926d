"""Which of our networks fits the shapes in a file of weights, and what has to be assumed because they do not say it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.errors import DataError
from alexnet.recipes.config import AlexNetConfig, CifarNetConfig, LeNetConfig, NormPlace
from alexnet.recipes.named import ALEXNET_D2L, ALEXNET_OWT, CAFFE, CAFFENET, LENET
from alexnet.recipes.named_small import CIFAR_18PCT, CIFAR_19PCT
from alexnet.recipes.recipe import Recipe
from alexnet.weights.draft import Draft
from alexnet.weights.pairing import damaged
from alexnet.weights.settings import Triple
from alexnet.weights.stored import StoredLayer, StoredNetwork, StoredNorm, folded

# Gray levels of red, green and blue over ILSVRC-2012: the mean of Caffe's ilsvrc_2012_mean.npy, and the mean and
# standard deviation of torchvision. CIFAR-10: the mean of its training images.
CAFFE_MEAN = (122.67891434, 116.66876762, 104.00698793)
TORCHVISION_MEAN = (123.675, 116.28, 103.53)
TORCHVISION_STD = (58.395, 57.12, 57.375)
CIFAR_MEAN = (125.307, 122.950, 113.865)

Pixels = tuple[Triple, Triple]  # what is subtracted from pixels 0..255, and what the rest is multiplied by
ZERO = (0.0, 0.0, 0.0)


def equal(value: float) -> Triple:
    """The same number for red, green and blue."""
    return value, value, value


TORCHVISION: Pixels = TORCHVISION_MEAN, (1 / TORCHVISION_STD[0], 1 / TORCHVISION_STD[1], 1 / TORCHVISION_STD[2])
UNIT: Pixels = ZERO, equal(1 / 255)
HALF: Pixels = equal(127.5), equal(1 / 127.5)  # Normalize(0.5, 0.5), of many tutorials
CAFFE_PIXELS: Pixels = CAFFE_MEAN, equal(1.0)

ACTIVATIONS = ("relu", "sigmoid", "tanh")
CAFFE_NAMES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def draft_of(path: Path, stored: StoredNetwork) -> Draft:
    """Chooses the network from the shapes and the other facts in the file.

    Raises:
        UntrustedFileError: E610, a layer has no weights, or the mean has neither one value nor three.
        DataError: E347, there are more or fewer layers than any of our networks has, or one output alone.
    """
    _refuse_damaged(path, stored)
    convolutions = [layer for layer in stored.layers if layer.weight.ndim == 4]
    linear = [layer for layer in stored.layers if layer.weight.ndim == 2]
    if convolutions and linear and len(linear[-1].weight) == 1:
        raise DataError(
            f"{path} ({stored.kind}) has one output, {linear[-1].name}, as for a sigmoid that tells two classes apart; "
            "the networks here have an output for each class, and of a single one they would be certain",
            fix="Save it with two outputs: in the last layer a row of zeros before its weights, and a 0 before its "
            "bias. The second output then has the probability that the sigmoid had.",
            code="E347",
        )
    if len(convolutions) == 5 and len(linear) == 3:
        return _alexnet(stored, convolutions, linear)
    if len(convolutions) == 2 and linear:
        return _lenet(stored, convolutions, linear)
    if len(convolutions) == 3 and linear and all(c.weight.shape[2] == 5 for c in convolutions):
        return _cifar(stored, convolutions, linear)
    shapes = ", ".join(f"{layer.name} {shape_words(layer.weight.shape)}" for layer in stored.layers[:12])
    raise DataError(
        f"{path} ({stored.kind}) is neither an AlexNet nor a LeNet: it has {len(convolutions)} convolutional and "
        f"{len(linear)} fully connected layers; an AlexNet has 5 and 3, a LeNet 2 and at least 1, a net for "
        "CIFAR-10 3 of 5 x 5 and at least 1",
        fix=f"Give a file of an AlexNet or a LeNet. The layers of this file: {shapes or 'none'}.",
        code="E347",
    )


def _refuse_damaged(path: Path, stored: StoredNetwork) -> None:
    """Refuses layers without weights, and a mean that belongs to no image."""
    for layer in stored.layers:
        if 0 in layer.weight.shape:
            raise damaged(path, f"{layer.name} is {shape_words(layer.weight.shape)}, without any weight")
    mean = stored.facts.get("mean")
    if mean is not None and len(mean) not in (1, 3):
        raise damaged(path, f"its mean has {len(mean)} values, not one or three")


def shape_words(shape: tuple[int, ...]) -> str:
    """Writes a shape for people: 96 x 3 x 11 x 11."""
    return " x ".join(map(str, shape))


def _alexnet(stored: StoredNetwork, convolutions: list[StoredLayer], linear: list[StoredLayer]) -> Draft:
    outs = [len(layer.weight) for layer in convolutions]
    towers = _groups(outs[0], convolutions[1])
    grid = math.isqrt(linear[0].weight.shape[1] // outs[4])
    caffe = _is_caffe(stored)
    if towers > 1:
        base = CAFFENET if _order(stored.chain, 1) == "after-pool" else CAFFE
    else:
        base = ALEXNET_D2L if grid == 5 or (outs[0] == 96 and grid != 6) else ALEXNET_OWT
    assert isinstance(base.model, AlexNetConfig)
    first = convolutions[0].weight
    pixels = UNIT if base is ALEXNET_D2L else TORCHVISION if not caffe else CAFFE_PIXELS
    changes: dict[str, Any] = {
        "num_classes": len(linear[2].weight),
        "in_channels": first.shape[1],
        "channels": tuple(outs),
        "fc_features": (len(linear[0].weight), len(linear[1].weight)),
        "towers": towers,
        "towers_talk": _groups(outs[1], convolutions[2]) == 1,
        "conv1_kernel": first.shape[2],
        "input_norm": "unit" if pixels is UNIT else "standardise" if pixels is TORCHVISION else "mean-pixel",
    }
    unknown = {"activation", "pooling", "rounding of the pooling", "normalization", "conv1", "input size"}
    unknown |= {"constants of the normalization", "k of LRN"}
    if base is ALEXNET_OWT:
        changes["pool5_grid"] = grid
    if not caffe:
        changes["pool_rounding"] = "floor"  # as everywhere but in Caffe and here
    if stored.facts.get("own"):
        changes["pool_rounding"] = "ceil"
    conv1 = stored.facts.get("conv1", {})
    if "stride" in conv1:
        changes |= {"conv1_stride": int(conv1["stride"]), "conv1_padding": int(conv1["pad"])}
        unknown -= {"conv1"}
    if conv1.get("pad_after"):
        changes["conv1_padding"] = "right-bottom"
    if "input" in stored.facts:
        changes["crop_size"] = int(stored.facts["input"][-1])
        unknown -= {"input size"}
    pads = stored.facts.get("pool_pads", ((0, 0, 0, 0),) * 3)
    if stored.kind == "ONNX" and not stored.facts.get("pool_ceil") and len(pads) == 3:
        # ONNX rounds sizes down; graphs converted from Caffe, which rounds up, pad at the right and the bottom instead.
        changes["pool_rounding"], _, changes["pool5_rounding"] = ("ceil" if any(p[2:]) else "floor" for p in pads)
    if stored.chain:
        unknown -= {"activation", "pooling", "rounding of the pooling", "normalization"}
        changes["norm"] = "lrn" if "lrn" in stored.chain else "none"
        changes["norm1"], changes["norm2"] = _order(stored.chain, 1), _order(stored.chain, 2)
        changes["activation"] = next((op for op in stored.chain if op in ACTIVATIONS), "relu")
        kernels = {kernel for kernel, _ in stored.facts.get("pools", ())}
        changes["pooling"] = "plain" if kernels == {2} else "overlapping"
    if "lrn" in stored.facts:
        size, alpha, beta, k = stored.facts["lrn"]
        changes |= {"lrn_size": int(size), "lrn_alpha": float(alpha), "lrn_beta": float(beta), "lrn_k": float(k)}
        unknown -= {"constants of the normalization", "k of LRN"}
    layers = [*convolutions, *linear]
    is_batch = all(layer.norm is not None for layer in layers[:7]) and layers[7].norm is None
    if is_batch and "lrn" not in stored.chain:
        changes["norm"] = "batch"
        unknown -= {"normalization"}
    elif any(layer.norm is not None for layer in layers):
        layers = [folded(layer) for layer in layers]
        changes["norm"] = changes.get("norm", "none")
        unknown -= {"normalization"}
    recipe = replace(base, model=replace(base.model, **changes))
    return _draft(stored, recipe, layers, unknown, pixels, bgr=caffe)


def _lenet(stored: StoredNetwork, convolutions: list[StoredLayer], linear: list[StoredLayer]) -> Draft:
    outs = (len(convolutions[0].weight), len(convolutions[1].weight))
    inputs = convolutions[0].weight.shape[1]
    grid = math.isqrt(linear[0].weight.shape[1] // outs[1])
    sides = [(32, 0), (32, 2), (28, 2), (28, 0)] if inputs == 3 else [(28, 0), (28, 2), (32, 0), (32, 2)]
    if "input" in stored.facts:
        sides = [(int(stored.facts["input"][-1]), padding) for padding in (0, 2)]
    if "pad" in stored.facts.get("conv1", {}):
        sides = [(side, int(stored.facts["conv1"]["pad"])) for side, _ in sides]
    fits = [place for place in sides if ((place[0] + 2 * place[1] - 4) // 2 - 4) // 2 == grid]
    side, padding = (fits or sides)[0]
    caffes = outs == (20, 50) and len(linear) == 2  # the shape of Caffe's LeNet, which has one activation
    is_book = inputs == 1 and all(layer.name.rpartition(".")[2].isdigit() for layer in convolutions) and outs == (6, 16)
    changes: dict[str, Any] = {"activation": "relu", "pooling": "max", "conv_activation": not caffes}
    unknown = {"activation", "conv activation", "pooling", "conv1", "input size"}
    if stored.chain:
        before_fc = stored.chain[: stored.chain.index("fc")] if "fc" in stored.chain else stored.chain
        changes["activation"] = next((op for op in stored.chain if op in ACTIVATIONS), "relu")
        changes["conv_activation"] = any(op in ACTIVATIONS for op in before_fc)
        changes["pooling"] = "average" if "avgpool" in stored.chain else "max"
        unknown -= {"activation", "conv activation", "pooling"}
    elif is_book:
        changes |= {"activation": "sigmoid", "pooling": "average"}
    if "pad" in stored.facts.get("conv1", {}):
        unknown -= {"conv1"}
    if "input" in stored.facts:
        unknown -= {"input size"}
    if len({place for place in fits if place[0] == side}) == 1:
        unknown -= {"conv1"} if "input size" not in unknown else set()
    pixels = HALF if inputs == 3 else (ZERO, equal(1 / 256)) if caffes else UNIT
    config = LeNetConfig(
        num_classes=len(linear[-1].weight),
        crop_size=side,
        in_channels=inputs,
        channels=outs,
        fc_features=tuple(len(layer.weight) for layer in linear[:-1]),
        conv1_padding=padding,
        input_norm="standardise" if inputs == 3 else "unit",
        **changes,
    )
    # It was trained on images of exactly its input size, not on crops of larger ones.
    recipe = replace(LENET, model=config, prepare_size=side)
    layers = [folded(layer) for layer in (*convolutions, *linear)]
    return _draft(stored, recipe, layers, unknown, pixels, bgr=inputs == 3 and _is_caffe(stored))


def _cifar(stored: StoredNetwork, convolutions: list[StoredLayer], linear: list[StoredLayer]) -> Draft:
    outs = tuple(len(layer.weight) for layer in convolutions)
    grid = math.isqrt(linear[0].weight.shape[1] // outs[-1])
    side = int(stored.facts["input"][-1]) if "input" in stored.facts else 8 * grid
    changes: dict[str, Any] = {}
    unknown = {"activation", "pooling", "normalization", "constants of the normalization"}
    unknown |= set() if "input" in stored.facts else {"input size"}
    base = CIFAR_18PCT if len(linear) == 1 and len(outs) == 3 else CIFAR_19PCT
    if stored.chain:
        unknown -= {"activation", "pooling", "normalization"}
        changes["activation"] = next((op for op in stored.chain if op in ACTIVATIONS), "relu")
        changes["pooling"] = "average" if "avgpool" in stored.chain else "max"
        kinds = {"map_norm": "within-map", "lrn": "across-maps"}
        changes["norm"] = next((kinds[op] for op in stored.chain if op in kinds), "none")
        for number in (1, 2):
            place = _order(stored.chain, number)
            changes[f"norm{number}"] = place if place in ("after-pool", "none") else "before-pool"
        base = CIFAR_18PCT if changes["norm"] != "none" else CIFAR_19PCT
    constants = stored.facts.get("map_norm") or stored.facts.get("lrn")
    if constants:
        changes |= {"norm_size": int(constants[0]), "norm_alpha": float(constants[1]), "norm_beta": float(constants[2])}
        unknown -= {"constants of the normalization"}
    assert isinstance(base.model, CifarNetConfig)
    config = replace(
        base.model,
        num_classes=len(linear[-1].weight),
        crop_size=side,
        channels=outs,
        fc_features=tuple(len(layer.weight) for layer in linear[:-1]),
        input_norm="mean-pixel",
        **changes,
    )
    layers = [folded(layer) for layer in (*convolutions, *linear)]
    # Caffe reads CIFAR-10 from its own files, whose pixels are red, green, blue.
    recipe = replace(base, model=config, prepare_size=side)
    return _draft(stored, recipe, layers, unknown, (CIFAR_MEAN, equal(1.0)), bgr=False)


def _draft(
    stored: StoredNetwork,
    recipe: Recipe,
    layers: list[StoredLayer],
    unknown: set[str],
    pixels: Pixels,
    bgr: bool,
) -> Draft:
    """Adds what is known or assumed of the pixels: mean, scale, order of the colors."""
    facts, colors = stored.facts, layers[0].weight.shape[1] == 3
    unknown |= {"mean", "scale"} | ({"channels"} if colors else set())
    unknown |= {"place of the batch normalization"} if facts.get("norms_by_name") else set()
    bgr = bgr and colors
    mean: Any
    mean, scale = pixels
    if "mean" in facts or "scale" in facts:
        given = facts.get("mean")
        if given is not None or not facts.get("mean_file"):
            mean = ZERO if given is None else equal(given[0]) if len(given) == 1 else tuple(given[:: -1 if bgr else 1])
            unknown -= {"mean"}
        scale = equal(float(facts.get("scale", 1.0)))
        unknown -= {"scale"}
    elif facts.get("mean_file"):
        scale = equal(1.0)
        unknown -= {"scale"}
    if "input_norm" in facts:
        raw = (ZERO, equal(1.0)) if unknown >= {"mean", "scale"} else (mean, scale)
        mean, scale = _after_norm(facts["input_norm"], raw, bgr)
        unknown -= {"mean", "scale"}
    own = facts.get("own", {})
    if "input_mean" in own:
        image = own["input_mean"]
        mean = image
        if image.shape[1] > 1 and image.shape[1:] == (recipe.model.crop_size,) * 2:
            recipe = replace(recipe, model=replace(recipe.model, input_norm="mean-image"))
        else:
            mean = image.mean((1, 2)).tolist()
        unknown -= {"mean", "channels"}
        bgr = False
    if "input_scale" in own:
        values = own["input_scale"].reshape(3, -1)[:, 0].tolist()
        scale = (float(values[0]), float(values[1]), float(values[2]))
        unknown -= {"scale"}
    recipe = replace(recipe, prepare_size=max(recipe.prepare_size, recipe.model.crop_size))
    return Draft(stored, recipe, tuple(layers), mean, scale, bgr, frozenset(unknown))


def _after_norm(norm: StoredNorm, before: tuple[Any, Triple], bgr: bool) -> tuple[list[float], Triple]:
    """Mean and scale of pixels that go through batch normalization, after those before, into the first layer."""
    mean, scale = before
    factors = norm.factor()
    offsets = norm.mean - np.divide(norm.shift, factors, out=np.zeros_like(factors), where=factors != 0)
    order = slice(None, None, -1 if bgr else 1)
    factor, offset = (np.broadcast_to(values[order].astype(float), 3) for values in (factors, offsets))
    first, second, third = (float(value) for value in np.array(scale) * factor)
    return (np.array(mean) + offset / np.array(scale)).tolist(), (first, second, third)


def _is_caffe(stored: StoredNetwork) -> bool:
    """Whether a file was written by Caffe, or seems to have been converted from it: its names, TensorFlow's layout."""
    if stored.kind == "ONNX":
        return not str(stored.facts.get("producer", "")).lower().startswith(("pytorch", "tf", "keras"))
    if stored.kind.startswith("Caffe") or stored.facts.get("rows_first"):
        return True
    return tuple(layer.name for layer in stored.layers) == CAFFE_NAMES


def _groups(inputs: int, layer: StoredLayer) -> int:
    per_group = layer.weight.shape[1]
    return inputs // per_group if inputs % per_group == 0 else 1


def _order(chain: tuple[str, ...], number: int) -> NormPlace:
    """Returns where LRN is between convolution `number` and the next one."""
    starts = [i for i, op in enumerate(chain) if op == "conv"]
    part = chain[starts[number - 1] + 1 : starts[number]] if len(starts) > number else ()
    norms = [i for i, op in enumerate(part) if op in ("lrn", "map_norm")]
    if not norms:
        return "none"
    before = part[: norms[0]]
    if "maxpool" in before or "avgpool" in before:
        return "after-pool"
    return "after-activation" if any(op in ACTIVATIONS for op in before) else "before-activation"

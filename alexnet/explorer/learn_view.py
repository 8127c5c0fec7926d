"""What the cards of the tab Learn show, as JSON: each idea on one image, with one ingredient changed."""

import base64
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from alexnet.data.augment import ColorStatistics
from alexnet.data.images import Pixels
from alexnet.explorer.network_view import as_bytes, check_unit, feature_maps, layer_kind
from alexnet.interpret import chances, ideas
from alexnet.interpret.contact_sheet import png_bytes
from alexnet.interpret.training_views import shifted_along, switched, views_of_epochs
from alexnet.models.layers import Dropout, LocalResponseNorm
from alexnet.models.network import Network, check_layer
from alexnet.serving.models import ServedModel

Json = dict[str, Any]
INPUT = "input"
SHOWN_MAPS = 12
BINS = 32
SHOWN_MASKS = 12
VIEWS = 12  # epochs whose views are shown
ACTIVATION_LAYERS = (nn.ReLU, nn.Sigmoid, nn.Tanh)
POOLING_LAYERS = (nn.MaxPool2d, nn.AvgPool2d)


def ideas_of(model: Network) -> dict[str, list[str]]:
    """For each idea the layers of a network on which it can be shown; none where the network does not have it."""
    layers = list(model.layers.named_children())

    def of(*kinds: type[nn.Module]) -> list[str]:
        return [name for name, layer in layers if isinstance(layer, kinds)]

    return {
        "activation": of(*ACTIVATION_LAYERS),
        "convolution": of(nn.Conv2d),
        "pooling": of(*POOLING_LAYERS),
        "lrn": of(LocalResponseNorm),
        "dropout": of(Dropout),
        "augmentation": ["input"],
        "towers": [each.layer for each in chances.exchanges(model)] if _towers(model) > 1 else [],
    }


def activation_view(served: ServedModel, image: Pixels, layer: str, everywhere: bool) -> Json:
    """ReLU, sigmoid and tanh in one layer, or in all: feature maps, their values, and the gradients below."""
    trials = ideas.activation_trials(served.classifier, image, layer, everywhere=everywhere)
    own = ideas.layer_of(served.model, layer, ACTIVATION_LAYERS, "activation functions")
    first = trials[0].values.reshape(len(trials[0].values), -1)
    units = np.argsort(-np.abs(first).max(1), kind="stable")[:SHOWN_MAPS]
    shown = [{**_trial(served, each), "maps": _maps(each.values[units])} for each in trials]
    return {"layer": layer, "own": type(own).__name__.lower(), "units": units.tolist(), "trials": shown}


def convolution_view(served: ServedModel, image: Pixels, layer: str, unit: int | None, row: int, channel: int) -> Json:
    """One row of a feature map, product by product; a row or channel beyond the last is the last.

    Args:
        unit: None for the one with the largest value.
    """
    module = ideas.layer_of(served.model, layer, nn.Conv2d, "convolutions")
    assert isinstance(module, nn.Conv2d)
    maps = feature_maps(served.classifier, image, layer)
    unit = int(maps.max((1, 2)).argmax()) if unit is None else unit
    check_unit(layer, unit, module.out_channels)
    x, source = _input_of(served, image, layer)
    values = maps[unit]
    row, channel = min(row, len(values) - 1), min(channel, module.in_channels // module.groups - 1)
    found = ideas.convolution_row(module, x, unit, row, channel)
    return {
        "layer": layer,
        "unit": unit,
        "source": source,
        "input": as_bytes(x[[found.channels[channel]]].numpy()),
        "map": _numbers(values),
        "row": row,
        "channel": channel,
        "channels": list(found.channels),
        "top": found.top,
        "stride": found.stride,
        "padding": found.padding,
        "bias": _short(found.bias),
        **{each: _numbers(getattr(found, each)) for each in ("inputs", "kernel", "products", "sums", "values")},
    }


def pooling_view(served: ServedModel, image: Pixels, layer: str, unit: int | None) -> Json:
    """A feature map before pooling, after windows of 3 x 3 and of 2 x 2, and the answer with either in the network.

    Args:
        unit: None for the one with the largest value.
    """
    module = ideas.layer_of(served.model, layer, POOLING_LAYERS, "pooling")
    x, source = _input_of(served, image, layer)
    unit = int(x.amax((1, 2)).argmax()) if unit is None else unit
    check_unit(layer, unit, len(x))
    ceil = bool(getattr(module, "ceil_mode", False))
    own = getattr(module, "kernel_size", None) if isinstance(module, nn.MaxPool2d) else None
    ways = []
    for size in (3, 2):
        found = ideas.pooled(x[unit].numpy(), size, ceil)
        way = {"size": size, "own": own == size, "sources": found.sources}
        way |= {"values": _numbers(found.values), "rows": found.rows.tolist(), "columns": found.columns.tolist()}
        ways.append({**way, "answer": _pooled_answer(served, image, layer, size, ceil)})
    return {
        "layer": layer,
        "unit": unit,
        "units": len(x),
        "source": source,
        "average": isinstance(module, nn.AvgPool2d),
        "input": _numbers(x[unit].numpy()),
        "ways": ways,
    }


def lrn_view(
    served: ServedModel,
    image: Pixels,
    layer: str,
    unit: int | None,
    place: tuple[int | None, int | None],
    constants: Mapping[str, float | None],
) -> Json:
    """One unit at one position, normalized by its neighbors; by default the largest value of the layer's input.

    Args:
        constants: size, alpha, beta and k; None for those of the layer.
    """
    own = ideas.layer_of(served.model, layer, LocalResponseNorm, "local response normalization")
    assert isinstance(own, LocalResponseNorm)
    x, source = _input_of(served, image, layer)
    unit = int(x.amax((1, 2)).argmax()) if unit is None else unit
    check_unit(layer, unit, len(x))
    strongest = divmod(int(x[unit].argmax()), x.shape[2])
    row, column = (
        best if given is None else min(given, count - 1)
        for given, best, count in zip(place, strongest, x.shape[1:], strict=True)
    )
    chosen = {key: getattr(own, key) if value is None else value for key, value in constants.items()}
    norm = LocalResponseNorm(int(chosen["size"]), chosen["alpha"], chosen["beta"], chosen["k"], own.towers)
    found = ideas.normalized(norm, x, unit, row, column)
    changes: dict[str, Mapping[str, ideas.Step]] = {"own": {}, "changed": {layer: norm}, "off": {layer: _as_it_is}}
    outcomes = {way: ideas.run_with(served.classifier, image, change) for way, change in changes.items()}
    return {
        "layer": layer,
        "source": source,
        "unit": unit,
        "units": len(x),
        "row": row,
        "column": column,
        "own": {key: getattr(own, key) for key in constants},
        "constants": chosen,
        "first": found.first,
        "neighbors": list(found.neighbors),
        "squares": _short(found.squares),
        "divisor": _short(found.divisor),
        "before": _numbers(found.before),
        "after": _numbers(found.after),
        "maps": {
            way: _numbers(outcomes[way].outputs[layer][0, unit].detach().float().cpu().numpy())
            for way in ("off", "changed")
        },
        "answers": {way: _top(served, each.probabilities) for way, each in outcomes.items()},
    }


def dropout_view(served: ServedModel, image: Pixels, share: float | None, seed: int, masks: int) -> Json:
    """The answers under many masks, some of these masks, and the answer with the scaling of test time."""
    found = chances.dropout_trial(served.classifier, image, share=share, masks=max(masks, SHOWN_MASKS), seed=seed)
    best = int(found.at_test.argmax())
    return {
        "share": found.share,
        "own": max(each.p for each in served.model.layers if isinstance(each, Dropout)),
        "scales_at_test": found.scales_at_test,
        "masks": len(found.probabilities),
        "class": served.class_names[best],
        "agree": int((found.probabilities.argmax(1) == best).sum()),
        "probabilities": _numbers(found.probabilities[:, best]),
        "mean": _top(served, found.probabilities.mean(0)),
        "mean_of_class": _short(float(found.probabilities[:, best].mean())),
        "at_test": _top(served, found.at_test),
        "winners": [served.class_names[int(each)] for each in found.probabilities[:SHOWN_MASKS].argmax(1)],
        "kept": {
            layer: {"units": kept.shape[1], "masks": [_bits(each) for each in kept[:SHOWN_MASKS]]}
            for layer, kept in found.kept.items()
        },
    }


def augmentation_view(
    served: ServedModel,
    image: Pixels,
    colors: ColorStatistics | None,
    sample: int,
    switches: Mapping[str, bool],
    axes: list[float],
) -> Json:
    """The views of the image in the first epochs, as the function of training makes them, and chosen color noise.

    Args:
        colors: None if those of the training images are not there; then there is no color noise.
        sample: the position of the image in the training split.
        switches: crop, flip and noise.
        axes: for `shifted_along`.
    """
    recipe, size = served.run.recipe, served.model.config.crop_size
    plain = ColorStatistics(served.model.input_mean.detach().float().cpu(), np.zeros(3), np.eye(3))
    noise = switches["noise"] and colors is not None
    augment = switched(recipe.augment, crop=switches["crop"], flip=switches["flip"], noise=noise)
    views = views_of_epochs(image, recipe, augment, colors or plain, sample=sample, epochs=VIEWS)
    margin = image.shape[0] - size
    return {
        "views": [_png(each) for each in views],
        "shifted": _png(shifted_along(image, size, recipe.augment, colors or plain, axes)),
        "different": len({each.tobytes() for each in views}),
        "positions": (margin + 1) ** 2 if augment.view == "crop" else None,
        "view": augment.view,
        "margin": margin,
        "size": image.shape[0],
        "crop": size,
        "coefficient": augment.color_noise,
        "colors": colors is not None,
        "stdevs": [] if colors is None else [_short(float(each)) for each in colors.stdevs[::-1]],
        "vectors": [] if colors is None else _numbers(colors.vectors[:, ::-1].T),
    }


def towers_view(served: ServedModel, image: Pixels, cut: Collection[str]) -> Json:
    """What crosses between the towers, in bytes, and the answers with and without what is cut."""
    whole = chances.answer_with_cuts(served.classifier, image, ())
    left = chances.answer_with_cuts(served.classifier, image, cut)
    best = int(whole.argmax())
    return {
        "layers": [name for name, layer in served.model.layers.named_children() if layer_kind(layer) in ("conv", "fc")],
        "exchanges": [
            {"layer": each.layer, "values": each.values, "bytes": each.bytes, "to": each.to}
            for each in chances.exchanges(served.model)
        ],
        "towers": _towers(served.model),
        "cut": list(cut),
        "whole": _top(served, whole),
        "left": _top(served, left),
        "class": served.class_names[best],
        "before": _short(float(whole[best])),
        "after": _short(float(left[best])),
    }


def _towers(model: Network) -> int:
    return int(getattr(model.config, "towers", 1))


def _input_of(served: ServedModel, image: Pixels, layer: str) -> tuple[Tensor, str]:
    """What enters a layer for the central view: (channels, H, W), and the name of the layer that computes it."""
    before = list(served.model.layers.named_children())[: check_layer(served.model, layer)]
    if not before:
        return served.model.prepare_input(served.classifier.view(image))[0].float().cpu(), INPUT
    values = ideas.run_with(served.classifier, image, {}).outputs[before[-1][0]]
    source = next((name for name, each in reversed(before) if layer_kind(each) != "pass"), INPUT)
    return values[0].detach().float().cpu(), source


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _pooled_answer(served: ServedModel, image: Pixels, layer: str, size: int, ceil: bool) -> list[Json] | None:
    """The answer with windows of this size in the layer; None if its output then has another size."""
    x, _ = _input_of(served, image, layer)
    ways = (nn.MaxPool2d(size, 2, ceil_mode=ceil), dict(served.model.layers.named_children())[layer])
    if min(x.shape[1:]) < size or len({way(x[None]).shape for way in ways}) > 1:
        return None
    return _top(served, ideas.run_with(served.classifier, image, {layer: ways[0]}).probabilities)


def _trial(served: ServedModel, trial: ideas.ActivationTrial) -> Json:
    counts, edges = np.histogram(trial.values, BINS)
    return {
        "name": trial.name,
        "zero": trial.zero,
        "flat": trial.flat,
        "gradients": [{"layer": layer, "norm": _short(norm)} for layer, norm in trial.gradients.items()],
        "histogram": {"counts": counts.tolist(), "low": _short(float(edges[0])), "high": _short(float(edges[-1]))},
        "answer": _top(served, trial.probabilities),
    }


def _maps(values: ideas.Floats) -> Json:
    return as_bytes(values if values.ndim == 3 else values.reshape(len(values), 1, 1))


def _top(served: ServedModel, probabilities: ideas.Floats) -> list[Json]:
    return [{"name": each.name, "probability": each.probability} for each in served.classifier.top(probabilities, 3)]


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _numbers(values: Any) -> Any:
    """An array as nested lists, with the digits that are shown."""
    return [_numbers(each) for each in values] if np.ndim(values) else _short(float(values))


def _bits(kept: Any) -> str:
    return base64.b64encode(np.packbits(kept).tobytes()).decode()


def _png(pixels: Any) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()

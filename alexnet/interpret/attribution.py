"""Why a network answers a class for a picture: what hides it, what moves it, where it is seen.

| method    | what a pixel of the map says                                                    | source               |
|-----------|---------------------------------------------------------------------------------|----------------------|
| occlusion | how far the probability falls under a grey square, mean of those that cover it  | Zeiler, Fergus 2013  |
| saliency  | the largest slope of the logit among its channels                               | Simonyan et al. 2013 |
| grad-cam  | maps of the last convolution, weighted by the mean slope along each, if above 0 | Selvaraju et al 2016 |

All look at the central view, the one that one-view prediction sees, and give a map of its size.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data.images import Pixels
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier, ClassProbability
from alexnet.interpret.contact_sheet import enlarged, resized, sheet
from alexnet.models.fusion import run_layers
from alexnet.models.network import Network

Method = Literal["occlusion", "saliency", "grad-cam"]
METHODS: tuple[Method, ...] = ("occlusion", "saliency", "grad-cam")
Map = NDArray[np.float32]
PATCH_SHARE = 7  # a patch is a seventh of the view, so 32 of 224 pixels
BATCH = 64
WARM, COLD = np.array([215, 48, 20]), np.array([33, 102, 172])  # speaks for the class, speaks against it
SHEET_SIDE = 448


def explain(
    classifier: Classifier,
    image: Pixels,
    methods: Sequence[Method],
    *,
    label: int | None = None,
    patch: int | None = None,
) -> tuple[ClassProbability, list[Map]]:
    """What speaks for a class on one prepared image: the class explained, and a map (crop, crop) for each method.

    Args:
        label: the output to explain; by default the most probable one.
        patch: pixels a side of the square that occludes; by default a seventh of the view.
    """
    probabilities = classifier.probabilities(image[None])[0]
    chosen = int(probabilities.argmax()) if label is None else label
    explained = ClassProbability(chosen, classifier.class_names[chosen], float(probabilities[chosen]))
    view = classifier.view(image)
    return explained, [explain_class(classifier.network, view, chosen, each, patch=patch) for each in methods]


def explain_class(model: Network, view: Tensor, label: int, method: Method, *, patch: int | None = None) -> Map:
    """One of the three maps: (1, 3, crop, crop) pixels 0..255 to (crop, crop).

    Args:
        label: the output to explain.
        patch: pixels a side of the square that occludes; by default a seventh of the view.
    """
    model.eval()
    if method == "occlusion":
        side = patch or max(1, view.shape[-1] // PATCH_SHARE)
        return occlusion(model, view, label, patch=side, stride=max(1, side // 2))
    return saliency(model, view, label) if method == "saliency" else grad_cam(model, view, label)


@torch.inference_mode()
def occlusion(model: Network, view: Tensor, label: int, *, patch: int, stride: int) -> Map:
    """How much the probability of a class falls when a square is covered; negative where covering helps the class.

    The square takes every `stride`-th place, and the last one along each side whatever the stride. It is filled with
    the mean that the network subtracts, so that conv1 sees zeros; with 127.5 where it subtracts nothing.

    Args:
        patch: pixels a side of the square, at most the view.

    Returns:
        (H, W), each pixel the mean over all squares that cover it.

    Raises:
        UsageError: the square does not fit into the view.
    """
    height, width = view.shape[-2:]
    if not 1 <= patch <= min(height, width):
        raise UsageError(
            f"a square of {patch} pixels does not fit into a view of {height} x {width}",
            fix="Choose --patch between 1 and the side of the view.",
            code="E247",
        )
    places = [(top, left) for top in _steps(height, patch, stride) for left in _steps(width, patch, stride)]
    view = view.to(model.input_scale.dtype)
    fill = (
        model.input_mean.expand(3, height, width) if bool(model.input_mean.any()) else torch.full_like(view[0], 127.5)
    )
    whole = torch.softmax(model(view), 1)[0, label].item()
    total, times = np.zeros((height, width)), np.zeros((height, width))
    for start in range(0, len(places), BATCH):
        some = places[start : start + BATCH]
        covered = view.repeat(len(some), 1, 1, 1)
        for row, (top, left) in enumerate(some):
            here = (slice(None), slice(top, top + patch), slice(left, left + patch))
            covered[row][here] = fill[here]
        answers = torch.softmax(model(covered), 1)[:, label].double().cpu().numpy()
        for (top, left), answer in zip(some, answers, strict=True):
            total[top : top + patch, left : left + patch] += whole - answer
            times[top : top + patch, left : left + patch] += 1
    return (total / times).astype(np.float32)


def saliency(model: Network, view: Tensor, label: int) -> Map:
    """The largest |d logit / d pixel| of the three channels, per grey level: (H, W), >= 0."""
    pixels = view.detach().to(model.input_scale.dtype, copy=True).requires_grad_()
    (slope,) = torch.autograd.grad(model(pixels)[0, label], pixels)
    return slope[0].abs().amax(0).float().cpu().numpy()


def grad_cam(model: Network, view: Tensor, label: int) -> Map:
    """max(0, sum over maps of (mean d logit / d map) * map) of the last convolution, enlarged to (H, W).

    The maps are those that the convolution gives, before normalisation, pooling and non-linearity.
    """
    layers = list(model.layers)
    last = last_convolution(model) + 1
    maps = run_layers(layers[:last], model.prepare_input(view)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(run_layers(layers[last:], maps)[0, label], maps)
    weighted = (slope.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True).relu()
    large = F.interpolate(weighted, view.shape[-2:], mode="bilinear", align_corners=False)
    return large[0, 0].float().cpu().numpy()


def last_convolution(model: Network) -> int:
    """The place of the last convolution in the chain."""
    return max(i for i, layer in enumerate(model.layers) if isinstance(layer, nn.Conv2d))


def overlay(image: Pixels, heat: Map) -> Pixels:
    """A map over a greyed picture (H, W, 3): red speaks for the class, blue against it, the strongest is opaque."""
    strength = (np.abs(heat) / max(float(np.abs(heat).max()), 1e-30))[..., None]
    grey = image.mean(2, keepdims=True).repeat(3, 2) * 0.7 + 60
    color = np.where(heat[..., None] >= 0, WARM, COLD)
    return np.asarray(np.rint(grey + (color - grey) * 0.9 * strength).clip(0, 255), np.uint8)


def why_sheet(view: Tensor, maps: Sequence[Map]) -> Pixels:
    """The view and beside it an overlay for each map, at a size that can be looked at."""
    image = view[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    tiles = [image, *(overlay(image, heat) for heat in maps)]
    side = image.shape[0]
    times = max(1, SHEET_SIDE // side)
    shown = [enlarged(tile, times) if side <= 64 else resized(tile, max(side, SHEET_SIDE)) for tile in tiles]
    return sheet([shown], gap=8)


def _steps(length: int, patch: int, stride: int) -> list[int]:
    return sorted({*range(0, length - patch + 1, stride), length - patch})

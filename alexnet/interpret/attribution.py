"""Attribution: shows by three methods which pixels of an image make the network answer a class.

| method    | value of a pixel in the map                                                     | source               |
|-----------|---------------------------------------------------------------------------------|----------------------|
| occlusion | fall of the probability under a gray square, mean of all squares that cover it  | Zeiler, Fergus 2013  |
| saliency  | largest gradient of the logit among the three channels of the pixel             | Simonyan et al. 2013 |
| grad-cam  | last feature maps, each weighted by its mean gradient; negative sums become 0   | Selvaraju et al 2016 |

All three use the central view, which is also what one-view prediction uses, and return a map of its size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data.images import Pixels
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier, ClassProbability
from alexnet.interpret.contact_sheet import enlarged, resized, save_png, sheet
from alexnet.models.fusion import run_layers
from alexnet.models.network import Network
from alexnet.progress import ProgressCallback, silent
from alexnet.storage.files import free_name, refuse_to_replace

Method = Literal["occlusion", "saliency", "grad-cam"]
METHODS: tuple[Method, ...] = get_args(Method)
Map = NDArray[np.float32]
PATCH_SHARE = 7  # a patch is a seventh of the view: 32 of 224 pixels
BATCH = 64
NOTHING: dict[Method, str] = {  # what a map without any value above zero means
    "occlusion": "covering no part of the image lowers its probability",
    "saliency": "no pixel changes its score: the activations on the way are zero or saturated",
    "grad-cam": "the last convolutional layer holds no positive evidence for it, so the map is blank; occlusion and "
    "saliency do not depend on that layer",
}
WARM, COLD = np.array([215, 48, 20]), np.array([33, 102, 172])  # evidence for the class, evidence against it
SHEET_SIDE = 448


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which parts of one image speak for a class, by one or more methods."""

    explained: ClassProbability
    view: Pixels  # (crop, crop, 3), what the network saw
    maps: dict[Method, Map]  # (crop, crop) each, larger where the image speaks for the class

    @property
    def map(self) -> Map:
        """The map of the first method."""
        return next(iter(self.maps.values()))

    @property
    def blank(self) -> tuple[Method, ...]:
        """The methods whose map has no value above zero: nothing in it speaks for the class."""
        return tuple(method for method, heat in self.maps.items() if not float(heat.max()) > 0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a blank map means, a sentence for each."""
        return tuple(f"{method} of {self.explained.name}: {NOTHING[method]}" for method in self.blank)

    def sheet(self) -> Pixels:
        """The view and, beside it, an overlay for each map, enlarged for viewing."""
        return attribution_sheet(self.view, list(self.maps.values()))

    def save(self, out: str | Path | None = None, *, image: str | Path = "image") -> Path:
        """Writes the sheet as PNG; by default named after the image, with -why.png.

        Raises:
            UsageError: `out` exists.
            ResourceError: the file cannot be written.
        """
        if out is not None:
            refuse_to_replace(Path(out))
        target = Path(out) if out is not None else free_name(Path(f"{Path(image).stem}-why.png"))
        save_png(self.sheet(), target)
        return target

    def __repr__(self) -> str:
        name, probability = self.explained.name, self.explained.probability
        about = f"{name} {100 * probability:.1f} %: {', '.join(self.maps)} of {self.view.shape[0]} pixels"
        return f"Explanation({'; '.join((about, *self.notes))})"


def explain(
    classifier: Classifier,
    image: Pixels,
    methods: Sequence[Method],
    *,
    label: int | None = None,
    patch: int | None = None,
    progress: ProgressCallback = silent,
) -> Explanation:
    """Explains a class for one prepared image.

    Args:
        label: the output to explain; by default the most probable one.
        patch: side of the square that covers, in pixels; by default a seventh of the view.
        progress: told the number of squares of occlusion that were covered, and of all.
    """
    probabilities = classifier.probabilities(image[None])[0]
    chosen = int(probabilities.argmax()) if label is None else label
    explained = ClassProbability(chosen, classifier.class_names[chosen], float(probabilities[chosen]))
    view = classifier.view(image)
    network, temperature = classifier.network, classifier.temperature(1)
    maps = {
        each: explain_class(network, view, chosen, each, patch=patch, temperature=temperature, progress=progress)
        for each in methods
    }
    pixels = view[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Explanation(explained, pixels, maps)


def methods_of(name: str) -> tuple[Method, ...]:
    """Returns the methods that a name stands for: all of them for "all".

    Raises:
        UsageError: there is no such method.
    """
    if name == "all":
        return METHODS
    if name not in METHODS:
        raise UsageError(
            f"there is no method {name!r} of explaining", fix=f"Use {', '.join(METHODS)} or all.", code="E219"
        )
    return (name,)


def explain_class(
    model: Network,
    view: Tensor,
    label: int,
    method: Method,
    *,
    patch: int | None = None,
    temperature: float = 1.0,
    progress: ProgressCallback = silent,
) -> Map:
    """Computes one of the three maps: (1, 3, crop, crop) pixels 0..255 to (crop, crop).

    Args:
        label: the output to explain.
        patch: side of the square that covers, in pixels; by default a seventh of the view.
    """
    model.eval()
    if method == "occlusion":
        side = patch or max(1, view.shape[-1] // PATCH_SHARE)
        stride = max(1, side // 2)
        return occlusion(model, view, label, patch=side, stride=stride, temperature=temperature, progress=progress)
    return saliency(model, view, label) if method == "saliency" else grad_cam(model, view, label)


@torch.inference_mode()
def occlusion(
    model: Network,
    view: Tensor,
    label: int,
    *,
    patch: int,
    stride: int,
    temperature: float = 1.0,
    progress: ProgressCallback = silent,
) -> Map:
    """Measures how much the probability of a class falls under a covered square; negative where covering raises it.

    The square moves by `stride` pixels and is always placed at the end of each side too. It is filled with the mean
    that the network subtracts, so that conv1 sees zeros, or with 127.5 if the network subtracts no mean.

    Args:
        patch: side of the square in pixels, at most the side of the view.
        temperature: what the logits are divided by, as for every answer of the run.

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
    corners = [(top, left) for top in _positions(height, patch, stride) for left in _positions(width, patch, stride)]
    view = view.to(model.input_scale.dtype)
    fill = (
        model.input_mean.expand(3, height, width) if bool(model.input_mean.any()) else torch.full_like(view[0], 127.5)
    )
    uncovered = torch.softmax(model(view, check_range=False) / temperature, 1)[0, label].item()
    total, counts = np.zeros((height, width)), np.zeros((height, width))
    for start in range(0, len(corners), BATCH):
        batch = corners[start : start + BATCH]
        covered = view.repeat(len(batch), 1, 1, 1)
        for row, (top, left) in enumerate(batch):
            region = (slice(None), slice(top, top + patch), slice(left, left + patch))
            covered[row][region] = fill[region]
        probabilities = (
            torch.softmax(model(covered, check_range=False) / temperature, 1)[:, label].cpu().double().numpy()
        )
        for (top, left), probability in zip(batch, probabilities, strict=True):
            total[top : top + patch, left : left + patch] += uncovered - probability
            counts[top : top + patch, left : left + patch] += 1
        progress("covering the image", start + len(batch), len(corners))
    return (total / counts).astype(np.float32)


def saliency(model: Network, view: Tensor, label: int) -> Map:
    """Computes the largest |d logit / d pixel| of the three channels, per gray level: (H, W), >= 0."""
    pixels = view.detach().to(model.input_scale.dtype, copy=True).requires_grad_()
    (gradient,) = torch.autograd.grad(model(pixels, check_range=False)[0, label], pixels)
    return gradient[0].abs().amax(0).float().cpu().numpy()


def grad_cam(model: Network, view: Tensor, label: int) -> Map:
    """Computes max(0, sum over channels of (mean d logit / d channel) * channel), enlarged to (H, W).

    The channels are the feature maps of the last convolutional layer, before normalization, pooling and activation.
    """
    layers = list(model.layers)
    first_after = last_convolution(model) + 1
    feature_maps = run_layers(layers[:first_after], model.prepare_input(view)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(run_layers(layers[first_after:], feature_maps)[0, label], feature_maps)
    weighted = (gradient.mean((2, 3), keepdim=True) * feature_maps.detach()).sum(1, keepdim=True).relu()
    large = F.interpolate(weighted, view.shape[-2:], mode="bilinear", align_corners=False)
    return large[0, 0].float().cpu().numpy()


def last_convolution(model: Network) -> int:
    """Returns the index of the last convolutional layer in the network."""
    return max(i for i, layer in enumerate(model.layers) if isinstance(layer, nn.Conv2d))


def overlay(image: Pixels, heat: Map) -> Pixels:
    """Draws a map over a gray image (H, W, 3): red is evidence for the class, blue is evidence against it."""
    strength = (np.abs(heat) / max(float(np.abs(heat).max()), 1e-30))[..., None]
    gray = image.mean(2, keepdims=True).repeat(3, 2) * 0.7 + 60
    color = np.where(heat[..., None] >= 0, WARM, COLD)
    return np.asarray(np.rint(gray + (color - gray) * 0.9 * strength).clip(0, 255), np.uint8)


def attribution_sheet(view: Pixels, maps: Sequence[Map]) -> Pixels:
    """Shows the view (H, W, 3) and, beside it, an overlay for each map, enlarged for viewing."""
    tiles = [view, *(overlay(view, heat) for heat in maps)]
    side = view.shape[0]
    factor = max(1, SHEET_SIDE // side)
    shown = [enlarged(tile, factor) if side <= 64 else resized(tile, max(side, SHEET_SIDE)) for tile in tiles]
    return sheet([shown], gap=8)


def _positions(length: int, patch: int, stride: int) -> list[int]:
    return sorted({*range(0, length - patch + 1, stride), length - patch})

"""What color and shape alone say of an image, added to the logits of a trained network: two kernel classifiers.

The features are those of `alexnet.cues.pixels` in a form that changes smoothly with the pixels and that any runtime can
compute: a color histogram whose pixels are shared among neighboring cells, and HOG (Dalal and Triggs, CVPR 2005). The
classifiers are fitted by `alexnet.cues.mix`; nothing here is trained by steps.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 64  # pixels of the squares that are described
LEVELS = 8  # of each color channel
FEW = 4  # images whose pairs of shares, a megabyte each, stay in a processor's cache
GRID, CELLS, ORIENTATIONS = 32, 8, 9  # pixels of the gray square, cells a side, directions
CLIP = 0.2
SMALL = 1e-2  # a gradient of a tenth of a gray level, squared
DARK = 1.0  # gray level below which the root does not magnify differences, which may be rounding
EMPTY = 1e-6  # share of the pixels in a cell of the histogram that counts as none
COLOR, SHAPE = "color", "shape"
PREFIX = "cue."  # of its tensors among those of a network


def square(pixels: Tensor) -> Tensor:
    """Resizes views (N, 3, H, H) to (N, 3, 64, 64), float32 in 0..255."""
    size = (SIDE, SIDE)
    x = pixels.float()
    if x.shape[-1] != SIDE:
        x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
    return x.clamp(0, 255)


def color_features(squares: Tensor) -> Tensor:
    """Square roots of a color histogram: (N, 3, 64, 64) to (N, 512). Each pixel is shared among neighboring cells."""
    if torch.compiler.is_compiling():  # one graph for any number of images
        return _color_features(squares)
    return torch.cat([_color_features(few) for few in torch.split(squares, FEW)])


def _color_features(squares: Tensor) -> Tensor:
    centers = torch.arange(LEVELS, device=squares.device, dtype=squares.dtype).unsqueeze(-1)
    level = (squares.flatten(2) * (LEVELS / 256) - 0.5).clamp(0, LEVELS - 1)
    shares = (1 - (level.unsqueeze(2) - centers).abs()).clamp(min=0)  # (N, 3, 8, pixels): loops run along the pixels
    red, green, blue = shares.unbind(1)
    pairs = (green.unsqueeze(2) * blue.unsqueeze(1)).flatten(1, 2)  # (N, 64, pixels)
    histogram = torch.matmul(red, pairs.transpose(1, 2)).flatten(1) / level.shape[-1]
    return (histogram + EMPTY).sqrt()


def shape_features(squares: Tensor) -> Tensor:
    """Histograms of oriented gradients of the square root of the luma: (N, 3, 64, 64) to (N, 1764)."""
    luma = 0.299 * squares[:, :1] + 0.587 * squares[:, 1:2] + 0.114 * squares[:, 2:]  # ITU-R 601-2
    gray = (F.avg_pool2d(luma, SIDE // GRID) + DARK).sqrt()
    down = F.pad(gray[:, :, 2:] - gray[:, :, :-2], (0, 0, 1, 1))
    right = F.pad(gray[:, :, :, 2:] - gray[:, :, :, :-2], (1, 1, 0, 0))
    strength = (down * down + right * right + 1e-12).sqrt()
    # The share of direction k falls with the angle to it, to 0 at the neighboring ones; opposite directions are one.
    across = [math.pi * (k + 0.5) / ORIENTATIONS for k in range(ORIENTATIONS)]
    along = torch.cat([(right * math.cos(a) + down * math.sin(a)).abs() for a in across], 1) / strength
    edge = math.cos(math.pi / ORIENTATIONS)
    shares = ((along - edge) / (1 - edge)).clamp(min=0)
    cells = F.avg_pool2d(shares * strength, GRID // CELLS) * (GRID // CELLS) ** 2  # (N, 9, 8, 8)
    parts = [cells[:, :, a : a + CELLS - 1, b : b + CELLS - 1] for a in (0, 1) for b in (0, 1)]
    blocks = torch.cat(parts, 1)  # (N, 36, 7, 7)
    blocks = (blocks / (blocks.square().sum(1, keepdim=True) + SMALL).sqrt()).clamp(max=CLIP)
    return (blocks / (blocks.square().sum(1, keepdim=True) + SMALL).sqrt()).flatten(1)


PARTS = ("center", "anchors", "weights", "width")
FEATURES = {COLOR: color_features, SHAPE: shape_features}


class CueBranch(nn.Module):
    """Adds up what kernel classifiers say of views (N, 3, H, H) in 0..255: (N, classes).

    Args:
        tensors: for each cue `NAME.center` (features,), `NAME.anchors` (n, features) less the center, which keeps sums
            small, `NAME.weights` (n, classes) and `NAME.width` (), the factor of squared distances in the kernel.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        self.names = tuple(name for name in FEATURES if f"{name}.anchors" in tensors)
        for name in self.names:
            part = nn.Module()
            for key in PARTS:
                part.register_buffer(key, tensors[f"{name}.{key}"].clone())
            self.add_module(name, part)

    def forward(self, pixels: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
            squares = square(pixels)
            parts = [self._answers(name, FEATURES[name](squares)) for name in self.names]
            return torch.stack(parts).sum(0)

    def _answers(self, name: str, features: Tensor) -> Tensor:
        part = self.get_submodule(name)
        center, anchors, weights, width = (part.get_buffer(key) for key in PARTS)
        near = kernel(features - center, anchors, width)
        # Large terms cancel in this sum; other devices, such as a Mac's GPU, have no float64.
        exact = torch.float64 if near.device.type in ("cpu", "cuda") else torch.float32
        return torch.matmul(near.to(exact), weights.to(exact)).float()


def kernel(features: Tensor, anchors: Tensor, width: Tensor | float) -> Tensor:
    """The Gaussian kernel of features (N, D) and anchors (n, D): (N, n)."""
    squares = features.square().sum(1, keepdim=True) + anchors.square().sum(1)
    distances = (squares - 2 * torch.matmul(features, anchors.t())).clamp(min=0)
    return torch.exp(-width * distances)

"""The views of an image at test time: the central crop, the ten crops, and the class probabilities of each."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data.crops import as_batch, center_crop, shrink, ten_crop
from alexnet.errors import UsageError
from alexnet.kernels.precision import autocast, rounding
from alexnet.models.network import Network

CENTER = 2  # of the views that `ten_crop` cuts


def view_probabilities(network: Network, images: Tensor, views: int, precision: str = "float32") -> Tensor:
    """Computes the class probabilities of a batch: (N, 3, H, W) pixels 0..255 to (N, classes) float32.

    One view is the central crop. Ten views are the four corners, the center and their mirror images; their
    *probabilities* are averaged, not their logits ([code] src/worker.cu:150-177).
    """
    return crop_probabilities(network, images, views, precision).mean(1)


def crop_probabilities(network: Network, images: Tensor, views: int, precision: str = "float32") -> Tensor:
    """Computes the class probabilities of every view: (N, 3, H, W) pixels 0..255 to (N, V, classes) float32.

    The views are in the order of `ten_crop`. V is 1 or 10, or 2 if the crop leaves no margin: all five crops are then
    the same, and so are their mirror images.
    """
    crops = _crops(network, images, views)
    with rounding(images.device, precision), autocast(images.device, precision):
        logits: Tensor = network(crops.flatten(0, 1), check_range=False)
    return torch.softmax(logits.float(), dim=1).view(len(images), crops.shape[1], -1)


def probabilities_and_stages(
    network: Network, images: Tensor, views: int, precision: str = "float32"
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Computes what `view_probabilities` does, and what the network makes of the central view on the way.

    Returns:
        The class probabilities (N, classes), the pixels of the central view (N, 3, crop, crop), and what
        its stages end with, see `Network.stages`.
    """
    crops = _crops(network, images, views)
    count = crops.shape[1]
    with rounding(images.device, precision), autocast(images.device, precision):
        logits, maps = network.stages(crops.flatten(0, 1))
    probabilities = torch.softmax(logits.float(), dim=1).view(len(images), count, -1).mean(1)
    central = CENTER if count == 10 else 0
    return probabilities, crops[:, central], [each.float()[central::count] for each in maps]


def _crops(network: Network, images: Tensor, views: int) -> Tensor:
    """Cuts the views of a batch: (N, V, 3, crop, crop)."""
    size = network.config.crop_size
    images = shrink(images, network.config.test_size)
    crops = center_crop(images, size)[:, None] if views == 1 else ten_crop(images, size)
    return crops[:, ::5] if views > 1 and images.shape[-2:] == (size, size) else crops


def central_view(network: Network, images: NDArray[np.uint8]) -> Tensor:
    """Cuts the view of one-view evaluation from prepared images (N, size, size, 3): (N, 3, crop, crop), 0..255.

    Raises:
        UsageError: the images are smaller than the crop.
    """
    crop = network.config.crop_size
    check_size(network, images)
    batch = as_batch(images).to(network.input_mean.device)
    return center_crop(shrink(batch, network.config.test_size), crop)


def check_size(network: Network, images: NDArray[np.uint8]) -> None:
    """Refuses prepared images (N, size, size, 3) that are smaller than the crop of a network.

    Raises:
        UsageError: E229, they are smaller.
    """
    if images.shape[1] < network.config.crop_size:
        raise UsageError(
            f"images prepared at {images.shape[1]} pixels are smaller than the network's crop of "
            f"{network.config.crop_size}",
            fix="Prepare them at the size that the recipe of the run has (prepare_size).",
            code="E229",
        )


class CentralView(nn.Module):
    """A network that cuts the central view itself: takes prepared images (N, 3, side, side), pixels 0..255 of any type.

    Returns logits and probabilities, (N, classes) each.

    Args:
        temperature: what the logits are divided by before the softmax.
    """

    def __init__(self, network: Network, temperature: float = 1.0):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        config = self.network.config
        logits = self.network(center_crop(shrink(pixels, config.test_size), config.crop_size), check_range=False)
        return logits, torch.softmax(logits / self.temperature, 1)


def crop_boxes(image_size: int, test_size: int | None, crop: int) -> list[tuple[float, float, float]]:
    """Returns the five boxes of `ten_crop` on a prepared image: (left, top, side), each in [0, 1] of the image's side.

    Top left, top right, center, bottom left, bottom right; a single box if the crop leaves no margin.
    """
    size = test_size or image_size
    margin, middle = size - crop, (size - crop) // 2
    corners = [(0, 0), (margin, 0), (middle, middle), (0, margin), (margin, margin)]
    return [(x / size, y / size, crop / size) for x, y in (corners if margin else corners[:1])]

"""The views of an image at test time: the central crop, the ten crops, and the probabilities of each."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data.crops import as_batch, center_crop, shrink, ten_crop
from alexnet.errors import UsageError
from alexnet.models.network import Network


def view_probabilities(network: Network, images: Tensor, views: int, precision: str = "float32") -> Tensor:
    """Class probabilities of a batch: (N, 3, H, W) pixels 0..255 to (N, classes) float32.

    One view is the central crop; ten are the four corners, the centre and their mirrors, whose *probabilities* are
    averaged ([code] src/worker.cu:150-177).
    """
    return crop_probabilities(network, images, views, precision).mean(1)


def crop_probabilities(network: Network, images: Tensor, views: int, precision: str = "float32") -> Tensor:
    """Class probabilities of every view: (N, 3, H, W) pixels 0..255 to (N, V, classes) float32, ordered as `ten_crop`.

    V is 1 or 10; 2 where the crop leaves no margin: the five crops are one, and so are their mirrors.
    """
    size = network.config.crop_size
    images = shrink(images, network.config.test_size)
    crops = center_crop(images, size)[:, None] if views == 1 else ten_crop(images, size)
    if views > 1 and images.shape[-2:] == (size, size):
        crops = crops[:, ::5]
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits: Tensor = network(crops.flatten(0, 1))
    return torch.softmax(logits.float(), dim=1).view(len(images), crops.shape[1], -1)


def central_view(network: Network, images: NDArray[np.uint8]) -> Tensor:
    """Prepared images (N, size, size, 3) to the view that one-view evaluation sees: (N, 3, crop, crop), 0..255.

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
        UsageError: E229.
    """
    if images.shape[1] < network.config.crop_size:
        raise UsageError(
            f"pictures prepared at {images.shape[1]} pixels are smaller than the network's crop of "
            f"{network.config.crop_size}",
            fix="Prepare them at the size that the recipe of the run names (prepare_size).",
            code="E229",
        )


class CentralView(nn.Module):
    """A network with what happens to a prepared image before it: (N, 3, side, side) pixels 0..255, any type.

    Gives logits and probabilities, (N, classes) each.
    """

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        config = self.network.config
        logits = self.network(center_crop(shrink(pixels, config.test_size), config.crop_size))
        return logits, torch.softmax(logits, 1)


def crop_boxes(image_size: int, test_size: int | None, crop: int) -> list[tuple[float, float, float]]:
    """The five windows of `ten_crop` on a prepared image: (left, top, side), each in [0, 1] of the image's side.

    Top left, top right, centre, bottom left, bottom right; one box where the crop leaves no margin.
    """
    size = test_size or image_size
    margin, middle = size - crop, (size - crop) // 2
    corners = [(0, 0), (margin, 0), (middle, middle), (0, margin), (margin, margin)]
    return [(x / size, y / size, crop / size) for x, y in (corners if margin else corners[:1])]

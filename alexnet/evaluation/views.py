"""The views of an image at test time: the central crop, the ten crops, and the probabilities of each."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data.crops import as_batch, center_crop, shrink, ten_crop
from alexnet.data.images import Pixels
from alexnet.errors import UsageError
from alexnet.models.network import Network


def view_probabilities(model: Network, images: Tensor, views: int, precision: str = "float32") -> Tensor:
    """Class probabilities of a batch: (N, 3, H, W) pixels 0..255 to (N, classes) float32.

    One view is the central crop; ten are the four corners, the centre and their mirrors, whose *probabilities* are
    averaged ([code] src/worker.cu:150-177).
    """
    size = model.config.crop_size
    images = shrink(images, model.config.test_size)
    if views == 1:
        return torch.softmax(_logits(model, center_crop(images, size), precision), dim=1)
    crops = ten_crop(images, size)
    if images.shape[-2:] == (size, size):
        crops = crops[:, ::5]  # without a margin the five crops are one, and so are their mirrors
    logits = _logits(model, crops.flatten(0, 1), precision)
    return torch.softmax(logits, dim=1).view(len(images), crops.shape[1], -1).mean(1)


def _logits(model: Network, images: Tensor, precision: str) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits: Tensor = model(images)
    return logits.float()


def central_view(model: Network, pictures: NDArray[np.uint8]) -> Tensor:
    """Prepared pictures (N, size, size, 3) to the view that one-view evaluation looks at: (N, 3, crop, crop), 0..255.

    Raises:
        UsageError: the pictures are smaller than the crop.
    """
    crop = model.config.crop_size
    if pictures.shape[1] < crop:
        raise UsageError(
            f"pictures prepared at {pictures.shape[1]} pixels are smaller than the network's crop of {crop}",
            fix="Prepare them at the size that the recipe of the run names (prepare_size).",
            code="E229",
        )
    images = as_batch(pictures).to(model.input_mean.device)
    return center_crop(shrink(images, model.config.test_size), crop)


class CentralView(nn.Module):
    """A network with what happens to a prepared picture before it: (N, 3, side, side) pixels 0..255, any type.

    Gives logits and probabilities, (N, classes) each.
    """

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        config = self.network.config
        logits = self.network(center_crop(shrink(pixels, config.test_size), config.crop_size))
        return logits, torch.softmax(logits, 1)


def crop_boxes(picture_size: int, test_size: int | None, crop: int) -> list[tuple[float, float, float]]:
    """The five windows of `ten_crop` on a prepared picture: (left, top, side), each in [0, 1] of the picture's side.

    Top left, top right, centre, bottom left, bottom right; one box where the crop leaves no margin.
    """
    size = test_size or picture_size
    margin, middle = size - crop, (size - crop) // 2
    places = [(0, 0), (margin, 0), (middle, middle), (0, margin), (margin, margin)]
    return [(x / size, y / size, crop / size) for x, y in (places if margin else places[:1])]


@torch.inference_mode()
def view_answers(model: Network, picture: Pixels) -> NDArray[np.float32]:
    """Probabilities of each crop of a prepared picture: (10, classes) in the order of `ten_crop`.

    (2, classes) where the crop leaves no margin: the picture and its mirror image.
    """
    model.eval()
    images = shrink(as_batch(picture[None]).to(model.input_mean.device), model.config.test_size)
    crops = ten_crop(images, model.config.crop_size)[0]
    if crops.shape[-1] == images.shape[-1]:
        crops = crops[::5]
    return torch.softmax(model(crops), 1).float().cpu().numpy()


@torch.inference_mode()
def central_answer(model: Network, picture: Pixels) -> NDArray[np.float32]:
    """Probabilities of the central view of a prepared picture: (classes,)."""
    model.eval()
    return torch.softmax(model(central_view(model, picture[None])), 1)[0].float().cpu().numpy()

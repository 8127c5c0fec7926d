"""What a layer says of pictures: vectors by layer name, read by the same path as prediction, and files of them."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data.images import Pixels, prepare_image
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.views import central_view
from alexnet.models.fusion import run_layers
from alexnet.models.network import Network, check_layer
from alexnet.progress import ProgressCallback, silent
from alexnet.storage.files import disk_errors, write_file

ENDINGS = (".safetensors", ".npy")
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """One layer's answer to some pictures, in their order, and the reasons why others have none."""

    layer: str
    paths: tuple[Path, ...]
    values: Floats  # (N, units), or (N, maps, H, W) of a layer of maps
    errors: dict[Path, str]


def last_hidden(model: Network) -> str:
    """The layer whose output the last fully connected layer sees: fc7 after its non-linearity, in an AlexNet."""
    layers = list(model.layers.named_children())
    last = max(i for i, (_, layer) in enumerate(layers) if isinstance(layer, nn.Linear))
    return layers[last - 1][0]


@torch.inference_mode()
def activation(model: Network, images: Tensor, layer: str) -> Tensor:
    """What one layer gives for (N, 3, crop, crop) pixels 0..255; the layers behind it do not run."""
    layers = list(model.layers)[: check_layer(model, layer) + 1]
    return run_layers(layers, model.prepare_input(images)).float()


def layer_values(classifier: Classifier, image: Pixels, layer: str) -> Floats:
    """What a layer gives for the central view of one prepared image: (units,) or (maps, H, W).

    Raises:
        UsageError: E235, there is no such layer.
    """
    return activation(classifier.network, classifier.view(image), layer)[0].cpu().contiguous().numpy()


def features(
    model: Network,
    paths: Sequence[Path],
    *,
    layer: str,
    prepare_size: int,
    batch_size: int = 32,
    progress: ProgressCallback = silent,
) -> Features:
    """One layer's activations for the central view of picture files; a file that cannot be read gives its reason.

    Args:
        prepare_size: pixels of the shorter side, as in the recipe that the network was trained with.
        progress: told (done, count) after every batch.

    Raises:
        UsageError: there is no such layer.
    """
    check_layer(model, layer)
    model.eval()
    read: list[Path] = []
    values: list[Floats] = []
    errors: dict[Path, str] = {}
    for start in range(0, len(paths), batch_size):
        images: dict[Path, NDArray[np.uint8]] = {}
        for path in paths[start : start + batch_size]:
            try:
                images[path] = prepare_image(path, size=prepare_size)
            except AlexNetError as error:
                errors[path] = error.what
        if images:
            view = central_view(model, np.stack(list(images.values())))
            values.append(activation(model, view, layer).cpu().contiguous().numpy())
            read += images
        progress("looking", min(start + batch_size, len(paths)), len(paths))
    if not values:
        size, device = model.config.crop_size, model.input_mean.device
        values = [activation(model, torch.zeros(1, 3, size, size, device=device), layer).cpu().numpy()[:0]]
    return Features(layer, tuple(read), np.concatenate(values), errors)


def check_ending(out: Path) -> None:
    """Refuses, before any work, a file of a kind that is not written.

    Raises:
        UsageError: its name ends otherwise than in one of `ENDINGS`.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"{out}: vectors are not written as {out.suffix or 'a file without ending'}",
            fix=f"Let the name end in {' or '.join(ENDINGS)}.",
            code="E238",
        )


def save_features(found: Features, out: Path, *, network: str) -> list[Path]:
    """Writes the vectors with the names of the pictures: one .safetensors, or an .npy and a .json beside it.

    Args:
        network: the fingerprint of the weights, to tell later whose vectors these are.

    Returns:
        The files written.

    Raises:
        UsageError: the ending is another.
        ResourceError: the disk refuses.
    """
    check_ending(out)
    about = {"layer": found.layer, "network": network, "names": [str(path) for path in found.paths]}
    with disk_errors(f"writing {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix.lower() == ".safetensors":
            content = {"alexnet": json.dumps(about)}
            write_file(out, safetensors.numpy.save({"features": np.ascontiguousarray(found.values)}, content))
            return [out]
        beside = out.with_suffix(".json")
        write_file(beside, json.dumps(about, indent=1).encode())
        write_file(out, npy_bytes(found.values))
        return [out, beside]


def npy_bytes(array: Floats) -> bytes:
    """An array as the content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()

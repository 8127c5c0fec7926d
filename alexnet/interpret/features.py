"""Activations of one layer for many images, computed on the same path as prediction, and files of them."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet.data.images import Pixels
from alexnet.data.loops import load_loops
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.views import central_view
from alexnet.models.fusion import run_layers
from alexnet.models.network import Network, check_layer
from alexnet.progress import ProgressCallback, silent
from alexnet.storage.files import disk_errors, refuse_to_replace, write_file

ENDINGS = (".safetensors", ".npy")
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """The activations of one layer for images, in their order, and the reasons why other files could not be read."""

    layer: str
    paths: tuple[Path, ...]
    values: Floats  # (N, units), or (N, channels, H, W) for a layer of feature maps
    errors: dict[Path, str]
    files: tuple[Path, ...] = ()  # where they were written

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.values.shape[1:]))
        unread = f", {len(self.errors)} not read" if self.errors else ""
        return f"Features({self.layer} of {len(self.paths)} images, {shape} numbers each{unread})"


def last_hidden(model: Network) -> str:
    """Names the layer before the last fully connected layer: in an AlexNet, fc7 after its activation function."""
    layers = list(model.layers.named_children())
    last = max(i for i, (_, layer) in enumerate(layers) if isinstance(layer, nn.Linear))
    return layers[last - 1][0]


@torch.inference_mode()
def activation(model: Network, images: Tensor, layer: str) -> Tensor:
    """Computes the output of one layer for (N, 3, crop, crop) pixels 0..255; later layers do not run."""
    layers = list(model.layers)[: check_layer(model, layer) + 1]
    return run_layers(layers, model.prepare_input(images)).float()


def layer_values(classifier: Classifier, image: Pixels, layer: str) -> Floats:
    """Computes the output of a layer for the central view of one prepared image: (units,) or (channels, H, W).

    Raises:
        UsageError: E235, there is no such layer.
    """
    return activation(classifier.network, classifier.view(image), layer)[0].cpu().contiguous().numpy()


def features(
    classifier: Classifier,
    paths: Sequence[Path],
    *,
    layer: str,
    batch_size: int = 32,
    progress: ProgressCallback = silent,
) -> Features:
    """Computes one layer's activations for the central view of image files; unreadable files are listed with a reason.

    Args:
        progress: called after every batch with the files done and the files in all.

    Raises:
        UsageError: there is no such layer.
    """
    model = classifier.network
    check_layer(model, layer)
    model.eval()
    read: list[Path] = []
    values: list[Floats] = []
    errors: dict[Path, str] = {}
    load_loops(len(paths))
    for start in range(0, len(paths), batch_size):
        images: dict[Path, NDArray[np.uint8]] = {}
        for path in paths[start : start + batch_size]:
            try:
                images[path] = classifier.prepare(path)
            except AlexNetError as error:
                errors[path] = error.what
        if images:
            view = central_view(model, np.stack(list(images.values())))
            values.append(activation(model, view, layer).cpu().contiguous().numpy())
            read += images
        progress("computing features", min(start + batch_size, len(paths)), len(paths))
    if not values:
        size, device = model.config.crop_size, model.input_mean.device
        values = [activation(model, torch.zeros(1, 3, size, size, device=device), layer).cpu().numpy()[:0]]
    return Features(layer, tuple(read), np.concatenate(values), errors)


def check_file(out: Path) -> None:
    """Rejects an output file that exists, or of an unsupported format, before any work is done.

    Raises:
        UsageError: the file exists, or its name does not end in one of `ENDINGS`.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(
            f"{out}: features cannot be written as {out.suffix or 'a file without an ending'}",
            fix=f"Use a name that ends in {ENDINGS[0]} or {ENDINGS[1]}.",
            code="E238",
        )
    for file in files_of(out):
        refuse_to_replace(file)


def files_of(out: Path) -> tuple[Path, ...]:
    """Returns the files that are written: an .npy has the names of the images in a .json beside it."""
    return (out,) if out.suffix.lower() == ".safetensors" else (out, out.with_suffix(".json"))


def save_features(result: Features, out: Path, *, network: str) -> Features:
    """Writes the features with the paths of the images: one .safetensors file, or an .npy and a .json file.

    Args:
        network: the fingerprint of the weights, stored so that a reader knows which network computed the features.

    Returns:
        The same features, with the files that were written.

    Raises:
        UsageError: a file exists, or the name has another ending.
        ResourceError: the file cannot be written.
    """
    check_file(out)
    about = {"layer": result.layer, "network": network, "names": [str(path) for path in result.paths]}
    with disk_errors(f"writing {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix.lower() == ".safetensors":
            metadata = {"alexnet": json.dumps(about)}
            write_file(out, safetensors.numpy.save({"features": np.ascontiguousarray(result.values)}, metadata))
        else:
            write_file(files_of(out)[1], json.dumps(about, indent=1).encode())
            write_file(out, npy_bytes(result.values))
    return replace(result, files=files_of(out))


def npy_bytes(array: Floats) -> bytes:
    """Returns the content of an .npy file with this array."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()

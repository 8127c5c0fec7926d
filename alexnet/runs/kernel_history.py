"""The kernels of conv1 at the end of every epoch of a run: they show how edge and color detectors develop.

RUN/conv1/epoch-00003.npy    float32 (kernels, channels, height, width); the epoch's row in metrics.jsonl has its sha256
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.errors import UntrustedFileError
from alexnet.models.network import Network
from alexnet.runs.forms import foreign
from alexnet.runs.metrics import read_epochs
from alexnet.runs.run import RunFolder
from alexnet.storage.files import disk_errors, file_sha256, write_file

FOLDER = "conv1"  # folder of the files, and key of their checksum in the row


def effective_kernels(model: Network) -> NDArray[np.float32] | None:
    """Computes the kernels of conv1 as they apply to raw pixels; None if the network has no conv1.

    (kernels, channels, height, width): the weights times the scale of the input.
    """
    layer = dict(model.layers.named_children()).get("conv1")
    if not isinstance(layer, torch.nn.Conv2d):
        return None
    # A network with one input channel gets the mean of the three colors.
    scale = model.input_scale.view(1, 3, 1, 1) if model.in_channels == 3 else model.input_scale.mean()
    weights = layer.weight * scale
    return weights.detach().float().cpu().contiguous().numpy()


def save_kernels(run: RunFolder, epoch: int, model: Network) -> dict[str, str]:
    """Writes the kernels of an epoch into the run folder; returns the entries for the epoch's row in metrics.jsonl.

    Raises:
        ResourceError: the file system refuses.
    """
    kernels = effective_kernels(model)
    if kernels is None:
        return {}
    buffer = io.BytesIO()
    np.save(buffer, kernels, allow_pickle=False)
    with disk_errors(f"writing the kernels of epoch {epoch}"):
        (run.folder / FOLDER).mkdir(exist_ok=True)
        write_file(run.folder / FOLDER / _file_name(epoch), buffer.getvalue())
    return {FOLDER: hashlib.sha256(buffer.getvalue()).hexdigest()}


def kernel_history(run: RunFolder) -> list[tuple[int, NDArray[np.float32]]]:
    """Reads the kernels of every epoch as (epoch, kernels), in order; an epoch whose file was removed is left out.

    Raises:
        UntrustedFileError: a file differs from what was written.
    """
    rows, _ = read_epochs(run.folder / "metrics.jsonl")
    return [(row["epoch"], kernels) for row in rows if (kernels := _read_kernels(run, row)) is not None]


def damaged_kernels(run: RunFolder) -> list[Path]:
    """Lists the files whose bytes are not the ones that were written, in order of epoch."""
    rows, _ = read_epochs(run.folder / "metrics.jsonl")
    paths = [(run.folder / FOLDER / _file_name(row["epoch"]), row[FOLDER]) for row in rows if FOLDER in row]
    return [path for path, written in paths if path.exists() and file_sha256(path) != written]


def _read_kernels(run: RunFolder, row: Mapping[str, Any]) -> NDArray[np.float32] | None:
    path = run.folder / FOLDER / _file_name(row["epoch"])
    if FOLDER not in row or not path.exists():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != row[FOLDER]:
        raise UntrustedFileError(
            f"{path} is damaged: its bytes are not the ones that were written",
            fix="Delete it: the run does not need it, and this epoch is left out.",
            code="E665",
        )
    try:
        kernels: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
        if kernels.dtype == np.float32 and kernels.ndim == 4 and np.isfinite(kernels).all():
            return kernels
    except (ValueError, EOFError, AttributeError, MemoryError):  # of another format, or of no size that there is
        pass
    raise foreign(path, "it does not hold kernels")


def _file_name(epoch: int) -> str:
    return f"epoch-{epoch:05d}.npy"

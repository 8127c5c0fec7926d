"""Runs a network in any format: a run folder, an ONNX file, an exported program or an exported folder.

All formats have the same interface, so that two of them can be compared: prepared uint8 images go in, logits of the
central view come out.
"""

import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.data.crops import as_batch
from alexnet.errors import UntrustedFileError, UsageError
from alexnet.evaluation.views import CentralView
from alexnet.models.network import Network
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.recipe import Recipe
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import open_run
from alexnet.storage.files import parse_json
from alexnet.weights.identify import identify

ABOUT = "alexnet.json"  # name of the description inside an exported program
BATCH = 32
ROUNDS = 15  # of a timing
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Backend:
    """A network in some format that computes logits."""

    name: str
    kind: str
    class_names: tuple[str, ...]
    prepare_size: int  # side in pixels of the images that it takes
    logits: Callable[[NDArray[np.uint8]], Logits]  # (N, size, size, 3) in 0..255 to (N, classes)
    whole: bool = False  # whether they are whole images, stretched to squares; else their central squares

    @property
    def squares(self) -> tuple[int, bool]:
        """How images are prepared for it: side in pixels, and whether they are whole."""
        return self.prepare_size, self.whole


def open_backend(path: Path, *, trust: bool = False, checkpoint: str = "best") -> Backend:
    """Opens what `alexnet train` or `alexnet export` wrote.

    Args:
        trust: whether to open an exported program, which can run foreign code.
        checkpoint: for a run, the best or the last.

    Raises:
        UsageError: the format is not supported, or a package is missing.
        UntrustedFileError: it is an exported program and `trust` is False, or the file is damaged.
    """
    if (path / "recipe.json").is_file():
        run = open_run(path)
        return of_network(str(path), "run", load_model(run, checkpoint), run.class_names, run.recipe)
    if (path / "model.safetensors").is_file():
        identified = identify(path / "model.safetensors")
        return of_network(str(path), "folder", identified.network, identified.class_names, identified.recipe)
    if path.suffix == ".onnx" and path.is_file():
        return of_onnx(str(path), path.read_bytes())
    if path.suffix == ".pt2" and path.is_file():
        if not trust:
            raise UntrustedFileError(
                f"{path} is an exported program, and opening one can run foreign code",
                fix="Add --trust if you made it yourself.",
                code="E661",
            )
        return of_program(str(path), path.read_bytes())
    raise UsageError(
        f"{path} is not a network: no run folder, ONNX file (.onnx), exported program (.pt2) or exported folder",
        fix="Give a run folder of alexnet train, or what alexnet export wrote.",
        code="E241",
    )


def of_network(name: str, kind: str, network: Network, class_names: tuple[str, ...], recipe: Recipe) -> Backend:
    """Wraps a network of this program; it runs in PyTorch."""
    view = CentralView(network.eval())

    def logits(images: NDArray[np.uint8]) -> Logits:
        with torch.inference_mode():
            answer: Logits = view(as_batch(images).to(network.input_mean.device))[0].float().cpu().numpy()
            return answer

    return Backend(name, kind, class_names, recipe.prepare_size, logits, recipe.prepare_whole)


def of_onnx(name: str, content: bytes) -> Backend:
    """Opens an ONNX file of `alexnet.export.onnx`; it runs in onnxruntime on the CPU.

    Raises:
        UsageError: onnxruntime is not installed, or the file was not written by this program.
        UntrustedFileError: it cannot be loaded.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            "an ONNX file is run by the package onnxruntime, which is not installed",
            fix="Install it: pip install 'alexnet[export]'",
            code="E240",
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many exception classes without a common base class
        raise _damaged(name, error) from None
    about = dict(session.get_modelmeta().custom_metadata_map)
    input_info = session.get_inputs()[0]
    if "class_names" not in about or "recipe" not in about:
        raise UsageError(
            f"{name} was not written by alexnet export: it does not say how its images are prepared",
            fix="Convert it to a run with alexnet import; alexnet parity can open that run.",
            code="E242",
        )
    kind = np.uint8 if input_info.type == "tensor(uint8)" else np.float32

    def logits(images: NDArray[np.uint8]) -> Logits:
        channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2), kind)
        return np.asarray(session.run(["logits"], {input_info.name: channels_first})[0], np.float32)

    names, whole = tuple(parse_json(about["class_names"])), _whole(parse_json(about["recipe"]))
    return Backend(name, "ONNX", names, int(input_info.shape[2]), logits, whole)


def of_program(name: str, content: bytes) -> Backend:
    """Opens an exported program of `alexnet.export.write`. Opening one can run foreign code: see `open_backend`.

    Raises:
        UntrustedFileError: it cannot be opened, or it was not written by this program.
    """
    extra: dict[str, Any] = {ABOUT: ""}
    try:
        program = torch.export.load(io.BytesIO(content), extra_files=extra).module()
        about = parse_json(extra[ABOUT])
        class_names, size = tuple(about["class_names"]), int(about["recipe"]["prepare_size"])
        whole = _whole(about["recipe"])
    except Exception as error:  # a damaged archive can raise almost any exception
        raise _damaged(name, error) from None

    def logits(images: NDArray[np.uint8]) -> Logits:
        with torch.inference_mode():
            answer: Logits = program(as_batch(images))[0].float().numpy()
            return answer

    return Backend(name, "exported program", class_names, size, logits, whole)


def _whole(recipe: Mapping[str, Any]) -> bool:
    """Whether a stored recipe asks for whole images; those of earlier versions did not know of it."""
    return bool(recipe.get("prepare_whole", False))


def milliseconds(backends: Sequence[Backend], image: NDArray[np.uint8], rounds: int = ROUNDS) -> tuple[float, ...]:
    """Times the answers for one prepared image (1, size, size, 3): medians, in turns, after a turn that warms up.

    Returns:
        Milliseconds, in the order of the backends.
    """
    times: list[list[float]] = [[] for _ in backends]
    for _ in range(rounds + 1):
        for each, spent in zip(backends, times, strict=True):
            begin = time.perf_counter()
            each.logits(image)
            spent.append(1e3 * (time.perf_counter() - begin))
    return tuple(statistics.median(spent[1:]) for spent in times)


def compute_logits(
    backend: Backend,
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    count: int,
    progress: ProgressCallback = silent,
) -> Logits:
    """Computes the logits (count, classes) of images 0..count-1; `read` returns uint8 (n, size, size, 3) by index."""
    rows = []
    for start in range(0, count, BATCH):
        stop = min(start + BATCH, count)
        rows.append(backend.logits(read(np.arange(start, stop))))
        progress("comparing", stop, count)
    return np.concatenate(rows)


def softmax(logits: Logits) -> NDArray[np.float64]:
    """Computes the probabilities of rows of logits."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def _damaged(name: str, error: Exception) -> UntrustedFileError:
    message = (str(error).splitlines() or [""])[0] or type(error).__name__
    return UntrustedFileError(
        f"{name} cannot be opened: {message}", fix="Export it again with alexnet export.", code="E662"
    )

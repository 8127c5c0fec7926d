"""A run as a file for other programs, proven equal to the run before it is written: ONNX, torch.export, a folder.

Whatever the format, the same things are inside: preprocessing from a prepared square, the layers under their names, the
names of the classes and the recipe.
"""

import copy
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.data.dataset import Prepared
from alexnet.errors import DataError, UntrustedFileError, UsageError
from alexnet.evaluation.evaluate import top_k_error
from alexnet.evaluation.views import CentralView
from alexnet.export.backends import ABOUT, Backend, ask, of_network, of_onnx, of_program, open_backend, softmax
from alexnet.export.huggingface import folder_files
from alexnet.export.onnx import onnx_model
from alexnet.export.parity import TOLERANCE, Parity, parity
from alexnet.export.quantize import MOST_LOSS, calibration_batches, quantized
from alexnet.models.network import Network, fingerprint
from alexnet.progress import ProgressCallback, silent
from alexnet.runs.run import RunFolder
from alexnet.storage.files import disk_errors, temporary_for, write_file

FORMATS = {"onnx": ".onnx", "torch-export": ".pt2", "hf": ""}


@dataclass(frozen=True)
class Exported:
    """What was written, and what it was checked against."""

    out: Path
    bytes: int
    split: str
    parity: Parity
    int8: bool
    known: int  # pictures of that split whose class the network knows
    eager_accuracy: float | None  # of the run on them, in [0, 1]; None where there are none
    accuracy: float | None  # of what was written


def check_out(out: Path, form: str) -> None:
    """Refuses, before any work, to write over something or under a misleading name.

    Raises:
        UsageError: it exists, or has not the ending of its format.
    """
    if out.exists():
        raise UsageError(f"{out} exists", fix="Choose another name with --out, or remove it.", code="E239")
    if FORMATS[form] and out.suffix != FORMATS[form]:
        raise UsageError(
            f"{out} does not end in {FORMATS[form]}, by which others know the format",
            fix=f"Use --out {out.with_suffix(FORMATS[form])}.",
            code="E245",
        )


def export(
    run: RunFolder,
    model: Network,
    prepared: Prepared,
    out: Path,
    *,
    form: str,
    split: str,
    pixels: str = "uint8",
    int8: bool = False,
    progress: ProgressCallback = silent,
) -> Exported:
    """Writes a run in another format, if that answers every picture of a split as the run does.

    Args:
        model: the network of the run, on the processor.
        prepared: pictures to ask about; the accuracy counts those of the classes that the run knows.
        form: one of `FORMATS`.
        split: the split that is looked at.
        pixels: type of the pixels that an ONNX file takes, uint8 or float32.
        int8: write ONNX in 8 bits, if its top-1 accuracy falls by no more than `MOST_LOSS`; equal it is not.

    Raises:
        UsageError: `out` exists or is ill named, a package is missing, a layer cannot be written, 8 bits of no ONNX.
        DataError: there is no such split.
        UntrustedFileError: the answers are not equal, or 8 bits lose too much; nothing is written.
        ResourceError: the disk refuses.
    """
    check_out(out, form)
    if int8 and form != "onnx":
        raise UsageError(f"--int8 with --format {form}", fix="Only ONNX is written in 8 bits.", code="E249")
    if split not in prepared.splits:
        raise DataError(
            f"{prepared.location} has no split {split!r}",
            fix=f"It has: {', '.join(prepared.splits)}. Choose one with --split.",
            code="E325",
        )
    side = prepared.size
    files = _files(run, model.float().eval(), side, form, pixels)
    asked = _opened(files, form, str(out))
    data = prepared.splits[split]
    eager = of_network(str(run.folder), "run", model, run.class_names, side)
    first, second = (ask(each, data.read, len(data), progress) for each in (eager, asked))
    _refuse_unequal(parity(first, second), out)
    places = {name: number for number, name in enumerate(run.class_names)}
    labels = np.array([places.get(name, -1) for name in prepared.class_names], np.int64)[data.labels]
    known = labels >= 0
    if int8:
        ranges = prepared.splits.get("train", data)
        files = {"": quantized(files[""], calibration_batches(ranges.read, len(ranges), pixels))}
        second = ask(of_onnx(str(out), files[""]), data.read, len(data), progress)
    accuracies = [
        1 - top_k_error(softmax(logits[known]), labels[known], 1) if known.any() else None for logits in (first, second)
    ]
    if int8:
        _refuse_loss(accuracies, out)
    _write(files, out)
    return Exported(
        out, sum(map(len, files.values())), split, parity(first, second), int8, int(known.sum()), *accuracies
    )


def _write(files: dict[str, bytes], out: Path) -> None:
    """One file, or a folder of several that appears when it is whole."""
    with disk_errors(f"writing {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        if "" in files:
            write_file(out, files[""])
            return
        temporary = temporary_for(out)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, content in files.items():
            write_file(temporary / name, content)
        temporary.rename(out)


def about_run(run: RunFolder, model: Network, side: int) -> dict[str, Any]:
    """What a file tells of itself: classes, recipe, what is done with pixels, and whose weights they are."""
    config = model.config
    return {
        "class_names": list(run.class_names),
        "recipe": asdict(run.recipe),
        "preprocessing": {
            "before": f"RGB, shorter side resized to {side} pixels (bicubic), central square",
            "input": f"(batch, 3, {side}, {side}) pixels in 0..255",
            "inside": f"resized to {config.test_size or side}, central {config.crop_size} x {config.crop_size}, "
            f"input_norm {config.input_norm}",
        },
        "weights_sha256": fingerprint(model),
    }


def _files(run: RunFolder, model: Network, side: int, form: str, pixels: str) -> dict[str, bytes]:
    about = about_run(run, model, side)
    if form == "onnx":
        return {"": onnx_model(model, side, pixels, about)}
    if form == "torch-export":
        return {"": program_bytes(model, side, about)}
    return folder_files(run, model, about)


def program_bytes(model: Network, side: int, about: dict[str, Any]) -> bytes:
    """The network as the bytes of a .pt2 archive: (batch, 3, side, side) uint8 to logits and probabilities."""
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    model.input_mean = model.input_mean.contiguous()  # the archive keeps only tensors that lie in order
    example = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    shapes = {"pixels": {0: torch.export.Dim("batch")}}
    with torch.no_grad():
        program = torch.export.export(CentralView(model), (example,), dynamic_shapes=shapes)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(about, ensure_ascii=False)})
    return buffer.getvalue()


def _opened(files: dict[str, bytes], form: str, name: str) -> Backend:
    if form == "onnx":
        return of_onnx(name, files[""])
    if form == "torch-export":
        return of_program(name, files[""])
    with tempfile.TemporaryDirectory(prefix="alexnet-") as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        return open_backend(Path(folder))


def _refuse_unequal(found: Parity, out: Path) -> None:
    if not found.equal:
        raise UntrustedFileError(
            f"{out} was not written: it does not answer as the run does. Of {found.images} pictures, probabilities "
            f"differ by up to {found.max_probability:.2g}, logits by up to {found.max_logit:.2g}, where {TOLERANCE:g} "
            "is allowed",
            fix="Please report it with the recipe of the run and the versions of onnx, onnxruntime and torch.",
            code="E660",
        )


def _refuse_loss(accuracies: Sequence[float | None], out: Path) -> None:
    before, after = accuracies
    if before is None or after is None or before - after > MOST_LOSS:
        said = "cannot be told" if before is None or after is None else f"falls from {before:.1%} to {after:.1%}"
        raise UntrustedFileError(
            f"{out} was not written: in 8 bits the top-1 accuracy {said}, where {MOST_LOSS:.1%} may be lost",
            fix="Leave out --int8, or name pictures of the run's classes with --data.",
            code="E664",
        )

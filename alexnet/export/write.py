"""Exports a run for other programs as ONNX, torch.export or a folder, after testing that it equals the run.

Every format contains the same: preprocessing from a prepared square, the layers with their names, the class names and
the recipe.
"""

import copy
import io
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.data.dataset import Prepared
from alexnet.errors import DataError, UntrustedFileError, UsageError
from alexnet.evaluation.evaluate import top_k_error
from alexnet.evaluation.run_calibration import temperature_of
from alexnet.evaluation.views import CentralView
from alexnet.export.backends import (
    ABOUT,
    Backend,
    compute_logits,
    milliseconds,
    of_network,
    of_onnx,
    of_program,
    open_backend,
    softmax,
)
from alexnet.export.huggingface import folder_files
from alexnet.export.onnx import onnx_model
from alexnet.export.parity import TOLERANCE, Parity, parity
from alexnet.export.quantize import MOST_LOSS, calibration_batches, quantized
from alexnet.models.network import Network, fingerprint
from alexnet.progress import ProgressCallback, silent
from alexnet.runs.run import RunFolder
from alexnet.storage.files import disk_errors, free_name, refuse_to_replace, temporary_for, write_file

FORMATS = {"onnx": ".onnx", "torch-export": ".pt2", "hf": ""}


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked."""

    out: Path
    bytes: int
    split: str
    parity: Parity
    int8: bool
    known: int  # number of images of that split whose class the network knows
    eager_accuracy: float | None  # of the run on these images, in [0, 1]; None if there are none
    accuracy: float | None  # of the exported network
    milliseconds: tuple[float, ...] = ()  # in 8 bits: for one image by the run, by ONNX in float32, and as written


def export_target(out: str | Path | None, to: str | None, name: str) -> tuple[Path, str]:
    """Decides the output path and the format from what was given of them.

    Args:
        name: of the run; without `out`, the file is called so, with -2, -3 ... where that exists.

    Raises:
        UsageError: there is no such format.
    """
    if to is None:
        ending = ".onnx" if out is None else Path(out).suffix
        to = next((form for form, known in FORMATS.items() if known == ending), "onnx")
    if to not in FORMATS:
        raise UsageError(f"{to!r} is no format of export", fix=f"Use --to {', '.join(FORMATS)}.", code="E224")
    return Path(out) if out is not None else free_name(Path(f"{name}{FORMATS[to] or '-hf'}")), to


def check_out(out: Path, form: str) -> None:
    """Rejects, before any work is done, an output path that exists or does not fit the format.

    Raises:
        UsageError: the path exists, or does not have the ending of its format.
    """
    refuse_to_replace(out)
    if FORMATS[form] and out.suffix != FORMATS[form]:
        raise UsageError(
            f"{out} does not end in {FORMATS[form]}, as other programs expect for this format",
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
    """Writes a run in another format if that gives the same outputs as the run for every image of a split.

    Args:
        model: the network of the run.
        prepared: images for the comparison; the accuracy counts those whose class the run knows.
        form: one of `FORMATS`.
        split: the split to compare on.
        pixels: type of the pixels that an ONNX file takes, uint8 or float32.
        int8: write ONNX in 8 bits if the top-1 accuracy falls by at most `MOST_LOSS`; the outputs are not equal then.

    Raises:
        UsageError: `out` exists or has the wrong ending, a package is missing, a layer cannot be written, or 8 bits
            are requested for another format than ONNX.
        DataError: there is no such split.
        UntrustedFileError: the outputs are not equal, or 8 bits lose too much accuracy; nothing is written.
        ResourceError: the file cannot be written.
    """
    check_out(out, form)
    if model.input_mean.device.type != "cpu":  # files are written and compared on the CPU
        model = copy.deepcopy(model).place(torch.device("cpu"))
    if int8 and form != "onnx":
        raise UsageError(
            f"--int8 does not work with --to {form}",
            fix="Only ONNX is written in 8 bits: leave out --int8, or use --to onnx.",
            code="E249",
        )
    if split not in prepared.splits:
        raise DataError(
            f"{prepared.location} has no split {split!r}",
            fix=f"It has: {', '.join(prepared.splits)}. Choose one with --split.",
            code="E325",
        )
    side = prepared.size
    files = _files(run, model.float().eval(), side, form, pixels)
    exported = _opened(files, form, str(out))
    data = prepared.splits[split]
    eager = of_network(str(run.folder), "run", model, run.class_names, run.recipe)
    first, second = (compute_logits(each, data.read, len(data), progress) for each in (eager, exported))
    _refuse_unequal(parity(first, second), out)
    outputs = {name: number for number, name in enumerate(run.class_names)}
    labels = np.array([outputs.get(name, -1) for name in prepared.class_names], np.int64)[data.labels]
    known = labels >= 0
    speeds: tuple[float, ...] = ()
    if int8:
        calibration = prepared.splits.get("train", data)
        files = {"": quantized(files[""], calibration_batches(calibration.read, len(calibration), pixels))}
        in_8_bits = of_onnx(str(out), files[""])
        second = compute_logits(in_8_bits, data.read, len(data), progress)
        speeds = milliseconds((eager, exported, in_8_bits), data.read(np.zeros(1, np.int64)))
    eager_accuracy, accuracy = (
        1 - top_k_error(softmax(logits[known]), labels[known], 1) if known.any() else None for logits in (first, second)
    )
    if int8:
        _refuse_loss(eager_accuracy, accuracy, out)
    _write(files, out)
    return Exported(
        out=out,
        bytes=sum(map(len, files.values())),
        split=split,
        parity=parity(first, second),
        int8=int8,
        known=int(known.sum()),
        eager_accuracy=eager_accuracy,
        accuracy=accuracy,
        milliseconds=speeds,
    )


def _write(files: dict[str, bytes], out: Path) -> None:
    """Writes one file, or a folder of several files that appears only when it is complete."""
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
    """Builds the description in an exported file: classes, recipe, preprocessing and fingerprint of the weights."""
    config = model.config
    return {
        "class_names": list(run.class_names),
        "recipe": asdict(run.recipe),
        "preprocessing": {
            "before": f"RGB, resized to {side} x {side} pixels (bicubic), whole"
            if run.recipe.prepare_whole
            else f"RGB, shorter side resized to {side} pixels (bicubic), central square",
            "input": f"(batch, 3, {side}, {side}) pixels in 0..255",
            "inside": f"resized to {config.test_size or side}, central {config.crop_size} x {config.crop_size}, "
            f"input_norm {config.input_norm}",
        },
        "weights_sha256": fingerprint(model),
        "temperature": temperature_of(run, model),  # the probabilities are the softmax of the logits divided by it
    }


def _files(run: RunFolder, model: Network, side: int, form: str, pixels: str) -> dict[str, bytes]:
    about = about_run(run, model, side)
    if form == "onnx":
        return {"": onnx_model(model, side, pixels, about, about["temperature"])}
    if form == "torch-export":
        return {"": program_bytes(model, side, about)}
    return folder_files(run, model, about)


def program_bytes(model: Network, side: int, about: dict[str, Any]) -> bytes:
    """Converts the network to a .pt2 archive: (batch, 3, side, side) uint8 to logits and probabilities."""
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    model.input_mean = model.input_mean.contiguous()  # the archive can store only contiguous tensors
    example = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    shapes = {"pixels": {0: torch.export.Dim("batch")}}
    with torch.no_grad():
        program = torch.export.export(CentralView(model, about["temperature"]), (example,), dynamic_shapes=shapes)
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


def _refuse_unequal(result: Parity, out: Path) -> None:
    if not result.equal:
        raise UntrustedFileError(
            f"{out} was not written: its answers differ from those of the run. For {result.images} images, "
            f"probabilities differ by up to {result.max_probability:.2g} and logits by up to {result.max_logit:.2g}; "
            f"{TOLERANCE:g} is allowed",
            fix="Please report it with the recipe of the run and the versions of onnx, onnxruntime and torch.",
            code="E660",
        )


def _refuse_loss(before: float | None, after: float | None, out: Path) -> None:
    if before is None or after is None or before - after > MOST_LOSS:
        change = "cannot be measured" if before is None or after is None else f"falls from {before:.1%} to {after:.1%}"
        raise UntrustedFileError(
            f"{out} was not written: in 8 bits the top-1 accuracy {change}; a loss of {MOST_LOSS:.1%} is allowed",
            fix="Leave out --int8, or give images of the run's classes with --data.",
            code="E664",
        )

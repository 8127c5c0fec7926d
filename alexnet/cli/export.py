"""The verbs that hand a trained network on to other programs."""

from pathlib import Path
from typing import Literal

from alexnet.cli.interpret import Checkpoint, Paths


def export(
    run: Path,
    *,
    format: Literal["onnx", "torch-export", "hf"] = "onnx",
    out: Path | None = None,
    data: str | None = None,
    split: str | None = None,
    pixels: Literal["uint8", "float32"] = "uint8",
    int8: bool = False,
    checkpoint: Checkpoint = "best",
) -> None:
    """Write a trained network for other programs, after it has answered every held-out picture as the run does.

    Preprocessing, class names and recipe are inside. A file that does not answer alike is not written.

    For example:
      alexnet export runs/photos
      alexnet export runs/photos --format hf --out photos-hf

    Parameters
    ----------
    run
        The run folder.
    format
        onnx: one node a layer, LRN as ONNX has it; torch-export: a .pt2 archive; hf: a folder with config.json,
        a model card, and a model.safetensors that alexnet import reads.
    out
        The file or folder to write; by default the name of the run with .onnx, .pt2 or -hf.
    data
        Pictures to compare on, as for alexnet train; by default those of the run.
    split
        The split to compare on; by default val, else all there is.
    pixels
        The type that an ONNX file takes; values are 0..255 in both.
    int8
        ONNX in 8 bits, a quarter as large; written if its accuracy falls by no more than a point.
    checkpoint
        The best on the held-out pictures, or the last.
    """
    from alexnet.cli import tables, tables_interpret
    from alexnet.cli.terminal import bars
    from alexnet.data.open import open_images
    from alexnet.export.write import FORMATS, check_out
    from alexnet.export.write import export as export_run
    from alexnet.runs.checkpoint import load_model
    from alexnet.runs.run import open_run
    from alexnet.runs.start import images_of_run

    opened = open_run(run)
    target = out or Path(f"{run.resolve().name}{FORMATS[format] or '-hf'}")
    check_out(target, format)
    model = load_model(opened, checkpoint)
    size = opened.recipe.prepare_size
    with bars() as progress:
        if data is None:
            prepared = images_of_run(opened, tell=tables.prepared, progress=progress)
        else:
            prepared = open_images(data, size, tell=tables.prepared, progress=progress, held_out=0)
        chosen = split or next(name for name in ("val", "test", "train") if name in prepared.splits)
        found = export_run(
            opened, model, prepared, target, form=format, split=chosen, pixels=pixels, int8=int8, progress=progress
        )
    tables_interpret.exported(found)


def parity(first: Path, second: Path, *images: Paths, trust: bool = False) -> None:
    """Compare the answers of two networks: run folders, ONNX files, exported programs, exported folders.

    Leaves with 3 if a picture could not be read, and with 6 if they are not equal.

    For example:
      alexnet parity runs/photos photos.onnx holiday/
      alexnet parity photos.onnx photos.pt2 holiday/*.jpg --trust

    Parameters
    ----------
    first
        A run folder, or what alexnet export wrote.
    second
        Another one.
    images
        Files, folders or "globs".
    trust
        Open exported programs (.pt2), which can run code: only for files that you made yourself.
    """
    from alexnet.cli import tables_interpret
    from alexnet.evaluation.predict import find_images, refuse_unread
    from alexnet.export.backends import open_backend
    from alexnet.export.parity import check_equal, compare_answers

    paths = find_images(images)
    a, b = (open_backend(path, trust=trust) for path in (first, second))
    found, errors = compare_answers(a, b, paths)
    tables_interpret.parity(a, b, found, errors)
    check_equal(found, a, b)
    refuse_unread(len(errors), len(paths))

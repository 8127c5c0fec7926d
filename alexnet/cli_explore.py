"""The verbs that look into a trained network and hand it on to other programs."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from alexnet.errors import DataError, UsageError

Paths = Annotated[str, Parameter(allow_leading_hyphen=True)]
Checkpoint = Literal["best", "last"]


def export(
    run: Path,
    *,
    format: Literal["onnx", "torch-export", "hf"] = "onnx",
    out: Path | None = None,
    data: str | None = None,
    split: str | None = None,
    pixels: Literal["uint8", "float32"] = "uint8",
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
        model.safetensors and a model card.
    out
        The file or folder to write; by default the name of the run with .onnx, .pt2 or -hf.
    data
        Pictures to compare on, as for alexnet train; by default those of the run.
    split
        The split to compare on; by default val, else all there is.
    pixels
        The type that an ONNX file takes; values are 0..255 in both.
    checkpoint
        The best on the held-out pictures, or the last.
    """
    from alexnet import tables, tables_explore
    from alexnet.checkpoint import load_model
    from alexnet.export import FORMATS, check_out
    from alexnet.export import export as export_run
    from alexnet.run import open_run
    from alexnet.terminal import counting
    from alexnet.workflow import prepared_for, prepared_of

    opened = open_run(run)
    target = out or Path(f"{run.resolve().name}{FORMATS[format] or '-hf'}")
    check_out(target, format)
    model = load_model(opened, checkpoint)
    size = opened.recipe.prepare_size
    prepared = (
        prepared_of(opened, tables.prepared) if data is None else prepared_for(data, size, tables.prepared, held_out=0)
    )
    chosen = split or next(name for name in ("val", "test", "train") if name in prepared.splits)
    with counting("comparing") as progress:
        found = export_run(opened, model, prepared, target, form=format, split=chosen, pixels=pixels, progress=progress)
    tables_explore.exported(found)


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
    from alexnet import tables_explore
    from alexnet.answering import open_answering
    from alexnet.parity import check_equal, compare_answers

    paths = _pictures(images)
    a, b = (open_answering(path, trust=trust) for path in (first, second))
    found, errors = compare_answers(a, b, paths)
    tables_explore.parity(a, b, found, errors)
    check_equal(found, a, b)
    _refuse_unread(errors, len(paths))


def _pictures(images: tuple[str, ...]) -> list[Path]:
    """The files that were named.

    Raises:
        UsageError: none was.
        DataError: one names nothing.
    """
    from alexnet.predict import find_images

    if not images:
        raise UsageError("no pictures given", fix="Name files, folders or patterns.", code="E264")
    return find_images(images)


def _refuse_unread(errors: dict[Path, Any], count: int) -> None:
    if errors:
        raise DataError(
            f"{len(errors)} of {count} pictures could not be read; their reasons stand above",
            fix="Replace them, or leave them out.",
            code="E352",
        )

"""The verbs that hand a trained network on to other programs."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import alexnet
from alexnet.cli.options import Checkpoint, Images, RunPath


def export(
    run: RunPath,
    *,
    to: Annotated[Literal["onnx", "torch-export", "hf"] | None, Parameter(name="--to")] = None,
    out: Path | None = None,
    data: str | None = None,
    split: str | None = None,
    pixels: Literal["uint8", "float32"] = "uint8",
    int8: bool = False,
    checkpoint: Checkpoint = "best",
) -> None:
    """Write a trained network for other programs, after it has answered every validation image as the run does.

    Preprocessing, class names and recipe are inside. A file that does not answer the same is not written.

    For example:
      alexnet export runs/last
      alexnet export runs/photos --to hf --out photos-hf

    Parameters
    ----------
    to
        onnx: one node a layer, LRN as ONNX has it; torch-export: a .pt2 archive; hf: a folder with config.json,
        a model card, and a model.safetensors that alexnet import reads. By default as OUT ends, else onnx.
    out
        The file or folder to write; by default the name of the run with .onnx, .pt2 or -hf.
    data
        Images to compare on, as for alexnet train; by default those of the run.
    split
        The split to compare on; by default val, else all there is.
    pixels
        The type that an ONNX file takes; values are 0..255 in both.
    int8
        ONNX in 8 bits, a quarter as large; written if its accuracy falls by no more than a point.
    """
    from alexnet.cli import tables, tables_interpret

    model = alexnet.load(run, checkpoint=checkpoint, device="cpu")
    found = model.export(
        out,
        to=to,
        data=data,
        split=split,
        pixels=pixels,
        int8=int8,
        progress=True,
        on_prepared=tables.prepared,
    )
    tables_interpret.exported(found)


def parity(first: Path, second: Path, *images: Images, trust: bool = False) -> None:
    """Compare the answers of two networks: run folders, ONNX files, exported programs, exported folders.

    Leaves with 3 if an image could not be read, and with 6 if they are not equal.

    For example:
      alexnet parity runs/last photos.onnx holiday/
      alexnet parity photos.onnx photos.pt2 holiday/*.jpg --trust

    Parameters
    ----------
    first
        A run folder, or what alexnet export wrote.
    second
        Another one.
    trust
        Open exported programs (.pt2), which can run code: only for files that you made yourself.
    """
    from alexnet.cli import tables_interpret
    from alexnet.cli.terminal import refuse_unread

    found = alexnet.parity(first, second, images, trust=trust)
    tables_interpret.parity(found)
    found.check()
    refuse_unread(len(found.errors), len(found.errors) + found.parity.images)

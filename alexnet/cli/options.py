"""Arguments that mean the same in every verb, with the one sentence that explains each."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from alexnet.data.image_bytes import MAX_PIXELS
from alexnet.distributed.rendezvous import ALONE, Division

__all__ = [
    "ALONE",
    "MAX_PIXELS",
    "Changes",
    "Checkpoint",
    "Device",
    "Divided",
    "Fast",
    "Format",
    "Images",
    "Labels",
    "MaxPixels",
    "Names",
    "RunPath",
    "Views",
]

Changes = Annotated[
    str,
    Parameter(
        allow_leading_hyphen=True,
        show_default=False,
        help="Fields of the recipe to change: field=value or --field value; alexnet recipes NAME shows them all.",
    ),
]
Checkpoint = Annotated[Literal["best", "last"], Parameter(help="The best on validation, or the last.")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, mps, or a torch device such as cuda:1.")]
Divided = Annotated[Division, Parameter(name="*", group="Parallel training")]
Fast = Annotated[
    bool,
    Parameter(
        help="On a CUDA card use algorithms that may add in another order each time: faster, but a resumed run then "
        "does not end with the same bytes. Elsewhere it changes nothing."
    ),
]
Format = Annotated[Literal["table", "json", "csv"], Parameter(help="table for people, json or csv for programs.")]
Images = Annotated[str, Parameter(allow_leading_hyphen=True, help='Files, folders or "patterns".')]
Labels = Annotated[
    Path | None,
    Parameter(help="A table (CSV) of files and labels, with a line filename,label: for images without class folders."),
]
MaxPixels = Annotated[
    int,
    Parameter(
        help="Images with more pixels are not read: one takes 4 to 16 bytes of memory a pixel. A JPEG is decoded at "
        "half its size and may have four times as many, or twice as many if it is progressive."
    ),
]
Names = Annotated[int, Parameter(name=["--k", "-k"], help="How many answers for each image.")]
RunPath = Annotated[Path, Parameter(help="The run folder; runs/last is the newest.")]
Views = Annotated[
    Literal[1, 10],
    Parameter(help="1: the centre; 10: corners, centre and their mirrors, probabilities averaged, as in the paper."),
]

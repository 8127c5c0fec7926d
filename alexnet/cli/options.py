"""Arguments that mean the same in every verb, with the one sentence that explains each."""

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from alexnet.data.image_bytes import PIXELS_VARIABLE, pixel_limit
from alexnet.distributed.launchers import refuse_several
from alexnet.distributed.rendezvous import ALONE, Division

__all__ = [
    "ALONE",
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
    "Raw",
    "RunPath",
    "Views",
    "refuse_several",
    "with_max_pixels",
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
    int | None,
    Parameter(
        help="Images with more pixels are not read: one takes 4 to 16 bytes of memory a pixel. A JPEG is decoded at "
        "half its size and may have four times as many, or twice as many if it is progressive. By default 64 million, "
        "of images that are sent to a service 27 million."
    ),
]
Names = Annotated[int, Parameter(name=["--k", "-k"], help="How many answers for each image.")]
Raw = Annotated[bool, Parameter(help="Probabilities as the network gives them, without the temperature of the run.")]
RunPath = Annotated[Path, Parameter(help="The run folder; runs/last is the newest.")]
Views = Annotated[
    Literal[1, 10],
    Parameter(help="1: the center; 10: corners, center and their flips, probabilities averaged, as in the paper."),
]


def with_max_pixels(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb that reads images the option --max-pixels, which holds wherever it reads one.

    The limit is kept in the environment while the verb runs, because images are read in many places, also by the
    processes that a verb starts.
    """

    @wraps(verb)
    def limited(*arguments: Any, max_pixels: int | None = None, **options: Any) -> None:
        before = os.environ.get(PIXELS_VARIABLE)
        if max_pixels is not None:
            os.environ[PIXELS_VARIABLE] = str(max_pixels)
        try:
            pixel_limit()  # a wrong one is refused before anything is done
            verb(*arguments, **options)
        finally:
            os.environ.pop(PIXELS_VARIABLE, None)
            if before is not None:
                os.environ[PIXELS_VARIABLE] = before

    signature = inspect.signature(verb)
    option = inspect.Parameter("max_pixels", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=MaxPixels)
    limited.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    limited.__annotations__ = verb.__annotations__ | {"max_pixels": MaxPixels}
    return limited

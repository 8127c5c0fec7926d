"""Finds cached images to be prepared anew, since a newer reader can read some that were left out of them.

What was left out is read again only where the reader is another one than before: this version of alexnet, of Pillow, or
pillow-heif, which has been installed. As long as none of it can be read, and where nothing was left out, the folder in
the cache stays the one that is used. It is never removed or changed: there may be runs that were trained on it.
"""

import hashlib
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import PIL

from alexnet.data.dataset import PREPARED, WHOLE, read_facts
from alexnet.data.image_bytes import MAX_PIXELS
from alexnet.data.image_files import heif_reader
from alexnet.data.images import prepare_image
from alexnet.data.samples import Source
from alexnet.errors import DataError

READER = 2  # to be raised when images are read that were not before
NOTE = "reader.txt"  # in the prepared folder: the last reader that could not read what was left out of it


def reader() -> str:
    """Describes what decides which images can be read."""
    return f"alexnet {READER}, pillow {PIL.__version__}, {'' if heif_reader() else 'no '}pillow-heif"


def made_anew(source: Source, out: Path) -> Path:
    """Returns the folder in the cache for `source`: `out`, or one beside it if more images can be read than are in it.

    Args:
        source: whose key is that of `out`.
        out: where its images were prepared, or will be.
    """
    anew = out.with_name(f"{out.name}-{hashlib.sha256(reader().encode()).hexdigest()[:6]}")
    if (anew / PREPARED).exists():
        return anew
    if not (out / PREPARED).exists() or _reader_of(out) == reader():
        return out
    return anew if _some_can_be_read(source, read_facts(out)) else out


def note_reader(out: Path) -> None:
    """Writes down that the images that were left out of `out` cannot be read by this reader."""
    with suppress(OSError):
        if not (out / NOTE).exists() or _reader_of(out) != reader():
            (out / NOTE).write_text(reader() + "\n", "ascii")


def _reader_of(out: Path) -> str:
    try:
        return (out / NOTE).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _some_can_be_read(source: Source, facts: dict[str, Any]) -> bool:
    """Whether an image that was left out can be read now."""
    if not facts["skipped"]:
        return False
    here = {name: (samples, index) for samples in source.splits.values() for index, name in enumerate(samples.names)}
    max_pixels, whole = facts["settings"].get("max_pixels", MAX_PIXELS), facts["settings"].get(WHOLE, False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged metadata, as when they were prepared
        for samples, index in (here[name] for _, name, _ in facts["skipped"] if name in here):
            with suppress(DataError):
                prepare_image(samples.image(index), facts["size"], max_pixels, whole=whole)
                return True
    return False

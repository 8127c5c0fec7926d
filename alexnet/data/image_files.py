"""A hostile file, or its bytes, to a Pillow image whose header is read, or a DataError that says why not.

Files are hostile until decoded: only formats on an allow-list are tried (nothing that runs another program), pipes
and devices are not opened, and pictures with too many pixels, or with far more than their bytes can describe, are
refused from the header, before memory is spent. No state of Pillow is changed, so all of this may run in many threads.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image

from alexnet.errors import DataError

MAX_PIXELS = 64_000_000
# More pixels than this are believed only if every byte of the file stands for no more than PIXELS_PER_BYTE of them. An
# empty page scanned at 300 dpi has 9 million in a kilobyte; photographs have fewer than 50 a byte.
BELIEVED_PIXELS = 12_000_000
PIXELS_PER_BYTE = 1000
# Every scan of a progressive JPEG goes over the whole picture. Encoders write about ten; a thousand fit into 100 kB.
MAX_SCANS = 100
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
REPLACE = "Replace it, or remove it."
SMALLER = "Save it smaller, or remove it."


@contextmanager
def open_image(data: bytes | Path, max_pixels: int) -> Iterator[Image.Image]:
    """The picture with its header read; whatever goes wrong until the end of the `with` becomes a DataError."""
    where = data if isinstance(data, Path) else "picture"
    try:
        with _file(data) as file:
            yield _open(file, max_pixels)
    except RefusedImage as refused:
        raise DataError(f"{where}: {refused.what}", fix=refused.fix, code=refused.code) from None
    except Exception as error:
        # Decoders answer broken bytes with almost any exception type; for the user all mean the same.
        if isinstance(error, OSError) and error.strerror:
            raise DataError(
                f"{where}: cannot be read: {_short(error)}",
                fix="Check that the file is there and that you may read it.",
                code="E301",
            ) from error
        raise DataError(f"{where}: cannot be read: {_short(error)}", fix=REPLACE, code="E302") from error


class RefusedImage(DataError):
    """A reason not to read a picture, to be completed with its name."""


def _file(data: bytes | Path) -> IO[bytes]:
    """The bytes as a file, opened to be read."""
    if isinstance(data, bytes):
        return io.BytesIO(data)
    kind = data.stat().st_mode
    # Opening a pipe that nobody writes to would wait forever, and a device may do anything.
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise RefusedImage("a pipe, socket or device, not a file", fix="Remove it.", code="E304")
    return data.open("rb")


def _open(file: IO[bytes], max_pixels: int) -> Image.Image:
    """The picture with its header read, by the first allowed format that accepts it."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    prefix = file.read(64)
    if not prefix:
        raise RefusedImage("the file is empty", fix=REPLACE, code="E303")
    # Not Image.open: it warns of large pictures on stderr by itself, where we refuse them with our own limit.
    Image.init()
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is not None and (accepts is None or accepts(prefix) is True) and _may_be(name, prefix):
            file.seek(0)
            image = factory(file, "")
            _refuse_bombs(image, file, length, max_pixels)
            return image
    raise RefusedImage(_unknown(prefix + file.read(1024)), fix="Save it as JPEG or PNG, or remove it.", code="E304")


def _may_be(name: str, prefix: bytes) -> bool:
    """False for a HEIC picture that goes by a brand which AVIF may have as well, so that Pillow takes it for one."""
    return name != "AVIF" or b"avif" in prefix or b"avis" in prefix


def _refuse_bombs(image: Image.Image, file: IO[bytes], length: int, max_pixels: int) -> None:
    """Raises what is wrong with the size of a picture of which only the header was read; the file is `length` long."""
    width, height = image.size
    if width * height > max_pixels:
        raise RefusedImage(
            f"{width} x {height} pixels, more than the limit of {max_pixels:,}", fix=SMALLER, code="E305"
        )
    if width * height > max(BELIEVED_PIXELS, PIXELS_PER_BYTE * length):
        raise RefusedImage(
            f"{width} x {height} pixels in {length:,} bytes, which only a made-up file has", fix=SMALLER, code="E305"
        )
    if image.info.get("progressive"):
        file.seek(0)
        # Within the data of a JPEG these two bytes never follow each other.
        scans = file.read().count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise RefusedImage(
                f"a JPEG of {scans:,} scans, more than the limit of {MAX_SCANS}", fix="Save it anew.", code="E305"
            )


def _unknown(head: bytes) -> str:
    """Why a file with these first bytes is not a picture we read."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing, not pixels; export it as PNG"
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page, not a picture; the download went wrong"
    if text.startswith(b"%!ps"):
        return "an EPS or PostScript file, which is a program and is not run; export it as PNG"
    if text.startswith(b"%pdf"):
        return "a PDF file; export it as PNG"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc"):
        return "a HEIC picture, which is not supported; save it as JPEG"
    return f"not a picture in a known format ({', '.join(FORMATS)})"


def format_of(path: Path) -> tuple[str, bool]:
    """What a picture file is, whatever its name says: one of `FORMATS`, and whether it has more than one frame.

    Meant for a picture that `read_image` has read; of one that cannot be opened it says ("", False).
    """
    try:
        with open_image(path, MAX_PIXELS) as image:
            kind = str(image.format)
            try:
                return kind, int(getattr(image, "n_frames", 1)) > 1
            except Exception:
                # Counting looks at all frames; what is broken behind the first, the only one used, does not matter.
                return kind, False
    except DataError:
        return "", False


def _short(error: Exception) -> str:
    """An exception as a few words on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    words = " ".join(str(error).split())[:120]
    return words or type(error).__name__

"""Opens an image file, or its bytes, as a Pillow image with its header read; a DataError says why it cannot.

No file is trusted before it is decoded. Only formats on an allow-list are tried (none that runs another program).
Pipes and devices are not opened. Images with too many pixels, or with far more pixels than their bytes can describe,
are refused after reading the header, before memory is allocated. No state of Pillow is changed, so all functions may
run in many threads.
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
# A larger image is accepted only if it has at most PIXELS_PER_BYTE pixels per byte of its file. An empty page scanned
# at 300 dpi has 9 million pixels in a kilobyte; photographs have fewer than 50 pixels per byte.
BELIEVED_PIXELS = 12_000_000
PIXELS_PER_BYTE = 1000
# Decoding one scan of a progressive JPEG visits the whole image. Encoders write about ten scans; a thousand fit into
# 100 kB.
MAX_SCANS = 100
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
REPLACE = "Replace it, or remove it."
SMALLER = "Save it smaller, or remove it."


@contextmanager
def open_image(data: bytes | Path, max_pixels: int) -> Iterator[Image.Image]:
    """Opens an image and reads its header; any error until the end of the `with` block becomes a DataError."""
    name = data if isinstance(data, Path) else "image"
    try:
        with _file(data) as file:
            yield _open(file, max_pixels)
    except RefusedImage as refused:
        raise DataError(f"{name}: {refused.what}", fix=refused.fix, code=refused.code) from None
    except Exception as error:
        # Decoders raise almost any exception type for damaged bytes; for the user all mean the same.
        if isinstance(error, OSError) and error.strerror:
            raise DataError(
                f"{name}: cannot be read: {_short(error)}",
                fix="Check that the file is there and that you may read it.",
                code="E301",
            ) from error
        raise DataError(f"{name}: cannot be read: {_short(error)}", fix=REPLACE, code="E302") from error


class RefusedImage(DataError):
    """The reason why an image is refused; `open_image` adds the name of the image."""


def _file(data: bytes | Path) -> IO[bytes]:
    """Opens the file, or the bytes as a file, for reading."""
    if isinstance(data, bytes):
        return io.BytesIO(data)
    kind = data.stat().st_mode
    # Opening a pipe without a writer would wait forever, and opening a device may have any effect.
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise RefusedImage("a pipe, socket or device, not a file", fix="Remove it.", code="E304")
    return data.open("rb")


def _open(file: IO[bytes], max_pixels: int) -> Image.Image:
    """Reads the header with the first allowed format that accepts the file."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    prefix = file.read(64)
    if not prefix:
        raise RefusedImage("the file is empty", fix=REPLACE, code="E303")
    # Not Image.open: it prints warnings about large images to stderr; here they are refused, with our own limit.
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
    """Returns False for a HEIC image with a brand that AVIF may have too, which Pillow would take for AVIF."""
    return name != "AVIF" or b"avif" in prefix or b"avis" in prefix


def _refuse_bombs(image: Image.Image, file: IO[bytes], length: int, max_pixels: int) -> None:
    """Raises RefusedImage if an image is too large, judged by its header and by the `length` of its file in bytes."""
    width, height = image.size
    if width * height > max_pixels:
        raise RefusedImage(
            f"{width} x {height} pixels, more than the limit of {max_pixels:,}", fix=SMALLER, code="E305"
        )
    if width * height > max(BELIEVED_PIXELS, PIXELS_PER_BYTE * length):
        raise RefusedImage(
            f"{width} x {height} pixels, too many for a file of {length:,} bytes", fix=SMALLER, code="E305"
        )
    if image.info.get("progressive"):
        file.seek(0)
        # These two bytes mark the start of a scan; they cannot occur within the compressed data.
        scans = file.read().count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise RefusedImage(
                f"a JPEG of {scans:,} scans, more than the limit of {MAX_SCANS}", fix="Save it again.", code="E305"
            )


def _unknown(head: bytes) -> str:
    """Explains why a file with these first bytes is not an image that can be read."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "an SVG drawing, not pixels; export it as PNG"
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page, not an image; the download went wrong"
    if text.startswith(b"%!ps"):
        return "an EPS or PostScript file, which is a program and is not run; export it as PNG"
    if text.startswith(b"%pdf"):
        return "a PDF file; export it as PNG"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc"):
        return "a HEIC image, which is not supported; save it as JPEG"
    return f"not an image in a known format ({', '.join(FORMATS)})"


def format_of(path: Path) -> tuple[str, bool]:
    """Finds the format of an image file from its content, not from its name, and whether it has more than one frame.

    Returns:
        One of `FORMATS` and True for several frames; ("", False) if the file cannot be opened.
    """
    try:
        with open_image(path, MAX_PIXELS) as image:
            format_name = str(image.format)
            try:
                return format_name, int(getattr(image, "n_frames", 1)) > 1
            except Exception:
                # Counting reads all frames. Damage after the first frame does not matter: only the first is used.
                return format_name, False
    except DataError:
        return "", False


def _short(error: Exception) -> str:
    """Describes an exception in a few words on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    words = " ".join(str(error).split())[:120]
    return words or type(error).__name__

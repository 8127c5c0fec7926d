"""Opens an image file, or its bytes, as a Pillow image with its header read; a DataError says why it cannot.

No file is trusted before it is decoded. Only formats on an allow-list are tried (none that runs another program).
Pipes and devices are not opened. Images with too many pixels, and JPEGs with far more pixels than their bytes can
describe, are refused after reading the header, before memory is allocated. What may cost more than its header says is
opened by `image_guard`, in a process with limits. No state of Pillow is changed, so all functions may run in many
threads.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, jpeg_factory

from alexnet.data.image_bytes import (
    MAX_PIXELS,
    RefusedImage,
    brands,
    count_scans,
    pixel_limit,
    webp_size,
    without_refused_chunks,
)
from alexnet.data.image_guard import read_guarded
from alexnet.data.image_structure import needs_guard
from alexnet.data.netpbm import quickly_readable, size_of
from alexnet.errors import DataError

# A JPEG with more pixels is decoded at half its size. While that is done, one that is written in several passes lies in
# memory at its full size, with up to 6 bytes a pixel.
REDUCED_TIMES = 4
REDUCED_TIMES_IN_PASSES = 2
# A JPEG needs two bits for a block of 8 x 8 pixels, so it has at most 256 a byte, or 512 in several passes. One that
# claims to have more is cut off or made up. All other formats describe an empty page of any size in a few bytes.
BELIEVED_PIXELS = 12_000_000
PIXELS_PER_BYTE = 1000
# Decoding one scan of a progressive JPEG visits the whole image. Encoders write about ten scans; one for each
# coefficient of each color would be 190.
MAX_SCANS = 500
MAX_SEQUENTIAL_SCANS = 4  # without progression, each color is in one scan
MAX_VISITED_PIXELS = 100 * MAX_PIXELS
READ_AT_ONCE = 1 << 22  # bytes of a file
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
JPEGS = ("JPEG", "MPO")
AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
HEIF_ENDINGS = (".heic", ".heif", ".hif")
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp"),
    *(".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif"),
    *(HEIF_ENDINGS if find_spec("pillow_heif") is not None else ()),
)
NO_HEIF = "a HEIC image, which needs pillow-heif: pip install 'alexnet[heif]', or save it as JPEG"
NO_AVIF = "an AVIF image, which this Pillow was built without: pip install -U pillow, or save it as JPEG"
REPLACE = "Replace it, or remove it."
SMALLER = "Save it smaller, or raise the limit with --max-pixels (ALEXNET_MAX_PIXELS in Python)."


@contextmanager
def open_image(data: bytes | Path, max_pixels: int, header_only: bool = False) -> Iterator[Image.Image]:
    """Opens an image and reads its header; any error until the end of the `with` block becomes a DataError.

    Args:
        data: the bytes of an image file, or the path of one.
        max_pixels: more are refused.
        header_only: whether the pixels are not needed; those of some files would be decoded already now.
    """
    name = data if isinstance(data, Path) else "image"
    try:
        with _file(data) as file:
            length = file.seek(0, os.SEEK_END)
            if needs_guard(_format(file), file, length):
                path = data if isinstance(data, Path) else None
                yield read_guarded(file, path, max_pixels, header_only)
            else:
                yield open_here(file, max_pixels)
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


def _file(data: bytes | Path) -> IO[bytes]:
    """Opens the file, or the bytes as a file, for reading; a small file is read at once, since readers ask often."""
    if isinstance(data, bytes):
        return io.BytesIO(data)
    facts = data.stat()
    # Opening a pipe without a writer would wait forever, and opening a device may have any effect.
    if not stat.S_ISREG(facts.st_mode) and not stat.S_ISDIR(facts.st_mode):
        raise RefusedImage("a pipe, socket or device, not a file", fix="Remove it.", code="E304")
    if stat.S_ISREG(facts.st_mode) and facts.st_size <= READ_AT_ONCE:
        return io.BytesIO(data.read_bytes())
    return data.open("rb")


def _format(file: IO[bytes]) -> str:
    """Which of `FORMATS`, or HEIF, the file begins like; raises RefusedImage if none."""
    file.seek(0)
    prefix = file.read(64)
    if not prefix:
        raise RefusedImage("the file is empty", fix=REPLACE, code="E303")
    media = frozenset(brands(prefix + file.read(192)))
    if media & HEIF_BRANDS and not media & AVIF_BRANDS:
        if heif_reader() is None:
            raise RefusedImage(NO_HEIF, fix="Install it, or save the image as JPEG.", code="E304")
        return "HEIF"
    # Not Image.open: it prints warnings about large images to stderr; here they are refused, with our own limit.
    for load_readers in (Image.preinit, Image.init):  # of the common formats first: the others take time to load
        load_readers()
        for name in FORMATS:
            factory, accepts = Image.OPEN.get(name, (None, None))
            accepted = factory is not None and (accepts is None or accepts(prefix) is True)
            if accepted and (name != "AVIF" or media & AVIF_BRANDS):
                return name
    if media & AVIF_BRANDS:
        raise RefusedImage(NO_AVIF, fix="Install it, or save the image as JPEG.", code="E304")
    file.seek(0)
    raise RefusedImage(_unknown(file.read(1088)), fix="Save it as JPEG or PNG, or remove it.", code="E304")


def open_here(file: IO[bytes], max_pixels: int) -> Image.Image:
    """Reads the header in this process, with the first allowed format that accepts the file."""
    name, length = _format(file), file.seek(0, os.SEEK_END)
    if name == "HEIF":
        reader = heif_reader()
        assert reader is not None
        file.seek(0)
        image = reader(file, "")
        _refuse_bombs(image, file, length, max_pixels)
        return image
    if name == "PNG":
        file = without_refused_chunks(file)
    if name == "PPM" and _is_netpbm(file):
        _refuse_large(size_of(file), max_pixels)
        file = quickly_readable(file)
    if name == "WEBP":
        file.seek(0)
        _refuse_large(webp_size(file.read(30)), max_pixels)
    file.seek(0)
    image = _opened(Image.OPEN[name][0], file)
    _refuse_bombs(image, file, length, max_pixels)
    _scale_transparency(image)
    return image


def _is_netpbm(file: IO[bytes]) -> bool:
    file.seek(0)
    return file.read(2)[1:] in (b"1", b"2", b"3", b"4", b"5", b"6")


def _opened(factory: Callable[..., Any], file: IO[bytes]) -> Image.Image:
    """Reads the header with one reader of Pillow."""
    try:
        image: Image.Image = factory(file, "")
    except Exception:
        if factory is not jpeg_factory:
            raise
        # A damaged index of further images in the file, as phones write it, does not damage the first one.
        file.seek(0)
        image = JpegImageFile(file, "")
    return image


def hint_for(ending: str) -> str:
    """Says after the ending of files that are not used how they would be, if they are HEIC images."""
    return " (pip install 'alexnet[heif]' reads them)" if ending in HEIF_ENDINGS else ""


def heif_reader() -> Callable[[IO[bytes], str], Image.Image] | None:
    """Returns the reader of HEIC images; None where pillow-heif is not installed."""
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError:
        return None
    return cast(Callable[[IO[bytes], str], Image.Image], HeifImageFile)


def _refuse_large(size: tuple[int, int], limit: int) -> None:
    if size[0] * size[1] > limit:
        raise RefusedImage(f"{size[0]} x {size[1]} pixels, more than the limit of {limit:,}", fix=SMALLER, code="E305")


def _refuse_bombs(image: Image.Image, file: IO[bytes], length: int, max_pixels: int) -> None:
    """Raises RefusedImage if an image is too large, judged by its header and by the `length` of its file in bytes."""
    width, height = image.size
    pixels, limit, scans = width * height, max_pixels, 1
    is_jpeg = image.format in JPEGS
    if is_jpeg:
        file.seek(0)
        scans = count_scans(file.read())
        in_passes = image.info.get("progressive") or scans > 1
        limit *= REDUCED_TIMES_IN_PASSES if in_passes else REDUCED_TIMES
    _refuse_large(image.size, limit)
    if is_jpeg and pixels > max(BELIEVED_PIXELS, PIXELS_PER_BYTE * length):
        raise RefusedImage(
            f"{width} x {height} pixels, too many for a JPEG of {length:,} bytes", fix=REPLACE, code="E305"
        )
    most = (
        min(MAX_SCANS, MAX_VISITED_PIXELS // max(1, pixels)) if image.info.get("progressive") else MAX_SEQUENTIAL_SCANS
    )
    if scans > max(1, most):
        raise RefusedImage(
            f"a JPEG of {scans:,} scans, more than the limit of {most}", fix="Save it again.", code="E305"
        )


def reduce_on_decoding(image: Image.Image, max_pixels: int, scale: float = 1) -> None:
    """Lets an opened JPEG be decoded at 1/2, 1/4 or 1/8 of its size: not below `scale`, but within `max_pixels`.

    A JPEG within the limit whose `scale` is 1, and any other image, is decoded as it is.
    """
    width, height = image.size
    if image.format not in JPEGS:
        return
    target = (round(width * scale), round(height * scale))
    if width * height > max_pixels:
        target = (max(1, min(target[0], width // 2)), max(1, min(target[1], height // 2)))
    if target != (width, height):
        image.draft(None, target)


def _scale_transparency(image: Image.Image) -> None:
    """Brings the transparent color of a PNG, which is in the units of the file, to those of the decoded pixels.

    Pillow decodes 16-bit colors to their upper 8 bits, and gray of 2 and 4 bits to 0..255, but leaves that color as it
    is, so that no pixel would equal it.
    """
    color = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if image.format == "PNG" and tiles else None
    rawmode = arguments[0] if isinstance(arguments, tuple) else arguments
    if rawmode == "RGB;16B" and isinstance(color, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in color)
    elif rawmode in ("L;2", "L;4") and isinstance(color, int):
        image.info["transparency"] = color * (85 if rawmode == "L;2" else 17)


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
    return f"not an image in a known format ({', '.join(FORMATS)})"


def format_of(path: Path) -> tuple[str, bool]:
    """Finds the format of an image file from its content, not from its name, and whether it has more than one frame.

    Returns:
        One of `FORMATS` and True for several frames; ("", False) if the file cannot be opened.
    """
    try:
        with open_image(path, pixel_limit(), header_only=True) as image:
            format_name = str(image.format)
            try:
                # Not by `n_frames`, for which all frames of a GIF are read.
                return format_name, bool(getattr(image, "is_animated", False))
            except Exception:
                # Damage after the first frame does not matter: only the first is used.
                return format_name, False
    except DataError:
        return "", False


def _short(error: Exception) -> str:
    """Describes an exception in a few words on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    words = " ".join(str(error).split())[:120]
    return words or type(error).__name__

"""One picture in whatever form users have it -> uint8 RGB pixels, or a DataError that says why not.

Everything a picture can be is brought to 8-bit RGB on purpose, since Pillow's own `convert("RGB")` turns 16-bit
pictures white, float pictures black and transparent ones into whatever colour is hidden under the transparency:

- EXIF rotation is applied; transparency is laid over white; CMYK, YCbCr and LAB are converted; ICC profiles ignored
- 16-bit grey, and 32-bit integers that fit into 0..65535, are scaled by 255/65535; other integers by their min..max
- floats inside [0, 1] are multiplied by 255, other floats scaled by their min..max; a flat picture outside becomes
  black, NaN becomes the minimum and infinities the nearer end
- of animations and multi-page files the first frame counts

Files are hostile until decoded: only formats on an allow-list are tried (nothing that runs another program), pipes
and devices are not opened, and pictures with too many pixels, or with far more than their bytes can describe, are
refused from the header, before memory is spent. What is decoded (4 bytes a pixel, 16 from a WebP) is converted in
bands, so that converting takes next to no memory beside it. No state of Pillow is changed, so all functions may run in
many threads at once.
"""

import io
import math
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.errors import DataError

MAX_PIXELS = 64_000_000
# More pixels than this are believed only if every byte of the file stands for no more than PIXELS_PER_BYTE of them. An
# empty page scanned at 300 dpi has 9 million in a kilobyte; photographs have fewer than 50 a byte.
BELIEVED_PIXELS = 12_000_000
PIXELS_PER_BYTE = 1000
# Every scan of a progressive JPEG goes over the whole picture. Encoders write about ten; a thousand fit into 100 kB.
MAX_SCANS = 100
# Pictures of more pixels than this are converted in bands of about BAND_PIXELS.
IN_ONE_PIECE = 1 << 22
BAND_PIXELS = 1 << 20
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")

# How to turn a picture whose EXIF orientation tag has this value (EXIF 2.32, tag 0x0112; 1 is upright): whether rows
# and columns are swapped, and the steps in which the rows, then the columns are taken.
UPRIGHT = {
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}
ORIENTATION_TAG = 0x0112
REPLACE = "Replace it, or remove it."
SMALLER = "Save it smaller, or remove it."

Pixels = NDArray[np.uint8]
Convert = Callable[[Image.Image], Image.Image]


def read_image(data: bytes | Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """One picture as uint8 RGB.

    Args:
        data: the bytes of a picture file, or the path of one.
        max_pixels: more pixels than this are refused from the header.

    Returns:
        (H, W, 3) in 0..255, upright.

    Raises:
        DataError: it cannot be read; the reason is in the message.
    """
    return read_image_noting(data, max_pixels)[0]


def read_image_noting(data: bytes | Path, max_pixels: int = MAX_PIXELS) -> tuple[Pixels, tuple[str, ...]]:
    """Same as `read_image`, and in which ways the picture was out of the ordinary, as in `prepare_image_noting`."""
    with _opened(data, max_pixels) as image:
        image.load()
        orientation = _orientation(image)
        convert, oddities = _converter(image)
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        for top, bottom in _bands(image.width, 0, image.height):
            band = convert(image.crop((0, top, image.width, bottom)))
            pixels[top:bottom] = np.asarray(band.convert("RGB"))
    return _upright(pixels, orientation), oddities + (("rotated by EXIF",) if orientation != 1 else ())


def format_of(path: Path) -> tuple[str, bool]:
    """What a picture file is, whatever its name says: one of `FORMATS`, and whether it has more than one frame.

    Meant for a picture that `read_image` has read; of one that cannot be opened it says ("", False).
    """
    try:
        with _opened(path, MAX_PIXELS) as image:
            kind = str(image.format)
            try:
                return kind, int(getattr(image, "n_frames", 1)) > 1
            except Exception:
                # Counting looks at all frames; what is broken behind the first, the only one used, does not matter.
                return kind, False
    except DataError:
        return "", False


def prepare_image(data: bytes | Path | Pixels, size: int = 256, max_pixels: int = MAX_PIXELS) -> Pixels:
    """One picture as the paper prepares it (sec. 2): shorter side resized to `size`, central square cut out.

    Args:
        data: the bytes or the path of a picture file, or pixels: uint8 (H, W) grey or (H, W, 3) RGB.
        size: side of the square in pixels.
        max_pixels: more pixels than this are refused from the header.

    Returns:
        (size, size, 3) in 0..255.

    Raises:
        DataError: it cannot be read; the reason is in the message.
    """
    return prepare_image_noting(data, size, max_pixels)[0]


def prepare_image_noting(
    data: bytes | Path | Pixels, size: int = 256, max_pixels: int = MAX_PIXELS
) -> tuple[Pixels, tuple[str, ...]]:
    """Same as `prepare_image`, and in which ways the picture was out of the ordinary.

    Returns:
        the pixels, and a few of: "enlarged", "rotated by EXIF", "transparent", "CMYK", "more than 8 bits".
    """
    if isinstance(data, np.ndarray):
        return _square(Image.fromarray(data), size)
    with _opened(data, max_pixels) as image:
        # JPEGs can be decoded at 1/2, 1/4 or 1/8; at twice the wanted size or more the result differs by 0.3 grey
        # levels on average and takes a third of the time.
        scale = 2 * size / min(image.size)
        image.draft(None, (round(image.width * scale), round(image.height * scale)))
        image.load()
        # Only now: TIFF turns itself while loading and then drops the tag, PNG may keep it behind the pixels.
        orientation = _orientation(image)
        pixels, oddities = _square(image, size)
    return _upright(pixels, orientation), oddities + (("rotated by EXIF",) if orientation != 1 else ())


def _square(image: Image.Image, size: int) -> tuple[Pixels, tuple[str, ...]]:
    """The central square of a loaded image as uint8 (size, size, 3), not yet turned, and the image's oddities."""
    convert, oddities = _converter(image)
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # The square is cut by the resampling itself: scaling a 1x20000 strip first would need 256x5120000 pixels.
    box = (left, top, left + side, top + side)
    if width * height <= IN_ONE_PIECE:
        square = convert(image).resize((size, size), Image.Resampling.BICUBIC, box)
    else:
        square = _resized_in_bands(image, size, box, convert)
    return np.array(square.convert("RGB")), oddities + (("enlarged",) if side < size else ())


def _resized_in_bands(
    image: Image.Image, size: int, box: tuple[float, float, float, float], convert: Convert
) -> Image.Image:
    """What `convert(image).resize((size, size), BICUBIC, box)` gives, without converting all of a large image at once.

    Rows are resampled before columns. Pillow rounds and clips in between and may take the other order, so that some
    pixels differ, in photographs by one grey level.
    """
    left, top, right, bottom = box
    # The weights reach beyond the box by two pixels of the result, or of the picture where that is enlarged.
    reach = 2 * max((right - left) / size, 1) + 1
    x0, x1 = max(0, math.floor(left - reach)), min(image.width, math.ceil(right + reach))
    y0, y1 = max(0, math.floor(top - reach)), min(image.height, math.ceil(bottom + reach))
    narrow = []
    for start, stop in _bands(x1 - x0, y0, y1):
        band = convert(image.crop((x0, start, x1, stop)))
        inside = (left - x0, 0, right - x0, stop - start)
        narrow.append(np.asarray(band.resize((size, stop - start), Image.Resampling.BICUBIC, inside)))
    whole = Image.fromarray(np.concatenate(narrow))
    return whole.resize((size, size), Image.Resampling.BICUBIC, (0, top - y0, size, bottom - y0))


def _bands(width: int, top: int, bottom: int) -> Iterator[tuple[int, int]]:
    """Rows top..bottom - 1 of pictures `width` wide in pieces of about BAND_PIXELS pixels: first row, row behind."""
    rows = max(1, BAND_PIXELS // width)
    for start in range(top, bottom, rows):
        yield start, min(start + rows, bottom)


@contextmanager
def _opened(data: bytes | Path, max_pixels: int) -> Iterator[Image.Image]:
    """The picture with its header read; whatever goes wrong until the end of the `with` becomes a DataError."""
    where = data if isinstance(data, Path) else "picture"
    try:
        with _file(data) as file:
            yield _open(file, max_pixels)
    except _Refused as refused:
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


class _Refused(DataError):
    """A reason not to read a picture, to be completed with its name."""


def _file(data: bytes | Path) -> IO[bytes]:
    """The bytes as a file, opened to be read."""
    if isinstance(data, bytes):
        return io.BytesIO(data)
    kind = data.stat().st_mode
    # Opening a pipe that nobody writes to would wait forever, and a device may do anything.
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise _Refused("a pipe, socket or device, not a file", fix="Remove it.", code="E304")
    return data.open("rb")


def _open(file: IO[bytes], max_pixels: int) -> Image.Image:
    """The picture with its header read, by the first allowed format that accepts it."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    prefix = file.read(64)
    if not prefix:
        raise _Refused("the file is empty", fix=REPLACE, code="E303")
    # Not Image.open: it warns of large pictures on stderr by itself, where we refuse them with our own limit.
    Image.init()
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is not None and (accepts is None or accepts(prefix) is True) and _may_be(name, prefix):
            file.seek(0)
            image = factory(file, "")
            _refuse_bombs(image, file, length, max_pixels)
            return image
    raise _Refused(_unknown(prefix + file.read(1024)), fix="Save it as JPEG or PNG, or remove it.", code="E304")


def _may_be(name: str, prefix: bytes) -> bool:
    """False for a HEIC picture that goes by a brand which AVIF may have as well, so that Pillow takes it for one."""
    return name != "AVIF" or b"avif" in prefix or b"avis" in prefix


def _refuse_bombs(image: Image.Image, file: IO[bytes], length: int, max_pixels: int) -> None:
    """Raises what is wrong with the size of a picture of which only the header was read; the file is `length` long."""
    width, height = image.size
    if width * height > max_pixels:
        raise _Refused(f"{width} x {height} pixels, more than the limit of {max_pixels:,}", fix=SMALLER, code="E305")
    if width * height > max(BELIEVED_PIXELS, PIXELS_PER_BYTE * length):
        raise _Refused(
            f"{width} x {height} pixels in {length:,} bytes, which only a made-up file has", fix=SMALLER, code="E305"
        )
    if image.info.get("progressive"):
        file.seek(0)
        # Within the data of a JPEG these two bytes never follow each other.
        scans = file.read().count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise _Refused(
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


def _orientation(image: Image.Image) -> int:
    """Value of the EXIF orientation tag; 1 where there is none, or none that makes sense."""
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:
        # A damaged EXIF block does not make the pixels worse: every viewer shows such a picture as it lies.
        return 1
    return value if value in UPRIGHT else 1


def _converter(image: Image.Image) -> tuple[Convert, tuple[str, ...]]:
    """What brings bands of a loaded image to mode L or RGB with the rules at the top of this file, and its oddities."""
    mode = image.mode
    if mode.startswith("I;16"):
        return _from_sixteen_bits, ("more than 8 bits",)
    if mode in ("I", "F"):
        ends = _ends(image)
        if mode == "I" and ends[0] >= 0 and ends[1] <= 65535:
            return _from_sixteen_bits, ("more than 8 bits",)
        unit = mode == "F" and ends[0] >= 0 and ends[1] <= 1
        return partial(_from_range, ends=ends, scale=(0, 1) if unit else ends), ("more than 8 bits",)
    if image.has_transparency_data:
        return _over_white, ("transparent",)
    target = "L" if mode in ("1", "L") else "RGB"
    oddities = ("CMYK",) if mode == "CMYK" else ()
    return lambda band: band if band.mode == target else band.convert(target), oddities


def _ends(image: Image.Image) -> tuple[float, float]:
    """The smallest and the largest finite number of an image of numbers."""
    ends: list[float] = []
    for top, bottom in _bands(image.width, 0, image.height):
        values = np.asarray(image.crop((0, top, image.width, bottom)))
        values = values[np.isfinite(values)]
        if len(values):
            ends += [float(values.min()), float(values.max())]
    if not ends:
        raise _Refused("float picture without a single finite value", fix=REPLACE, code="E306")
    return min(ends), max(ends)


def _from_sixteen_bits(band: Image.Image) -> Image.Image:
    """Integers in 0..65535 -> mode L: 65535 -> 255, 32768 -> 128."""
    table = np.rint(np.arange(65536) * (255 / 65535)).astype(np.uint8)
    return Image.fromarray(table[np.asarray(band)])


def _from_range(band: Image.Image, ends: tuple[float, float], scale: tuple[float, float]) -> Image.Image:
    """Numbers -> mode L: scale[0] -> 0, scale[1] -> 255; NaN as the lower of `ends`, infinities as the nearer."""
    values: NDArray[Any] = np.asarray(band).astype(np.float64)
    values = np.nan_to_num(values, nan=ends[0], neginf=ends[0], posinf=ends[1])
    low, high = scale
    scaled = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _over_white(band: Image.Image) -> Image.Image:
    """A band with transparency laid over white, mode RGB."""
    colours = band.convert("RGBA")
    white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, colours).convert("RGB")


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels (H, W, 3) as the EXIF orientation tag says they are to be looked at."""
    swapped, rows, columns = UPRIGHT.get(orientation, (False, 1, 1))
    turned = pixels.transpose(1, 0, 2) if swapped else pixels
    return np.ascontiguousarray(turned[::rows, ::columns])


def _short(error: Exception) -> str:
    """An exception as a few words on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    words = " ".join(str(error).split())[:120]
    return words or type(error).__name__

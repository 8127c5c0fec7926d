"""One picture in whatever form users have it -> uint8 RGB pixels, or a DataError that says why not.

Everything a picture can be is brought to 8-bit RGB on purpose, since Pillow's own `convert("RGB")` turns 16-bit
pictures white, float pictures black and transparent ones into whatever colour is hidden under the transparency:

- EXIF rotation is applied; transparency is laid over white; CMYK, YCbCr and LAB are converted; ICC profiles ignored
- 16-bit grey, and 32-bit integers that fit into 0..65535, are scaled by 255/65535; other integers by their min..max
- floats inside [0, 1] are multiplied by 255, other floats scaled by their min..max; a flat picture outside becomes
  black, NaN becomes the minimum and infinities the nearer end
- of animations and multi-page files the first frame counts

Files are hostile until decoded: only formats on an allow-list are tried (nothing that runs another program), and
pictures with too many pixels are refused from the header, before memory is spent. No state of Pillow is changed, so
all functions may run in many threads at once.
"""

import io
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.errors import DataError

MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")

# What to do with a picture whose EXIF orientation tag has this value (EXIF 2.32, tag 0x0112); 1 is upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION_TAG = 0x0112
REPLACE = "Replace it, or remove it."

Pixels = NDArray[np.uint8]


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
    image, orientation, _ = _decode(data, max_pixels, None)
    return _pixels(image, orientation)


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
    orientation = 1
    oddities: tuple[str, ...] = ()
    if isinstance(data, np.ndarray):
        image = Image.fromarray(data)
    else:
        image, orientation, oddities = _decode(data, max_pixels, size)
    width, height = image.size
    side = min(width, height)
    if side < size:
        oddities += ("enlarged",)
    # The square is cut by the resampling itself: scaling a 1x20000 strip first would need 256x5120000 pixels.
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    square = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return _pixels(square, orientation), oddities


def _decode(data: bytes | Path, max_pixels: int, size: int | None) -> tuple[Image.Image, int, tuple[str, ...]]:
    """An 8-bit image in mode L or RGB, its EXIF orientation (not yet applied), and its oddities."""
    where = data if isinstance(data, Path) else "picture"
    try:
        with data.open("rb") if isinstance(data, Path) else nullcontext(io.BytesIO(data)) as file:
            image = _open(file)
            width, height = image.size
            if width * height == 0:
                raise _Refused(f"{width} x {height} pixels", fix=REPLACE, code="E306")
            if width * height > max_pixels:
                raise _Refused(
                    f"{width} x {height} pixels, more than the limit of {max_pixels:,}",
                    fix="Save it smaller, or remove it.",
                    code="E305",
                )
            if size is not None:
                # JPEGs can be decoded at 1/2, 1/4 or 1/8; at twice the wanted size or more the result differs by
                # 0.3 grey levels on average and takes a third of the time.
                scale = 2 * size / min(width, height)
                image.draft(None, (round(width * scale), round(height * scale)))
            image.load()
            # Only now: TIFF turns itself while loading and then drops the tag, PNG may keep it behind the pixels.
            orientation = _orientation(image)
            eight_bit, oddities = _to_eight_bits(image)
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
    return eight_bit, orientation, oddities + (("rotated by EXIF",) if orientation != 1 else ())


class _Refused(DataError):
    """A reason not to read a picture, to be completed with its name."""


def _open(file: IO[bytes]) -> Image.Image:
    """The picture with its header read, by the first allowed format that accepts it."""
    prefix = file.read(16)
    if not prefix:
        raise _Refused("the file is empty", fix=REPLACE, code="E303")
    # Not Image.open: it warns of large pictures on stderr by itself, where we refuse them with our own limit.
    Image.init()
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is not None and (accepts is None or accepts(prefix) is True):
            file.seek(0)
            return factory(file, "")
    raise _Refused(_unknown(prefix + file.read(1024)), fix="Save it as JPEG or PNG, or remove it.", code="E304")


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
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        # A damaged EXIF block does not make the pixels worse: every viewer shows such a picture as it lies.
        return 1
    return value if value in UPRIGHT else 1


def _to_eight_bits(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The image in mode L or RGB with the rules at the top of this file, and its oddities."""
    mode = image.mode
    if mode.startswith("I;16"):
        return _from_sixteen_bits(np.asarray(image)), ("more than 8 bits",)
    if mode == "I":
        values = np.asarray(image)
        fits = values.min() >= 0 and values.max() <= 65535
        return _from_sixteen_bits(values) if fits else _from_range(values), ("more than 8 bits",)
    if mode == "F":
        values = _finite(np.asarray(image))
        inside = values.min() >= 0 and values.max() <= 1
        return _from_range(values, 0, 1) if inside else _from_range(values), ("more than 8 bits",)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colours).convert("RGB"), ("transparent",)
    oddities = ("CMYK",) if mode == "CMYK" else ()
    return image.convert("L" if mode in ("1", "L") else "RGB"), oddities


def _from_sixteen_bits(values: NDArray[Any]) -> Image.Image:
    """Integers (H, W) in 0..65535 -> mode L: 65535 -> 255, 32768 -> 128."""
    table = np.rint(np.arange(65536) * (255 / 65535)).astype(np.uint8)
    return Image.fromarray(table[values])


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    """Floats (H, W) with NaN and infinities replaced by the ends of the finite range."""
    finite = np.isfinite(values)
    if finite.all():
        return values
    if not finite.any():
        raise _Refused("float picture without a single finite value", fix=REPLACE, code="E306")
    low, high = values[finite].min(), values[finite].max()
    filled: NDArray[Any] = np.nan_to_num(values, nan=low, neginf=low, posinf=high)
    return filled


def _from_range(values: NDArray[Any], low: float | None = None, high: float | None = None) -> Image.Image:
    """Numbers (H, W) -> mode L: `low` -> 0, `high` -> 255; without ends the smallest and largest number."""
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    scaled = (values.astype(np.float64) - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _pixels(image: Image.Image, orientation: int) -> Pixels:
    """An 8-bit image as upright uint8 (H, W, 3)."""
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    return np.array(image.convert("RGB"))


def _short(error: Exception) -> str:
    """An exception as a few words on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    words = " ".join(str(error).split())[:120]
    return words or type(error).__name__

"""One picture in whatever form users have it -> uint8 RGB pixels, or a DataError that says why not.

Everything a picture can be is brought to 8-bit RGB on purpose, since Pillow's own `convert("RGB")` turns 16-bit
pictures white, float pictures black and transparent ones into whatever colour is hidden under the transparency:

- EXIF rotation is applied; transparency is laid over white; CMYK, YCbCr and LAB are converted; ICC profiles ignored
- 16-bit grey, and 32-bit integers that fit into 0..65535, are scaled by 255/65535; other integers by their min..max
- floats inside [0, 1] are multiplied by 255, other floats scaled by their min..max; a flat picture outside becomes
  black, NaN becomes the minimum and infinities the nearer end
- of animations and multi-page files the first frame counts

What is decoded (4 bytes a pixel, 16 from a WebP) is converted in bands, so that converting takes next to no memory
beside it. All functions may run in many threads at once.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.image_files import MAX_PIXELS, REPLACE, RefusedImage, open_image

# Pictures of more pixels than this are converted in bands of about BAND_PIXELS.
IN_ONE_PIECE = 1 << 22
BAND_PIXELS = 1 << 20

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
    with open_image(data, max_pixels) as image:
        image.load()
        orientation = _orientation(image)
        convert, oddities = _converter(image)
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        for top, bottom in _bands(image.width, 0, image.height):
            band = convert(image.crop((0, top, image.width, bottom)))
            pixels[top:bottom] = np.asarray(band.convert("RGB"))
    return _upright(pixels, orientation), oddities + (("rotated by EXIF",) if orientation != 1 else ())


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
    with open_image(data, max_pixels) as image:
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
        raise RefusedImage("float picture without a single finite value", fix=REPLACE, code="E306")
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

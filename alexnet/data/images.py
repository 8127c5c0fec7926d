"""Decodes one image in any common form to uint8 RGB pixels; a DataError says why it cannot be read.

Every mode is converted to 8-bit RGB by the rules below, because Pillow's own `convert("RGB")` turns 16-bit images
white, float images black, and transparent images into the color that is hidden under the transparency:

- EXIF rotation is applied; transparent images are placed on white; CMYK, YCbCr and LAB are converted; ICC profiles are
  ignored
- 16-bit gray, and 32-bit integers within 0..65535, are scaled by 255/65535; other integers from their min..max
- floats within [0, 1] are multiplied by 255; other floats are scaled from their min..max, and become black if all are
  equal; NaN becomes the minimum, an infinity the minimum or the maximum
- of animations and multi-page files the first frame is used

A decoded image (4 bytes per pixel, 16 from a WebP) is converted in bands, so the conversion needs almost no additional
memory. All functions may run in many threads at once.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.image_bytes import RefusedImage, pixel_limit
from alexnet.data.image_files import REPLACE, open_image, reduce_on_decoding
from alexnet.data.image_room import room_for
from alexnet.data.image_structure import tags_are_costly
from alexnet.data.resample import Convert, bands_of, resized

# Images with more pixels than this are converted in bands of about BAND_PIXELS.
IN_ONE_PIECE = 1 << 22
BAND_PIXELS = 1 << 20

# How to turn an image upright, by the value of its EXIF orientation tag (EXIF 2.32, tag 0x0112; 1 is upright): whether
# rows and columns are swapped, then the step (1, or -1 for reversed) of the rows and of the columns.
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


def read_image(data: bytes | Path, max_pixels: int | None = None) -> Pixels:
    """Decodes one image to uint8 RGB.

    Args:
        data: the bytes of an image file, or the path of one.
        max_pixels: images with more pixels are refused from the header; JPEGs are decoded at half their size. By
            default `pixel_limit`.

    Returns:
        (H, W, 3) in 0..255, upright.

    Raises:
        DataError: it cannot be read; the reason is in the message.
    """
    return read_image_noting(data, max_pixels)[0]


def read_image_noting(data: bytes | Path, max_pixels: int | None = None) -> tuple[Pixels, tuple[str, ...]]:
    """Does the same as `read_image`, and also returns the oddities of the image, as `prepare_image_noting` does."""
    limit = pixel_limit() if max_pixels is None else max_pixels
    with open_image(data, limit) as image:
        reduce_on_decoding(image, limit)
        return convert_image(image)


def convert_image(image: Image.Image) -> tuple[Pixels, tuple[str, ...]]:
    """Converts an image that Pillow has opened, by the rules at the top of this file; also returns its oddities."""
    with room_for(bytes_needed(image)):
        image.load()
        orientation = orientation_of(image)
        convert, oddities = _converter(image)
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        for top, bottom in bands_of(_rows_of_a_band(image.width), 0, image.height):
            band = convert(image.crop((0, top, image.width, bottom)))
            pixels[top:bottom] = np.asarray(band.convert("RGB"))
    return _upright(pixels, orientation), oddities + (("rotated by EXIF",) if orientation != 1 else ())


def prepare_image(
    data: bytes | Path | Pixels, size: int = 256, max_pixels: int | None = None, *, whole: bool = False
) -> Pixels:
    """Prepares one image as in the paper (sec. 2): resizes its shorter side to `size` and cuts out the central square.

    Args:
        data: the bytes or the path of an image file, or pixels: uint8 (H, W) gray or (H, W, 3) RGB.
        size: side of the square in pixels.
        max_pixels: images with more pixels are refused from the header, but for JPEGs, which are decoded at a smaller
            size; of those four times as many. By default `pixel_limit`.
        whole: stretches all of the image to the square instead, so that nothing is cut off.

    Returns:
        (size, size, 3) in 0..255.

    Raises:
        DataError: it cannot be read; the reason is in the message.
    """
    return prepare_image_noting(data, size, max_pixels, whole=whole)[0]


def prepare_image_noting(
    data: bytes | Path | Pixels, size: int = 256, max_pixels: int | None = None, *, whole: bool = False
) -> tuple[Pixels, tuple[str, ...]]:
    """Does the same as `prepare_image`, and also returns what was unusual about the image.

    Returns:
        The pixels, and those that apply of: "enlarged", "rotated by EXIF", "transparent", "CMYK", "more than 8 bits".
    """
    if isinstance(data, np.ndarray):
        return _square(Image.fromarray(data), size, whole)
    limit = pixel_limit() if max_pixels is None else max_pixels
    with open_image(data, limit) as image:
        # JPEGs can be decoded at 1/2, 1/4 or 1/8 of their size, which is faster. As long as at least twice the final
        # size is left, the resized pixels hardly differ.
        before = image.width * image.height if image.info.get("progressive") else 0
        reduce_on_decoding(image, limit, 2 * size / min(image.size))
        with room_for(bytes_needed(image, before)):
            image.load()
            # Only after loading: a TIFF is rotated then and its tag removed; a PNG may have the tag after the pixels.
            orientation = orientation_of(image)
            pixels, oddities = _square(image, size, whole)
    return _upright(pixels, orientation), oddities + (("rotated by EXIF",) if orientation != 1 else ())


def _square(image: Image.Image, size: int, whole: bool) -> tuple[Pixels, tuple[str, ...]]:
    """Resizes a loaded image, or its central square, to uint8 (size, size, 3), not yet rotated; also its oddities."""
    convert, oddities = _converter(image)
    width, height = image.size
    side = min(width, height)
    left, top = (0.0, 0.0) if whole else ((width - side) / 2, (height - side) / 2)
    # The resampling itself cuts out the square: resizing a 1x20000 strip first would need 256x5120000 pixels.
    box = (left, top, width - left, height - top)
    rows = height if width * height <= IN_ONE_PIECE else _rows_of_a_band(width)
    return resized(image, size, box, convert, rows), oddities + (("enlarged",) if side < size else ())


def bytes_needed(image: Image.Image, before: int = 0) -> int:
    """How much memory decoding takes, about: for a WebP several copies, for a JPEG in passes all pixels that it has.

    Args:
        before: its pixels before the reduction on decoding, of a JPEG in passes; 0 of others.
    """
    return image.width * image.height * (20 if image.format == "WEBP" else 8) + 6 * before


def _rows_of_a_band(width: int) -> int:
    """How many rows of an image have about BAND_PIXELS pixels."""
    return max(1, BAND_PIXELS // width)


def orientation_of(image: Image.Image) -> int:
    """Reads the EXIF orientation tag; 1 (upright) if it is missing or not valid."""
    try:
        exif = image.info.get("exif")
        if exif is None and (profile := image.info.get("Raw profile type exif")):
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
        if exif and tags_are_costly(exif):
            return 1
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:
        # A damaged EXIF block does not damage the pixels: every viewer shows such an image without rotation.
        return 1
    return value if value in UPRIGHT else 1


def _converter(image: Image.Image) -> tuple[Convert, tuple[str, ...]]:
    """Chooses the function that converts bands of a loaded image to mode L or RGB; also returns its oddities.

    The rules are those at the top of this file.
    """
    mode = image.mode
    if mode.startswith("I;16"):
        ground = image.info.get("transparency")
        if isinstance(ground, int):
            return partial(_from_sixteen_bits, ground=ground), ("more than 8 bits", "transparent")
        return _from_sixteen_bits, ("more than 8 bits",)
    if mode in ("I", "F"):
        ends = _ends(image)
        if mode == "I" and ends[0] >= 0 and ends[1] <= 65535:
            return _from_sixteen_bits, ("more than 8 bits",)
        in_unit_range = mode == "F" and ends[0] >= 0 and ends[1] <= 1
        return partial(_from_range, ends=ends, scale=(0, 1) if in_unit_range else ends), ("more than 8 bits",)
    if image.has_transparency_data:
        return _over_white, ("transparent",)
    target = "L" if mode in ("1", "L") else "RGB"
    oddities = ("CMYK",) if mode == "CMYK" else ()
    return lambda band: band if band.mode == target else band.convert(target), oddities


def _ends(image: Image.Image) -> tuple[float, float]:
    """Finds the smallest and the largest finite value of an image with integers or floats."""
    ends: list[float] = []
    for top, bottom in bands_of(_rows_of_a_band(image.width), 0, image.height):
        values = np.asarray(image.crop((0, top, image.width, bottom)))
        values = values[np.isfinite(values)]
        if len(values):
            ends += [float(values.min()), float(values.max())]
    if not ends:
        raise RefusedImage("float image without a single finite value", fix=REPLACE, code="E306")
    return min(ends), max(ends)


def _from_sixteen_bits(band: Image.Image, ground: int | None = None) -> Image.Image:
    """Converts integers in 0..65535 to mode L: 65535 -> 255, 32768 -> 128; `ground`, which is transparent, to white."""
    table = np.rint(np.arange(65536) * (255 / 65535)).astype(np.uint8)
    if ground is not None:
        table[ground] = 255
    return Image.fromarray(table[np.asarray(band)])


def _from_range(band: Image.Image, ends: tuple[float, float], scale: tuple[float, float]) -> Image.Image:
    """Converts integers or floats to mode L: scale[0] -> 0, scale[1] -> 255.

    NaN and -infinity become the lower of `ends`, +infinity the upper.
    """
    values: NDArray[Any] = np.asarray(band).astype(np.float64)
    values = np.nan_to_num(values, nan=ends[0], neginf=ends[0], posinf=ends[1])
    low, high = scale
    scaled = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _over_white(band: Image.Image) -> Image.Image:
    """Places a band with transparency on white; mode RGB."""
    foreground = band.convert("RGBA")
    white = Image.new("RGBA", foreground.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, foreground).convert("RGB")


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turns pixels (H, W, 3) upright, as the EXIF orientation tag says."""
    swapped, rows, columns = UPRIGHT.get(orientation, (False, 1, 1))
    oriented = pixels.transpose(1, 0, 2) if swapped else pixels
    return np.ascontiguousarray(oriented[::rows, ::columns])

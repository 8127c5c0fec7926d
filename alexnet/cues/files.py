"""Reads from the header of an image file what has nothing to do with what it shows: size, format, JPEG quality."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from alexnet.cues.pixels import Features
from alexnet.data.image_bytes import pixel_limit
from alexnet.data.image_files import open_image
from alexnet.data.images import Pixels, orientation_of
from alexnet.errors import DataError

# Sums of the tables of luma and chroma in annex K of the JPEG standard (ITU-T T.81), at quality 50 by definition.
LUMA_SUM, CHROMA_SUM = 3688, 5505
SIDEWAYS = (5, 6, 7, 8)  # values of the EXIF tag with which width and height change places
SIZE_STEP = 0.1  # of the logarithm of a file size: smaller differences follow from what is shown


@dataclass(frozen=True)
class FileFacts:
    """What the header of one image file says."""

    width: int  # upright
    height: int
    bytes: int
    format: str
    luma_quality: float = 0.0  # 1..100; 0 if it is no JPEG
    chroma_quality: float = 0.0
    sampling: int = -1  # of the colors of a JPEG: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0
    progressive: bool = False


def facts_of(path: Path) -> FileFacts | None:
    """Reads the header of a file; None if it cannot be read."""
    try:
        with open_image(path, pixel_limit(), header_only=True) as image:
            width, height = image.size
            if orientation_of(image) in SIDEWAYS:
                width, height = height, width
            luma, chroma, sampling = _compression(image)
            progressive = bool(image.info.get("progressive"))
            size = path.stat().st_size
            return FileFacts(width, height, size, str(image.format), luma, chroma, sampling, progressive)
    except (DataError, OSError):
        return None


def _compression(image: Image.Image) -> tuple[float, float, int]:
    tables: dict[int, Sequence[int]] = getattr(image, "quantization", None) or {}
    if not tables:
        return 0.0, 0.0, -1
    sums = [sum(tables[number]) for number in sorted(tables)]
    sampling = JpegImagePlugin.get_sampling(image) if isinstance(image, JpegImagePlugin.JpegImageFile) else -1
    chroma = quality_of(sums[1], CHROMA_SUM) if len(sums) > 1 else 0.0
    return quality_of(sums[0], LUMA_SUM), chroma, sampling


def quality_of(total: int, standard: int) -> float:
    """The quality, 1..100, at which libjpeg makes a quantization table with this sum from the standard one."""
    scale = 100 * total / standard  # in percent; libjpeg: 5000 / quality below 50, 200 - 2 * quality from there on
    return 5000 / scale if scale > 100 else (200 - scale) / 2


def size_features(facts: Sequence[FileFacts]) -> Features:
    """Logarithms of width, height and aspect ratio: (N, 3)."""
    rows = [(math.log(f.width), math.log(f.height), math.log(f.width / f.height)) for f in facts]
    return np.array(rows, np.float32).reshape(-1, 3)


def compression_features(facts: Sequence[FileFacts], formats: Sequence[str]) -> Features:
    """JPEG quality of luma and chroma, sampling and kind of JPEG, and the format as one column each: (N, ...)."""
    rows = [
        (
            f.luma_quality,
            f.chroma_quality,
            10 * f.sampling,
            20 * f.progressive,
            *(100 * (f.format == name) for name in formats),
        )
        for f in facts
    ]
    return np.array(rows, np.float32).reshape(len(facts), -1)


def content_bytes(square: Pixels) -> int:
    """The bytes that a small square takes as a JPEG of quality 75: how much there is to see in it."""
    buffer = io.BytesIO()
    Image.fromarray(square).save(buffer, "JPEG", quality=75)
    return buffer.tell()


def size_regressors(facts: Sequence[FileFacts], content: NDArray[np.int64]) -> NDArray[np.float64]:
    """What a file size may follow from: how much there is to see, and how many pixels show it: (N, 5)."""
    seen = np.log(content.astype(np.float64))
    pixels = np.log([float(f.width * f.height) for f in facts]) if facts else np.zeros(0)
    return np.stack([np.ones(len(seen)), seen, seen**2, pixels, pixels**2], 1)


def surplus(facts: Sequence[FileFacts], regressors: NDArray[np.float64], coefficients: NDArray[np.float64]) -> Features:
    """The logarithm of a file size beyond what the image explains, in steps of a tenth: (N, 1)."""
    rest = log_bytes(facts) - regressors @ coefficients
    return (np.round(rest / SIZE_STEP) * SIZE_STEP).astype(np.float32)[:, None]


def log_bytes(facts: Sequence[FileFacts]) -> NDArray[np.float64]:
    """Logarithms of the file sizes: (N,)."""
    return np.log([float(max(1, f.bytes)) for f in facts]) if facts else np.zeros(0)

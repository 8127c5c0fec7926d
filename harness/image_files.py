"""Image files with the properties that a test needs, made by hand or with Pillow."""

import io
import struct
import zlib

from PIL import Image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG with `count` scans, of which the last one is repeated."""
    content = saved(Image.new("RGB", (64, 64), (200, 100, 50)), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * (count - content.count(b"\xff\xda") + 1) + b"\xff\xd9"

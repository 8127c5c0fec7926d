"""Runs as a process with limits: reads image after image for `image_guard` and sends the pixels.

The limit of memory is what is used before the image, and what its size needs; before its header is read, what its
file needs. The limit of time is processor time, so that a busy machine changes nothing; the system ends the process
when it is spent, which no decoder can prevent.
"""

import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import Image

from alexnet.data.image_bytes import RefusedImage, webp_size
from alexnet.data.image_files import open_here, reduce_on_decoding
from alexnet.data.images import orientation_of

SECONDS = 2.5
SECONDS_PER_PIXEL = 40e-9
OF_VIDEO = 150e-9  # AVIF and HEIC are coded as films are
SPARE_BYTES = 96 << 20
BYTES_PER_PIXEL = {"AVIF": 28, "HEIF": 28, "WEBP": 24}
OTHERS_BYTES_PER_PIXEL = 16
COEFFICIENT_BYTES = 6  # a pixel of a JPEG in passes, which lies in memory at its full size
BAND_BYTES = 1 << 24


def main() -> int:
    """Answers requests until there are none."""
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not come between
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that of the terminal is for the process that asks
    _one_thread()
    Image.init()
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["bytes"])
        _answer(request, content, requests, answers)
        answers.flush()
    return 0


def _answer(request: dict[str, Any], content: bytes, requests: IO[bytes], answers: IO[bytes]) -> None:
    try:
        with _opened(request["path"], content) as (file, length):
            with _limits(SECONDS, SPARE_BYTES + 2 * length + _reserved(file, request["max_pixels"])):
                image = open_here(file, request["max_pixels"])
                pixels = image.width * image.height
                if not request["header_only"]:
                    reduce_on_decoding(image, request["max_pixels"])
                need = image.width * image.height * BYTES_PER_PIXEL.get(str(image.format), OTHERS_BYTES_PER_PIXEL)
                need += COEFFICIENT_BYTES * pixels if image.info.get("progressive") else 0
                head = {"width": image.width, "height": image.height, "mode": image.mode, "format": image.format}
                head |= {
                    "several": request["header_only"] and _several(image),
                    "orientation": orientation_of(image),
                    "need": need,
                }
            _send(answers, head)
            answers.flush()
            if not request["header_only"]:
                requests.readline()  # there is room for the pixels
                each = OF_VIDEO if image.format in ("AVIF", "HEIF") else SECONDS_PER_PIXEL
                seconds = SECONDS + each * pixels
                with _limits(seconds, SPARE_BYTES + 2 * length + need):
                    image.load()
                    orientation = orientation_of(image)
                    reply = {"width": image.width, "height": image.height, "mode": image.mode}
                    rows = max(1, BAND_BYTES // (4 * image.width))
                    reply |= {"rows": rows, "orientation": orientation}
                    reply |= {"palette": _palette(image), "transparency": _transparency(image)}
                _send(answers, reply)
                for top in range(0, image.height, rows):
                    bottom = min(top + rows, image.height)
                    band = image.crop((0, top, image.width, bottom)).tobytes()
                    _send(answers, {"bytes": len(band)})
                    answers.write(band)
    except RefusedImage as refused:
        _send(answers, {"refused": [refused.what, refused.fix, refused.code]})
    except MemoryError:
        _send(answers, {"memory": True})
    except Exception as error:  # decoders raise almost any exception for damaged bytes
        _send(answers, {"error": " ".join(str(error).split())[:200] or type(error).__name__})


@contextmanager
def _opened(path: str | None, content: bytes) -> Iterator[tuple[IO[bytes], int]]:
    with io.BytesIO(content) if path is None else Path(path).open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        yield file, length


def _reserved(file: IO[bytes], max_pixels: int) -> int:
    """What the reader of a WebP takes already when it reads the header: two images of its size."""
    head = file.read(30)
    file.seek(0)
    width, height = webp_size(head) if head[:4] == b"RIFF" else (0, 0)
    return 8 * min(width * height, max_pixels)


def _send(answers: IO[bytes], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")


def _several(image: Image.Image) -> bool:
    """Whether there is a second image. It is not counted how many: that would read them all."""
    try:
        if several := bool(getattr(image, "is_animated", False)):
            image.seek(1)
        return several
    except Exception:  # damage after the first frame does not matter: only the first is used
        return False


def _palette(image: Image.Image) -> tuple[str, list[int]] | None:
    if image.mode not in ("P", "PA") or image.palette is None:
        return None
    mode = "RGBA" if image.palette.mode == "RGBA" else "RGB"
    return mode, list(image.getpalette(mode) or ())


def _transparency(image: Image.Image) -> tuple[str, Any] | None:
    value = image.info.get("transparency")
    if value is None:
        return None
    return ("bytes", list(value)) if isinstance(value, bytes) else (type(value).__name__, value)


@contextmanager
def _limits(seconds: float, memory: int) -> Iterator[None]:
    """Limits the processor time and, beyond what is used already, the memory of what is done inside."""
    try:
        import resource
    except ImportError:
        yield
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if os.path.exists("/proc/self/statm"):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = used + memory
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _one_thread() -> None:
    """Decoders start a thread for each core, each with a stack that counts as memory."""
    try:
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    except ImportError:
        pass
    try:
        from pillow_heif import options

        options.DECODE_THREADS = 1
    except ImportError:
        pass


if __name__ == "__main__":
    sys.exit(main())

"""Has an image read by a process of its own, whose memory and processor time are limited by what its header promises.

For files that `image_structure` cannot vouch for: decoders of TIFF, AVIF and HEIF allocate and compute what the
compressed data says. The process (`guarded_decoding`) stays for the next image, so that it is started once, not for
each; there are as many as threads that read at once. Where the system has no such limits (Windows), only the time on
the clock is limited.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image

from alexnet.data.image_bytes import RefusedImage
from alexnet.data.image_room import room_for

CLOCK_SECONDS = 600  # of one image, where there is no limit of processor time, or the process is stopped
TIME_IS_SPENT = 27  # SIGPROF, which ends a process whose processor time is spent
SMALLER = "Save it again as JPEG or PNG, or remove it."

_idle: list[subprocess.Popen[bytes]] = []
_lock = threading.Lock()
_turns = threading.BoundedSemaphore(os.cpu_count() or 1)  # more processes than cores would gain nothing


class HeaderOnly(Image.Image):
    """An image of which only the header was read."""

    def __init__(self, size: tuple[int, int], mode: str) -> None:
        super().__init__()
        self._size, self._mode = size, mode


def read_guarded(file: IO[bytes], path: Path | None, max_pixels: int, header_only: bool) -> Image.Image:
    """Reads an image in a process with limits.

    Args:
        file: the image, for an image in memory.
        path: its path, if it is a file.
        header_only: whether the pixels are not needed.

    Raises:
        RefusedImage: it is refused, or needs more than the limits.
        ValueError: it is damaged.
    """
    with _turns:
        return _read(file, path, max_pixels, header_only)


def _read(file: IO[bytes], path: Path | None, max_pixels: int, header_only: bool) -> Image.Image:
    process, late = _take(), threading.Event()

    def ring() -> None:
        late.set()
        process.kill()

    clock = threading.Timer(CLOCK_SECONDS, ring)
    clock.daemon = True
    clock.start()
    try:
        image = _asked(process, file, path, max_pixels, header_only)
    except (BrokenPipeError, EOFError):
        code = _ended(process)
        raise _too_much_time() if code == -TIME_IS_SPENT or late.is_set() else _too_much_memory() from None
    except BaseException:
        process.kill()  # what it does now belongs to an image that nobody waits for
        _ended(process)
        raise
    finally:
        clock.cancel()
    with _lock:
        _idle.append(process)
    if isinstance(image, Exception):
        raise image
    return image


def _asked(
    process: subprocess.Popen[bytes], file: IO[bytes], path: Path | None, max_pixels: int, header_only: bool
) -> Image.Image | Exception:
    """Returns the image that the process sends, or why there is none; an EOFError if it has died."""
    assert process.stdin is not None
    content = b""
    if path is None:
        file.seek(0)
        content = file.read()
    request = {"path": None if path is None else os.path.abspath(path), "bytes": len(content), "max_pixels": max_pixels}
    request |= {"header_only": header_only}
    process.stdin.write(json.dumps(request).encode() + b"\n" + content)
    process.stdin.flush()
    head = _line(process)
    if why := _refusal(head):
        return why
    image: Image.Image = HeaderOnly((head["width"], head["height"]), head["mode"])
    if not header_only:
        with room_for(head["need"]):
            process.stdin.write(b"pixels\n")
            process.stdin.flush()
            reply = _line(process)
            if why := _refusal(reply):
                return why
            image = _pixels(process, reply)
    image.format = head["format"]
    image.is_animated = head["several"]  # type: ignore[attr-defined]
    # Only after loading: loading rotates a TIFF.
    orientation = (head if header_only else reply)["orientation"]
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.info["exif"] = exif.tobytes()
    return image


def _pixels(process: subprocess.Popen[bytes], reply: dict[str, Any]) -> Image.Image:
    """Receives a decoded image, in bands so that it does not lie in memory twice."""
    assert process.stdout is not None
    width, height, mode = reply["width"], reply["height"], reply["mode"]
    image = Image.new(mode, (width, height))
    for top in range(0, height, reply["rows"]):
        rows = min(reply["rows"], height - top)
        length = int(_line(process)["bytes"])
        content = process.stdout.read(length)
        if len(content) < length:
            raise EOFError
        image.paste(Image.frombytes(mode, (width, rows), content), (0, top))
    if reply["palette"] is not None:
        image.putpalette(bytes(reply["palette"][1]), reply["palette"][0])
    if reply["transparency"] is not None:
        kind, value = reply["transparency"]
        image.info["transparency"] = bytes(value) if kind == "bytes" else tuple(value) if kind == "tuple" else value
    return image


def _line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message: dict[str, Any] = json.loads(line)
    return message


class _Told(NamedTuple):
    """A refusal that the other process made."""

    what: str
    fix: str
    code: str


def _refusal(message: dict[str, Any]) -> Exception | None:
    if "refused" in message:
        told = _Told(*message["refused"])
        return RefusedImage(told.what, fix=told.fix, code=told.code)
    if "memory" in message:
        return _too_much_memory()
    return ValueError(message["error"]) if "error" in message else None


def _too_much_time() -> RefusedImage:
    return RefusedImage("decoding it takes far more time than an image of its size", fix=SMALLER, code="E373")


def _too_much_memory() -> RefusedImage:
    return RefusedImage("decoding it takes far more memory than an image of its size", fix=SMALLER, code="E374")


def _take() -> subprocess.Popen[bytes]:
    """A process that waits for an image: one that is there, or a new one."""
    while True:
        with _lock:
            process = _idle.pop() if _idle else None
        if process is None:
            return _start()
        if process.poll() is None:
            return process
        _ended(process)


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "alexnet.data.guarded_decoding"]
    # What libraries print about a damaged file is nothing that a reader of our messages can use.
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Waits for a process that is ending; its exit code."""
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:
            pass  # what was not yet written has no reader any more
    return process.wait()


def stop_guards() -> None:
    """Ends the processes that wait for an image."""
    with _lock:
        processes, _idle[:] = list(_idle), []
    for process in processes:
        _ended(process)


def _forget() -> None:
    """In a copy of this process: those that wait belong to the original."""
    global _lock, _turns
    _lock, _turns = threading.Lock(), threading.BoundedSemaphore(os.cpu_count() or 1)
    for process in _idle:
        process.returncode = 0  # nothing is to be waited for
    _idle.clear()


atexit.register(stop_guards)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

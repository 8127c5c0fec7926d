"""Files that are whole or absent, and what to tell the user when the disk refuses."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from alexnet.errors import ResourceError

TEMPORARY = ".tmp"  # ending of a file that is not whole yet


def cache_folder() -> Path:
    """Where prepared pictures and downloads are kept: $ALEXNET_CACHE, or alexnet in the user's cache folder."""
    given = os.environ.get("ALEXNET_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "alexnet"


def temporary_for(path: Path) -> Path:
    """The hidden file that becomes `path` when it is whole."""
    return path.with_name(f".{path.name}{TEMPORARY}")


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that appears under `path` only when it is whole and on the disk."""
    temporary = temporary_for(path)
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a refused write does not say of which file; `disk_errors` wants to know
        raise


def write_file(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with writing(path) as file:
        file.write(content)


def write_through(path: Path, content: bytes) -> None:
    """Writes a file to the disk, in a folder that nobody looks into before it is complete."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(path)
        raise


def fsync_folder(folder: Path) -> None:
    """Makes renames in `folder` last through a power cut. Windows cannot, and keeps them anyway."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """sha256 of a file of any length, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def disk_errors(doing: str, fix: str = "Make room and go on; what was saved before is whole.") -> Iterator[None]:
    """Turns what the file system refuses into an error that says what was being done and what to do.

    Args:
        doing: completes "while ...".
        fix: what to do when there is no space left.

    Raises:
        ResourceError: instead of any OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceError(
                f"disk full while {doing}: no space left{_free(error)}", fix=fix, code="E501"
            ) from error
        raise ResourceError(
            f"{error.strerror or error} while {doing}",
            fix="Look at the disk and the rights of the folder, then do it again; what was saved before is whole.",
            code="E502",
        ) from error


def _free(error: OSError) -> str:
    """How much is free where the error happened, if it says where."""
    folder = Path(error.filename).parent if isinstance(error.filename, str) else None
    return f" ({shutil.disk_usage(folder).free / 1e9:.2f} GB free)" if folder is not None and folder.is_dir() else ""

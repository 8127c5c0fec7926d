"""Writes files that are complete or absent, reads and appends rows of JSON; turns errors of the disk into messages."""

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import IO, Any

from alexnet.errors import AlexNetError, DataError, ResourceError, UsageError
from alexnet.text import slug

FULL_DISK_FIX = "Make room on the disk, then run the command again; what was saved before is complete."
REFUSED_FIX = (
    "Check the disk and the permissions of the folder, then run the command again; what was saved before is complete."
)
CACHE_FIX = "Set ALEXNET_CACHE to a folder in which you may write."
TEMPORARY = ".tmp"  # suffix of a file that is not complete yet


def cache_folder() -> Path:
    """Returns the folder for prepared images and downloads: $ALEXNET_CACHE, else alexnet in the user's cache."""
    cache = os.environ.get("ALEXNET_CACHE")
    if cache:
        return Path(cache)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "alexnet"
    except RuntimeError:
        raise UsageError(
            "there is no home folder, so none in which prepared images and downloads could be kept",
            fix=CACHE_FIX,
            code="E2040",
        ) from None


def user_path(text: str | Path) -> Path:
    """Returns a path with ~ for the folder of a user; as it is, if it is there or there is no such user."""
    path = Path(text)
    try:
        return path if os.path.lexists(path) else path.expanduser()
    except (RuntimeError, ValueError):
        return path


NAMES_NO_FILE = {
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its links lead in a circle",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
}


def file_error(error: OSError, doing: str = "") -> AlexNetError:
    """Returns an error of the file system that nothing else has explained as a message for people."""
    where = printable_path(error.filename)
    after = f" while {doing}" if doing else ""
    said = (error.strerror or str(error) or type(error).__name__).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"disk full{after}: {where or said}{_free(error)}", fix=FULL_DISK_FIX, code="E501")
    if error.errno == errno.EFBIG:
        return ResourceError(
            f"{where or 'a file'} would be larger than the limit for files of this process{after}",
            fix="Raise it: ulimit -f unlimited. Or the file system takes no larger files: use another one.",
            code="E544",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return ResourceError(f"too many open files{after}", fix="Raise the limit: ulimit -n 4096", code="E545")
    if error.errno in NAMES_NO_FILE:
        return UsageError(
            f"{where or 'a path'}: {NAMES_NO_FILE[error.errno]}{after}", fix="Check the path with ls -l.", code="E2041"
        )
    if isinstance(error, FileNotFoundError | IsADirectoryError | FileExistsError):
        return UsageError(f"{where or 'a file'}: {said}{after}", fix="Check the path with ls -l.", code="E2042")
    if isinstance(error, PermissionError):
        return DataError(
            f"{where or 'a file'}: you may not read or write it{after}",
            fix=_cache_fix(error) or "Check the permissions of it and of the folders above it: namei -l PATH.",
            code="E375",
        )
    return ResourceError(
        f"{where + ': ' if where else ''}{said}{after}", fix=_cache_fix(error) or REFUSED_FIX, code="E502"
    )


def _cache_fix(error: OSError) -> str:
    """What to do where the user's cache may not be made or written to; nothing for another error."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not isinstance(error.filename, str | os.PathLike):
        return ""
    refused = Path(error.filename)
    try:
        cache = cache_folder()
    except UsageError:  # no home
        return ""
    of_cache = refused.is_relative_to(cache) or (cache.is_relative_to(refused) and not os.path.lexists(refused))
    return CACHE_FIX if of_cache else ""


def printable_path(filename: object) -> str:
    """Returns the path that an error of the system names, or nothing; one that is too long is cut."""
    text = os.fsdecode(filename) if isinstance(filename, str | bytes | os.PathLike) else ""
    return text if len(text) <= 200 else f"{text[:200]}..."


def temporary_for(path: Path) -> Path:
    """Returns the name of the hidden file that is renamed to `path` when it is complete."""
    return path.with_name(f".{path.name}{TEMPORARY}")


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for writing that appears at `path` only when it is complete and stored on the disk."""
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
            error.filename = str(path)  # a failed write does not name its file, but `disk_errors` reports it
        raise


def write_file(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all."""
    with writing(path) as file:
        file.write(content)


def write_through(path: Path, content: bytes) -> None:
    """Writes a file and waits until it is on the disk; for a folder that nobody reads before it is complete."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(path)
        raise


def fsync_folder(folder: Path) -> None:
    """Makes renames in `folder` survive a power failure; not possible on Windows, and not needed there."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Computes the sha256 of a file of any length, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_name(path: Path) -> Path:
    """Returns the path, or where it exists the first of -2, -3 ... before its ending that does not."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())


def new_folder(parent: str, source: str) -> Path:
    """Returns an unused path in `parent`, named after the time and the last part of `source`."""
    return free_name(Path(parent) / f"{datetime.now():%Y-%m-%d-%H%M}-{slug(Path(source).name)}")


def refuse_to_replace(path: Path) -> None:
    """Rejects, before any work is done, an output path that exists.

    Raises:
        UsageError: E239.
    """
    if path.exists():
        raise UsageError(f"{path} exists", fix="Choose another name with --out.", code="E239")


@contextmanager
def disk_errors(doing: str, fix: str = FULL_DISK_FIX) -> Iterator[None]:
    """Turns an error of the file system into a message that says what was being done and how to fix it.

    Args:
        doing: what is being done; completes the sentence "... while ...".
        fix: what to do when there is no space left.

    Raises:
        ResourceError: instead of any OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise file_error(error, doing) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"disk full while {doing}: no space left{_free(error)}", fix=fix, code="E501"
            ) from error
        raise ResourceError(
            f"{error.strerror or error} while {doing}", fix=_cache_fix(error) or REFUSED_FIX, code="E502"
        ) from error


def _free(error: OSError) -> str:
    """Returns how much space is free where the error happened, or nothing if the error does not name a file."""
    folder = Path(error.filename).parent if isinstance(error.filename, str) else None
    return f" ({shutil.disk_usage(folder).free / 1e9:.2f} GB free)" if folder is not None and folder.is_dir() else ""


def parse_json(content: str | bytes) -> Any:
    """What a text in JSON holds, whoever wrote it.

    Raises:
        ValueError: it is not JSON or not UTF-8, brackets stand in brackets without end, or a whole number is larger
            than any of floating point, with which comparing and printing it would fail.
    """
    try:
        return json.loads(content, parse_int=_whole)
    except RecursionError:
        raise ValueError("its brackets are too deep") from None


def _whole(digits: str) -> int:
    value = int(digits)
    if abs(value) > sys.float_info.max:
        raise ValueError(f"a number of {len(digits)} digits")
    return value


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Returns the rows of the file in order, and the number of unreadable lines (a crash can cut off the last one)."""
    return parse_rows(path.read_text("utf-8", errors="replace")) if path.exists() else ([], 0)


def parse_rows(text: str) -> tuple[list[dict[str, Any]], int]:
    """The same of the content of such a file."""
    rows: list[dict[str, Any]] = []
    unreadable = 0
    for line in text.splitlines():
        try:
            row = parse_json(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            unreadable += bool(line.strip())
    return rows, unreadable


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row.

    Raises:
        ResourceError: the file cannot be written.
    """
    with disk_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() and _ends_in_mid_line(path):
                file.write(b"\n")  # otherwise this row would join the incomplete one
            file.write(json.dumps(dict(row), ensure_ascii=False).encode() + b"\n")


def _ends_in_mid_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"

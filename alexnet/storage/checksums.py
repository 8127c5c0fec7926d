"""SHA256SUMS: the checksums of the files of a folder, in the format that `sha256sum -c` reads.

Any single flipped bit in such a folder is detected. A bit in a file changes the checksum of that file. A bit in
SHA256SUMS changes a checksum, a file name or the form of a line, and each of these is compared.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TypeVar

from alexnet.errors import UntrustedFileError
from alexnet.storage.files import file_sha256

SUMS = "SHA256SUMS"
PUT_BACK = "Put it back from a copy, or start a new run."
LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.-]+)")

Parsed = TypeVar("Parsed")


def sums_of(contents: Mapping[str, bytes]) -> bytes:
    """Returns the content of SHA256SUMS for files with these contents, by file name."""
    return lines({name: hashlib.sha256(content).hexdigest() for name, content in contents.items()})


def lines(sums: Mapping[str, str]) -> bytes:
    """Returns the content of SHA256SUMS for these checksums, by file name."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()


def read_sums(folder: Path) -> dict[str, str]:
    """Reads the checksums stored in a folder, by file name.

    Raises:
        UntrustedFileError: SHA256SUMS is missing or was changed after it was written.
    """
    try:
        text = (folder / SUMS).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(folder / SUMS, str(error)) from None
    matches = [LINE.fullmatch(line) for line in text.split("\n")[:-1]]
    sums = {match[2]: match[1] for match in matches if match}
    if not sums or lines(sums).decode() != text:
        raise _damaged(folder / SUMS, "it is not as it was written")
    return sums


def read_listed(folder: Path, name: str, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Reads one file that SHA256SUMS lists, once, and parses its bytes while another thread computes their checksum.

    Returns:
        What `parse` returns; what it raises is raised if the file is not damaged.

    Raises:
        UntrustedFileError: E650, the file is damaged or missing, or the list is.
    """
    expected, path = read_sums(folder).get(name), folder / name
    if expected is None:
        raise _damaged(folder / SUMS, f"it does not list {name}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UntrustedFileError(_unread(path, error), fix=PUT_BACK, code="E650") from None
    begun = Event()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(_sha256, content, begun)
        begun.wait()  # a parser may keep Python's lock until it ends, and the checksum would not begin before
        try:
            return parse(content)
        finally:
            if found.result() != expected:
                raise UntrustedFileError(_changed(path), fix=PUT_BACK, code="E650") from None


def _sha256(content: bytes, begun: Event) -> str:
    begun.set()
    return hashlib.sha256(content).hexdigest()


def broken(folder: Path, required: Collection[str] = ()) -> list[str]:
    """Reads every file that SHA256SUMS lists; returns one line for each file that is damaged or missing.

    Args:
        required: files that it must list.
    """
    try:
        sums = read_sums(folder)
    except UntrustedFileError as error:
        return [error.what]
    problems = [f"{folder / name} has no checksum" for name in required if name not in sums]
    for name, expected in sums.items():
        path = folder / name
        try:
            if file_sha256(path) != expected:
                problems.append(_changed(path))
        except OSError as error:
            problems.append(_unread(path, error))
    return problems


def _changed(path: Path) -> str:
    return f"{path} is damaged: its bytes are not the ones that were written"


def _unread(path: Path, error: OSError) -> str:
    return f"{path} is missing or cannot be read: {error.strerror}"


def _damaged(path: Path, reason: str) -> UntrustedFileError:
    return UntrustedFileError(f"{path} is damaged or missing: {reason}", fix=PUT_BACK, code="E650")

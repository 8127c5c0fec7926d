"""SHA256SUMS: the checksums of the files of a folder, in the format that `sha256sum -c` reads.

Whatever single bit of such a folder flips is noticed: in a file by its checksum, in a checksum or a name by the file
that then does not fit, in the line itself by its form.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from alexnet.errors import UntrustedFileError
from alexnet.storage.files import file_sha256

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.-]+)")


def sums_of(contents: Mapping[str, bytes]) -> bytes:
    """The content of SHA256SUMS for files with these contents."""
    return lines({name: hashlib.sha256(content).hexdigest() for name, content in contents.items()})


def lines(sums: Mapping[str, str]) -> bytes:
    """The content of SHA256SUMS for these checksums, by name of the file."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()


def read_sums(folder: Path) -> dict[str, str]:
    """The checksums that a folder keeps, by name of the file.

    Raises:
        UntrustedFileError: SHA256SUMS is missing, or not as it was written.
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


def broken(folder: Path) -> list[str]:
    """What is wrong with the files that SHA256SUMS lists, a line each; it reads every byte of them."""
    try:
        sums = read_sums(folder)
    except UntrustedFileError as error:
        return [error.what]
    found = []
    for name, expected in sums.items():
        path = folder / name
        try:
            if file_sha256(path) != expected:
                found.append(f"{path} is damaged: its bytes are not the ones that were written")
        except OSError as error:
            found.append(f"{path} is missing or cannot be read: {error.strerror}")
    return found


def _damaged(path: Path, why: str) -> UntrustedFileError:
    return UntrustedFileError(
        f"{path} is damaged or missing: {why}", fix="Put it back from a copy, or start a new run.", code="E650"
    )

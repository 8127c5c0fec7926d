"""Reads the images of a tar archive in memory, as `tar -c` of any system writes it.

Python's tarfile is not safe for bytes from unknown clients: it follows chains of headers by recursion and accepts
sparse files of any declared length. This reader accepts only regular files, in the layout of POSIX 1003.1 (ustar) with
the long names of GNU (type L) and pax (type x); it skips other entries.
"""

from pathlib import Path
from typing import NamedTuple

from alexnet.data.folders import has_foreign_part, without_foreign
from alexnet.errors import DataError
from alexnet.text import printable

BLOCK = 512
MAX_NAME = 1 << 16  # bytes of a header that holds a long name; systems allow 4096 in a path
MAX_ENTRIES = 1000  # of any type, so that an archive of headers alone ends soon


class Archive(NamedTuple):
    """What is in an archive: (name, content) of its files, in order, and a sentence about those that are not used."""

    files: list[tuple[str, bytes]]
    notes: list[str]


def read_archive(data: bytes, limit: int) -> Archive:
    """Lists the files of an archive; what is not looked at in a folder is left out here too.

    Args:
        limit: more files than this are refused.

    Raises:
        DataError: E362, not a tar archive, or damaged; E363, no file in it; E364, too many.
    """
    files: list[tuple[str, bytes]] = []
    hidden: list[str] = []
    offset, long_name = 0, ""
    for _ in range(MAX_ENTRIES):
        header = data[offset : offset + BLOCK]
        if not header.strip(b"\0"):
            break  # an empty block, or the end of the data, ends the archive
        if len(header) < BLOCK or _number(header[148:156]) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
            raise _damaged(offset)
        size = _number(header[124:136])
        content = data[offset + BLOCK : offset + BLOCK + size]
        if size < 0 or len(content) < size:
            raise _damaged(offset)
        offset += BLOCK + -(-size // BLOCK) * BLOCK
        kind = header[156:157]
        if kind in (b"L", b"x") and size > MAX_NAME:
            raise _damaged(offset - size)
        if kind == b"L":
            long_name = _text(content)
        elif kind == b"x":
            long_name = _pax_path(content) or long_name
        else:
            if kind in (b"0", b"\0"):
                name = long_name or "/".join(
                    filter(None, (_text(header[345:500]) * _ustar(header), _text(header[:100])))
                )
                if has_foreign_part(name):  # macOS adds a file of attributes, named ._NAME, for each file
                    hidden.append(name)
                else:
                    files.append((printable(name), content))
            long_name = ""
        if len(files) > limit:
            raise DataError(
                f"more than {limit} images in one request", fix=f"Send {limit} or fewer at a time.", code="E364"
            )
    else:
        raise DataError(
            f"more than {limit} images in one request", fix=f"Send {limit} or fewer at a time.", code="E364"
        )
    used, notes = without_foreign([*(name for name, _ in files), *hidden], Path("the archive"))
    wanted = set(used)
    files = [(name, content) for name, content in files if name in wanted]
    if not files:
        raise DataError(
            "no files in the tar archive", fix="Send images: tar -c *.jpg | curl --data-binary @- URL", code="E363"
        )
    return Archive(files, notes)


def _ustar(header: bytes) -> bool:
    """Whether the header has a prefix of the name; the GNU layout has other fields there."""
    return header[257:263] == b"ustar\0"


def _number(field: bytes) -> int:
    """The value of an octal number as tar writes it; -1 if the field is not one."""
    text = field.strip(b" \0")
    return int(text, 8) if text and all(48 <= c < 56 for c in text) else -1


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _pax_path(content: bytes) -> str:
    """The path in the records "length key=value\\n" of a pax header; empty if there is none."""
    offset, path = 0, ""
    while offset < len(content):
        digits, _, _ = content[offset : offset + 20].partition(b" ")
        if not digits.isdigit() or int(digits) <= len(digits) + 1:
            break
        record = content[offset + len(digits) + 1 : offset + int(digits) - 1]
        key, _, value = record.partition(b"=")
        if key == b"path":
            path = _text(value)
        offset += int(digits)
    return path


def _damaged(offset: int) -> DataError:
    return DataError(
        f"not a tar archive, or damaged, at byte {offset:,}",
        fix="Make it with tar, not compressed: tar -c *.jpg | curl --data-binary @- URL",
        code="E362",
    )

"""The pictures of a tar archive in memory, as `tar -c` of any system writes it.

Python's tarfile is not used on bytes from strangers: it follows chains of headers by recursion and believes sparse
files of any claimed length. Here only plain files count, in the layout of POSIX 1003.1 (ustar) with the long names of
GNU (type L) and pax (type x); other entries are passed over.
"""

from alexnet.errors import DataError
from alexnet.text import printable

BLOCK = 512
MAX_ENTRIES = 1000  # of any type, so that an archive of nothing but headers ends soon


def images_of(data: bytes, most: int) -> list[tuple[str, bytes]]:
    """(name, content) of the files of an archive, in order.

    Args:
        most: more files than this are refused.

    Raises:
        DataError: E362, no tar archive, or damaged; E363, no file in it; E364, too many.
    """
    found: list[tuple[str, bytes]] = []
    place, long_name = 0, ""
    for _ in range(MAX_ENTRIES):
        header = data[place : place + BLOCK]
        if not header.strip(b"\0"):
            break  # two empty blocks end an archive, or the data does
        if len(header) < BLOCK or _number(header[148:156]) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
            raise _damaged(place)
        size = _number(header[124:136])
        content = data[place + BLOCK : place + BLOCK + size]
        if size < 0 or len(content) < size:
            raise _damaged(place)
        place += BLOCK + -(-size // BLOCK) * BLOCK
        kind = header[156:157]
        if kind == b"L":
            long_name = _text(content)
        elif kind == b"x":
            long_name = _pax_path(content) or long_name
        else:
            if kind in (b"0", b"\0"):
                name = long_name or "/".join(
                    filter(None, (_text(header[345:500]) * _ustar(header), _text(header[:100])))
                )
                # macOS adds a file of attributes beside each file.
                if not name.rpartition("/")[2].startswith("._"):
                    found.append((printable(name), content))
            long_name = ""
        if len(found) > most:
            raise DataError(
                f"more than {most} pictures in one request", fix=f"Send {most} or fewer at a time.", code="E364"
            )
    else:
        raise DataError(
            f"more than {most} pictures in one request", fix=f"Send {most} or fewer at a time.", code="E364"
        )
    if not found:
        raise DataError(
            "no files in the tar archive", fix="Send pictures: tar -c *.jpg | curl --data-binary @- URL", code="E363"
        )
    return found


def _ustar(header: bytes) -> bool:
    """Whether the header has a prefix of the name; GNU keeps other things there."""
    return header[257:263] == b"ustar\0"


def _number(field: bytes) -> int:
    """An octal number as tar writes it; -1 if it is none."""
    text = field.strip(b" \0")
    return int(text, 8) if text and all(48 <= c < 56 for c in text) else -1


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _pax_path(content: bytes) -> str:
    """The path in the records "length key=value\\n" of a pax header; empty if there is none."""
    place, path = 0, ""
    while place < len(content):
        digits, _, _ = content[place : place + 20].partition(b" ")
        if not digits.isdigit() or int(digits) <= len(digits) + 1:
            break
        record = content[place + len(digits) + 1 : place + int(digits) - 1]
        key, _, value = record.partition(b"=")
        if key == b"path":
            path = _text(value)
        place += int(digits)
    return path


def _damaged(place: int) -> DataError:
    return DataError(
        f"not a tar archive, or damaged, at byte {place:,}",
        fix="Make it with tar, not compressed: tar -c *.jpg | curl --data-binary @- URL",
        code="E362",
    )

"""Takes the bytes of an image out of a body that is JSON: {"image": "<base64>"}, or a data: URL in place of base64.

A body is read so if it begins like JSON, whatever its Content-Type says, since `curl -d` names it a form, and no
image begins like that.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from alexnet.errors import DataError

FIELD = "image"
DATA_URL = "data:"
FIX = 'Send {"image": "<base64 of the file>"} and nothing else, or the bytes alone: curl --data-binary @cat.jpg URL'
OPENING = (b"{", b"[", b'"')
MOST_VALUES = 1000  # each takes a hundred bytes when it is read, and the one that is wanted is alone
BLANKS = b" \t\r\n\v\f"
BLOCK = 1 << 16


def is_json(data: bytes) -> bool:
    """Whether a body begins like JSON or a data: URL, which no image does."""
    begin = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    return begin.startswith(OPENING) or begin.lower().startswith(DATA_URL.encode())


def image_in(data: bytes) -> bytes:
    """The image in a body; a body that is not JSON is the image.

    Raises:
        DataError: E358, JSON without an image in base64.
    """
    if not is_json(data):
        return data
    text = data.removeprefix(b"\xef\xbb\xbf").strip()
    if text[:5].lower() == DATA_URL.encode():
        return _decoded(text.decode("latin-1"))
    if sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise _refused(f"has more than {MOST_VALUES:,} values")
    try:
        # Not strict: line breaks within a string, as `base64` without -w0 writes them.
        body = json.loads(text, strict=False, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, ValueError) else "too many brackets"
        raise _refused(f"is not valid JSON: {said[:80]}") from None
    if not isinstance(body, dict):
        raise _refused(f"is {_kind(body)}, not an object")
    others = [name for name in body if name != FIELD]
    if FIELD not in body:
        raise _refused(f"has {_quoted(others)}, but no {FIELD!r}" if others else f"has no {FIELD!r}")
    if others:
        parameters = f"{FIX}; k, views, run and the like stand in the address: URL?k=3"
        raise _refused(f"has {_quoted(others)} beside {FIELD!r}", parameters)
    if not isinstance(body[FIELD], str):
        raise _refused(f"has {_kind(body[FIELD])} as {FIELD!r}, not base64 in a string")
    return _decoded(body[FIELD])


def _decoded(text: str) -> bytes:
    """The bytes of base64 in either alphabet, with line breaks or without its padding, or of a data: URL."""
    if text[:5].lower() == DATA_URL:
        head, comma, text = text.partition(",")
        if not comma:
            raise _refused("has a data: URL without a comma")
        encoded = _unquoted(text)
        if not head.lower().endswith(";base64"):
            return encoded
        text = encoded.decode("latin-1")
    if re.match(r"[a-z]+://", text[:12], re.IGNORECASE):
        raise _refused("has an address as 'image', and this server fetches nothing")
    try:
        digits = text.encode("ascii").translate(bytes.maketrans(b"-_", b"+/"), BLANKS).rstrip(b"=")
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _refused("has no valid base64 as 'image'") from None


def _unquoted(text: str) -> bytes:
    """The bytes that a text with %41 in place of A stands for, piece by piece: each % would be an object of its own."""
    pieces, start = [], 0
    while start < len(text):
        end = start + BLOCK
        end -= 2 if text[end - 2 : end - 1] == "%" else text[end - 1 : end] == "%"  # none is cut
        pieces.append(unquote_to_bytes(text[start:end]))
        start = end
    return b"".join(pieces)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given more than once")
    return found


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")


def _quoted(names: Sequence[str]) -> str:
    more = "" if len(names) < 4 else f" and {len(names) - 3} more"
    return ", ".join(repr(name[:40]) for name in names[:3]) + more


def _refused(what: str, fix: str = FIX) -> DataError:
    return DataError(f"the body begins like JSON and {what}", fix=f"{fix}.".replace("..", "."), code="E358")

"""The wire format of protocol buffers: fields of a message as views of its bytes, nothing believed unchecked.

Format: https://protobuf.dev/programming-guides/encoding/. Nothing here calls itself, so that nesting has no depth to
exhaust, and no list grows longer than `MOST` whatever a file says.
"""

import struct
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST = 64  # fields of a message, or numbers of a field, that are gathered in a list

Bytes = memoryview | bytes
Fields = dict[int, list[int | Bytes]]


class Damaged(ValueError):
    """Bytes that no writer of the format makes."""


def top_fields(content: memoryview) -> set[tuple[int, int]]:
    """(field number, wire type) of what a message begins with, up to where it stops being one."""
    found: set[tuple[int, int]] = set()
    try:
        for _ in fields(content, found):
            if len(found) > MOST:
                break
    except Damaged:
        pass
    return found


def fields(message: Bytes, begun: set[tuple[int, int]] | None = None) -> Iterator[tuple[int, int, int | Bytes]]:
    """(number, wire type, value) of each field; a run of equal fixed-size fields comes as one, its numbers joined.

    `begun` learns of a field even if what follows is cut off.
    """
    data = memoryview(message)
    at, end = 0, len(data)
    while at < end:
        start = at
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise Damaged(f"field number {number} at byte {start}")
        if begun is not None:
            begun.add((number, wire))
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
        elif wire == BYTES:
            length, at = _varint(data, at)
            if length > end - at:
                raise Damaged(f"a field of {length} bytes where {end - at} are left")
            yield number, wire, data[at : at + length]
            at += length
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
            if size > end - at:
                raise Damaged(f"a field of {size} bytes where {end - at} are left")
            following = at + size
            if at - start == 1 and following < end and data[following] == tag:
                run = _run(data, start, size + 1)
                yield number, wire, run[:, 1:].tobytes()
                at = start + run.size
            else:
                yield number, wire, data[at:following]
                at = following
        else:
            raise Damaged(f"wire type {wire} at byte {start}")


def _run(data: memoryview, start: int, record: int) -> NDArray[np.uint8]:
    """Rows of `record` bytes from `start` on that begin with the same byte."""
    every = np.frombuffer(data, np.uint8)
    most, rows = (len(data) - start) // record, 1
    while rows < most:
        step = min(2 * rows + 14, most - rows)  # growing, so that the cost stays that of the rows found
        first = start + rows * record
        other = np.flatnonzero(every[first : first + step * record : record] != every[start])
        if len(other):
            rows += int(other[0])
            break
        rows += step
    return every[start : start + rows * record].reshape(rows, record)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if at + i >= len(data):
            raise Damaged("it ends within a number")
        byte = data[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise Damaged(f"a number of more than 10 bytes at byte {at}")


def collect(message: Bytes, wanted: set[int]) -> Fields:
    """The wanted fields of a message, by number."""
    out: Fields = {}
    count = 0
    for number, _, value in fields(message):
        if number in wanted:
            count += 1
            if count > MOST:
                raise Damaged(f"more than {MOST} fields where a few are expected")
            out.setdefault(number, []).append(value)
    return out


def nested(parts: Fields, number: int) -> Fields:
    """The fields of a nested message, and nothing if it is absent."""
    return collect(as_bytes(parts[number][-1]), set(range(1, 20))) if number in parts else {}


def as_bytes(value: int | Bytes) -> Bytes:
    """The value of a field that is not a varint; `Damaged` if it is one."""
    if isinstance(value, int):
        raise Damaged("a number where bytes are expected")
    return value


def whole_numbers(values: list[int | Bytes]) -> list[int]:
    """Whole numbers, packed or not; none of Caffe's that is read here may be negative."""
    out: list[int] = []
    for value in values:
        if isinstance(value, int):
            out.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = _varint(memoryview(value), at)
            out.append(number)
            if len(out) > MOST:
                raise Damaged(f"more than {MOST} dimensions")
    if any(value >= 1 << 31 for value in out):
        raise Damaged("a negative or far too large number of dimensions or steps")
    return out


def whole_number(part: Mapping[int, list[int | Bytes]], number: int, default: int) -> int:
    """The last value of a field, as protocol buffers have it, or its default."""
    return (whole_numbers(part.get(number, [])) or [default])[-1]


def real_number(part: Mapping[int, list[int | Bytes]], number: int, default: float) -> float:
    """The last value of a field of 32-bit numbers, or its default."""
    if number not in part:
        return default
    value = as_bytes(part[number][-1])
    if len(value) < 4:
        raise Damaged(f"a number of {len(value)} bytes")
    return decimal(struct.unpack("<f", value[-4:])[0])


def decimal(value: float) -> float:
    """What was written in decimal before it became a 32-bit number: 0.0001, not 0.00009999999747."""
    return float(str(np.float32(value)))


def text(values: list[int | Bytes]) -> str:
    """The last value of a field of texts, cut to what a name may need."""
    return printable(bytes(as_bytes(values[-1]))[:200].decode(errors="replace")) if values else ""


def printable(words: str) -> str:
    """A text of a foreign file without what would command a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in words[:300])

"""Reads the wire format of protocol buffers: the fields of a message as views of its bytes, all of them checked.

Format: https://protobuf.dev/programming-guides/encoding/. No function here is recursive, so deep nesting cannot exhaust
the stack, and no list grows longer than `MOST`, whatever a file says.
"""

import struct
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST = 64  # maximum number of fields of a message, or of numbers of a field, in a list
MOST_FIELDS = 400_000  # of one message; numbers in a row count as one field

Bytes = memoryview | bytes
Fields = dict[int, list[int | Bytes]]


class Damaged(ValueError):
    """The bytes are not valid in this format."""


def top_fields(content: memoryview) -> set[tuple[int, int]]:
    """Returns (field number, wire type) of the fields at the start of a file, up to the first invalid byte."""
    begun: set[tuple[int, int]] = set()
    try:
        for _ in fields(content, begun):
            if len(begun) > MOST:
                break
    except Damaged:
        pass
    return begun


def fields(message: Bytes, begun: set[tuple[int, int]] | None = None) -> Iterator[tuple[int, int, int | Bytes]]:
    """Yields (number, wire type, value) of each field; a sequence of equal fixed-size fields is joined to one.

    Args:
        begun: gets (number, wire type) of each field, also of one whose value is cut off.

    Raises:
        Damaged: the bytes are no fields, or there are more than `MOST_FIELDS`.
    """
    data = memoryview(message)
    at, end, count = 0, len(data), 0
    while at < end:
        start, count = at, count + 1
        if count > MOST_FIELDS:
            raise Damaged(f"more than {MOST_FIELDS:,} fields in a message")
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
                sequence = _sequence(data, start, size + 1)
                yield number, wire, sequence[:, 1:].tobytes()
                at = start + sequence.size
            else:
                yield number, wire, data[at:following]
                at = following
        else:
            raise Damaged(f"wire type {wire} at byte {start}")


def _sequence(data: memoryview, start: int, record: int) -> NDArray[np.uint8]:
    """Returns the rows of `record` bytes from `start` on that begin with the same byte."""
    content = np.frombuffer(data, np.uint8)
    most, rows = (len(data) - start) // record, 1
    while rows < most:
        step = min(2 * rows + 14, most - rows)  # steps grow, so that the cost stays proportional to the number of rows
        first = start + rows * record
        different = np.flatnonzero(content[first : first + step * record : record] != content[start])
        if len(different):
            rows += int(different[0])
            break
        rows += step
    return content[start : start + rows * record].reshape(rows, record)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if at + i >= len(data):
            raise Damaged("it ends in the middle of a number")
        byte = data[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise Damaged(f"a number of more than 10 bytes at byte {at}")


def collect(message: Bytes, wanted: set[int]) -> Fields:
    """Collects the wanted fields of a message by number."""
    values: Fields = {}
    count = 0
    for number, _, value in fields(message):
        if number in wanted:
            count += 1
            if count > MOST:
                raise Damaged(f"more than {MOST} fields where a few are expected")
            values.setdefault(number, []).append(value)
    return values


def nested(parts: Fields, number: int) -> Fields:
    """Returns the fields of a nested message, or no fields if it is absent."""
    return collect(as_bytes(parts[number][-1]), set(range(1, 20))) if number in parts else {}


def as_bytes(value: int | Bytes) -> Bytes:
    """Returns the value of a field that must not be a varint.

    Raises:
        Damaged: it is a varint.
    """
    if isinstance(value, int):
        raise Damaged("a number where bytes are expected")
    return value


def whole_numbers(values: list[int | Bytes]) -> list[int]:
    """Reads integers, packed or not; none of the fields of Caffe that are read here may be negative."""
    numbers: list[int] = []
    for value in values:
        if isinstance(value, int):
            numbers.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = _varint(memoryview(value), at)
            numbers.append(number)
            if len(numbers) > MOST:
                raise Damaged(f"more than {MOST} dimensions")
    if any(value >= 1 << 31 for value in numbers):
        raise Damaged("a negative or far too large number of dimensions or steps")
    return numbers


def whole_number(part: Mapping[int, list[int | Bytes]], number: int, default: int) -> int:
    """Returns the last value of an integer field, as protocol buffers define it, or the default."""
    return (whole_numbers(part.get(number, [])) or [default])[-1]


def real_number(part: Mapping[int, list[int | Bytes]], number: int, default: float) -> float:
    """Returns the last value of a field of 32-bit floats, or the default."""
    if number not in part:
        return default
    value = as_bytes(part[number][-1])
    if len(value) < 4:
        raise Damaged(f"a number of {len(value)} bytes")
    return decimal(struct.unpack("<f", value[-4:])[0])


def decimal(value: float) -> float:
    """The decimal number that was meant before it became a 32-bit float: 0.0001, not 0.00009999999747."""
    return float(str(np.float32(value)))


def text(values: list[int | Bytes]) -> str:
    """Returns the last value of a text field, cut to the length of a name."""
    return printable(bytes(as_bytes(values[-1]))[:200].decode(errors="replace")) if values else ""


def printable(words: str) -> str:
    """Replaces control characters in a text of a foreign file, so that they cannot control the terminal."""
    return "".join(character if character.isprintable() else "?" for character in words[:300])

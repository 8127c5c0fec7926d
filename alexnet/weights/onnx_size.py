"""Refuses an ONNX file that would take far more memory than its bytes, before the package onnx reads it.

Memory goes into fields, not bytes: an empty node is two bytes of a file and a hundred in memory, a size of a dimension
one byte and eight. So the fields of the messages are counted on the wire, without keeping any.
Numbers of fields: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Mapping
from typing import NoReturn

from alexnet.errors import UntrustedFileError
from alexnet.weights.protobuf import BYTES, Damaged, fields

MOST_FIELDS = 300_000  # 10,000 nodes, as many as are read, have about 30 each
MOST_WHOLE_NUMBERS = 64_000  # in packed lists, such as the sizes of tensors
MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, VALUE = "model", "graph", "node", "attribute", "tensor", "value"
INSIDE: Mapping[str, Mapping[int, str]] = {  # the messages that a message holds; others are skipped as bytes
    MODEL: {7: GRAPH, 25: GRAPH},
    GRAPH: {1: NODE, 5: TENSOR, 11: VALUE, 12: VALUE, 13: VALUE, 14: VALUE, 15: VALUE},
    NODE: {5: ATTRIBUTE, 9: VALUE},
    ATTRIBUTE: {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 14: VALUE, 15: VALUE, 22: VALUE, 23: VALUE},
    TENSOR: {},
    VALUE: {number: VALUE for number in range(1, 10)},
}
PACKED = {TENSOR: {1, 5, 7, 11}, ATTRIBUTE: {8}}  # lists of whole numbers: dims, int32, int64 and uint64 data; ints


def refuse_costly(content: bytes, where: str) -> None:
    """Counts the fields of an ONNX file; damage is left to the package onnx, which names it.

    Raises:
        UntrustedFileError: E611, there are more fields or whole numbers than any network of layers has.
    """
    count, numbers, waiting = 0, 0, [(MODEL, memoryview(content))]
    try:
        while waiting:
            kind, message = waiting.pop()
            for number, wire, value in fields(message):
                count += 1
                if wire == BYTES and not isinstance(value, int):
                    inside = INSIDE[kind].get(number)
                    if inside is not None:
                        waiting.append((inside, memoryview(value)))
                    elif number in PACKED.get(kind, ()):
                        numbers += len(value)
                if count > MOST_FIELDS:
                    _refuse(f"{where} has more than {MOST_FIELDS:,} fields; no network of layers has so many")
                if numbers > MOST_WHOLE_NUMBERS:
                    _refuse(f"{where} has more than {MOST_WHOLE_NUMBERS:,} whole numbers; those of a network are few")
    except Damaged:
        return


def _refuse(what: str) -> NoReturn:
    raise UntrustedFileError(what, fix="Export the network alone, with its weights in float32.", code="E611")

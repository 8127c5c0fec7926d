"""Recognizes local response normalization as PyTorch exports it to ONNX: a small branch of elementary operators.

x / (k + alpha * mean of x^2 over `size` channels)^beta: x^2 gets a dimension, is padded by size // 2 and
(size - 1) // 2 channels, averaged by AveragePool, loses the dimension, and goes through Mul, Add
and Pow to the divisor of x.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

SHAPING = {"Reshape", "Unsqueeze", "Squeeze", "Cast", "Identity"}


class FoundLrn(NamedTuple):
    """Constants as in `StoredNetwork.facts`, and the node whose output is the normalized value."""

    size: int
    alpha: float
    beta: float
    k: float
    node: Any


def find_lrn(
    value: str,
    following: list[Any],
    producer: Callable[[str], Any],
    number: Callable[[str], float | None],
    attributes: Callable[[Any], dict[str, Any]],
    pads_of: Callable[[Any, int], list[int] | None],
) -> FoundLrn | None:
    """Finds the normalization of a value that several nodes use; None if they are something else.

    Args:
        following: the nodes that use `value`.
        producer: the node that makes a value.
        number: a constant of one number.
        attributes: of a node.
        pads_of: how much a Pad adds to so many dimensions.
    """
    divisions = [n for n in following if n.op_type == "Div" and n.input[0] == value and n.input[1] != value]
    squares = [n for n in following if _is_square(n, value, number)]
    if len(divisions) != 1 or len(squares) != 1 or len(following) != 2:
        return None
    power = producer(divisions[0].input[1])
    if power is None or power.op_type != "Pow":
        return None
    beta = number(power.input[1])
    k, inner = _with_constant(producer(power.input[0]), "Add", number)
    alpha, inner = _with_constant(producer(inner), "Mul", number)
    pool = _shaped(producer(inner), producer)
    if pool is None or pool.op_type != "AveragePool" or None in (beta, k, alpha):
        return None
    described = attributes(pool)
    size = max(described.get("kernel_shape", [1]))
    if sorted(described["kernel_shape"])[:-1] != [1] * (len(described["kernel_shape"]) - 1):
        return None
    pads = [int(pad) for pad in described.get("pads", ()) if pad]
    before = _shaped(producer(pool.input[0]), producer)
    if pads and not described.get("count_include_pad", 0):
        return None
    dimensions = len(described["kernel_shape"]) + 2
    for _ in range(2):  # until opset 10 torch.onnx writes another one for the padding of the pooling, which is none
        if before is not None and before.op_type == "Pad":
            added = pads_of(before, dimensions)
            pads += [-1] if added is None else [pad for pad in added if pad]
            before = _shaped(producer(before.input[0]), producer)
    expected = [pad for pad in (size // 2, (size - 1) // 2) if pad]
    if before is None or before.output[0] != squares[0].output[0] or pads != expected:
        return None
    assert alpha is not None
    assert beta is not None
    assert k is not None
    return FoundLrn(int(size), alpha, beta, k, divisions[0])


def _is_square(node: Any, value: str, number: Callable[[str], float | None]) -> bool:
    if node.op_type == "Mul":
        return list(node.input) == [value, value]
    return node.op_type == "Pow" and node.input[0] == value and number(node.input[1]) == 2


def _with_constant(node: Any, kind: str, number: Callable[[str], float | None]) -> tuple[float | None, str]:
    """The constant operand of a node of that kind, and the name of the other one."""
    if node is None or node.op_type != kind:
        return None, ""
    first, second = (number(name) for name in node.input)
    return (second, node.input[0]) if second is not None else (first, node.input[1])


def _shaped(node: Any, producer: Callable[[str], Any]) -> Any:
    """The node before any that only change the shape."""
    for _ in range(10):
        if node is not None and node.op_type == "If":  # "if there is one channel, squeeze": both branches only shape
            inside = [n for attribute in node.attribute for n in attribute.g.node if n.op_type in SHAPING]
            names = {n.input[0] for n in inside}
            node = producer(names.pop()) if len(names) == 1 else None
        elif node is None or node.op_type not in SHAPING:
            break
        else:
            node = producer(node.input[0])
    return node

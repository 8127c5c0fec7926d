"""Reads a pickle as a description of arrays and containers; nothing that it names is looked up or called.

The names that the stream calls are compared as text with three names of NumPy; all others are refused. The disassembler
of the standard library, which executes nothing, splits the stream into opcodes. Opcodes: Lib/pickletools.py;
the states of arrays and types: numpy's `ndarray.__reduce__` and `dtype.__reduce__`.
"""

import pickletools
import re
from collections.abc import Callable
from typing import IO, Any, cast

import numpy as np

RECONSTRUCT = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}


class Refused(Exception):
    """The reason, in words, why a file is not read."""


class Name(str):
    """The name of a module and of an object in it; it is never looked up."""


class SymbolicArray:
    """An array, or a list in place of an array of objects; it has a value when the stream has described it."""

    value: Any = None


class Dtype:
    """A number type such as f4, or O for objects."""

    def __init__(self, code: str):
        if not re.fullmatch(r"[fiu][1248]|b1|O8?", code):
            raise Refused(f"it holds values of the type {code[:20]}, which are not plain numbers")
        self.code, self.order = code, "="


class Machine:
    """The stack machine of a pickle, for literals, containers and NumPy arrays."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: IO[bytes]) -> Any:
        """Returns the object that the stream describes; refuses an unknown opcode or call and names it."""
        for opcode, raw_argument, _ in pickletools.genops(stream):
            name, argument = opcode.name, cast(Any, raw_argument)
            if name == "STOP":
                return self.stack.pop()
            if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[argument])
            elif name in LITERALS:
                # Long texts are raw numbers of Python 2: made bytes at once, so that there is only one copy.
                is_raw = name == "BINSTRING" and len(argument) > 255
                self.stack.append(argument.encode("latin1") if is_raw else LITERALS[name](argument))
            elif name == "MARK":
                self.marks.append(len(self.stack))
            elif name in ACTIONS:
                ACTIONS[name](self)
            elif name not in ("PROTO", "FRAME"):
                raise Refused(f"it uses {name}, which weights do not need")
        raise Refused("it ends too early")

    def top(self) -> list[Any]:
        """Takes the values that were put on the stack since the last mark."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def take(self, count: int) -> list[Any]:
        """Takes the last `count` values from the stack."""
        values = self.stack[-count:]
        if len(values) < count:
            raise IndexError("the stack is empty")
        del self.stack[-count:]
        return values

    def extend(self, values: list[Any]) -> None:
        """Appends values to the list below them on the stack."""
        if type(self.stack[-1]) is not list:
            raise TypeError("values for something that is not a list")
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        """Adds keys and values to the dictionary below them on the stack."""
        if type(self.stack[-1]) is not dict:
            raise TypeError("items for something that is not a dictionary")
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def reduce(self) -> None:
        """Handles a call in a pickle: three names have a meaning, all others are refused; nothing is called."""
        function, arguments = self.take(2)
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Refused("it calls something that is not a function")
        if function in RECONSTRUCT and arguments[0] == "numpy ndarray":
            self.stack.append(SymbolicArray())
        elif function == "numpy dtype":
            self.stack.append(Dtype(text(arguments[0])))
        elif function == "_codecs encode" and arguments[1] == "latin1":
            self.stack.append(arguments[0].encode("latin1"))
        else:
            raise Refused(f"it asks for {function.replace(' ', '.')}, which is not an array")

    def build(self) -> None:
        """Sets the byte order of a type, or the shape and values of an array, from the state in the pickle."""
        state = self.take(1)[0]
        subject = self.stack[-1]
        if isinstance(subject, Dtype):
            order = text(state[1])
            subject.order = order if order in ("<", ">") else "="
        elif isinstance(subject, SymbolicArray):
            _, shape, dtype, fortran, raw = state
            if dtype.code[0] == "O":
                subject.value = raw if isinstance(raw, list) else None
                return
            flat = np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, dtype.order + dtype.code)
            subject.value = flat.reshape(shape, order="F" if fortran else "C")
        else:
            raise Refused("it sets the state of something that is not an array")


def text(value: Any) -> str:
    """Returns a text that Python 2 may have stored as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _identity(argument: Any) -> Any:
    return argument


LITERAL_OPCODES = """BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINSTRING BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8
BINUNICODE SHORT_BINUNICODE BINUNICODE8"""
LITERALS: dict[str, Callable[[Any], Any]] = dict.fromkeys(LITERAL_OPCODES.split(), _identity)
LITERALS |= {"NONE": lambda _: None, "NEWTRUE": lambda _: True, "NEWFALSE": lambda _: False, "GLOBAL": Name}
LITERALS |= {"EMPTY_LIST": lambda _: [], "EMPTY_DICT": lambda _: {}, "EMPTY_TUPLE": lambda _: ()}
ACTIONS: dict[str, Callable[[Machine], None]] = {
    "TUPLE": lambda m: m.stack.append(tuple(m.top())),
    "TUPLE1": lambda m: m.stack.append(tuple(m.take(1))),
    "TUPLE2": lambda m: m.stack.append(tuple(m.take(2))),
    "TUPLE3": lambda m: m.stack.append(tuple(m.take(3))),
    "APPEND": lambda m: m.extend(m.take(1)),
    "APPENDS": lambda m: m.extend(m.top()),
    "SETITEM": lambda m: m.update(m.take(2)),
    "SETITEMS": lambda m: m.update(m.top()),
    "STACK_GLOBAL": lambda m: m.stack.append(Name(" ".join(map(text, m.take(2))))),
    "REDUCE": Machine.reduce,
    "BUILD": Machine.build,
}

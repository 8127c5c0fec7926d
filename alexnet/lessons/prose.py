"""The prose of a lesson: Markdown in blocks, each begun by a line `@kind name` and ended by the next such line.

Numbers are not typed: `{name}` or `{name:,}` takes a value that a cell has computed.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Blocks without a name, and with one: of a cell (the text is the caption of what it draws), a question, an exercise.
UNNAMED = ("text", "labels")
NAMED = ("cell", "predict", "answer", "exercise", "hint", "worked", "say")

_MARK = re.compile(r"^@(\w+)(?: ([\w.]+))?\s*$")
_VALUE = re.compile(r"\{([a-z_]\w*)(:[^{}]*)?\}")
_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f\u2014\u2018-\u201d\u2026"


@dataclass(frozen=True)
class Block:
    """A part of the prose: its kind, the name of what it is about ("" for text), its Markdown, its line."""

    kind: str
    name: str
    text: str
    line: int

    @property
    def values(self) -> list[str]:
        """The names of the values it refers to, in its order."""
        return values_in(self.text)


@dataclass(frozen=True)
class Prose:
    """The text of a lesson in one language."""

    language: str
    blocks: tuple[Block, ...]

    @property
    def title(self) -> str:
        """The heading of the lesson."""
        return self.blocks[0].text.splitlines()[0].removeprefix("# ")

    @property
    def summary(self) -> str:
        """The paragraph below the heading, for lists of lessons."""
        return " ".join(unwrap(self.blocks[0].text).split("\n\n")[1].split("\n"))

    @property
    def labels(self) -> dict[str, str]:
        """The words that cells draw and print, by the names they have in the code."""
        lines = [line for block in self.blocks if block.kind == "labels" for line in block.text.splitlines()]
        pairs = (line.partition(" = ") for line in lines if line.strip())
        return {name.strip(): text.strip() for name, _, text in pairs}

    def of(self, kind: str, name: str) -> str:
        """The text of the one block of this kind and name; empty if there is none."""
        return next((block.text for block in self.blocks if (block.kind, block.name) == (kind, name)), "")

    def names(self, kind: str) -> list[str]:
        """The names of all blocks of a kind, in their order."""
        return [block.name for block in self.blocks if block.kind == kind]


def read_prose(path: Path) -> Prose:
    """Reads `en.md` or `zh.md`.

    Raises:
        ValueError: a line begins with @ and is no mark, or the first block is not text with a heading.
    """
    blocks: list[Block] = []
    kind, name, start, lines = "text", "", 1, list[str]()

    def close() -> None:
        text = "\n".join(lines).strip("\n")
        if text or kind != "text":
            blocks.append(Block(kind, name, text, start))

    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("@"):
            lines.append(line)
            continue
        mark = _MARK.match(line)
        if mark is None or mark[1] not in (NAMED if mark[2] else UNNAMED):
            raise ValueError(f"{path.name}, line {number}: {line!r} is no mark; one is @text, or @cell NAME")
        close()
        kind, name, start, lines = mark[1], mark[2] or "", number, []
    close()
    if not blocks or blocks[0].kind != "text" or not re.match(r"# .+\n\n.+", blocks[0].text):
        raise ValueError(f"{path.name} must begin with '# Title', an empty line, and a sentence")
    return Prose(path.stem, tuple(blocks))


def filled(text: str, values: Mapping[str, Any]) -> str:
    """Replaces `{name:format}` by values.

    Raises:
        ValueError: there is no such value, or it does not take that format.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ValueError(f"the prose refers to {match[0]}, which no cell computes")
        return format(values[match[1]], (match[2] or ":")[1:])

    return _VALUE.sub(value, text)


def unwrap(text: str) -> str:
    """Joins lines that end and begin with Chinese characters: a line break there would be shown as a space."""
    return re.sub(rf"(?<=[{_WIDE}])\n(?=[{_WIDE}])", "", text)


def values_in(text: str) -> list[str]:
    """The names of the values that a text refers to, in its order: it is told after the cells that compute them."""
    return [match[1] for match in _VALUE.finditer(text)]


def without_values(text: str, names: Collection[str]) -> str:
    """A text with `…` for the values of these names."""
    return _VALUE.sub(lambda match: "…" if match[1] in names else match[0], text)

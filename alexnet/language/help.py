"""The help of a verb in another language: its prose; examples of what to type are the same in every language."""

import re
from collections.abc import Callable

_EXPLAINED = re.compile(r"(?<=\S)   +(?=\S)")  # between a command and what it does


def translated_help(text: str, say: Callable[[str], str]) -> str:
    """What a verb does, with its prose in another language; lines that are indented are examples."""
    blocks = ([_told(part, say) for part in parts_of(block)] for block in text.split("\n\n"))
    return "\n\n".join("\n".join(parts) for parts in blocks)


def explained(example: str) -> str:
    """What stands beside an example, after three blanks or more; nothing beside most of them."""
    return _EXPLAINED.split(example.strip(), maxsplit=1)[-1] if _EXPLAINED.search(example.strip()) else ""


def _told(part: str, say: Callable[[str], str]) -> str:
    if not part.startswith(" "):
        return say(part)
    prose = explained(part)
    return part.removesuffix(prose) + say(prose) if prose else part


def parts_of(block: str) -> list[str]:
    """A paragraph: its prose joined to one line, its examples line by line."""
    parts: list[str] = []
    for line in block.strip("\n").splitlines():
        if line.startswith(" ") or not parts or parts[-1].startswith(" "):
            parts.append(line.rstrip())
        else:
            parts[-1] = f"{parts[-1]} {line.strip()}"
    return parts

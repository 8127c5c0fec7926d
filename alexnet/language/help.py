"""The help of a verb in another language: its prose; examples of what to type are the same in every language."""

from collections.abc import Callable


def translated_help(text: str, say: Callable[[str], str]) -> str:
    """What a verb does, with its prose in another language; lines that are indented are examples."""
    blocks = ([part if part.startswith(" ") else say(part) for part in parts_of(block)] for block in text.split("\n\n"))
    return "\n\n".join("\n".join(parts) for parts in blocks)


def parts_of(block: str) -> list[str]:
    """A paragraph: its prose joined to one line, its examples line by line."""
    parts: list[str] = []
    for line in block.strip("\n").splitlines():
        if line.startswith(" ") or not parts or parts[-1].startswith(" "):
            parts.append(line.rstrip())
        else:
            parts[-1] = f"{parts[-1]} {line.strip()}"
    return parts

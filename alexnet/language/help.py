"""The help of a verb, which is its docstring, in another language."""

from collections.abc import Callable

import docstring_parser


def help_paragraphs(docstring: str) -> list[str]:
    """The paragraphs of a docstring that are prose, each as one line: first what the verb does, then its arguments.

    Lines that are indented are examples of what to type, which are the same in every language.
    """
    parsed = docstring_parser.parse(docstring)
    told = [parsed.short_description or "", *_prose(parsed.long_description or "")]
    told += [_joined(each.description or "") for each in parsed.params]
    return [text for text in map(_joined, told) if text]


def translated_help(docstring: str, say: Callable[[str], str]) -> str:
    """A docstring in the style of NumPy with its prose in another language."""
    parsed = docstring_parser.parse(docstring)
    lines = [say(_joined(parsed.short_description or "")), ""]
    for block in (parsed.long_description or "").split("\n\n"):
        for part in _parts(block):
            lines.append(part if part.startswith(" ") else say(part))
        lines.append("")
    if parsed.params:
        lines += ["Parameters", "----------"]
    for each in parsed.params:
        lines += [each.arg_name, f"    {say(_joined(each.description or ''))}"]
    return "\n".join(lines).strip() + "\n"


def _prose(text: str) -> list[str]:
    return [part for block in text.split("\n\n") for part in _parts(block) if not part.startswith(" ")]


def _parts(block: str) -> list[str]:
    """A block of a docstring: its prose joined to one line, its examples line by line."""
    parts: list[str] = []
    for line in block.splitlines():
        if line.startswith(" ") or not parts or parts[-1].startswith(" "):
            parts.append(line.rstrip())
        else:
            parts[-1] = f"{parts[-1]} {line.strip()}"
    return parts


def _joined(text: str) -> str:
    return " ".join(text.split())

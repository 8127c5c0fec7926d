"""Formats words and numbers for people: names in messages, times, percentages, parts of file names."""

import re
import textwrap
import unicodedata
from collections.abc import Sequence

_WIDE = r"\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef"  # letters and marks of Chinese
_CLOSES = "，。、；：！？）》」』”’…,.;:!?)]}%"
_OPENS = "（《「『“‘(["
# What stays on one line: a wide letter, or a word, with the marks that open before it and those that close after it.
_PART = rf"[{re.escape(_OPENS)}]*(?:[{_WIDE}]|[^\s{_WIDE}]+)?(?: %)?[{re.escape(_CLOSES)}]*"


def printable(text: str, keep: str = "") -> str:
    """Replaces control characters and bytes that are not UTF-8 by escapes, since file names may contain both.

    Args:
        keep: control characters that may stay.
    """
    return "".join(c if c in keep or unicodedata.category(c) not in ("Cc", "Cs") else ascii(c)[1:-1] for c in text)


def wrapped(text: str, width: int, hang: int = 0) -> str:
    """Breaks a text into lines at its spaces; a path or another word that is longer stays whole.

    Args:
        hang: columns that the lines after the first are indented by.
    """
    indent, width = " " * hang, max(width, hang + 20)
    if columns(text) != len(text):
        return _wrapped_wide(text, width, indent)
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _wrapped_wide(text: str, width: int, indent: str) -> str:
    """Breaks at spaces and beside letters that are two columns wide; no line begins with what closes a clause."""
    lines = [""]
    for part in re.findall(rf" +|{_PART}", text):
        line = lines[-1]
        if columns(line + part.rstrip()) <= width or not line.strip():
            lines[-1] = line + part
        else:
            lines.append(indent + part.lstrip())
    return "\n".join(line.rstrip() for line in lines)


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for a Chinese letter, none for a mark over another."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def slug(name: str) -> str:
    """Turns a name into a part of a file name: letters, digits, dots and hyphens, at most 50 characters."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:50] or "data"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Joins up to `most` names for a message, and says how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def clock(seconds: float) -> str:
    """Formats seconds as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration(seconds: float) -> str:
    """Formats seconds in words, for estimates: 12 seconds, 34 minutes, 1.5 hours."""
    if seconds > 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"


def percent(share: float | None) -> str:
    """Formats a share in [0, 1] as a percentage; None as a hyphen."""
    return "-" if share is None else f"{100 * share:.1f} %"

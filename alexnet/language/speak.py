"""Which language the terminal speaks, and lines whose columns stay where they were."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from alexnet.language.words import ENGLISH, english_words, words_of
from alexnet.text import columns

_SPOKEN: ContextVar[str] = ContextVar("language of the terminal", default=ENGLISH)
_GAP = re.compile(r"( {2,})")


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """What `said` is asked for within this block is said in a language; elsewhere, and in a library, it is English."""
    token = _SPOKEN.set(language)
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def spoken() -> str:
    """The language that the terminal speaks."""
    return _SPOKEN.get()


def said(text: str) -> str:
    """A text for the terminal in its language: lines one by one, and the columns of a line, which two blanks part."""
    words = words_of(spoken())
    if words.language == ENGLISH:
        return text
    return min(words(text), "\n".join(_line(line) for line in text.split("\n")), key=english_words)


def tell(text: str = "", *, stderr: bool = False) -> None:
    """Prints lines that are not wrapped, because they are there to be copied, or arranged as they are."""
    print(said(text), file=sys.stderr if stderr else sys.stdout, flush=True)


def _line(line: str) -> str:
    words = words_of(spoken())
    if not _GAP.search(line.strip()):
        return words(line)
    text, place = "", 0  # place: the column of the original where the next part begins
    for part in _GAP.split(line):
        if _GAP.fullmatch(part):
            place += len(part)
            text += " " * max(2 if text.strip() else len(part), place - columns(text))
        else:
            place += columns(part)
            text += words(part)
    return text

"""A page (HTML) in another language: its sentences, headings, cells and labels; names, code and numbers stay."""

import re
from collections.abc import Callable
from html import escape, unescape

from alexnet.language.speak import spoken
from alexnet.language.words import ENGLISH, words_of

_KEPT = "(?:script|style|code|pre|textarea)"  # not prose
_MARK = re.compile(rf"(<{_KEPT}\b.*?</{_KEPT}>|<[^>]*>)", re.DOTALL)
_LABEL = re.compile(r'(?<= )(title|alt|aria-label|placeholder|data-label)="([^"]*)"')


def in_spoken_language(page: str) -> str:
    """The page in the language that the terminal speaks."""
    return page if spoken() == ENGLISH else translated_page(page, words_of(spoken()), spoken())


def translated_page(page: str, say: Callable[[str], str], language: str) -> str:
    """The page with every text that people read said by `say`; marks, code and scripts are as they were.

    Args:
        page: HTML whose texts and attributes have <, > and quotes escaped.
        language: of the page, for `<html lang=...>`.
    """

    def label(found: re.Match[str]) -> str:
        return f'{found[1]}="{_said(say, found[2], quote=True)}"'

    parts = _MARK.split(page)
    parts[0::2] = [_said(say, text) for text in parts[0::2]]
    parts[1::2] = [_LABEL.sub(label, mark) for mark in parts[1::2]]
    return "".join(parts).replace('<html lang="en"', f'<html lang="{language}"', 1)


def _said(say: Callable[[str], str], text: str, *, quote: bool = False) -> str:
    """A text between two marks: the catalogue has it as it stands in the page, or as it is read."""
    bare = text.strip()
    if not bare:
        return text
    told = say(bare)
    if told == bare:
        plain = unescape(bare)
        told = say(plain)
        told = bare if told == plain else escape(told, quote=quote)
    return text.replace(bare, told, 1)

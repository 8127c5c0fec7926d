"""A page (HTML) in another language: its sentences, headings, cells and labels; names, code and numbers stay."""

import re
from collections.abc import Callable
from html import escape, unescape

from alexnet.language.speak import spoken
from alexnet.language.words import ENGLISH, english_words, words_of

_ASIDE = "(?:script|style|pre|textarea)"  # no prose at all
WITHIN = "(?:b|strong|em|i|small|a|code|bdi)"  # marks within a sentence; <bdi> holds names of users, such as of classes
_TAG = re.compile(r"<[^>]*>")
_FIELDS = "(?<=</caption>)<tbody>.*?</tbody>"  # of a recipe and of a machine, with their values, as in their files
_BETWEEN = re.compile(rf"(<{_ASIDE}\b.*?</{_ASIDE}>|{_FIELDS}|<(?!/?{WITHIN}\b)[^>]*>)", re.DOTALL)
_MARK = re.compile(r"(<(?:code|bdi)\b.*?</(?:code|bdi)>|<[^>]*>)", re.DOTALL)
_LABEL = re.compile(r'(?<= )(title|alt|aria-label|placeholder|data-label)="([^"]*)"')


def in_spoken_language(page: str) -> str:
    """The page in the language that the terminal speaks."""
    return page if spoken() == ENGLISH else translated_page(page, words_of(spoken()), spoken())


def translated_page(page: str, say: Callable[[str], str], language: str) -> str:
    """The page with every text that people read said by `say`; marks, code, names and scripts are as they were.

    Args:
        page: HTML whose texts and attributes have <, > and quotes escaped.
        language: of the page, for `<html lang=...>`.
    """
    parts = _BETWEEN.split(page)
    parts[0::2] = [_passage(say, text) for text in parts[0::2]]
    parts[1::2] = [_labels(say, mark) for mark in parts[1::2]]
    return "".join(parts).replace('<html lang="en"', f'<html lang="{language}"', 1)


def _labels(say: Callable[[str], str], mark: str) -> str:
    return _LABEL.sub(lambda found: f'{found[1]}="{_said(say, found[2], quote=True)}"', mark)


def _passage(say: Callable[[str], str], text: str) -> str:
    """The text of a paragraph, a cell or a heading: whole, with the marks within its sentences; else part by part."""
    bare = text.strip()
    if "<" not in bare:
        return _said(say, text)
    parts = _MARK.split(text)
    parts[0::2] = [_said(say, part) for part in parts[0::2]]
    parts[1::2] = [_labels(say, mark) for mark in parts[1::2]]
    by_part = "".join(parts)
    told = say(unquoted := _unquoted(bare))
    if told == unquoted or sorted(_TAG.findall(told)) != sorted(_TAG.findall(bare)):
        return by_part
    return min(text.replace(bare, told, 1), by_part, key=english_words)


def _said(say: Callable[[str], str], text: str, *, quote: bool = False) -> str:
    """A text between two marks: the catalogue has it as it stands in the page, or as it is read."""
    bare = text.strip()
    if not bare:
        return text
    unquoted = bare if quote else _unquoted(bare)
    told = say(unquoted)
    if told == unquoted:
        plain = unescape(bare)
        told = say(plain)
        told = bare if told == plain else escape(told, quote=quote)
    return text.replace(bare, told, 1)


def _unquoted(text: str) -> str:
    """As messages have it: quotes need no escape between two marks."""
    return text.replace("&#x27;", "'").replace("&quot;", '"')

"""Messages with places for values: `no field {0} in the recipe`.

The code writes a message as an f-string, so where it is shown only the finished sentence is there. A template finds the
values in it again, and puts them into the sentence of another language.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

# A template of a few letters, as "{0} of {1}", is meant where its values are names and figures, not half a sentence.
FEW_LETTERS = 9
SENTENCE = re.compile(r"(?<=[.!?]) +(?=[A-Z<])")  # between two sentences
_PLACE = re.compile(r"\{(\d+)(!?)\}")
_PHRASE = re.compile(r"[A-Za-z]{2,} [A-Za-z]+ [A-Za-z]{2,}")
# A value that follows another one is an ending: of a plural, or more that is said where there is more to say.
_ENDING = r"(?:(?: \(|[;.?] |, (?=only |and \d|\.\.\.)).*)?"
_PLURAL = r"(?:s|es|y|ies)?"  # what a translation may leave out


def places(text: str) -> list[int]:
    """The numbers of the places of a template, in their order.

    In a translation `{0!}` is a place whose value is a message too, even where it is a single word; without the mark
    a single word is a name.

    >>> places("{1} of {0!}")
    [1, 0]
    """
    return [int(number) for number, _ in _PLACE.findall(text)]


@dataclass(frozen=True)
class Template:
    """A message with numbered places, and the same in another language."""

    source: str
    translation: str

    @cached_property
    def weight(self) -> int:
        """How many letters are fixed: of two templates that fit, the one with more is meant."""
        return len(_PLACE.sub("", self.source))

    @cached_property
    def words(self) -> frozenset[str]:
        """The words that are fixed and whole, so that a message without one of them is another message."""
        between = _PLACE.sub("\\0", self.source)
        return frozenset(re.findall(r"(?<![\w\0])[A-Za-z]+(?![\w\0])", between))

    @cached_property
    def fixed(self) -> tuple[str, ...]:
        """The texts between the places; a message that lacks one does not fit."""
        return tuple(sorted({text for text in _PLACE.split(self.source)[0::3] if text}, key=len, reverse=True))

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        strict, loose = self._pattern(_ENDING), self._pattern(".*?")
        return (strict,) if strict == loose else (strict, loose)

    def _pattern(self, ending: str) -> re.Pattern[str]:
        parts = _PLACE.split(self.source)  # text, number, mark, text, number, mark, ..., text
        kept, seen = set(places(self.translation)), set[str]()
        pattern = ""
        for index in range(0, len(parts), 3):
            if index:
                number = parts[index - 2]
                if number in seen:
                    pattern += f"(?P=v{number})"
                elif int(number) not in kept:
                    pattern += _PLURAL
                else:
                    follows = index > 3 and not parts[index - 3] and int(parts[index - 5]) in kept
                    pattern += f"(?P<v{number}>{ending if follows else '.*?'})"
                seen.add(number)
            pattern += re.escape(parts[index])
        return re.compile(pattern, re.DOTALL)

    def values(self, message: str) -> dict[str, str] | None:
        """The values of a message by the numbers of their places; None: it is another message."""
        if any(text not in message for text in self.fixed):
            return None
        for pattern in self._patterns:
            found = pattern.fullmatch(message)
            # No value reaches across the gap between two columns, or into the next sentence.
            if found and not any("  " in value.strip() or SENTENCE.search(value) for value in found.groups()):
                return {name[1:]: value for name, value in found.groupdict().items()}
        return None

    def fill(self, values: Mapping[str, str], translate: Callable[[str, bool], str]) -> str | None:
        """The message in the other language, its values translated where they are messages themselves.

        None where the template has few letters and a value would stay half a sentence in the first language.

        Args:
            translate: of a value, and whether a single word is a message too.
        """
        marked = {number for number, mark in _PLACE.findall(self.translation) if mark}
        told = {number: translate(value, number in marked) for number, value in values.items()}
        if self.weight < FEW_LETTERS and any(told[n] == value and _is_phrase(value) for n, value in values.items()):
            return None
        return _PLACE.sub(lambda place: told[place[1]], self.translation)


def _is_phrase(text: str) -> bool:
    """Whether a text has several words in a row, and is no command."""
    return _PHRASE.search(text) is not None and not text.startswith("alexnet ")

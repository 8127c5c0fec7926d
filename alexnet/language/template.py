"""Messages with places for values: `no field {0} in the recipe`.

The code writes a message as an f-string, so where it is shown only the finished sentence is there. A template finds the
values in it again, and puts them into the sentence of another language.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

# A template of a few letters, as "{0} of {1}", is meant where its values are names and figures, not in a long sentence.
FEW_LETTERS = 9
MANY_WORDS = 4
SENTENCE = re.compile(r"(?<=[.!?]) +(?=[A-Z<])")  # between two sentences
_PLACE = re.compile(r"\{(\d+)\}")


def places(text: str) -> list[int]:
    """The numbers of the places of a template, in their order.

    >>> places("{1} of {0}")
    [1, 0]
    """
    return [int(number) for number in _PLACE.findall(text)]


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
    def _pattern(self) -> re.Pattern[str]:
        parts = _PLACE.split(self.source)  # text, number, text, number, ..., text
        seen: set[str] = set()
        pattern = ""
        for index, part in enumerate(parts):
            if index % 2 == 0:
                pattern += re.escape(part)
            elif part in seen:
                pattern += f"(?P=v{part})"
            else:
                seen.add(part)
                pattern += f"(?P<v{part}>.*?)"
        return re.compile(pattern, re.DOTALL)

    def fill(self, message: str, translate: Callable[[str], str]) -> str | None:
        """The message in the other language, its values translated where they are messages themselves; None: no fit."""
        found = self._pattern.fullmatch(message)
        if found is None or (self.weight < FEW_LETTERS and any(v.count(" ") >= MANY_WORDS for v in found.groups())):
            return None
        # No value reaches across the gap between two columns, or into the next sentence.
        if any("  " in value.strip() or SENTENCE.search(value) for value in found.groups()):
            return None
        values = {name[1:]: translate(value) for name, value in found.groupdict().items()}
        return _PLACE.sub(lambda place: values[place[1]], self.translation)

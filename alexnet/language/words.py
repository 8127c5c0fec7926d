"""Says in a language what the library says in English."""

import re
from collections import defaultdict
from functools import cache
from importlib.resources import files

from alexnet.language.template import SENTENCE, Template, places

ENGLISH = "en"
# Between messages that were put together, and how these are put together in Chinese.
_SENTENCES = {"\n": "\n", "; ": "；"}
_FULL_STOP = {". ": "。"}
_PARTS = {": ": "：", ", ": "，"}
_HEAD = re.compile(r"(?:alexnet: )?(?:E\d{3,4} )?")  # the program and the code are the same in every language
_COUNT = re.compile(r"([\d,.]+) ([a-z][a-z -]+)")
_LETTERS = re.compile(r"[A-Za-z]")
_DEEPEST = 6  # messages within messages


class Words:
    """A language: call it with a message in English, and show what it returns.

    A message that the catalogue does not have stays English, for a word in the wrong language is better than none.

    >>> from alexnet.language.words import words_of
    >>> words_of("en")("disk full")
    'disk full'
    """

    def __init__(self, language: str, entries: dict[str, str]):
        self.language = language
        self._whole = {source: text for source, text in entries.items() if not places(source)}
        self._templates: dict[str, list[Template]] = defaultdict(list)
        for source, text in entries.items():
            if places(source) and text != source:  # what is the same in both needs no template
                self._templates[_key(source)].append(Template(source, text))
        for group in self._templates.values():
            group.sort(key=lambda template: -template.weight)

    def __call__(self, message: str) -> str:
        """The message in this language."""
        if self.language == ENGLISH:
            return message
        head, text = _HEAD.match(message)[0], _HEAD.sub("", message, count=1)  # type: ignore[index]
        return head + self._said(text, 0)

    def _said(self, message: str, depth: int) -> str:
        bare = message.strip()
        # A value of one word is a name: of a folder, a class or a field, which may be a word of the catalogue too.
        if not bare or depth > _DEEPEST or (depth and re.search(r"\s", bare) is None):
            return message
        whole = self._whole.get(message) or self._whole.get(bare) or self._whole.get(bare[0].lower() + bare[1:])
        if whole is not None:
            return message.replace(bare, whole.strip())
        # A template that begins with a value would take any sentence before it for the value: these come later.
        return (
            self._filled(message, _key(bare), depth)
            or self._one_by_one(message, depth)
            or self._joined(message, _SENTENCES, depth)
            or self._counted(bare)
            or self._joined(message, _FULL_STOP, depth)
            or self._filled(message, "", depth)
            or self._joined(message, _PARTS, depth)
            or message
        )

    def _counted(self, phrase: str) -> str | None:
        """A number and what is counted: the noun is in the catalogue in the singular, with its measure word."""
        found = _COUNT.fullmatch(phrase)
        if found is None:
            return None
        number, noun = found.groups()
        noun = self._whole.get(noun.removesuffix("s")) or self._whole.get(noun)
        return None if noun is None else f"{number} {noun}"

    def _filled(self, message: str, key: str, depth: int) -> str | None:
        bare = message.strip()
        for template in self._templates.get(key, ()):
            filled = template.fill(bare, lambda value: self._said(value, depth + 1))
            if filled is not None:
                return message.replace(bare, filled.strip())
        return None

    def _one_by_one(self, message: str, depth: int) -> str | None:
        """Several sentences: each run of them that is a message is said whole, the longest first."""
        sentences = SENTENCE.split(message)
        if len(sentences) == 1:
            return None
        told, first, known = "", 0, False
        while first < len(sentences):
            for end in range(len(sentences) if first else len(sentences) - 1, first, -1):
                run = " ".join(sentences[first:end])
                text = self._said(run, depth) if end > first + 1 else self._sentence(run, depth)
                if text != run or end == first + 1:
                    break
            told += text if text != run or not told else f" {text}"
            known, first = known or text != run, end
        return told if known else None

    def _sentence(self, sentence: str, depth: int) -> str:
        """One sentence of several: its message may end without the full stop, which stands between them."""
        texts = [self._said(sentence, depth)]
        if sentence.endswith("."):
            texts.append(f"{self._said(sentence[:-1], depth)}。")
            texts = [text.removesuffix(".") + "。" if text.endswith(".") else text for text in texts]
        best = min(texts, key=lambda text: len(_LETTERS.findall(text)))
        return sentence if best.removesuffix("。") == sentence.removesuffix(".") else best

    def _joined(self, message: str, joints: dict[str, str], depth: int) -> str | None:
        for joint, chinese in joints.items():
            parts = re.split(rf"(?<!\.){re.escape(joint)}", message)  # ... is no end of a sentence
            if len(parts) > 1:
                said = [self._said(part, depth) for part in parts]
                # Half a sentence in another language is worse than none.
                known = [
                    new != old or joints is _SENTENCES or old.count(" ") < 4
                    for old, new in zip(parts, said, strict=True)
                ]
                if said != parts and all(known):
                    return chinese.join(said)
        return None


def _key(text: str) -> str:
    """The first word of a message; nothing where it begins with a value, or with a part of a word."""
    first, space, _ = text.partition(" ")
    return first if space and "{" not in first else ""


@cache
def words_of(language: str) -> Words:
    """The words of a language: `en`, or one that has a catalogue beside this module (`zh.po`)."""
    return Words(language, {} if language == ENGLISH else read_catalogue(language))


def read_catalogue(language: str) -> dict[str, str]:
    """The messages of a gettext catalogue that are translated: English -> the language."""
    import polib

    text = files("alexnet.language").joinpath(f"{language}.po").read_text(encoding="utf-8")
    return {entry.msgid: entry.msgstr for entry in polib.pofile(text).translated_entries()}

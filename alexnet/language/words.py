"""Says in a language what the library says in English."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from alexnet.language.template import SENTENCE, Template, places

ENGLISH = "en"
COUNTED = "count\x04"  # gettext's way to write a context: what is counted, as "image" in "3 images"
# Between messages that were put together, and how these are put together in Chinese.
_SENTENCES = {"\n": "\n", "; ": "；", ". ": "。"}
_PARTS = {": ": "：", ", ": "，"}
_JOINTS = _SENTENCES | _PARTS
_HEAD = re.compile(r"(?:alexnet: )?(?:E\d{3,4} )?")  # the program and the code are the same in every language
_COUNT = re.compile(r"(\d(?:[\d,.]*\d)?) ([a-z][a-z -]+)")
_PLURALS = (("", ""), ("s", ""), ("es", ""), ("ies", "y"))
_WORD = re.compile(r"[A-Za-z]{2,}")
_BRACKET = re.compile(r"[][(){}]")
_ALL = re.compile(r"[A-Za-z]+")
_DEEPEST = 6  # messages within messages
_ACROSS = 0.5  # of a word, against a reading in which a value reaches over the end of a clause
_MOST_KNOWN = 5000


class Words:
    """A language: call it with a message in English, and show what it returns.

    A message that the catalogue does not have stays English, for a word in the wrong language is better than none. Of
    several ways to read a message the one is taken that leaves the fewest English words.

    >>> from alexnet.language.words import words_of
    >>> words_of("en")("disk full")
    'disk full'
    """

    def __init__(self, language: str, entries: Mapping[str, str]):
        self.language = language
        # What is added to a message begins with a joint, and may stand where messages were taken apart at joints.
        added = [(source, text, joint) for source, text in entries.items() for joint in _JOINTS if source[:2] == joint]
        entries = {source[2:]: text.removeprefix(_JOINTS[joint]).strip() for source, text, joint in added} | {**entries}
        self._whole = {source: text for source, text in entries.items() if not places(source)}
        templates = [Template(source, text) for source, text in entries.items() if places(source) and text != source]
        common = Counter(word for template in templates for word in template.words)
        self._templates: dict[str, list[Template]] = defaultdict(list)  # by the rarest word of each
        for template in templates:
            self._templates[min(template.words, key=lambda word: (common[word], word), default="")].append(template)
        self._known: dict[tuple[str, bool, int], str] = {}  # what was said before: pages say the same again and again

    def __call__(self, message: str) -> str:
        """The message in this language."""
        if self.language == ENGLISH:
            return message
        whole = self._exact(message)
        if whole is not None:
            return whole
        head, text = _HEAD.match(message)[0], _HEAD.sub("", message, count=1)  # type: ignore[index]
        return head + self._said(text, 0, True)

    def _exact(self, message: str) -> str | None:
        bare = message.strip()
        if not bare:
            return message
        whole = self._whole.get(message) or self._whole.get(bare) or self._whole.get(bare[0].lower() + bare[1:])
        return None if whole is None else message.replace(bare, whole.strip())

    def _said(self, message: str, depth: int, single: bool) -> str:
        """Args: single: whether one word is a message; else it is a name, of a folder, a class or a field."""
        if depth > _DEEPEST or _WORD.search(message) is None or not (single or re.search(r"\s", message.strip())):
            return message
        key = message, single, depth  # deep in a message not all ways to read a part are tried
        if key not in self._known:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._best(message, depth, single)
        return self._known[key]

    def _best(self, message: str, depth: int, single: bool) -> str:
        whole = self._exact(message)
        if whole is not None:
            return whole
        best, least = message, float(english_words(message))
        for against, told in self._ways(message, depth, single):
            if told != message and (cost := english_words(told) + against) < least:
                best, least = told, cost
            if least == 0:
                break
        return best

    def _ways(self, message: str, depth: int, single: bool) -> Iterator[tuple[float, str]]:
        """The ways to read a message: what it would be in this language, and how much speaks against that reading."""
        bare = message.strip()
        for template in self._that_may_fit(bare):
            values = template.values(bare)
            filled = (
                None if values is None else template.fill(values, lambda value, one: self._said(value, depth + 1, one))
            )
            if filled is not None and values is not None:
                across = [joint in value for value in values.values() for joint in _SENTENCES]
                across += [": " in value for value in [*values.values()][:-1]]
                across += [_opened(value) != 0 for value in values.values()]
                yield sum(across) * _ACROSS, message.replace(bare, filled.strip())
        counted = self._counted(bare)
        if counted is not None:
            yield 0, message.replace(bare, counted)
        yield 0, self._one_by_one(message, depth, single)
        for joint, chinese in _JOINTS.items():
            yield 0, self._joined(message, joint, chinese, depth, single)

    def _that_may_fit(self, message: str) -> list[Template]:
        """The templates of which a message has the rarest word, those with the most letters first."""
        words = {"", *_ALL.findall(message)}
        found = [template for word in words for template in self._templates.get(word, ())]
        return sorted(found, key=lambda template: (-template.weight, template.source))

    def _counted(self, phrase: str) -> str | None:
        """A number and what is counted: the noun is in the catalogue in the singular, with its measure word."""
        found = _COUNT.fullmatch(phrase)
        if found is None:
            return None
        number, counted = found.groups()
        singulars = (counted.removesuffix(end) + one for end, one in _PLURALS if counted.endswith(end))
        nouns = filter(None, (self._whole.get(COUNTED + noun) for noun in singulars))
        return next((f"{number} {noun}" for noun in nouns), None)

    def _one_by_one(self, message: str, depth: int, single: bool) -> str:
        """Several sentences: each run of them that is a message is said whole, the longest first."""
        sentences = SENTENCE.split(message)
        if len(sentences) == 1:
            return message
        told, first, known = "", 0, False
        while first < len(sentences):
            for end in range(len(sentences) if first else len(sentences) - 1, first, -1):
                run = " ".join(sentences[first:end])
                text = self._said(run, depth, single) if end > first + 1 else self._sentence(run, depth, single)
                if text != run or end == first + 1:
                    break
            told += text if text != run or not told else f" {text}"
            known, first = known or text != run, end
        return told if known else message

    def _sentence(self, sentence: str, depth: int, single: bool) -> str:
        """One sentence of several: its message may end without the full stop, which stands between them."""
        texts = [self._said(sentence, depth, single)]
        if sentence.endswith("."):
            texts.append(f"{self._said(sentence[:-1], depth, single)}。")
            texts = [text.removesuffix(".") + "。" if text.endswith(".") else text for text in texts]
        best = min(texts, key=english_words)
        return sentence if best.removesuffix("。") == sentence.removesuffix(".") else best

    def _joined(self, message: str, joint: str, chinese: str, depth: int, single: bool) -> str:
        """Parts that were put together, each said for itself."""
        parts = _parts(message, joint)
        listed = joint in _PARTS
        if len(parts) == 1 or (listed and not depth and not any(" " in part.strip() for part in parts)):  # names
            return message
        said = [self._said(part, depth, single) for part in parts]
        # Half a sentence in another language is worse than none.
        known = [
            new != old or not (listed or joint == ". ") or old.count(" ") < 4
            for old, new in zip(parts, said, strict=True)
        ]
        return chinese.join(said) if all(known) else message


def _parts(message: str, joint: str) -> list[str]:
    """A message taken apart at a joint, but not within brackets; three points are no end of a sentence."""
    parts: list[str] = []
    for part in re.split(rf"(?<!\.){re.escape(joint)}", message):
        if parts and _opened(parts[-1]) > 0:
            parts[-1] += joint + part
        else:
            parts.append(part)
    return parts


def _opened(text: str) -> int:
    """How many brackets are opened in a text and not closed; less than 0 where one is closed that was not opened."""
    opened = 0
    for mark in _BRACKET.findall(text):
        opened += 1 if mark in "([{" else -1
        if opened < 0:
            return opened
    return opened


def english_words(text: str) -> int:
    """How many English words a text has."""
    return len(_WORD.findall(text))


@cache
def words_of(language: str) -> Words:
    """The words of a language: `en`, or one that has a catalogue beside this module (`zh.po`)."""
    return Words(language, {} if language == ENGLISH else read_catalogue(language))


def read_catalogue(language: str) -> dict[str, str]:
    """The messages of a gettext catalogue that are translated: English -> the language."""
    import polib

    text = files("alexnet.language").joinpath(f"{language}.po").read_text(encoding="utf-8")
    entries = polib.pofile(text).translated_entries()
    return {f"{entry.msgctxt}\x04{entry.msgid}" if entry.msgctxt else entry.msgid: entry.msgstr for entry in entries}

"""Collects the messages of the source into the catalogues of `alexnet/language`: `python -m harness.messages`.

A message is a string or an f-string of two words or more that is not a docstring; the values of an f-string become
numbered places. Entries that the source no longer has go, new ones come without a translation, the others stay.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docstring_parser
import polib

from alexnet.language.help import explained, parts_of
from alexnet.language.pages import WITHIN
from alexnet.language.template import places
from alexnet.language.words import COUNTED
from harness import ROOT
from harness.labels import COUNTS, LABELS

PACKAGE = ROOT / "alexnet"
CATALOGUE = PACKAGE / "language" / "zh.po"
# What people do not read, or read in words of their own: the description of the service, the page.
OTHERS = ("serving/schemas.py", "serving/routes.py")
PLURAL = re.compile(r"""^plural$|^(['"])(s|es|ies)\1 \* |^(['"])(s|es|y|ies|)\3 if .* else (['"])(s|es|y|ies|)\5$""")
WORDS = re.compile(r"[A-Za-z]{2,}[,:;.]? +[^ ]")
SHORT = re.compile(r"[A-Za-z]{2,} |[^'=\w][A-Za-z]{2,}|^[A-Za-z]{3,}")
TOLD = (
    "Decision",
    "say",
    "said",
    "explain",
    "tell",
    "note",
    "Curve",
    "set_title",
    "set_xlabel",
)  # the first argument is a message, however short
HEADS = {"print_table": 2, "table": 1}  # of which the first arguments are the title and heads of a table
TYPED = "\n  alexnet "  # every verb shows how it is typed
LISTED = "\nParameters\n-----"  # arguments that several verbs take, as fields of a class
SAME = ("utf-8", "replace")  # arguments, no words
WORD = re.compile(r"[A-Za-z]{3,}")
TAG = re.compile(r"</?[a-z][a-z0-9]*(?: [^<>]*)?>")
BETWEEN = re.compile(rf"</?(?!/?{WITHIN}\b)[a-z][a-z0-9]*(?: [^<>]*)?>")  # tags that end a passage
AROUND = re.compile(rf"^(?:\s*{TAG.pattern})+|(?:{TAG.pattern}\s*)+$")
NO_PROSE = re.compile(r"^[<(\[]|</|[{;]\s*$|\\d|\(\?|^SELECT|^#|^--\w+$")


@dataclass
class Message:
    """A message of the source: its template, where it stands, and what its places hold."""

    template: str
    where: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    @property
    def plurals(self) -> set[int]:
        """The places that hold the ending of a plural, which other languages may leave out."""
        return {number for number, value in enumerate(self.values) if PLURAL.search(value)}


def messages() -> dict[str, Message]:
    """The messages of the package by their template, in the order of the files."""
    found = {label: Message(label, ["labels"]) for label in (*LABELS, *(COUNTED + noun for noun in COUNTS))}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith("lessons/course/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = _of_module(tree, only_errors=name.startswith(OTHERS))
        for line, template, values in [*told, *_help(tree)]:
            found.setdefault(template, Message(template, [], values)).where.append(f"{name}:{line}")
    return found


def _help(tree: ast.Module) -> Iterator[tuple[int, str, list[str]]]:
    """What `--help` says of the verbs of a module: the paragraphs of their docstrings and of their arguments."""
    for node in tree.body:
        told = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
        if told and (TYPED if isinstance(node, ast.FunctionDef) else LISTED) in told:
            for paragraph in help_paragraphs(told):
                yield node.lineno, paragraph, []


def help_paragraphs(docstring: str) -> list[str]:
    """The prose of a verb's docstring as `--help` shows it, a line for each paragraph: the verb, its arguments."""
    parsed = docstring_parser.parse(docstring)
    blocks = [parsed.short_description or "", *(parsed.long_description or "").split("\n\n")]
    blocks += [" ".join((each.description or "").split()) for each in parsed.params]
    parts = [part for block in blocks for part in parts_of(block)]
    return [told for part in parts if (told := explained(part) if part.startswith(" ") else part)]


def _of_module(tree: ast.Module, only_errors: bool) -> Iterator[tuple[int, str, list[str]]]:
    skipped: set[int] = set()
    errors: set[int] = set()  # and bars of progress: messages, however short
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr):
                skipped.add(id(first.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
        if isinstance(node, ast.Call) and any(keyword.arg == "code" for keyword in node.keywords):
            told = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "fix")]
            parts = [part for argument in told for part in ast.walk(argument)]
            errors |= {id(part) for part in parts if isinstance(part, ast.JoinedStr)} | {id(part) for part in told}
        if isinstance(node, ast.Call) and _name(node.func) in ("progress", *TOLD):
            errors |= {id(part) for part in node.args[:1]}
        if isinstance(node, ast.FunctionDef):
            errors |= {id(part) for part in _heads(node)}
        if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            skipped.add(id(node.format_spec))
    for node in ast.walk(tree):
        if id(node) in skipped or (only_errors and id(node) not in errors):
            continue
        template, values = _template(node)
        line = getattr(node, "lineno", 0)
        if TAG.search(template):
            for part in passages(template):
                if WORD.search(re.sub(r"\{\d+\}|&\w+;|<[^>]*>", "", part)) and "{ " not in part:
                    yield line, *_renumbered(part.strip(), values)
        elif (SHORT if id(node) in errors else WORDS).search(bare := re.sub(r"\{\d+\}", "", template)) and not (
            NO_PROSE.search(template) or bare.strip() in SAME
        ):
            yield line, template.strip(), values


def _heads(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The words at the head of the tables of a function, where they are printed or in the name that is printed."""
    inside = list(ast.walk(function))
    calls = [node for node in inside if isinstance(node, ast.Call) and _name(node.func) in HEADS]
    heads = [argument for call in calls for argument in call.args[: HEADS[_name(call.func)]]]
    names = {part.id for head in heads for part in ast.walk(head) if isinstance(part, ast.Name)}
    for node in inside:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            heads += [node.value for target in targets if getattr(target, "id", "") in names]
    for head in heads:
        keys = {id(part.slice) for part in ast.walk(head) if isinstance(part, ast.Subscript)}
        words = [each for each in head.keys if each] if isinstance(head, ast.Dict) else ast.walk(head)
        yield from (part for part in words if id(part) not in keys)


def _name(called: ast.expr) -> str:
    return getattr(called, "id", getattr(called, "attr", ""))


def passages(template: str) -> Iterator[str]:
    """What a page says whole: between its paragraphs and cells, with the marks that stand within a sentence."""
    for passage in BETWEEN.split(template):
        bare = AROUND.sub("", passage)
        yield from TAG.split(passage) if not TAG.search(bare) else [passage]


def _renumbered(part: str, values: list[str]) -> tuple[str, list[str]]:
    """A part of a template, its places numbered from 0."""
    numbers = list(dict.fromkeys(places(part)))
    text = re.sub(r"\{(\d+)\}", lambda place: f"{{{numbers.index(int(place[1]))}}}", part)
    return text, [values[number] for number in numbers]


def _template(node: ast.AST) -> tuple[str, list[str]]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value, []
    if not isinstance(node, ast.JoinedStr):
        return "", []
    text, values = "", []
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += part.value
        elif isinstance(part, ast.FormattedValue):
            text += f"{{{len(values)}}}"
            values.append(ast.unparse(part.value))
    return text, values


def wrong_places(message: Message, translation: str) -> str | None:
    """What is wrong with the places of a translation, or None: all must be there, but for endings of a plural."""
    want, got = set(places(message.template)), set(places(translation))
    missing, added = want - got - message.plurals, got - want
    if missing or added:
        return f"lacks {sorted(missing)}, adds {sorted(added)}"
    return None


def read(path: Path = CATALOGUE) -> dict[str, str]:
    """The messages of a catalogue with what they are in its language, nothing where there is no translation."""
    entries = polib.pofile(str(path))
    return {(f"{entry.msgctxt}\x04" if entry.msgctxt else "") + entry.msgid: entry.msgstr for entry in entries}


def update(path: Path = CATALOGUE) -> tuple[int, int]:
    """Writes the messages of the source into a catalogue; returns how many, and how many are not translated."""
    old = read(path) if path.exists() else {}
    new = polib.POFile(wrapwidth=120)
    new.metadata = {"Language": path.stem, "MIME-Version": "1.0", "Content-Type": "text/plain; charset=utf-8"}
    for template, message in messages().items():
        note = "\n".join(f"{{{n}}} = {v}" for n, v in enumerate(message.values))
        file = message.where[0].rpartition(":")[0]
        text = template.removeprefix(COUNTED)
        context = None if text == template else COUNTED[:-1]
        comment = f"{file}\n{note}".strip()
        new.append(polib.POEntry(msgctxt=context, msgid=text, msgstr=old.get(template, ""), comment=comment))
    new.save(str(path))
    return len(new), len(new.untranslated_entries())


if __name__ == "__main__":
    count, missing = update()
    print(f"{count} messages, {missing} without a translation")

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

from alexnet.language.help import parts_of
from alexnet.language.pages import WITHIN
from alexnet.language.template import places
from harness import ROOT

PACKAGE = ROOT / "alexnet"
CATALOGUE = PACKAGE / "language" / "zh.po"
# What people do not read, or read in words of their own: the description of the service, the page.
OTHERS = ("serving/schemas.py", "serving/routes.py")
# Words that stand alone: heads of tables, names of lines, panels of the help.
LABELS = (
    "{0} is 0, and pixels cannot be divided or multiplied by it",
    "Make one folder per class: {0}.",
    "Send {0} and nothing else, or the bytes alone: {1}.",
    "{0}: input should be {1}",
    "result",
    "probabilities",
    "device",
    "the loss became {0} at step {1}",
    "{0} has no kernels of conv1 of epoch {1}",
    *("Predict.", "Answer.", "Hint", "Output", "Slides", "lesson", "right", "{title}: {status}"),  # of the lessons
    "permission denied",
    "no such file or directory",
    "no space left on device",
    "not a directory",
    "is a directory",
    "file exists",
    "file name too long",
    "too many open files",
    "read-only file system",
    "input/output error",
    "connection refused",
    "address already in use",
    'invalid value "{0}" for {1}',
    'invalid value "{0}" for {1}. Choose from: {2}',
    'invalid value "{0}" for {1}: unable to convert "{0}" into {2}',
    "parameter {0} specified multiple times",
    "unknown option: {0}",
    'unknown option: "{0}"',
    "filter",
    "wrong answer",
    "further variant",
    "held-out image",
    "mistake",
    "pair",
    "unreadable line",
    "view",
    "weight",
    "step",
    "network",
    "epochs",
    "time",
    "test accuracy",
    "errors",
    "class",
    "images",
    "split",
    "views",
    "top-5 error",
    "log loss",
    "found",
    "how many",
    "ingredient",
    "what one would type",
    "what it is",
    "the paper",
    "variant",
    "runs / base",
    "effect",
    "95 % interval",
    "verdict",
    "tower",
    "filters",
    "mean",
    "median",
    "by energy",
    "above 1/3",
    "epoch",
    "image",
    "most like it",
    "distance",
    "method",
    "lowest",
    "highest",
    "highest at x, y",
    "A and B",
    "here",
    "bytes of each process",
    "part",
    "images/s",
    "what",
    "forward ms",
    "backward ms",
    "of peak",
    "recipe",
    "crop",
    "field",
    "probability",
    "data",
    "training",
    "note",
    "report",
    "next",
    "Next",
    "Look",
    "page",
    "memory",
    "speed",
    "limit",
    "estimate",
    "yes",
    "not sure",
    "path",
    "seed",
    "seeds",
    "Commands",
    "Arguments",
    "Parameters",
    "Start here",
    "Train",
    "Judge",
    "Look inside",
    "Use elsewhere",
    "Data and weights",
    "Research",
    "Parallel training",
    "stopped",
    "Display this message and exit.",
    "Display application version.",
    "[required]",
    "[default: {0}]",
    "[choices: {0}]",
    "note: {0}",
    "{0} epochs",
    "mirror",
    "batch",
    "average",
    "cues",
    "reading",
    "augmentation",
    "model",
    "evaluation",
    "run",
    "run folder",
    "Results",
    "Curves",
    "Classes",
    "Mistakes",
    "Confusion",
    "Filters",
    "Summary",
    "Calibration",
    "Cues",
    "chance",
    "accuracy",
    "precision",
    "confidence",
    "loss",
    "error",
    "color",
    "shape",
    "size",
    "file",
    "compression",
    "border",
    "name",
    "count",
    "share",
    "reason",
    "classes",
    "Top-1 accuracy",
    "Top-1 error",
    "95&nbsp;% interval",
    "Tower {0}: {1}",
    "conv1 filters {0}",
    "{0} images/s",
    "{0} (best: {1})",
    "{0} · AlexNet report",
)
PLURAL = re.compile(r"""^plural$|^(['"])(s|es|ies)\1 \* |^(['"])(s|es|y|ies|)\3 if .* else (['"])(s|es|y|ies|)\5$""")
WORDS = re.compile(r"[A-Za-z]{2,}[,:;.]? +[^ ]")
SHORT = re.compile(r"[A-Za-z]{2,} |[^'=\w][A-Za-z]{2,}|^[A-Za-z]{3,}")
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
    found = {label: Message(label, ["labels"]) for label in LABELS}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith("lessons/course/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = _of_module(tree, only_errors=name.startswith(OTHERS))
        for line, template, values in [*told, *(_help(tree) if name.startswith("cli/") else ())]:
            found.setdefault(template, Message(template, [], values)).where.append(f"{name}:{line}")
    return found


def _help(tree: ast.Module) -> Iterator[tuple[int, str, list[str]]]:
    """What `--help` says of the verbs of a module: the paragraphs of their docstrings and of their arguments."""
    for node in tree.body:
        told = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if told and "\n  alexnet " in told:  # every verb shows how it is typed
            for paragraph in help_paragraphs(told):
                yield node.lineno, paragraph, []


def help_paragraphs(docstring: str) -> list[str]:
    """The prose of a verb's docstring as `--help` shows it, a line for each paragraph: the verb, its arguments."""
    parsed = docstring_parser.parse(docstring)
    blocks = [parsed.short_description or "", *(parsed.long_description or "").split("\n\n")]
    blocks += [" ".join((each.description or "").split()) for each in parsed.params]
    return [part for block in blocks for part in parts_of(block) if part and not part.startswith(" ")]


def _of_module(tree: ast.Module, only_errors: bool) -> Iterator[tuple[int, str, list[str]]]:
    skipped: set[int] = set()
    errors: set[int] = set()  # what stands in an error, or names a bar of progress, is a message, however short
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
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "progress":
            errors |= {id(part) for part in node.args[:1]}
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


def update(path: Path = CATALOGUE) -> tuple[int, int]:
    """Writes the messages of the source into a catalogue; returns how many, and how many are not translated."""
    old = {entry.msgid: entry.msgstr for entry in polib.pofile(str(path))} if path.exists() else {}
    new = polib.POFile(wrapwidth=120)
    new.metadata = {"Language": path.stem, "MIME-Version": "1.0", "Content-Type": "text/plain; charset=utf-8"}
    for template, message in messages().items():
        note = "\n".join(f"{{{n}}} = {v}" for n, v in enumerate(message.values))
        file = message.where[0].rpartition(":")[0]
        new.append(polib.POEntry(msgid=template, msgstr=old.get(template, ""), comment=f"{file}\n{note}".strip()))
    new.save(str(path))
    return len(new), len(new.untranslated_entries())


if __name__ == "__main__":
    count, missing = update()
    print(f"{count} messages, {missing} without a translation")

"""With `--lang zh` no half-English line is left: in errors, in the help of verbs, in what they print and write."""

import re
import shutil
from html import unescape
from pathlib import Path

import pytest

from alexnet.cli.main import NAMES, VERBS
from alexnet.language.words import words_of
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import flat
from harness.messages import read
from harness.small_runs import CLASSES, TINY

SAID = (Path(__file__).parents[1] / "project/errors.txt").read_text().rstrip("\n").split("\n\n")
# What other libraries, systems and the tests themselves say in their words, what is
# cut off with three points, or the keys of a file.
FOREIGN = (
    "E2053 DIR/a.ipynb",
    "E214",
    "E279",
    "E329",
    "E335",
    "E402",
    "E403",
    "E501",
    "E502",
    "E503",
    "E516",
    "E540",
    "E543",
    "E544",
)
# Words that join others to a sentence and name nothing.
JOINING = frozenset(
    re.findall(r"\w+", "the of and or is are was were to in for from than not be it its that this has have")
)
WORD = re.compile(r"(?<![\w./=\-'\"@$<*~{])[A-Za-z][a-z]+(?![\w./=\-'\"@>*(])")
# Paths, fields, options, what is quoted or typed, authors, and the sources of a field's value.
CODE = re.compile(
    r"`[^`]*`|'[^']*'|\"[^\"]*\"|\w*\([^()]*\* [^()]*\)|\S*[/=_]\S*|--\w[\w-]*|[A-Z]\w+ and [A-Z]\w+|\(\[\w+\].*"
)


def _named() -> frozenset[str]:
    """What is the same in every language: verbs, recipes with their fields and values, splits and classes."""
    verbs = [NAMES.get(verb, verb.__name__) for group in VERBS.values() for verb in group]
    fields = [str(part) for recipe in RECIPES.values() for pair in flat(recipe).items() for part in pair]
    others = "run path label table notebook max minutes views search gray"
    return frozenset(re.findall(r"[a-z]+", " ".join([*verbs, *fields, *CLASSES, others])))


NAMED = _named()
WORDS = frozenset(word.lower() for word in read() if WORD.fullmatch(word)) - NAMED | JOINING


def left(text: str) -> list[str]:
    """The English words of a text that the catalogue says in Chinese elsewhere, or that only sentences have."""
    return [word for line in text.splitlines() for word in WORD.findall(CODE.sub(" ", line)) if word.lower() in WORDS]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("图像 6 images", ["images"]),
        ("只有 color 的 histogram and HOG", ["and"]),
        ("sent: gradients  243", ["sent", "gradients"]),
        ("第 5 步 is not finite", ["is", "not"]),
        ("Differs：一层的输出", ["Differs"]),
        ("  memory: activations  1", ["memory", "activations"]),
        ("14 minutes，共 3 of 5", ["of"]),
        ("页面 doctor/page.html，用 alexnet evaluate RUN --images photos/ 评估", []),
        ("batch_size=8（原为 64），seed=1，'images' 和 `the page` 是名字", []),
        ("（Zeiler and Fergus 2014）  ([code] batches are read in sequence)", []),
        ("  train  val  red  green  photos  alexnet  epochs", []),
        ("IMAGES FILE NETWORK", []),
    ],
)
def test_half_english_lines_are_told_from_names(text, words):
    assert left(text) == words


@pytest.mark.parametrize("number", range(len(SAID)), ids=lambda number: SAID[number][:5])
def test_no_error_is_half_english(number):
    say = words_of("zh")
    told = "\n".join(say(line) for line in SAID[number].splitlines())
    assert SAID[number].startswith(FOREIGN) or left(told) == [], told


@pytest.mark.parametrize("verb", [NAMES.get(verb, verb.__name__) for group in VERBS.values() for verb in group])
def test_no_help_is_half_english(alexnet, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "200")
    told = alexnet(verb, "--help", "--lang", "zh").out
    assert left("\n".join(line for line in told.splitlines() if not line.startswith("  alexnet "))) == [], told
    assert "用法" in told


PRINTED = [
    (),
    ("--help",),
    ("learn",),
    ("learn", "1"),
    ("recipes",),
    ("recipes", "photos"),
    ("diff", "photos", "alexnet-2012"),
    ("diff", "alexnet-2012", "alexnet-paper"),
    ("ablate", "--ingredients"),
    ("summary", "alexnet-2012"),
    ("summary", "--parallel", "data", "--nproc", "2"),
    ("summary", "--parallel", "towers", "--nproc", "2"),
    ("summary", "RUN"),
    ("train", "PHOTOS", *TINY, "--dry-run"),
    ("train", "PHOTOS", *TINY, "--dry-run", "--check", "--parallel", "data"),
    ("check", "PHOTOS", *TINY),
    ("check", "PHOTOS", *TINY, "model.init_scale=100"),
    ("predict", "RUN", "PHOTOS/red/0.png", "--raw", "-k", "2"),
    ("evaluate", "RUN"),
    ("ensemble", "RUN", "RUN2"),
    ("filters", "RUN"),
    ("features", "RUN", "PHOTOS"),
    ("similar", "RUN", "PHOTOS", "PHOTOS/red/0.png"),
    ("why", "RUN", "PHOTOS/red/0.png"),
    ("verify", "RUN"),
    ("identify", "RUN"),
]


@pytest.fixture(scope="module")
def place(trained, tmp_path_factory):
    """A folder with two runs, in which verbs may write."""
    root = tmp_path_factory.mktemp("chinese")
    for name in ("run", "run2"):
        shutil.copytree(trained / "run", root / name)
    shutil.copytree(trained / "photos", root / "photos")
    return root


@pytest.mark.parametrize("command", PRINTED, ids=" ".join)
def test_nothing_that_a_verb_prints_is_half_english(place, alexnet, monkeypatch, command):
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("ALEXNET_CACHE", str(place / "cache"))
    names = {"RUN": "run", "RUN2": "run2"}
    typed = [names.get(part, part.replace("PHOTOS", "photos")) for part in command]
    code, out, err = alexnet(*typed, "--lang", "zh")
    told = "\n".join(line for line in (out + err).splitlines() if not line.startswith("  alexnet "))
    assert left(told) == [], (code, told)


def test_no_page_is_half_english_nor_what_is_printed_beside_it(place, alexnet, monkeypatch):
    monkeypatch.chdir(place)
    for command in (
        ("report", "run"),
        ("compare", "run", "run2"),
        ("doctor", "photos", "--run", "run", "--out", "doc"),
    ):
        code, out, err = alexnet(*command, "--lang", "zh")
        assert (code, left(out + err)) == (0, []), out
    pages = [place / "run" / "report.html", *place.glob("comparison*.html"), *place.glob("doc/*.html")]
    assert len(pages) >= 3
    for page in pages:
        text = re.sub(r"(?s)<(script|style|code|bdi|pre)\b.*?</\1>", " ", page.read_text(encoding="utf-8"))
        text = re.sub(r"(?s)(?<=</caption>)<tbody>.*?</tbody>", "", text)  # names of fields
        text = re.sub(r' (?:title|alt|aria-label|data-label)="([^"]*)"', r">\n\1\n<", text)
        told = unescape(re.sub(r"<[^>]*>", "\n", text))
        found = {line.strip(): left(line) for line in told.splitlines() if left(line)}
        assert found == {}, page.name

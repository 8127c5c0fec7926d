"""Every lesson: two texts that do not drift, code that runs at reduced size, answers judged as they should be."""

import ast
import builtins
import dis
import json
import os
import re
import shutil
import sys
from functools import cache
from html.parser import HTMLParser

import pytest

from alexnet.lessons.cells import split_cells, typed
from alexnet.lessons.execute import Executed, needed, run_lesson, uses_labels
from alexnet.lessons.exercises import asked_names, judge
from alexnet.lessons.explain import explained
from alexnet.lessons.lesson import LANGUAGES, Lesson, all_lessons
from alexnet.lessons.notebook import executed_notebook
from alexnet.lessons.prose import filled
from alexnet.lessons.site import write_site
from alexnet.lessons.working_copy import as_notebook, as_python, pieces
from harness import ROOT

LESSONS = all_lessons()
BOTH = [(lesson, language) for lesson in LESSONS for language in LANGUAGES]
every_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
every_text = pytest.mark.parametrize(("lesson", "language"), BOTH, ids=lambda each: getattr(each, "name", each))

ANSWERS = [
    (lesson, exercise, status, reason, cell)
    for lesson in LESSONS
    for exercise in lesson.exercises.values()
    for status, reason, cell in [
        ("right", "", exercise.right),
        *(("nearly", reason, cell) for reason, cell in exercise.nearly.items()),
        *(("wrong", reason, cell) for reason, cell in exercise.wrong.items()),
    ]
]


@cache
def before(lesson: Lesson, needs: tuple[str, ...]) -> dict:
    return needed(next(each for each in LESSONS if each.name == lesson), needs, small=True)


@pytest.fixture(scope="module")
def executed() -> dict[str, Executed]:
    """Every lesson, run once at reduced size."""
    return {lesson.name: run_lesson(lesson, small=True) for lesson in LESSONS}


# --- two texts, one code ---------------------------------------------------------------------------------------------


@every_lesson
def test_the_texts_have_the_same_blocks_and_refer_to_the_same_values(lesson):
    english, chinese = ([(b.kind, b.name) for b in lesson.prose[each].blocks] for each in LANGUAGES)
    assert english == chinese
    for ours, theirs in zip(lesson.prose["en"].blocks, lesson.prose["zh"].blocks, strict=True):
        assert sorted(set(ours.values)) == sorted(set(theirs.values)), (ours.line, theirs.line)
        assert ours.text.count("\n## ") == theirs.text.count("\n## "), (ours.line, theirs.line)
    assert list(lesson.prose["en"].labels) == list(lesson.prose["zh"].labels)


@every_text
def test_a_text_names_every_cell_question_and_exercise_once(lesson, language):
    prose = lesson.prose[language]
    assert prose.names("cell") == list(lesson.cells)
    assert prose.names("cell")[0] == "setup"
    assert prose.names("predict") == prose.names("answer") != []
    names = list(lesson.exercises)
    assert prose.names("exercise") == prose.names("hint") == prose.names("worked") == names
    assert len(names) >= 3
    assert all(prose.of("exercise", name).startswith("### ") for name in names)
    reasons = {f"{e.name}.{reason}" for e in lesson.exercises.values() for reason in (*e.nearly, *e.wrong)}
    assert sorted(prose.names("say")) == sorted(reasons)
    assert all(block.text for block in prose.blocks if block.kind != "cell")
    order = [(block.kind, block.name) for block in prose.blocks]
    for name in prose.names("predict"):
        between = order[order.index(("predict", name)) : order.index(("answer", name))]
        assert any(kind == "cell" for kind, _ in between), f"nothing runs between the question {name} and its answer"


@every_lesson
def test_every_label_is_used_and_every_used_one_has_words(lesson):
    drawn = {
        node.slice.value
        for cell in lesson.cells.values()
        for node in ast.walk(ast.parse(cell.code))
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value) == "labels"
        and isinstance(node.slice, ast.Constant)
    }
    assert drawn <= set(lesson.prose["en"].labels)
    loops = any("labels[name]" in cell.code for cell in lesson.cells.values())
    assert loops or drawn == set(lesson.prose["en"].labels)


@every_lesson
def test_words_come_from_the_prose_and_a_cell_with_words_computes_nothing(lesson):
    for name, cell in lesson.cells.items():
        tree = ast.parse(cell.code)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = ast.unparse(call.func).rpartition(".")[2]
            if called in ("print", "set_xlabel", "set_ylabel", "set_title", "title", "suptitle", "text", "annotate"):
                typed = [n.value for n in ast.walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                assert not [each for each in typed if re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}", each)], (name, typed)
        if uses_labels(cell) and name != "setup":
            stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            stored |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            for other in (each for each in lesson.cells.values() if each.name != name):
                nodes = [n for n in ast.walk(ast.parse(other.code)) if isinstance(n, ast.Name) and n.id in stored]
                fresh = {n.id for n in nodes if isinstance(n.ctx, ast.Store)}
                fresh |= {n.arg for n in ast.walk(ast.parse(other.code)) if isinstance(n, ast.arg)}
                read = {n.id for n in nodes} - fresh
                assert not read, f"[{other.name}] reads what [{name}] computes: {read}"


@every_lesson
def test_cells_import_only_what_a_reader_has(lesson):
    allowed = {"alexnet", "torch", "numpy", "matplotlib", *sys.stdlib_module_names}
    code = [*lesson.cells.values(), *(e.right for e in lesson.exercises.values())]
    for cell in code:
        for node in ast.walk(ast.parse(cell.code)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, cell.name
            assert not [name for name in names if name.startswith("alexnet.")], "only the public face"
        assert max(map(len, cell.code.splitlines())) <= 120, cell.name


def typed_numbers(text: str) -> list[str]:
    """The numbers in prose that are no value of a cell, not in code, no part of a name, no year and no place."""
    text = re.sub(r"`[^`]*`|\{[^{}]*\}|\]\([^)]*\)", "", text)
    text = re.sub(r"(?<![A-Za-z\d])[A-Za-z]+-?\d+\w*|[图表] ?\d+|第 ?[\d.]+ ?[节章课]", "", text)
    text = re.sub(r"\b(?:Figure|Table|section|chapter|lesson) \d+(?:\.\d+)*", "", text, flags=re.IGNORECASE)
    return re.findall(r"\d[\d.,]*", re.sub(r"(?<!\d)(?:19|20)\d\d(?!\d)", "", text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It errs on 3.5 % of them", ["3.5"]),
        ("60,965,224 parameters", ["60,965,224"]),
        ("六十倍，即 60 倍", ["60"]),
        ("图像有224个像素", ["224"]),
        ("about 1 GB", ["1"]),
        ("2,048 crops", ["2,048"]),
        ("4096 units", ["4096"]),
        ("conv1, fc6, LeNet-5, CIFAR-10 and float32", []),
        ("In 1998, Figure 4, section 3.5, lesson 2 and `x + 1`", []),
        ("2012年的图 1，第 3.3 节，第 2 课", []),
        ("{ratio:.0f} times, {share:.1%}, [log](docs/2.md)", []),
    ],
)
def test_typed_numbers_are_told_from_names_years_and_places(text, found):
    assert typed_numbers(text) == found


@every_text
def test_no_number_is_typed(lesson, language):
    for block in lesson.prose[language].blocks:
        assert typed_numbers(block.text) == [], f"{language}.md, block at line {block.line}"


# --- it runs ---------------------------------------------------------------------------------------------------------


@every_text
def test_every_value_is_computed_and_exactly_the_figures_have_captions(lesson, language, executed):
    done = executed[lesson.name]
    for block in lesson.prose[language].blocks:
        values = done.worked[block.name] if block.kind == "worked" else done.values
        if block.kind != "say":
            assert "{" not in re.sub(r"`[^`]*`", "", filled(block.text, values))
        if block.kind == "worked":  # beside the solution only what it needs has run
            exercise = lesson.exercises[block.name]
            known = before(lesson.name, exercise.needs).keys() | done.worked[block.name].keys() - done.values.keys()
            assert set(block.values) <= known | defined_in(exercise.right.code)
        if block.kind == "cell":
            assert bool(block.text) == bool(done.outputs[language][block.name].figures), block.name
        if block.kind in ("hint", "labels"):
            assert block.values == []
    drawn = "".join(figure for output in done.outputs[language].values() for figure in output.figures)
    assert ("Noto" in drawn or re.search("[\u4e00-\u9fff]", drawn)) if language == "zh" else True


def defined_in(code: str) -> set[str]:
    nodes = ast.walk(ast.parse(code))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


@every_text
def test_the_readers_copy_is_python_and_its_exercises_are_not_answered(lesson, language):
    text = as_python(lesson, language)
    ast.parse(text)
    cells = split_cells(text)
    assert [f"exercise {name}" for name in lesson.exercises] == [n for n in cells if n.startswith("exercise ")]
    for name, exercise in lesson.exercises.items():
        assert cells[f"exercise {name}"].code == exercise.start.code
        assert exercise.right.code not in text
        assert asked_names(exercise)
    assert max(len(line) for line in text.splitlines()) <= 120


def stored(code: str) -> set[str]:
    """The names that code at the level of a module stores, as Python itself compiles it."""
    return {each.argval for each in dis.get_instructions(compile(code, "", "exec")) if each.opname == "STORE_NAME"}


@every_text
def test_the_readers_copy_runs_from_its_top_for_it_tells_only_what_code_above_has_computed(lesson, language):
    for copy in (re.split(r"(?m)^# %%.*$", as_python(lesson, language)), code_of(as_notebook(lesson, language))):
        known, told = set(dir(builtins)), 0
        for part in copy:
            if part.strip().startswith(('print(f"""', 'Markdown(f"""')):
                read = [i for i in dis.get_instructions(compile(part, "", "exec")) if i.opname == "LOAD_NAME"]
                assert {each.argval for each in read} <= known, part
                told += 1
            known |= stored(part)
        assert told >= 3
    questions = [text for kind, _, text in pieces(lesson, language) if kind == "markdown"]
    assert not [text for text in questions if re.search(r"\{[a-z_]\w*(:[^{}`]*)?\}", re.sub("`[^`]*`", "", text))]


@every_lesson
def test_all_prose_of_a_lesson_is_in_the_readers_copy(lesson):
    """Paragraph by paragraph, though some stand below the cell that computes what they say."""
    copy = re.sub(r"\W|\d", "", "".join(text for _, _, text in pieces(lesson, "en")))
    told = [block for block in lesson.prose["en"].blocks if block.kind in ("text", "answer", "exercise")]
    for paragraph in (each for block in told for each in block.text.split("\n\n")):
        for words in re.split(r"\{[^{}]*\}", paragraph):
            assert re.sub(r"\W|\d", "", words) in copy, words


def code_of(notebook: dict) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


@every_lesson
def test_a_number_that_stands_in_the_readers_copy_before_any_run_is_what_the_code_gives_it(lesson, executed):
    small = "".join(line for cell in lesson.cells.values() for line in cell.code.splitlines(True) if "small" in line)
    for name, value in typed(lesson.cells.values()).items():
        assert executed[lesson.name].values[name] == value or re.search(rf"\b{name}\b.* = ", small), name


@every_text
def test_the_notebooks_are_of_the_format(lesson, language, executed):
    nbformat = pytest.importorskip("nbformat")
    for notebook in (as_notebook(lesson, language), executed_notebook(executed[lesson.name], language)):
        nbformat.validate(nbformat.reads(json.dumps(notebook), as_version=4))


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.ids, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.ids += [value for name, value in attrs if name == "id"]


def test_the_pages_need_nothing_else_and_their_links_and_names_hold(tmp_path, executed):
    front = write_site(list(executed.values()), tmp_path)
    pages = sorted(tmp_path.rglob("*.html"))
    assert front in pages
    assert len(pages) == 1 + len(LANGUAGES) * (1 + len(LESSONS))
    for page in pages:
        parser = Links()
        parser.feed(page.read_text(encoding="utf-8"))
        assert "script" not in parser.tags
        assert len(parser.ids) == len(set(parser.ids)), page
        for link in parser.links:
            if link.startswith("data:image/png;base64,"):  # of an image within a figure: it is in the page
                continue
            assert link[1:] in parser.ids if link.startswith("#") else (page.parent / link).is_file(), (page, link)


# --- who reads them --------------------------------------------------------------------------------------------------


def test_nothing_serious_is_wrong_with_a_page_for_a_screen_reader_or_a_narrow_screen(tmp_path, executed):
    """One browser for all pages: axe, no page wider than a telephone, and no request to anywhere."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = os.environ.get("ALEXNET_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium fonts-noto-cjk")
    write_site(list(executed.values()), tmp_path)
    wrong, elsewhere = {}, []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 800})
        page.on("request", lambda request: elsewhere.append(request.url) if "file:" not in request.url else None)
        for path in sorted(tmp_path.rglob("*.html")):
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
            width = page.evaluate("document.documentElement.scrollWidth")
            # A figure is one image with its words; axe would take seconds to look at each of its lines.
            page.evaluate("document.querySelectorAll('figure svg').forEach((each) => each.replaceChildren())")
            found = axe.Axe().run(page).response["violations"]
            serious = [each["id"] for each in found if each["impact"] in ("serious", "critical")]
            if serious or width > 360:
                wrong[str(path.relative_to(tmp_path))] = (serious, width)
        browser.close()
    assert wrong == {}
    assert elsewhere == []


NOTED = re.compile(r"^\| (.+) \| (.+) \| \[(\d+)\]\([^)]+\) \| `(\w+)` \|$", re.MULTILINE)
NAMED = re.compile(r"(\d[\d.,]*(?:e-?\d+)?)[^\d`|]*[(（]`(\w+)`[)）]")


@pytest.mark.parametrize("page", ["note.md", "note.zh-CN.md"])
def test_each_sentence_of_the_note_has_its_lesson_its_figure_and_numbers_that_a_cell_computes(page, executed):
    by_number = {done.lesson.number: done for done in executed.values()}
    claims = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    rows = NOTED.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert len(rows) >= 45
    assert [row[2:] for row in rows] == [row[2:] for row in NOTED.findall((ROOT / "docs/note.md").read_text())]
    for _, found, number, figure in rows:
        assert 1 <= int(number) <= 10
        if (done := by_number.get(int(number))) is None:
            continue  # a lesson that is not there yet
        assert all(outputs[figure].figures for outputs in done.outputs.values()), (number, figure)
        for text, name in NAMED.findall(found):
            value, shown = done.values[name], float(text.replace(",", ""))
            half = 0.01 * shown if "e" in text else 0.505 * 10.0 ** -len(text.partition(".")[2])
            assert min(abs(value - shown), abs(100 * value - shown)) <= half, (name, text, value)
        for text in re.findall(r"\d+\.\d+", NAMED.sub("", found)):
            assert text in claims, (text, found)


# --- answers of each kind --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lesson", "exercise", "status", "reason", "cell"),
    ANSWERS,
    ids=[f"{lesson.name}-{exercise.name}-{reason or status}" for lesson, exercise, status, reason, _ in ANSWERS],
)
def test_an_answer_is_judged_as_it_should_be_and_told_in_both_languages(lesson, exercise, status, reason, cell):
    judgement = judge(exercise, cell, before(lesson.name, exercise.needs))
    assert (judgement.status, judgement.reason) == (status, reason)
    for language in LANGUAGES:
        told = explained(lesson, language, judgement)
        assert len(told) >= 2 if reason else told == []
        assert not [each for each in told if "{" in each]


@pytest.mark.parametrize(
    ("lesson", "exercise"),
    [(lesson, exercise) for lesson in LESSONS for exercise in lesson.exercises.values()],
    ids=lambda each: each.name,
)
def test_an_exercise_has_answers_of_each_kind_and_begins_unanswered(lesson, exercise):
    assert exercise.nearly
    assert exercise.wrong
    assert set(exercise.needs) <= set(lesson.cells)
    assert judge(exercise, exercise.start, before(lesson.name, exercise.needs)).status in ("missing", "wrong")

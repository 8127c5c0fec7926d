"""The pages of lessons that have run, have not, or not whole: each there, each saying which it is."""

import re
from dataclasses import replace

import pytest

from alexnet.lessons.lesson import LANGUAGES, all_lessons, read_lesson
from alexnet.lessons.site import RUN, file_of, how_run, lesson_page, page_to_read, write_site
from harness import ROOT
from harness.lessons import as_if_run

LESSONS = all_lessons()
NOTES = {"en": ("has not run here yet", "A quick look"), "zh": ("还没有在这里运行过", "快速浏览")}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_a_lesson_that_has_not_run_has_all_its_prose_and_code_and_says_which_command_runs_it(lesson, language):
    page, run = lesson_page(lesson, language), lesson_page(as_if_run(lesson), language)
    assert [how_run(each) for each in (page, run)] == ["never", "whole"]
    assert NOTES[language][0] in page
    assert f"{RUN} {lesson.number}</pre>" in page
    assert RUN not in run
    assert "<svg" not in page
    assert 'class="output"' not in page
    # Block by block the same: prose with `…` for each number, code, questions, exercises, captions.
    for tag in ("h1", "h2", "h3", "summary", "figcaption"):
        assert page.count(f"<{tag}>") == run.count(f"<{tag}>"), tag
    code = re.compile(r'<pre class="code" tabindex="0">.*?</pre>', re.DOTALL)
    assert code.findall(page) == code.findall(run)
    assert re.search(r"\{[a-z_]\w*(:[^{}]*)?\}", re.sub(r"<code>.*?</code>", "", page, flags=re.DOTALL)) is None


def test_what_is_typed_in_the_code_is_told_before_any_run_and_what_it_computes_is_not():
    page = re.sub(r"\s+", " ", lesson_page(LESSONS[0], "en"))
    assert (
        "A window of 11 pixels moves over the image in steps of 4. The paper says that images have 224 pixels" in page
    )
    assert "LeNet has … layers with weights and … parameters" in page
    assert "for a batch of 128 images" in page


def test_a_part_of_the_course_keeps_the_pages_of_an_earlier_run_and_leaves_no_link_without_a_page(tmp_path):
    first, second = (as_if_run(LESSONS[n]) for n in (1, 4))
    write_site([first], tmp_path)
    before = (tmp_path / "zh/02_relu.html").read_bytes()
    write_site([second], tmp_path)
    assert (tmp_path / "zh/02_relu.html").read_bytes() == before
    run = {lesson.number: how_run(page_to_read(lesson, "en", tmp_path)) for lesson in LESSONS}
    assert [number for number, how in run.items() if how == "whole"] == [2, 5]
    for page in tmp_path.rglob("*.html"):
        for link in re.findall(r'href="([^"#]+)"', page.read_text(encoding="utf-8")):
            assert (page.parent / link).is_file(), (page, link)


DAMAGE = {
    "none": None,
    "empty": b"",
    "of something else": b"<!doctype html><main>mine</main>",
    "no text": bytes(range(256)),
    "of another edition": "edition",
    "never run": "never",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_page_that_is_not_of_this_lesson_counts_as_none(tmp_path, what):
    lesson, path = LESSONS[0], tmp_path / "en/01_lenet_to_alexnet.html"
    write_site([as_if_run(lesson)], tmp_path)
    assert how_run(page_to_read(lesson, "en", tmp_path)) == "whole"
    page = path.read_text(encoding="utf-8")
    if DAMAGE[what] is None:
        path.unlink()
    elif what == "of another edition":
        path.write_text(page.replace(lesson.edition, "0" * 12), encoding="utf-8")
    elif what == "never run":
        path.write_text(page.replace('data-run="whole"', 'data-run="never"'), encoding="utf-8")
    else:
        path.write_bytes(DAMAGE[what])
    assert page_to_read(lesson, "en", tmp_path) == lesson_page(lesson, "en")


@pytest.mark.parametrize("file", ["code.py", "zh.md", "en.md", "exercises.py"])
def test_another_letter_in_a_file_is_another_edition_and_another_file_is_not(tmp_path, file):
    folder = tmp_path / LESSONS[1].folder.name
    folder.mkdir()
    for path in LESSONS[1].folder.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    assert read_lesson(folder).edition == LESSONS[1].edition
    (folder / "notes.txt").write_text("mine")
    assert read_lesson(folder).edition == LESSONS[1].edition
    (folder / file).write_bytes((folder / file).read_bytes() + b"\n")
    assert read_lesson(folder).edition != LESSONS[1].edition


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_quick_look_says_so_and_keeps_its_outputs(tmp_path, language):
    small = replace(as_if_run(LESSONS[2]), small=True)
    write_site([small], tmp_path)
    page = page_to_read(LESSONS[2], language, tmp_path)
    assert how_run(page) == "small"
    assert NOTES[language][1] in page
    assert "<svg" in page


# --- the note --------------------------------------------------------------------------------------------------------

PAGES = {"en": ROOT / "docs/note.md", "zh": ROOT / "docs/note.zh-CN.md"}
ROW = re.compile(r"^\| (.+) \| (.+) \| \[(\d+)\]\(([^)]+)\) \| `(\w+)` \|$")
SLIP = {"en": "**Slip", "zh": "**有误"}
# What the note is usually wrong about, by what the right figures are.
SLIPS = {
    "2,048": "33 x 33 x 2",
    "1 GB": "244 MB",
    "top-5 error by 0.3 %": "0.3 points of top-5",
    "Dropout doubles": "iterations required to converge",
    "GPUs made training much faster": "slightly less time",
    "227": "55 windows",
    "initial weights |": "+20.43",
}


def rows_of(language: str) -> list[tuple[str, ...]]:
    lines = PAGES[language].read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if line.startswith("| ") and line[:4] != "| **"][1:]
    return [ROW.fullmatch(line).groups() for line in body]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_sentence_of_the_note_leads_to_a_lesson_in_its_language_and_to_a_figure_of_its_page(language):
    for _, _, number, link, figure in rows_of(language):
        lesson = LESSONS[int(number) - 1]
        assert (PAGES[language].parent / link).resolve() == lesson.folder / f"{language}.md"
        for page in (lesson_page(lesson, language), lesson_page(as_if_run(lesson), language)):
            assert f'id="figure-{figure}"' in page
            assert f'<code class="name">{figure}</code>' in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_link_of_the_note_leads_somewhere(language):
    page = PAGES[language]
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 45
    assert [link for link in links if not (page.parent / link).exists()] == []
    # The addresses that it types: a figure in the page of alexnet explore, and among the pages.
    typed = re.search(r"`#learn\?lesson=(\d+)&at=(\w+)`", text)
    file, anchor = re.search(r"`(\d\d_\w+\.html)#([\w-]+)`", text).groups()
    lesson = LESSONS[int(typed[1]) - 1]
    assert (file, anchor) == (file_of(lesson), f"figure-{typed[2]}")
    assert f'id="{anchor}"' in lesson_page(lesson, language)


def test_both_notes_have_the_same_sentences_with_the_same_slips():
    english, chinese = (rows_of(language) for language in LANGUAGES)
    assert [row[2::2] for row in english] == [row[2::2] for row in chinese]
    assert [SLIP["en"] in row[1] for row in english] == ["有误" in row[1] for row in chinese]


@pytest.mark.parametrize("said", SLIPS)
def test_the_slips_that_notes_repeat_are_pointed_out(said):
    found = [f"{row[0]} | {row[1]}" for row in rows_of("en")]
    (row,) = [each for each in found if said in each and SLIP["en"] in each and SLIPS[said] in each]
    assert row

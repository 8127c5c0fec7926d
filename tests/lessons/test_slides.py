"""The slides: everything of the text is on one of them, none is too full, and the file needs nothing else."""

import re
from html import escape, unescape

import pytest

from alexnet.lessons.lesson import LANGUAGES, all_lessons
from alexnet.lessons.prose import filled
from alexnet.lessons.slides import LETTERS_A_SLIDE, WORDS_A_SLIDE, lesson_slides, paged, write_slides
from harness.lessons import Anything, as_if_run

LESSONS = all_lessons()


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_the_whole_lesson_is_on_its_slides_in_order(lesson, language):
    html = lesson_slides(as_if_run(lesson), language)
    slides = re.findall(r'<section class="slide".*?</section>', html, re.DOTALL)
    told = words(" ".join(slides))
    place = 0
    for line in (line for cell in lesson.cells.values() for line in cell.code.split("\n") if line.strip()):
        place = told.find(words(escape(line)), place)
        assert place >= 0, line
    prose = lesson.prose[language]
    assert sum(slide.count('class="ask"') for slide in slides) == 2 * len(prose.names("predict"))
    assert sum("<figure" in slide for slide in slides) == sum(
        block.kind == "cell" and bool(block.text) for block in prose.blocks
    )
    assert words(slides[0]).startswith(prose.title)
    for block in prose.blocks:
        if block.kind in ("text", "predict", "answer", "exercise"):
            for heading in re.findall(r"(?m)^#+ (.+)$", block.text):
                # A heading without text of its own stands above what follows it.
                assert words(escape(filled(heading, Anything())).replace("`", "")) in told or not re.search(
                    rf"(?m)^#+ {re.escape(heading)}\n\n(?!#)", block.text
                )
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_of_slides_needs_nothing_else(language, tmp_path):
    write_slides([as_if_run(LESSONS[0])], tmp_path)
    (path,) = (tmp_path / language).iterdir()
    html = path.read_text("utf-8")
    assert not re.search(r'(src|href)="(?!#)|@import|url\((?!#)', html)
    assert set(re.findall(r"https?://[\w.-]+", html)) <= {"http://www.w3.org"}
    assert "ArrowRight" in html
    assert f'lang="{ {"en": "en", "zh": "zh-Hans"}[language] }"' in html


PARAGRAPH = "word " * 30
CASES = [
    ("", 0),
    ("One line.", 1),
    (f"{PARAGRAPH}\n\n{PARAGRAPH}", 1),
    (f"{PARAGRAPH}\n\n{PARAGRAPH}\n\n{PARAGRAPH}", 2),
    (PARAGRAPH * 9, 1),  # one paragraph is not torn
    ("字" * 100 + "\n\n" + "字" * 100, 2),
    ("字" * 70 + "\n \n" + "字" * 70, 1),
    (f"{PARAGRAPH}\n\n\n\nshort", 1),
]


@pytest.mark.parametrize(("text", "count"), CASES)
def test_prose_is_divided_between_paragraphs_and_nothing_is_lost(text, count):
    pages = paged(text)
    assert len(pages) == count
    assert "".join("".join(pages).split()) == "".join(text.split())
    for page in pages:
        whole = "\n\n" in page
        assert not whole or (len(page.split()) <= WORDS_A_SLIDE and page.count("字") <= LETTERS_A_SLIDE)

"""The lessons as slides: one file for each lesson and language, which needs nothing else, for a projector or to print.

From the same prose and the same executed cells as the pages. Each heading begins a slide, and so do a question, its
answer, code, a figure and an exercise; arrow keys turn them. Without a script they stand below one another.
"""

import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from alexnet.lessons.execute import Executed
from alexnet.lessons.lesson import COURSE, LANGUAGES
from alexnet.lessons.site import TAGS, code_block, file_of, markdown, output_block
from alexnet.lessons.words import words_of

WORDS_A_SLIDE = 75  # of prose; longer text goes on on the next slide
LETTERS_A_SLIDE = 160  # the same in Chinese
LINES_A_SLIDE = 20  # of code


def write_slides(lessons: Sequence[Executed], folder: Path) -> None:
    """Writes the slides of all lessons in all languages, with the names that the pages have."""
    for language in LANGUAGES:
        (folder / language).mkdir(parents=True, exist_ok=True)
        for executed in lessons:
            (folder / language / file_of(executed.lesson)).write_text(
                lesson_slides(executed, language), encoding="utf-8"
            )


def lesson_slides(executed: Executed, language: str) -> str:
    """One HTML file with the slides of a lesson."""
    lesson, words = executed.lesson, words_of(language)
    slides = list(_slides(executed, language))
    sections = "\n".join(
        f'<section class="slide" id="s{number}" aria-label="{number} / {len(slides)}">{body}</section>'
        for number, body in enumerate(slides, 1)
    )
    style, script = ((COURSE / name).read_text(encoding="utf-8") for name in ("slides.css", "slides.js"))
    return (
        f'<!doctype html>\n<html lang="{TAGS[language]}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(lesson.prose[language].title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<main>\n{sections}\n</main>\n"
        f'<nav aria-label="{escape(words["slides"])}"><button id="previous" aria-label="{escape(words["previous"])}">←'
        f'</button><output id="place"></output><button id="next" aria-label="{escape(words["turn"])}">→</button>'
        f"</nav>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _slides(executed: Executed, language: str) -> Iterator[str]:
    lesson, words, values = executed.lesson, words_of(language), executed.values
    prose, heading = lesson.prose[language], ""
    for block in prose.blocks:
        if block.kind == "text":
            for part in re.split(r"(?m)^(?=#{1,2} )", block.text):
                title, _, rest = part.partition("\n") if part.startswith("#") else ("", "", part)
                if title.startswith("# "):
                    yield f'<div class="first">{markdown(title + chr(10) + chr(10) + prose.summary, values)}</div>'
                    rest = rest.strip().partition("\n\n")[2]
                    heading = ""
                elif title:
                    heading = title
                for text in paged(rest):
                    yield markdown(f"{heading}\n\n{text}", values)
        elif block.kind == "cell":
            for body in _cell(executed, language, block.name, block.text):
                yield (markdown(heading, values) if heading else "") + body
        elif block.kind == "predict":
            yield f'<div class="ask"><p><strong>{words["predict"]}</strong></p>{markdown(block.text, values)}</div>'
        elif block.kind == "answer":
            yield f'<div class="ask"><p><strong>{words["answer"]}</strong></p>{markdown(block.text, values)}</div>'
        elif block.kind == "exercise":
            start = lesson.exercises[block.name].start.code
            yield f"{markdown(block.text, values)}{code_block(start)}"


def _cell(executed: Executed, language: str, name: str, caption: str) -> Iterator[str]:
    lines, output = executed.lesson.cells[name].code.strip("\n").split("\n"), executed.outputs[language][name]
    told = markdown(caption, executed.values) if caption else ""
    given = output_block(output, told, words_of(language)["output"], f"slide-{name}")
    together = not output.figures and len(lines) + len(output.text.split("\n")) <= LINES_A_SLIDE
    for begin in range(0, len(lines), LINES_A_SLIDE):
        yield code_block("\n".join(lines[begin : begin + LINES_A_SLIDE])) + (given if together else "")
    if given and not together:
        yield given


def paged(text: str) -> list[str]:
    """Divides prose into what fits on a slide, between paragraphs; a long one has a slide for itself."""
    pages: list[list[str]] = []
    for paragraph in filter(None, (each.strip() for each in re.split(r"\n\s*\n", text))):
        if not pages or _size("\n".join([*pages[-1], paragraph])) > 1:
            pages.append([])
        pages[-1].append(paragraph)
    return ["\n\n".join(page) for page in pages]


def _size(text: str) -> float:
    """How full a slide is with a text; 1 is full."""
    return max(len(text.split()) / WORDS_A_SLIDE, len(re.findall(r"[\u4e00-\u9fff]", text)) / LETTERS_A_SLIDE)

"""The lessons as pages that open from a folder: no server, no script, nothing from elsewhere.

A lesson that has not run has its page too: prose and code, `…` for numbers that the code computes, and the command that
runs it. The page of `alexnet explore` shows the same pages, `page_to_read`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from alexnet.lessons.cells import typed
from alexnet.lessons.execute import Executed, Output
from alexnet.lessons.lesson import COURSE, LANGUAGES, Lesson, all_lessons
from alexnet.lessons.prose import filled, unwrap
from alexnet.lessons.words import NAMES, words_of

TAGS = {"en": "en", "zh": "zh-Hans"}
STYLES = ("style.css", "lesson.css")  # the second one is that of the lesson itself, wherever it is shown
RUN = "python -m alexnet.lessons.build"
_MADE = re.compile(r'<main class="lesson" data-run="(\w+)" data-edition="(\w+)">')


@cache
def _reader() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table")


class _Unknown:
    def __format__(self, form: str) -> str:
        return "…"


class _NotRun(dict[str, Any]):
    """The values of a lesson that has not run: those typed in its code, and `…` for all others."""

    def __init__(self, lesson: Lesson):
        super().__init__(typed(lesson.cells.values()))

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> _Unknown:
        return _Unknown()


def markdown(text: str, values: Mapping[str, Any]) -> str:
    """Markdown with values as HTML; HTML in it is shown as text, and tables scroll by themselves."""
    html = str(_reader().render(unwrap(filled(text, values))))
    return html.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")


def file_of(lesson: Lesson) -> str:
    """The name of the page of a lesson, the same in each language."""
    return f"{lesson.number:02}_{lesson.name}.html"


def write_site(lessons: Sequence[Executed], folder: Path) -> Path:
    """Writes the pages of all languages; returns the one to open.

    Other lessons of the course keep the pages of an earlier run.
    """
    done = {executed.lesson.number: executed for executed in lessons}
    for language in LANGUAGES:
        (folder / language).mkdir(parents=True, exist_ok=True)
        (folder / language / "index.html").write_text(_index(language), encoding="utf-8")
        for lesson in all_lessons():
            executed = done.get(lesson.number)
            page = page_to_read(lesson, language, folder) if executed is None else lesson_page(executed, language)
            (folder / language / file_of(lesson)).write_text(page, encoding="utf-8")
    for name in STYLES:
        (folder / name).write_bytes((COURSE / name).read_bytes())
    front = folder / "index.html"
    links = "".join(
        f'<li lang="{TAGS[each]}"><a href="{each}/index.html">{words_of(each)["lessons"]} · {NAMES[each]}</a></li>'
        for each in LANGUAGES
    )
    body = f'<main><h1>AlexNet</h1><ul class="lessons">{links}</ul></main>'
    front.write_text(_page("en", "AlexNet", body, "."), encoding="utf-8")
    return front


def page_to_read(lesson: Lesson, language: str, folder: Path) -> str:
    """The page of a lesson that a run has written into this folder, or else what there is without one.

    The page of another edition counts as none: its outputs may be those of other code.
    """
    try:
        page = (folder / language / file_of(lesson)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        page = ""
    made = _MADE.search(page)
    return (
        page
        if made and made.groups() in (("whole", lesson.edition), ("small", lesson.edition))
        else (lesson_page(lesson, language))
    )


def how_run(page: str) -> str:
    """Whether the lesson of a page has run: `whole`, `small` or `never`."""
    made = _MADE.search(page)
    return made[1] if made else "never"


def _page(language: str, title: str, body: str, root: str = "..") -> str:
    styles = "".join(f'<link rel="stylesheet" href="{root}/{name}">\n' for name in STYLES)
    return (
        f'<!doctype html>\n<html lang="{TAGS[language]}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n{styles}</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _header(language: str, file: str, home: bool) -> str:
    other = next(each for each in LANGUAGES if each != language)
    words = words_of(language)
    back = f"<span>{escape(words['lessons'])}</span>" if home else f'<a href="index.html">{escape(words["back"])}</a>'
    return (
        f"<header>{back}"
        f'<a href="../{other}/{file}" lang="{TAGS[other]}" hreflang="{TAGS[other]}">{NAMES[other]}</a></header>\n'
    )


def _index(language: str) -> str:
    words = words_of(language)
    items = "".join(
        f'<li><a href="{file_of(each)}">{each.number}. {escape(each.prose[language].title)}</a>'
        f"<br>{escape(each.prose[language].summary)}</li>\n"
        for each in all_lessons()
    )
    body = (
        f"{_header(language, 'index.html', True)}<main><h1>{escape(words['lessons'])}</h1>"
        f"<p>{escape(words['about'])}</p>"
        f'<ol class="lessons">\n{items}</ol><div class="lesson"><p>{escape(words["begin"])}</p>'
        '<pre class="code">alexnet learn</pre></div></main>'
    )
    return _page(language, words["lessons"], body)


def lesson_page(shown: Executed | Lesson, language: str) -> str:
    """The page of a lesson: what it asks, its code with what that gave if it has run, and the exercises."""
    executed, lesson = (shown, shown.lesson) if isinstance(shown, Executed) else (None, shown)
    words, values = words_of(language), executed.values if executed else _NotRun(lesson)
    prose = lesson.prose[language]
    parts = []
    for block in prose.blocks:
        if block.kind == "text":
            parts.append(markdown(block.text, values))
            if block is prose.blocks[0]:
                parts.append(_note(lesson, executed, language))
        elif block.kind == "cell":
            parts.append(code_block(lesson.cells[block.name].code))
            caption = markdown(block.text, values) if block.text else ""
            if executed:
                output = executed.outputs[language][block.name]
                parts.append(output_block(output, caption, words["output"], block.name, named=True))
            elif caption:
                parts.append(
                    f'<figure class="absent" id="figure-{block.name}">{_figcaption(caption, block.name)}</figure>'
                )
        elif block.kind == "predict":
            answer = markdown(prose.of("answer", block.name), values)
            parts.append(
                f'<section class="predict"><p><strong>{words["predict"]}</strong></p>{markdown(block.text, values)}'
                f"<details><summary>{words['show_answer']}</summary>{answer}</details></section>"
            )
        elif block.kind == "exercise":
            parts.append(_exercise(lesson, executed, language, block.name))
    begin = f'<p>{escape(words["begin"])}</p><pre class="code">alexnet learn {lesson.number}</pre>'
    following = next((each for each in all_lessons() if each.number > lesson.number), None)
    after = (
        f'<a href="{file_of(following)}">{escape(words["next"].format(title=following.prose[language].title))}</a>'
        if following
        else ""
    )
    run = "never" if executed is None else "small" if executed.small else "whole"
    body = (
        f"{_header(language, file_of(lesson), False)}"
        f'<main class="lesson" data-run="{run}" data-edition="{lesson.edition}">\n{"".join(parts)}\n{begin}</main>\n'
        f'<footer><a href="index.html">{words["back"]}</a>{after}</footer>'
    )
    return _page(language, prose.title, body)


def _note(lesson: Lesson, executed: Executed | None, language: str) -> str:
    """What is missing in a lesson that has not run, or not whole, and the command that supplies it."""
    if executed is not None and not executed.small:
        return ""
    told = words_of(language)["not_run" if executed is None else "quick_look"]
    return f'<div class="note"><p>{escape(told)}</p><pre class="code">{RUN} {lesson.number}</pre></div>'


def _exercise(lesson: Lesson, executed: Executed | None, language: str, name: str) -> str:
    prose, words = lesson.prose[language], words_of(language)
    exercise, values = lesson.exercises[name], executed.values if executed else _NotRun(lesson)
    worked = markdown(prose.of("worked", name), executed.worked[name] if executed else values)
    return (
        f'<section class="exercise" id="{name}">{markdown(prose.of("exercise", name), values)}'
        f"{code_block(exercise.start.code)}<details><summary>{words['hint']}</summary>"
        f"{markdown(prose.of('hint', name), values)}</details>"
        f"<details><summary>{words['worked']}</summary>{code_block(exercise.right.code)}{worked}</details></section>"
    )


def code_block(code: str) -> str:
    """Code as HTML that scrolls by itself."""
    return f'<pre class="code" tabindex="0"><code>{escape(code.rstrip())}</code></pre>'


def _figcaption(caption: str, cell: str) -> str:
    """A caption with the name by which other pages call the figure, that of its cell."""
    return f'<figcaption><code class="name">{cell}</code>{caption}</figcaption>'


def output_block(output: Output, caption: str, name: str, cell: str, named: bool = False) -> str:
    """What a cell printed and drew, as HTML.

    Args:
        caption: HTML.
        name: what the printed text is called for screen readers.
        cell: what makes the names of parts of a figure its own on the page.
        named: whether the name of the cell is shown with its figures.
    """
    text = f'<pre class="output" tabindex="0" aria-label="{name}">{escape(output.text.rstrip())}</pre>'
    told = _figcaption(caption, cell) if named else f"<figcaption>{caption}</figcaption>"
    figures = "".join(
        f'<figure id="figure-{cell}{f"-{number}" if number else ""}">'
        f"{_own_ids(svg, f'{cell}-{number}', caption)}{told}</figure>"
        for number, svg in enumerate(output.figures)
    )
    return (text if output.text.strip() else "") + figures


def _own_ids(svg: str, prefix: str, caption: str) -> str:
    """Names of parts of a figure are its own on the page; for screen readers it is one image with its caption."""
    named: set[str] = set()

    def own(found: re.Match[str]) -> str:
        if found[1] in named:  # the same image drawn twice: Matplotlib names images by what is in them
            return ""
        named.add(found[1])
        return f' id="{prefix}-{found[1]}"'

    svg = re.sub(r'\sid="([^"]*)"', own, svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    label = escape(" ".join(re.sub(r"<[^>]+>", "", caption).split()), quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)

"""The lessons as pages that open from a folder: no server, no script, nothing from elsewhere."""

import re
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from alexnet.lessons.execute import Executed, Output
from alexnet.lessons.lesson import COURSE, LANGUAGES
from alexnet.lessons.prose import filled, unwrap
from alexnet.lessons.words import words_of

TAGS = {"en": "en", "zh": "zh-Hans"}


@cache
def _reader() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table")


def markdown(text: str, values: Mapping[str, Any]) -> str:
    """Markdown with values as HTML; HTML in it is shown as text, and tables scroll by themselves."""
    html = str(_reader().render(unwrap(filled(text, values))))
    return html.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")


def file_of(executed: Executed) -> str:
    """The name of the page of a lesson, the same in each language."""
    return f"{executed.lesson.number:02}_{executed.lesson.name}.html"


def write_site(lessons: Sequence[Executed], folder: Path) -> Path:
    """Writes the pages of all languages; returns the one to open."""
    for language in LANGUAGES:
        (folder / language).mkdir(parents=True, exist_ok=True)
        (folder / language / "index.html").write_text(_index(lessons, language), encoding="utf-8")
        for place, executed in enumerate(lessons):
            following = lessons[place + 1] if place + 1 < len(lessons) else None
            page = lesson_page(executed, language, following)
            (folder / language / file_of(executed)).write_text(page, encoding="utf-8")
    shutil.copy(COURSE / "style.css", folder)
    front = folder / "index.html"
    links = "".join(
        f'<li lang="{TAGS[each]}"><a href="{each}/index.html">{words_of(each)["lessons"]} · '
        f"{words_of(each)['here']}</a></li>"
        for each in LANGUAGES
    )
    body = f'<main><h1>AlexNet</h1><ul class="lessons">{links}</ul></main>'
    front.write_text(_page("en", "AlexNet", body, "."), encoding="utf-8")
    return front


def _page(language: str, title: str, body: str, root: str = "..") -> str:
    return (
        f'<!doctype html>\n<html lang="{TAGS[language]}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="stylesheet" href="{root}/style.css">\n</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _header(language: str, file: str, home: bool) -> str:
    other = next(each for each in LANGUAGES if each != language)
    words = words_of(language)
    back = f"<span>{escape(words['lessons'])}</span>" if home else f'<a href="index.html">{escape(words["back"])}</a>'
    return (
        f"<header>{back}"
        f'<a href="../{other}/{file}" lang="{TAGS[other]}" hreflang="{TAGS[other]}">{words["elsewhere"]}</a></header>\n'
    )


def _index(lessons: Sequence[Executed], language: str) -> str:
    words = words_of(language)
    items = "".join(
        f'<li><a href="{file_of(each)}">{each.lesson.number}. {escape(each.lesson.prose[language].title)}</a>'
        f"<br>{escape(each.lesson.prose[language].summary)}</li>\n"
        for each in lessons
    )
    body = (
        f"{_header(language, 'index.html', True)}<main><h1>{escape(words['lessons'])}</h1>"
        f"<p>{escape(words['about'])}</p>"
        f'<ol class="lessons">\n{items}</ol><p>{escape(words["begin"])}</p>'
        '<pre class="code">alexnet learn</pre></main>'
    )
    return _page(language, words["lessons"], body)


def lesson_page(executed: Executed, language: str, following: Executed | None = None) -> str:
    """The page of a lesson: what it asks, its code with what that gave, and the exercises."""
    lesson, words, values = executed.lesson, words_of(language), executed.values
    prose = lesson.prose[language]
    parts = []
    for block in prose.blocks:
        if block.kind == "text":
            parts.append(markdown(block.text, values))
        elif block.kind == "cell":
            parts.append(code_block(lesson.cells[block.name].code))
            caption = markdown(block.text, values) if block.text else ""
            parts.append(output_block(executed.outputs[language][block.name], caption, words["output"], block.name))
        elif block.kind == "predict":
            answer = markdown(prose.of("answer", block.name), values)
            parts.append(
                f'<section class="predict"><p><strong>{words["predict"]}</strong></p>{markdown(block.text, values)}'
                f"<details><summary>{words['show answer']}</summary>{answer}</details></section>"
            )
        elif block.kind == "exercise":
            parts.append(_exercise(executed, language, block.name))
    begin = f'<p>{escape(words["begin"])}</p><pre class="code">alexnet learn {lesson.number}</pre>'
    after = (
        f'<a href="{file_of(following)}">{words["next"]}: {escape(following.lesson.prose[language].title)}</a>'
        if following
        else ""
    )
    body = (
        f"{_header(language, file_of(executed), False)}<main>\n{''.join(parts)}\n{begin}</main>\n"
        f'<footer><a href="index.html">{words["back"]}</a>{after}</footer>'
    )
    return _page(language, prose.title, body)


def _exercise(executed: Executed, language: str, name: str) -> str:
    prose, words = executed.lesson.prose[language], words_of(language)
    exercise = executed.lesson.exercises[name]
    worked = markdown(prose.of("worked", name), executed.worked[name])
    return (
        f'<section class="exercise" id="{name}">{markdown(prose.of("exercise", name), executed.values)}'
        f"{code_block(exercise.start.code)}<details><summary>{words['hint']}</summary>"
        f"{markdown(prose.of('hint', name), executed.values)}</details>"
        f"<details><summary>{words['worked']}</summary>{code_block(exercise.right.code)}{worked}</details></section>"
    )


def code_block(code: str) -> str:
    """Code as HTML that scrolls by itself."""
    return f'<pre class="code" tabindex="0"><code>{escape(code.rstrip())}</code></pre>'


def output_block(output: Output, caption: str, name: str, cell: str) -> str:
    """What a cell printed and drew, as HTML.

    Args:
        caption: HTML.
        name: what the printed text is called for screen readers.
        cell: what makes the names of parts of a figure its own on the page.
    """
    text = f'<pre class="output" tabindex="0" aria-label="{name}">{escape(output.text.rstrip())}</pre>'
    figures = "".join(
        f"<figure>{_own_ids(svg, f'{cell}-{number}', caption)}<figcaption>{caption}</figcaption></figure>"
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

"""The routes of the lessons in the tab Learn: which there are, and each as `make lessons` writes it."""

import base64
import re
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from alexnet.errors import UsageError
from alexnet.lessons.lesson import all_lessons, find_lesson
from alexnet.lessons.record import read_record, solved
from alexnet.lessons.site import how_run, page_to_read
from alexnet.serving.service import service_of

router = APIRouter(include_in_schema=False, prefix="/explorer/lessons/{language}")

BUILT = Path("build/lessons")  # where `make lessons` writes
Language = Literal["en", "zh"]


def site_of(lessons: Path | None) -> Path:
    """The pages in a folder of executed lessons; by default that of `make lessons`, which may not be there yet.

    Raises:
        UsageError: the folder was named, and has no lessons.
    """
    if lessons is not None and not (lessons / "site").is_dir():
        raise UsageError(
            f"{lessons} has no lessons that have run",
            fix=f"python -m alexnet.lessons.build --out {lessons} runs them; without --lessons it is {BUILT}.",
            code="E2140",
        )
    return (BUILT if lessons is None else lessons).resolve() / "site"


@router.get("")
async def lessons(request: Request, language: Language) -> Response:
    """All lessons: titles, one sentence each, how far the reader is, and whether they have run here."""
    site: Path = request.app.state.lessons

    def listed() -> list[dict[str, object]]:
        record = read_record()
        return [
            {
                "number": lesson.number,
                "title": lesson.prose[language].title,
                "summary": lesson.prose[language].summary,
                "solved": solved(lesson, record),
                "exercises": len(lesson.exercises),
                "run": how_run(page_to_read(lesson, language, site)),
            }
            for lesson in all_lessons()
        ]

    return JSONResponse({"lessons": await service_of(request).queue.decode(listed)})


@router.get("/{number}")
async def lesson(request: Request, language: Language, number: str) -> Response:
    """One lesson, as the page that its run has written, or without outputs where there is none."""
    site: Path = request.app.state.lessons
    chosen = find_lesson(number)
    page = await service_of(request).queue.decode(lambda: page_to_read(chosen, language, site))
    return JSONResponse({"number": chosen.number, "run": how_run(page), "page": figures_as_images(page)})


def figures_as_images(page: str) -> str:
    """A page of a lesson with its figures as images: there their styles work, which the policy of this page forbids."""

    def image(figure: re.Match[str]) -> str:
        data = base64.b64encode(f"<svg {figure[2]}".encode()).decode()
        return f'<img alt="{figure[1]}" src="data:image/svg+xml;base64,{data}">'

    return re.sub(r'<svg role="img" aria-label="([^"]*)" (.*?</svg>)', image, page, flags=re.DOTALL)

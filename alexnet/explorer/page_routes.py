"""Serves the files of the page of `alexnet explore`, and what the routes say in its language."""

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from alexnet.language.words import words_of
from alexnet.lessons.lesson import COURSE
from alexnet.serving.problems import no_such_path

router = APIRouter(include_in_schema=False)

FILES = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
TYPES[".svg"] = "image/svg+xml"
LESSON_STYLE = COURSE / "lesson.css"


@router.get("/")
def index(vscodeBrowserReqId: str | None = None) -> Response:
    """The page; the browser within VS Code and code-server adds this parameter to every address, against caches."""
    return _file("index.html")


@router.get("/page/said/{language}")
def said(language: Literal["en", "zh"], lines: Annotated[str, Query(max_length=2000)]) -> Response:
    """What the routes say, in the language of the page; what programs get from these is English everywhere."""
    return JSONResponse({"said": [words_of(language)(line) for line in lines.split("\n")]})


@router.get("/page/{name}")
def file(name: str) -> Response:
    """A file of the page."""
    return _file(name)


def _file(name: str) -> Response:
    path = next((path for path in (*FILES.iterdir(), LESSON_STYLE) if path.name == name), None)
    if path is None or path.suffix not in TYPES:
        raise no_such_path(f"/page/{name}")
    # Without this, a browser could keep scripts of an older version that do not fit these routes.
    return Response(path.read_bytes(), media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})

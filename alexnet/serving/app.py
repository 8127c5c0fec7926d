"""Builds the web application of `alexnet serve`: one for all runs, to which other pages can be added.

    service = Service(models, settings)            # alexnet.serving.service: networks, queue, counters
    app = create_app(service)                      # FastAPI with the routes for programs

Another page (the explorer) adds a router and its files before the application starts:

    router = APIRouter()

    @router.post("/v1/images")
    async def images(request: Request) -> dict[str, Any]:
        service = service_of(request)                  # alexnet.serving.service
        served = service.models.get(None)              # keep it: one response comes from one model
        data = await service.image(request)            # bytes; limits and deadlines apply
        async with service.queue.reserve() as places:  # 503 if 64 images are waiting already
            image = await service.queue.decode(lambda: served.classifier.prepare(data, service.settings.max_pixels))
            # runs on the one computing thread; not called if the client has disconnected by then
            result = await service.compute(request, places, lambda: slow(image))
        return {...}

    app.include_router(router)
    app.mount("/", StaticFiles(directory=...))         # last, since it takes every remaining path

`access.Access` is the layer around all of it: names, origins, token, security headers, sizes. An AlexNetError that a
route raises becomes a problem object. `models.ServedModel` holds one network and its run.
"""

from difflib import get_close_matches
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from alexnet.errors import AlexNetError
from alexnet.serving.access import Access
from alexnet.serving.problems import encode_problem, internal_error, no_such_method, no_such_path, wrong_parameter
from alexnet.serving.routes import router
from alexnet.serving.service import ClientDisconnected, Service, service_of

TOKEN = "token"  # belongs to `alexnet.serving.access`, on every path
NUMBERS = ("k", "views", "min_precision", "coverage")
MOST_QUERY = 4096  # bytes; a query of all parameters has a few dozen
SIMILAR = 0.4  # `topk` is that near to `k`


def create_app(service: Service) -> FastAPI:
    """The application with its routes; the top of this file shows how to add others."""

    # The documentation pages of FastAPI load scripts from other servers, and its description has no dependencies.
    app = FastAPI(title="alexnet", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(check_query)])
    app.state.service = service

    @app.get("/openapi.json", include_in_schema=False)
    def description() -> JSONResponse:
        """All routes for programs; below a prefix it says so, for clients that are made from it."""
        root_path = service.settings.root_path
        servers: dict[str, Any] = {"servers": [{"url": root_path}]} if root_path else {}
        return JSONResponse({**app.openapi(), **servers})

    app.include_router(router)
    app.add_middleware(Access, settings=service.settings, counters=service.counters)
    app.add_exception_handler(AlexNetError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_parameter)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnected, _on_disconnect)
    return app


def _problem(request: Request, error: AlexNetError, where: str) -> Response:
    service_of(request).counters.add("alexnet_refused_total", code=error.code)
    status, headers, body = encode_problem(error, where)
    return Response(body, status, dict(headers))


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AlexNetError)
    return _problem(request, error, "request")


async def _on_invalid_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where, name = str(first["loc"][0]), str(first["loc"][-1])
    return _problem(request, wrong_parameter(name, first["msg"].lower()), where)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method").replace("GET", "GET, HEAD")
        response = _problem(request, no_such_method(request.method, path, allowed), "path")
        response.headers["allow"] = allowed
        return response
    return _problem(request, no_such_path(path) if error.status_code == 404 else internal_error(), "path")


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # never arrives


def check_query(request: Request) -> None:
    """Refuses a parameter that the route does not have, one given twice, or blanks around a number.

    Raises:
        UsageError: E265.
    """
    if len(request.scope["query_string"]) > MOST_QUERY:
        raise wrong_parameter("query", f"it is longer than {MOST_QUERY} bytes")
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in (*known, TOKEN):
            raise wrong_parameter(name, _unknown(name, known))
        if name in NUMBERS and value != value.strip():
            raise wrong_parameter(name, "there are blanks around its value")
        if name in seen:
            raise wrong_parameter(name, "it is given more than once")
        seen.add(name)


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return "there is no such parameter; this address takes none"
    near = get_close_matches(name.lower(), known, n=1, cutoff=SIMILAR)
    hint = f"did you mean {near[0]!r}?" if near else "there is nothing like it"
    return f"there is no such parameter; {hint} (of {', '.join(sorted(known))})"

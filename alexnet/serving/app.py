"""The web application of `alexnet serve`: one for all runs, to which further pages can be added.

    service = Service(models, settings)            # alexnet.serving.service: networks, queue, counters
    app = create_app(service)                      # FastAPI with the routes for programs

A further page (the explorer) adds a router and its files before the application is run:

    router = APIRouter()

    @router.post("/v1/images")
    async def images(request: Request) -> dict[str, Any]:
        service = service_of(request)                # alexnet.serving.service
        served = service.models.get(None)            # keep it: one answer, one model
        data = await service.body(request)           # bytes; limits and deadlines are on
        async with service.queue.room() as room:     # 503 if 64 pictures wait already
            picture = await service.queue.decode(lambda: served.classifier.prepare(data, service.settings.max_pixels))
            # on the one thread that computes; not called if the client has gone by then
            found = await service.compute(request, room, lambda: slow(picture))
        return {...}

    app.include_router(router)
    app.mount("/", StaticFiles(directory=...))       # last, since it takes every path that is left

Around all of it lies `access.Access`: names, origins, token, security headers, sizes. An AlexNetError that leaves a
route becomes its problem object. `served.ServedModel` has what a network can be asked.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from alexnet.errors import AlexNetError
from alexnet.serving.access import Access
from alexnet.serving.problems import encoded, no_such_method, no_such_path, unexpected, wrong_parameter
from alexnet.serving.routes import router
from alexnet.serving.service import Gone, Service, service_of


def create_app(service: Service) -> FastAPI:
    """The application with its routes; add others to it as the top of this file says."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.get_running_loop().run_in_executor(None, service.warm_up)
        yield
        service.ready = False
        await asyncio.get_running_loop().run_in_executor(None, service.queue.stop)

    # The pages of documentation that FastAPI brings load scripts from elsewhere.
    app = FastAPI(title="alexnet", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    app.include_router(router)
    app.add_middleware(Access, settings=service.settings, counters=service.counters)
    app.add_exception_handler(AlexNetError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Gone, _nobody)
    return app


def _problem(request: Request, error: AlexNetError, where: str) -> Response:
    service_of(request).counters.add("alexnet_refused_total", code=error.code)
    status, headers, body = encoded(error, where)
    return Response(body, status, dict(headers))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, AlexNetError)
    return _problem(request, error, "request")


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place, name = str(first["loc"][0]), str(first["loc"][-1])
    return _problem(request, wrong_parameter(name, first["msg"].lower()), place)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        response = _problem(request, no_such_method(request.method, path, allowed), "path")
        response.headers["allow"] = allowed
        return response
    return _problem(request, no_such_path(path) if error.status_code == 404 else unexpected(), "path")


async def _nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # goes nowhere

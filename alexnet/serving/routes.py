"""The routes for programs: /v1/..., and those for who watches over the server."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from alexnet.data.images import Pixels
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import ClassProbability
from alexnet.interpret.attribution import METHODS, why_sheet
from alexnet.interpret.attribution import explain as explain_image
from alexnet.interpret.contact_sheet import activation_sheet, png_bytes
from alexnet.interpret.features import last_hidden, layer_values, npy_bytes
from alexnet.models.network import check_layer, layer_names
from alexnet.serving import schemas
from alexnet.serving.counters import CONTENT_TYPE
from alexnet.serving.models import ServedModel
from alexnet.serving.problems import problem, wrong_parameter
from alexnet.serving.service import Service, service_of
from alexnet.serving.tarball import images_of


def plain_query(request: Request) -> None:
    """Refuses what would be read in silence as something else: a parameter twice, or blanks around a number.

    Raises:
        UsageError: E265.
    """
    items = request.query_params.multi_items()
    for name, value in items:
        if name in ("k", "views") and value != value.strip():
            raise wrong_parameter(name, "there are blanks around its value")
        if sum(name == other for other, _ in items) > 1:
            raise wrong_parameter(name, "it is given more than once")


router = APIRouter(dependencies=[Depends(plain_query)])

PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}
MISTAKES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": about,
        "content": {"application/problem+json": PROBLEM},
    }
    for status, about in {
        400: "Not HTTP",
        401: "The token is missing or wrong",
        403: "Asked by a foreign name or page",
        404: "No such path, run or layer",
        408: "The request came too slowly",
        413: "Too many bytes, pixels or pictures",
        415: "A form instead of bytes",
        422: "Not a picture, or a parameter out of range",
        503: "Too much at once; ask again",
    }.items()
}
BINARY = {"schema": {"type": "string", "format": "binary"}}


def _takes(about: str, *kinds: str) -> dict[str, Any]:
    return {"requestBody": {"required": True, "description": about, "content": dict.fromkeys(kinds, BINARY)}}


PICTURE = _takes("The bytes of one picture; its kind is found from them", "application/octet-stream")
TAR = _takes("A tar archive of pictures, as tar -c writes it", "application/x-tar")
SHEET_OR_NPY: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": BINARY, "application/octet-stream": BINARY}}
}
METRICS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": BINARY}, "description": "A PNG"}}

RunName = Annotated[str | None, Query(description="Which run; the first one by default")]
Views = Annotated[schemas.Views, Query(description="1: the centre; 10: corners, centre and their mirrors")]
K = Annotated[int, Query(ge=1, le=1000, description="How many to name")]


@router.post("/v1/predict", response_model=schemas.Prediction, responses=MISTAKES, openapi_extra=PICTURE)
async def predict(request: Request, run: RunName = None, views: Views = schemas.Views.ONE, k: K = 5) -> Any:
    """What is on a picture."""
    service = service_of(request)
    served = service.models.get(run)
    data = await service.body(request)
    async with service.queue.room() as room:
        image = await _image(service, served, data)
        key = (served, views)
        rows = await service.together(
            request, room, key, [image], lambda images: served.classifier.probabilities(np.stack(images), views)
        )
    return {**_from(served), "views": views, "top": _top(served, rows[0], k)}


@router.post("/v1/predict/batch", response_model=schemas.Predictions, responses=MISTAKES, openapi_extra=TAR)
async def predict_batch(request: Request, run: RunName = None, views: Views = schemas.Views.ONE, k: K = 5) -> Any:
    """What is on each picture of a tar archive; one that cannot be read gives its reason."""
    service = service_of(request)
    served = service.models.get(run)
    files = images_of(await service.body(request), service.settings.max_batch)
    answers: list[dict[str, Any]] = [{"name": name} for name, _ in files]
    read: dict[int, Pixels] = {}
    async with service.queue.room(len(files)) as room:
        for number, (_, data) in enumerate(files):
            try:
                read[number] = await _image(service, served, data)
            except AlexNetError as error:
                answers[number]["error"] = problem(error, answers[number]["name"])
        if read:
            items = list(read.values())
            key = (served, views)
            rows = await service.together(
                request, room, key, items, lambda images: served.classifier.probabilities(np.stack(images), views)
            )
            for number, row in zip(read, rows, strict=True):
                answers[number]["top"] = _top(served, row, k)
    return {**_from(served), "views": views, "pictures": answers}


@router.post("/v1/similar", response_model=schemas.Neighbours, responses=MISTAKES, openapi_extra=PICTURE)
async def similar(request: Request, run: RunName = None, k: K = 6) -> Any:
    """The pictures of the index most like this one."""
    service = service_of(request)
    served = service.models.get(run)
    index = service.similar
    if index is None:
        raise UsageError("this server has no pictures to search in", fix="Start it with --index PHOTOS.", code="E268")
    data = await service.body(request)
    async with service.queue.room() as room:
        image = await _image(service, served, data)
        within, found = await service.compute(
            request, room, lambda: index.find(served.classifier, served.model_id, image, k)
        )
    return {
        **_from(served),
        "layer": last_hidden(served.model),
        "pictures": len(within.entries),
        "found": [{"path": entry.name, "distance": distance} for entry, distance in found],
    }


@router.post("/v1/why", response_class=Response, responses=MISTAKES | PNG, openapi_extra=PICTURE)
async def why(
    request: Request,
    run: RunName = None,
    method: Literal["occlusion", "saliency", "grad-cam", "all"] = "grad-cam",
    class_name: Annotated[str | None, Query(alias="class", description="By default the most probable")] = None,
) -> Response:
    """What speaks for a class: the view and beside it the map over it, as PNG."""
    service = service_of(request)
    served = service.models.get(run)
    data = await service.body(request)
    async with service.queue.room() as room:
        image = await _image(service, served, data)

        classifier = served.classifier

        def explain() -> tuple[ClassProbability, bytes]:
            label = None if class_name is None else classifier.index_of(class_name)
            methods = [each for each in METHODS if method in ("all", each)]
            explained, maps = explain_image(classifier, image, methods, label=label)
            return explained, png_bytes(why_sheet(classifier.view(image), maps))

        explained, png = await service.compute(request, room, explain)
    # A header has no letters beyond ASCII: the number of the class, whose name /v1/runs tells.
    about = {"x-alexnet-class": str(explained.index), "x-alexnet-probability": f"{explained.probability:.6g}"}
    return Response(png, media_type="image/png", headers={**_headers(served), **about})


@router.post(
    "/v1/activations/{layer}",
    response_model=schemas.Activations,
    responses=MISTAKES | SHEET_OR_NPY,
    openapi_extra=PICTURE,
)
async def activations(
    request: Request, layer: str, run: RunName = None, format: Literal["json", "png", "npy"] = "json"
) -> Response:
    """What a layer gives for the central view of a picture: numbers, or a sheet of its maps."""
    service = service_of(request)
    served = service.models.get(run)
    check_layer(served.model, layer)
    data = await service.body(request)
    async with service.queue.room() as room:
        image = await _image(service, served, data)
        values = await service.compute(request, room, lambda: layer_values(served.classifier, image, layer))
        if format == "png":
            png = await service.queue.decode(lambda: png_bytes(activation_sheet(values)))
            return Response(png, media_type="image/png", headers=_headers(served))
        if format == "npy":
            return Response(npy_bytes(values), media_type="application/octet-stream", headers=_headers(served))
        shape = list(np.shape(values))
        return JSONResponse({**_from(served), "layer": layer, "shape": shape, "values": values.tolist()})


@router.get("/v1/runs", response_model=schemas.Runs, responses=MISTAKES)
async def runs(request: Request) -> Any:
    """The runs that are served, their classes and layers."""
    return {
        "runs": [
            {**_from(each), "classes": list(each.class_names), "layers": layer_names(each.model), "views": [1, 10]}
            for each in service_of(request).models
        ]
    }


@router.post("/v1/reload", response_model=schemas.Reloaded, responses=MISTAKES)
async def reload(request: Request) -> Any:
    """Loads the weights of all runs anew; requests going on are answered by those they began with."""
    service = service_of(request)
    changed = await service.queue.decode(service.reload)
    return {"changed": changed, "runs": [_from(each) for each in service.models]}


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: MISTAKES[503]})
async def readyz(request: Request) -> Any:
    """Networks are loaded and warm, and the server is not about to stop."""
    ready = service_of(request).ready
    return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


@router.get("/metrics", response_class=Response, responses=METRICS)
async def metrics(request: Request) -> Response:
    """What was counted, in the text format of Prometheus."""
    return Response(service_of(request).counters.text(), headers={"content-type": CONTENT_TYPE})


async def _image(service: Service, served: ServedModel, data: bytes) -> Pixels:
    image: Pixels = await service.queue.decode(lambda: served.classifier.prepare(data, service.settings.max_pixels))
    return image


def _top(served: ServedModel, row: Any, k: int) -> list[dict[str, Any]]:
    return [asdict(each) for each in served.classifier.top(row, k)]


def _from(served: ServedModel) -> dict[str, str]:
    return {"run": served.name, "model": served.model_id}


def _headers(served: ServedModel) -> dict[str, str]:
    return {"x-alexnet-model": served.model_id}

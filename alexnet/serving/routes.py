"""The routes for programs, /v1/..., and those for monitoring."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from alexnet.data.images import Pixels
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import ClassProbability, Look
from alexnet.interpret.attribution import explain as explain_image
from alexnet.interpret.attribution import methods_of
from alexnet.interpret.contact_sheet import activation_sheet, png_bytes
from alexnet.interpret.features import last_hidden, layer_values, npy_bytes
from alexnet.models.network import check_layer, layer_names
from alexnet.serving import schemas
from alexnet.serving.counters import CONTENT_TYPE
from alexnet.serving.models import ServedModel
from alexnet.serving.problems import RETRY_SECONDS, problem
from alexnet.serving.service import Service, service_of
from alexnet.serving.tarball import read_archive
from alexnet.text import printable

router = APIRouter()

PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": about,
        "content": {"application/problem+json": PROBLEM},
    }
    for status, about in {
        400: "Not HTTP",
        401: "The token is missing or wrong",
        403: "A foreign Host name, or a page of another site",
        404: "No such path, run or layer",
        408: "The request arrived too slowly",
        409: "The run has not what is asked for: a promise that was measured, or weights that can be loaded again",
        413: "Too many bytes, pixels or images",
        415: "A form instead of bytes",
        422: "Not an image, or a parameter that does not exist or is out of range",
        503: "Too much at once; send the request again",
    }.items()
}
BINARY = {"schema": {"type": "string", "format": "binary"}}


BASE64 = {
    "schema": {
        "type": "object",
        "properties": {"image": {"type": "string", "format": "byte", "description": "Base64, or a data: URL"}},
        "required": ["image"],
        "additionalProperties": False,
    }
}


def _request_body(about: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "description": about, "content": content}}


IMAGE = _request_body(
    "The bytes of one image, whose format is recognized from them; or JSON with these bytes in base64",
    {"application/octet-stream": BINARY, "application/json": BASE64},
)
TAR = _request_body("A tar archive of images, as tar -c writes it", {"application/x-tar": BINARY})
SHEET_OR_NPY: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": BINARY, "application/octet-stream": BINARY}}
}
METRICS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": BINARY}, "description": "A PNG"}}

RunName = Annotated[str | None, Query(description="Which run; by default the first one")]
Views = Annotated[
    schemas.Views, Query(description="1: the center; 10: the corners, the center and their horizontal flips")
]
Raw = Annotated[bool, Query(description="Probabilities as the network gives them, without the temperature")]
Precision = Annotated[
    float | None, Query(gt=0, lt=1, description="An answer is sure where at least this share of answers is right")
]
Coverage = Annotated[
    float | None, Query(gt=0, lt=1, description="The set of classes holds the right one for this share of images")
]
K = Annotated[int, Query(ge=1, le=1000, description="How many to return")]


@router.post("/v1/predict", response_model=schemas.Prediction, responses=ERRORS, openapi_extra=IMAGE)
async def predict(
    request: Request,
    run: RunName = None,
    views: Views = schemas.Views.ONE,
    k: K = 5,
    raw: Raw = False,
    min_precision: Precision = None,
    coverage: Coverage = None,
) -> Any:
    """Classifies an image."""
    service = service_of(request)
    served = service.models.get(run)
    promise = served.classifier.promise(views, min_precision, coverage)
    data = await service.image(request)
    async with service.queue.reserve() as places:
        image = await _image(service, served, data)
        key = (served, views)
        looks = await service.compute_batched(request, places, key, [image], lambda batch: _looks(served, batch, views))
    answer = asdict(served.classifier.answer(looks[0], views, k, raw=raw, promise=promise))
    return {**_from(served), "views": views, **answer, "promise": promise.notes()}


@router.post("/v1/predict/batch", response_model=schemas.Predictions, responses=ERRORS, openapi_extra=TAR)
async def predict_batch(
    request: Request,
    run: RunName = None,
    views: Views = schemas.Views.ONE,
    k: K = 5,
    raw: Raw = False,
    min_precision: Precision = None,
    coverage: Coverage = None,
) -> Any:
    """Classifies each image of a tar archive; an image that cannot be read has an error instead of classes."""
    service = service_of(request)
    served = service.models.get(run)
    promise = served.classifier.promise(views, min_precision, coverage)
    files, notes = read_archive(await service.body(request), service.settings.max_batch)
    predictions: list[dict[str, Any]] = [{"name": name} for name, _ in files]
    images: dict[int, Pixels] = {}
    async with service.queue.reserve(len(files)) as places:
        for number, (_, data) in enumerate(files):
            try:
                images[number] = await _image(service, served, data)
            except AlexNetError as error:
                predictions[number]["error"] = problem(error, predictions[number]["name"])
        if images:
            items = list(images.values())
            key = (served, views)
            looks = await service.compute_batched(
                request, places, key, items, lambda batch: _looks(served, batch, views)
            )
            for number, look in zip(images, looks, strict=True):
                predictions[number] |= asdict(served.classifier.answer(look, views, k, raw=raw, promise=promise))
    about = {**_from(served), "views": views, "promise": promise.notes()}
    return {**about, "images": predictions, "notes": notes}


@router.post("/v1/similar", response_model=schemas.Neighbors, responses=ERRORS, openapi_extra=IMAGE)
async def similar(request: Request, run: RunName = None, k: K = 6) -> Any:
    """Finds the images of the index that are nearest to this one."""
    service = service_of(request)
    served = service.models.get(run)
    index = service.similar
    if index is None:
        raise UsageError("this server has no images to search in", fix="Start it with --index PHOTOS.", code="E268")
    data = await service.image(request)
    async with service.queue.reserve() as places:
        image = await _image(service, served, data)
        searched, neighbors = await service.compute(
            request, places, lambda: index.find(served.classifier, served.model_id, image, k)
        )
    return {
        **_from(served),
        "layer": last_hidden(served.model),
        "images": len(searched.entries),
        "found": [{"path": printable(entry.name), "distance": distance} for entry, distance in neighbors],
        "notes": index.notes,
    }


@router.post("/v1/why", response_class=Response, responses=ERRORS | PNG, openapi_extra=IMAGE)
async def why(
    request: Request,
    run: RunName = None,
    method: Literal["occlusion", "saliency", "grad-cam", "all"] = "all",
    class_name: Annotated[str | None, Query(alias="class", description="By default the most probable class")] = None,
) -> Response:
    """Explains a class: the central view, and beside it the same view with the attribution maps, as PNG.

    The header x-alexnet-blank names the methods whose map holds nothing that speaks for the class.
    """
    service = service_of(request)
    served = service.models.get(run)
    data = await service.image(request)
    async with service.queue.reserve() as places:
        image = await _image(service, served, data)

        classifier = served.classifier

        def explain() -> tuple[ClassProbability, bytes, tuple[str, ...]]:
            label = None if class_name is None else classifier.index_of(class_name)
            explanation = explain_image(classifier, image, methods_of(method), label=label)
            return explanation.explained, png_bytes(explanation.sheet()), explanation.blank

        explained, png, blank = await service.compute(request, places, explain)
    # A header can hold ASCII only, so it has the index of the class; /v1/runs lists the names.
    about = {"x-alexnet-class": str(explained.index), "x-alexnet-probability": f"{explained.probability:.6g}"}
    if blank:
        about["x-alexnet-blank"] = ", ".join(blank)
    return Response(png, media_type="image/png", headers={**_headers(served), **about})


@router.post(
    "/v1/activations/{layer}",
    response_model=schemas.Activations,
    responses=ERRORS | SHEET_OR_NPY,
    openapi_extra=IMAGE,
)
async def activations(
    request: Request, layer: str, run: RunName = None, format: Literal["json", "png", "npy"] = "json"
) -> Response:
    """The output of a layer for the central view of an image: numbers, or a sheet of its feature maps."""
    service = service_of(request)
    served = service.models.get(run)
    check_layer(served.model, layer)
    data = await service.image(request)
    async with service.queue.reserve() as places:
        image = await _image(service, served, data)
        values = await service.compute(request, places, lambda: layer_values(served.classifier, image, layer))
        if format == "png":
            png = await service.queue.decode(lambda: png_bytes(activation_sheet(values)))
            return Response(png, media_type="image/png", headers=_headers(served))
        if format == "npy":
            return Response(npy_bytes(values), media_type="application/octet-stream", headers=_headers(served))
        shape = list(np.shape(values))
        return JSONResponse({**_from(served), "layer": layer, "shape": shape, "values": values.tolist()})


@router.get("/v1/runs", response_model=schemas.Runs, responses=ERRORS)
async def runs(request: Request) -> Any:
    """The runs that are served, with their classes and layers."""
    return {
        "runs": [
            {
                **_from(served),
                "classes": list(served.class_names),
                "layers": layer_names(served.model),
                "views": [1, 10],
            }
            for served in service_of(request).models
        ]
    }


@router.post("/v1/reload", response_model=schemas.Reloaded, responses=ERRORS)
async def reload(request: Request) -> Any:
    """Loads the weights of all runs again; running requests keep the weights that they began with."""
    service = service_of(request)
    changed = await service.queue.decode(service.reload)
    return {"changed": changed, "runs": [_from(served) for served in service.models]}


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process responds."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: ERRORS[503]})
async def readyz(request: Request) -> Any:
    """Whether the networks are loaded and warm, and the server is not stopping."""
    ready = service_of(request).ready
    if ready:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "not ready"}, 503, {"retry-after": str(RETRY_SECONDS)})


@router.get("/metrics", response_class=Response, responses=METRICS)
async def metrics(request: Request) -> Response:
    """The counters and histograms, in the text format of Prometheus."""
    return Response(service_of(request).counters.text(), headers={"content-type": CONTENT_TYPE})


async def _image(service: Service, served: ServedModel, data: bytes) -> Pixels:
    image: Pixels = await service.queue.decode(lambda: served.classifier.prepare(data, service.settings.max_pixels))
    return image


def _looks(served: ServedModel, batch: Sequence[Pixels], views: int) -> list[Look]:
    """What the answers are made of: requests of one batch may want them scaled or raw."""
    return served.classifier.look(np.stack(batch), views)


def _from(served: ServedModel) -> dict[str, str]:
    return {"run": served.name, "model": served.model_id}


def _headers(served: ServedModel) -> dict[str, str]:
    return {"x-alexnet-model": served.model_id}

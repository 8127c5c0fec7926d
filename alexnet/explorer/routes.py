"""Serves what only the page of `alexnet explore` uses, under /explorer/, and adds all of the page to a service."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from alexnet.errors import DataError
from alexnet.evaluation.classifier import Look
from alexnet.evaluation.views import crop_boxes
from alexnet.explorer import network_view
from alexnet.explorer.comparison import compare_predictions, differing_fields, ingredients_between, recorded_evaluations
from alexnet.explorer.learn_routes import router as learn_router
from alexnet.explorer.learn_view import ideas_of
from alexnet.explorer.lesson_routes import router as lesson_router
from alexnet.explorer.lesson_routes import site_of
from alexnet.explorer.page_routes import router as page_router
from alexnet.explorer.requests import compute, explorer_of, image_of
from alexnet.explorer.state import Explorer, NeighborSearch, PatchSearch, Predictions
from alexnet.interpret.attribution import Method, explain
from alexnet.interpret.contact_sheet import png_bytes
from alexnet.interpret.features import last_hidden
from alexnet.interpret.filters import tower_colors, tunings
from alexnet.interpret.receptive_fields import box_of, receptive_fields
from alexnet.models.network import check_layer
from alexnet.runs.kernel_history import effective_kernels, kernel_history
from alexnet.runs.status import ask, progress
from alexnet.serving.models import ServedModel
from alexnet.serving.routes import Coverage, Precision
from alexnet.serving.service import Service, service_of

router = APIRouter(include_in_schema=False)

SAMPLES = 24  # images that the page offers
NEIGHBORS = 6


def add_explorer(app: FastAPI, service: Service, index: Path | None = None, lessons: Path | None = None) -> None:
    """Adds the page and its routes to the application of a service; call it last, since the page takes `/`.

    Args:
        index: a folder of images to search similar ones in; by default those that a run was trained on.
        lessons: a folder that `make lessons` has written; by default `build/lessons`, if it is there.

    Raises:
        DataError: the folder of images does not exist or has none.
        UsageError: the folder of lessons has none.
    """
    app.state.explorer, app.state.lessons = Explorer(service.models, index), site_of(lessons)
    app.include_router(router)
    app.include_router(learn_router)
    app.include_router(lesson_router)
    app.include_router(page_router)


@router.get("/explorer/setup")
def setup(request: Request) -> Response:
    """The runs with their layers, classes and sample images."""
    explorer, service = explorer_of(request), service_of(request)
    return JSONResponse({"runs": [_describe_run(explorer, served) for served in service.models]})


@router.post("/explorer/images")
async def images(request: Request, run: str | None = None) -> Response:
    """Keeps an image that the page sends; returns its name, and the most probable classes by one view."""
    service, explorer = service_of(request), explorer_of(request)
    served = service.models.get(run)
    data = await service.image(request)
    async with service.queue.reserve() as places:
        classifier = served.classifier
        image = await service.queue.decode(lambda: classifier.prepare(data, service.settings.max_pixels))
        probabilities = await service.compute(request, places, lambda: classifier.probabilities(image[None])[0])
    return JSONResponse({"image": explorer.sent.add(data), "one": _top(served, probabilities)})


@router.get("/explorer/{run}/image/{name}")
async def image_png(request: Request, run: str, name: str) -> Response:
    """An image as the recipe of the run prepares it."""
    *_, image = await image_of(request, run, name)
    png = await service_of(request).queue.decode(lambda: png_bytes(image))
    return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=600"})


@router.get("/explorer/{run}/answers/{name}")
async def answers(
    request: Request, run: str, name: str, min_precision: Precision = None, coverage: Coverage = None
) -> Response:
    """The most probable classes by one view, by the mean of ten views, and by each of the ten.

    With `min_precision` it is said whether one view is sure; with `coverage` which classes hold the right one.
    """
    service, explorer, served, image = await image_of(request, run, name)
    classifier = served.classifier
    raw = await compute(request, service, lambda: classifier.crop_probabilities(image))
    rows, ten = classifier.scaled(raw), raw.mean(0)
    promise = classifier.promise(1, min_precision, coverage)
    likeness = await compute(request, service, lambda: classifier.likeness(image))
    one = classifier.answer(Look(raw[2 if len(raw) == 10 else 0], likeness), 1, 5, promise=promise)
    boxes = crop_boxes(image.shape[0], served.model.config.test_size, served.model.config.crop_size)
    crops = [
        {"box": boxes[i % len(boxes)], "mirrored": i >= len(boxes), "top": _top(served, row, 1)[0]}
        for i, row in enumerate(rows)
    ]
    return JSONResponse(
        {
            **explorer.about(served, name),
            "one": [asdict(each) for each in one.top],
            **{name: getattr(one, name) for name in ("none_of_these", "sure", "prediction_set")},
            "promise": promise.notes(),
            "ten": _top(served, classifier.scaled(ten[None], 10)[0]),
            "crops": crops,
            "mirrors": served.run.recipe.augment.flip,
        }
    )


@router.get("/explorer/{run}/maps/{name}/{layer}")
async def maps(request: Request, run: str, name: str, layer: str) -> Response:
    """All feature maps of a layer for the central view."""
    service, _, served, image = await image_of(request, run, name)
    check_layer(served.model, layer)
    values = await compute(
        request, service, lambda: network_view.as_bytes(network_view.feature_maps(served.classifier, image, layer))
    )
    return JSONResponse({"layer": layer, **values})


@router.get("/explorer/{run}/kernel/{layer}/{unit}")
async def kernel(request: Request, run: str, layer: str, unit: int) -> Response:
    """The kernel of a unit, or null if its weights are not a kernel."""
    service = service_of(request)
    served = service.models.get(run)
    return JSONResponse({"kernel": network_view.unit_kernel(served.model, layer, unit)})


@router.get("/explorer/{run}/patches/{layer}/{unit}")
async def patches(request: Request, run: str, layer: str, unit: int) -> Response:
    """The image patches that excite a unit most; a box is (left, top, right, bottom) as shares of the image side."""
    service, explorer = service_of(request), explorer_of(request)
    served = service.models.get(run)
    check_layer(served.model, layer)
    collection = explorer.collection(served, "test", "val", "index", "train")
    units = next(each["shape"][0] for each in network_view.describe_layers(served.model) if each["name"] == layer)
    network_view.check_unit(layer, unit, units)
    search = await explorer.collected(request, service, served, collection, PatchSearch)
    field, config = receptive_fields(served.model)[layer], served.model.config
    size = config.test_size or served.run.recipe.prepare_size
    margin = (size - config.crop_size) // 2
    best = []
    for number, value, row, column in search.excited.of(layer, unit):
        box = [(edge + margin) / size for edge in box_of(field, row, column, config.crop_size)]
        best.append({**explorer.about(served, f"{collection.kind}-{number}"), "value": value, "box": box})
    return JSONResponse({"images": search.excited.seen, "split": collection.kind, "patches": best})


@router.get("/explorer/{run}/filters")
async def filters(request: Request, run: str, epoch: int | None = None) -> Response:
    """The kernels of conv1, with their orientation and frequency: of the present weights, or of the end of an epoch."""
    service = service_of(request)
    served = service.models.get(run)
    history = dict(await service.queue.decode(lambda: kernel_history(served.run)))
    kernels = effective_kernels(served.model) if epoch is None else history.get(epoch)
    if kernels is None:
        raise DataError(
            f"{served.name} has no kernels of conv1" + ("" if epoch is None else f" of epoch {epoch}"),
            fix=f"Saved epochs: {', '.join(map(str, history)) or 'none'}.",
            code="E392",
        )
    towers = int(getattr(served.model.config, "towers", 1))
    colors = [asdict(each) for each in tower_colors(kernels, towers)] if kernels.shape[1] == 3 else []
    tuned = [asdict(each) for each in tunings(kernels)]
    about = {"epoch": epoch, "epochs": list(history), "towers": towers, "tuning": tuned, "colors": colors}
    return JSONResponse({**about, **network_view.as_bytes(kernels)})


@router.get("/explorer/{run}/why/{name}")
async def why(
    request: Request, run: str, name: str, method: Method, label: Annotated[int | None, Query(alias="class")] = None
) -> Response:
    """The attribution map of one method for one class, on the central view."""
    service, _, served, image = await image_of(request, run, name)
    if label is not None:
        network_view.check_unit("the last layer", label, len(served.class_names))

    explanation = await compute(request, service, lambda: explain(served.classifier, image, [method], label=label))
    explained = explanation.explained
    config = served.model.config
    size = config.test_size or image.shape[0]
    boxes = crop_boxes(size, None, config.crop_size)
    about = {"class": explained.index, "name": explained.name, "probability": explained.probability, "method": method}
    about |= {"blank": method in explanation.blank, "notes": list(explanation.notes)}
    central_box = boxes[2] if len(boxes) > 2 else boxes[0]
    return JSONResponse({**about, "box": central_box, **network_view.as_bytes(explanation.map[None])})


@router.get("/explorer/{run}/similar/{name}")
async def similar(request: Request, run: str, name: str) -> Response:
    """The nearest neighbors by the last hidden layer, and by raw pixels."""
    service, explorer, served, image = await image_of(request, run, name)
    collection = explorer.collection(served, "index", "train", "test", "val")
    search = await explorer.collected(request, service, served, collection, NeighborSearch)
    own_number = int(name.rpartition("-")[2]) if name.startswith(f"{collection.kind}-") else None
    nearest = await compute(
        request, service, lambda: search.neighbors.of(served.model, image, k=NEIGHBORS, leave_out=own_number)
    )
    return JSONResponse(
        {
            **explorer.about(served, name),
            "layer": last_hidden(served.model),
            "split": collection.kind,
            "images": search.neighbors.seen,
            "all": len(collection),
            "notes": explorer.notes if collection.kind == "index" else [],
            **{
                sense: [{**explorer.about(served, f"{collection.kind}-{n}"), "distance": d} for n, d in pairs]
                for sense, pairs in nearest.items()
            },
        }
    )


@router.get("/explorer/{run}/progress")
async def progress_of_run(request: Request, run: str) -> Response:
    """The progress of the run, read from its folder."""
    service, explorer = service_of(request), explorer_of(request)
    served = service.models.get(run)
    # Of a run that holds a sample of its images, the number of steps of an epoch does not follow from these.
    prepared = None if served.run.data.get("sample_of") else explorer.prepared[served.name]
    status = await service.queue.decode(lambda: progress(served.run, prepared))
    return JSONResponse({**status, "model": served.model_id})


@router.post("/explorer/{run}/ask/{what}")
async def ask_training(request: Request, run: str, what: Literal["save", "stop"]) -> Response:
    """Asks the process that trains the run to save, or to save and stop."""
    served = service_of(request).models.get(run)
    return JSONResponse({"process": ask(served.run, what), "asked": what})


@router.get("/explorer/{run}/compare")
async def compare(request: Request, run: str) -> Response:
    """The runs on the same images side by side, as far as nothing must be computed."""
    service, explorer = service_of(request), explorer_of(request)
    comparable = _comparable_runs(service, run)
    runs = [served.run for served in comparable]

    def read() -> dict[str, Any]:
        return {
            "runs": [
                {
                    "name": served.name,
                    "recipe": served.run.recipe.name,
                    "recorded": recorded_evaluations(served.run),
                    "rows": progress(served.run, explorer.prepared[served.name])["rows"],
                }
                for served in comparable
            ],
            "fields": differing_fields(runs),
            "ingredients": ingredients_between(runs),
        }

    return JSONResponse(await service.queue.decode(read))


@router.get("/explorer/{run}/contrast")
async def contrast(request: Request, run: str) -> Response:
    """The predictions of all runs on the same images, for those that were held out."""
    service, explorer = service_of(request), explorer_of(request)
    comparable = _comparable_runs(service, run)
    if len(comparable) < 2:
        raise DataError(
            f"no other run here was trained on the images of {run}",
            fix="Start it with two runs on the same dataset: alexnet explore RUN RUN.",
            code="E393",
        )
    collections = [explorer.collection(served, "test", "val") for served in comparable]
    evaluations = []
    for served, collection in zip(comparable, collections, strict=True):
        predictions = await explorer.collected(request, service, served, collection, Predictions)
        evaluations.append(predictions.evaluation(served, collection))
    return JSONResponse({"runs": [served.name for served in comparable], **compare_predictions(evaluations)})


def _comparable_runs(service: Service, run: str) -> list[ServedModel]:
    """The run and all others with the same prepared images and classes, in their order."""
    chosen = service.models.get(run)
    images_and_classes = chosen.run.data.get("fingerprint"), chosen.class_names
    return [
        served
        for served in service.models
        if served is chosen or (served.run.data.get("fingerprint"), served.class_names) == images_and_classes
    ]


def _top(served: ServedModel, probabilities: Any, k: int = 5) -> list[dict[str, Any]]:
    return [asdict(each) for each in served.classifier.top(probabilities, k)]


def _describe_run(explorer: Explorer, served: ServedModel) -> dict[str, Any]:
    collections = explorer.collections[served.name]
    first = collections[0] if collections else None
    samples = [] if first is None else [f"{first.kind}-{number}" for number in first.evenly_spaced(SAMPLES)]
    config = served.model.config
    return {
        "name": served.name,
        "model": served.model_id,
        "recipe": served.run.recipe.name,
        "architecture": config.architecture,
        "classes": list(served.class_names),
        "prepare_size": served.run.recipe.prepare_size,
        "crop_size": config.crop_size,
        "towers": int(getattr(config, "towers", 1)),
        "layers": network_view.describe_layers(served.model),
        "ideas": ideas_of(served.model),
        "samples": [explorer.about(served, name) for name in samples],
        "counts": {collection.kind: len(collection) for collection in collections},
        "missing": explorer.missing.get(served.name),
        "calibrated": served.classifier.measured,
    }

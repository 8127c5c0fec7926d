"""The page of `alexnet explore`: its files, and the routes that only it uses, under /explorer/."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from alexnet.errors import DataError
from alexnet.evaluation.views import crop_boxes
from alexnet.explorer import network_view
from alexnet.explorer.comparison import contrasted, differing, ingredients_between, recorded
from alexnet.explorer.state import Answers, Exciting, Explorer, Near
from alexnet.interpret.attribution import Method, explain
from alexnet.interpret.contact_sheet import png_bytes
from alexnet.interpret.features import last_hidden
from alexnet.interpret.filters import tower_colors, tunings
from alexnet.interpret.receptive_fields import box_of, receptive_fields
from alexnet.models.network import check_layer
from alexnet.runs.kernel_history import effective_kernels, kernel_history
from alexnet.runs.status import ask, progress
from alexnet.serving.models import ServedModel
from alexnet.serving.problems import no_such_path
from alexnet.serving.service import Service, service_of

router = APIRouter(include_in_schema=False)

FILES = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
TYPES[".svg"] = "image/svg+xml"
SAMPLES = 24  # pictures that the page offers
SIMILAR = 6


def add_explorer(app: FastAPI, explorer: Explorer) -> None:
    """Adds the page and its routes to the application; the last that is added, since it answers for `/`."""
    app.state.explorer = explorer
    app.include_router(router)


@router.get("/explorer/setup")
def setup(request: Request) -> Response:
    """The runs with their plans, classes and sample pictures."""
    explorer, service = _explorer(request), service_of(request)
    return JSONResponse({"runs": [_about(explorer, served) for served in service.models]})


@router.post("/explorer/images")
async def images(request: Request, run: str | None = None) -> Response:
    """Takes a picture; its name, and what one view of it says."""
    service, explorer = service_of(request), _explorer(request)
    served = service.models.get(run)
    data = await service.body(request)
    async with service.queue.room() as room:
        classifier = served.classifier
        picture = await service.queue.decode(lambda: classifier.prepare(data, service.settings.max_pixels))
        answer = await service.compute(request, room, lambda: classifier.probabilities(picture[None])[0])
    return JSONResponse({"picture": explorer.sent.add(data), "one": _top(served, answer)})


@router.get("/explorer/{run}/picture/{name}")
async def picture_png(request: Request, run: str, name: str) -> Response:
    """A picture as the run's recipe prepares it."""
    *_, picture = await _picture(request, run, name)
    png = await service_of(request).queue.decode(lambda: png_bytes(picture))
    return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=600"})


@router.get("/explorer/{run}/answers/{name}")
async def answers(request: Request, run: str, name: str) -> Response:
    """The most probable classes by one view and by ten, and by each of the ten."""
    service, explorer, served, picture = await _picture(request, run, name)
    rows = await _compute(request, service, lambda: served.classifier.crop_probabilities(picture))
    config = served.model.config
    boxes = crop_boxes(picture.shape[0], config.test_size, config.crop_size)
    crops = [
        {"box": boxes[i % len(boxes)], "mirrored": i >= len(boxes), "top": _top(served, row, 1)[0]}
        for i, row in enumerate(rows)
    ]
    central = rows[2 if len(rows) == 10 else 0]
    return JSONResponse(
        {
            **explorer.about(served, name),
            "one": _top(served, central),
            "ten": _top(served, rows.mean(0)),
            "crops": crops,
            "mirrors": served.run.recipe.augment.flip,
        }
    )


@router.get("/explorer/{run}/maps/{name}/{layer}")
async def maps(request: Request, run: str, name: str, layer: str) -> Response:
    """All maps of a layer for the central view."""
    service, _, served, picture = await _picture(request, run, name)
    check_layer(served.model, layer)
    found = await _compute(
        request, service, lambda: network_view.as_bytes(network_view.maps_of(served.classifier, picture, layer))
    )
    return JSONResponse({"layer": layer, **found})


@router.get("/explorer/{run}/kernel/{layer}/{unit}")
async def kernel(request: Request, run: str, layer: str, unit: int) -> Response:
    """The weights of a unit, where they are a kernel."""
    service = service_of(request)
    served = service.models.get(run)
    return JSONResponse({"kernel": network_view.unit_kernel(served.model, layer, unit)})


@router.get("/explorer/{run}/patches/{layer}/{unit}")
async def patches(request: Request, run: str, layer: str, unit: int) -> Response:
    """The places in held-out pictures that excite a unit most; boxes are (left, top, right, bottom) of the picture."""
    service, explorer = service_of(request), _explorer(request)
    served = service.models.get(run)
    check_layer(served.model, layer)
    shelf = explorer.shelf(served, "test", "val", "index", "train")
    units = next(each["shape"][0] for each in _plan(served) if each["name"] == layer)
    network_view.check_unit(layer, unit, units)
    gathered = await explorer.gathered(request, service, served, shelf, Exciting)
    field, config = receptive_fields(served.model)[layer], served.model.config
    size = config.test_size or served.run.recipe.prepare_size
    margin = (size - config.crop_size) // 2
    found = []
    for number, value, row, column in gathered.found.of(layer, unit):
        box = [(side + margin) / size for side in box_of(field, row, column, config.crop_size)]
        found.append({**explorer.about(served, f"{shelf.kind}-{number}"), "value": value, "box": box})
    return JSONResponse({"pictures": gathered.found.seen, "split": shelf.kind, "patches": found})


@router.get("/explorer/{run}/filters")
async def filters(request: Request, run: str, epoch: int | None = None) -> Response:
    """The kernels of conv1 with what each is tuned to: of the weights that answer, or of the end of an epoch."""
    service = service_of(request)
    served = service.models.get(run)
    history = dict(await service.queue.decode(lambda: kernel_history(served.run)))
    kernels = effective_kernels(served.model) if epoch is None else history.get(epoch)
    if kernels is None:
        raise DataError(
            f"{served.name} has no kernels of conv1" + ("" if epoch is None else f" of epoch {epoch}"),
            fix=f"Epochs kept: {', '.join(map(str, history)) or 'none'}.",
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
    """The map of one method for one class, of the central view."""
    service, _, served, picture = await _picture(request, run, name)
    if label is not None:
        network_view.check_unit("the last layer", label, len(served.class_names))

    explained, (heat,) = await _compute(
        request, service, lambda: explain(served.classifier, picture, [method], label=label)
    )
    config = served.model.config
    size = config.test_size or picture.shape[0]
    box = crop_boxes(size, None, config.crop_size)
    about = {"class": explained.index, "name": explained.name, "probability": explained.probability, "method": method}
    box_shown = box[2] if len(box) > 2 else box[0]
    return JSONResponse({**about, "box": box_shown, **network_view.as_bytes(heat[None])})


@router.get("/explorer/{run}/similar/{name}")
async def similar(request: Request, run: str, name: str) -> Response:
    """The nearest pictures by the last hidden layer, and by raw pixels."""
    service, explorer, served, picture = await _picture(request, run, name)
    shelf = explorer.shelf(served, "index", "train", "test", "val")
    gathered = await explorer.gathered(request, service, served, shelf, Near)
    own = int(name.rpartition("-")[2]) if name.startswith(f"{shelf.kind}-") else None
    found = await _compute(request, service, lambda: gathered.found.of(served.model, picture, k=SIMILAR, leave_out=own))
    return JSONResponse(
        {
            **explorer.about(served, name),
            "layer": last_hidden(served.model),
            "split": shelf.kind,
            "pictures": gathered.found.seen,
            "all": len(shelf),
            **{
                sense: [{**explorer.about(served, f"{shelf.kind}-{n}"), "distance": d} for n, d in pairs]
                for sense, pairs in found.items()
            },
        }
    )


@router.get("/explorer/{run}/progress")
async def live(request: Request, run: str) -> Response:
    """Where the run stands, read from its folder."""
    service, explorer = service_of(request), _explorer(request)
    served = service.models.get(run)
    prepared = explorer.prepared[served.name]
    found = await service.queue.decode(lambda: progress(served.run, prepared))
    return JSONResponse({**found, "model": served.model_id})


@router.post("/explorer/{run}/ask/{what}")
async def asking(request: Request, run: str, what: Literal["save", "stop"]) -> Response:
    """Asks the process that trains the run to save, or to save and stop."""
    served = service_of(request).models.get(run)
    return JSONResponse({"process": ask(served.run, what), "asked": what})


@router.get("/explorer/{run}/compare")
async def compare(request: Request, run: str) -> Response:
    """Runs on the same pictures side by side, as far as nothing must be computed."""
    service, explorer = service_of(request), _explorer(request)
    every = _alike(service, run)
    runs = [served.run for served in every]

    def read() -> dict[str, Any]:
        return {
            "runs": [
                {
                    "name": served.name,
                    "recipe": served.run.recipe.name,
                    "recorded": recorded(served.run),
                    "rows": progress(served.run, explorer.prepared[served.name])["rows"],
                }
                for served in every
            ],
            "fields": differing(runs),
            "ingredients": ingredients_between(runs),
        }

    return JSONResponse(await service.queue.decode(read))


@router.get("/explorer/{run}/contrast")
async def contrast(request: Request, run: str) -> Response:
    """What all runs on the same pictures say of those that were held out."""
    service, explorer = service_of(request), _explorer(request)
    every = _alike(service, run)
    if len(every) < 2:
        raise DataError(
            f"no other run here was trained on the pictures of {run}",
            fix="Start it with runs of one set: alexnet explore RUN RUN.",
            code="E393",
        )
    shelves = [explorer.shelf(served, "test", "val") for served in every]
    found = []
    for served, shelf in zip(every, shelves, strict=True):
        gathered = await explorer.gathered(request, service, served, shelf, Answers)
        found.append(gathered.evaluation(served, shelf))
    return JSONResponse({"runs": [served.name for served in every], **contrasted(found)})


@router.get("/")
def index() -> Response:
    """The page."""
    return _file("index.html")


@router.get("/page/{name}")
def file(name: str) -> Response:
    """A file of the page."""
    return _file(name)


def _file(name: str) -> Response:
    path = FILES / name
    if name not in {each.name for each in FILES.iterdir()} or path.suffix not in TYPES:
        raise no_such_path(f"/page/{name}")
    # A browser that kept the script of an older version would not fit the routes of this one.
    return Response(path.read_bytes(), media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})


def _explorer(request: Request) -> Explorer:
    found: Explorer = request.app.state.explorer
    return found


async def _picture(request: Request, run: str, name: str) -> tuple[Service, Explorer, ServedModel, Any]:
    service, explorer = service_of(request), _explorer(request)
    served = service.models.get(run)
    picture = await service.queue.decode(lambda: explorer.picture(served, name, service.settings.max_pixels))
    return service, explorer, served, picture


async def _compute(request: Request, service: Service, function: Any) -> Any:
    async with service.queue.room() as room:
        return await service.compute(request, room, function)


def _alike(service: Service, run: str) -> list[ServedModel]:
    """The run and the others on the same prepared pictures and classes, in their order."""
    chosen = service.models.get(run)
    wanted = chosen.run.data.get("fingerprint"), chosen.class_names
    return [s for s in service.models if s is chosen or (s.run.data.get("fingerprint"), s.class_names) == wanted]


def _top(served: ServedModel, probabilities: Any, k: int = 5) -> list[dict[str, Any]]:
    return [asdict(each) for each in served.classifier.top(probabilities, k)]


def _plan(served: ServedModel) -> list[dict[str, Any]]:
    return network_view.plan(served.model)


def _about(explorer: Explorer, served: ServedModel) -> dict[str, Any]:
    shelves = explorer.shelves[served.name]
    chosen = shelves[0] if shelves else None
    samples = [] if chosen is None else [f"{chosen.kind}-{number}" for number in chosen.some(SAMPLES)]
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
        "layers": _plan(served),
        "samples": [explorer.about(served, name) for name in samples],
        "counts": {shelf.kind: len(shelf) for shelf in shelves},
        "missing": explorer.missing.get(served.name),
    }

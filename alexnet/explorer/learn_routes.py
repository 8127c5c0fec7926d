"""The routes of the tab Learn: one for each idea, on one image, with one ingredient changed."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from alexnet.data.augment import ColorStatistics
from alexnet.explorer import learn_view
from alexnet.explorer.requests import compute, image_of

router = APIRouter(include_in_schema=False, prefix="/explorer/{run}/learn")

MOST = 100_000  # of a position, a unit or a seed in an address
Natural = Annotated[int, Query(ge=0, le=MOST)]
MaybeNatural = Annotated[int | None, Query(ge=0, le=MOST)]
Constant = Annotated[float | None, Query(ge=0, le=100)]
Axis = Annotated[float, Query(ge=-4, le=4)]


@router.get("/activation/{name}")
async def activation(request: Request, run: str, name: str, layer: str, everywhere: bool = False) -> Response:
    """ReLU, sigmoid and tanh in one layer, or in all."""
    return await _view(request, run, name, learn_view.activation_view, layer, everywhere)


@router.get("/convolution/{name}")
async def convolution(
    request: Request, run: str, name: str, layer: str, unit: MaybeNatural = None, row: Natural = 0, channel: Natural = 0
) -> Response:
    """One row of a feature map, product by product."""
    return await _view(request, run, name, learn_view.convolution_view, layer, unit, row, channel)


@router.get("/pooling/{name}")
async def pooling(request: Request, run: str, name: str, layer: str, unit: MaybeNatural = None) -> Response:
    """Overlapping pooling beside plain pooling."""
    return await _view(request, run, name, learn_view.pooling_view, layer, unit)


@router.get("/lrn/{name}")
async def lrn(
    request: Request,
    run: str,
    name: str,
    layer: str,
    unit: MaybeNatural = None,
    row: MaybeNatural = None,
    column: MaybeNatural = None,
    size: Annotated[int | None, Query(ge=1, le=99)] = None,
    alpha: Constant = None,
    beta: Annotated[float | None, Query(ge=0, le=10)] = None,
    k: Annotated[float | None, Query(ge=0.01, le=100)] = None,
) -> Response:
    """One unit at one position, normalized by its neighbors."""
    constants = {"size": size, "alpha": alpha, "beta": beta, "k": k}
    return await _view(request, run, name, learn_view.lrn_view, layer, unit, (row, column), constants)


@router.get("/dropout/{name}")
async def dropout(
    request: Request,
    run: str,
    name: str,
    share: Annotated[float | None, Query(ge=0, le=0.95)] = None,
    seed: Natural = 0,
    masks: Annotated[int, Query(ge=1, le=400)] = 100,
) -> Response:
    """The answers under many masks, and with the scaling of test time."""
    return await _view(request, run, name, learn_view.dropout_view, share, seed, masks)


@router.get("/augmentation/{name}")
async def augmentation(
    request: Request,
    run: str,
    name: str,
    crop: bool = True,
    flip: bool = True,
    noise: bool = True,
    axis1: Axis = 0.0,
    axis2: Axis = 0.0,
    axis3: Axis = 0.0,
) -> Response:
    """The views of the image in the first epochs, and color noise of chosen strength."""
    switches = {"crop": crop, "flip": flip, "noise": noise}
    service, explorer, served, image = await image_of(request, run, name)
    prepared, colors = explorer.prepared[served.name], None
    if prepared is not None:
        mean = served.model.input_mean.detach().float().cpu()
        colors = ColorStatistics(mean, prepared.color_stdevs, prepared.color_vectors)
    sample = int(name.removeprefix("train-")) if name.startswith("train-") else 0

    def view() -> Any:
        return learn_view.augmentation_view(served, image, colors, sample, switches, [axis1, axis2, axis3])

    return JSONResponse(await compute(request, service, view))


@router.get("/towers/{name}")
async def towers(request: Request, run: str, name: str, cut: str = "") -> Response:
    """What crosses between the towers, and the answer without what is cut: layers, divided by commas."""
    return await _view(request, run, name, learn_view.towers_view, [each for each in cut.split(",") if each])


async def _view(request: Request, run: str, name: str, view: Callable[..., Any], *chosen: Any) -> Response:
    service, _, served, image = await image_of(request, run, name)
    return JSONResponse(await compute(request, service, lambda: view(served, image, *chosen)))

"""What every route of the page begins with: the explorer of the application, an image, a place in the queue."""

from typing import Any

from fastapi import Request

from alexnet.explorer.state import Explorer
from alexnet.serving.models import ServedModel
from alexnet.serving.service import Service, service_of


def explorer_of(request: Request) -> Explorer:
    """The images of all runs, and what was collected from them."""
    explorer: Explorer = request.app.state.explorer
    return explorer


async def image_of(request: Request, run: str, name: str) -> tuple[Service, Explorer, ServedModel, Any]:
    """The run and the image, prepared for it, that the address of a request names."""
    service, explorer = service_of(request), explorer_of(request)
    served = service.models.get(run)
    image = await service.queue.decode(lambda: explorer.image(served, name, service.settings.max_pixels))
    return service, explorer, served, image


async def compute(request: Request, service: Service, function: Any) -> Any:
    """Runs a function on the thread that computes, when its turn comes."""
    async with service.queue.reserve() as places:
        return await service.compute(request, places, function)

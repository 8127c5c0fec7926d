"""Holds what the routes share: the networks, the queue and the counters; reads bodies and computes for requests."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Request
from starlette.requests import ClientDisconnect

from alexnet.data.loops import MANY, load_loops
from alexnet.errors import DataError
from alexnet.interpret.similar import LiveIndex
from alexnet.serving.batching import Compute, Queue, Reservation
from alexnet.serving.counters import service_counters
from alexnet.serving.json_body import image_in, is_json
from alexnet.serving.models import ServedModels
from alexnet.serving.settings import Settings


class ClientDisconnected(Exception):
    """The client has closed its connection, so nobody would read a response."""


class Service:
    """What all routes share: the networks, the queue, the counters, and the index of images if there is one."""

    def __init__(self, models: ServedModels, settings: Settings, index: Path | None = None):
        self.models = models
        self.settings = settings
        self.counters = service_counters()
        self.queue = Queue(settings, self.counters)
        self.similar = None if index is None else LiveIndex(index)
        self.ready = False
        self.counters.gauge("alexnet_queue_images", "Images that wait or are being computed.", self._waiting_images)
        self.counters.gauge("alexnet_model_info", "1 for the weights in use.", self._models_in_use)

    async def body(self, request: Request) -> bytes:
        """The complete body of a request.

        Raises:
            DataError: E360, too long; E361, a form.
            ResourceError: E520, E521.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == "multipart/form-data":
            raise DataError(
                "the body is a form (multipart/form-data), not an image",
                fix="Send the bytes alone: curl --data-binary @cat.jpg URL; not -F.",
                code="E361",
            )
        self.queue.check()  # before the upload rather than after it
        try:
            return await request.body()
        except ClientDisconnect:
            raise ClientDisconnected from None

    async def image(self, request: Request) -> bytes:
        """The bytes of the one image that a request sends, by themselves or in JSON.

        Raises:
            DataError: E360, too long; E361, a form; E358, JSON without an image.
            ResourceError: E520, E521.
        """
        data = await self.body(request)
        return await self.queue.decode(lambda: image_in(data)) if is_json(data) else data

    async def compute_batched(
        self,
        request: Request,
        places: Reservation,
        key: Hashable,
        items: Sequence[Any],
        function: Compute,
    ) -> Any:
        """The results of a function for these items, computed in one batch with other requests of the same key."""
        return await self._while_connected(request, places.compute(key, items, function))

    async def compute(self, request: Request, places: Reservation, function: Callable[[], Any]) -> Any:
        """The result of a function, run on the computing thread; not called if the client has disconnected before."""
        return (await self._while_connected(request, places.compute(None, [None], lambda _: [function()])))[0]

    async def _while_connected(self, request: Request, work: Awaitable[Any]) -> Any:
        task = asyncio.ensure_future(work)
        disconnection = asyncio.ensure_future(_wait_for_disconnect(request))
        try:
            await asyncio.wait((task, disconnection), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                disconnection.result()  # raises if the rest of the body was too long
                raise ClientDisconnected
            return task.result()
        finally:
            for each in (task, disconnection):
                if not each.cancel() and not each.cancelled():
                    each.exception()  # asyncio writes an exception to the log that nobody has asked for

    def reload(self) -> list[str]:
        """Loads the weights of all runs again and returns the names of those that changed; takes seconds."""
        changed = self.models.reload()
        if self.similar is not None:
            self.similar.keep({served.model_id for served in self.models})
        self.counters.add("alexnet_reloads_total")
        return changed

    def warm_up(self) -> None:
        """Computes one image with each network and updates the index, so that the first request need not wait."""
        load_loops(MANY)
        for served in self.models:
            size = served.classifier.prepare_size
            served.classifier.probabilities(np.zeros((1, size, size, 3), np.uint8))
            if self.similar is not None:
                self.similar.index(served.classifier, served.model_id)
        self.ready = True

    def stop(self) -> None:
        """Ends the threads, after what waits has been computed."""
        self.ready = False
        self.queue.stop()

    def _waiting_images(self) -> dict[tuple[tuple[str, str], ...], float]:
        return {(): float(self.queue.taken)}

    def _models_in_use(self) -> dict[tuple[tuple[str, str], ...], float]:
        return {(("run", served.name), ("model", served.model_id)): 1.0 for served in self.models}


def service_of(request: Request) -> Service:
    """The service that handles a request."""
    service: Service = request.app.state.service
    return service


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

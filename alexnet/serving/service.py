"""What the routes of the service share: the networks, the queue, what is counted, and how a body is read."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Request
from starlette.requests import ClientDisconnect

from alexnet.errors import DataError
from alexnet.interpret.similar import LiveIndex
from alexnet.serving.batching import Compute, Queue, Room
from alexnet.serving.counters import service_counters
from alexnet.serving.models import ServedModels
from alexnet.serving.settings import Settings


class Gone(Exception):
    """The client has closed its connection; nobody reads an answer."""


class Service:
    """What all routes share: networks, the queue, counters, and the index of similar pictures if there is one."""

    def __init__(self, models: ServedModels, settings: Settings, index: Path | None = None):
        self.models = models
        self.settings = settings
        self.counters = service_counters()
        self.queue = Queue(settings, self.counters)
        self.similar = None if index is None else LiveIndex(index)
        self.ready = False
        self.counters.gauge("alexnet_queue_pictures", "Pictures that wait or are computed.", self._waiting)
        self.counters.gauge("alexnet_model_info", "1 for the weights that answer now.", self._loaded)

    async def body(self, request: Request) -> bytes:
        """The whole body of a request.

        Raises:
            DataError: E360, too long; E361, a form.
            ResourceError: E520, E521.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            raise DataError(
                "the body is a form (multipart/form-data), not a picture",
                fix="Send the bytes alone: curl --data-binary @cat.jpg URL; not -F.",
                code="E361",
            )
        self.queue.check()  # before the upload, not after it
        try:
            return await request.body()
        except ClientDisconnect:
            raise Gone from None

    async def together(
        self,
        request: Request,
        room: Room,
        key: Hashable,
        items: Sequence[Any],
        function: Compute,
    ) -> Any:
        """What a function gives for these items, computed together with those of other requests of the same key."""
        return await self._unless_gone(request, room.compute(key, items, function))

    async def compute(self, request: Request, room: Room, function: Callable[[], Any]) -> Any:
        """What a function gives on the thread that computes; not called if the client has gone before its turn."""
        return (await self._unless_gone(request, room.compute(None, [None], lambda _: [function()])))[0]

    async def _unless_gone(self, request: Request, work: Awaitable[Any]) -> Any:
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Gone
            return task.result()
        finally:
            task.cancel()
            gone.cancel()

    def reload(self) -> list[str]:
        """Loads the weights anew; on a thread that may take its time."""
        changed = self.models.reload()
        self.counters.add("alexnet_reloads_total")
        return changed

    def warm_up(self) -> None:
        """Computes one picture by each network, so that the first request finds compiled loops, and the index."""
        for served in self.models:
            size = served.classifier.prepare_size
            served.classifier.probabilities(np.zeros((1, size, size, 3), np.uint8))
            if self.similar is not None:
                self.similar.index(served.classifier, served.model_id)
        self.ready = True

    def _waiting(self) -> dict[tuple[tuple[str, str], ...], float]:
        return {(): float(self.queue.taken)}

    def _loaded(self) -> dict[tuple[tuple[str, str], ...], float]:
        return {(("run", served.name), ("model", served.model_id)): 1.0 for served in self.models}


def service_of(request: Request) -> Service:
    """The service that a request has come to."""
    found: Service = request.app.state.service
    return found


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

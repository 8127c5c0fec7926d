"""What the page of `alexnet explore` needs beside the networks: pictures by name, and what is gathered from many.

To gather is slow, so it is done in small batches on the thread that computes, other requests in between. Whatever has
been gathered stays until the weights of the run are exchanged.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from alexnet.data.dataset import Prepared
from alexnet.data.images import Pixels
from alexnet.errors import AlexNetError, DataError
from alexnet.evaluation.evaluate import Evaluation
from alexnet.explorer.images import Sent, Shelf, find, shelves_of
from alexnet.interpret.receptive_fields import Excited
from alexnet.interpret.similar import Neighbours
from alexnet.runs.run import RunFolder
from alexnet.serving.models import ServedModel, ServedModels
from alexnet.serving.service import Service

BATCH = 16
MOST_EXCITED = 1024  # held-out pictures whose patches are compared
MOST_SIMILAR = 4096  # pictures among which similar ones are looked for


class Gatherer(Protocol):
    """What takes in pictures batch by batch."""

    def look(self, served: ServedModel, pictures: NDArray[np.uint8], numbers: Sequence[int]) -> None: ...


@dataclass(eq=False)
class Exciting:
    """The patches that excite the units of a network."""

    found: Excited = field(default_factory=Excited)

    def look(self, served: ServedModel, pictures: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Takes in some pictures."""
        self.found.look(served.model, pictures, numbers)


@dataclass(eq=False)
class Near:
    """The vectors of pictures among which similar ones are looked for."""

    found: Neighbours = field(default_factory=Neighbours)

    def look(self, served: ServedModel, pictures: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Takes in some pictures."""
        self.found.look(served.model, pictures, numbers)


@dataclass(eq=False)
class Answers:
    """What a network says of every held-out picture."""

    rows: list[NDArray[np.float32]] = field(default_factory=list)

    def look(self, served: ServedModel, pictures: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Takes in some pictures."""
        self.rows.append(served.classifier.probabilities(pictures))

    def evaluation(self, served: ServedModel, shelf: Shelf) -> Evaluation:
        """The answers with the names and labels of the pictures."""
        assert shelf.labels is not None
        return Evaluation(shelf.kind, 1, served.class_names, shelf.names, shelf.labels, np.concatenate(self.rows))


@dataclass(eq=False)
class Scan:
    """A walk over some pictures of a shelf; only the thread that computes moves it."""

    served: ServedModel
    shelf: Shelf
    numbers: Sequence[int]
    into: Any
    at: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def step(self) -> None:
        """Takes in the next batch."""
        some = self.numbers[self.at : self.at + BATCH]
        pictures = self.shelf.read(some)
        read = [(number, picture) for number, picture in zip(some, pictures, strict=True) if picture is not None]
        if read:
            self.into.look(self.served, np.stack([picture for _, picture in read]), [number for number, _ in read])
        self.at += len(some)


class Explorer:
    """Pictures and what was gathered from them, for all runs."""

    def __init__(self, models: ServedModels, open_pictures: Callable[[RunFolder], Prepared], index: Path | None = None):
        """Opens the pictures of every run; a run without them has a reason in `missing`.

        Raises:
            DataError: there is no folder `index`, or no pictures in it.
        """
        self.sent = Sent()
        self.shelves: dict[str, list[Shelf]] = {}
        self.prepared: dict[str, Prepared | None] = {}
        self.missing: dict[str, str] = {}
        self._scans: dict[tuple[str, str], Scan] = {}
        for served in models:
            try:
                self.prepared[served.name] = open_pictures(served.run)
            except AlexNetError as error:
                self.prepared[served.name], self.missing[served.name] = None, error.what
            recipe = served.run.recipe
            self.shelves[served.name] = shelves_of(
                self.prepared[served.name], served.class_names, index, recipe.prepare_size
            )

    def shelf(self, served: ServedModel, *kinds: str) -> Shelf:
        """The first of these kinds of pictures that there is for a run.

        Raises:
            DataError: E387, none is there.
        """
        shelves = {shelf.kind: shelf for shelf in self.shelves[served.name]}
        for kind in kinds:
            if kind in shelves and len(shelves[kind]):
                return shelves[kind]
        raise DataError(
            f"there are no pictures for {served.name}: {self.missing.get(served.name, 'none are held out')}",
            fix="Put them back, or start it with --index PHOTOS.",
            code="E387",
        )

    def picture(self, served: ServedModel, name: str, max_pixels: int) -> Pixels:
        """A picture by name as the recipe of a run prepares it.

        Raises:
            AlexNetError: there is no such picture, or it cannot be read.
        """
        place = find(self.shelves[served.name], name)
        if place is None:
            return served.classifier.prepare(self.sent.get(name), max_pixels)
        pixels = place[0].read([place[1]])[0]
        if pixels is None:
            raise DataError(f"{place[0].names[place[1]]} cannot be read", fix="Choose another picture.", code="E388")
        return pixels

    def about(self, served: ServedModel, name: str) -> dict[str, Any]:
        """What is known of a picture: its file name, and its class where it has a label."""
        place = find(self.shelves[served.name], name)
        if place is None:
            return {"picture": name, "file": None, "truth": None}
        shelf, number = place
        truth = None if shelf.labels is None else served.class_names[int(shelf.labels[number])]
        return {"picture": name, "file": shelf.names[number], "truth": truth}

    async def gathered(
        self, request: Request, service: Service, served: ServedModel, shelf: Shelf, kind: type[Any]
    ) -> Any:
        """What a walk over a shelf gathers, from now or from an earlier request."""
        key = (f"{kind.__name__}-{shelf.kind}", served.name)
        scan = self._scans.get(key)
        if scan is None or scan.served.model_id != served.model_id:
            most = {Exciting: MOST_EXCITED, Near: MOST_SIMILAR}.get(kind, len(shelf))
            scan = self._scans[key] = Scan(served, shelf, shelf.some(most), kind())
        async with scan.lock, service.queue.room() as room:
            while scan.at < len(scan.numbers):
                await service.compute(request, room, scan.step)
        return scan.into

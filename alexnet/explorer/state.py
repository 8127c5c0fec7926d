"""Holds what the page of `alexnet explore` needs beside the networks: images by name, and results over many images.

Collecting results from many images is slow, so the computing thread does it in small batches, with other requests in
between. The results are kept until the weights of the run change.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from alexnet.data.dataset import Prepared
from alexnet.data.images import Pixels
from alexnet.errors import AlexNetError, DataError
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.predict import left_out
from alexnet.explorer.images import ImageCollection, SentImages, find_image, open_collections
from alexnet.interpret.receptive_fields import Excited
from alexnet.interpret.similar import Neighbors
from alexnet.runs.start import images_of_run
from alexnet.serving.models import ServedModel, ServedModels
from alexnet.serving.service import Service
from alexnet.text import printable

BATCH = 16
PATCH_IMAGES = 1024  # of which the patches are compared, at most
NEIGHBOR_IMAGES = 4096  # among which neighbors are searched, at most


@dataclass(eq=False)
class PatchSearch:
    """Collects the image patches that excite the units of a network most."""

    excited: Excited = field(default_factory=Excited)

    def add(self, served: ServedModel, images: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Adds prepared images (N, size, size, 3) with their numbers."""
        self.excited.look(served.model, images, numbers)


@dataclass(eq=False)
class NeighborSearch:
    """Collects the feature vectors of images, among which the nearest neighbors are searched."""

    neighbors: Neighbors = field(default_factory=Neighbors)

    def add(self, served: ServedModel, images: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Adds prepared images (N, size, size, 3) with their numbers."""
        self.neighbors.look(served.model, images, numbers)


@dataclass(eq=False)
class Predictions:
    """Collects the probabilities that a network gives for every image of a split."""

    rows: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, served: ServedModel, images: NDArray[np.uint8], numbers: Sequence[int]) -> None:
        """Adds prepared images (N, size, size, 3)."""
        self.rows.append(served.classifier.probabilities(images))

    def evaluation(self, served: ServedModel, collection: ImageCollection) -> Evaluation:
        """The probabilities with the names and labels of the images."""
        assert collection.labels is not None
        probabilities = np.concatenate(self.rows)
        return Evaluation(collection.kind, 1, served.class_names, collection.names, collection.labels, probabilities)


@dataclass(eq=False)
class Scan:
    """Feeds images of a collection to a collector, batch by batch; only the computing thread calls `step`."""

    served: ServedModel
    collection: ImageCollection
    numbers: Sequence[int]
    collector: Any
    position: int = 0  # in `numbers`, of the next image
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def step(self) -> None:
        """Adds the next batch."""
        numbers = self.numbers[self.position : self.position + BATCH]
        images = self.collection.read(numbers)
        readable = [(number, image) for number, image in zip(numbers, images, strict=True) if image is not None]
        if readable:
            self.collector.add(self.served, np.stack([image for _, image in readable]), [n for n, _ in readable])
        self.position += len(numbers)


class Explorer:
    """The images of all runs, and the results collected from them."""

    def __init__(self, models: ServedModels, index: Path | None = None):
        """Opens the images of every run; for a run without images, `missing` has the reason.

        Raises:
            DataError: the folder `index` does not exist or has no images.
        """
        self.sent = SentImages()
        self.collections: dict[str, list[ImageCollection]] = {}
        self.prepared: dict[str, Prepared | None] = {}
        self.missing: dict[str, str] = {}
        self.notes = [] if index is None else left_out([str(index)])  # what of the folder is not used
        self._scans: dict[tuple[str, str], Scan] = {}
        for served in models:
            try:
                self.prepared[served.name] = images_of_run(served.run)
            except AlexNetError as error:
                self.prepared[served.name], self.missing[served.name] = None, error.what
            recipe = served.run.recipe
            self.collections[served.name] = open_collections(
                self.prepared[served.name], served.class_names, index, recipe.prepare_size, recipe.prepare_whole
            )

    def collection(self, served: ServedModel, *kinds: str) -> ImageCollection:
        """The first collection of these kinds that a run has.

        Raises:
            DataError: E387, it has none of them.
        """
        by_kind = {collection.kind: collection for collection in self.collections[served.name]}
        for kind in kinds:
            if kind in by_kind and len(by_kind[kind]):
                return by_kind[kind]
        raise DataError(
            f"there are no images for {served.name}: {self.missing.get(served.name, 'none are held out')}",
            fix="Put them back, or start alexnet explore with --index PHOTOS.",
            code="E387",
        )

    def image(self, served: ServedModel, name: str, max_pixels: int) -> Pixels:
        """An image by name, prepared as the recipe of a run says.

        Raises:
            AlexNetError: no image has this name, or it cannot be read.
        """
        match = find_image(self.collections[served.name], name)
        if match is None:
            return served.classifier.prepare(self.sent.get(name), max_pixels)
        collection, number = match
        pixels = collection.read([number])[0]
        if pixels is None:
            raise DataError(f"{collection.names[number]} cannot be read", fix="Choose another image.", code="E388")
        return pixels

    def about(self, served: ServedModel, name: str) -> dict[str, Any]:
        """What is known about an image: its file name, and its class if it has a label."""
        match = find_image(self.collections[served.name], name)
        if match is None:
            return {"image": name, "file": None, "truth": None}
        collection, number = match
        truth = None if collection.labels is None else served.class_names[int(collection.labels[number])]
        return {"image": name, "file": printable(collection.names[number]), "truth": truth}

    async def collected(
        self, request: Request, service: Service, served: ServedModel, collection: ImageCollection, kind: type[Any]
    ) -> Any:
        """A collector of this kind that has seen the collection; computed now, or kept from an earlier request."""
        key = (f"{kind.__name__}-{collection.kind}", served.name)
        scan = self._scans.get(key)
        if scan is None or scan.served.model_id != served.model_id:
            limit = {PatchSearch: PATCH_IMAGES, NeighborSearch: NEIGHBOR_IMAGES}.get(kind, len(collection))
            scan = self._scans[key] = Scan(served, collection, collection.evenly_spaced(limit), kind())
        async with scan.lock, service.queue.reserve() as places:
            while scan.position < len(scan.numbers):
                await service.compute(request, places, scan.step)
        return scan.collector

"""Finds images by the names that the page uses: images of a run, images of a folder, and images sent by the page.

`test-12`      number 12 of the test split of the run
`index-12`     number 12 of the folder that was given with --index
`9f86d081...`  an image that the page sent, by the start of its SHA-256; the latest ones are kept, in memory only
"""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet.data.dataset import Prepared
from alexnet.data.folders import nfc
from alexnet.data.images import Pixels, prepare_image
from alexnet.errors import DataError, UsageError
from alexnet.evaluation.predict import find_images

GALLERY = Path(__file__).parent / "runs" / "gallery"  # a run with trained filters, which the package ships
SENT_IMAGES = 32  # that are kept
SENT_BYTES = 100_000_000  # of all of them together
NUMBERED_NAME = re.compile(r"(train|val|test|index)-(\d{1,9})")
SENT_NAME = re.compile(r"[0-9a-f]{32}")


class SentImages:
    """The files of the images that were sent most recently; every method may be called from any thread."""

    def __init__(self, max_images: int = SENT_IMAGES, max_bytes: int = SENT_BYTES):
        self._max_images, self._max_bytes = max_images, max_bytes
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, data: bytes) -> str:
        """Keeps a file and returns its name; equal bytes have the same name."""
        name = hashlib.sha256(data).hexdigest()[:32]
        with self._lock:
            self._files[name] = data
            self._files.move_to_end(name)
            while len(self._files) > 1 and (
                len(self._files) > self._max_images or sum(map(len, self._files.values())) > self._max_bytes
            ):
                self._files.popitem(last=False)
        return name

    def get(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            DataError: E386, it is no longer kept.
        """
        with self._lock:
            if name in self._files:
                self._files.move_to_end(name)
                return self._files[name]
        raise DataError(
            "this image was sent to the server earlier and is no longer in its memory",
            fix="Send it again.",
            code="E386",
        )


@dataclass(frozen=True)
class ImageCollection:
    """The images of one split or folder, in a fixed order; a number is the position of an image."""

    kind: str  # train, val, test or index
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None  # positions in the class names of the run
    prepared: Prepared | None
    paths: tuple[Path, ...]
    size: int
    whole: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def read(self, numbers: Sequence[int]) -> list[Pixels | None]:
        """Prepared images by number; None for a file that cannot be read."""
        if self.prepared is not None:
            return list(self.prepared.splits[self.kind].read(numbers))
        images: list[Pixels | None] = []
        for number in numbers:
            try:
                images.append(prepare_image(self.paths[number], size=self.size, whole=self.whole))
            except DataError:
                images.append(None)
        return images

    def evenly_spaced(self, limit: int) -> list[int]:
        """At most `limit` numbers, evenly spaced."""
        return sorted({int(i) for i in np.linspace(0, len(self) - 1, min(limit, len(self)))}) if len(self) else []


def open_collections(
    prepared: Prepared | None, class_names: tuple[str, ...], index: Path | None, size: int, whole: bool = False
) -> list[ImageCollection]:
    """The image collections of a run: first its held-out images (test, val), then train, then the folder.

    Args:
        prepared: None if the run has no images of its own.
        size: pixels a side at which the images of the folder are prepared.
        whole: whether they are stretched to squares; else they are cut.

    Raises:
        DataError: the folder does not exist or has no images.
    """
    collections = []
    if prepared is not None:
        outputs = {nfc(name): output for output, name in enumerate(class_names)}
        to_output = np.array([outputs[nfc(name)] for name in prepared.class_names], np.int64)
        for kind in ("test", "val", "train"):
            if kind in prepared.splits:
                split = prepared.splits[kind]
                collections.append(ImageCollection(kind, split.names, to_output[split.labels], prepared, (), size))
    if index is not None:
        paths = tuple(find_images([str(index)]))
        root = index if index.is_dir() else index.parent
        names = tuple(str(path.relative_to(root)) for path in paths)
        collections.append(ImageCollection("index", names, None, None, paths, size, whole))
    return collections


def find_image(collections: Sequence[ImageCollection], name: str) -> tuple[ImageCollection, int] | None:
    """The collection and the number that a name stands for; None if it is the name of an image that was sent.

    Raises:
        UsageError: E288, no image has this name.
    """
    if match := NUMBERED_NAME.fullmatch(name):
        for collection in collections:
            if collection.kind == match[1] and int(match[2]) < len(collection):
                return collection, int(match[2])
    elif SENT_NAME.fullmatch(name):
        return None
    names = ", ".join(f"{each.kind}-0 to {each.kind}-{len(each) - 1}" for each in collections)
    raise UsageError(f"no image {name!r}", fix=f"There are {names or 'only the images that were sent'}.", code="E288")

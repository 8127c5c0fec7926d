"""Pictures that a page can name: those of a run by split and number, those of a folder, and the ones sent to it.

`test-12`      number 12 of the run's split test
`index-12`     number 12 of the folder that was given with --index
`9f86d081...`  a picture that was sent, by the start of its SHA-256; the last few are kept, in memory only
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
from alexnet.data.images import Pixels, prepare_image
from alexnet.errors import DataError, UsageError
from alexnet.evaluation.predict import find_images

KEPT = 32  # pictures that were sent
KEPT_BYTES = 100_000_000
NUMBERED = re.compile(r"(train|val|test|index)-(\d{1,9})")
SENT = re.compile(r"[0-9a-f]{32}")


class Sent:
    """The pictures that were sent last, as files; many threads may ask."""

    def __init__(self, kept: int = KEPT, kept_bytes: int = KEPT_BYTES):
        self._kept, self._kept_bytes = kept, kept_bytes
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, data: bytes) -> str:
        """Keeps a file and gives its name; the same bytes have the same name."""
        name = hashlib.sha256(data).hexdigest()[:32]
        with self._lock:
            self._files[name] = data
            self._files.move_to_end(name)
            while len(self._files) > 1 and (
                len(self._files) > self._kept or sum(map(len, self._files.values())) > self._kept_bytes
            ):
                self._files.popitem(last=False)
        return name

    def get(self, name: str) -> bytes:
        """The file.

        Raises:
            DataError: E386, it is no longer kept.
        """
        with self._lock:
            if name in self._files:
                self._files.move_to_end(name)
                return self._files[name]
        raise DataError(
            "this picture was sent to the server earlier and is no longer in its memory",
            fix="Send it again.",
            code="E386",
        )


@dataclass(frozen=True)
class Shelf:
    """Pictures of one kind, in a fixed order."""

    kind: str  # train, val, test or index
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None  # places among the classes of the run
    prepared: Prepared | None
    paths: tuple[Path, ...]
    size: int

    def __len__(self) -> int:
        return len(self.names)

    def read(self, numbers: Sequence[int]) -> list[Pixels | None]:
        """Prepared pictures by number; None for a file that cannot be read."""
        if self.prepared is not None:
            return list(self.prepared.splits[self.kind].read(numbers))
        out: list[Pixels | None] = []
        for number in numbers:
            try:
                out.append(prepare_image(self.paths[number], size=self.size))
            except DataError:
                out.append(None)
        return out

    def some(self, most: int) -> list[int]:
        """At most so many numbers, spread evenly."""
        return sorted({int(i) for i in np.linspace(0, len(self) - 1, min(most, len(self)))}) if len(self) else []


def shelves_of(prepared: Prepared | None, class_names: tuple[str, ...], index: Path | None, size: int) -> list[Shelf]:
    """What there is for a run: first its held-out pictures (test, val), then train, then the folder.

    Args:
        prepared: None where the run has no pictures of its own.
        size: pixels a side at which the pictures of the folder are prepared.

    Raises:
        DataError: the folder is not there or has no pictures.
    """
    shelves = []
    if prepared is not None:
        to_output = np.array([class_names.index(name) for name in prepared.class_names], np.int64)
        for kind in ("test", "val", "train"):
            if kind in prepared.splits:
                split = prepared.splits[kind]
                shelves.append(Shelf(kind, split.names, to_output[split.labels], prepared, (), size))
    if index is not None:
        paths = tuple(find_images([str(index)]))
        root = index if index.is_dir() else index.parent
        names = tuple(str(path.relative_to(root)) for path in paths)
        shelves.append(Shelf("index", names, None, None, paths, size))
    return shelves


def find(shelves: Sequence[Shelf], name: str) -> tuple[Shelf, int] | None:
    """The shelf and the number that a name means; None if it is the name of a picture that was sent.

    Raises:
        UsageError: E288, it means nothing.
    """
    if match := NUMBERED.fullmatch(name):
        for shelf in shelves:
            if shelf.kind == match[1] and int(match[2]) < len(shelf):
                return shelf, int(match[2])
    elif SENT.fullmatch(name):
        return None
    kinds = ", ".join(f"{shelf.kind}-0 to {shelf.kind}-{len(shelf) - 1}" for shelf in shelves)
    raise UsageError(f"no picture {name!r}", fix=f"There are {kinds or 'none but those sent'}.", code="E288")

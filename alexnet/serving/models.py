"""Holds the networks of a service: loads them, names them, and replaces them by newer weights while requests run.

A `ServedModel` never changes. A request takes one and uses it to its end, so a response comes from one set of weights
and carries the id of exactly these, even if the weights are loaded again meanwhile.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet.api.model import load
from alexnet.errors import DataError, DivergedError, UntrustedFileError, UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.models.network import Network
from alexnet.runs.run import RunFolder


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One run with its weights in memory."""

    name: str
    run: RunFolder
    classifier: Classifier
    model_id: str  # sha256 of all weights

    @property
    def model(self) -> Network:
        """The network."""
        return self.classifier.network

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the outputs."""
        return self.classifier.class_names


class ServedModels:
    """The runs of a service by name, each with the weights that were loaded most recently."""

    def __init__(self, folders: Sequence[Path], *, checkpoint: str = "best", device: str = "auto"):
        self._checkpoint = checkpoint
        self._device = device
        self._loading = threading.Lock()
        # Two paths to one run are one name. The first is kept as it was typed: a link may lead to a newer run later.
        apart = list({folder.resolve(): folder for folder in reversed(folders)}.values())[::-1]
        self._folders = dict(zip(_names(apart), apart, strict=True))
        self._served: dict[str, ServedModel] = {}
        self._served = {name: self._load(name) for name in self._folders}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(list(self._served.values()))

    def get(self, name: str | None = None) -> ServedModel:
        """A run with its present weights; without a name, the first run.

        Raises:
            UsageError: E269, no run of this name is served.
        """
        served = dict(self._served)
        if name is None:
            return next(iter(served.values()))
        if name not in served:
            raise UsageError(f"no run {name!r} is served here", fix=f"Runs: {', '.join(served)}.", code="E269")
        return served[name]

    def reload(self) -> list[str]:
        """Loads all runs again from their folders and replaces them together; returns the names of those that changed.

        Raises:
            AlexNetError: a run cannot be loaded; then all keep their present weights.
        """
        with self._loading:
            loaded = {name: self._load(name) for name in self._folders}
            changed = [name for name in loaded if _state(loaded[name]) != _state(self._served[name])]
            self._served = {name: loaded[name] if name in changed else self._served[name] for name in loaded}
            return changed

    def _load(self, name: str) -> ServedModel:
        try:
            model = load(self._folders[name], checkpoint=self._checkpoint, device=self._device)
        except (UsageError, DataError, DivergedError) as error:
            if name not in self._served:
                raise
            # The request is in order; the run is not there any more, or is not what it was.
            raise UntrustedFileError(error.what, fix=error.fix, code="E674") from None
        return ServedModel(name, model.record, model.classifier, model.fingerprint)


def _state(served: ServedModel) -> tuple[object, ...]:
    """What the answers depend on."""
    images = served.classifier.training_images
    return served.model_id, served.classifier.calibration, None if images is None else images.validation.tobytes()


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each of different folders: its own, after those of as many parents as tell it from the others."""
    paths = [folder.resolve().parts[1:] for folder in folders]
    names = [folder.resolve().name for folder in folders]
    for count in range(2, max(map(len, paths), default=0) + 1):
        names = [
            name if names.count(name) == 1 else "-".join(path[-count:]) for name, path in zip(names, paths, strict=True)
        ]
    return names

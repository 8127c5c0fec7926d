"""The networks that a service answers from: loaded, named, and exchanged for newer weights while requests go on.

A `ServedModel` never changes. Whoever has taken one computes and answers with it to the end, so an answer has one model
id, that of the weights it came from, however often they are loaded anew meanwhile.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier, classifier_of
from alexnet.models.network import Network, fingerprint
from alexnet.runs.run import RunFolder, open_run


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
        """The classes in the order of the outputs."""
        return self.classifier.class_names


class ServedModels:
    """The runs of a service by name, each with the weights that were loaded last."""

    def __init__(self, folders: Sequence[Path], *, checkpoint: str = "best", device: torch.device):
        self._checkpoint = checkpoint
        self._device = device
        self._loading = threading.Lock()
        self._folders = dict(zip(_names(folders), folders, strict=True))
        self._served = {name: self._load(name) for name in self._folders}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(list(self._served.values()))

    def get(self, name: str | None = None) -> ServedModel:
        """A run as it is loaded now; the first one without a name.

        Raises:
            UsageError: E269, there is none of this name.
        """
        served = dict(self._served)
        if name is None:
            return next(iter(served.values()))
        if name not in served:
            raise UsageError(f"no run {name!r} is served here", fix=f"Runs: {', '.join(served)}.", code="E269")
        return served[name]

    def reload(self) -> list[str]:
        """Loads all runs anew from their folders and exchanges them together; gives the names of those that changed.

        Raises:
            AlexNetError: one cannot be loaded; then all stay as they are.
        """
        with self._loading:
            fresh = {name: self._load(name) for name in self._folders}
            changed = [name for name in fresh if fresh[name].model_id != self._served[name].model_id]
            self._served = {name: fresh[name] if name in changed else self._served[name] for name in fresh}
            return changed

    def _load(self, name: str) -> ServedModel:
        run = open_run(self._folders[name])
        classifier = classifier_of(run, self._checkpoint, self._device)
        return ServedModel(name, run, classifier, fingerprint(classifier.network))


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, and with its parent's where two are called alike."""
    short = [folder.resolve().name for folder in folders]
    long = ["-".join(folder.resolve().parts[-2:]) for folder in folders]
    return [one if short.count(one) == 1 else other for one, other in zip(short, long, strict=True)]

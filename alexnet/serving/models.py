"""The networks that a service answers from: loaded, named, and exchanged for newer weights while requests go on.

A `Served` never changes. Whoever has taken one computes and answers with it to the end, so an answer has one model id,
that of the weights it came from, however often they are loaded anew meanwhile.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.data.images import Pixels, prepare_image
from alexnet.errors import UsageError
from alexnet.evaluation.evaluate import predict_probabilities
from alexnet.evaluation.views import central_view
from alexnet.interpret.attribution import METHODS, class_index, explain_class, why_sheet
from alexnet.interpret.features import activation, last_hidden
from alexnet.interpret.image_index import Entry, Index, update_index
from alexnet.interpret.similar import nearest
from alexnet.models.network import Network, check_layer, fingerprint, layer_names
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import Run, open_run


@dataclass(frozen=True, eq=False)
class Served:
    """One run with its weights in memory."""

    name: str
    run: Run
    model: Network
    model_id: str  # sha256 of all weights
    device: torch.device

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the outputs."""
        return self.run.class_names

    @property
    def layers(self) -> list[str]:
        """The names of the layers, in order."""
        return layer_names(self.model)

    def picture(self, data: bytes, max_pixels: int) -> Pixels:
        """The bytes of a picture file as the network's recipe prepares them, by the same way as `alexnet predict`.

        Raises:
            DataError: E301 to E306.
        """
        return prepare_image(data, size=self.run.recipe.prepare_size, max_pixels=max_pixels)

    def predict(self, pictures: Sequence[Pixels], views: int) -> NDArray[np.float32]:
        """(N, classes) probabilities of prepared pictures, by the same way as `alexnet predict`."""
        images = np.stack(pictures)
        return predict_probabilities(
            self.model,
            images.__getitem__,
            len(images),
            views=views,
            batch_size=len(images),
            precision=self.run.recipe.precision,
        )

    def top(self, probabilities: NDArray[np.float32], k: int) -> list[tuple[int, str, float]]:
        """The k most probable (output, class, probability), most probable first."""
        best = np.argsort(-probabilities, kind="stable")[:k]
        return [(int(i), self.class_names[i], float(probabilities[i])) for i in best]

    def activations(self, picture: Pixels, layer: str) -> NDArray[np.float32]:
        """What a layer gives for the central view: (units,) or (maps, H, W).

        Raises:
            UsageError: E235, there is no such layer.
        """
        check_layer(self.model, layer)
        return activation(self.model, central_view(self.model, picture[None]), layer)[0].cpu().contiguous().numpy()

    def why(self, picture: Pixels, method: str, class_name: str | None) -> tuple[str, float, Pixels]:
        """The class explained, its probability, and the sheet that `alexnet why` draws.

        Raises:
            UsageError: E246, there is no such class.
        """
        label = None if class_name is None else class_index(self.class_names, class_name)
        view = central_view(self.model, picture[None])
        with torch.inference_mode():
            probabilities = torch.softmax(self.model(view), 1)[0].cpu().numpy()
        label = int(probabilities.argmax()) if label is None else label
        maps = [explain_class(self.model, view, label, each) for each in METHODS if method in ("all", each)]
        return self.class_names[label], float(probabilities[label]), why_sheet(view, maps)


class Models:
    """The runs of a service by name, each with the weights that were loaded last."""

    def __init__(self, folders: Sequence[Path], *, checkpoint: str = "best", device: torch.device):
        self._checkpoint = checkpoint
        self._device = device
        self._loading = threading.Lock()
        self._folders = dict(zip(_names(folders), folders, strict=True))
        self._served = {name: self._load(name) for name in self._folders}

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def get(self, name: str | None = None) -> Served:
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

    def _load(self, name: str) -> Served:
        run = open_run(self._folders[name])
        model = load_model(run, self._checkpoint).to(self._device)
        return Served(name, run, model, fingerprint(model), self._device)


def _names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, and with its parent's where two are called alike."""
    short = [folder.resolve().name for folder in folders]
    long = ["-".join(folder.resolve().parts[-2:]) for folder in folders]
    return [one if short.count(one) == 1 else other for one, other in zip(short, long, strict=True)]


class Similar:
    """The index of a folder of pictures for one network, brought up to date whenever a file there has changed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._seen: dict[str, frozenset[tuple[str, int, int, int]]] = {}
        self._indexes: dict[str, Index] = {}

    def find(self, served: Served, picture: Pixels, k: int) -> tuple[Index, list[tuple[Entry, float]]]:
        """The k pictures nearest to a prepared one in the last hidden layer, with their distances; nearest first."""
        layer = last_hidden(served.model)
        index = self.index(served)
        vector = served.activations(picture, layer).reshape(-1)
        rows, distances = nearest(index.vectors, vector, k)
        return index, [(index.entries[row], float(distance)) for row, distance in zip(rows, distances, strict=True)]

    def index(self, served: Served) -> Index:
        """The index as the files are now.

        Raises:
            DataError: E390, E391.
        """
        seen = frozenset(_stamps(self.folder))
        if self._seen.get(served.model_id) != seen:
            size, layer = served.run.recipe.prepare_size, last_hidden(served.model)
            self._indexes[served.model_id] = update_index(served.model, self.folder, layer=layer, prepare_size=size)
            self._seen[served.model_id] = seen
        return self._indexes[served.model_id]


def _stamps(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for path in folder.rglob("*") if folder.is_dir() else [folder]:
        try:
            status = path.stat()
        except OSError:
            continue  # gone while we look
        yield str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns

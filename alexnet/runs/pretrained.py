"""Trained weights as a start: of a file, of a run, or those that torchvision publishes; and files as run folders."""

from dataclasses import replace
from pathlib import Path

import torch

from alexnet.errors import DataError, UsageError
from alexnet.models.network import Network, fingerprint, last_layer
from alexnet.recipes.named import FINETUNE
from alexnet.recipes.recipe import Recipe
from alexnet.runs.checkpoint import TrainingState, load_model, save_checkpoint
from alexnet.runs.run import RunFolder, create_run, open_run
from alexnet.storage.files import file_sha256
from alexnet.weights.identify import Identified, identify
from alexnet.weights.published import IMAGENET, published_weights


def import_weights(path: Path, out: Path, class_names: tuple[str, ...] | None = None) -> tuple[RunFolder, Identified]:
    """Makes a run folder of a file of weights, for `predict`, `evaluate` and `train --weights`.

    Raises:
        UsageError: `out` exists, or there are more or fewer names than classes.
        DataError, UntrustedFileError: see `identify`.
    """
    found = identify(path)
    names = class_names or found.class_names
    if len(names) != found.recipe.model.num_classes or len(set(names)) != len(names):
        raise UsageError(
            f"{len(set(names))} different class names for a network of {found.recipe.model.num_classes} classes",
            fix="The file of class names has one name a line, in the order of the outputs.",
            code="E232",
        )
    about = {"source": "", "prepared": "", "fingerprint": "", "imported": {"kind": found.kind, "file": path.name}}
    about["imported"] |= {"sha256": file_sha256(path), "notes": list(found.notes)}  # type: ignore[operator]
    run = create_run(out, found.recipe, names, about)
    save_checkpoint(run, found.network, {}, TrainingState(step=0), best=True)
    return run, found


def trained_network(weights: str) -> Network:
    """The network with the weights that a recipe names: `imagenet`, a run folder, or a file.

    Raises:
        UsageError: there is no such file or folder.
        ResourceError: the published weights cannot be fetched.
    """
    path = Path(weights).expanduser()
    if weights == IMAGENET and not path.exists():
        return identify(published_weights()).network
    if path.is_dir():
        return load_model(open_run(path))
    return identify(path).network


@torch.no_grad()
def start_from(network: Network, trained: Network) -> None:
    """Takes over all of a trained network but its last layer: weights, and what it does with pixels.

    Raises:
        UsageError: the two are not the same network; it names the layers.
    """
    new = f"layers.{last_layer(network)}."
    ours, theirs = network.state_dict(), trained.state_dict()
    kept = {name: value for name, value in theirs.items() if not name.startswith(f"layers.{last_layer(trained)}.")}
    wanted = [name for name in ours if not name.startswith(new)]
    wrong = sorted(
        {
            name.removeprefix("layers.").rpartition(".")[0] or name
            for name in {*wanted, *kept}
            if name not in kept or name not in ours or kept[name].shape != ours[name].shape
        }
    )
    if wrong:
        raise UsageError(
            f"the trained weights do not fit the network of the recipe; these layers differ: {', '.join(wrong)}",
            fix="Leave out --recipe: then the network of the weights is taken.",
            code="E233",
        )
    network.load_state_dict({**ours, **kept})


def check_fingerprint(network: Network, expected: str | None, weights: str) -> None:
    """Refuses to start from other weights than those that the run was made for.

    Raises:
        DataError: they have changed since.
    """
    if expected is not None and fingerprint(network) != expected:
        raise DataError(
            f"{weights} no longer holds the weights that this run was to start from",
            fix="Put them back, or start a new run: alexnet train DATA.",
            code="E349",
        )


def fine_tuning(weights: str) -> Recipe:
    """The recipe that goes on from trained weights with the network that they belong to."""
    if weights == IMAGENET and not Path(weights).exists():
        return FINETUNE
    place = str(Path(weights).expanduser().resolve())
    path = Path(place)
    known = open_run(path).recipe if path.is_dir() else identify(path).recipe
    return replace(FINETUNE, model=known.model, prepare_size=known.prepare_size, weights=place)

"""Pretrained weights, from a file, a run or torchvision: for fine-tuning, and imported as a run folder."""

from dataclasses import replace
from pathlib import Path

import torch

from alexnet.errors import DataError, UsageError
from alexnet.models.cue_branch import PREFIX
from alexnet.models.network import Network, fingerprint, last_layer
from alexnet.recipes.named import FINETUNE
from alexnet.recipes.recipe import Recipe
from alexnet.runs.checkpoint import TrainingState, load_model, save_checkpoint
from alexnet.runs.run import RunFolder, create_run, open_run
from alexnet.storage.files import file_sha256, user_path
from alexnet.weights.identify import Identified, identify
from alexnet.weights.published import IMAGENET, published_weights


def import_weights(
    path: Path, out: Path, class_names: tuple[str, ...] | None = None, identified: Identified | None = None
) -> tuple[RunFolder, Identified]:
    """Makes a run folder from a file of weights, for `predict`, `evaluate` and `train --weights`.

    Args:
        class_names: in the order of the outputs.
        identified: what the file holds, with what the user said about it; by default as it is assumed.

    Raises:
        UsageError: `out` exists, or the number of different names is not the number of classes.
        DataError, UntrustedFileError: see `identify`.
    """
    identified = identified or identify(path)
    names = class_names or identified.class_names
    if len(names) != identified.recipe.model.num_classes or len(set(names)) != len(names):
        raise UsageError(
            f"{len(set(names))} different class names for a network of {identified.recipe.model.num_classes} classes",
            fix="Write one class name per line, in the order of the outputs.",
            code="E232",
        )
    imported = {**identified.record(), "file": path.name, "sha256": file_sha256(path)}
    about = {"source": "", "prepared": "", "fingerprint": "", "imported": imported}
    run = create_run(out, identified.recipe, names, about)
    save_checkpoint(run, identified.network, {}, TrainingState(step=0), best=True)
    return run, identified


def open_network(source: str, checkpoint: str = "best") -> tuple[RunFolder, Network]:
    """Opens a trained network: of a run, of torchvision ("imagenet"), or of a file or an exported folder of weights.

    Args:
        checkpoint: of a run, the "best" on validation or the "last".

    Returns:
        The run, or for weights without one a record as if they had been imported, and the network.

    Raises:
        UsageError: there is no such run or file.
        DataError, UntrustedFileError: see `identify`.
        ResourceError: the published weights cannot be downloaded.
    """
    path = user_path(source)
    exported = path / "model.safetensors"  # as `export --to hf` writes it
    if path.is_dir() and not exported.is_file():
        run = open_run(path)
        return run, load_model(run, checkpoint)
    published = source == IMAGENET and not path.exists()
    if not published and not path.exists():
        raise UsageError(
            f"{source} does not exist",
            fix="Give a run folder, such as runs/last, a file of weights, or imagenet.",
            code="E230",
        )
    file = published_weights() if published else exported if path.is_dir() else path
    identified = identify(file)
    imported = {**identified.record(), "file": file.name}
    about = {"source": "", "prepared": "", "fingerprint": "", "imported": imported}
    return RunFolder(path, identified.recipe, identified.class_names, about), identified.network


def assumed_of(record: RunFolder) -> dict[str, str]:
    """What was assumed of a file of weights that `open_network` gave, as topic and value.

    Of a run there is nothing: whoever imported it was shown what is assumed, and could say otherwise.
    """
    if (record.folder / "recipe.json").is_file():
        return {}
    return dict(record.data.get("imported", {}).get("assumed", {}))


def located(recipe: Recipe) -> Recipe:
    """The recipe with the place of its weights, where it names a path: runs/last is soon another run."""
    if recipe.weights is None or not (path := user_path(recipe.weights)).exists():
        return recipe
    return replace(recipe, weights=str(path.resolve()))


def trained_network(weights: str) -> Network:
    """Loads the network with the pretrained weights that a recipe names; errors as those of `open_network`."""
    return open_network(weights)[1]


@torch.no_grad()
def start_from(network: Network, trained: Network) -> None:
    """Copies a trained network except for its last layer: the weights, and the mean and scale of the input.

    Raises:
        UsageError: the two networks differ; the message names the layers.
    """
    new_layer = f"layers.{last_layer(network)}."
    current, pretrained = network.state_dict(), trained.state_dict()
    old_layer = f"layers.{last_layer(trained)}."
    left_out = (old_layer, PREFIX)  # what color and shape say is of the old classes too
    transferred = {name: value for name, value in pretrained.items() if not name.startswith(left_out)}
    expected = [name for name in current if not name.startswith(new_layer)]
    mismatched = sorted(
        {
            name.removeprefix("layers.").rpartition(".")[0] or name
            for name in {*expected, *transferred}
            if name not in transferred or name not in current or transferred[name].shape != current[name].shape
        }
    )
    if mismatched:
        raise UsageError(
            f"the trained weights do not fit the network of the recipe; these layers differ: {', '.join(mismatched)}",
            fix="Leave out --recipe: then the network of the weights is used.",
            code="E233",
        )
    network.load_state_dict({**current, **transferred})


def check_fingerprint(network: Network, expected: str | None, weights: str) -> None:
    """Refuses to start from other pretrained weights than those that the run was made for.

    Raises:
        DataError: the weights have changed since.
    """
    if expected is not None and fingerprint(network) != expected:
        raise DataError(
            f"{weights} no longer holds the weights that this run starts from",
            fix="Put them back, or start a new run: alexnet train DATA.",
            code="E349",
        )


def fine_tuning(weights: str) -> tuple[Recipe, dict[str, str]]:
    """Returns the recipe that fine-tunes pretrained weights, with the network that they belong to.

    Returns:
        The recipe, and what of the file of weights was assumed; see `assumed_of`.
    """
    if weights == IMAGENET and not Path(weights).exists():
        return FINETUNE, {}
    path = user_path(weights).resolve()
    source = open_run(path) if (path / "recipe.json").is_file() else open_network(str(path))[0]
    kept = {name: getattr(source.recipe, name) for name in ("model", "prepare_size", "prepare_whole")}
    return replace(FINETUNE, **kept, weights=str(path)), assumed_of(source)

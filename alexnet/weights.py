"""Trained weights as a start: of a file, of a run, or those that torchvision publishes; and files as run folders."""

import hashlib
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn

from alexnet.checkpoint import TrainingState, load_model, save_checkpoint
from alexnet.errors import DataError, ResourceError, UsageError
from alexnet.files import cache_folder, disk_errors, file_sha256
from alexnet.identify import Identified, identify
from alexnet.model import Network
from alexnet.run import Run, create_run, open_run

IMAGENET = "imagenet"  # torchvision's published weights, by that name


def import_weights(path: Path, out: Path, class_names: tuple[str, ...] | None = None) -> tuple[Run, Identified]:
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


def read_class_names(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line; empty lines do not count.

    Raises:
        DataError: the file cannot be read as text.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the class names in {path}: {error}",
            fix="Give a text file in UTF-8 with one name a line.",
            code="E348",
        ) from None
    return tuple(line.strip() for line in lines if line.strip())


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


def published_weights() -> Path:
    """torchvision's ImageNet weights of its AlexNet (233 MB), fetched once, checked against the hash in their name.

    Raises:
        ResourceError: they cannot be fetched.
    """
    from torchvision.models import AlexNet_Weights

    url = AlexNet_Weights.IMAGENET1K_V1.url
    name = url.rpartition("/")[2]
    path: Path = cache_folder() / "weights" / name
    if not path.is_file():
        with disk_errors(f"keeping {name}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2])
            except (URLError, RuntimeError, TimeoutError) as error:
                raise ResourceError(
                    f"cannot fetch {url}: {error}", fix=f"Fetch it elsewhere and give --weights {name}.", code="E540"
                ) from None
    return path


def last_layer(network: Network) -> str:
    """The name of the layer that gives the logits: it starts anew when the classes change."""
    return [name for name, m in network.layers.named_children() if isinstance(m, nn.Linear)][-1]


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


def fingerprint(network: Network) -> str:
    """sha256 of all weights and buffers of a network, to tell whether they are still the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


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

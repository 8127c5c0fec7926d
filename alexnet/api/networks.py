"""Networks without a run: built from a recipe, counted, checked before training, timed, read from foreign files."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np

from alexnet.api.bars import progress_callback
from alexnet.api.dataset import Data, named_images
from alexnet.api.fitting import Fitting, given_fields
from alexnet.api.plan import base_recipe
from alexnet.api.records import recipe_of
from alexnet.api.run import Run
from alexnet.data.open import fitted, open_images, original_files
from alexnet.data.prepare import PrepareReport
from alexnet.distributed.collectives import Scheme
from alexnet.distributed.cost import StepCost, step_cost
from alexnet.distributed.launch import check_scheme
from alexnet.errors import UsageError
from alexnet.evaluation.assumptions import choose
from alexnet.kernels.device import choose_device
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.models.summary import Summary, summarize
from alexnet.progress import ProgressCallback
from alexnet.recipes.config import Activation
from alexnet.recipes.recipe import Recipe, for_classes, named_fields, override, with_fields
from alexnet.runs.pretrained import import_weights as import_file
from alexnet.runs.run import refuse_existing
from alexnet.training.bench import Rates, measure, without_weights
from alexnet.training.bench_layers import LayerTimes, time_layers
from alexnet.training.check import Check
from alexnet.training.plan import Plan
from alexnet.training.schedule import check_recipe
from alexnet.weights.draft import Draft
from alexnet.weights.identify import Identified, built, understand
from alexnet.weights.published import read_class_names
from alexnet.weights.settings import Channels, Numbers, Pooling, Settings

# Mean and standard deviation of ImageNet's training pixels in gray levels, as torchvision's transforms have them / 255.
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def create_model(name: str | Path | Recipe = "alexnet-2012", *, data: Data | None = None, **fields: Any) -> Network:
    """A network with its initial weights: an `nn.Module` that takes pixels 0..255 and gives logits.

    It subtracts the mean of the training pixels itself (and divides, where the recipe says so). It works in a plain
    PyTorch loop, with `torch.compile`, `copy.deepcopy`, `state_dict` and DistributedDataParallel.

    Args:
        name: a recipe, its name, or a run folder.
        data: takes the mean and standard deviation of its training pixels; without it those of ImageNet.
        fields: of the recipe to change: `num_classes=10`, `dropout=0.3`, `seed=1`.

    Returns:
        A network in training mode: (N, 3, H, W) pixels 0..255, uint8 or float, to (N, num_classes) logits; H and W are
        `crop_size` of its configuration, 224 for alexnet-2012.

    Raises:
        UsageError: there is no such recipe or field, or a value is out of range.

    >>> import alexnet, torch
    >>> network = alexnet.create_model("demo", num_classes=10)
    >>> network(torch.zeros(2, 3, 28, 28, dtype=torch.uint8)).shape
    torch.Size([2, 10])
    """
    chosen = with_fields(name if isinstance(name, Recipe) else recipe_of(name), fields)
    network = build_model(chosen.model, seed=chosen.seed)
    if data is not None:
        return network.set_input_statistics(data.prepared.mean_image, data.prepared.channel_std)
    side = chosen.model.crop_size
    return network.set_input_statistics(
        np.broadcast_to(np.array(IMAGENET_MEAN, np.float32), (side, side, 3)), np.array(IMAGENET_STD)
    )


def summary(
    network: Network | Recipe | str | Path = "alexnet-2012", *, changes: Sequence[str] = (), **fields: Any
) -> Summary:
    """A network layer by layer: shapes, parameters, multiply-adds, memory, beside the paper's figures.

    Args:
        network: a network, a recipe, the name of one, or a run folder.
        changes: fields of the recipe to change, as one types them: "width=0.5".
        fields: the same by keyword.

    >>> import alexnet
    >>> alexnet.summary("alexnet-2012").parameters
    60965224
    """
    if isinstance(network, Network):
        return summarize(network)
    chosen = override(network if isinstance(network, Recipe) else recipe_of(network), changes)
    return summarize(build_model(with_fields(chosen, fields).model))


def parallel_cost(chosen: Recipe, scheme: Scheme, nproc: int) -> tuple[StepCost, list[StepCost]]:
    """What a step on several processes sends and needs, and the same for the other ways to divide it.

    Args:
        scheme: data, towers or hybrid.
        nproc: processes.

    Raises:
        UsageError: the network cannot be divided so.
    """
    check_scheme(chosen, scheme, nproc, exact=False)
    others = []
    for other in get_args(Scheme):
        with suppress(UsageError):  # what cannot be divided so has no cost
            check_scheme(chosen, other, nproc, exact=False)
            others += [step_cost(chosen, other, nproc)] if other not in ("none", scheme) else []
    return step_cost(chosen, scheme, nproc), others


def check(
    data: str | Path | Data,
    *,
    recipe: str | Path | Recipe | None = None,
    weights: str | None = None,
    labels: str | Path | None = None,
    device: str = "auto",
    progress: bool | ProgressCallback = False,
    on_prepared: Callable[[PrepareReport], None] | None = None,
    changes: Sequence[str] = (),
    **fields: Any,
) -> Check:
    """Says before the first step whether a network will train: signal and gradient of every layer on a real batch.

    Args:
        data: as for `train`.
        recipe: where the fields start from; by default what `train` would take: photos, or finetune with `weights`.
        weights: pretrained weights to start from, as for `train`.
        labels: as for `train`.
        changes: fields of the recipe to change, as one types them; `fields`: the same by keyword.

    Raises:
        AlexNetError: the recipe or the data cannot be used.

    >>> import alexnet
    >>> [verdict.topic for verdict in alexnet.check("digits", recipe="demo").verdicts]
    ['sound']
    """
    base = base_recipe(recipe, weights)
    spec, table = named_images(data, labels)
    place, fitting = choose_device(device), Fitting(given_fields(base, named_fields(base, changes, fields)))
    chosen = fitting.before(with_fields(override(fitted(base, spec), changes), fields), spec, table)
    with progress_callback(progress) as told:
        prepared = open_images(
            spec, chosen.prepare_size, whole=chosen.prepare_whole, tell=on_prepared, progress=told, labels=table
        )
        chosen = fitting.after(for_classes(chosen, len(prepared.class_names)), prepared, place, told)
    check_recipe(chosen, prepared)
    return Plan(chosen, base, prepared, place).check()


def bench(
    data: str | Path | Data | None = None,
    *,
    recipe: str | Path | Recipe = "photos",
    layers: bool = False,
    labels: str | Path | None = None,
    device: str = "auto",
    progress: bool | ProgressCallback = False,
    on_prepared: Callable[[PrepareReport], None] | None = None,
    changes: Sequence[str] = (),
    **fields: Any,
) -> Rates | LayerTimes:
    """Times every part of training on this machine, or every layer of the network; about half a minute.

    Args:
        data: as for `train`; with `layers` it may be left out.
        layers: time the layers instead: milliseconds forward and backward, GFLOP/s.
        labels: as for `train`.
        changes: fields of the recipe to change, as one types them; `fields`: the same by keyword.

    Raises:
        AlexNetError: the recipe or the data cannot be used.

    >>> import alexnet
    >>> times = alexnet.bench(layers=True, recipe="demo", batch_size=2, device="cpu")
    >>> times.layers[0].name
    'conv1'
    """
    base = recipe if isinstance(recipe, Recipe) else recipe_of(recipe)
    spec, table = (None, None) if data is None else named_images(data, labels)
    chosen = with_fields(override(base if spec is None else fitted(base, spec), changes), fields)
    chosen = without_weights(chosen)
    place = choose_device(device)
    if spec is None and not layers:
        raise UsageError(
            "alexnet bench needs images, or --layers",
            fix="Type alexnet bench photos/, or alexnet bench --layers for a network alone.",
            code="E202",
        )
    if spec is None:
        return time_layers(build_model(chosen.model), chosen.batch_size, place, precision=chosen.precision)
    with progress_callback(progress) as told:
        prepared = open_images(
            spec, chosen.prepare_size, whole=chosen.prepare_whole, tell=on_prepared, progress=told, labels=table
        )
    chosen = for_classes(chosen, len(prepared.class_names))
    if layers:
        return time_layers(build_model(chosen.model), chosen.batch_size, place, precision=chosen.precision)
    return measure(chosen, prepared, place, original_files(spec, table))


def identify(
    file: str | Path,
    *,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    scale: Numbers | None = None,
    activation: Activation | None = None,
    pooling: Pooling | None = None,
    channels: Channels | None = None,
    lrn_k: float | None = None,
    check: str | Path | None = None,
    classes: str | Path | None = None,
    progress: bool | ProgressCallback = False,
    changes: Sequence[str] = (),
    **fields: Any,
) -> Identified:
    """Says which network a file of trained weights holds, and what it expects; nothing in it is run.

    What the file does not say is assumed and listed in `assumed`; each of these can be said by an argument. For a file
    that says all of it, another value is refused.

    Args:
        file: PyTorch .pth, Caffe .caffemodel, NumPy .npy or .npz, ONNX, or safetensors of this program.
        mean: subtracted from the pixels: a number, or red, green, blue. If neither it nor `std` exceeds 1, of pixels in
            0..1 as torchvision's `Normalize` takes them, otherwise of pixels 0..255.
        std: what the rest is divided by, of the same pixels as `mean`.
        scale: what the rest is multiplied by instead, of pixels 0..255, as in Caffe; "1/256" is understood too.
        activation: relu, sigmoid or tanh.
        pooling: max or average; of an AlexNet overlapping (3 x 3 / 2) or plain (2 x 2 / 2).
        channels: rgb or bgr, the order in which conv1 takes the colors.
        lrn_k: the constant k of local response normalization; of a file that may have none, says that there is.
        check: a folder of class folders with a few labeled images: what is still open is chosen by accuracy on them.
        classes: as for `import_weights`; `check` matches the folders with these names.
        progress: True shows a bar of the combinations that `check` tries, or a function that is told.
        changes: other fields of the network, as one types them: "norm1=after-pool"; `fields`: the same by keyword.

    Raises:
        UsageError: the file says something else, or has no such thing.
        DataError: no network that we know.
        UntrustedFileError: the file is damaged, or would run code.

    >>> import alexnet
    >>> found = alexnet.identify("weights.safetensors")
    >>> found.kind, found.network.config.num_classes
    ('alexnet', 3)
    """
    said = (*changes, *(f"{name}={value}" for name, value in fields.items()))
    settings = Settings(mean, std, scale, activation, pooling, channels, lrn_k, said)
    path = Path(file)
    found = understand(path, settings)
    names = None if classes is None else read_class_names(Path(classes))
    if isinstance(found, Draft):
        if check is None:
            found = built(found, path)
        else:
            with progress_callback(progress) as told:
                return choose(found, path, check, names, progress=told)
    return found


def import_weights(
    file: str | Path, out: str | Path, *, classes: str | Path | None = None, **said: Any
) -> tuple[Run, Identified]:
    """Makes a run folder of a file of trained weights, for `load` and for `train(weights=...)`.

    Args:
        file: as for `identify`.
        out: the run folder to make.
        classes: a text file with the name of a class on each line, in the order of the outputs; by default those of
            ImageNet for 1,000 outputs, else 0, 1, 2 ...
        said: about what the file does not say, and `check`, as for `identify`: `mean=0.5, std=0.5`. What was assumed
            and what was said is stored in data.json of the run.

    Raises:
        UsageError: `out` exists, or there are more or fewer names than outputs.
        DataError, UntrustedFileError: see `identify`.

    >>> import alexnet
    >>> run, found = alexnet.import_weights("weights.safetensors", "runs/imported")
    >>> alexnet.load(run.folder).class_names
    ('blue', 'green', 'red')
    """
    refuse_existing(Path(out))
    names = None if classes is None else read_class_names(Path(classes))
    found = identify(file, classes=classes, **said)
    folder, identified = import_file(Path(file), Path(out), names, found)
    return Run(folder), identified

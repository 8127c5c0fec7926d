"""The verbs that look at networks, recipes and files of weights."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter

from alexnet.errors import UsageError

Changes = Annotated[str, Parameter(allow_leading_hyphen=True, show_default=False)]


def summary(
    network: str = "alexnet-2012",
    *changes: Changes,
    parallel: Literal["data", "towers", "hybrid"] | None = None,
    nproc: int = 2,
    link: float = 1.25,
    speed: float = 1.0,
) -> None:
    """Show a network layer by layer: shapes, parameters, multiply-adds, memory, beside the paper's figures.

    For example:
      alexnet summary
      alexnet summary photos model.width=0.5
      alexnet summary --parallel towers --nproc 2 --link 1.25 --speed 0.1

    Parameters
    ----------
    network
        The name of a recipe, or a run folder.
    changes
        Fields of the recipe to change; batch_size counts for the memory of a training step.
    parallel
        Show what a step on several processes sends and needs instead; see alexnet train.
    nproc
        How many processes.
    link
        GB per second that a process can send.
    speed
        Tera multiply-adds per second of a process.
    """
    from alexnet.cli import tables_networks
    from alexnet.distributed.collectives import Scheme
    from alexnet.distributed.cost import step_cost
    from alexnet.distributed.launch import check_scheme
    from alexnet.models.build import build_model
    from alexnet.models.summary import summarise
    from alexnet.recipes.recipe import override
    from alexnet.runs.start import recipe_of

    recipe = override(recipe_of(network), changes)
    if parallel is not None:
        check_scheme(recipe, parallel, nproc, exact=False)
        others = []
        for scheme in get_args(Scheme):
            with suppress(UsageError):  # what cannot be divided so has no bill
                check_scheme(recipe, scheme, nproc, exact=False)
                others += [step_cost(recipe, scheme, nproc)] if scheme not in ("none", parallel) else []
        tables_networks.step_cost(step_cost(recipe, parallel, nproc), others, link * 1e9, speed * 1e12)
        return
    tables_networks.summary(summarise(build_model(recipe.model)), recipe)


def recipes(name: str | None = None) -> None:
    """List the recipes; with a name, all its fields.

    For example:
      alexnet recipes
      alexnet recipes photos

    Parameters
    ----------
    name
        A recipe.
    """
    from alexnet.cli.terminal import print_table
    from alexnet.recipes.named import RECIPES, find_recipe
    from alexnet.recipes.recipe import flat

    if name is None:
        rows = [(r.name, r.model.architecture, str(r.epochs), str(r.model.crop_size)) for r in RECIPES.values()]
        print_table("", ("recipe", "network", "epochs", "crop"), rows, left=2)
    else:
        print_table("", ("field", name), [(k, str(v)) for k, v in flat(find_recipe(name)).items()], left=2)


def diff(first: str, second: str) -> None:
    """Say what sets two networks and their trainings apart: field, values, consequence and source.

    For example:
      alexnet diff alexnet-2012 alexnet-paper
      alexnet diff caffe runs/photos

    Parameters
    ----------
    first
        A recipe or a run folder.
    second
        Another one.
    """
    from alexnet.cli import tables_networks
    from alexnet.recipes.field_notes import explain
    from alexnet.runs.start import recipe_of

    tables_networks.differences((first, second), explain(recipe_of(first), recipe_of(second)))


def check(
    data: str, *changes: Changes, recipe: str = "alexnet-2012", weights: str | None = None, device: str = "auto"
) -> None:
    """Say before the first step whether a network will train: signal and gradient of every layer on a real batch.

    For example:
      alexnet check photos/
      alexnet check photos/ --recipe alexnet-paper model.bias=0.1

    Parameters
    ----------
    data
        As for alexnet train.
    changes
        Fields of the recipe to change.
    recipe
        Where the fields start from; alexnet recipes lists them.
    weights
        Start from trained weights, as for alexnet train.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from dataclasses import replace

    from alexnet.cli import tables, tables_networks
    from alexnet.cli.terminal import bars
    from alexnet.data.open import fitted, open_images
    from alexnet.kernels.device import choose_device
    from alexnet.recipes.named import find_recipe
    from alexnet.recipes.recipe import for_classes, override
    from alexnet.training.plan import check_run
    from alexnet.training.schedule import check_recipe

    base = fitted(find_recipe(recipe), data)
    chosen = override(base if weights is None else replace(base, weights=weights), changes)
    with bars() as progress:
        prepared = open_images(data, chosen.prepare_size, tell=tables.prepared, progress=progress)
    chosen = for_classes(chosen, len(prepared.class_names))
    check_recipe(chosen, prepared)
    tables_networks.check(check_run(chosen, prepared, choose_device(device)))


def bench(
    data: str | None = None,
    *changes: Changes,
    recipe: str | None = None,
    layers: bool = False,
    json: bool = False,
    device: str = "auto",
) -> None:
    """Say how fast each part of training is here, which one limits, and how long a recipe takes. Half a minute.

    For example:
      alexnet bench photos/
      alexnet bench photos/ --recipe alexnet-2012 batch_size=64
      alexnet bench --layers --recipe alexnet-2012

    Parameters
    ----------
    data
        As for alexnet train; with --layers it may be left out.
    changes
        Fields of the recipe to change.
    recipe
        Where the fields start from; alexnet recipes lists them. By default photos.
    layers
        Every layer: milliseconds forward and backward, GFLOP/s, share of this machine's matrix product.
    json
        Print JSON instead of tables.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables, tables_networks
    from alexnet.cli.terminal import bars
    from alexnet.data.open import fitted, open_images, original_files
    from alexnet.kernels.device import choose_device
    from alexnet.models.build import build_model
    from alexnet.recipes.named import find_recipe
    from alexnet.recipes.recipe import for_classes, override
    from alexnet.training import bench as benchmark
    from alexnet.training import bench_layers

    if data is not None and "=" in data and not Path(data).exists():
        changes, data = (data, *changes), None
    if data is None and not layers:
        raise UsageError(
            "alexnet bench needs pictures, or --layers",
            fix="Type alexnet bench photos/, or alexnet bench --layers for a network alone.",
            code="E202",
        )
    base = find_recipe(recipe or "photos")
    chosen = benchmark.without_weights(override(base if data is None else fitted(base, data), changes))
    place = choose_device(device)
    told = (lambda report: None) if json else tables.prepared
    prepared = None
    if data is not None:
        with bars() as progress:
            prepared = open_images(data, chosen.prepare_size, tell=told, progress=progress)
    if prepared is not None:
        chosen = for_classes(chosen, len(prepared.class_names))
    found: bench_layers.LayerTimes | benchmark.Rates
    if layers or prepared is None or data is None:
        found = bench_layers.time_layers(build_model(chosen.model), chosen.batch_size, place)
    else:
        found = benchmark.measure(chosen, prepared, place, original_files(data))
    if json:
        print(tables_networks.as_json(found))
    elif isinstance(found, bench_layers.LayerTimes):
        tables_networks.layers(found, chosen.name)
    else:
        tables_networks.rates(found, chosen.name)


def identify(file: Path) -> None:
    """Say which network a file of trained weights holds, and what it expects; nothing in it is run.

    For example:
      alexnet identify alexnet-owt-7be5be79.pth
      alexnet identify bvlc_alexnet.caffemodel

    Parameters
    ----------
    file
        PyTorch .pth, Caffe .caffemodel, NumPy .npy or .npz, ONNX, or safetensors of this program.
    """
    from alexnet.cli import tables_networks
    from alexnet.weights.identify import identify as identify_file

    tables_networks.identified(file, identify_file(file))


def import_weights(file: Path, out: Path, *, classes: Path | None = None) -> None:
    """Make a run folder of a file of trained weights, for predict, evaluate and train --weights.

    For example:
      alexnet import alexnet-owt-7be5be79.pth runs/imagenet
      alexnet import lenet.caffemodel runs/lenet --classes digits.txt

    Parameters
    ----------
    file
        As for alexnet identify.
    out
        The run folder to make.
    classes
        A text file with the name of a class on each line, in the order of the outputs; by default those of ImageNet
        for 1,000 outputs, else 0, 1, 2 ...
    """
    from alexnet.cli import tables_networks
    from alexnet.runs.pretrained import import_weights as import_file
    from alexnet.weights.published import read_class_names

    run, found = import_file(file, out, None if classes is None else read_class_names(classes))
    tables_networks.identified(file, found)
    print(f"\nnext: alexnet predict {run.folder} PICTURE.jpg")

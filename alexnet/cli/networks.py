"""The verbs that work on networks and recipes, and on files of weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import alexnet
from alexnet.cli.data import TableOrJson
from alexnet.cli.options import Changes, Device, Labels
from alexnet.language.speak import tell

RecipeName = Annotated[str, Parameter(help="Where the fields start from; alexnet recipes lists them.")]


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
    parallel
        Show what a step on several processes sends and needs instead; see alexnet train.
    nproc
        How many processes.
    link
        GB per second that a process can send.
    speed
        Tera multiply-adds per second of a process.
    """
    from alexnet.api.networks import parallel_cost
    from alexnet.cli import tables_networks

    chosen = alexnet.recipe(network, changes=changes)
    if parallel is not None:
        tables_networks.step_cost(*parallel_cost(chosen, parallel, nproc), link * 1e9, speed * 1e12)
        return
    tables_networks.summary(alexnet.summary(chosen), chosen)


def recipes(name: str | None = None) -> None:
    """List the recipes; with a name, all its fields.

    For example:
      alexnet recipes
      alexnet recipes photos

    Parameters
    ----------
    name
        A recipe, or a run folder.
    """
    from alexnet.cli import tables_recipes

    if name is None:
        tables_recipes.recipes([alexnet.recipe(each) for each in alexnet.list_recipes()])
    else:
        tables_recipes.fields(alexnet.recipe(name))


def diff(first: str, second: str) -> None:
    """Say what sets two networks and their trainings apart: field, values, consequence and source.

    For example:
      alexnet diff alexnet-2012 alexnet-paper
      alexnet diff caffe runs/last

    Parameters
    ----------
    first
        A recipe or a run folder.
    second
        Another one.
    """
    from alexnet.cli import tables_recipes

    tables_recipes.differences((first, second), alexnet.diff(first, second))


def check(
    data: str,
    *changes: Changes,
    recipe: str | None = None,
    weights: str | None = None,
    labels: Labels = None,
    device: Device = "auto",
) -> None:
    """Say before the first step whether a network will train: signal and gradient of every layer on a real batch.

    Ends with exit code 4 if a verdict is fatal: with these settings it would not train.

    For example:
      alexnet check photos/
      alexnet check photos/ --recipe alexnet-paper model.bias=0.1

    Parameters
    ----------
    data
        As for alexnet train.
    recipe
        Where the fields start from; by default what alexnet train would take: photos, or finetune with --weights.
    weights
        Start from pretrained weights, as for alexnet train.
    """
    from alexnet.cli import tables, tables_networks

    found = alexnet.check(
        data,
        recipe=recipe,
        weights=weights,
        labels=labels,
        device=device,
        progress=True,
        on_prepared=tables.prepared,
        changes=changes,
    )
    tables_networks.check(found)
    if fatal := [verdict for verdict in found.verdicts if verdict.severity == "fatal"]:
        raise alexnet.DivergedError(
            f"with these settings the network would not train: {fatal[0].text}", fix=fatal[0].fix, code="E402"
        )


def bench(
    data: str | None = None,
    *changes: Changes,
    recipe: RecipeName = "photos",
    layers: bool = False,
    labels: Labels = None,
    format: TableOrJson = "table",
    device: Device = "auto",
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
    layers
        Every layer: milliseconds forward and backward, GFLOP/s, share of this machine's matrix product.
    """
    from alexnet.cli import tables, tables_networks

    if data is not None and "=" in data and not Path(data).exists():
        changes, data = (data, *changes), None
    found = alexnet.bench(
        data,
        recipe=recipe,
        layers=layers,
        labels=labels,
        device=device,
        progress=True,
        on_prepared=tables.prepared if format == "table" else None,
        changes=changes,
    )
    if format == "json":
        print(tables_networks.as_json(found))
    else:
        tables_networks.times(found, recipe)


Numbers = Annotated[
    str | None,
    Parameter(allow_leading_hyphen=True, negative=()),
]
NetworkFields = Annotated[
    str,
    Parameter(
        allow_leading_hyphen=True,
        show_default=False,
        help="Other fields of the network that the file does not say: norm1=after-pool crop_size=224.",
    ),
]


@dataclass(frozen=True)
class Said:
    """What you say about a file of weights, in the place of what would be assumed.

    Parameters
    ----------
    mean
        Subtracted from the pixels: one number, or red,green,blue. If neither it nor --std exceeds 1, of pixels in 0..1
        as torchvision's Normalize takes them; otherwise of pixels 0..255.
    std
        What the rest is divided by, of the same pixels as --mean.
    scale
        What the rest is multiplied by instead, of pixels 0..255, as in Caffe: 0.00390625 or 1/256.
    activation
        The activation function.
    pooling
        max or average; of an AlexNet overlapping (3 x 3 / 2) or plain (2 x 2 / 2).
    channels
        The order in which conv1 takes the colors.
    lrn_k
        The constant k of local response normalization; of a file that may have none, says that there is.
    check
        A folder of class folders with a few labeled images: what is still open is chosen by accuracy on them.
    """

    mean: Numbers = None
    std: Numbers = None
    scale: Numbers = None
    activation: Literal["relu", "sigmoid", "tanh"] | None = None
    pooling: Literal["max", "average", "overlapping", "plain"] | None = None
    channels: Literal["rgb", "bgr"] | None = None
    lrn_k: float | None = None
    check: Path | None = None


NOTHING_SAID = Said()
About = Annotated[Said, Parameter(name="*", group="What the file does not say")]


def identify(file: Path, *changes: NetworkFields, classes: Path | None = None, said: About = NOTHING_SAID) -> None:
    """Say which network a file of trained weights holds, and what it expects; nothing in it is run.

    What the file does not say is listed as assumed, with the option that says otherwise.

    For example:
      alexnet identify alexnet-owt-7be5be79.pth
      alexnet identify flowers.pth --mean 0.5 --std 0.5
      alexnet identify lenet.pth --check digits/

    Parameters
    ----------
    file
        PyTorch .pth, Caffe .caffemodel, NumPy .npy or .npz, ONNX, or safetensors of this program.
    classes
        As for alexnet import; --check matches the folders with these names.
    """
    from alexnet.cli import tables_networks

    tables_networks.identified(
        file, alexnet.identify(file, classes=classes, changes=changes, progress=True, **vars(said))
    )


def import_weights(
    file: Path, out: Path, *changes: NetworkFields, classes: Path | None = None, said: About = NOTHING_SAID
) -> None:
    """Make a run folder of a file of trained weights, for predict, evaluate and train --weights.

    What the file does not say is assumed; it is listed, and stored in the run. With a wrong mean or activation function
    a network answers at chance, so say what you know, or give --check.

    For example:
      alexnet import alexnet-owt-7be5be79.pth runs/imagenet
      alexnet import lenet.caffemodel runs/lenet --classes digits.txt
      alexnet import flowers.pth runs/flowers --mean 0.5 --std 0.5
      alexnet import lenet.pth runs/lenet --check digits/

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

    run, identified = alexnet.import_weights(file, out, classes=classes, changes=changes, progress=True, **vars(said))
    tables_networks.identified(file, identified)
    tell(f"\nnext: alexnet predict {run.folder} IMAGE.jpg")

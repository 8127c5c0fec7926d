"""The verbs that look inside a trained network."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import alexnet
from alexnet.cli.options import Checkpoint, Device, Images, Names, RunPath


def filters(
    run: RunPath,
    *,
    out: Path | None = None,
    sort: bool = False,
    over_training: bool = False,
    checkpoint: Checkpoint = "best",
) -> None:
    """Draw the conv1 filters as in Figure 3, tower above tower, and say how much each tower sees color.

    For example:
      alexnet filters runs/last
      alexnet filters runs/photos --sort --out filters.png
      alexnet filters runs/photos --over-training

    Parameters
    ----------
    out
        The PNG to write; by default the name of the run with -filters.png.
    sort
        Within each tower the grayest first, instead of the order of the network.
    over_training
        Some filters of each tower, a row an epoch, instead of all of them as they are now.
    """
    from alexnet.cli import tables_interpret

    model = alexnet.load(run, checkpoint=checkpoint, device="cpu")
    if over_training:
        growth = model.filters_over_training()
        tables_interpret.growth(growth, growth.save(out))
    else:
        found = model.filters()
        tables_interpret.towers(found, found.save(out, sort=sort))


def features(
    run: RunPath,
    *images: Images,
    out: Path,
    layer: str | None = None,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
) -> None:
    """Write what one layer gives for images: vectors with the names of the files.

    For example:
      alexnet features runs/last holiday/ --out holiday.safetensors
      alexnet features runs/photos holiday/*.jpg --layer conv5 --out conv5.npy

    Parameters
    ----------
    out
        A name that ends in .safetensors, or in .npy: then the names of the files go into a .json beside it.
    layer
        As alexnet summary names it: fc7 is before its non-linearity, relu7 after it. By default the last hidden layer
        as the last fully connected layer sees it.
    """
    from alexnet.cli import tables_interpret
    from alexnet.cli.terminal import note_left_out, refuse_unread

    note_left_out(*images)
    model = alexnet.load(run, checkpoint=checkpoint, device=device)
    found = model.features(images, layer=layer, out=out, progress=True)
    tables_interpret.features(found)
    refuse_unread(len(found.errors), len(found.errors) + len(found.paths))


def similar(
    run: RunPath,
    *query: Images,
    index: Path,
    k: Names = 6,
    layer: str | None = None,
    out: Path | None = None,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
) -> None:
    """Find the images most like some others, by the distance of their vectors in the last hidden layer (Figure 4).

    The vectors are kept in the cache. Every call looks at all files, and computes those added or changed.

    For example:
      alexnet similar runs/last cat.jpg --index photos/
      alexnet similar runs/photos holiday/*.jpg --index photos/ --out figure4.png

    Parameters
    ----------
    index
        The folder of images to search in, to the bottom.
    layer
        Another layer to compare in; by default the last hidden layer as the last fully connected layer sees it.
    out
        Write a PNG as well: each query, and beside it what was found.
    """
    from alexnet.cli import tables_interpret
    from alexnet.cli.terminal import note_left_out, refuse_unread

    note_left_out(*query, index)
    model = alexnet.load(run, checkpoint=checkpoint, device=device)
    found = model.similar(query, index=index, k=k, layer=layer, progress=True)
    tables_interpret.similar(found, None if out is None or not found.answers else found.save(out))
    refuse_unread(len(found.errors), len(found.errors) + len(found.answers))


def why(
    run: RunPath,
    image: Path,
    *,
    method: Literal["all", "occlusion", "saliency", "grad-cam"] = "all",
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    patch: int | None = None,
    out: Path | None = None,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
) -> None:
    """Draw which parts of an image speak for a class: red, and blue for what speaks against it.

    For example:
      alexnet why runs/last cat.jpg
      alexnet why runs/photos cat.jpg --method occlusion --class dog --out why.png

    Parameters
    ----------
    image
        The image.
    method
        occlusion: what hides the class when it is covered; saliency: the slope of the logit at each pixel; grad-cam:
        where the last convolution sees the class; all: the three beside one another.
    class_
        The class to explain; by default the most probable.
    patch
        Pixels a side of the square that covers; by default a seventh of the view.
    out
        The PNG to write; by default the name of the image with -why.png.
    """
    from alexnet.cli import tables_interpret

    model = alexnet.load(run, checkpoint=checkpoint, device=device)
    found = model.explain(image, method=method, class_name=class_, patch=patch, progress=True)
    tables_interpret.why(found, found.save(out, image=image))

"""The verbs that look into a trained network and hand it on to other programs."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from alexnet.errors import UsageError

Paths = Annotated[str, Parameter(allow_leading_hyphen=True)]
Checkpoint = Literal["best", "last"]


def filters(
    run: Path,
    *,
    out: Path | None = None,
    sort: bool = False,
    over_training: bool = False,
    checkpoint: Checkpoint = "best",
) -> None:
    """Draw the kernels of conv1 as in Figure 3, tower above tower, and say how much each tower looks at colour.

    For example:
      alexnet filters runs/photos
      alexnet filters runs/photos --sort --out kernels.png
      alexnet filters runs/photos --over-training

    Parameters
    ----------
    run
        The run folder.
    out
        The PNG to write; by default the name of the run with -filters.png.
    sort
        Within each tower the greyest first, instead of the order of the network.
    over_training
        Some kernels of each tower, a row an epoch, instead of all of them as they are now.
    checkpoint
        The best on the held-out pictures, or the last.
    """
    from alexnet.cli import tables_interpret
    from alexnet.interpret.contact_sheet import save_png
    from alexnet.interpret.filters import conv1_kernels, growth_sheet, kernel_sheet, spread, tower_colors
    from alexnet.runs.checkpoint import load_model
    from alexnet.runs.kernel_history import kernel_history
    from alexnet.runs.run import open_run

    opened = open_run(run)
    kernels = conv1_kernels(load_model(opened, checkpoint))
    towers = getattr(opened.recipe.model, "towers", 1)
    target = out or Path(f"{run.resolve().name}-filters.png")
    if not over_training:
        save_png(kernel_sheet(kernels, towers, sort=sort), target)
        tables_interpret.towers(tower_colors(kernels, towers), target)
        return
    history = kernel_history(opened)
    if not history:
        raise UsageError(
            f"{run} has not kept the kernels of its epochs: its folder conv1 is empty",
            fix="Every run keeps them at the end of an epoch; leave --over-training out to see those of a checkpoint.",
            code="E284",
        )
    history = spread(history, most=8)
    save_png(growth_sheet(history, towers), target)
    tables_interpret.growth([(epoch, tower_colors(each, towers)) for epoch, each in history], target)


def features(
    run: Path,
    *images: Paths,
    out: Path,
    layer: str | None = None,
    checkpoint: Checkpoint = "best",
    device: str = "auto",
) -> None:
    """Write what one layer says of pictures: vectors with the names of the files.

    For example:
      alexnet features runs/photos holiday/ --out holiday.safetensors
      alexnet features runs/photos holiday/*.jpg --layer conv5 --out conv5.npy

    Parameters
    ----------
    run
        The run folder.
    images
        Files, folders or "globs".
    out
        A name that ends in .safetensors, or in .npy: then the names of the files go into a .json beside it.
    layer
        As alexnet summary names it: fc7 is before its non-linearity, relu7 after it. By default the last hidden layer
        as the last fully connected layer sees it.
    checkpoint
        The best on the held-out pictures, or the last.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables_interpret
    from alexnet.cli.terminal import bars
    from alexnet.evaluation.predict import find_images, refuse_unread
    from alexnet.interpret.features import check_ending, last_hidden, save_features
    from alexnet.interpret.features import features as features_of
    from alexnet.kernels.device import choose_device
    from alexnet.models.network import fingerprint
    from alexnet.runs.checkpoint import load_model
    from alexnet.runs.run import open_run

    check_ending(out)
    paths = find_images(images)
    opened = open_run(run)
    model = load_model(opened, checkpoint)
    network = fingerprint(model)
    model = model.to(choose_device(device))
    with bars() as progress:
        found = features_of(
            model,
            paths,
            layer=layer or last_hidden(model),
            prepare_size=opened.recipe.prepare_size,
            progress=progress,
        )
    tables_interpret.features(found, save_features(found, out, network=network))
    refuse_unread(len(found.errors), len(paths))


def similar(
    run: Path,
    *query: Paths,
    index: Path,
    count: Annotated[int, Parameter(name=["--count", "-k"])] = 6,
    layer: str | None = None,
    out: Path | None = None,
    checkpoint: Checkpoint = "best",
    device: str = "auto",
) -> None:
    """Find the pictures most like some others, by the distance of their vectors in the last hidden layer (Figure 4).

    The vectors are kept in the cache. Every call looks at all files, and computes anew those added or changed.

    For example:
      alexnet similar runs/photos cat.jpg --index photos/
      alexnet similar runs/photos holiday/*.jpg --index photos/ --out figure4.png

    Parameters
    ----------
    run
        The run folder.
    query
        Files, folders or "globs".
    index
        The folder of pictures to search in, to the bottom.
    count
        How many to find.
    layer
        Another layer to compare in; by default the last hidden layer as the last fully connected layer sees it.
    out
        Write a PNG as well: each query, and beside it what was found.
    checkpoint
        The best on the held-out pictures, or the last.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables_interpret
    from alexnet.cli.terminal import bars
    from alexnet.evaluation.predict import find_images, refuse_unread
    from alexnet.interpret.contact_sheet import save_png
    from alexnet.interpret.features import last_hidden
    from alexnet.interpret.image_index import update_index
    from alexnet.interpret.similar import answer_sheet
    from alexnet.interpret.similar import similar as similar_to
    from alexnet.kernels.device import choose_device
    from alexnet.runs.checkpoint import load_model
    from alexnet.runs.run import open_run

    if count < 1:
        raise UsageError(f"--count {count}: at least one picture must be found", fix="Use 1 or more.", code="E248")
    paths = find_images(query)
    opened = open_run(run)
    model = load_model(opened, checkpoint).to(choose_device(device))
    chosen, size = layer or last_hidden(model), opened.recipe.prepare_size
    with bars() as progress:
        found = update_index(model, index, layer=chosen, prepare_size=size, progress=progress)
    answers, errors = similar_to(model, found, paths, layer=chosen, prepare_size=size, k=count)
    tables_interpret.similar(found, answers, errors)
    if out is not None and answers:
        save_png(answer_sheet(answers), out)
        tables_interpret.written(out)
    refuse_unread(len(errors), len(paths))


def why(
    run: Path,
    image: Path,
    *,
    method: Literal["all", "occlusion", "saliency", "grad-cam"] = "all",
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    patch: int | None = None,
    out: Path | None = None,
    checkpoint: Checkpoint = "best",
    device: str = "auto",
) -> None:
    """Draw which parts of a picture speak for a class: red, and blue for what speaks against it.

    For example:
      alexnet why runs/photos cat.jpg
      alexnet why runs/photos cat.jpg --method occlusion --class dog --out why.png

    Parameters
    ----------
    run
        The run folder.
    image
        The picture.
    method
        occlusion: what hides the class when it is covered; saliency: the slope of the logit at each pixel; grad-cam:
        where the last convolution sees the class; all: the three beside one another.
    class_
        The class to explain; by default the most probable.
    patch
        Pixels a side of the square that covers; by default a seventh of the view.
    out
        The PNG to write; by default the name of the picture with -why.png.
    checkpoint
        The best on the held-out pictures, or the last.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables_interpret
    from alexnet.evaluation.classifier import classifier_of
    from alexnet.interpret.attribution import METHODS, explain, why_sheet
    from alexnet.interpret.contact_sheet import save_png
    from alexnet.kernels.device import choose_device
    from alexnet.runs.run import open_run

    classifier = classifier_of(open_run(run), checkpoint, choose_device(device))
    label = None if class_ is None else classifier.index_of(class_)
    prepared = classifier.prepare(image)
    methods = METHODS if method == "all" else (method,)
    explained, maps = explain(classifier, prepared, methods, label=label, patch=patch)
    target = out or Path(f"{image.stem}-why.png")
    save_png(why_sheet(classifier.view(prepared), maps), target)
    tables_interpret.why(methods, maps, explained.name, explained.probability, target)

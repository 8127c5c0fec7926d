"""The verbs that look into a trained network and hand it on to other programs."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from alexnet.errors import DataError, UsageError

Paths = Annotated[str, Parameter(allow_leading_hyphen=True)]
Checkpoint = Literal["best", "last"]


def filters(run: Path, *, out: Path | None = None, sort: bool = False, checkpoint: Checkpoint = "best") -> None:
    """Draw the kernels of conv1 as in Figure 3, tower above tower, and say how much each tower looks at colour.

    A run keeps its best and its last checkpoint only, so what the kernels were in between cannot be drawn.

    For example:
      alexnet filters runs/photos
      alexnet filters runs/photos --sort --out kernels.png

    Parameters
    ----------
    run
        The run folder.
    out
        The PNG to write; by default the name of the run with -filters.png.
    sort
        Within each tower the greyest first, instead of the order of the network.
    checkpoint
        The best on the held-out pictures, or the last.
    """
    from alexnet import tables_explore
    from alexnet.checkpoint import load_model
    from alexnet.filters import conv1_kernels, kernel_sheet, tower_colors
    from alexnet.run import open_run
    from alexnet.sheets import save_png

    opened = open_run(run)
    kernels = conv1_kernels(load_model(opened, checkpoint))
    towers = getattr(opened.recipe.model, "towers", 1)
    target = out or Path(f"{run.resolve().name}-filters.png")
    save_png(kernel_sheet(kernels, towers, sort=sort), target)
    tables_explore.towers(tower_colors(kernels, towers), target)


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
    from alexnet import tables_explore
    from alexnet.checkpoint import load_model
    from alexnet.features import check_ending, last_hidden, save_features
    from alexnet.features import features as features_of
    from alexnet.run import open_run
    from alexnet.terminal import counting
    from alexnet.train import choose_device
    from alexnet.weights import fingerprint

    check_ending(out)
    paths = _pictures(images)
    opened = open_run(run)
    model = load_model(opened, checkpoint)
    network = fingerprint(model)
    model = model.to(choose_device(device))
    with counting("looking") as progress:
        found = features_of(
            model,
            paths,
            layer=layer or last_hidden(model),
            prepare_size=opened.recipe.prepare_size,
            progress=progress,
        )
    tables_explore.features(found, save_features(found, out, network=network))
    _refuse_unread(found.errors, len(paths))


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
    from alexnet import tables_explore
    from alexnet.checkpoint import load_model
    from alexnet.features import last_hidden
    from alexnet.run import open_run
    from alexnet.sheets import save_png
    from alexnet.similar import answer_sheet, update_index
    from alexnet.similar import similar as similar_to
    from alexnet.terminal import counting
    from alexnet.train import choose_device

    if count < 1:
        raise UsageError(f"--count {count}: at least one picture must be found", fix="Use 1 or more.", code="E248")
    paths = _pictures(query)
    opened = open_run(run)
    model = load_model(opened, checkpoint).to(choose_device(device))
    chosen, size = layer or last_hidden(model), opened.recipe.prepare_size
    with counting("indexing") as progress:
        found = update_index(model, index, layer=chosen, prepare_size=size, progress=progress)
    answers, errors = similar_to(model, found, paths, layer=chosen, prepare_size=size, k=count)
    tables_explore.similar(found, answers, errors)
    if out is not None and answers:
        save_png(answer_sheet(answers), out)
        tables_explore.written(out)
    _refuse_unread(errors, len(paths))


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
    import torch

    from alexnet import tables_explore
    from alexnet.checkpoint import load_model
    from alexnet.features import central_view
    from alexnet.images import prepare_image
    from alexnet.run import open_run
    from alexnet.sheets import save_png
    from alexnet.train import choose_device
    from alexnet.why import METHODS, class_index, explain_class, why_sheet

    opened = open_run(run)
    label = None if class_ is None else class_index(opened.class_names, class_)
    picture = prepare_image(image, size=opened.recipe.prepare_size)
    model = load_model(opened, checkpoint).to(choose_device(device))
    view = central_view(model, picture[None])
    with torch.inference_mode():
        probabilities = torch.softmax(model(view), 1)[0].cpu().numpy()
    label = int(probabilities.argmax()) if label is None else label
    methods = METHODS if method == "all" else (method,)
    maps = [explain_class(model, view, label, each, patch=patch) for each in methods]
    target = out or Path(f"{image.stem}-why.png")
    save_png(why_sheet(view, maps), target)
    tables_explore.why(methods, maps, opened.class_names[label], float(probabilities[label]), target)


def export(
    run: Path,
    *,
    format: Literal["onnx", "torch-export", "hf"] = "onnx",
    out: Path | None = None,
    data: str | None = None,
    split: str | None = None,
    pixels: Literal["uint8", "float32"] = "uint8",
    int8: bool = False,
    checkpoint: Checkpoint = "best",
) -> None:
    """Write a trained network for other programs, after it has answered every held-out picture as the run does.

    Preprocessing, class names and recipe are inside. A file that does not answer alike is not written.

    For example:
      alexnet export runs/photos
      alexnet export runs/photos --format hf --out photos-hf

    Parameters
    ----------
    run
        The run folder.
    format
        onnx: one node a layer, LRN as ONNX has it; torch-export: a .pt2 archive; hf: a folder with config.json,
        a model card, and a model.safetensors that alexnet import reads.
    out
        The file or folder to write; by default the name of the run with .onnx, .pt2 or -hf.
    data
        Pictures to compare on, as for alexnet train; by default those of the run.
    split
        The split to compare on; by default val, else all there is.
    pixels
        The type that an ONNX file takes; values are 0..255 in both.
    int8
        ONNX in 8 bits, a quarter as large; written if its accuracy falls by no more than a point.
    checkpoint
        The best on the held-out pictures, or the last.
    """
    from alexnet import tables, tables_explore
    from alexnet.checkpoint import load_model
    from alexnet.export import FORMATS, check_out
    from alexnet.export import export as export_run
    from alexnet.run import open_run
    from alexnet.terminal import counting
    from alexnet.workflow import prepared_for, prepared_of

    opened = open_run(run)
    target = out or Path(f"{run.resolve().name}{FORMATS[format] or '-hf'}")
    check_out(target, format)
    model = load_model(opened, checkpoint)
    size = opened.recipe.prepare_size
    prepared = (
        prepared_of(opened, tables.prepared) if data is None else prepared_for(data, size, tables.prepared, held_out=0)
    )
    chosen = split or next(name for name in ("val", "test", "train") if name in prepared.splits)
    with counting("comparing") as progress:
        found = export_run(
            opened, model, prepared, target, form=format, split=chosen, pixels=pixels, int8=int8, progress=progress
        )
    tables_explore.exported(found)


def parity(first: Path, second: Path, *images: Paths, trust: bool = False) -> None:
    """Compare the answers of two networks: run folders, ONNX files, exported programs, exported folders.

    Leaves with 3 if a picture could not be read, and with 6 if they are not equal.

    For example:
      alexnet parity runs/photos photos.onnx holiday/
      alexnet parity photos.onnx photos.pt2 holiday/*.jpg --trust

    Parameters
    ----------
    first
        A run folder, or what alexnet export wrote.
    second
        Another one.
    images
        Files, folders or "globs".
    trust
        Open exported programs (.pt2), which can run code: only for files that you made yourself.
    """
    from alexnet import tables_explore
    from alexnet.answering import open_answering
    from alexnet.parity import check_equal, compare_answers

    paths = _pictures(images)
    a, b = (open_answering(path, trust=trust) for path in (first, second))
    found, errors = compare_answers(a, b, paths)
    tables_explore.parity(a, b, found, errors)
    check_equal(found, a, b)
    _refuse_unread(errors, len(paths))


def _pictures(images: tuple[str, ...]) -> list[Path]:
    """The files that were named.

    Raises:
        UsageError: none was.
        DataError: one names nothing.
    """
    from alexnet.predict import find_images

    if not images:
        raise UsageError("no pictures given", fix="Name files, folders or patterns.", code="E264")
    return find_images(images)


def _refuse_unread(errors: dict[Path, Any], count: int) -> None:
    if errors:
        raise DataError(
            f"{len(errors)} of {count} pictures could not be read; their reasons stand above",
            fix="Replace them, or leave them out.",
            code="E352",
        )

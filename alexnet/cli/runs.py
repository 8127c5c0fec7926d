"""The verbs that work on pictures and runs. Every verb imports what it needs when it runs, so that help is instant."""

import json as json_module
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from alexnet.errors import UsageError

Paths = Annotated[str, Parameter(allow_leading_hyphen=True)]


def demo(*, out: Path = Path("runs/demo")) -> None:
    """Train LeNet and AlexNet on the 1,797 digits that ship with scikit-learn, and compare them. Under 3 minutes.

    For example:
      alexnet demo
      alexnet demo --out /tmp/demo

    Parameters
    ----------
    out
        Folder for the runs of the two networks; what an earlier demo left there is replaced.
    """
    from alexnet.cli.demo import run_demo
    from alexnet.training.monitor import Interrupted

    try:
        run_demo(out)
    except Interrupted as stopped:
        print("alexnet: stopped; alexnet demo begins anew", file=sys.stderr)
        sys.exit(128 + stopped.signal_number)


def evaluate(
    run: Path,
    data: str | None = None,
    *,
    split: str | None = None,
    views: int = 1,
    checkpoint: Literal["best", "last"] = "best",
    json: bool = False,
    device: str = "auto",
) -> None:
    """Measure a trained network: top-1 and top-5 error, log-loss, and every class.

    For example:
      alexnet evaluate runs/photos
      alexnet evaluate runs/photos other_photos/ --split test --views 10 --json

    Parameters
    ----------
    run
        The run folder.
    data
        Other pictures than those of the run, as for alexnet train; a folder of classes without train/ is looked at
        as a whole.
    split
        train, val or test; by default test where there is one, else val, else all there is.
    views
        1 (the centre) or 10 (corners, centre and mirrors, probabilities averaged, as in the paper).
    checkpoint
        The best on the held-out pictures, or the last.
    json
        Print JSON instead of tables.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables
    from alexnet.cli.terminal import bars
    from alexnet.data.open import open_images
    from alexnet.evaluation.evaluate import evaluate as evaluate_split
    from alexnet.kernels.device import choose_device
    from alexnet.runs.checkpoint import load_model
    from alexnet.runs.run import open_run
    from alexnet.runs.start import images_of_run

    opened = open_run(run)
    model = load_model(opened, checkpoint).to(choose_device(device))
    recipe = opened.recipe
    told = (lambda report: None) if json else tables.prepared
    own = (
        data is None or data == opened.data["source"] or str(Path(data).expanduser().resolve()) == opened.data["source"]
    )
    with bars() as progress:
        if data is None or own:
            prepared = images_of_run(opened, tell=told, progress=progress)
        else:
            prepared = open_images(data, recipe.prepare_size, tell=told, progress=progress, held_out=0)
        chosen = split or next(name for name in ("test", "val", "train") if name in prepared.splits)
        result = evaluate_split(
            model,
            prepared,
            chosen,
            class_names=opened.class_names,
            views=views,
            precision=recipe.precision,
            progress=progress,
        )
    if list(prepared.splits) == ["train"]:
        result = replace(result, split="all")
    if json:
        print(json_module.dumps(result.summary(), indent=1, ensure_ascii=False))
    else:
        tables.evaluation(result)


def predict(
    run: Path,
    *images: Paths,
    views: int = 1,
    topk: Annotated[int, Parameter(name=["--topk", "-k"])] = 5,
    format: Literal["table", "json", "csv"] = "table",
    checkpoint: Literal["best", "last"] = "best",
    device: str = "auto",
) -> None:
    """Say what is on pictures: files, folders, "globs", or - for a list of paths on standard input.

    For example:
      alexnet predict runs/photos cat.jpg holiday/
      find . -name '*.jpg' | alexnet predict runs/photos - --format csv

    Parameters
    ----------
    run
        The run folder.
    images
        What to look at.
    views
        1 (the centre) or 10 (corners, centre and mirrors).
    topk
        How many classes to name for each picture.
    format
        table, json (one object a line) or csv.
    checkpoint
        The best on the held-out pictures, or the last.
    device
        auto, cpu, cuda, mps, or a torch device such as cuda:1.
    """
    from alexnet.cli import tables
    from alexnet.evaluation.classifier import classifier_of
    from alexnet.evaluation.predict import find_images, refuse_unread
    from alexnet.evaluation.predict import predict as predict_images
    from alexnet.kernels.device import choose_device
    from alexnet.runs.run import open_run

    if topk < 1:
        raise UsageError(f"--topk {topk}: at least one class must be named", fix="Use --topk 1 or more.", code="E263")
    named = [line.strip() for line in sys.stdin if line.strip()] if list(images) == ["-"] else list(images)
    paths = find_images(named)
    classifier = classifier_of(open_run(run), checkpoint, choose_device(device))
    answers = predict_images(classifier, paths, views=views, k=topk)
    refuse_unread(tables.predictions(answers, format), len(paths))


def report(run: Path) -> None:
    """Evaluate a run anew and write its report.html.

    For example:
      alexnet report runs/photos
      alexnet report runs/demo/alexnet

    Parameters
    ----------
    run
        The run folder.
    """
    from alexnet.cli import tables
    from alexnet.cli.terminal import bars
    from alexnet.report.run_report import report_run
    from alexnet.runs.run import open_run
    from alexnet.runs.start import images_of_run

    opened = open_run(run)
    with bars() as progress:
        prepared = images_of_run(opened, tell=tables.prepared, progress=progress)
        evaluations, page = report_run(opened, prepared, progress=progress)
    tables.results(opened, evaluations, page)

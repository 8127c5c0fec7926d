"""The verbs that use a trained network on images: predict, evaluate, report."""

import sys

import alexnet
from alexnet.cli.options import (
    Checkpoint,
    Device,
    Format,
    Images,
    Labels,
    Names,
    Raw,
    RunPath,
    Views,
)


def evaluate(
    run: RunPath,
    data: str | None = None,
    *,
    split: str | None = None,
    labels: Labels = None,
    views: Views = 1,
    raw: Raw = False,
    checkpoint: Checkpoint = "best",
    format: Format = "table",
    device: Device = "auto",
) -> None:
    """Measure a trained network: top-1 and top-5 error, log loss, and every class.

    For example:
      alexnet evaluate runs/last
      alexnet evaluate runs/photos other_photos/ --split test --views 10 --format json

    Parameters
    ----------
    data
        Other images than those of the run, as for alexnet train; a folder of classes, or of some of
        them, without train/ is one split.
    split
        train, val or test; by default test where there is one, else val, else all there is.
    """
    from alexnet.cli import tables, terminal

    model = alexnet.load(run, checkpoint=checkpoint, device=device)
    tell = tables.prepared if format == "table" else None
    result = model.evaluate(
        data,
        split=split,
        labels=labels,
        views=views,
        raw=raw,
        progress=True,
        on_prepared=tell,
        on_changed=terminal.note,
    )
    if format == "json":
        terminal.print_json(result.summary(), indent=1)
    elif format == "csv":
        tables.evaluation_csv(result)
    else:
        tables.evaluation(result)


def predict(
    run: RunPath,
    *images: Images,
    views: Views = 1,
    k: Names = 5,
    raw: Raw = False,
    min_precision: float | None = None,
    coverage: float | None = None,
    format: Format = "table",
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
) -> None:
    """Say what is on images: files, folders, "patterns", or - for a list of paths on standard input.

    For example:
      alexnet predict runs/last cat.jpg holiday/
      find . -name '*.jpg' | alexnet predict runs/photos - --format csv
      alexnet predict runs/last holiday/ --min-precision 0.95 --coverage 0.9

    Parameters
    ----------
    min_precision
        Say "not sure" unless the validation split shows that at least this share of the answers is right: 0.95.
    coverage
        Name as well the smallest set of classes that holds the right one for at least this share of images: 0.9.
    """
    from alexnet.cli import tables
    from alexnet.cli.terminal import note, note_left_out, refuse_unread

    named = [line.strip() for line in sys.stdin if line.strip()] if list(images) == ["-"] else list(images)
    note_left_out(*named)
    model = alexnet.load(run, checkpoint=checkpoint, device=device)
    promise = model.promise(views, min_precision, coverage)
    answers = model.predict_each(named, views=views, k=k, raw=raw, min_precision=min_precision, coverage=coverage)
    if format != "table":  # a table has them below it
        for text in promise.notes():
            note(text)
    measured = model.classifier.training_images is not None
    unread, count = tables.predictions(answers, format, promise, measured)
    refuse_unread(unread, count)


def report(run: RunPath, *, device: Device = "auto") -> None:
    """Evaluate a run and write its report.html.

    For example:
      alexnet report runs/last
      alexnet report runs/demo/alexnet
    """
    from alexnet.cli import tables, terminal

    opened = alexnet.Run.open(run)
    evaluations, page = opened.evaluate_and_report(
        progress=True, on_prepared=tables.prepared, on_changed=terminal.note, device=device
    )
    tables.results(opened.folder, evaluations, page)

"""The verbs that work on images before anything is trained on them."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import alexnet
from alexnet.cli.options import Labels
from alexnet.language.speak import tell

TableOrJson = Annotated[Literal["table", "json"], Parameter(help="table for people, json for programs.")]


def prepare(
    data: str,
    out: Path,
    *,
    size: int = 256,
    whole: bool = False,
    encoding: Literal["auto", "raw", "jpeg"] = "auto",
    strict: bool = False,
    verify: bool = False,
    threads: int | None = None,
    exclude: Path | None = None,
    labels: Labels = None,
) -> None:
    """Turn any images into squares of one size, once, with the statistics that training needs.

    For example:
      alexnet prepare photos/ prepared/
      alexnet prepare /data/ILSVRC2012 prepared/ --encoding jpeg
      alexnet prepare dog-breeds/ prepared/ --labels dog-breeds/labels.csv

    Parameters
    ----------
    data
        A folder with one sub-folder per class, or with train/ and val/ (Training, test_set, 训练集 ...) that have them;
        with files called cat.0.jpg; or with --labels; ILSVRC-2012 as it comes;
        or digits, cifar10, fashion-mnist, imagenette, flowers102.
    out
        The folder to write. Interrupted, the same command goes on; done, it does nothing.
    size
        Pixels of the shorter side, and of the central square that is kept.
    whole
        Keep whole images, stretched to squares, as the recipe photos does.
    encoding
        raw: 3 bytes a pixel, fastest; jpeg: a seventh of that; auto: raw unless it gets too large.
    strict
        Stop at the first image that cannot be read, instead of leaving it out and listing it.
    verify
        Read everything in OUT again when it is done and compare the checksums.
    threads
        By default one per core.
    exclude
        Leave out the images that this file names; alexnet doctor writes one.
    """
    from alexnet.cli import tables

    report = alexnet.prepare(
        data,
        out,
        size=size,
        whole=whole,
        encoding=encoding,
        strict=strict,
        threads=threads,
        exclude=exclude,
        labels=labels,
        progress=True,
    )
    tables.prepared(report)
    if verify:
        alexnet.load_data(out).verify(progress=True)
        tell("verified: every file is as it was written")
    tell(f"\nNext: alexnet train {out}")


def doctor(
    data: str,
    *,
    run: Path | None = None,
    out: Path | None = None,
    labels: Labels = None,
    format: TableOrJson = "table",
) -> None:
    """Find what is wrong with your images: leaks between splits, copies, unreadable files, wrong labels.

    Nothing in DATA is changed. Writes a page, a record of all findings, and a list of images to leave out, which
    alexnet train and alexnet prepare read.

    For example:
      alexnet doctor photos/
      alexnet doctor photos/ --run runs/last
      alexnet train photos/ --exclude doctor/2026-11-24-1530-photos/exclude.jsonl

    Parameters
    ----------
    data
        As for alexnet prepare.
    run
        A run folder: its network is asked which labels are likely wrong.
    out
        The folder to write; by default a new one in doctor/. It gets doctor.html, doctor.json and exclude.jsonl.
    """
    from alexnet.cli import tables, terminal

    examination = alexnet.examine(data, run=run, out=out, labels=labels, progress=True)
    if format == "json":
        terminal.print_json(examination.record(), indent=1)
    else:
        tables.examination(examination)

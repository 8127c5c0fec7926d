"""The verb that looks at pictures before anything is trained on them."""

import json as json_module
from pathlib import Path
from typing import Literal


def doctor(data: str, *, run: Path | None = None, out: Path | None = None, json: bool = False) -> None:
    """Find what is wrong with your pictures: leaks between splits, copies, unreadable files, wrong labels.

    Nothing in DATA is changed. Writes a page, a record of all findings, and a list of pictures to leave out, which
    alexnet train and alexnet prepare read.

    For example:
      alexnet doctor photos/
      alexnet doctor photos/ --run runs/2026-11-24-1530-photos
      alexnet train photos/ --exclude doctor/2026-11-24-1530-photos/exclude.jsonl

    Parameters
    ----------
    data
        As for alexnet prepare.
    run
        A run folder: its network is asked which labels are likely wrong.
    out
        The folder to write; by default a new one in doctor/. It gets doctor.html, doctor.json and exclude.jsonl.
    json
        Print all findings as JSON instead of a summary.
    """
    from alexnet.cli import tables
    from alexnet.cli.terminal import bars
    from alexnet.doctor.examine import examine, new_folder, record

    with bars() as progress:
        examination = examine(data, out or new_folder(data), run, progress=progress)
    if json:
        print(json_module.dumps(record(examination), indent=1, ensure_ascii=False))
    else:
        tables.examination(examination)


def prepare(
    data: str,
    out: Path,
    *,
    size: int = 256,
    encoding: Literal["auto", "raw", "jpeg"] = "auto",
    strict: bool = False,
    verify: bool = False,
    workers: int | None = None,
    exclude: Path | None = None,
) -> None:
    """Turn any pictures into squares of one size, once, with the statistics that training needs.

    For example:
      alexnet prepare photos/ prepared/
      alexnet prepare /data/ILSVRC2012 prepared/ --encoding jpeg

    Parameters
    ----------
    data
        A folder with one sub-folder per class, or with train/ and val/ that have them; ILSVRC-2012 as it comes;
        or digits, cifar10, fashion-mnist, imagenette, flowers102.
    out
        The folder to write. Interrupted, the same command goes on; done, it does nothing.
    size
        Pixels of the shorter side, and of the central square that is kept.
    encoding
        raw: 3 bytes a pixel, fastest; jpeg: a seventh of that; auto: raw unless it gets too large.
    strict
        Stop at the first picture that cannot be read, instead of leaving it out and listing it.
    verify
        Read everything in OUT again when it is done and compare the checksums.
    workers
        Threads; by default one per core.
    exclude
        Leave out the pictures that this file names; alexnet doctor writes one.
    """
    from alexnet.cli import tables
    from alexnet.cli.terminal import bars
    from alexnet.data import dataset
    from alexnet.data.exclusions import leave_out, read_exclusions
    from alexnet.data.prepare import prepare as prepare_source
    from alexnet.data.sources import open_source

    source = open_source(data)
    if exclude is not None:
        source = leave_out(source, read_exclusions(exclude), str(exclude))
    with bars() as progress:
        report = prepare_source(
            source, out, size=size, encoding=encoding, strict=strict, workers=workers, progress=progress
        )
    tables.prepared(report)
    if verify:
        with bars() as progress:
            dataset.verify(dataset.open_prepared(out), progress)
        print("verified: every file is as it was written")
    print(f"\nNext: alexnet train {out}")

"""The verb that looks at pictures before anything is trained on them."""

import json as json_module
from pathlib import Path


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
    from alexnet import tables_data
    from alexnet.doctor import examine, new_folder, record

    examination = examine(data, out or new_folder(data), run)
    if json:
        print(json_module.dumps(record(examination), indent=1, ensure_ascii=False))
    else:
        tables_data.examination(examination)

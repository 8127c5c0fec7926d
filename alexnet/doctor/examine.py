"""`alexnet doctor`: one pass over a set of pictures -> doctor.html, doctor.json, exclude.jsonl; DATA is only read."""

import json
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.data.dataset import PREPARED
from alexnet.data.exclusions import write_exclusions
from alexnet.data.images import prepare_image
from alexnet.data.samples import Samples, Source
from alexnet.data.sources import open_source
from alexnet.doctor.findings import IMBALANCE, Findings, Group, Remark, Suspect, find, find_suspects
from alexnet.doctor.inspection import Inspection, inspect
from alexnet.doctor.page import doctor_page
from alexnet.errors import DataError, UsageError
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.evaluation.evaluate import Evaluation
from alexnet.progress import ProgressCallback, silent
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import RunFolder, open_run
from alexnet.storage.files import disk_errors, write_file
from alexnet.text import listed

PAGE, RECORD, MANIFEST = "doctor.html", "doctor.json", "exclude.jsonl"


@dataclass(frozen=True, eq=False)
class Examination:
    """What the doctor found, and where it stands."""

    data: str
    folder: Path
    inspection: Inspection
    findings: Findings
    suspects: tuple[Suspect, ...] | None  # None: no network was asked


def examine(data: str, out: Path, run: Path | None = None, *, progress: ProgressCallback = silent) -> Examination:
    """Looks at every picture of `data` and writes what there is to say into the new folder `out`.

    Args:
        data: a folder or a named set, as for `open_source`.
        out: a folder outside of `data` that does not hold an examination yet.
        run: a run folder whose network is asked about the labels.
        progress: called while images are looked at, and while the network is asked.

    Raises:
        UsageError: `out` cannot be used, or `data` is a prepared folder.
        DataError: `data` cannot be read at all, or the network knows none of its classes.
    """
    _check_places(Path(data).expanduser(), out)
    source = open_source(data, empty_classes=True)
    asked = None if run is None else _run_that_knows(source, data, run)
    inspection = inspect(source, progress=progress)
    findings = find(inspection)
    suspects = None if asked is None else doubted_labels(inspection, data, asked, progress)
    examination = Examination(data, out, inspection, findings, suspects)
    with disk_errors(f"writing {out}"):
        out.mkdir(parents=True, exist_ok=True)
    write_exclusions(out / MANIFEST, findings.excluded)
    text = json.dumps(record(examination), indent=1, ensure_ascii=False)
    page = doctor_page(Path(data).name or data, inspection, findings, suspects, next_steps(examination))
    with disk_errors(f"writing {out}"):
        write_file(out / RECORD, text.encode("utf-8", "backslashreplace"))
        write_file(out / PAGE, page.encode("utf-8", "backslashreplace"))
    return examination


def new_folder(data: str) -> Path:
    """A name in doctor/ that nobody has, from the time and the data."""
    stem = f"{datetime.now():%Y-%m-%d-%H%M}-{Path(data).name or 'data'}"
    names = [stem, *(f"{stem}-{i}" for i in range(2, 1000))]
    return next(path for name in names if not (path := Path("doctor") / name).exists())


def _check_places(data: Path, out: Path) -> None:
    if (data / PREPARED).is_file():
        raise UsageError(
            f"{data} is a prepared folder, in which all pictures are squares of one size",
            fix="Give the pictures that it was made from.",
            code="E282",
        )
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            f"{out} lies inside the folder of the pictures, which is only read",
            fix="Choose --out elsewhere.",
            code="E281",
        )
    if (out / MANIFEST).exists() or (out.exists() and not out.is_dir()):
        raise UsageError(
            f"{out} is a file or holds an examination, whose {MANIFEST} you may have edited",
            fix="Choose a new folder with --out.",
            code="E280",
        )


def _run_that_knows(source: Source, data: str, run: Path) -> RunFolder:
    opened = open_run(run)
    if not set(opened.class_names) & set(source.class_names):
        raise DataError(
            f"the network of {run} knows none of the classes of {data}: it knows {listed(opened.class_names)}",
            fix="Leave out --run, or give a run that was trained on these classes.",
            code="E385",
        )
    return opened


def doubted_labels(
    inspection: Inspection, data: str, opened: RunFolder, progress: ProgressCallback = silent
) -> tuple[Suspect, ...]:
    """Asks the best network of a run about the label of every picture that can be read, from one view.

    Pictures of classes that the network does not know are not judged.
    """
    source, size = inspection.source, opened.recipe.prepare_size
    outputs = {name: output for output, name in enumerate(opened.class_names)}
    model = load_model(opened)
    evaluations = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for split, samples in source.splits.items():
            asked = [look for look in inspection.images if look.split == split and not look.error]
            asked = [look for look in asked if source.class_names[look.label] in outputs]
            if not asked:
                continue
            labels = np.array([outputs[source.class_names[look.label]] for look in asked], np.int64)
            read = _reader(samples, [look.index for look in asked], size, pool)
            probabilities = predict_probabilities(
                model, read, len(asked), precision=opened.recipe.precision, progress=progress
            )
            names = tuple(look.name for look in asked)
            evaluations.append(Evaluation(split, 1, opened.class_names, names, labels, probabilities))
    own = opened.data.get("source") in (data, str(Path(data).expanduser().resolve()))
    return find_suspects(evaluations, trained_on=own)


def _reader(
    samples: Samples, places: list[int], size: int, pool: ThreadPoolExecutor
) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]]:
    """Gives pictures as the network wants them: (n,) indices into `places` to (n, size, size, 3)."""

    def read(wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = [samples.image(places[i]) for i in wanted.tolist()]
        return np.stack(list(pool.map(lambda image: prepare_image(image, size), images)))

    return read


def summary(examination: Examination) -> dict[str, int]:
    """How many of each kind were found, leaks first."""
    findings, suspects = examination.findings, examination.suspects
    copies = Counter(_kind(group) for group in findings.groups)
    counts = {
        "leaks between splits": copies["leak"],
        "copies in two classes": copies["conflict"],
        "unreadable pictures": len(findings.unreadable),
        "exact copies in one class": copies["exact"],
        "near copies in one class": copies["near"],
        **Counter(each.kind for each in findings.poor),
        **Counter(each.kind for each in findings.odd),
        "remarks on classes": len(findings.class_remarks),
        "hidden or empty places": len(findings.junk),
    }
    if suspects is not None:
        counts["likely wrong labels"] = len(suspects)
    return counts


def next_steps(examination: Examination) -> tuple[str, ...]:
    """What to do now, as sentences and commands."""
    findings, place = examination.findings, examination.folder / MANIFEST
    steps = []
    empty = [each.name for each in findings.classes if not each.counts["train"]]
    if empty:
        steps.append(f"fill or remove the classes without pictures, which alexnet train refuses: {listed(empty)};")
    options = f" --exclude {place}" if findings.excluded else ""
    if findings.imbalance >= IMBALANCE:
        options += " --class-weights balanced"
    if findings.excluded:
        steps.append(f"read {place}, delete the lines of pictures to keep, then")
    steps.append(f"alexnet train {examination.data}{options}")
    return tuple(steps)


def record(examination: Examination) -> dict[str, Any]:
    """All findings as plain values; the same pictures give the same record."""
    inspection, findings = examination.inspection, examination.findings
    looks = inspection.images

    def named(i: int) -> dict[str, str]:
        look = looks[i]
        name = inspection.source.class_names[look.label]
        return {"split": look.split, "class": name, "name": look.name, "sha256": look.sha256}

    def remark(each: Remark) -> dict[str, str]:
        return named(each.image) | {"kind": each.kind, "detail": each.detail}

    def group(each: Group) -> dict[str, Any]:
        return {
            "leak": each.leak,
            "conflict": each.conflict,
            "how": each.how,
            "difference": round(each.difference, 2),
            "pictures": [named(i) for i in each.images],
        }

    suspects = examination.suspects
    return {
        "data": examination.data,
        "pictures": {split: len(samples) for split, samples in inspection.source.splits.items()},
        "summary": summary(examination),
        "copies": [group(each) for each in findings.groups],
        "unreadable": [remark(each) for each in findings.unreadable],
        "formats": [remark(each) for each in findings.odd],
        "poor": [remark(each) for each in findings.poor],
        "classes": [asdict(each) for each in findings.classes],
        "imbalance": round(findings.imbalance, 2),
        "class_remarks": findings.class_remarks,
        "hidden_or_empty": findings.junk,
        "notes": findings.notes,
        "likely_wrong_labels": None if suspects is None else [asdict(each) for each in suspects],
        "excluded": [asdict(each) for each in findings.excluded],
        "next": next_steps(examination),
    }


def _kind(group: Group) -> str:
    if group.leak or group.conflict:
        return "leak" if group.leak else "conflict"
    return "near" if group.difference > 0 or {"nearly the same", "mirrored"} & set(group.how) else "exact"

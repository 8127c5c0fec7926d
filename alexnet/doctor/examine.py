"""`alexnet doctor`: one pass over a dataset -> doctor.html, doctor.json, exclude.jsonl; DATA is only read."""

import json
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet.cues.judge import leaks, lines
from alexnet.cues.look import cues_of_squares
from alexnet.cues.measure import Cues
from alexnet.data.dataset import PREPARED
from alexnet.data.exclusions import write_exclusions
from alexnet.data.folders import nfc
from alexnet.data.images import prepare_image
from alexnet.data.samples import Samples, Source
from alexnet.data.sources import open_source
from alexnet.doctor.findings import IMBALANCE, Findings, Group, Remark, Suspect, find, find_suspects
from alexnet.doctor.inspection import Inspection, inspect
from alexnet.doctor.page import doctor_page
from alexnet.errors import DataError, UsageError
from alexnet.evaluation.calibration import scaled
from alexnet.evaluation.classifier import predict_probabilities
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.run_calibration import temperature_of
from alexnet.progress import ProgressCallback, silent
from alexnet.recipes.recipe import Recipe
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import RunFolder, open_run
from alexnet.storage.files import disk_errors, user_path, write_file
from alexnet.text import listed

PAGE, RECORD, MANIFEST = "doctor.html", "doctor.json", "exclude.jsonl"


@dataclass(frozen=True, eq=False)
class Examination:
    """What the doctor found, and the folder with its files."""

    data: str
    folder: Path
    inspection: Inspection
    findings: Findings
    suspects: tuple[Suspect, ...] | None  # None if no network was used
    cues: Cues | None = None  # what simple cues know of the classes
    cues_missing: str = ""  # why they were not measured
    labels: Path | None = None  # the table of labels

    def summary(self) -> dict[str, int]:
        """Counts the findings of each kind, leaks first."""
        findings, suspects = self.findings, self.suspects
        copies = Counter(_kind(group) for group in findings.groups)
        counts = {
            "leaks between splits": copies["leak"],
            "copies in two classes": copies["conflict"],
            "unreadable images": len(findings.unreadable),
            "exact copies in one class": copies["exact"],
            "near copies in one class": copies["near"],
            **Counter(each.kind for each in findings.poor),
            **Counter(each.kind for each in findings.odd),
            "remarks on classes": len(findings.class_remarks),
            "hidden or empty places": len(findings.junk),
        }
        if self.cues is not None and leaks(self.cues):
            counts = {"cues that give the classes away": len(leaks(self.cues)), **counts}
        if suspects is not None:
            counts["likely wrong labels"] = len(suspects)
        return counts

    def next_steps(self) -> tuple[str, ...]:
        """Returns what to do now, as sentences and commands."""
        findings, manifest = self.findings, self.folder / MANIFEST
        steps = []
        empty = [each.name for each in findings.classes if not each.counts["train"]]
        if empty:
            steps.append(
                f"fill the classes without images, or move them away: alexnet train rejects them ({listed(empty)});"
            )
        options = "" if self.labels is None else f" --labels {quote(str(self.labels))}"
        if findings.excluded:
            options += f" --exclude {quote(str(manifest))}"
        if findings.imbalance >= IMBALANCE:
            options += " class_weights=balanced"
        if findings.excluded:
            steps.append(f"read {manifest}, delete the lines of images to keep, then")
        steps.append(f"alexnet train {quote(self.data)}{options}")
        return tuple(steps)

    def cue_lines(self) -> dict[str, str]:
        """What simple cues know of the classes, as `alexnet train` says it; leaks under "warning"."""
        return lines(self.cues, self.cues_missing)

    def record(self) -> dict[str, Any]:
        """Returns all findings as plain values; the same images give the same record."""
        inspection, findings = self.inspection, self.findings
        images = inspection.images

        def named(i: int) -> dict[str, str]:
            facts = images[i]
            name = inspection.source.class_names[facts.label]
            return {"split": facts.split, "class": name, "name": facts.name, "sha256": facts.sha256}

        def remark(each: Remark) -> dict[str, str]:
            return named(each.image) | {"kind": each.kind, "detail": each.detail}

        def group(each: Group) -> dict[str, Any]:
            return {
                "leak": each.leak,
                "conflict": each.conflict,
                "how": each.how,
                "difference": round(each.difference, 2),
                "images": [named(i) for i in each.images],
            }

        suspects = self.suspects
        return {
            "data": self.data,
            "images": {split: len(samples) for split, samples in inspection.source.splits.items()},
            "summary": self.summary(),
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
            "cues": None if self.cues is None else self.cues.record(),
            "cues_missing": self.cues_missing,
            "excluded": [asdict(each) for each in findings.excluded],
            "next": self.next_steps(),
        }

    def __repr__(self) -> str:
        found = ", ".join(f"{count} {kind}" for kind, count in self.summary().items() if count) or "nothing found"
        return f"Examination({self.data}: {found}; {self.folder})"


def examine(
    data: str,
    out: Path,
    run: Path | None = None,
    *,
    labels: Path | None = None,
    progress: ProgressCallback = silent,
) -> Examination:
    """Examines every image of `data` and writes the findings into the new folder `out`.

    Args:
        data: a folder or a named dataset, as for `open_source`.
        out: a folder outside `data` that does not contain an examination yet.
        run: a run folder whose network checks the labels.
        labels: a table of files and labels, see `open_source`.
        progress: called while images are read, and while the network evaluates them.

    Raises:
        UsageError: `out` cannot be used, or `data` is a prepared folder.
        DataError: `data` cannot be read at all, or the network knows none of its classes.
    """
    _check_paths(user_path(data), out)
    source = open_source(data, empty_classes=True, labels=labels)
    opened = None if run is None else _open_run_with_classes(source, data, run)
    inspection = inspect(source, progress=progress)
    findings = find(inspection)
    suspects = None if opened is None else doubted_labels(inspection, data, opened, progress)
    images = inspection.images
    squares = {(images[row].split, images[row].index): square for row, square in inspection.looked.items()}
    cues, missing = cues_of_squares(source, squares)
    examination = Examination(data, out, inspection, findings, suspects, cues, missing, labels)
    with disk_errors(f"writing {out}"):
        out.mkdir(parents=True, exist_ok=True)
    write_exclusions(out / MANIFEST, findings.excluded)
    text = json.dumps(examination.record(), indent=1, ensure_ascii=False)
    page = doctor_page(Path(data).name or data, inspection, findings, suspects, examination.next_steps(), cues)
    with disk_errors(f"writing {out}"):
        write_file(out / RECORD, text.encode("utf-8", "backslashreplace"))
        write_file(out / PAGE, page.encode("utf-8", "backslashreplace"))
    return examination


def _check_paths(data: Path, out: Path) -> None:
    if (data / PREPARED).is_file():
        raise UsageError(
            f"{data} is a prepared folder, in which all images are squares of one size",
            fix="Give the images that it was made from.",
            code="E282",
        )
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            f"{out} is inside the folder of the images, which is only read",
            fix="Choose a folder outside of it with --out.",
            code="E281",
        )
    if (out / MANIFEST).exists() or (out.exists() and not out.is_dir()):
        raise UsageError(
            f"{out} is a file, or contains an examination whose {MANIFEST} you may have edited",
            fix="Choose a new folder with --out.",
            code="E280",
        )


def _open_run_with_classes(source: Source, data: str, run: Path) -> RunFolder:
    opened = open_run(run)
    if not set(map(nfc, opened.class_names)) & set(map(nfc, source.class_names)):
        raise DataError(
            f"the network of {run} knows none of the classes of {data}: it knows {listed(opened.class_names)}",
            fix="Leave out --run, or give a run that was trained on these classes.",
            code="E385",
        )
    return opened


def doubted_labels(
    inspection: Inspection, data: str, opened: RunFolder, progress: ProgressCallback = silent
) -> tuple[Suspect, ...]:
    """Checks the label of every readable image with the best network of a run, by its scaled probabilities of one view.

    Images of classes that the network does not know are skipped. What was trained on is asked of the network without
    its cue, which knows every label that it was fitted to by heart, the wrong ones too.
    """
    source = inspection.source
    outputs = {nfc(name): output for output, name in enumerate(opened.class_names)}
    names = tuple(map(nfc, source.class_names))
    model = load_model(opened)
    whole, temperature = model.cue, temperature_of(opened, model)
    evaluations = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for split, samples in source.splits.items():
            images = [facts for facts in inspection.images if facts.split == split and not facts.error]
            images = [facts for facts in images if names[facts.label] in outputs]
            if not images:
                continue
            labels = np.array([outputs[names[facts.label]] for facts in images], np.int64)
            read = _reader(samples, [facts.index for facts in images], opened.recipe, pool)
            model.cue = None if split == "train" else whole
            probabilities = predict_probabilities(
                model, read, len(images), precision=opened.recipe.precision, progress=progress
            )
            probabilities = scaled(probabilities, temperature if model.cue is whole else 1.0)
            files = tuple(facts.name for facts in images)
            evaluations.append(Evaluation(split, 1, opened.class_names, files, labels, probabilities))
    trained_on_data = opened.data.get("source") in (data, str(user_path(data).resolve()))
    return find_suspects(evaluations, trained_on=trained_on_data)


def _reader(
    samples: Samples, indices: list[int], recipe: Recipe, pool: ThreadPoolExecutor
) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]]:
    """Returns a function that prepares images for the network: (n,) positions in `indices` to (n, size, size, 3)."""
    prepared = partial(prepare_image, size=recipe.prepare_size, whole=recipe.prepare_whole)

    def read(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = [samples.image(indices[i]) for i in positions.tolist()]
        return np.stack(list(pool.map(prepared, images)))

    return read


def _kind(group: Group) -> str:
    if group.leak or group.conflict:
        return "leak" if group.leak else "conflict"
    return "near" if group.difference > 0 or {"nearly the same", "mirrored"} & set(group.how) else "exact"

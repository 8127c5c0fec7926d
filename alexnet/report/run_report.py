"""Writes the HTML report of one run: its errors, how it learned, where it is wrong, and how to repeat it.

The page is one file with its images inside. It needs no network connection, and no script to be readable. The same run
gives the same bytes. Its sections are built in `sections`, its appearance in `html` and `figures`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.cues.measure import Cues
from alexnet.cues.store import read_cues
from alexnet.data.dataset import Prepared
from alexnet.errors import DataError
from alexnet.evaluation.calibration import scaled
from alexnet.evaluation.evaluate import Evaluation, confused_pairs, evaluate, examples_of, worst_mistakes
from alexnet.evaluation.run_calibration import calibration_of
from alexnet.progress import ProgressCallback, silent
from alexnet.report import sections
from alexnet.report.calibration_section import calibration_section
from alexnet.report.cue_section import beside_cues
from alexnet.report.figures import thumbnail
from alexnet.report.good_for import good_for
from alexnet.report.html import page
from alexnet.runs.checkpoint import load_model
from alexnet.runs.metrics import read_epochs
from alexnet.runs.run import RunFolder, sealing
from alexnet.storage.files import disk_errors, parse_json, write_file

WORST = 25


def write_report(
    run: Path,
    evaluations: Sequence[Evaluation],
    images: Callable[[np.ndarray], np.ndarray],
    conv1: np.ndarray,
    raw: Evaluation | None = None,
    cues: Cues | None = None,
    counts: Mapping[str, int] | None = None,
) -> Path:
    """Writes `report.html` into the run folder and returns its path.

    Args:
        run: folder with recipe.json, environment.json and, if they exist, data.json and metrics.jsonl.
        evaluations: the first is shown in detail, all of them in the headline table.
        images: indices (n,) of images of the first evaluation -> uint8 (n, H, W, 3).
        conv1: weights of the first layer (filters, 1 or 3 channels, kh, kw).
        raw: the first evaluation with probabilities as the network gave them, if they were scaled since.
        cues: what simple cues know; None if they were not measured.
        counts: training images of each class; None if they are not known.
    """
    if not evaluations:
        raise ValueError("a report needs at least one evaluation; evaluate the run first")
    recipe, environment = _read_record(run / "recipe.json"), _read_record(run / "environment.json")
    data = _read_record(run / "data.json") if (run / "data.json").exists() else {}
    rows, unreadable = read_epochs(run / "metrics.jsonl")
    shown, names = evaluations[0], [f"<bdi>{escape(name)}</bdi>" for name in evaluations[0].class_names]
    worst = worst_mistakes(shown.labels, shown.probabilities, WORST)
    pairs = confused_pairs(shown.confusion, 10 if len(names) <= sections.MATRIX_CLASSES else 20)
    examples = [examples_of(shown, true, predicted) for true, predicted, _ in pairs]
    indices = np.unique(np.concatenate([worst, *examples]))  # one call requests each image once
    pixels = dict(zip(indices.tolist(), images(indices), strict=True)) if len(indices) else {}

    thumbnails = ["".join(thumbnail(pixels[i], 112, shown.names[i]) for i in group.tolist()) for group in examples]
    parts = {
        "good-for": ("What it is good for", good_for(evaluations, raw, cues, counts)),
        "result": ("Result", sections.headline(evaluations, rows, {**data, **environment})),
        **({} if cues is None else {"cues": ("Beside simple cues", beside_cues(cues, evaluations))}),
        "curves": ("Learning curves", sections.learning_curves(rows, unreadable)),
        "confusion": ("Confused classes", sections.confused_classes(shown.confusion, names, pairs, thumbnails)),
        "probabilities": ("Probabilities", calibration_section(shown, raw)),
        "classes": ("Results per class", sections.per_class(shown.confusion, names)),
        "mistakes": ("Most confident mistakes", sections.mistaken_images(shown, names, worst, pixels)),
        "filters": ("Filters of the first layer", sections.first_layer(conv1, recipe)),
        "recipe": ("Recipe and environment", sections.recipe_and_environment(recipe, data, environment)),
    }
    path = run / "report.html"
    # A file name that is not valid UTF-8 arrives as lone surrogates; only this error handler can write them.
    content = page(f"{recipe.get('name', run.name)}", parts).encode("utf-8", "backslashreplace")
    with disk_errors(f"writing {path}"):
        write_file(path, content)
    return path


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = parse_json(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing", fix="Give a run folder, as `alexnet train` writes it.", code="E327"
        ) from None
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON: {error}", fix="Restore it from a backup, or train again.", code="E328"
        ) from error
    if not isinstance(record, dict):
        raise DataError(
            f"{path} contains a {type(record).__name__}, not a JSON object",
            fix="Restore it from a backup, or train again.",
            code="E328",
        )
    return record


def report_run(
    run: RunFolder, prepared: Prepared, *, device: torch.device | None = None, progress: ProgressCallback = silent
) -> tuple[list[Evaluation], Path]:
    """Evaluates the best network of a run on its held-out images and writes report.html.

    One view is always used, ten views only if the recipe flips training images: five of the ten are flipped, and that
    is no fair test for a network that was never trained on flipped images. The results go to evaluation.json. The first
    evaluation, which the report shows in detail, uses one view on the first of the splits test, val, train that exists.
    """
    model = load_model(run).place(device or torch.device("cpu"))
    splits: list[str] = [name for name in ("test", "val") if name in prepared.splits] or ["train"]
    known = calibration_of(run, model)
    evaluations, raw = [], None
    for split in splits:
        for views in (1, 10) if run.recipe.augment.flip else (1,):
            found = evaluate(
                model,
                prepared,
                split,
                class_names=run.class_names,
                views=views,
                precision=run.recipe.precision,
                progress=progress,
            )
            if known is not None:
                raw = raw or found
                found = replace(found, probabilities=scaled(found.probabilities, known.temperature(views)))
            evaluations.append(found)
    summaries = json.dumps([e.summary() for e in evaluations], indent=1, ensure_ascii=False)
    with sealing(run, "evaluation.json", "report.html"):
        write_file(run.folder / "evaluation.json", summaries.encode())
        conv1 = model.layers.get_parameter("conv1.weight").detach().cpu().numpy()
        numbers = np.bincount(prepared.splits["train"].labels, minlength=len(prepared.class_names)).tolist()
        counts = dict(zip(prepared.class_names, numbers, strict=True))
        cues = read_cues(run)
        page = write_report(run.folder, evaluations, prepared.splits[splits[0]].read, conv1, raw, cues, counts)
    return evaluations, page

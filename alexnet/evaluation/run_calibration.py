"""RUN/calibration.json: what the validation split says of the probabilities of a run, measured once after training.

It holds the temperature, and of every validation image what thresholds are found from. It belongs to certain weights;
with others, and in a run without it, probabilities are as the network gives them and nothing is promised.
"""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from alexnet.data.dataset import Prepared
from alexnet.errors import UntrustedFileError
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.promises import Calibration, ViewCalibration, view_calibration
from alexnet.evaluation.run_distribution import measure_distribution
from alexnet.models.network import Network, fingerprint
from alexnet.progress import ProgressCallback, silent
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import RunFolder, read_sealed, sealing
from alexnet.storage.files import parse_json, write_file
from alexnet.weights.stored import is_temperature

FILE = "calibration.json"
MOST_IMAGES = 2000  # of the validation split that are measured; more say little more


def calibrate_run(
    run: RunFolder, prepared: Prepared, *, device: torch.device | None = None, progress: ProgressCallback = silent
) -> Calibration | None:
    """Measures the best network of a run on its validation split and writes calibration.json; None without a split.

    Then what its training images are like is measured and written as well, see `run_distribution`.

    Ten views are measured if the recipe flips training images, as in the report.
    """
    if "val" not in prepared.splits:
        return None
    model = load_model(run).to(device or torch.device("cpu"))
    split = prepared.splits["val"]
    # The images are drawn, since neighbors in the split are of one class.
    chosen = np.sort(np.random.default_rng(0).permutation(len(split))[:MOST_IMAGES])
    by_views = {}
    for views in (1, 10) if run.recipe.augment.flip else (1,):
        found = evaluate(
            model,
            prepared,
            "val",
            class_names=run.class_names,
            views=views,
            precision=run.recipe.precision,
            progress=progress,
            images=chosen,
        )
        by_views[views] = view_calibration(found.probabilities, found.labels)
    calibration = Calibration(fingerprint(model), by_views)
    record = {
        "weights": calibration.weights,
        "split": "val",
        "images": len(chosen),
        "views": {str(views): asdict(each) for views, each in by_views.items()},
    }
    with sealing(run, FILE):
        write_file(run.folder / FILE, json.dumps(record, indent=1).encode())
    measure_distribution(run, model, prepared, progress)
    return calibration


def calibration_of(run: RunFolder, model: Network) -> Calibration | None:
    """Reads the calibration of a run; None if there is none, or it is of other weights than these.

    Of weights that `alexnet export` wrote only the temperature is known.

    Raises:
        UntrustedFileError: E651, the file is damaged.
    """
    content = read_sealed(run, FILE)
    if content is None:
        known = run.data.get("imported", {}).get("temperature")
        return None if known is None else Calibration("", {1: ViewCalibration(float(known), (), (), ())})
    try:
        record: dict[str, Any] = parse_json(content)
        by_views = {
            int(views): ViewCalibration(
                float(each["temperature"]),
                tuple(map(float, each["confidence"])),
                tuple(map(bool, each["right"])),
                tuple(map(float, each["true_class"])),
            )
            for views, each in record["views"].items()
        }
        calibration = Calibration(str(record["weights"]), by_views)
        usable = 1 in by_views and all(is_temperature(each.temperature) for each in by_views.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        usable = False
    if not usable:
        raise UntrustedFileError(
            f"{run.folder / FILE} is not of a form that this version reads",
            fix="Remove it; then probabilities are as the network gives them.",
            code="E651",
        )
    return calibration if calibration.weights == fingerprint(model) else None


def temperature_of(run: RunFolder, model: Network, views: int = 1) -> float:
    """The temperature for answers from so many views of a run; 1 if none was fitted for these weights."""
    known = calibration_of(run, model)
    return 1.0 if known is None else known.temperature(views)

"""What averaging five networks gains (section 6.1 of the paper: 18.2 % to 16.4 % top-5 error).

python -m studies.paper.ensemble PHOTOS [--together 2]

PHOTOS has train/, validation/ and test/ with class folders. Five seeds of the base of ingredients_photos.py,
with equal weights and with weights found on validation; test is reported. The rows named "together" are no runs:
their settings are the runs that they combine.

About 3 minutes of one core (Xeon, Sapphire Rapids).
"""

import sys

import torch

from alexnet.evaluation.compare import evaluate_runs, open_runs
from alexnet.evaluation.ensemble import Ensemble, combine, find_weights
from alexnet.experiments import results, runner
from alexnet.experiments.runner import Job
from alexnet.storage.files import append
from studies.paper import ingredients_photos, study
from studies.paper.study import Options

MEMBERS = 5


def runs(options: Options) -> list[Job]:
    """The members; their folders are kept until they were combined."""
    changes = list(ingredients_photos.SCHEDULE)
    return [
        options.job(options.folders[0], "small-photos", "member", changes, seed, keep=True)
        for seed in range(options.seeds)
    ]


def combined(options: Options, views: int) -> tuple[Ensemble, Ensemble]:
    """The members together: with equal weights, and with weights found on validation."""
    opened, prepared = open_runs([runner.run_folder(job, options.runs) for job in runs(options)])
    look = {split: evaluate_runs(opened, prepared, split, views=views, checkpoint="last") for split in ("val", "test")}
    return combine(look["test"]), combine(look["test"], find_weights(look["val"]))


def main() -> None:
    """Trains what is missing, then combines."""
    options = study.main("ensemble", __doc__ or "", ["photos"], [runs], seeds=MEMBERS)
    members = options.done(runs(options))
    settings = {"together": [results.row_key(row) for row in members]}
    if any(row["settings"] == settings for row in results.read(options.out)):
        return
    if not all(runner.run_folder(job, options.runs).is_dir() for job in runs(options)):
        print(f"the run folders are gone; remove {options.out} to train them again", file=sys.stderr)
        sys.exit(2)
    torch.set_num_threads(1)
    for views in (1, 10):
        equal, weighted = combined(options, views)
        for name, result in (("together", equal), ("together, weighted", weighted)):
            found = result.combined.summary()
            figures = {key: round(found[key], 5) for key in ("top1_error", "top5_error", "log_loss")}
            shared = {key: members[0][key] for key in ("study", "data", "environment", "commit", "date")}
            row = {
                **shared,
                "base": "small-photos",
                "variant": name,
                "changes": [],
                "seed": None,
                "settings": settings,
                "outcome": "finished",
                "results": {"test": {str(views): figures}},
                "curve": [],
                "seconds": None,
                "until_train_error": None,
                "notes": [],
                "weights": [round(w, 3) for w in result.weights],
                "command": f"alexnet ensemble RUN ... --views {views}{' --weights-on val' * (name != 'together')}",
            }
            append(options.out, row)


if __name__ == "__main__":
    main()

"""Does the network of 2012 leave the plateau with the start values of its source, and stay on it with the paper's?

python -m studies.paper.will_it_train PHOTOS [--epochs 20] [--seeds 0 1 2]

Net 145 at full width, so that every fan-in is that of 2012, on smaller images (67 pixels cut from 77), with its own
rate of 0.01 held constant, batches of 128, dropout and augmentation. The plateau is the entropy of the class
frequencies: what a network loses that has learned how frequent the classes are and nothing about images. Appends to
results/will_it_train.jsonl, whose rows have a form of their own.

About 25 minutes of two cores (Xeon, Sapphire Rapids).
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from alexnet.api.bars import TrainingBars
from alexnet.data.open import open_images
from alexnet.experiments import results
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import override
from alexnet.runs.environment import commit, environment
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import create_run
from alexnet.storage.files import append
from alexnet.training.loop import train
from alexnet.training.plan import Plan
from harness import ROOT

STARTS = {
    "source: sigma .03 in conv3-5, biases 1": ["init=source"],
    "paper: sigma .01, biases 1": ["init=paper"],
    "paper, biases .1": ["init=paper", "bias=0.1"],
    "paper, biases 0": ["init=paper", "bias=0"],
    "Caffe: fc sigma .005, biases .1": ["init=caffe", "bias=0.1"],
}
COMMON = [
    *("prepare_size=77", "crop_size=67", "schedule=constant", "conv1_freeze_epoch=none", "reshuffle=true"),
    *("color_noise_until=none", "evaluate_every=10"),
]


def leaves(losses: list[float], plateau: float) -> int | None:
    """The first epoch from which on the loss stays more than 5 % below the plateau."""
    low = [loss < 0.95 * plateau for loss in losses]
    return next((i + 1 for i in range(len(low)) if all(low[i:])), None)


def main() -> None:
    """Runs every start with every seed; what a file of results holds already is not run again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--starts", nargs="+", default=list(STARTS)[:2])
    parser.add_argument("--out", type=Path, default=ROOT / "results/will_it_train.jsonl")
    parser.add_argument("changes", nargs="*", help="fields of the recipe to change for all")
    options = parser.parse_args()
    done = {(run["start"], run["seed"]) for run in results.read(options.out)}
    for seed in options.seeds:
        for start in options.starts:
            if (start, seed) in done:
                continue
            changes = [*COMMON, f"epochs={options.epochs}", f"seed={seed}", *STARTS[start], *options.changes]
            recipe = override(find_recipe("alexnet-2012"), changes)
            prepared = open_images(options.photos, recipe.prepare_size)
            recipe = override(recipe, [f"num_classes={len(prepared.class_names)}"])
            counts = np.bincount(prepared.splits["train"].labels)
            plateau = float(-(counts / counts.sum() * np.log(counts / counts.sum())).sum())
            print(f"{start}, seed {seed}; plateau {plateau:.4f}, ln {math.log(len(counts)):.4f}", flush=True)
            check = Plan(recipe, recipe, prepared, torch.device("cpu")).check()
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                run = create_run(Path(folder) / "run", recipe, prepared.class_names, {"fingerprint": ""})
                with TrainingBars() as shown:
                    train(run, prepared, device=torch.device("cpu"), monitor=shown)
                rows = [row for row in read_metrics(run) if row["kind"] == "epoch"]
                notes = [row["text"] for row in read_metrics(run) if row["kind"] == "note"]
            losses = [row["train_loss"] for row in rows]
            append(
                options.out,
                {
                    "study": "will_it_train",
                    "start": start,
                    "seed": seed,
                    "plateau": plateau,
                    "leaves_plateau_in_epoch": leaves(losses, plateau),
                    "last_loss": losses[-1],
                    "last_val_top1_error": rows[-1]["val_top1_error"],
                    "losses": [round(loss, 4) for loss in losses],
                    "signal": {layer.name: layer.spread for layer in check.layers},
                    "verdicts": [verdict.text for verdict in check.verdicts],
                    "notes": notes,
                    "changes": changes,
                    "minutes": (time.monotonic() - began) / 60,
                    "commit": commit(),
                    "environment": {name: value for name, value in environment().items() if name != "command"},
                },
            )


if __name__ == "__main__":
    main()

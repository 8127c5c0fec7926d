"""How wide a network and how many epochs for one time: the trials behind the default of `alexnet train PHOTOS`.

    OMP_NUM_THREADS=1 python benchmarks/photo_trials.py CLOTHING [--only NAME ...]

Three tenths of the training and validation images, drawn with seed 0, are asked about a network that trains on the
others; the test images are not touched. Every trial is `alexnet train SPLIT seed=0 CHANGES`; the epochs were set so
that all take about the same time, or half of it. A row for each goes to benchmarks/results/photo_trials.jsonl; what
it holds is not done again. The rows of commit f649d7f are of before `prepare_whole`: images were cut, or stretched
before training.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import alexnet
from alexnet.runs.environment import commit, environment
from alexnet.storage.files import append, read_rows

RESULTS = Path(__file__).parent / "results" / "photo_trials.jsonl"
ASKED = 0.3  # of the images
SMALL = ("growing_crops=[[0,64],[0.4,96],[0.8,128]]", "model.crop_size=128", "model.test_size=128")
MIDDLE = ("growing_crops=[[0,80],[0.4,96],[0.8,112]]", "model.crop_size=112", "model.test_size=112")
TRIALS: Mapping[str, tuple[str, ...]] = {
    "wide": ("epochs=30", "prepare_whole=false"),
    "wide, whole images": ("epochs=30", "prepare_whole=true"),
    "0.7 wide": ("epochs=55", "model.width=0.7", "prepare_whole=false"),
    "half as wide": ("epochs=82", "model.width=0.5", "prepare_whole=false"),
    "wide, small crops": ("epochs=53", *SMALL, "prepare_whole=false"),
    "half as wide, whole images": ("epochs=82", "model.width=0.5"),
    "0.35 wide, whole images": ("epochs=120", "model.width=0.35"),
    "0.35 wide, whole images, half the time": ("epochs=60", "model.width=0.35"),
    "half as wide, whole images, dropout of 0.2": ("epochs=82", "model.width=0.5", "model.dropout=0.2"),
    "half as wide, whole images, twice the rate": ("epochs=82", "model.width=0.5", "optim.lr=0.004"),
    "half as wide, whole images, dropout of 0.2, twice the rate": (
        "epochs=82",
        "model.width=0.5",
        "model.dropout=0.2",
        "optim.lr=0.004",
    ),
    "half as wide, whole images, dropout of 0.2, half the mixing": (
        "epochs=82",
        "model.width=0.5",
        "model.dropout=0.2",
        "augment.mixup=0.25",
        "augment.cutmix=0.25",
    ),
    "half as wide, whole images, middle crops, half the time": ("epochs=60", "model.width=0.5", *MIDDLE),
    "0.35 wide, whole images, middle crops, half the time": ("epochs=85", "model.width=0.35", *MIDDLE),
    "a quarter as wide, whole images, half the time": ("epochs=75", "model.width=0.25"),
}


def divide(clothing: Path, out: Path) -> Path:
    """Links the training and validation images into train/ and val/ of a new folder."""
    draws = random.Random(0)
    for part in ("train", "validation"):
        for folder in sorted((clothing / part).iterdir()):
            for file in sorted(folder.iterdir()):
                place = out / ("val" if draws.random() < ASKED else "train") / folder.name
                place.mkdir(parents=True, exist_ok=True)
                os.link(file, place / f"{part}-{file.name}")
    return out


def trial(split: Path, name: str, out: Path) -> dict[str, Any]:
    """Trains one network, and measures it with and without what simple cues add."""
    changes = ("seed=0", *TRIALS[name])
    began = time.process_time()
    run = alexnet.train(split, changes=changes, out=out, device="cpu")
    seconds = time.process_time() - began
    model = alexnet.load(run.folder, device="cpu")
    found = model.evaluate(split="val")
    cue, model.network.cue = model.network.cue, None
    alone = model.evaluate(split="val", raw=True)
    return {
        "name": name,
        "command": f"alexnet train SPLIT {' '.join(changes)}",
        "images": found.count,
        "accuracy": round(100 * (1 - found.top1_error), 1),
        "accuracy_without_cues": round(100 * (1 - alone.top1_error), 1),
        "cues": cue is not None,
        "log_loss": round(found.log_loss, 3),
        "processor_seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "processor": environment()["processor"],
        "commit": commit(["benchmarks/results"]),
    }


def main() -> None:
    """Does what the result file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clothing", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    done = {row["name"] for row in read_rows(arguments.out)[0]}
    # Beside the images, since a link cannot lead to another disk.
    with tempfile.TemporaryDirectory(dir=arguments.clothing.parent) as folder:
        split = divide(arguments.clothing, Path(folder) / "split")
        for name in arguments.only:
            if name not in done:
                append(arguments.out, trial(split, name, Path(folder) / f"run-{name.replace(', ', '-')}"))


if __name__ == "__main__":
    main()

"""Does `alexnet check` predict which networks train? Predicted against found, over activations, starts and optimizers.

python -m studies.paper.check_calibration CIFAR10 [--only digits] [--out FILE]

CIFAR10 has train/ and test/ with class folders; of it every 25th training and every 20th test image are used. The other
images are the handwritten digits that scikit-learn brings. Networks are small, so that one run takes seconds: AlexNet
with all layers at an eighth of the width, LeNet, and the network of 18 % of cuda-convnet at a quarter. Every run takes
STEPS steps at a constant learning rate, without augmentation. It "trains" if its error on the validation images is
below that of answering the most frequent class, with a probability below SIGNIFICANT that this is chance (one-sided
binomial test).

Rows have a form of their own: the numbers of the check before the first step, from which its verdicts can be computed
again, and what was found. A row that is there is not computed again, so the study can be stopped at any moment.

About 15 minutes of one core (Xeon, Sapphire Rapids).
"""

import argparse
import itertools
import math
import os
import shlex
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a run has one thread

import torch

from alexnet.data.dataset import Prepared, validation_split
from alexnet.data.open import open_images
from alexnet.errors import DivergedError
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe, for_classes, override
from alexnet.rng import uniform
from alexnet.runs.environment import commit, environment
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import create_run
from alexnet.storage.files import append, read_rows
from alexnet.training.loop import train
from alexnet.training.plan import Plan
from harness import ROOT
from studies.paper.study import subset

OUT = ROOT / "results/check_calibration.jsonl"
STEPS, BATCH = 300, 32  # about eight epochs of the digits
SIGNIFICANT = 0.001
SUBSET = {"train": 25, "test": 20}  # every n-th image of CIFAR-10
COMMON = ("schedule=constant", "conv1_freeze_epoch=none", f"batch_size={BATCH}", "label_smoothing=0")
PLAIN = ("view=center", "flip=false", "color_noise=0", "prepare_size=32", "evaluate_every=1000000")
SMALL = {"demo": ("crop_size=28", "conv1_stride=2", "dropout=0.2"), "lenet": (), "cifar-18pct": ("width=0.25",)}
ACTIVATIONS = ("relu", "tanh", "sigmoid")
UPDATES = ("sgd-2012 0.01", "adamw 0.002")
RATES = ("sgd-2012 0.1", "sgd-2012 1e-05", "adamw 0.1", "adamw 1e-06")  # too high, too low


@dataclass(frozen=True)
class Case:
    """One run of the table."""

    data: str  # digits or cifar10
    base: str
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        return " ".join((self.data, self.base, *self.changes))


def cases() -> list[Case]:
    """All runs, in an order that is random but fixed, so that every beginning of it is a sample of the whole."""
    variants: list[tuple[str, tuple[str, ...]]] = []
    for activation, init, update in itertools.product(ACTIVATIONS, ("source", "paper", "xavier", "kaiming"), UPDATES):
        variants += [("demo", (f"activation={activation}", f"init={init}", *_update(update)))]
    for activation, update in itertools.product(ACTIVATIONS, UPDATES):
        variants += [("demo", (f"activation={activation}", "norm=batch", *_update(update)))]
        variants += [("lenet", (f"activation={activation}", *_update(update)))]
    for activation, update in itertools.product(("relu", "sigmoid"), RATES):
        variants += [("demo", (f"activation={activation}", *_update(update)))]
    for activation, init, update in itertools.product(
        ACTIVATIONS, ("source", "xavier"), ("sgd-2012 0.001", "adamw 0.002")
    ):
        variants += [("cifar-18pct", (f"activation={activation}", f"init={init}", "layer_decay=[]", *_update(update)))]
    every = [Case(data, base, changes) for data in ("digits", "cifar10") for base, changes in variants]
    order = [float(uniform(0, 0, [i], 0)[0, 0]) for i in range(len(every))]
    return [case for _, case in sorted(zip(order, every, strict=True), key=lambda pair: pair[0])]


def _update(text: str) -> tuple[str, str]:
    algorithm, rate = text.split()
    return f"algorithm={algorithm}", f"lr={rate}"


def recipe_of(case: Case, classes: int = 10) -> Recipe:
    """The recipe of a run; its epochs do not matter to a check."""
    return for_classes(override(find_recipe(case.base), changes_of(case)), classes)


def binomial_tail(wrong: int, count: int, share: float) -> float:
    """The probability of at most `wrong` errors among `count` images, each an error with probability `share`."""
    if share >= 1:
        return float(wrong >= count)
    logs = (
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(share) + (count - k) * math.log1p(-share)
        for k in range(wrong + 1)
    )  # fmt: skip
    return min(1.0, math.fsum(math.exp(log) for log in logs))


def run(case: Case, prepared: Prepared, seed: int) -> dict[str, Any]:
    """Checks and trains one network; the row."""
    recipe = override(recipe_of(case, len(prepared.class_names)), [f"seed={seed}"])
    per_epoch = math.ceil(len(prepared.splits["train"]) / BATCH)
    recipe = override(recipe, [f"epochs={math.ceil(STEPS / per_epoch)}"])
    check = Plan(recipe, recipe, prepared, torch.device("cpu")).check()
    began, error, losses, stopped = time.monotonic(), None, [], ""
    with tempfile.TemporaryDirectory() as folder:
        record = create_run(Path(folder) / "run", recipe, prepared.class_names, {"fingerprint": ""})
        try:
            train(record, prepared, device=torch.device("cpu"))
        except DivergedError as failure:
            stopped = failure.code
        rows = [row for row in read_metrics(record) if row["kind"] == "epoch"]
        losses = [row["train_loss"] for row in rows]
        error = rows[-1].get("val_top1_error") if rows and not stopped else None
    labels = prepared.splits[validation_split(prepared)].labels
    count = len(labels)
    majority = max(int((labels == label).sum()) for label in range(len(prepared.class_names)))
    wrong = count if error is None else round(error * count)
    p = binomial_tail(wrong, count, 1 - majority / count)
    numbers = asdict(check)
    del numbers["verdicts"]
    return {
        "study": "check_calibration",
        "case": case.name,
        "seed": seed,
        "check": numbers,
        "val_wrong": wrong,
        "val_count": count,
        "majority": majority,
        "p": p,
        "trains": p < SIGNIFICANT,
        "stopped": stopped,
        "losses": [round(loss, 4) for loss in losses],
        "seconds": round(time.monotonic() - began, 1),
        "command": shlex.join(["alexnet", "check", "DATA", "--recipe", case.base, *changes_of(case), f"seed={seed}"]),
        "commit": commit(),
        "environment": {name: value for name, value in environment().items() if name != "command"},
    }


def changes_of(case: Case) -> list[str]:
    """The fields as one types them."""
    return [*PLAIN, *COMMON, *SMALL[case.base], *case.changes]


def main() -> None:
    """Runs every case; what the file of results holds already is not run again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10")
    parser.add_argument("--only", choices=["digits", "cifar10"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = {(row["case"], row["seed"]) for row in read_rows(options.out)[0]}
    folders = {"digits": "digits", "cifar10": subset(str(Path(options.cifar10).resolve()), SUBSET)}
    waiting = [case for case in cases() if (case.name, options.seed) not in done and options.only in (None, case.data)]
    opened = {data: open_images(folders[data], 32) for data in {case.data for case in waiting}}
    for left, case in zip(range(len(waiting) - 1, -1, -1), waiting, strict=True):
        row = run(case, opened[case.data], options.seed)
        append(options.out, row)
        print(f"{case.name}: {row['val_wrong']}/{row['val_count']} wrong, {row['seconds']} s; {left} left", flush=True)
    print("python -m studies.claims.check_page writes docs/check.md from these rows")


if __name__ == "__main__":
    main()

"""The photos recipe beside torchvision's alexnet with its usual recipes: same images, same time, same machine.

    python benchmarks/photos.py PHOTOS [--seeds 0 1 2] [--out benchmarks/results/photos.json]

PHOTOS is a folder with train/, validation/ and test/. First `alexnet train PHOTOS` runs for every seed with nothing
changed; then torchvision's network trains with each recipe for as long as our runs took on average, its learning rate
going down a cosine over that time. `validation` chooses (our checkpoint, their recipe), `test` is only reported. Runs
that the result file holds already are not done again.

`minutes` of our runs is the processor time of the process divided by its threads: what the clock shows on a quiet
machine, and what it would have shown on one that was busy or stopped in between (`clock_minutes` is what it did show).
For torchvision's network it is the time on the clock, with the two processes that load its images.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import alexnet as torchvision_alexnet
from torchvision.transforms import v2

from alexnet.cli.terminal import TrainingMonitor
from alexnet.data.open import open_images
from alexnet.evaluation.evaluate import top_k_error
from alexnet.kernels.device import choose_device
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import override
from alexnet.report.run_report import report_run
from alexnet.runs.environment import environment
from alexnet.runs.start import start_run
from alexnet.training.loop import train

Optimiser = Callable[[Any], torch.optim.Optimizer]
BASELINES: dict[str, Optimiser] = {
    "SGD 0.01, momentum 0.9, decay 5e-4": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=5e-4),
    "Adam 1e-4": lambda p: torch.optim.Adam(p, lr=1e-4),
    "Adam 3e-4": lambda p: torch.optim.Adam(p, lr=3e-4),
}
OURS, THEIRS = "alexnet train PHOTOS", "torchvision alexnet"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ours(photos: str, seed: int, out: Path, *changes: str) -> dict[str, Any]:
    """One run of `alexnet train PHOTOS seed=SEED CHANGES` and its figures."""
    recipe = override(find_recipe("photos"), [f"seed={seed}", *changes])
    prepared = open_images(photos, recipe.prepare_size, whole=recipe.prepare_whole)
    run = start_run(out, recipe, photos, prepared)
    clock, processor = time.monotonic(), time.process_time()
    with TrainingMonitor() as monitor:
        train(run, prepared, device=choose_device("cpu"), monitor=monitor)
    clock, processor = time.monotonic() - clock, time.process_time() - processor
    evaluations, _ = report_run(run, prepared)
    return {
        "name": OURS,
        "seed": seed,
        "epochs": recipe.epochs,
        "minutes": processor / torch.get_num_threads() / 60,
        "clock_minutes": clock / 60,
        "accuracy": {f"{e.split}, {e.views} view{'s' * (e.views > 1)}": 1 - e.top1_error for e in evaluations},
        "curve": [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()],
    }


def theirs(photos: str, name: str, minutes: float, seed: int, *, look_every: int = 0) -> dict[str, Any]:
    """torchvision's alexnet from scratch on the photos as they are, for a fixed time.

    Args:
        look_every: epochs between two looks at the validation images, whose time does not count; 0: none.
    """
    torch.manual_seed(seed)
    pixels = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    augment = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *pixels])
    data = ImageFolder(f"{photos}/train", augment)
    loader = DataLoader(data, batch_size=128, shuffle=True, num_workers=2, drop_last=True)
    model = torchvision_alexnet(num_classes=len(data.classes))
    optimizer = BASELINES[name](model.parameters())
    start_rate = optimizer.param_groups[0]["lr"]
    seconds = minutes * 60
    clock = time.monotonic()
    spent, epochs, curve, loss_sum = 0.0, 0, [], 0.0
    while spent < seconds:
        model.train()
        for images, labels in loader:
            spent = time.monotonic() - clock
            if spent >= seconds:
                break
            for group in optimizer.param_groups:
                group["lr"] = start_rate * 0.5 * (1 + math.cos(math.pi * spent / seconds))
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
        epochs += 1
        curve.append({"epoch": epochs, "minutes": spent / 60, "train_loss": loss_sum / len(loader)})
        loss_sum = 0.0
        if look_every and epochs % look_every == 0:
            looked = time.monotonic()
            curve[-1]["val_accuracy"] = score(model, f"{photos}/validation", pixels, 1)
            clock += time.monotonic() - looked
        print(f"  {name}: {spent / 60:.1f} of {minutes:.1f} minutes, loss {curve[-1]['train_loss']:.3f}", flush=True)
    accuracy = {}
    for split, folder in (("val", "validation"), ("test", "test")):
        for views in (1, 10):
            accuracy[f"{split}, {views} view{'s' * (views > 1)}"] = score(model, f"{photos}/{folder}", pixels, views)
    return {
        "name": f"{THEIRS}, {name}",
        "seed": seed,
        "epochs": epochs,
        "minutes": spent / 60,
        "clock_minutes": spent / 60,
        "accuracy": accuracy,
        "curve": curve,
    }


@torch.inference_mode()
def score(model: torch.nn.Module, folder: str, pixels: list[Any], views: int) -> float:
    """Accuracy from the centre or from ten crops of 224 of an image with shorter side 256."""
    crops: Callable[[Any], list[Any]] = v2.TenCrop(224) if views == 10 else lambda image: [v2.CenterCrop(224)(image)]
    view = v2.Compose(pixels)

    def stack(image: Any) -> Tensor:
        return torch.stack([view(crop) for crop in crops(v2.Resize(256)(image))])

    data = ImageFolder(folder, stack)
    model.eval()
    answers = [
        torch.softmax(model(images.flatten(0, 1)), 1).view(len(images), views, -1).mean(1)
        for images, _ in DataLoader(data, batch_size=16)
    ]
    return 1 - top_k_error(torch.cat(answers).numpy(), np.array(data.targets), 1)


def main() -> None:
    """Runs everything and writes one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/photos.json"))
    arguments = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    record: dict[str, Any] = {
        "command": f"python benchmarks/photos.py PHOTOS --seeds {' '.join(map(str, arguments.seeds))}",
        "cores": os.cpu_count(),
        "environment": environment() | {"command": "", "platform": platform.machine()},
        "runs": [],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    if arguments.out.exists():
        record["runs"] = json.loads(arguments.out.read_text())["runs"]
    done = {(run["name"], run["seed"]) for run in record["runs"]}

    def add(run: dict[str, Any]) -> None:
        record["runs"].append(run | {"commit": commit.stdout.strip(), "date": time.strftime("%Y-%m-%d")})
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
        shown = ", ".join(f"{k} {100 * v:.1f} %" for k, v in run["accuracy"].items())
        print(f"{run['name']}, seed {run['seed']}, {run['minutes']:.1f} minutes: {shown}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            if (OURS, seed) not in done:
                add(ours(arguments.photos, seed, Path(folder) / f"seed-{seed}"))
    minutes = statistics.mean(run["minutes"] for run in record["runs"] if run["name"] == OURS)
    for name in BASELINES:
        if (f"{THEIRS}, {name}", arguments.seeds[0]) not in done:
            add(theirs(arguments.photos, name, minutes, arguments.seeds[0]))


if __name__ == "__main__":
    sys.exit(main())

"""Accuracy against minutes: the photos recipe cut short, beside torchvision's alexnet and its best usual recipe.

    python benchmarks/time_to_accuracy.py PHOTOS [--seeds 0 1 2] [--epochs 22]

PHOTOS as for benchmarks/photos.py. torchvision's network gets 20 minutes with Adam 1e-4, the best of its three recipes
by validation in results/photos.json; `alexnet train PHOTOS epochs=22 evaluate_every=2` runs for every seed. Time on the
clock of a machine that does nothing else; the looks at the validation images count for us, not for them. Writes
benchmarks/results/time_to_accuracy.json and, with the curves, benchmarks/results/time_to_accuracy.svg.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from photos import THEIRS, ours, theirs

from alexnet.report.plotting import matplotlib, new_figure
from alexnet.runs.environment import environment

RESULTS = Path(__file__).parent / "results"
BASELINE = "Adam 1e-4"


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Validation accuracy against minutes, one line a run."""
    matplotlib().rcParams["svg.fonttype"] = "none"
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    for run in runs:
        points = [p for p in run["curve"] if "val_accuracy" in p]
        color = "tab:blue" if run["name"] != f"{THEIRS}, {BASELINE}" else "tab:orange"
        label = run["name"] if run["seed"] == 0 else None
        axes.plot([p["minutes"] for p in points], [100 * p["val_accuracy"] for p in points], color=color, label=label)
    axes.set(xlabel="minutes of training", ylabel="validation accuracy, %", ylim=(0, 100), xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """Runs what the result file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=22)
    parser.add_argument("--minutes", type=float, default=20.0)
    arguments = parser.parse_args()
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    path = RESULTS / "time_to_accuracy.json"
    record = json.loads(path.read_text()) if path.exists() else {"runs": []}
    record |= {
        "command": "python benchmarks/time_to_accuracy.py PHOTOS",
        "environment": environment() | {"command": ""},
    }

    def add(run: dict[str, Any]) -> None:
        record["runs"].append(run | {"commit": commit, "date": time.strftime("%Y-%m-%d")})
        path.write_text(json.dumps(record, indent=1) + "\n")
        draw(record["runs"], path.with_suffix(".svg"))

    done = {(run["name"], run["seed"]) for run in record["runs"]}
    changes = (f"epochs={arguments.epochs}", "evaluate_every=2")
    name = " ".join(["alexnet train PHOTOS", *changes])
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            if (name, seed) not in done:
                run = ours(arguments.photos, seed, Path(folder) / f"seed-{seed}", *changes)
                rows = [row for row in run["curve"] if row["kind"] == "epoch"]
                run["curve"] = [
                    {"epoch": r["epoch"], "minutes": r["seconds"] / 60}
                    | ({"val_accuracy": 1 - r["val_top1_error"]} if "val_top1_error" in r else {})
                    for r in rows
                ]
                add(run | {"name": name, "minutes": run["clock_minutes"]})
    if (f"{THEIRS}, {BASELINE}", 0) not in done:
        add(theirs(arguments.photos, BASELINE, arguments.minutes, 0, look_every=5))


if __name__ == "__main__":
    main()

"""The main job on pictures that a dependency ships: LeNet and AlexNet on scikit-learn's handwritten digits."""

import shutil
from pathlib import Path

from alexnet.cli.terminal import TrainingMonitor, bars, print_table
from alexnet.data.open import open_images
from alexnet.errors import UsageError
from alexnet.kernels.device import choose_device
from alexnet.recipes.named import DEMO, LENET
from alexnet.report.run_report import report_run
from alexnet.runs.metrics import read_metrics
from alexnet.runs.start import start_run
from alexnet.training.loop import train


def run_demo(out: Path) -> None:
    """Trains both networks on the same split, writes a run folder with a report for each, and prints one table.

    Raises:
        UsageError: if `out` holds something that no demo made.
    """
    networks = {"LeNet": LENET, "AlexNet": DEMO}
    folders = {name: out / name.lower() for name in networks}
    others = (
        {path.name for path in out.iterdir()} - {folder.name for folder in folders.values()} if out.is_dir() else {}
    )
    foreign = [folder for folder in folders.values() if folder.exists() and not (folder / "recipe.json").is_file()]
    if out.is_file() or others or foreign:
        raise UsageError(
            f"{out} holds other files than those of a demo", fix="Choose another folder with --out.", code="E228"
        )
    rows = []
    for name, recipe in networks.items():
        print(f"\n{name}: training on handwritten digits, 8 x 8 pixels enlarged to {recipe.prepare_size}\n")
        prepared = open_images("digits", recipe.prepare_size)
        shutil.rmtree(folders[name], ignore_errors=True)
        run = start_run(folders[name], recipe, "digits", prepared)
        with TrainingMonitor() as monitor:
            network = train(run, prepared, device=choose_device("cpu"), monitor=monitor)
        with bars() as progress:
            evaluations, _ = report_run(run, prepared, progress=progress)
        test = next(e for e in evaluations if e.split == "test" and e.views == 1)
        parameters = sum(p.numel() for p in network.parameters())
        seconds = read_metrics(run)[-1]["seconds"]
        wrong = round(test.top1_error * test.count)
        rows.append(
            (
                name,
                f"{parameters:,}",
                str(recipe.epochs),
                f"{seconds:.0f} s",
                f"{100 * (1 - test.top1_error):.1f} %",
                f"{wrong} of {test.count}",
            )
        )
    print()
    print_table("", ("network", "parameters", "epochs", "time", "test accuracy", "wrong"), rows)
    alexnet = folders["AlexNet"]
    print(f"Look:  {alexnet / 'report.html'}  (open it in a browser)")
    print(f"       alexnet explore {alexnet} {folders['LeNet']}")
    print("Next:  alexnet train PHOTOS          your own pictures, one folder for each class")
    print(f"       alexnet evaluate {alexnet}")
    print("       alexnet summary               the network of 2012, layer by layer")
    print("       alexnet train digits --recipe demo model.norm=none    switch an ingredient off")
    print("       alexnet recipes demo          all that can be changed")

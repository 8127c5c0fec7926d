"""The main job on images that a dependency ships: LeNet and AlexNet on scikit-learn's handwritten digits."""

import shutil
import sys
from pathlib import Path

import alexnet
from alexnet.cli.options import refuse_several
from alexnet.language.choose import choose_language
from alexnet.language.speak import spoken, tell

NETWORKS = {"LeNet": "lenet", "AlexNet": "demo"}  # and their recipes


def demo(*, out: Path = Path("runs/demo")) -> None:
    """Train LeNet and AlexNet on the 1,797 digits that ship with scikit-learn, and compare them. Under 3 minutes.

    For example:
      alexnet demo
      alexnet demo --out /tmp/demo

    Parameters
    ----------
    out
        Folder for the runs of the two networks; what an earlier demo left there is replaced.
    """
    try:
        run_demo(out)
    except alexnet.Interrupted as stopped:
        tell("alexnet: stopped; alexnet demo starts again", stderr=True)
        sys.exit(128 + stopped.signal_number)


def first_lesson() -> str:
    """What opens lesson 1, as it can be typed here: also where `make demo` has installed alexnet, in this language."""
    typed = Path(sys.argv[0])
    known = shutil.which("alexnet") is not None or typed.name != "alexnet"
    language = f" --lang {spoken()}" if spoken() != choose_language() else ""
    return f"{'alexnet' if known else typed} learn 1{language}"


def run_demo(out: Path) -> None:
    """Trains both networks on the same split, writes a run folder with a report for each, and prints one table.

    Raises:
        UsageError: `out` holds something that no demo made.
    """
    from alexnet.cli import tables
    from alexnet.cli.terminal import explain, print_table

    refuse_several("train both networks of the demo")
    folders = {name: out / name.lower() for name in NETWORKS}
    names = {folder.name for folder in folders.values()}
    others = {path.name for path in out.iterdir()} - names if out.is_dir() else set()
    foreign = [folder for folder in folders.values() if folder.exists() and not (folder / "recipe.json").is_file()]
    if out.is_file() or others or foreign:
        raise alexnet.UsageError(
            f"{out} holds other files than those of a demo", fix="Choose another folder with --out.", code="E228"
        )
    rows = []
    for name, recipe in NETWORKS.items():
        size = alexnet.recipe(recipe).prepare_size
        tell(f"\n{name}: training on handwritten digits, 8 x 8 pixels enlarged to {size}\n")
        shutil.rmtree(folders[name], ignore_errors=True)
        run = alexnet.train("digits", recipe=recipe, out=folders[name], device="cpu", progress=True)
        with tables.trained(run.folder):
            evaluations, _ = run.evaluate_and_report(progress=True, device="cpu")
        test = next(e for e in evaluations if e.split == "test" and e.views == 1)
        rows.append(
            (
                name,
                f"{alexnet.summary(run.recipe).parameters:,}",
                str(run.recipe.epochs),
                f"{run.metrics[-1]['seconds']:.0f} s",
                f"{100 * (1 - test.top1_error):.1f} %",
                f"{round(test.top1_error * test.count)} of {test.count}",
            )
        )
    tell()
    print_table("", ("network", "parameters", "epochs", "time", "test accuracy", "errors"), rows)
    explain(
        "Why LeNet keeps up: 8 x 8 pixels hold a few strokes, which two convolutions find as well as five. What the "
        "depth of AlexNet is for, edges, colors and parts of things, is in photos: alexnet explore"
    )
    tell()
    folder = folders["AlexNet"]
    tell(f"Look:  {folder / 'report.html'}  (open it in a browser)")
    tell(f"       alexnet explore {folder} {folders['LeNet']}")
    tell(f"Next:  {first_lesson():29} the first lesson: from LeNet to AlexNet")
    tell("       alexnet train PHOTOS          your own images, one folder for each class")
    tell(f"       alexnet evaluate {folder}")
    tell("       alexnet summary               the network of 2012, layer by layer")
    tell("       alexnet train digits --recipe demo model.norm=none    without LRN")
    tell("       alexnet recipes demo          all that can be changed")

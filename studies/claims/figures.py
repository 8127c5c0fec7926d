"""Draws every figure of the studies anew from their rows: results/*.svg.

python -m studies.claims.figures [--results results]
"""

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from alexnet.experiments import results
from alexnet.experiments.inference import Estimate, Sample, estimate
from alexnet.experiments.page import interval_dot, mean_curve
from alexnet.recipes.ingredients import BASE
from alexnet.report.charts import Curve, Dot, dot_plot, line_chart
from alexnet.runs.metrics import series
from harness import ROOT
from studies.claims import leading, measures
from studies.claims.measures import Rows, Studies
from studies.paper import photos_folds
from studies.paper.evidence import CHOICE, EPOCHS


def figure_1(studies: Studies) -> str:
    """The training error of every run."""
    found = [row for row in studies["figure_1"] if row["until_train_error"] is not None]
    curves = [mean_curve([row["curve"]], "train_top1_error", row["variant"]) for row in found]
    title = "CIFAR-10, four layers, no regularization, each at its own rate"
    level = 100 * found[0]["until_train_error"] if found else None
    return line_chart(title, curves, x_label="epoch", y_label="training error, %", level=level)


def pilot(studies: Studies) -> str:
    """The validation error of the base in every run of the pilot, which chose how many epochs there are."""
    names = {f"{CHOICE}: {epochs} epochs" for epochs in EPOCHS}
    found = [row for row in studies[leading.STUDY] if row["variant"] in names]
    curves = [mean_curve([row["curve"]], "val_top1_error", "base") for row in found]
    title = "The pilot: eight seeds of the base"
    return line_chart(title, curves, x_label="epoch", y_label="validation error, %", zero=False)


def dropout_iterations(studies: Studies) -> str:
    """The training loss of every run, looked at without dropout, and the goal."""
    found = studies["dropout_iterations"]
    curves = []
    for row in found:
        epochs, losses = series(row["curve"], "val_loss")
        curves.append(Curve(row["variant"], tuple(map(float, epochs)), tuple(losses)))
    level = math.log(found[0]["data"]["classes"]) / 2 if found else None
    title = "CIFAR-10, every fifth image: with and without dropout"
    return line_chart(title, curves, x_label="epoch", y_label="training loss", level=level)


def lrn_cifar(studies: Studies) -> str:
    """What it costs to leave normalization out, for each net."""
    found = {base: measures.effect(studies["lrn_cifar"], "no-lrn", base) for base in ("cifar-18pct", "cifar-11pct")}
    return dot_plot("CIFAR-10 without response normalization", _dots(found), x_label="points of error that it adds")


def forest(studies: Studies) -> str:
    """Every ingredient: by the plan on CIFAR-10, and on photos, in five folds once those were looked at."""
    dots = []
    photos = studies["ingredients_photos"]
    for line in leading.LINES:
        where = {"CIFAR-10": measures.effect(studies[leading.STUDY], line.arm)}
        if (in_folds := photos_folds.looked_at(studies["photos_folds"], line.arm)) is not None:
            where["photos in five folds"] = in_folds
        elif line.arm != OWN_RATE:
            where["photos"] = measures.effect(photos, line.arm)
        marks = () if line.paper is None else (("paper", 100 * line.paper),)
        for data, found in where.items():
            if found is not None:
                dots.append(interval_dot(f"{line.arm}, {data}", found, marks))
    for data, gain in (("CIFAR-10", leading.views(studies)), ("photos", _views(photos))):
        if gain is not None:
            dots.append(interval_dot(f"{leading.TEN_VIEWS}, {data}", gain, (("paper", -1.5),)))
    return dot_plot("One ingredient taken out", dots, x_label="points of top-1 error that it adds")


def _views(found: Rows) -> Estimate | None:
    return measures.ten_views([row for row in found if row["variant"] == BASE])


def _dots(found: Mapping[str, Estimate | None]) -> list[Dot]:
    return [interval_dot(name, value) for name, value in found.items() if value is not None]


def ten_views(studies: Studies) -> str:
    """The gain of every network that was trained."""
    found = {}
    for name, gain in measures.view_gains(studies).items():
        short = name.replace("ingredients_", "").replace("small-cifar, ", "").replace("small-photos, ", "")
        found[short] = gain
    return dot_plot("Ten views against one", _dots(found), x_label="points of top-1 error that ten views add")


def overfitting(measure: str, label: str) -> Callable[[Studies], str]:
    """An error against epochs, the mean over seeds, one curve a variant."""

    def figure(studies: Studies) -> str:
        found = studies["overfitting"]
        curves = []
        for variant in dict.fromkeys(row["variant"] for row in found):
            mine = [row["curve"] for row in found if row["variant"] == variant]
            curves.append(mean_curve(mine, measure, variant))
        return line_chart(f"Photos: {label}", [c for c in curves if c.x], x_label="epoch", y_label=f"{label}, %")

    return figure


def will_it_train(studies: Studies) -> str:
    """Loss against epochs, with the plateau."""
    found = studies["will_it_train"]
    curves = [
        Curve(row["start"], tuple(float(i) for i in range(1, len(row["losses"]) + 1)), tuple(row["losses"]))
        for row in found
    ]
    level = found[0]["plateau"] if found else None
    return line_chart("Does it leave the plateau?", curves, x_label="epoch", y_label="training loss", level=level)


def lenet_alexnet(studies: Studies) -> str:
    """The error of every network."""
    return dot_plot("LeNet against AlexNet", _errors(studies["lenet_alexnet"]), x_label="top-1 error, %")


def ensemble(studies: Studies) -> str:
    """Members and what they say together, one view."""
    return dot_plot("Five networks together", _errors(studies["ensemble"]), x_label="top-1 error, %")


def _errors(found: Rows) -> list[Dot]:
    dots = []
    for variant in dict.fromkeys(row["variant"] for row in found):
        mine = [row for row in found if row["variant"] == variant and row["results"]]
        values = [e for row in mine if (e := results.error(row, "top1_error", measures.split_of(mine))) is not None]
        if values:
            value = estimate([(Sample(np.array(values)),)])
            assert value is not None
            low, high = (None if end is None else 100 * end for end in (value.low, value.high))
            dots.append(Dot(variant, 100 * value.effect, low, high, f"{100 * value.effect:.1f} %"))
    return dots


FOREST = "ingredients"
OWN_RATE = "tanh"  # the earlier study of photos asked about it at the rate of ReLU, which is another question
FIGURES: dict[str, Callable[[Studies], str]] = {
    FOREST: forest,
    "pilot": pilot,
    "figure_1": figure_1,
    "dropout_iterations": dropout_iterations,
    "lrn_cifar": lrn_cifar,
    "ten_views": ten_views,
    "overfitting": overfitting("val_top1_error", "held-out error"),
    "overfitting_training": overfitting("train_top1_error", "training error"),
    "will_it_train": will_it_train,
    "lenet_alexnet": lenet_alexnet,
    "ensemble": ensemble,
}


def drawn(figure: str, studies: Studies) -> bool:
    """Whether there are rows that a figure is drawn from."""
    sources = {FOREST: (leading.STUDY, "ingredients_photos"), "pilot": (leading.STUDY,)}
    return any(studies[study] for study in sources.get(figure, (figure.removesuffix("_training"),)))


def draw(folder: Path) -> dict[str, str]:
    """File name -> SVG, for every study that has results."""
    studies = measures.load(folder)
    return {f"{name}.svg": figure(studies) for name, figure in FIGURES.items() if drawn(name, studies)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    folder = parser.parse_args().results
    for file, content in draw(folder).items():
        (folder / file).write_text(content)

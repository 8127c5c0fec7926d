"""Draws every figure of the studies anew from their rows: results/*.svg.

python -m studies.claims.figures [--results results]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from alexnet.evaluation.intervals import mean_interval
from alexnet.experiments import results
from alexnet.experiments.page import effects_plot, interval_dot, mean_curve
from alexnet.report.charts import Curve, Dot, dot_plot, line_chart
from harness import ROOT
from studies.claims import measures
from studies.claims.measures import Rows, Studies


def figure_1(studies: Studies) -> str:
    """The training error of every run."""
    found = [row for row in studies["figure_1"] if row["until_train_error"] is not None]
    curves = [mean_curve([row["curve"]], "train_top1_error", row["variant"]) for row in found]
    title = "CIFAR-10, four layers, no regularisation, each at its own rate"
    level = 100 * found[0]["until_train_error"] if found else None
    return line_chart(title, curves, x_label="epoch", y_label="training error, %", level=level)


def lrn_cifar(studies: Studies) -> str:
    """What it costs to leave normalisation out, for each net."""
    dots = []
    for base in dict.fromkeys(row["base"] for row in studies["lrn_cifar"]):
        found = measures.effect(studies["lrn_cifar"], "no-lrn", base)
        if found and "top1_error" in found.differences:
            dots.append(interval_dot(base, found.differences["top1_error"]))
    return dot_plot("CIFAR-10 without response normalisation", dots, x_label="points of error that it adds")


def ingredients(study: str, title: str) -> Callable[[Studies], str]:
    """The effects of a study of ingredients."""
    return lambda studies: effects_plot(measures.effects_of(studies[study]), "top1_error", title)


def ten_views(studies: Studies) -> str:
    """The gain of every network that was trained."""
    gains = {name: found["top1_error"] for name, found in measures.view_gains(studies).items()}
    short = {
        name.replace("ingredients_", "").replace("small-cifar, ", "").replace("small-photos, ", ""): v
        for name, v in gains.items()
    }
    dots = [interval_dot(name, value) for name, value in short.items()]
    return dot_plot("Ten views against one", dots, x_label="points of top-1 error that ten views add")


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
            value = mean_interval(values)
            text = f"{100 * value.mean:.1f} %"
            low, high = (None if end is None else 100 * end for end in (value.low, value.high))
            dots.append(Dot(variant, 100 * value.mean, low, high, text))
    return dots


FIGURES: dict[str, Callable[[Studies], str]] = {
    "figure_1": figure_1,
    "lrn_cifar": lrn_cifar,
    "ingredients_cifar": ingredients("ingredients_cifar", "Reduced AlexNet, CIFAR-10"),
    "ingredients_photos": ingredients("ingredients_photos", "Reduced AlexNet, photos"),
    "ten_views": ten_views,
    "overfitting": overfitting("val_top1_error", "held-out error"),
    "overfitting_training": overfitting("train_top1_error", "training error"),
    "will_it_train": will_it_train,
    "lenet_alexnet": lenet_alexnet,
    "ensemble": ensemble,
}


def study_of(figure: str) -> str:
    """The study whose rows a figure is drawn from."""
    return figure.removesuffix("_training")


def draw(folder: Path) -> dict[str, str]:
    """File name -> SVG, for every study that has results."""
    studies = measures.load(folder)
    return {f"{name}.svg": figure(studies) for name, figure in FIGURES.items() if studies[study_of(name)]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    folder = parser.parse_args().results
    for file, content in draw(folder).items():
        (folder / file).write_text(content)

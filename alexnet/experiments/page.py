"""The HTML pages of experiments: the effects of an ablation, and a comparison of runs; each is one file."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.evaluation.compare import Pair
from alexnet.evaluation.evaluate import Evaluation
from alexnet.experiments.ablation import Effect, claimed, counts, interval, one_run, remarks, verdict
from alexnet.experiments.inference import Estimate
from alexnet.experiments.results import Row
from alexnet.recipes.ingredients import BASE
from alexnet.report.charts import Curve, Dot, dot_plot, line_chart
from alexnet.report.figures import thumbnail
from alexnet.report.html import page, percent, plain, plural, table, value_table
from alexnet.runs.metrics import Rows, series
from alexnet.storage.files import disk_errors, write_file

MEASURES = {"top1_error": "top-1 error", "top5_error": "top-5 error", "train_error": "training error"}
CURVES_SHOWN = 8


def effects_plot(effects: Sequence[Effect], measure: str, title: str) -> str:
    """Draws one measure of all variants as SVG: dots with intervals, and the values of the paper and its notebook."""
    dots = []
    for effect in effects:
        value = effect.found.get(measure)
        if value is None:
            continue
        ingredient = effect.ingredient
        marks = []
        for kind, points in (("paper", ingredient.paper), ("2012", ingredient.notebook)) if ingredient else ():
            published = None if points is None else {"top1_error": points.top1, "top5_error": points.top5}.get(measure)
            if published is not None:
                marks.append((kind, published))
        dots.append(interval_dot(effect.variant, value, tuple(marks)))
    return dot_plot(title, dots, x_label=f"points of {MEASURES[measure]} that the change adds")


def interval_dot(name: str, value: Estimate, marks: tuple[tuple[str, float], ...] = ()) -> Dot:
    """Returns a difference in [-1, 1] as a row of a dot plot in percentage points."""
    low, high = (None if end is None else 100 * end for end in (value.low, value.high))
    return Dot(name, 100 * value.effect, low, high, interval(value), marks)


def write_ablation(
    folder: Path, title: str, effects: Sequence[Effect], runs: Sequence[Row], split: str, views: int, matters: float
) -> tuple[Path, Path]:
    """Writes effects.svg (top-1) and report.html into a folder and returns their paths.

    Args:
        runs: the rows from which the effects were computed.
        matters: the smallest effect that matters, in points.
    """
    evaluated_on = f"{split}, {plural(views, 'view')}"
    measures = [m for m in MEASURES if any(m in effect.found for effect in effects)]
    plots = {
        m: effects_plot(effects, m, f"{MEASURES[m]}, {evaluated_on if m != 'train_error' else 'train, 1 view'}")
        for m in measures
    }
    columns = {"Variant": "", "Runs / base": "n", MEASURES["top1_error"].capitalize(): "n", "Verdict on it": ""}
    others = [m for m in measures if m != "top1_error"]
    columns |= {"Paper": "n", "Notebook": "n", **{MEASURES[m].capitalize(): "n" for m in others}}
    lines = [
        [
            escape(effect.variant),
            counts(effect),
            escape(interval(effect.found.get("top1_error"))),
            escape(verdict(effect)),
            escape(claimed(effect.ingredient.paper if effect.ingredient else None)),
            escape(claimed(effect.ingredient.notebook if effect.ingredient else None)),
            *(escape(interval(effect.found.get(m))) for m in others),
        ]
        for effect in effects
    ]
    notes = [
        [escape(effect.variant), escape(claim), escape(remarks(effect))]
        for effect in effects
        if (claim := effect.ingredient.claim if effect.ingredient else "") or remarks(effect)
    ]
    noted = table({"Variant": "", "What the paper claims": "", "Remarks": ""}, notes) if notes else ""
    one_seed_note = " With one seed there is no interval." if any(one_run(e) for e in effects) else ""
    note = (
        "Percentage points of error that a change adds to the base, with 95&nbsp;% confidence intervals over the runs, "
        "those of top-1 error over the images too. If the interval contains 0, the difference may be chance."
        f"{one_seed_note} The claim that is judged is the sign of 2012, else that the change adds top-1 error, "
        f"corrected for the number of changes; {matters:.2g} or more matters here. Values of the paper and of its "
        "notebook are top-1 / top-5 on ImageNet, not on this dataset."
    )
    shown = [row for row in runs if row["curve"]]
    parts = {
        "effects": ("Effects", f'<div class="wide">{table(columns, lines)}</div><p class="note">{note}</p>{noted}'),
        "plots": ("With confidence intervals", f'<div class="curves">{"".join(plots.values())}</div>'),
        "curves": ("Curves", _mean_curves(shown)),
        "runs": ("Every run", _runs_table(runs, split)),
        "data": ("Dataset and machine", _origin(runs)),
    }
    paths = folder / "effects.svg", folder / "report.html"
    with disk_errors(f"writing {paths[1]}"):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(paths[0], plots.get("top1_error", effects_plot([], "top1_error", title)).encode())
        write_file(paths[1], page(title, parts).encode("utf-8", "backslashreplace"))
    return paths


def _mean_curves(runs: Sequence[Row]) -> str:
    """Draws the mean over seeds of the validation error and the training error, one curve per variant."""
    names = list(dict.fromkeys(row["variant"] for row in runs))[:CURVES_SHOWN]
    charts = []
    for measure, label in (("val_top1_error", "validation error"), ("train_top1_error", "training error")):
        curves = [mean_curve([r["curve"] for r in runs if r["variant"] == name], measure, name) for name in names]
        charts.append(line_chart(label, [c for c in curves if c.x], x_label="epoch", y_label="top-1 error, %"))
    not_drawn = len({row["variant"] for row in runs}) - len(names)
    not_drawn_note = f" {plural(not_drawn, 'further variant')} not drawn." if not_drawn > 0 else ""
    note = f'<p class="note">Means over the seeds.{not_drawn_note} Training error is measured during training.</p>'
    return f'<div class="curves">{"".join(charts)}</div>{note}'


def mean_curve(curves: Sequence[Rows], measure: str, name: str) -> Curve:
    """Averages a share in [0, 1] over runs, in percent, at the epochs that all of them report."""
    values_by_epoch = [dict(zip(*series(curve, measure), strict=True)) for curve in curves]
    epochs = sorted(set.intersection(*(set(values) for values in values_by_epoch))) if values_by_epoch else []
    means = tuple(
        100 * math.fsum(values[epoch] for values in values_by_epoch) / len(values_by_epoch) for epoch in epochs
    )
    return Curve(name, tuple(map(float, epochs)), means)


def _runs_table(runs: Sequence[Row], split: str) -> str:
    columns = {"Variant": "", "Seed": "n", "Epochs": "n", "Top-1 error": "n", "Top-5 error": "n", "Training error": "n"}
    columns |= {"Minutes": "n", "Command": ""}
    lines = []
    for row in runs:
        one_view = row["results"].get(split, {}).get("1", {})
        errors = [one_view.get("top1_error"), one_view.get("top5_error")]
        errors.append(row["results"].get("train", {}).get("1", {}).get("top1_error"))
        lines.append(
            [
                escape(row["variant"]) + (" (diverged)" if row["outcome"] == "diverged" else ""),
                f"{row['seed']}",
                f"{row['curve'][-1]['epoch'] if row['curve'] else 0}",
                *("" if value is None else percent(value) for value in errors),
                "" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}",
                f"<code>{escape(row['command'])}</code>",
            ]
        )
    return f'<div class="wide">{table(columns, lines, "sortable")}</div>'


def _origin(runs: Sequence[Row]) -> str:
    if not runs:
        return "<p>No run is done yet.</p>"
    last = runs[-1]
    commits = sorted({str(row["commit"]) for row in runs})
    data = value_table("Dataset", last["data"])
    return f'<div class="values">{data}{value_table("Machine", {**last["environment"], "commit": commits})}</div>'


def write_comparison(
    path: Path,
    names: Sequence[str],
    curves: Sequence[Rows],
    evaluations: Sequence[Evaluation],
    pairs: Sequence[Pair],
    disputed: np.ndarray,
    images: Callable[[np.ndarray], np.ndarray],
    changes: Mapping[str, Mapping[str, Any]],
) -> Path:
    """Writes the page that compares runs.

    Args:
        curves: the metrics of the epochs of each run.
        disputed: indices of the images to show.
        images: indices (n,) -> uint8 (n, H, W, 3).
        changes: run -> the fields in which its recipe differs from that of the first.
    """
    first = evaluations[0]
    columns = {"Run": "", "Top-1 error": "n", "Top-5 error": "n", "Log loss": "n", "Differs from the first in": ""}
    lines = [
        [
            escape(name),
            percent(e.top1_error),
            percent(e.top5_error) if len(e.class_names) > 5 else "n/a",
            f"{e.log_loss:.3f}",
            "<br>".join(f"{escape(k)} = {plain(v)}" for k, v in changes.get(name, {}).items()) or "",
        ]
        for name, e in zip(names, evaluations, strict=True)
    ]
    pair_columns = {
        "Pair": "",
        "Only the first is right": "n",
        "Only the second": "n",
        "The second errs more": "n",
        "p": "n",
    }
    tests = [
        [
            f"{escape(names[p.first])} / {escape(names[p.second])}",
            f"{p.only_first:,}",
            f"{p.only_second:,}",
            f"{100 * p.difference / first.count:+.1f}",
            f"{p.p:.2g}",
        ]
        for p in pairs
    ]
    charts = []
    for measure, label in (("val_top1_error", "validation error"), ("train_top1_error", "training error")):
        drawn = [mean_curve([rows], measure, name) for name, rows in zip(names, curves, strict=True)]
        charts.append(line_chart(label, [c for c in drawn if c.x], x_label="epoch", y_label="top-1 error, %"))
    note = (
        f"{first.split}, {plural(first.count, 'image')}, {plural(first.views, 'view')} each. Differences are in "
        "percentage points of error. p is from McNemar's exact test on the images that only one of the two runs "
        "classifies correctly: the probability of a difference at least this large if both runs were equally good. "
        "With many pairs, some p are small by chance."
    )
    parts = {
        "runs": ("Runs", f'<div class="wide">{table(columns, lines)}</div>'),
        "pairs": (
            "On the same images",
            f'<div class="wide">{table(pair_columns, tests)}</div><p class="note">{note}</p>',
        ),
        "curves": ("Curves", f'<div class="curves">{"".join(charts)}</div>'),
        "disputed": ("Images on which they differ", _disputed(names, evaluations, disputed, images)),
    }
    with disk_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, page(" / ".join(names), parts).encode("utf-8", "backslashreplace"))
    return path


def _disputed(
    names: Sequence[str],
    evaluations: Sequence[Evaluation],
    indices: np.ndarray,
    images: Callable[[np.ndarray], np.ndarray],
) -> str:
    if not len(indices):
        return "<p>None: all runs are right or wrong on the same images.</p>"
    classes, cards = evaluations[0].class_names, []
    for index, pixels in zip(indices.tolist(), images(indices), strict=True):
        true = evaluations[0].labels[index]
        answers = []
        for name, e in zip(names, evaluations, strict=True):
            answer = int(e.probabilities[index].argmax())
            kind = " true" if answer == true else ""
            share = e.probabilities[index, answer]
            answers.append(
                f'<div class="bar{kind}" style="--w:{100 * share:.1f}%"><span>{escape(name)}: {escape(classes[answer])}'
                f"</span><span>{percent(share)}</span></div>"
            )
        file = evaluations[0].names[index]
        shown = thumbnail(pixels, 160, file)
        caption = f"{escape(classes[true])} <small>{escape(file)}</small>"
        cards.append(f"<figure>{shown}<figcaption>{caption}</figcaption>{''.join(answers)}</figure>")
    note = (
        "The answer of each run; orange is right. The images for which the runs differ most in the probability of the "
        "true class come first."
    )
    return f'<div class="cards">{"".join(cards)}</div><p class="note">{note}</p>'


def title_of(base: str, runs: Sequence[Row]) -> str:
    """Returns the title of the page of an ablation."""
    name = runs[0]["data"]["name"] if runs else ""
    variants = len({row["variant"] for row in runs} - {BASE})
    return f"{base} on {name}: {plural(variants, 'variant')}"

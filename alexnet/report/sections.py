"""The sections of the report, each as HTML. Class names arrive as HTML; everything else is escaped here."""

import math
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from alexnet.evaluation.compare import balanced_accuracy, is_uneven
from alexnet.evaluation.evaluate import Evaluation
from alexnet.evaluation.intervals import wilson_interval
from alexnet.report.figures import curves, filter_grid, thumbnail
from alexnet.report.html import bar, duration, interval_bar, percent, plain, plural, table, value_table
from alexnet.runs.metrics import BALANCED_ERROR, Rows, best_epoch, number, series

MATRIX_CLASSES = 40  # a larger confusion matrix has cells too small for its counts


def headline(evaluations: Sequence[Evaluation], rows: Rows, known: Mapping[str, Any]) -> str:
    """Builds the section of results: the large numbers, one row per evaluation, and the facts of the run."""
    first = evaluations[0]
    columns = {"Split": "", "Views": "n", "Count": "n", "Top-1 accuracy": "n", "Top-1 error": "n"}
    columns |= {"Top-5 error": "n", "Log loss": "n"}
    table_rows = [
        [
            escape(e.split),
            f"{e.views}",
            f"{e.count:,}",
            f"{percent(1 - e.top1_error)} {_interval((1 - e.top1_error) * e.count, e.count)}",
            percent(e.top1_error),
            percent(e.top5_error) if len(e.class_names) > 5 else "n/a",
            f"{e.log_loss:.3f}" if math.isfinite(e.log_loss) else "n/a",
        ]
        for e in evaluations
    ]
    top5_note = " With five classes or fewer, the top-5 error says nothing." if len(first.class_names) <= 5 else ""
    facts = _facts(first, rows, known)
    return (
        f'<div class="big"><div><b>{percent(1 - first.top1_error)}</b>top-1 accuracy</div>'
        f"<div><b>{percent(first.top1_error)}</b>top-1 error</div></div>"
        f'<div class="wide">{table(columns, table_rows)}</div>'
        f'<p class="note">The large numbers and all details below are for <strong>{escape(first.split)}</strong>, '
        f"{plural(first.views, 'view')} per image. In brackets: 95&nbsp;% Wilson confidence interval.{top5_note}</p>"
        f"<dl>{''.join(f'<div><dt>{key}</dt><dd>{text}</dd></div>' for key, text in facts.items() if text)}</dl>"
    )


def _facts(first: Evaluation, rows: Rows, known: Mapping[str, Any]) -> dict[str, str]:
    last = rows[-1] if rows else {}
    seconds, speed = number(last.get("seconds")), number(last.get("images_per_second"))  # both since training began
    best, parameters = best_epoch(rows), number(known.get("parameters"))
    best_text = "" if best is None else f" (best: {best:,})"
    return {
        "Data": plain(known["source"]) if "source" in known else "",
        "Classes": f"{len(first.class_names):,}",
        "Balanced accuracy": percent(balanced_accuracy(first)) if is_uneven(first) else "",
        "Images evaluated": f"{first.count:,} ({escape(first.split)})",
        "Parameters": f"{parameters:,.0f}" if math.isfinite(parameters) else "",
        "Epochs": f"{rows[-1]['epoch']:,}{best_text}" if rows else "",
        "Training time": duration(seconds) if math.isfinite(seconds) else "",
        "Training speed": f"{speed:,.0f} images/s" if math.isfinite(speed) else "",
        "Device": plain(_device(known)) if "device" in known else "",
    }


def _device(known: Mapping[str, Any]) -> str:
    """Names what computed a run: the kind of device, its card and, of a card, how exactly it computed."""
    card, precision = known.get("card"), known.get("precision")
    described = f"{known['device']} ({card})" if card else str(known["device"])
    return f"{described}, {precision}" if precision and (card or precision != "float32") else described


def learning_curves(rows: Rows, unreadable: int) -> str:
    """Draws loss, error, learning rate and crop size over the epochs."""
    unreadable_note = f"<p>{plural(unreadable, 'unreadable line')} of metrics.jsonl left out.</p>" if unreadable else ""
    if not rows:
        return f"<p>No epoch was finished, so there is no curve yet.</p>{unreadable_note}"
    best = best_epoch(rows)
    best_text = "" if best is None else f"Best epoch: {best}, with the lowest validation error. "
    if best is not None and any(BALANCED_ERROR in row for row in rows):
        best_text = f"Best epoch: {best}, with the lowest validation error on average over the classes. "
    values = [value for key in ("train_loss", "val_loss") for value in series(rows, key)[1]]
    gap_note = "" if all(map(math.isfinite, values)) else " A gap in a curve is a value that was not finite."
    return (
        f'<div class="curves">{"".join(curves(rows, best))}</div><p class="note">{best_text}'
        "Training values are measured during training, with data augmentation and dropout if the recipe uses them, so "
        f"they may be worse than the validation values.{gap_note}</p>{unreadable_note}"
    )


def confused_classes(
    confusion: np.ndarray, names: Sequence[str], pairs: Sequence[tuple[int, int, int]], thumbnails: Sequence[str]
) -> str:
    """Shows the confusion matrix, and the pairs of classes that are confused most often."""
    small = len(names) <= MATRIX_CLASSES
    overview = _matrix(confusion, names) if small else _aggregate(confusion, pairs)
    note = (
        "Rows of the matrix are the true class, columns the predicted class; the numbers count images. Blue is right, "
        "orange is wrong. The color grows with the square root of the share of the row, so rare mistakes are visible. "
    )
    note = note if small else ""
    if not pairs:
        return f"{overview}<p>No image was assigned to a wrong class.</p><p class='note'>{note}</p>"
    columns = {"True class": "names", "Predicted class": "names", "Images": "n", "Share": "n"}
    rows = [
        [names[true], names[predicted], f"{count:,}", percent(count / confusion[true].sum()), images]
        for (true, predicted, count), images in zip(pairs, thumbnails, strict=True)
    ]
    pairs_table = table({**columns, "Most confident": "thumbs"}, rows)
    return (
        f'<div class="side">{overview}<div class="wide"><h3>Most confused pairs</h3>{pairs_table}</div></div>'
        f'<p class="note">{note}Share: of all images of the true class.</p>'
    )


def _aggregate(confusion: np.ndarray, pairs: Sequence[tuple[int, int, int]]) -> str:
    counts, correct = confusion.sum(1), np.diag(confusion)
    wrong, distinct = int((counts - correct).sum()), int(np.count_nonzero(confusion) - np.count_nonzero(correct))
    # Integers, because 3 of 5 belongs to 60-70 %, but 0.6 as a float lies just below that edge.
    tenths = np.minimum(9, 10 * correct[counts > 0] // counts[counts > 0])
    histogram = np.bincount(tenths, minlength=10)
    bars = [
        bar(classes / max(1, histogram.max()), f"{10 * i}–{10 * i + 10}&nbsp;%", f"{classes:,}")
        for i, classes in enumerate(histogram.tolist())
    ]
    share = percent(sum(count for _, _, count in pairs) / max(1, wrong))
    return (
        f"<div><p>{plural(wrong, 'mistake')} over {plural(distinct, 'pair')} of classes; the {len(pairs)} most "
        f"frequent pairs account for {share} of them.</p><h3>Number of classes by top-1 accuracy</h3>"
        f'<div class="histogram">{"".join(bars)}</div></div>'
    )


def _matrix(confusion: np.ndarray, names: Sequence[str]) -> str:
    strengths = np.sqrt(confusion / np.maximum(1, confusion.sum(1, keepdims=True)))

    def cell(true: int, predicted: int) -> str:
        count, strength = confusion[true, predicted], strengths[true, predicted]
        if not count:
            return "<td></td>"
        kind = f"{'' if true == predicted else 'wrong'}{' strong' if strength > 0.85 else ''}"
        return f'<td class="{kind}" style="--a:{strength:.2f}">{count}</td>'

    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(cell(true, predicted) for predicted in range(len(names)))}</tr>'
        for true, name in enumerate(names)
    )
    return (
        f'<div class="wide"><table class="heat"><thead><tr><th>true ↓ predicted →</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def per_class(confusion: np.ndarray, names: Sequence[str]) -> str:
    """Builds one row per class: accuracy with its interval, precision, and the most frequent wrong answer."""
    counts, predicted, correct = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    # Worst first, because these rows need attention. Classes without images have no accuracy and come last.
    order = np.argsort(np.where(counts > 0, correct / np.maximum(1, counts), 2), kind="stable")
    columns = {"Class": "names", "Images": "n", "Top-1 accuracy": "n", "95&nbsp;% interval": "", "Precision": "n"}
    rows = []
    for k in order.tolist():
        n, right, others = int(counts[k]), int(correct[k]), np.where(np.arange(len(names)) == k, 0, confusion[k])
        accuracy, precision = right / n if n else math.nan, right / predicted[k] if predicted[k] else math.nan
        other = int(others.argmax())
        wrong_answer = f'{names[other]} <small class="muted">×&nbsp;{others[other]:,}</small>' if others[other] else "–"
        rows.append(
            [
                names[k],
                (f"{n:,}", f"{n}"),
                (f"{percent(accuracy)} {_interval(right, n)}", _key(accuracy)),
                (interval_bar(accuracy, *wilson_interval(right, n)) if n else "", _key(accuracy)),
                (percent(precision), _key(precision)),
                (wrong_answer, f"{others[other]}"),
            ]
        )
    body = table({**columns, "Most frequent wrong answer": "names"}, rows, "sortable")
    return (
        f'<div class="{"wide" if len(names) <= MATRIX_CLASSES else "tall"}">{body}</div>'
        '<p class="note">Accuracy: the share of the images of this class that are classified correctly. Precision: the '
        "share of the images predicted as this class that belong to it. The line over each bar is the 95&nbsp;% Wilson "
        "confidence interval.</p>"
    )


def mistaken_images(
    evaluation: Evaluation, names: Sequence[str], worst: np.ndarray, pixels: Mapping[int, np.ndarray]
) -> str:
    """Shows the most confident wrong answers, each with its image and its five most probable classes."""
    if not len(worst):
        return f"<p>None: no wrong answer for {plural(evaluation.count, 'image')}.</p>"
    cards = []
    for i in worst.tolist():
        probabilities, true = evaluation.probabilities[i], int(evaluation.labels[i])
        ranked = np.argsort(-probabilities, kind="stable").tolist()
        kinds = ["true" if k == true else "" for k in ranked[:5]]
        bars = [
            bar(probabilities[k], names[k], percent(probabilities[k]), kind)
            for k, kind in zip(ranked[:5], kinds, strict=True)
        ]
        if true not in ranked[:5]:
            rank = f"{ranked.index(true) + 1}. {names[true]}"
            bars.append(bar(probabilities[true], rank, percent(probabilities[true]), "true below"))
        cards.append(
            f"<figure>{thumbnail(pixels[i], 320, evaluation.names[i])}<figcaption><strong>{names[true]}</strong><br>"
            f'<small class="muted">{escape(evaluation.names[i])}</small></figcaption>{"".join(bars)}</figure>'
        )
    return (
        f'<p class="note">The {plural(len(worst), "wrong answer")} with the highest confidence. Under each image: its '
        "true class, then the most probable classes, at most five. The true class is bold and orange; if it is not "
        f'among the five, its rank is shown.</p><div class="cards">{"".join(cards)}</div>'
    )


def first_layer(conv1: np.ndarray, recipe: Mapping[str, Any]) -> str:
    """Shows the conv1 filters as images, one grid per tower."""
    count, channels, height, width = conv1.shape
    weights = np.nan_to_num(conv1, nan=0, posinf=0, neginf=0)
    low, high = weights.min((1, 2, 3)), weights.max((1, 2, 3))  # (F,)
    one_scale = np.stack([np.full(count, low.min()), np.full(count, high.max())], 1)
    half = count // 2
    parts = {"": slice(0, count)}
    if _flatten(recipe).get("model.towers") == 2 and count % 2 == 0:
        parts = {
            f"Tower 1: {plural(half, 'filter')}": slice(0, half),
            f"Tower 2: {plural(half, 'filter')}": slice(half, count),
        }

    def grids(limits: np.ndarray) -> str:
        return "".join(
            f"<figure><figcaption>{title}</figcaption>"
            f"{filter_grid(weights[part], limits[part], f'conv1 filters {title}')}</figure>"
            for title, part in parts.items()
        )

    not_finite = conv1.size - int(np.isfinite(conv1).sum())
    not_finite_text = f" {plural(not_finite, 'weight')} not finite: drawn as 0." if not_finite else ""
    return (
        f'<p class="note">The {plural(count, "filter")} of conv1, {height} × {width} weights'
        f"{' in color' if channels == 3 else ''}. All share one scale, from the smallest weight (black) to the largest "
        f"(white), as in the code of 2012: a filter that looks gray has small weights.{not_finite_text}</p>"
        f'<div class="filters">{grids(one_scale)}<details><summary>Each filter on its own scale</summary>'
        '<p class="note">This also shows the shape of filters with small weights, and the noise of those that '
        "learned nothing.</p>"
        f"{grids(np.stack([low, high], 1))}</details></div>"
    )


def recipe_and_environment(recipe: Mapping[str, Any], data: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Lists everything needed to repeat the run."""
    groups = {key: _flatten(value) for key, value in recipe.items() if isinstance(value, Mapping)}
    groups = {"run": {key: value for key, value in recipe.items() if key not in groups}, **groups}
    facts = _flatten({**data, **environment})
    command = facts.pop("command", "")
    if isinstance(facts.get("excluded"), list):
        facts["excluded"] = plural(len(data["excluded"]), "image")
    command_text = shlex.join(map(str, command)) if isinstance(command, list) else str(command)
    command_html = f"<h3>Command</h3><pre>{escape(command_text)}</pre>" if command_text else ""
    tables = "".join(value_table(name, values) for name, values in groups.items() if values)
    return (
        f'{command_html}<h3>Recipe</h3><div class="values">{tables}</div>'
        f'<h3>Data and environment</h3><div class="values">{value_table("", facts)}</div>'
    )


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _key(share: float) -> str:
    return f"{share:.6f}" if math.isfinite(share) else ""  # fixed length, because the browser sorts by these digits


def _interval(successes: float, count: int) -> str:
    if not count:
        return ""
    low, high = wilson_interval(successes, count)
    return f'<small class="muted">[{100 * low:.1f}–{100 * high:.1f}]</small>'

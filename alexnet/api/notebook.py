"""What a notebook shows: grids of images, learning curves, and HTML for the objects of the face."""

import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet.report.plotting import new_figure
from alexnet.runs.metrics import best_epoch, series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE = "#1f6fb4", "#d95f02"  # told apart by color-blind readers too


def image_grid(images: np.ndarray, titles: Sequence[str], columns: int = 6) -> "Figure":
    """Images (N, H, W, 3) uint8 in rows, each below its title."""
    rows = max(1, math.ceil(len(images) / columns))
    figure = new_figure(1.6 * columns, 1.75 * rows)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for cell in cells:
        cell.set_axis_off()
    for cell, pixels, title in zip(cells, images, titles, strict=False):
        cell.imshow(pixels)
        cell.set_title(title, fontsize=9)
    return figure


def learning_curves(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Loss and top-1 error (%) over the epochs, training and validation; a dotted line at the best epoch."""
    figure = new_figure(9, 3.2)
    for axes, (key, title, scale) in zip(
        figure.subplots(1, 2), (("loss", "loss", 1), ("top1_error", "top-1 error (%)", 100)), strict=True
    ):
        for split, label, color, line in (("train", "training", BLUE, "-"), ("val", "validation", ORANGE, "--")):
            epochs, values = series(rows, f"{split}_{key}")
            if epochs:
                axes.plot(epochs, [scale * value for value in values], line, color=color, label=label)
        best = best_epoch(rows)
        if best is not None:
            axes.axvline(best, color="gray", linewidth=1, linestyle=":", label=f"best epoch, {best}")
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return figure


def run_curves(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A run as HTML: its line, and its curves where there are any."""
    if not rows:
        return f"<p>{escape(title)}</p>"
    buffer = io.StringIO()
    learning_curves(rows).savefig(buffer, format="svg")
    text = buffer.getvalue()
    return f"<p>{escape(title)}</p>{text[text.index('<svg') :]}"

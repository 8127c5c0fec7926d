"""Figures of the report: curves as SVG, images and filters as data URIs.

Blue and orange are chosen because color-blind readers can distinguish them.
"""

import base64
import io
import math
import re
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from alexnet.report.plotting import matplotlib, new_figure
from alexnet.runs.metrics import Rows, series

# matplotlib does not know CSS variables: it draws with these placeholder colors, and _svg replaces them afterwards.
_INK, _LINE, _CARD, _BLUE, _ORANGE = "#010101", "#010102", "#010103", "#010104", "#010105"
_VARIABLES = {_INK: "--ink", _LINE: "--line", _CARD: "--card", _BLUE: "--blue", _ORANGE: "--orange"}
_FIGURE_STYLE: Any = {  # Any: only the newest matplotlib has types for its settings
    "svg.fonttype": "none",  # text stays text: it can be searched, and uses the fonts of the browser
    "svg.hashsalt": "alexnet",  # the same run gives the same bytes
    "path.simplify": False,  # every epoch stays a point of its curve
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.5,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.facecolor": _CARD,
    "legend.edgecolor": _CARD,
    "font.size": 10,
}


def curves(rows: Rows, best: int | None) -> list[str]:
    """Draws three SVG figures over the epochs: loss, top-1 error, and the schedule of learning rate and crop size."""
    library = matplotlib()
    with library.rc_context():
        library.rcdefaults()  # a style of the user (LaTeX for all text) must not decide whether there is a report
        library.rcParams.update(_FIGURE_STYLE)
        figures = [
            _split_curves(rows, "loss", "loss", 1, best),
            _split_curves(rows, "top1_error", "top-1 error (%)", 100, best),
        ]
        return [*figures, _schedule(rows)]


def _split_curves(rows: Rows, key: str, title: str, scale: float, best: int | None) -> str:
    figure = new_figure(4.6, 3.1)
    axes = figure.add_subplot()
    marker_size = 4 if len(rows) <= 60 else 0
    for split, color, line, marker in (("train", _BLUE, "-", "o"), ("val", _ORANGE, "--", "s")):
        epochs, values = series(rows, f"{split}_{key}")
        if not any(map(math.isfinite, values)):
            continue
        axes.plot(
            epochs,
            [value * scale for value in values],
            line,
            color=color,
            marker=marker,
            markersize=marker_size,
            label={"train": "training", "val": "validation"}[split],
            gid=f"{split}_{key}",
        )
    if best is not None:
        axes.axvline(best, color=_INK, linewidth=1, linestyle=":", label=f"best epoch, {best}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    if key == "top1_error":
        axes.set_ylim(0, 1.05 * axes.dataLim.y1 if axes.dataLim.y1 > 0 else 1)
    _epoch_axis(axes, rows)
    return _svg(figure, f"{title} against epochs")


def _schedule(rows: Rows) -> str:
    figure = new_figure(4.6, 3.1)
    lr_axes, crop_axes = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    epochs, values = series(rows, "lr")
    lr_axes.step(epochs, values, where="mid", color=_BLUE, marker=".", markersize=5, gid="lr")
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 5 * min(positive):
        lr_axes.set_yscale("log")  # the paper divides by 10: on a log scale equal divisions look equal
    lr_axes.set_title("learning rate", loc="left", fontsize=11, fontweight="bold")
    epochs, values = series(rows, "crop_size")
    crop_axes.step(epochs, values, where="mid", color=_BLUE, marker=".", markersize=5, gid="crop_size")
    crop_axes.set_title("crop size (pixels)", loc="left", fontsize=11, fontweight="bold")
    _epoch_axis(crop_axes, rows)
    return _svg(figure, "learning rate and crop size against epochs")


def _epoch_axis(axes: Any, rows: Rows) -> None:
    from matplotlib.ticker import MaxNLocator

    first, last = rows[0]["epoch"], rows[-1]["epoch"]
    margin = max(0.5, 0.03 * (last - first))
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def _svg(figure: Any, label: str) -> str:
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]  # HTML needs no XML prolog, doctype or namespace
    text = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)  # ids such as axes_1 would be the same in every figure
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def thumbnail(pixels: np.ndarray, side: int, alt: str) -> str:
    """Returns an <img> of a uint8 (H, W, 3) image, stored inside the page; its longer side is at most `side` pixels."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    height, width = pixels.shape[:2]
    tiny = max(height, width) <= 64  # PNG: JPEG blurs small images and saves no space
    buffer = io.BytesIO()
    if tiny:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=85)
    kind = "png" if tiny else "jpeg"
    return (
        f'<img class="{"pixels" if tiny else ""}" src="data:image/{kind};base64,{_base64(buffer)}" alt="{escape(alt)}" '
        f'width="{image.width}" height="{image.height}">'
    )


def filter_grid(filters: np.ndarray, limits: np.ndarray, alt: str) -> str:
    """Returns an <img> of filters (F, 1 or 3, kh, kw), one pixel per weight; `limits` (F, 2): what is black, white."""
    count, channels, height, width = filters.shape
    if channels not in (1, 3):
        raise ValueError(f"filters have {channels} channels; expected shape (filters, 1 or 3 channels, height, width)")
    low, high = (limits[:, end, None, None, None] for end in (0, 1))
    scaled = np.clip((filters - low) / np.maximum(high - low, 1e-12), 0, 1)  # (F, channels, kh, kw)
    pixels = np.broadcast_to(np.rint(255 * scaled).astype(np.uint8), (count, 3, height, width)).transpose(0, 2, 3, 1)
    columns = next((n for n in range(16, 7, -1) if count % n == 0), min(count, 16))
    rows = math.ceil(count / columns)
    # One transparent pixel between filters, so that the background of the page separates them.
    grid = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), np.uint8)
    for index, tile in enumerate(pixels):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        grid[top : top + height, left : left + width, :3] = tile
        grid[top : top + height, left : left + width, 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(grid).save(buffer, "PNG")
    scale = max(1, min(12, 1000 // grid.shape[1]))
    return (
        f'<img class="pixels" src="data:image/png;base64,{_base64(buffer)}" alt="{escape(alt)}" '
        f'width="{grid.shape[1] * scale}" height="{grid.shape[0] * scale}">'
    )


def _base64(buffer: io.BytesIO) -> str:
    return base64.b64encode(buffer.getvalue()).decode("ascii")

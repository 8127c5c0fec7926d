"""What the report draws: curves as SVG, pictures and filters as data URIs.

Blue and orange are told apart by colour-blind readers too.
"""

import base64
import io
import math
import re
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from alexnet.runs.metrics import Rows, series

# matplotlib knows no CSS variables: it draws in these stand-ins, which _svg exchanges afterwards.
_INK, _LINE, _CARD, _BLUE, _ORANGE = "#010101", "#010102", "#010103", "#010104", "#010105"
_VARIABLES = {_INK: "--ink", _LINE: "--line", _CARD: "--card", _BLUE: "--blue", _ORANGE: "--orange"}
_STYLE_OF_FIGURES: Any = {  # Any: only the newest matplotlib types its settings, and by their names
    "svg.fonttype": "none",  # text stays text: searchable, and drawn in the reader's fonts
    "svg.hashsalt": "alexnet",  # the same run gives the same bytes
    "path.simplify": False,  # every epoch is a point of its curve
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
    """Three SVG figures over the epochs: loss, top-1 error, and the schedule of learning rate and crop size."""
    import matplotlib

    with matplotlib.rc_context(_STYLE_OF_FIGURES):
        figures = [_pair(rows, "loss", "loss", 1, best), _pair(rows, "top1_error", "top-1 error (%)", 100, best)]
        return [*figures, _schedule(rows)]


def _pair(rows: Rows, key: str, title: str, scale: float, best: int | None) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.1), layout="constrained")
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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.1), layout="constrained")
    rate, crop = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    epochs, values = series(rows, "lr")
    rate.step(epochs, values, where="mid", color=_BLUE, marker=".", markersize=5, gid="lr")
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 5 * min(positive):
        rate.set_yscale("log")  # the paper's schedule divides by 10: equal steps must look equal
    rate.set_title("learning rate", loc="left", fontsize=11, fontweight="bold")
    epochs, values = series(rows, "crop_size")
    crop.step(epochs, values, where="mid", color=_BLUE, marker=".", markersize=5, gid="crop_size")
    crop.set_title("crop size (pixels)", loc="left", fontsize=11, fontweight="bold")
    _epoch_axis(crop, rows)
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
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]  # inside HTML there is no XML prolog, doctype or namespace
    text = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)  # axes_1 and its like would repeat from figure to figure
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def thumbnail(pixels: np.ndarray, side: int, alt: str) -> str:
    """An <img> of a uint8 (H, W, 3) picture, its longer side at most `side` pixels, stored inside the page."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    height, width = pixels.shape[:2]
    tiny = max(height, width) <= 64  # JPEG smears such pictures and saves nothing; the reader sees their true pixels
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
    """An <img> of filters (F, 1 or 3, kh, kw), one pixel per weight; `limits` (F, 2) holds what is black and white."""
    count, channels, height, width = filters.shape
    if channels not in (1, 3):
        raise ValueError(f"filters of {channels} channels are no colours; expected (filters, 1 or 3, height, width)")
    low, high = (limits[:, end, None, None, None] for end in (0, 1))
    scaled = np.clip((filters - low) / np.maximum(high - low, 1e-12), 0, 1)  # (F, channels, kh, kw)
    pixels = np.broadcast_to(np.rint(255 * scaled).astype(np.uint8), (count, 3, height, width)).transpose(0, 2, 3, 1)
    columns = next((n for n in range(16, 7, -1) if count % n == 0), min(count, 16))
    rows = math.ceil(count / columns)
    # One pixel between filters, transparent, so that the page's own background separates them.
    grid = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), np.uint8)
    for place, tile in enumerate(pixels):
        top, left = place // columns * (height + 1), place % columns * (width + 1)
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

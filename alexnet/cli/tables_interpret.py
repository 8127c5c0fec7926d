"""What the verbs print that look inside networks and hand them on."""

from pathlib import Path

import numpy as np

from alexnet.api.studies import ParityCheck
from alexnet.cli.terminal import print_table, say
from alexnet.export.parity import TOLERANCE, Parity
from alexnet.export.write import Exported
from alexnet.interpret.attribution import Explanation
from alexnet.interpret.features import Features
from alexnet.interpret.filters import CHANCE, FilterGrowth, Filters
from alexnet.interpret.similar import Similar
from alexnet.language.speak import said
from alexnet.text import percent


def towers(found: Filters, out: Path) -> None:
    """How much the filters of each tower see color."""
    rows = [
        (
            f"{each.tower}",
            str(each.kernels),
            f"{each.mean:.2f}",
            f"{each.median:.2f}",
            f"{each.weighted:.2f}",
            percent(each.colored),
        )
        for each in found.tower_colors
    ]
    print_table("", ("tower", "filters", "mean", "median", "by energy", "above 1/3"), rows)
    _selectivity(out)


def growth(found: FilterGrowth, out: Path) -> None:
    """How much each tower sees color, epoch by epoch."""
    colors = [(epoch, filters.tower_colors) for epoch, filters in found.epochs]
    columns = [f"tower {each.tower}" for each in colors[0][1]]
    rows = [(str(epoch), *(f"{each.weighted:.2f}" for each in each_tower)) for epoch, each_tower in colors]
    print_table("color selectivity by energy", ("epoch", *columns), rows)
    _selectivity(out)


def _selectivity(out: Path) -> None:
    say(
        "color selectivity: share of a filter's energy that tells channels apart; 0 sees brightness alone, 1 color "
        f"alone, and random weights have {CHANCE:.2f}"
    )
    written(out)


def features(found: Features) -> None:
    """What was written, and what could not be read."""
    shape = " x ".join(map(str, found.values.shape[1:]))
    say(f"{found.layer} of {len(found.paths)} images, {shape} numbers each")
    for file in found.files:
        written(file)
    unread(found.errors)


def similar(found: Similar, out: Path | None) -> None:
    """What the index holds and how it changed, and the neighbors of each query."""
    index = found.index
    say(
        f"index: {len(index.entries)} images of {index.root}; since the last search {index.added} added, "
        f"{index.changed} changed, {index.removed} removed, {index.reused} as they were"
    )
    for entry in index.unread:
        say(f"not in the index: {entry.error}")
    rows = [
        ("" if rank else str(answer.query), str(rank + 1), str(path), f"{distance:.3f}")
        for answer in found.answers
        for rank, (path, distance) in enumerate(answer.found)
    ]
    print_table("", ("image", "", "most like it", "distance"), rows, left=3)
    if out is not None:
        written(out)
    unread(found.errors)


def why(found: Explanation, out: Path) -> None:
    """What was explained, and the place where each map is strongest."""
    explained = found.explained
    say(f"class {explained.name}, probability {percent(explained.probability)}; view, then {', '.join(found.maps)}")
    rows = []
    for method, heat in found.maps.items():
        y, x = np.unravel_index(int(heat.argmax()), heat.shape)
        highest = said("nowhere") if method in found.blank else f"{x}, {y}"
        rows.append((method, f"{heat.min():.2g}", f"{heat.max():.2g}", highest))
    print_table("", ("method", "lowest", "highest", "highest at x, y"), rows)
    for note in found.notes:
        say(f"note: {note}")
    written(out)


def written(out: Path) -> None:
    """The name of a file that was written."""
    say(f"written: {out}")


def exported(found: Exported) -> None:
    """What was written, and how it compares with the run."""
    say(f"written: {found.out} ({found.bytes / 1e6:.1f} MB), after it gave the same answers as the run")
    if found.int8:
        say("in 8 bits the answers differ, so the accuracy counts")
    rows: list[tuple[str, ...]] = [
        (said("run"), percent(found.eager_accuracy)),
        (said("exported"), percent(found.accuracy)),
    ]
    columns: tuple[str, ...] = ("network", f"top-1 accuracy on {found.known} images of {found.split}")
    if found.milliseconds:
        rows.insert(1, ("ONNX, float32", percent(found.eager_accuracy)))
        columns = (*columns, "ms for an image")
        rows = [(*row, f"{each:.1f}") for row, each in zip(rows, found.milliseconds, strict=True)]
    print_table("", columns, rows)
    _apart(found.parity)


def parity(found: ParityCheck) -> None:
    """Whether two networks give the same answers, in figures."""
    for letter, asked in (("A", found.first), ("B", found.second)):
        say(f"{letter}: {asked.name} ({asked.kind}, images of {asked.prepare_size} pixels)")
    _apart(found.parity)
    unread(found.errors)


def unread(errors: dict[Path, str]) -> None:
    """The images that could not be read, each with its reason."""
    for reason in errors.values():
        say(f"not read: {reason}")


def _apart(found: Parity) -> None:
    rows = [
        (said("images"), str(found.images)),
        ("largest difference of a probability", f"{found.max_probability:.2e}"),
        ("mean difference of a probability", f"{found.mean_probability:.2e}"),
        ("largest difference of a logit", f"{found.max_logit:.2e}"),
        ("largest logit", f"{found.largest_logit:.2f}"),
        ("same most probable class", percent(found.agreement)),
    ]
    print_table("", ("", "A and B"), rows)
    say(f"equal within {TOLERANCE:g}" if found.equal else f"NOT equal within {TOLERANCE:g}")

"""What the verbs print that look into networks and hand them on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alexnet.cli.tables import say
from alexnet.cli.terminal import print_table
from alexnet.export.backends import Backend
from alexnet.export.parity import TOLERANCE, Parity
from alexnet.export.write import Exported
from alexnet.interpret.attribution import Map
from alexnet.interpret.features import Features
from alexnet.interpret.filters import CHANCE, TowerColor
from alexnet.interpret.image_index import Index
from alexnet.interpret.similar import Answer
from alexnet.text import percent


def towers(found: Sequence[TowerColor], out: Path) -> None:
    """How much the kernels of each tower look at colour."""
    rows = [
        (
            f"{each.tower}",
            str(each.kernels),
            f"{each.mean:.2f}",
            f"{each.median:.2f}",
            f"{each.weighted:.2f}",
            percent(each.coloured),
        )
        for each in found
    ]
    print_table("", ("tower", "kernels", "mean", "median", "by energy", "above 1/3"), rows)
    _selectivity(out)


def growth(found: Sequence[tuple[int, Sequence[TowerColor]]], out: Path) -> None:
    """How much each tower looks at colour, epoch by epoch."""
    towers = [f"tower {each.tower}" for each in found[0][1]]
    rows = [(str(epoch), *(f"{each.weighted:.2f}" for each in colors)) for epoch, colors in found]
    print_table("colour selectivity by energy", ("epoch", *towers), rows)
    _selectivity(out)


def _selectivity(out: Path) -> None:
    say(
        "colour selectivity: share of a kernel's energy that tells channels apart; 0 sees brightness alone, 1 colour "
        f"alone, and random weights have {CHANCE:.2f}"
    )
    written(out)


def features(found: Features, files: Sequence[Path]) -> None:
    """What was written, and what could not be read."""
    shape = " x ".join(map(str, found.values.shape[1:]))
    say(f"{found.layer} of {len(found.paths)} pictures, {shape} numbers each")
    for file in files:
        written(file)
    unread(found.errors)


def similar(index: Index, answers: Sequence[Answer], errors: dict[Path, str]) -> None:
    """What the index holds and how it changed, and the neighbours of each query."""
    say(
        f"index: {len(index.entries)} pictures of {index.root}; since the last search {index.added} added, "
        f"{index.changed} changed, {index.removed} removed, {index.reused} as they were"
    )
    for entry in index.unread:
        say(f"not in the index: {entry.error}")
    rows = [
        ("" if rank else str(answer.query), str(rank + 1), str(path), f"{distance:.3f}")
        for answer in answers
        for rank, (path, distance) in enumerate(answer.found)
    ]
    print_table("", ("picture", "", "most like it", "distance"), rows, left=3)
    unread(errors)


def why(methods: Sequence[str], maps: Sequence[Map], name: str, probability: float, out: Path) -> None:
    """What was explained, and the place where each map is strongest."""
    say(f"class {name}, probability {percent(probability)}; view, then {', '.join(methods)}")
    rows = []
    for method, heat in zip(methods, maps, strict=True):
        y, x = np.unravel_index(int(heat.argmax()), heat.shape)
        rows.append((method, f"{heat.min():.2g}", f"{heat.max():.2g}", f"{x}, {y}"))
    print_table("", ("method", "lowest", "highest", "highest at x, y"), rows)
    written(out)


def written(out: Path) -> None:
    """The name of a file that was written."""
    say(f"written: {out}")


def exported(found: Exported) -> None:
    """What was written, and how it compares with the run."""
    say(f"written: {found.out} ({found.bytes / 1e6:.1f} MB), after it had been asked the same as the run")
    if found.int8:
        say("in 8 bits it does not answer alike, so the accuracy counts")
    rows = [
        ("run", percent(found.eager_accuracy)),
        ("exported", percent(found.accuracy)),
    ]
    print_table("", ("network", f"top-1 accuracy on {found.known} pictures of {found.split}"), rows)
    _apart(found.parity)


def parity(first: Backend, second: Backend, found: Parity, errors: dict[Path, str]) -> None:
    """Whether two networks answer alike, in figures."""
    say(f"A: {first.name} ({first.kind}, pictures of {first.prepare_size} pixels)")
    say(f"B: {second.name} ({second.kind}, pictures of {second.prepare_size} pixels)")
    _apart(found)
    unread(errors)


def unread(errors: dict[Path, str]) -> None:
    """The pictures that could not be read, each with its reason."""
    for reason in errors.values():
        say(f"not read: {reason}")


def _apart(found: Parity) -> None:
    rows = [
        ("pictures", str(found.images)),
        ("largest difference of a probability", f"{found.max_probability:.2e}"),
        ("mean difference of a probability", f"{found.mean_probability:.2e}"),
        ("largest difference of a logit", f"{found.max_logit:.2e}"),
        ("largest logit", f"{found.largest_logit:.2f}"),
        ("same most probable class", percent(found.agreement)),
    ]
    print_table("", ("", "A and B"), rows)
    say(f"{'equal' if found.equal else 'NOT equal'} within {TOLERANCE:g}")

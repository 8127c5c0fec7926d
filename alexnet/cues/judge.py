"""Says in words what the cues mean: leaks loudly, color and shape plainly, and whether a network beats them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet.cues.measure import BORDER, COLOR, COMPRESSION, EDGES, FILE_SIZE, SHAPE, SIZE, Cue, Cues
from alexnet.evaluation.intervals import mcnemar, wilson_interval
from alexnet.text import percent

SURE = 0.001  # a cue that guessing explains with a larger probability knows nothing
LEAK_SKILL = 0.2  # share of the errors of guessing that a leak avoids; file sizes of honest photos avoid a tenth
CLEAR = 0.05  # of McNemar's test
PLAIN = {COLOR: "color alone (histogram)", SHAPE: "shape alone (HOG)", EDGES: "the colors at the edges alone"}
REPAIRS = {
    SIZE: "save the images of all classes at one size, or crop them alike",
    FILE_SIZE: "save all images again in one way",
    COMPRESSION: "save all images again in one format with one quality",
    BORDER: "cut the border off, or give all classes the same",
}


@dataclass(frozen=True)
class Contest:
    """A network and the baseline on the same validation images."""

    images: int
    network: float  # accuracy, in [0, 1]
    baseline: float
    only_network: int  # images that only the network gets right
    only_baseline: int
    p: float  # of McNemar's exact test

    @property
    def clear(self) -> bool:
        """Whether the network is clearly better."""
        return self.only_network > self.only_baseline and self.p < CLEAR


def leaks(cues: Cues) -> tuple[Cue, ...]:
    """The cues that should know nothing and do, worst first."""
    found = [c for c in cues.cues if c.kind == "leak" and c.chance < SURE and c.skill(cues.guessing) >= LEAK_SKILL]
    return tuple(sorted(found, key=lambda cue: -cue.accuracy))


def leak_lines(cues: Cues) -> tuple[str, ...]:
    """One line for each leak: what it tells, and what to do."""
    return tuple(
        f"LEAK: {cue.name} alone tells the classes apart at {_points(cue)} (guessing: {percent(cues.guessing)}). "
        f"A network may learn that instead of what is shown: {REPAIRS[cue.name]}"
        for cue in leaks(cues)
    )


def content_line(cues: Cues) -> str:
    """What color and shape reach, the best first; one line."""
    shown = sorted((c for c in cues.cues if c.kind == "content"), key=lambda cue: -cue.accuracy)
    parts = [f"{PLAIN.get(cue.name, f'{cue.name} together')} {_points(cue)}" for cue in shown if cue.chance < SURE]
    known = ", ".join(parts) if parts else "neither color nor shape alone tells the classes apart"
    return f"{known}; guessing {percent(cues.guessing)} ({cues.images:,} images of {cues.split})"


def lines(cues: Cues | None, why: str = "") -> dict[str, str]:
    """What is said of the cues before training, each line with its name; {} where there is nothing to say.

    Args:
        why: the cues were not measured, if there are none.
    """
    if cues is None:
        return {"cues": f"not measured: {why}"} if why else {}
    told = {"cues": content_line(cues)}
    if cues.note:
        told["cues"] += f"; {cues.note}"
    if found := leak_lines(cues):
        told["warning"] = ". ".join(found)
    return told


def contest(cues: Cues, names: Sequence[str], right: NDArray[np.bool_]) -> Contest | None:
    """Compares a network with the baseline on the images that both have answered; None if there are none.

    Args:
        names: of the images of the validation split.
        right: (N,), whether the network's answer is right.
    """
    rows = {name: i for i, name in enumerate(names)}
    wrong = set(cues.wrong)
    both = [(bool(right[rows[name]]), name not in wrong) for name in cues.names if name in rows]
    if not both:
        return None
    network, baseline = np.array(both).T
    only_network, only_baseline = int((network & ~baseline).sum()), int((~network & baseline).sum())
    return Contest(
        len(both),
        float(network.mean()),
        float(baseline.mean()),
        only_network,
        only_baseline,
        mcnemar(only_network, only_baseline),
    )


def contest_line(cues: Cues, result: Contest) -> str:
    """How the network stands against the baseline; one sentence."""
    network, baseline = result.network * result.images, result.baseline * result.images
    better = "clearly better than the baseline" if result.clear else "not clearly better than the baseline"
    return (
        f"{better}: network "
        f"{_share(network, result.images)}, {cues.baseline} {_share(baseline, result.images)} on the same "
        f"{result.images:,} images of {cues.split} (McNemar's exact test: p {_p(result.p)})"
    )


def _points(cue: Cue) -> str:
    return f"{percent(cue.accuracy)} [{100 * cue.low:.1f}-{100 * cue.high:.1f}]"


def _share(hits: float, count: int) -> str:
    low, high = wilson_interval(hits, count)
    return f"{percent(hits / count)} [{100 * low:.1f}-{100 * high:.1f}]"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"

"""How a claim is judged: from the rows of a study to a result in words and a verdict, by the rule of `claims.py`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isinf

import numpy as np

from alexnet.data.augment import crop_offsets
from alexnet.experiments import results
from alexnet.experiments.ablation import claimed
from alexnet.experiments.distributions import clopper_pearson
from alexnet.experiments.inference import Estimate, holm
from alexnet.experiments.races import Ratio
from alexnet.experiments.verdicts import AIM, FAMILY_ERROR, MATTERS, Judged, Verdict, judge
from alexnet.models.build import build_model
from alexnet.models.summary import Summary, summarize
from alexnet.recipes.ingredients import BY_NAME
from alexnet.recipes.named import find_recipe
from studies.claims import measures
from studies.claims.measures import Rows, Studies
from studies.paper.evidence import CHOICE
from studies.paper.which_train import STARTS, trains

SECONDARY = "interval only: a secondary measure of the plan"
Found = tuple[str, str]  # result, verdict
SLOW = ("tanh", "sigmoid")  # activations that Figure 1 compares with ReLU
FEW = 1.1  # times as many epochs: too little to matter


@dataclass(frozen=True)
class Sign:
    """A sign that is claimed, and how it is estimated."""

    estimate: Callable[[Rows], Estimate | None]
    study: str  # its claims are a family, for the correction of p values
    direction: int  # +1 that the effect is above zero, -1 below
    smallest: float = MATTERS
    unit: str = "points"
    what: str = ""  # precedes the figures
    secondary: bool = False  # gets an interval and no verdict
    paper: float | None = None  # in the unit of the effect


@dataclass(frozen=True)
class Claim:
    """One line of the table: either what a test says, or what `count` finds."""

    text: str
    section: str
    recorded: str  # what the paper or its notebook has
    command: str  # of our experiment; empty if there is none
    test: Sign | None = None
    count: Callable[[Studies], Found] | None = None


def shown(value: Estimate | None, unit: str = "points", digits: int = 2) -> str:
    """An effect with its interval and how many runs it is of: of the arm and of the base."""
    if value is None:
        return ""
    scale = 100.0 if unit == "points" else 1.0
    runs = " against ".join(map(str, value.counts))
    mean, *ends = (None if v is None else f"{scale * v:+z.{digits}f}" for v in (value.effect, value.low, value.high))
    interval = "" if None in ends else f" [{', '.join(map(str, ends))}]"
    return f"{mean}{interval} {unit}, {runs} runs"


def family_of(studies: Studies, tests: Mapping[str, Sign]) -> dict[str, tuple[Estimate | None, Judged]]:
    """Judges the claims of all studies, each study with Holm's correction for those of its claims that are tested."""
    found = {name: test.estimate(studies[test.study]) for name, test in tests.items()}
    adjusted: dict[str, float] = {}
    for study in {test.study for test in tests.values()}:
        mine = [name for name, test in tests.items() if test.study == study and not test.secondary]
        ps = {name: value.p if (value := found[name]) is not None else None for name in mine}
        adjusted |= holm(ps)
    return {
        name: (
            found[name],
            judge(found[name], test.direction, test.smallest, adjusted.get(name), AIM * test.smallest),
        )
        for name, test in tests.items()
    }


def study_command(study: str) -> str:
    """What repeats a study."""
    if study == "evidence_cifar":
        return "`python -m studies.paper.evidence CIFAR10`"
    cifar = study in ("figure_1", "lrn_cifar", "dropout_iterations", "which_train")
    data = '"CIFAR10 PHOTOS"' if study == "lenet_alexnet" else "CIFAR10" if cifar else "PHOTOS"
    return f"`make study NAME={study} DATA={data}`"


def ingredient(name: str, claim: str = "", value: Callable[[results.Row], float | None] | None = None) -> Claim:
    """What the change of an ingredient adds to an error, in the study of ingredients on photos."""
    known = BY_NAME[name]
    also = f" (these nets differ also in: {known.besides})" if known.besides else ""
    figures = [f"{claimed(known.paper)} points" if known.paper else "", known.recorded + also]
    recorded = "; ".join(part for part in figures if part)
    study = "ingredients_photos"

    def found(rows: Rows) -> Estimate | None:
        return measures.effect(rows, name) if value is None else measures.difference(rows, name, value)

    paper = None if known.paper is None or known.paper.top1 is None else known.paper.top1 / 100
    text = f"{claim or known.claim or known.what} ({name}, photos)"
    return Claim(text, known.section or "notebook", recorded, study_command(study), Sign(found, study, 1, paper=paper))


def compared(
    text: str,
    section: str,
    recorded: str,
    study: str,
    variant: str,
    value: Callable[[results.Row], float | None] | None = None,
    *,
    base: str = "base",
    recipe: str | None = None,
    **options: object,
) -> Claim:
    """A claim that a variant has more of something than the base."""

    def found(rows: Rows) -> Estimate | None:
        if value is None:
            return measures.effect(rows, variant, recipe, base)
        return measures.difference(rows, variant, value, base)

    test = Sign(found, study, 1, **options)  # type: ignore[arg-type]
    return Claim(text, section, recorded, study_command(study), test)


def race(slow: str) -> Claim:
    """ReLU needs fewer epochs than another function."""

    def found(studies: Studies) -> Found:
        ratios = {name: measures.race_ratio(studies["figure_1"], name) for name in SLOW}
        return raced(ratios[slow], holm({name: one.p if one else None for name, one in ratios.items()})[slow])

    recorded = "figure 1" if slow == "tanh" else "saturating units are slower"
    text = f"ReLU reaches 25 % training error sooner than {slow}"
    return Claim(text, "3.1", recorded, study_command("figure_1"), count=found)


def raced(found: Ratio | None, p: float) -> Found:
    """How many times as long one sort of runs takes, and the verdict on the claim that it takes longer.

    Args:
        p: of the log-rank test, corrected for its family.
    """
    if found is None:
        return "", Verdict.NOT_MEASURED
    high = "endless" if isinf(found.high) else f"{found.high:.2f}"
    text = f"{'at least ' * found.bound}{found.value:.2f} [{found.low:.2f}, {high}] times the epochs, by medians"
    text += f"; {found.counts[0]} against {found.counts[1]} runs, log-rank p {p_value(found.p)}"
    for what, count in zip(("slow", "fast"), found.censored, strict=True):
        text += f"; {count} of the {what} ended before" if count else ""
    if p < FAMILY_ERROR and (found.low > 1 or found.high < 1):
        return text, Verdict.SUPPORTED if found.low > 1 else Verdict.CONTRADICTED
    return text, Verdict.TOO_SMALL if found.low >= 1 / FEW and found.high <= FEW else Verdict.UNDECIDED


def p_value(p: float) -> str:
    """A p value in a text."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def times(found: Ratio | None, recorded: float) -> Found:
    """Whether the interval of a ratio holds the one that is recorded."""
    if found is None:
        return "", Verdict.NOT_MEASURED
    verdict = Verdict.SUPPORTED if found.holds(recorded) else Verdict.CONTRADICTED
    if found.bound and found.holds(recorded):
        verdict = Verdict.UNDECIDED
    return raced(found, found.p)[0], f"{verdict}, for this network and these rates"


def six_times(studies: Studies) -> Found:
    """Whether the interval of the factor holds six."""
    return times(measures.race_ratio(studies["figure_1"], "tanh"), 6)


def doubled(studies: Studies) -> Found:
    """Whether dropout takes twice the epochs to half of the first training loss."""
    return times(measures.dropout_ratio(studies["dropout_iterations"]), 2)


def which_train(studies: Studies) -> Found:
    """How many runs of each activation leave the plateau, with each of the initial weights."""
    found = [row for row in studies["which_train"] if not row["variant"].startswith(CHOICE)]
    told = []
    for activation in dict.fromkeys(row["variant"].partition(", ")[0] for row in found):
        starts = []
        for start in STARTS:
            if mine := [row for row in found if row["variant"] == f"{activation}, {start}"]:
                low, high = clopper_pearson(left := sum(map(trains, mine)), len(mine))
                starts.append(f"{start} {left} of {len(mine)} [{100 * low:.0f}, {100 * high:.0f}] %")
        told.append(f"{activation}: {', '.join(starts)}")
    return ("; ".join(told), "counted, no test") if told else ("", Verdict.NOT_MEASURED)


def every_view(studies: Studies) -> Found:
    """How many of the networks of all studies gain, corrected for their number."""
    gains = {name: gain for name, gain in measures.view_gains(studies).items() if gain.p is not None}
    if not gains:
        return "", Verdict.NOT_MEASURED
    adjusted = holm({name: gain.p for name, gain in gains.items()})
    sure = [gain.effect for name, gain in gains.items() if adjusted[name] < 0.05]
    better, worse = sum(e < 0 for e in sure), sum(e > 0 for e in sure)
    lower = sum(gain.effect < 0 for gain in gains.values())
    text = f"of {len(gains)} networks {lower} err less with ten; beyond chance {better} gain and {worse} lose"
    return text, Verdict.SUPPORTED if better == len(gains) else Verdict.UNDECIDED


def start_of_the_text(studies: Studies) -> Found:
    """Whether the initial weights of the text leave the plateau."""
    found = studies["will_it_train"]
    epochs = {
        kind: [row["leaves_plateau_in_epoch"] for row in found if row["start"].startswith(kind)]
        for kind in ("paper: sigma .01, biases 1", "source")
    }
    if min(map(len, epochs.values())) < 2:
        return "", Verdict.NOT_MEASURED
    told = []
    for part in epochs.values():
        low, high = clopper_pearson(sum(e is not None for e in part), len(part))
        when = ", ".join("never" if e is None else str(e) for e in part)
        told.append(f"in epochs {when} of 20 ({100 * low:.0f} to {100 * high:.0f} % of all runs would)")
    left = any(e is not None for e in epochs["paper: sigma .01, biases 1"])
    verdict = f"{Verdict.SUPPORTED}: seen to learn, and later" if left else Verdict.UNDECIDED
    return f"leaves the plateau {told[0]}; the weights of the source {told[1]}", verdict


def together(studies: Studies) -> Found:
    """Five networks together against their mean and the best of them, with one view and with ten."""

    def errors(variant: str, views: int) -> list[float]:
        mine = [row for row in studies["ensemble"] if row["variant"] == variant]
        found = [results.error(row, "top1_error", "test", views) for row in mine]
        return [e for e in found if e is not None]

    told = []
    for views in (1, 10):
        members, joint = errors("member", views), errors("together", views)
        if joint and len(members) >= 2:
            told.append(
                f"{100 * joint[0]:.1f} % together, {100 * np.mean(members):.1f} % the mean and "
                f"{100 * min(members):.1f} % the best of {len(members)} ({views} view{'s' * (views > 1)})"
            )
    if not told:
        return "", Verdict.NOT_MEASURED
    return "; ".join(told), f"{Verdict.UNDECIDED}: one group of five, 372 photos, no interval"


@cache
def counts() -> Summary:
    """The network of 2012, counted."""
    return summarize(build_model(find_recipe("alexnet-2012").model))


def size(studies: Studies) -> Found:
    """Parameters and neurons, in the millions and tens of thousands that the paper names."""
    counted = counts()
    right = round(counted.parameters, -7) == 60_000_000 and round(counted.neurons, -4) in (650_000, 660_000)
    text = f"{counted.parameters:,} parameters, {counted.neurons:,} neurons"
    return text, Verdict.SUPPORTED if right else Verdict.CONTRADICTED


def small_convolutions(studies: Studies) -> Found:
    """The share of the parameters that each convolution holds."""
    shares = {row.name: row.parameters / counts().parameters for row in counts().layers if row.name.startswith("conv")}
    text = ", ".join(f"{name} {100 * share:.2f} %" for name, share in shares.items())
    return text, Verdict.SUPPORTED if max(shares.values()) <= 0.01 else Verdict.CONTRADICTED


def windows(studies: Studies) -> Found:
    """In how many ways an image of 256 pixels can be cut to 224 and mirrored."""
    places = len(np.unique(crop_offsets(0, 1, np.arange(20_000), 256 - 224)[:, 0]))
    text = f"{places} x {places} x 2 = {2 * places * places:,} in the code"
    return text, Verdict.SUPPORTED if places == 32 else Verdict.CONTRADICTED


def beyond(why: str) -> Callable[[Studies], Found]:
    """A claim that nothing here can test."""
    return lambda studies: (why, Verdict.UNTESTABLE)


def remarks(test: Sign, rows: Sequence[results.Row], found: Estimate | None) -> str:
    """What a reader must know besides: blocks, and rows of sources that were not committed as they were."""
    texts = []
    if found is not None and found.blocks > 1:
        texts.append(f"{found.blocks} machines, heterogeneity p = {found.heterogeneity or 0:.2f}")
    if found is not None and len(found.counts) > 1 and found.spread and found.spread[0] == 0:
        texts.append("all its runs end at one error, as networks do that learn nothing")
    changed = measures.uncommitted(rows)
    if changed:
        texts.append(f"{changed} of the study's {len(rows)} rows are of uncommitted sources")
    return "; ".join(texts)

"""How a claim is judged: from the rows of a study to a result in words and a verdict, by the rule of `claims.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from alexnet.data.augment import crop_offsets
from alexnet.evaluation.intervals import Interval
from alexnet.experiments import results
from alexnet.experiments.ablation import claimed
from alexnet.models.build import build_model
from alexnet.models.summary import Summary, summarize
from alexnet.recipes.ingredients import BY_NAME
from alexnet.recipes.named import find_recipe
from studies.claims import measures
from studies.claims.measures import Studies

REPRODUCED, NOT, OPPOSITE = "reproduced", "not reproduced", "not reproduced: the opposite"
UNTESTABLE, WAITING = "not testable at this scale", "not measured yet"
Found = tuple[str, str]  # result, verdict


@dataclass(frozen=True)
class Claim:
    """One line of the table."""

    text: str
    section: str
    recorded: str  # what the paper or its notebook has
    command: str  # of our experiment; empty if there is none
    judge: Callable[[Studies], Found]


def signed(value: Interval | None, direction: int, text: str) -> Found:
    """The verdict on a claimed direction: +1 that the difference is above zero, -1 below."""
    if value is None or value.low is None or value.high is None:
        return (text if value is not None else "", WAITING)
    above, below = value.low > 0, value.high < 0
    right, wrong = (above, below) if direction > 0 else (below, above)
    return text, REPRODUCED if right else OPPOSITE if wrong else NOT


def shown(value: Interval | None, unit: str = "points", scale: float = 100) -> str:
    """A difference with its interval and how many seeds it is of."""
    if value is None:
        return ""
    if value.low is None or value.high is None:
        return f"{scale * value.mean:+.2f} {unit}, one seed"
    ends = f"[{scale * value.low:+.2f}, {scale * value.high:+.2f}]"
    return f"{scale * value.mean:+.2f} {ends} {unit}, {value.count} seeds"


def study_command(study: str) -> str:
    """What repeats a study."""
    cifar = study in ("figure_1", "lrn_cifar", "ingredients_cifar")
    data = '"CIFAR10 PHOTOS"' if study == "lenet_alexnet" else "CIFAR10" if cifar else "PHOTOS"
    return f"`make study NAME={study} DATA={data}`"


def ingredient(name: str, study: str, direction: int = 1, measure: str = "top1_error", claim: str = "") -> Claim:
    """What the change of an ingredient adds to an error, in a study of ingredients."""
    known = BY_NAME[name]

    def judge(studies: Studies) -> Found:
        found = measures.effect(studies[study], name)
        value = found.differences.get(measure) if found else None
        return signed(value, direction, shown(value))

    also = f" (these nets differ also in: {known.besides})" if known.besides else ""
    figures = [f"{claimed(known.paper)} points" if known.paper else "", known.recorded + also]
    recorded = "; ".join(part for part in figures if part)
    where = "CIFAR-10" if study.endswith("cifar") else "photos"
    text = f"{claim or known.claim or known.what} ({name}, {where})"
    return Claim(text, known.section or "notebook", recorded, study_command(study), judge)


def race(slow: str) -> Callable[[Studies], Found]:
    """ReLU needs fewer epochs than another function."""

    def judge(studies: Studies) -> Found:
        found = measures.race_ratio(studies["figure_1"], slow)
        if found is None:
            return "", WAITING
        ratio, exact = found
        least = "" if exact else "at least "
        text = f"{slow} needs {least}{_times(ratio, ' the epochs of ReLU')}"
        if ratio.low is None:
            return text, WAITING
        return text, REPRODUCED if ratio.low > 1 else NOT

    return judge


def six_times(studies: Studies) -> Found:
    """Whether the interval of the factor holds six."""
    found = measures.race_ratio(studies["figure_1"], "tanh")
    if found is None or found[0].low is None or found[0].high is None:
        return "", WAITING
    ratio, exact = found
    text = _times(ratio)
    if not exact:
        return f"at least {text}; some runs with tanh ended before 25 %", UNTESTABLE
    return text, REPRODUCED if ratio.low <= 6 <= ratio.high else NOT


def _times(ratio: Interval, what: str = "") -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.mean:.2f} times{what}, one seed"
    return f"{ratio.mean:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] times{what}, {ratio.count} seeds"


def lrn(base: str) -> Callable[[Studies], Found]:
    """Leaving normalisation out of a net for CIFAR-10 costs points."""

    def judge(studies: Studies) -> Found:
        found = measures.effect(studies["lrn_cifar"], "no-lrn", base)
        value = found.differences.get("top1_error") if found else None
        return signed(value, 1, shown(value))

    return judge


def views(studies: Studies) -> Found:
    """Ten views against one on photos of 224 pixels."""
    gains = [g["top1_error"] for n, g in measures.view_gains({"ten_views": studies["ten_views"]}).items()]
    value = gains[0] if gains else None
    return signed(value, -1, shown(value))


def every_view(studies: Studies) -> Found:
    """How many of the networks of all studies gain."""
    gains = [g["top1_error"] for g in measures.view_gains(studies).values()]
    judged = [g for g in gains if g.low is not None]
    if not judged:
        return "", WAITING
    better = sum(g.high is not None and g.high < 0 for g in judged)
    worse = sum(g.low is not None and g.low > 0 for g in judged)
    text = f"of {len(judged)} networks {better} gain, {worse} lose, {len(judged) - better - worse} neither"
    return text, REPRODUCED if better == len(judged) else NOT


def overfits(variant: str, base: str = "base") -> Callable[[Studies], Found]:
    """Without a remedy the gap between held-out and training error is wider."""

    def judge(studies: Studies) -> Found:
        value = measures.paired(studies["overfitting"], variant, measures.overfit, base)
        return signed(value, 1, f"gap between held-out and training error {shown(value)}" if value else "")

    return judge


def early(study: str) -> Callable[[Studies], Found]:
    """Biases of 0 leave the loss of the first epoch higher."""

    def judge(studies: Studies) -> Found:
        value = measures.paired(studies[study], "bias-0", measures.first_loss)
        return signed(value, 1, f"loss of the first epoch {shown(value, 'nats', 1)}" if value else "")

    return judge


def plain_pooling_overfits(study: str) -> Callable[[Studies], Found]:
    """Plain pooling widens the gap between held-out and training error."""

    def judge(studies: Studies) -> Found:
        value = measures.paired(studies[study], "plain-pooling", measures.overfit)
        return signed(value, 1, f"gap between held-out and training error {shown(value)}" if value else "")

    return judge


def start_of_the_text(studies: Studies) -> Found:
    """Whether the start values of the text leave the plateau in every run."""
    found = studies["will_it_train"]
    epochs = {
        kind: [row["leaves_plateau_in_epoch"] for row in found if row["start"].startswith(kind)]
        for kind in ("paper: sigma .01, biases 1", "source")
    }
    text, source = epochs.values()
    if len(text) < 2 or len(source) < 2:
        return "", WAITING
    told = [", ".join("never" if e is None else str(e) for e in part) for part in (text, source)]
    result = f"leaves the plateau in epochs {told[0]} of 20; the start of the source in epochs {told[1]}"
    return result, REPRODUCED if None not in text else NOT


def together(studies: Studies) -> Found:
    """Five networks together err less than each of them."""
    found = studies["ensemble"]
    members = [
        e for row in found if row["variant"] == "member" and (e := results.error(row, "top1_error", "test")) is not None
    ]
    joint = [
        e
        for row in found
        if row["variant"] == "together" and (e := results.error(row, "top1_error", "test")) is not None
    ]
    if not joint or len(members) < 2:
        return "", WAITING
    mean = sum(members) / len(members)
    text = (
        f"{100 * joint[0]:.1f} % together, {100 * mean:.1f} % on average, {100 * min(members):.1f} % the best of "
        f"{len(members)} (top-1, photos)"
    )
    return text, REPRODUCED if joint[0] < min(members) else NOT


def larger(kind: str) -> Callable[[Studies], Found]:
    """LeNet with ReLU errs more than AlexNet."""

    def judge(studies: Studies) -> Found:
        def error(row: results.Row) -> float:
            return results.error(row, "top1_error", measures.split_of([row])) or 0.0

        value = measures.paired(studies["lenet_alexnet"], f"LeNet, ReLU, {kind}", error, f"AlexNet, {kind}")
        return signed(value, 1, f"LeNet with ReLU {shown(value)}" if value else "")

    return judge


@cache
def counts() -> Summary:
    """The network of 2012, counted."""
    return summarize(build_model(find_recipe("alexnet-2012").model))


def size(studies: Studies) -> Found:
    """Parameters and neurons, in the millions and tens of thousands that the paper names."""
    counted = counts()
    right = round(counted.parameters, -7) == 60_000_000 and round(counted.neurons, -4) in (650_000, 660_000)
    return f"{counted.parameters:,} parameters, {counted.neurons:,} neurons", REPRODUCED if right else NOT


def small_convolutions(studies: Studies) -> Found:
    """The share of the parameters that each convolution holds."""
    shares = {row.name: row.parameters / counts().parameters for row in counts().layers if row.name.startswith("conv")}
    text = ", ".join(f"{name} {100 * share:.2f} %" for name, share in shares.items())
    return text, REPRODUCED if max(shares.values()) <= 0.01 else NOT


def windows(studies: Studies) -> Found:
    """In how many ways an image of 256 pixels can be cut to 224 and mirrored."""
    places = len(np.unique(crop_offsets(0, 1, np.arange(20_000), 256 - 224)[:, 0]))
    return f"{places} x {places} x 2 = {2 * places * places:,} in the code", REPRODUCED if places == 32 else NOT


def beyond(why: str) -> Callable[[Studies], Found]:
    """A claim that nothing here can test."""
    return lambda studies: (why, UNTESTABLE)

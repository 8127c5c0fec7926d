"""Every claim of the paper beside what the studies found: writes docs/claims.md from their rows.

python studies/claims.py [--results results] [--out docs/claims.md]

The rule of the verdicts. A claim of a direction is reproduced if the 95 % interval of the paired difference over seeds lies
wholly on the claimed side of zero, else not reproduced; its size is not judged, for it was measured on ImageNet. A claim of
a factor is reproduced if the interval of the factor holds it. A claim that needs ImageNet, its classes or two GPUs is not
testable at this scale. A claim whose study has no rows, or one seed only, is not measured yet.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import measures
from measures import Studies

from alexnet import rows
from alexnet.ingredients import BY_NAME
from alexnet.intervals import Interval
from alexnet.tables_lab import claimed

REPRODUCED, NOT, UNTESTABLE, WAITING = "reproduced", "not reproduced", "not testable at this scale", "not measured yet"
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
    right = value.low > 0 if direction > 0 else value.high < 0
    return text, REPRODUCED if right else NOT


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

    figures = [f"{claimed(known.paper)} points" if known.paper else "", known.recorded]
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
        text = f"{slow} needs {least}{_times(ratio)} the epochs of ReLU"
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


def _times(ratio: Interval) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.mean:.2f} times, one seed"
    return f"{ratio.mean:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] times, {ratio.count} seeds"


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
        e for row in found if row["variant"] == "member" and (e := rows.error(row, "top1_error", "test")) is not None
    ]
    joint = [
        e for row in found if row["variant"] == "together" and (e := rows.error(row, "top1_error", "test")) is not None
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
        def error(row: rows.Row) -> float:
            return rows.error(row, "top1_error", measures.split_of([row])) or 0.0

        value = measures.paired(studies["lenet_alexnet"], f"LeNet, ReLU, {kind}", error, f"AlexNet, {kind}")
        return signed(value, 1, f"LeNet with ReLU {shown(value)}" if value else "")

    return judge


def counted(text: str, verdict: str) -> Callable[[Studies], Found]:
    """A claim that counting settles."""
    return lambda studies: (text, verdict)


def beyond(why: str) -> Callable[[Studies], Found]:
    """A claim that nothing here can test."""
    return lambda studies: (why, UNTESTABLE)


MIDDLE = [
    ingredient(f"no-{layer}", f"ingredients_{d}") for layer in ("conv3", "conv4", "conv5") for d in ("cifar", "photos")
]
CLAIMS: tuple[Claim, ...] = (
    Claim(
        "ReLU reaches 25 % training error sooner than tanh", "3.1", "figure 1", study_command("figure_1"), race("tanh")
    ),
    Claim("six times sooner", "3.1", "about 6 against about 36 epochs", study_command("figure_1"), six_times),
    Claim(
        "ReLU sooner than the logistic function",
        "3.1",
        "saturating units are slower",
        study_command("figure_1"),
        race("sigmoid"),
    ),
    Claim(
        "normalisation lowers the error of a four-layer network on CIFAR-10: net of 18 %, on and off",
        "3.3",
        "13 % to 11 %, by two nets that differ in more",
        study_command("lrn_cifar"),
        lrn("cifar-18pct"),
    ),
    Claim("the same: net of 11 %, on and off", "3.3", "13 % to 11 %", study_command("lrn_cifar"), lrn("cifar-11pct")),
    *(ingredient("no-lrn", f"ingredients_{data}") for data in ("cifar", "photos")),
    *(ingredient("plain-pooling", f"ingredients_{data}") for data in ("cifar", "photos")),
    Claim(
        "networks with overlapping pooling overfit slightly less (CIFAR-10)",
        "3.4",
        "observed",
        study_command("ingredients_cifar"),
        plain_pooling_overfits("ingredients_cifar"),
    ),
    *(ingredient("half-net", f"ingredients_{data}") for data in ("cifar", "photos")),
    Claim("two GPUs take slightly less time than one", "3.2", "stated", "", beyond("needs two GPUs")),
    Claim(
        "without crops and mirrors the network overfits substantially",
        "4.1",
        "stated",
        study_command("overfitting"),
        overfits("no-augmentation"),
    ),
    *(ingredient("no-augmentation", f"ingredients_{data}") for data in ("cifar", "photos")),
    *(ingredient("no-colour", f"ingredients_{data}") for data in ("cifar", "photos")),
    Claim(
        "crops and mirrors multiply the training set by 2,048",
        "4.1",
        "32 x 32 x 2",
        "`pytest tests/test_augment.py`",
        counted("33 x 33 x 2 = 2,178 in the code: windows start at 0 to 32", NOT),
    ),
    Claim(
        "ten views err less than one: network of 2012 an eighth as wide, photos of 224 pixels",
        "4.1",
        "37.5 / 17.0 against 39.0 / 18.3",
        study_command("ten_views"),
        views,
    ),
    Claim("the same for every network of all studies", "4.1", "1.5 / 1.3 points", "`make figures`", every_view),
    Claim(
        "without dropout the network overfits substantially",
        "4.2",
        "stated",
        study_command("overfitting"),
        overfits("no-dropout"),
    ),
    *(ingredient("no-dropout", f"ingredients_{data}") for data in ("cifar", "photos")),
    *(
        ingredient("no-decay", f"ingredients_{data}", 1, "train_error", "weight decay lowers the training error")
        for data in ("cifar", "photos")
    ),
    Claim(
        "biases of 1 speed up the early stages (CIFAR-10)",
        "5",
        "stated",
        study_command("ingredients_cifar"),
        early("ingredients_cifar"),
    ),
    Claim(
        "biases of 1 speed up the early stages (photos)",
        "5",
        "stated",
        study_command("ingredients_photos"),
        early("ingredients_photos"),
    ),
    Claim(
        "sigma .01 in every layer and biases of 1 are a start that learns",
        "5",
        "the source has sigma .03 in conv3 to conv5",
        study_command("will_it_train"),
        start_of_the_text,
    ),
    Claim(
        "averaging five networks errs less than each of them",
        "6.1",
        "18.2 to 16.4 (top-5)",
        study_command("ensemble"),
        together,
    ),
    *MIDDLE,
    Claim(
        "60 million parameters, 650,000 neurons",
        "1, 3.5",
        "layers-145.cfg: 60,965,224; 659,272",
        "`alexnet summary`",
        counted("60,965,224 parameters, 659,272 neurons", REPRODUCED),
    ),
    Claim(
        "each convolution holds no more than 1 % of the parameters",
        "1",
        "stated",
        "`alexnet summary`",
        counted("conv3 holds 1.45 %, conv4 1.09 %", NOT),
    ),
    *(
        ingredient(name, "ingredients_cifar", 1, claim=claim)
        for name, claim in (
            ("silent-towers", "towers that never talk are worse"),
            ("tanh", "tanh in a deep network errs more after the same epochs"),
        )
    ),
    Claim(
        "LeNet errs more than AlexNet on small grey pictures",
        "D2L 8.1",
        "-",
        study_command("lenet_alexnet"),
        larger("grey 28"),
    ),
    Claim(
        "LeNet errs more than AlexNet on photos", "D2L 8.1", "-", study_command("lenet_alexnet"), larger("photos 56")
    ),
    Claim("ILSVRC-2010: 37.5 / 17.0", "6", "37.47 / 17.00 (net 145)", "", beyond("needs ImageNet and a GPU")),
    Claim(
        "ILSVRC-2012: 40.7 / 18.2, one network",
        "6.1",
        "40.66 / 18.21 (net 145)",
        "",
        beyond("needs ImageNet and a GPU"),
    ),
    Claim(
        "pre-trained on all of ImageNet 2011: 16.6, seven networks 15.3 (top-5)",
        "6.1",
        "38.99 / 16.62 (net 146)",
        "",
        beyond("needs 21,843 classes and a GPU"),
    ),
    Claim("Fall 2009, 10,184 classes: 67.4 / 40.9", "6", "-", "", beyond("needs 8.9 million pictures and a GPU")),
    Claim(
        "one tower learns colours, the other none",
        "6.1",
        "figure 3",
        "",
        beyond("seen on 1.2 million pictures; not tried here"),
    ),
    Claim(
        "near features of fc7 mean alike pictures",
        "6.1",
        "figure 4",
        "",
        beyond("shown by eye in the paper; no figure to reach"),
    ),
)

HEAD = """# Claims

What the paper of 2012 claims, what it or the notebook of the source records, and what the studies of this project found.
Written by `make figures` from `results/*.jsonl`; do not edit. Figures of 2012 are top-1 / top-5 in % or points of ImageNet;
ours are of other pictures and of far smaller networks, so signs can be compared and sizes cannot. Intervals are 95 % t
intervals of the difference between runs with the same seed.

"""


def cells(claim: Claim, studies: Studies) -> tuple[str, ...]:
    """A line of the table."""
    result, verdict = claim.judge(studies)
    return (claim.text, claim.section, claim.recorded or "-", claim.command or "-", result or "-", verdict)


def document(studies: Studies) -> str:
    """The whole of docs/claims.md."""
    rule = (__doc__ or "").split("\n\n")[-1].strip()
    columns = ("claim", "section", "2012", "our experiment", "our result", "verdict")
    lines = [columns, tuple("---" for _ in columns), *(cells(claim, studies) for claim in CLAIMS)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    figures = "\n".join(f"![{name}](../results/{name}.svg)\n" for name, found in studies.items() if found)
    return f"{HEAD}{rule}\n\n{table}\n\n## Figures\n\n{figures}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parent.parent
    parser.add_argument("--results", type=Path, default=root / "results")
    parser.add_argument("--out", type=Path, default=root / "docs/claims.md")
    typed = parser.parse_args()
    typed.out.write_text(document(measures.load(typed.results)))

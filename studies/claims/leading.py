"""The table that docs/claims.md leads with: every ingredient of 2012, one line each, in the order of the paper's story.

The estimates are those of studies/PLAN.md: 14 arms on all of CIFAR-10, corrected as one family, and ten views against
one on the networks of the base.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from alexnet.experiments.inference import Estimate
from alexnet.experiments.results import Row
from alexnet.experiments.verdicts import Judged, Verdict, in_words
from alexnet.recipes.ingredients import BASE
from studies.claims import measures, verdicts
from studies.claims.measures import Studies
from studies.claims.verdicts import Sign
from studies.paper import evidence

STUDY = evidence.NAME
TEN_VIEWS = "ten-views"


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    arm: str
    ingredient: str
    change: str  # what the arm does
    recorded: str  # of 2012, in points of ImageNet
    paper: float | None = None  # as a share, if there is a figure
    chinese: tuple[str, str] = ("", "")  # ingredient and change


LINES: tuple[Line, ...] = (
    Line(
        "tanh", "ReLU", "tanh, at its own learning rate", "worse (3.1)", None, ("ReLU", "换成 tanh，用它自己的学习率")
    ),
    Line(
        "no-crops-flips",
        "augmentation",
        "no crops, no flips; color noise stays",
        "overfits (4.1)",
        None,
        ("图像增广", "不裁剪、不翻转，保留颜色扰动"),
    ),
    Line("no-color", "augmentation", "no color noise", "over +1 (4.1)", 0.01, ("图像增广", "不加颜色扰动")),
    Line(
        "plain-pooling",
        "overlapping pooling",
        "windows that do not overlap",
        "+0.4 (3.4)",
        0.004,
        ("重叠汇聚", "汇聚窗口不重叠"),
    ),
    Line("no-lrn", "LRN", "no normalization", "+1.4 (3.3)", 0.014, ("LRN", "不做归一化")),
    Line("no-dropout", "dropout", "no dropout", "overfits (4.2)", None, ("dropout", "不用 dropout")),
    Line("fc6-dropout", "dropout", "in fc6 only", "-", None, ("dropout", "只在 fc6 用")),
    Line(
        "half-net",
        "two GPUs",
        "one tower of half the kernels",
        "+1.7 (3.2)",
        0.017,
        ("两块 GPU", "只留一塔，卷积核减半"),
    ),
    Line(
        "silent-towers",
        "two GPUs",
        "towers that meet in fc8 only",
        "+1.17 (net 150)",
        0.0117,
        ("两块 GPU", "两塔到 fc8 才相遇"),
    ),
    *(
        Line(f"no-{layer}", "depth", f"without {layer}", "+2 (7)", 0.02, ("深度", f"去掉 {layer}"))
        for layer in ("conv3", "conv4", "conv5")
    ),
    Line(
        "bias-0", "initial biases of 1", "initial biases of 0", "learns later (5)", None, ("偏置初值 1", "偏置初值 0")
    ),
    Line("no-decay", "weight decay", "no weight decay", "fits worse (5)", None, ("权重衰减", "不用权重衰减")),
)


def tests() -> dict[str, Sign]:
    """The family of the plan, by arm."""

    def of(arm: str) -> Sign:
        return Sign(lambda rows: measures.effect(rows, arm), STUDY, 1)

    return {line.arm: of(line.arm) for line in LINES}


def judged(studies: Studies) -> dict[str, tuple[Estimate | None, Judged]]:
    """Arm -> its estimate and verdict; the family has fourteen members, whether they have rows or not."""
    return verdicts.family_of(studies, tests())


def views(studies: Studies) -> Estimate | None:
    """Ten views less one, on the networks of the base."""
    return measures.ten_views([row for row in studies[STUDY] if row["variant"] == BASE])


def diverged(rows: Sequence[Row], arm: str) -> int:
    """How many runs of an arm diverged."""
    return sum(row["outcome"] == "diverged" for row in rows if row["variant"] == arm)


def in_points(value: Estimate | None) -> tuple[str, str, str]:
    """Effect, interval and runs, as cells."""
    if value is None:
        return "-", "-", "-"
    runs = " / ".join(map(str, value.counts))
    if value.low is None or value.high is None:
        return f"{100 * value.effect:+z.2f}", "-", runs
    return f"{100 * value.effect:+z.2f}", f"[{100 * value.low:+z.2f}, {100 * value.high:+z.2f}]", runs


def plain(line: Line, found: Estimate | None, judgement: Judged, failed: int) -> str:
    """A verdict in plain words."""
    if found is None or judgement.verdict == Verdict.NOT_MEASURED or found.counts[0] < evidence.FIRST_LOOK:
        return str(Verdict.NOT_MEASURED)  # by the plan nothing is looked at before
    text = in_words(judgement, found)
    if line.paper is not None:
        text += "; the interval " + ("holds" if found.holds(line.paper) else "does not hold") + " the value of 2012"
    if found.heterogeneity is not None:
        text += f"; {found.blocks} machines, heterogeneity p = {found.heterogeneity:.2f}"
    return text + (f"; {failed} runs diverged and count with 90 %" if failed else "")


def table(studies: Studies) -> str:
    """The lines, as Markdown."""
    found = judged(studies)
    columns = ("ingredient", "changed", "effect, points", "95 % interval", "runs", "2012, points", "verdict")
    lines = [columns, tuple("---" for _ in columns)]
    for line in LINES:
        value, judgement = found[line.arm]
        verdict = plain(line, value, judgement, diverged(studies[STUDY], line.arm))
        lines.append((line.ingredient, f"{line.change} ({line.arm})", *in_points(value), line.recorded, verdict))
    ten = views(studies)
    text = "not measured yet"
    if ten is not None and ten.low is not None:
        text = "beside the family; the interval " + ("holds" if ten.holds(-0.015) else "does not hold") + " -1.5"
    lines.append(("ten views", "ten views against one (ten-views)", *in_points(ten), "-1.5 (4.1)", text))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)

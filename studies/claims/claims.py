"""Every claim of the paper beside what the studies found: writes docs/claims.md, in Chinese too, from their rows.

python -m studies.claims.claims [--results results] [--out docs/claims.md]

The rule of the verdicts. A claimed sign is supported if the 95 % interval of the difference lies wholly on the claimed
side of zero and its p value is under 5 % after Holm's correction for all claims that are tested on the rows of the same
study; contradicted if the same is true of the other side; too small to matter here if the interval lies within the
smallest effect that matters, which is 1 point of error (a tenth of the epochs, 0.01 nats); and undecided otherwise,
with the number of seeds of each arm after which, with the spread found, half of the interval would be 0.6 of that.
Undecided is not "no effect". The probability of one wrong verdict or more in a study whose effects are all zero is 5 %.
Sizes are not judged, for those of 2012 were measured on ImageNet; whether the interval holds them is said. What is
counted, as parameters, has no interval. A claim whose study has no rows, or one seed only, is not measured yet.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from alexnet.experiments.inference import Estimate
from alexnet.experiments.verdicts import Judged, Verdict, in_words
from harness import ROOT
from studies.claims import leading, measures, sanity, secondary, verdicts
from studies.claims.chinese import in_chinese
from studies.claims.figures import FIGURES, FOREST, drawn
from studies.claims.leading import LINES, Line
from studies.claims.measures import Studies, first_loss, overfit, train_error
from studies.claims.verdicts import (
    SECONDARY,
    Claim,
    Found,
    Sign,
    beyond,
    compared,
    doubled,
    every_view,
    ingredient,
    race,
    six_times,
    size,
    small_convolutions,
    start_of_the_text,
    study_command,
    together,
    which_train,
    windows,
)
from studies.paper import photos_folds

BOOK = "D2L 8.1 (Chinese edition 7.1)"
GAP = "gap between held-out and training error"
CIFAR = "evidence_cifar"


def counted(text: str, section: str, recorded: str, command: str, count: Callable[[Studies], Found]) -> Claim:
    """A claim that no test decides."""
    return Claim(text, section, recorded, command, count=count)


def folded(line: Line) -> Claim:
    """What the change of an ingredient adds to an error on photos, by cross-validation."""
    test = Sign(lambda rows: photos_folds.looked_at(rows, line.arm), "photos_folds", 1, paper=line.paper)
    text = f"photos in five folds: {line.change} ({line.arm})"
    return Claim(text, "as above", line.recorded, study_command("photos_folds"), test)


CLAIMS: tuple[Claim, ...] = (
    race("tanh"),
    counted("six times sooner", "3.1", "about 6 against about 36 epochs", study_command("figure_1"), six_times),
    race("sigmoid"),
    ingredient("tanh", "tanh in a deep network, at the learning rate of ReLU, errs more after the same epochs"),
    *(
        compared(text, "3.3", recorded, "lrn_cifar", "no-lrn", recipe=net)
        for net, text, recorded in (
            (
                "cifar-18pct",
                "normalization lowers the error of a four-layer network on CIFAR-10: net of 18 %, on and off",
                "13 % to 11 %, by two nets that differ in more",
            ),
            ("cifar-11pct", "the same: net of 11 %, on and off", "13 % to 11 %"),
        )
    ),
    ingredient("no-lrn"),
    ingredient("plain-pooling"),
    compared(
        "networks with overlapping pooling overfit slightly less (CIFAR-10)",
        "3.4",
        "observed",
        CIFAR,
        "plain-pooling",
        overfit,
        what=GAP,
        secondary=True,
    ),
    compared(
        "networks with overlapping pooling overfit slightly less (photos)",
        "3.4",
        "observed",
        "ingredients_photos",
        "plain-pooling",
        overfit,
        what=GAP,
    ),
    ingredient("half-net"),
    counted(
        "two GPUs take slightly less time than one",
        "3.2",
        "stated; of a net of half the size, so it is no claim of a great speed-up",
        "",
        beyond("needs two GPUs"),
    ),
    compared(
        "without crops, flips and color noise the network overfits substantially",
        "4.1",
        "stated, of crops and flips",
        "overfitting",
        "no-augmentation",
        overfit,
        what=GAP,
    ),
    ingredient("no-augmentation", "without crops, flips and color noise it errs more"),
    ingredient("no-color", "color noise lowers top-1 error by over 1 point"),
    counted(
        "crops and flips multiply the training set by 2,048",
        "4.1",
        "32 x 32 x 2",
        "`pytest tests/data/test_augment.py`",
        windows,
    ),
    Claim(
        "ten views err less than one: network of 2012 an eighth as wide, photos of 224 pixels",
        "4.1",
        "37.5 / 17.0 against 39.0 / 18.3",
        study_command("ten_views"),
        Sign(measures.ten_views, "ten_views", -1, paper=-0.015),
    ),
    counted("the same for every network of all studies", "4.1", "1.5 / 1.3 points", "`make figures`", every_view),
    compared(
        "without dropout the network overfits substantially",
        "4.2",
        "stated",
        "overfitting",
        "no-dropout",
        overfit,
        what=GAP,
    ),
    ingredient("no-dropout", "without dropout it errs more"),
    counted("dropout doubles the iterations", "4.2", "stated", study_command("dropout_iterations"), doubled),
    compared(
        "weight decay lowers the training error (CIFAR-10)",
        "5",
        "stated",
        CIFAR,
        "no-decay",
        train_error,
        what="training error",
        secondary=True,
    ),
    ingredient("no-decay", "weight decay lowers the training error", train_error),
    compared(
        "biases of 1 speed up the early stages (CIFAR-10)",
        "5",
        "stated",
        CIFAR,
        "bias-0",
        first_loss,
        what="loss of the first epoch",
        unit="nats",
        secondary=True,
    ),
    compared(
        "biases of 1 speed up the early stages (photos)",
        "5",
        "stated",
        "ingredients_photos",
        "bias-0",
        first_loss,
        what="loss of the first epoch",
        unit="nats",
    ),
    counted(
        "sigma .01 in every layer and biases of 1 are initial weights that learn",
        "5",
        "the source has sigma .03 in conv3 to conv5",
        study_command("will_it_train"),
        start_of_the_text,
    ),
    counted(
        "which activations leave the plateau, with the weights of the source, the paper, Xavier and Kaiming",
        "5",
        "asked here",
        study_command("which_train"),
        which_train,
    ),
    ingredient(
        "init-paper", "with sigma .01 in every layer, after the text, it errs more than with that of the source"
    ),
    counted(
        "averaging five networks errs less than each of them (photos)",
        "6.1",
        "18.2 to 16.4 (top-5)",
        study_command("ensemble"),
        together,
    ),
    *(ingredient(f"no-{layer}") for layer in ("conv3", "conv4", "conv5")),
    *(folded(line) for line in LINES if line.arm in photos_folds.CHANGES),
    counted(
        "60 million parameters, 650,000 neurons",
        "1, 3.5",
        "layers-145.cfg: 60,965,224, which are 244 MB in float32; 659,272",
        "`alexnet summary`",
        size,
    ),
    counted(
        "each convolution holds no more than 1 % of the parameters",
        "1",
        "stated",
        "`alexnet summary`",
        small_convolutions,
    ),
    *(
        compared(
            f"LeNet with ReLU errs more than AlexNet on {where}",
            BOOK,
            "-",
            "lenet_alexnet",
            f"LeNet, ReLU, {kind}",
            base=f"AlexNet, {kind}",
        )
        for where, kind in (("small gray images", "grey 28"), ("photos", "photos 56"))
    ),
    counted("ILSVRC-2010: 37.5 / 17.0", "6", "37.47 / 17.00 (net 145)", "", beyond("needs ImageNet and a GPU")),
    counted(
        "ILSVRC-2012: 40.7 / 18.2, one network",
        "6.1",
        "40.66 / 18.21 (net 145)",
        "",
        beyond("needs ImageNet and a GPU"),
    ),
    counted(
        "pre-trained on all of ImageNet 2011: 16.6, seven networks 15.3 (top-5)",
        "6.1",
        "38.99 / 16.62 (net 146)",
        "",
        beyond("needs 21,843 classes and a GPU"),
    ),
    counted("Fall 2009, 10,184 classes: 67.4 / 40.9", "6", "-", "", beyond("needs 8.9 million images and a GPU")),
    counted(
        "one tower learns colors, the other none",
        "6.1",
        "figure 3",
        "",
        beyond("seen on 1.2 million images; not tried here"),
    ),
    counted(
        "near features of fc7 mean alike images",
        "6.1",
        "figure 4",
        "",
        beyond("shown by eye in the paper; no figure to reach"),
    ),
)

HEAD = """# Claims

[中文](claims.zh-CN.md)

What the paper of 2012 claims, what it or the notebook of the source records, and what the studies of this project
found. Written by `make figures` from `results/*.jsonl`; do not edit.

## The ingredients

Each line takes one ingredient out of a network with all of them, and says how many points of top-1 error that adds: on
all of CIFAR-10, 50,000 training and 10,000 test images, one center view, the network of 2012 an eighth as wide. What
was asked, how many runs it takes and when they end was written down before the first of them:
[the plan](../studies/PLAN.md). Runs are those of the arm / of the base. Intervals count chance in the seeds and in the
test images. Figures of 2012 are of ImageNet, and of pairs of nets that differ in more than the ingredient.

"""
CHECKS = """

The analysis was checked on the runs of the base. """
DETAILS = """

## Claim by claim

Most of these studies were made before the plan: three seeds, a few thousand images, short schedules. Their intervals
are of several points, and most of what the paper found is less, so most verdicts are "undecided": nothing was found
against the paper, and nothing for it. Their rows do not keep which images were wrong, so the intervals (Student's t by
Welch, runs not paired) hold for the test images used. Networks of these studies are a quarter as wide as that of 2012
if the line does not say otherwise, and learn for 8 to 30 epochs. Figures of 2012 are top-1 / top-5 in % or points of
ImageNet. The learning rates of the pairs of nets that 2012 compared were lowered by eye, each in its own epochs, which
the table lists with the value of the other net in brackets.

"""


def document(studies: Studies) -> str:
    """The whole of docs/claims.md."""
    rule = (__doc__ or "").split("\n\n")[-1].strip()
    tested = {claim.text: claim.test for claim in CLAIMS if claim.test is not None}
    judged = verdicts.family_of(studies, tested)
    columns = ("claim", "section", "2012", "our experiment", "our result", "verdict")
    lines = [columns, tuple("---" for _ in columns)]
    for claim in CLAIMS:
        result, verdict = found_for(claim, studies, judged)
        lines.append((claim.text, claim.section, claim.recorded or "-", claim.command or "-", result or "-", verdict))
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    figures = "\n".join(
        f"![{name}](../results/{name}.svg)\n" for name in FIGURES if name != FOREST and drawn(name, studies)
    )
    forest = f"\n\n![Every ingredient with its interval](../results/{FOREST}.svg)" if drawn(FOREST, studies) else ""
    checks = f"{CHECKS}{sanity.in_words(studies[CIFAR])}"
    ingredients = f"{HEAD}{leading.table(studies)}{forest}\n\n{rule}{checks}\n\n{secondary.section(studies)}"
    return f"{ingredients}{DETAILS}{table}\n\n## Figures\n\n{figures}"


def found_for(claim: Claim, studies: Studies, judged: Mapping[str, tuple[Estimate | None, Judged]]) -> Found:
    """Result and verdict of a claim."""
    test = claim.test
    if test is None:
        assert claim.count is not None
        return claim.count(studies)
    found, judgement = judged[claim.text]
    if found is None or judgement.verdict == Verdict.NOT_MEASURED:
        return verdicts.shown(found, test.unit), Verdict.NOT_MEASURED
    result = f"{test.what} {verdicts.shown(found, test.unit)}".strip()
    remarks = verdicts.remarks(test, studies[test.study], found)
    holds = ""
    if test.paper is not None:
        holds = "; the interval " + ("holds" if found.holds(test.paper) else "does not hold") + " the value of 2012"
    verdict = SECONDARY if test.secondary else f"{in_words(judgement, found)}{holds}"
    return "; ".join(part for part in (result, remarks) if part), verdict


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/claims.md")
    typed = parser.parse_args()
    page = document(measures.load(typed.results))
    typed.out.write_text(page, encoding="utf-8")
    typed.out.with_suffix(".zh-CN.md").write_text(in_chinese(page), encoding="utf-8")

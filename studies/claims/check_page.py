"""Writes docs/check.md: what `alexnet check` says of small networks, and which of them trained.

python -m studies.claims.check_page

The verdicts are computed again from the numbers in the rows, so a change of the thresholds changes the page.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from alexnet.storage.files import read_rows
from alexnet.training.check import Check, LayerCheck, verdicts_of
from harness import ROOT
from studies.paper.check_calibration import ACTIVATIONS, BATCH, OUT, SIGNIFICANT, STEPS, Case, recipe_of

AGAINST = ("slow", "plateau")  # also as warnings: a run learns nothing for long
DOCUMENT = ROOT / "docs/check.md"
PAGE = """\
# What `alexnet check` says, and what then happens

`alexnet check PHOTOS` makes one forward and one backward pass before the first step and says whether the network will
train. Its verdicts have a severity: with `fatal` the command ends with exit code 4 (E402); a `warning` says what may
cost time. What it measures stands in `alexnet/training/check.py`.

How far it can be relied on was measured: small networks of three families, with every activation, initial weights,
optimizers, and learning rates that are right, too high and too low, on the handwritten digits and on CIFAR-10. Each was
checked, then trained for {steps} steps of {batch} images. It trains if its error on the validation images is below that
of the most frequent class (one-sided binomial test, p < {significant}). "Said to" means that no verdict is fatal and
none warns of a plateau or of first steps that change almost nothing. The rows are in
`results/check_calibration.jsonl`, with numbers, commands, seeds, machine and commit.
`python -m studies.paper.check_calibration CIFAR10` makes them, and `python -m studies.claims.check_page` makes this
page from them.

| runs | how many | said to, does | said to, does not | said not to, does | said not to, does not | right |
|---|---|---|---|---|---|---|
{table}

"Does not" is a statement on {steps} steps: some of these networks would begin to learn later.

Foretold wrongly:

| run | what the check says | error on validation |
|---|---|---|
{wrong}
"""


def case_of(row: dict[str, Any]) -> Case:
    """The case of a row."""
    data, base, *changes = row["case"].split(" ")
    return Case(data, base, tuple(changes))


def topics(row: dict[str, Any]) -> tuple[str, ...]:
    """What today's `alexnet check` says against the network whose numbers are in a row: the topics of its verdicts."""
    numbers = row["check"]
    layers = tuple(LayerCheck(**layer) for layer in numbers["layers"])
    check = Check(**{**numbers, "layers": layers, "verdicts": ()})
    return tuple(
        v.topic for v in verdicts_of(check, recipe_of(case_of(row))) if v.severity == "fatal" or v.topic in AGAINST
    )


def predicted(row: dict[str, Any]) -> bool:
    """Whether today's `alexnet check` lets a run begin: no verdict is fatal or warns of a standstill."""
    return not topics(row)


def table(rows: Sequence[dict[str, Any]]) -> dict[tuple[bool, bool], int]:
    """How many runs there are of each kind: (predicted to train, trains) -> count."""
    pairs = [(predicted(row), row["trains"]) for row in rows]
    return {kind: pairs.count(kind) for kind in itertools.product((True, False), repeat=2)}


def document(rows: Sequence[dict[str, Any]]) -> str:
    """The page: the confusion table, by data, optimizer and activation too, and every run that was foretold wrongly."""
    parts = {"all": list(rows)}
    parts |= {data: [row for row in rows if case_of(row).data == data] for data in ("digits", "cifar10")}
    parts |= {name: [row for row in rows if f"algorithm={name}" in row["case"]] for name in ("sgd-2012", "adamw")}
    parts |= {name: [row for row in rows if f"activation={name}" in row["case"]] for name in ACTIVATIONS}
    lines = []
    for name, some in parts.items():
        counts = table(some)
        right = counts[True, True] + counts[False, False]
        cells = (counts[True, True], counts[True, False], counts[False, True], counts[False, False])
        share = f"{100 * right / len(some):.0f} %" if some else ""
        lines.append(f"| {name} | {len(some)} | {' | '.join(map(str, cells))} | {share} |")
    wrong = [
        f"| {row['case']} | {', '.join(topics(row)) or 'sound'} | {100 * row['val_wrong'] / row['val_count']:.0f} % |"
        for row in sorted(rows, key=lambda row: str(row["case"]))
        if predicted(row) != row["trains"]
    ] or ["| none | | |"]
    texts = {"table": "\n".join(lines), "wrong": "\n".join(wrong)}
    return PAGE.format(steps=STEPS, batch=BATCH, significant=SIGNIFICANT, **texts)


if __name__ == "__main__":
    DOCUMENT.write_text(document(read_rows(OUT)[0]))

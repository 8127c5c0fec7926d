"""Every ingredient of AlexNet with enough runs to decide: studies/PLAN.md, on all of CIFAR-10.

python -m studies.paper.evidence CIFAR10 [--together 2] [--dry-run]

CIFAR10 has train/ and test/ with class folders; in the rows the test images stand as "val", as always where there is no
third part. The plan's stages follow each other: the learning rates of ReLU and
tanh, the number of epochs, the pilot, then rounds of runs until every interval is narrow enough. What comes next is
read from the rows that are there, so the same command goes on after any stop, and rows of another machine count.

About four minutes of one core for a run of 6 epochs; about 130 runs, if seeds differ by half a point.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from alexnet.experiments import results
from alexnet.experiments.distributions import student_t
from alexnet.experiments.inference import Estimate, estimate
from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from alexnet.experiments.samples import blocks_of
from alexnet.recipes.ingredients import BASE
from studies.paper import rates, study
from studies.paper.study import Options

NAME, RECIPE = "evidence_cifar", "small-cifar"
LAST = 500  # of each class: the images that choose
SEARCH_EPOCHS = 4
EPOCHS = (6, 8, 11, 15, 20)
STILL_FALLS = 0.003  # of error, from the first epoch after the last drop to the last
CHOICE_SEED, LOOKS, PILOTS = 1000, 2, 8
LEAST_ROUNDS, MOST_ROUNDS, MORE_ROUNDS = 6, 30, 2
FIRST_LOOK = 8  # rounds before it at most: the spread of the pilot, on half as many images, asks for too many
BASE_RUNS = 4  # for each run of an arm
FIRST_AIM, AIM = 0.005, 0.006  # half-widths: by the pilot, and when an arm is done
CHOICE = "choice"  # begins the names of rows that no test uses
# an eighth as wide as in 2012: what two cores can carry out; each unit sums fewer products, so weights begin larger
NARROW = ("model.width=0.125", "model.init_scale=2.8", "batch_size=128")

RELU, TANH = "relu", "tanh, biases 0"
# The biases of 1 give ReLUs positive inputs (section 5 of the paper); a tanh has little slope there.
ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    RELU: ("model.activation=relu",),
    TANH: ("model.activation=tanh", "model.bias=0"),
}

ARMS: Mapping[str, tuple[str, ...]] = {
    "tanh": ACTIVATIONS[TANH],
    "no-lrn": ("model.norm=none",),
    "plain-pooling": ("model.pooling=plain",),
    "half-net": ("model.towers=1", "model.channels=[48,128,192,192,256]"),
    "silent-towers": ("model.towers_talk=false",),
    "no-crops-flips": ("augment.view=center", "augment.flip=false"),
    "no-color": ("augment.color_noise=0",),
    "no-dropout": ("model.dropout=0",),
    "fc6-dropout": ("model.dropout_layers=fc6",),
    "no-conv3": ("model.without=conv3",),
    "no-conv4": ("model.without=conv4",),
    "no-conv5": ("model.without=conv5",),
    "bias-0": ("model.bias=0",),
    "no-decay": ("optim.weight_decay=0",),
}


def shape(epochs: int) -> tuple[str, ...]:
    """The schedule of a run of so many epochs: drops after about 0.7 and 0.9 of them, color noise until the second."""
    first, second = drops(epochs)
    at = f"[{first},{second}]"
    return (
        *(f"epochs={epochs}", f"optim.drop_epochs={at}", f"optim.conv1_drop_epochs={at}"),
        f"augment.color_noise_until={second}",
    )


def drops(epochs: int) -> tuple[int, int]:
    """The epochs, counted from 1, that begin with a drop."""
    return round(0.7 * epochs), round(0.9 * epochs)


def activation_of(arm: str) -> str:
    """The activation of an arm."""
    return TANH if arm == "tanh" else RELU


# Learning rates


def search_job(options: Options, activation: str, rate: float) -> Job:
    """A short run that tries a rate."""
    changes = (*shape(SEARCH_EPOCHS), *ACTIVATIONS[activation], f"optim.lr={rate:g}")
    variant = f"{CHOICE}: {activation} at {rate:g}"
    changes = (*changes, f"evaluate_every={SEARCH_EPOCHS}")
    return _job(options, _choosing(options), variant, changes, CHOICE_SEED, views=(1,))


def search(options: Options, activation: str) -> tuple[list[Job], float | None]:
    """The runs of the search so far, and once all have a row, the rate."""
    return rates.search(options, lambda rate: [search_job(options, activation, rate)], final_error)


def final_error(row: Row) -> float:
    """The validation error after the last step; of a run that diverged, that of chance."""
    if not row["results"]:
        return 1 - 1 / int(row["data"]["classes"])
    error = results.error(row, "top1_error", "val")
    assert error is not None
    return error


def _job(options: Options, data: str, variant: str, changes: Sequence[str], seed: int, **more: Any) -> Job:
    return options.job(data, RECIPE, variant, (*NARROW, *changes), seed, **more)


def _choosing(options: Options) -> str:
    return study.held_back(options.folders[0], LAST)


# Epochs and pilot


def pilot_job(options: Options, rate: float, epochs: int, number: int) -> Job:
    """A run of the base that is looked at after every epoch."""
    changes = (*shape(epochs), f"optim.lr={rate:g}", "evaluate_every=1")
    variant = f"{CHOICE}: {epochs} epochs"
    return _job(options, _choosing(options), variant, changes, CHOICE_SEED + number, views=(1,))


def still_falls(rows: Sequence[Row], epochs: int) -> bool:
    """Whether the mean validation error falls from the first epoch after the last drop to the last by more than 0.3."""
    falls = []
    for row in rows:
        errors = {epoch["epoch"]: epoch["val_top1_error"] for epoch in row["curve"]}
        falls.append(errors[drops(epochs)[1]] - errors[epochs] if row["results"] else 0.0)
    return statistics.fmean(falls) > STILL_FALLS


def lengths(options: Options, rate: float) -> tuple[list[Job], int | None]:
    """The runs that choose the number of epochs, and once they have rows, that number."""
    jobs = []
    for epochs in EPOCHS:
        looks = [pilot_job(options, rate, epochs, number) for number in range(LOOKS)]
        jobs += looks
        rows = options.done(looks)
        if len(rows) < LOOKS:
            return jobs, None
        if not still_falls(rows, epochs):
            return jobs, epochs
    return jobs, EPOCHS[-1]


def first_rounds(spread: float) -> int:
    """How many rounds come before the first look, for a standard deviation between seeds, in [0, 1]."""
    for n in range(LEAST_ROUNDS, MOST_ROUNDS):
        freedom = (1 + BASE_RUNS) * n - 2
        if student_t(freedom) * spread * math.sqrt(1 / n + 1 / (BASE_RUNS * n)) <= FIRST_AIM:
            return n
    return MOST_ROUNDS


# Rounds


def final_job(options: Options, arm: str, seed: int, chosen: Mapping[str, float], epochs: int) -> Job:
    """A run of the family, on all training images; the test images are looked at once, at its end."""
    rate = f"optim.lr={chosen[activation_of(arm)]:g}"
    changes = (*shape(epochs), rate, f"evaluate_every={epochs}", *ARMS.get(arm, ()))
    return _job(options, options.folders[0], arm, changes, seed)


def compared(rows: Sequence[Row], arm: str, rounds: int) -> Estimate | None:
    """The effect of an arm by the rows of its first rounds."""
    mine = [row for row in rows if row["variant"] == arm and row["seed"] < rounds]
    base = [row for row in rows if row["variant"] == BASE and row["seed"] < BASE_RUNS * rounds]
    return estimate(blocks_of(mine, base, results.reported_split([*mine, *base])))


def wanted_rounds(rows: Sequence[Row], first: int) -> dict[str, int]:
    """Arm -> how many rounds it gets, by the rows of the family that are there: two more while its interval is wide.

    Only the width decides. An arm whose rounds are not complete is not looked at.
    """
    have = {(row["variant"], row["seed"]) for row in rows}
    out = {}
    for arm in ARMS:
        rounds = first
        while rounds < MOST_ROUNDS and all(pair in have for pair in pairs(arm, rounds)):
            found = compared(rows, arm, rounds)
            if found is not None and done(found):
                break
            rounds = min(MOST_ROUNDS, rounds + MORE_ROUNDS)
        out[arm] = rounds
    return out


def done(found: Estimate) -> bool:
    """Whether the interval is narrow enough, or the test images alone keep it wider, whatever the number of runs."""
    return found.half_width is not None and (found.half_width <= AIM or found.runs_for(AIM) is None)


def pairs(arm: str, rounds: int) -> list[tuple[str, int]]:
    """The runs that a comparison after so many rounds is made of: (variant, seed)."""
    return [(arm, seed) for seed in range(rounds)] + [(BASE, seed) for seed in range(BASE_RUNS * rounds)]


def in_rounds(rounds: Mapping[str, int]) -> list[tuple[str, int]]:
    """All runs in their order: seed k of every arm that gets it, then four more of the base."""
    out = []
    for k in range(max(rounds.values())):
        out += [(arm, k) for arm, most in rounds.items() if k < most]
        out += [(BASE, seed) for seed in range(BASE_RUNS * k, BASE_RUNS * (k + 1))]
    return out


def next_runs(options: Options) -> list[Job]:
    """The runs of the first stage of the plan that is not done."""
    searches = {activation: search(options, activation) for activation in ACTIVATIONS}
    chosen = {activation: rate for activation, (_, rate) in searches.items() if rate is not None}
    if len(chosen) < len(searches):
        return [job for jobs, _ in searches.values() for job in jobs]
    jobs, epochs = lengths(options, chosen[RELU])
    if epochs is None:
        return jobs
    pilots = [pilot_job(options, chosen[RELU], epochs, number) for number in range(PILOTS)]
    found = options.done(pilots)
    if len(found) < len(pilots):
        return pilots
    first = min(first_rounds(statistics.stdev(final_error(row) for row in found)), FIRST_LOOK)
    every = [(arm, seed) for arm in ARMS for seed in range(MOST_ROUNDS)]
    every += [(BASE, seed) for seed in range(BASE_RUNS * MOST_ROUNDS)]
    rows = options.done([final_job(options, arm, seed, chosen, epochs) for arm, seed in every])
    return [final_job(options, arm, seed, chosen, epochs) for arm, seed in in_rounds(wanted_rounds(rows, first))]


if __name__ == "__main__":
    study.main(NAME, __doc__, ["cifar10"], [], rounds=next_runs)

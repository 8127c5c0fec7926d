"""Which train at all: three activations with each of four initial weights, in the deep network of 2012.

python -m studies.paper.which_train CIFAR10 [--together 2]

CIFAR10 has train/ and test/ with class folders. The network of the evidence (`studies.paper.evidence`) on every tenth
training image, 10 epochs at a constant rate, five seeds: ReLU, tanh and sigmoid, with the weights of the source of
2012, of the paper's text, of Xavier and of Kaiming. The rates of ReLU and tanh are those of the evidence. That of
sigmoid is found here by a like search, in runs of the same length with each of the four weights: the lowest training
loss at the end that any of them reaches. A run trains if its training loss at the end is under 90 % of that of a
network that knows nothing, ln 10.

About an hour of one core.
"""

import math

from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from studies.paper import rates, study
from studies.paper.evidence import CHOICE, NARROW, RECIPE
from studies.paper.study import Options

NAME = "which_train"
EVERY = {"train": 10, "test": 10}
EPOCHS, SEEDS = 10, 5
LEFT = 0.9  # of ln 10
STARTS = ("source", "paper", "xavier", "kaiming")
RATES = {"relu": 0.01, "tanh": 0.03}  # found by the search of the evidence
SIGMOID = "sigmoid"
SEARCH_SEED = 1000
CONSTANT = ("optim.schedule=constant", f"evaluate_every={EPOCHS}", f"epochs={EPOCHS}")


def job(options: Options, variant: str, activation: str, start: str, rate: float, seed: int) -> Job:
    """A run of an activation with those initial weights."""
    data = study.subset(options.folders[0], EVERY)
    changes = (f"model.activation={activation}", f"model.init={start}", f"optim.lr={rate:g}")
    return options.job(data, RECIPE, variant, (*NARROW, *CONSTANT, *changes), seed, views=(1,))


def search(options: Options) -> tuple[list[Job], float | None]:
    """The runs that try rates of sigmoid with all initial weights, and once all have a row, the rate."""

    def tries(rate: float) -> list[Job]:
        return [
            job(options, f"{CHOICE}: {SIGMOID}, {start} at {rate:g}", SIGMOID, start, rate, SEARCH_SEED)
            for start in STARTS
        ]

    return rates.search(options, tries, last_loss)


def last_loss(row: Row) -> float:
    """The training loss of the last epoch; of a run that diverged, infinity."""
    return float(row["curve"][-1]["train_loss"]) if row["outcome"] == "finished" else math.inf


def trains(row: Row) -> bool:
    """Whether a run has left the plateau at its end; one that diverged has not."""
    return last_loss(row) < LEFT * math.log(row["data"]["classes"])


def next_runs(options: Options) -> list[Job]:
    """The search, and then every activation with all weights."""
    jobs, rate = search(options)
    if rate is None:
        return jobs
    return [
        job(options, f"{activation}, {start}", activation, start, own, seed)
        for seed in range(options.seeds)
        for activation, own in {**RATES, SIGMOID: rate}.items()
        for start in STARTS
    ]


if __name__ == "__main__":
    study.main(NAME, __doc__, ["cifar10"], [], SEEDS, rounds=next_runs)

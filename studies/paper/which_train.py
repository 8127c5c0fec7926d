"""Which train at all: three activations with each of four initial weights, in the deep network of 2012.

python -m studies.paper.which_train CIFAR10 [--together 2]

CIFAR10 has train/ and test/ with class folders. The network of the evidence (`studies.paper.evidence`) on every tenth
training image, 10 epochs at a constant rate, five seeds: ReLU, tanh and sigmoid, with the weights of the source of
2012, of the paper's text, of Xavier and of Kaiming. The rates of ReLU and tanh are those of the evidence; that of
sigmoid is found by the same search here. A run trains if its training loss at the end is under 90 % of that of a
network that knows nothing, ln 10.

About an hour of one core.
"""

import math

from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from studies.paper import evidence, rates, study
from studies.paper.evidence import NARROW, RECIPE
from studies.paper.study import Options

NAME = "which_train"
EVERY = {"train": 10, "test": 10}
EPOCHS, SEEDS = 10, 5
LEFT = 0.9  # of ln 10
STARTS = ("source", "paper", "xavier", "kaiming")
RATES = {"relu": 0.01, "tanh": 0.03}  # found by the search of the evidence
SIGMOID = "sigmoid"
CONSTANT = ("optim.schedule=constant", f"evaluate_every={EPOCHS}", f"epochs={EPOCHS}")


def search(options: Options) -> tuple[list[Job], float | None]:
    """The short runs that try rates of sigmoid with the weights of the source, and the rate."""

    def short(rate: float) -> Job:
        changes = (*NARROW, *evidence.shape(evidence.SEARCH_EPOCHS), f"evaluate_every={evidence.SEARCH_EPOCHS}")
        data = study.held_back(options.folders[0], evidence.LAST)
        name = f"{evidence.CHOICE}: {SIGMOID} at {rate:g}"
        changes += (f"model.activation={SIGMOID}", f"optim.lr={rate:g}")
        return options.job(data, RECIPE, name, changes, evidence.CHOICE_SEED, views=(1,))

    return rates.search(options, short, evidence.final_error)


def trains(row: Row) -> bool:
    """Whether a run has left the plateau at its end; one that diverged has not."""
    return row["outcome"] == "finished" and row["curve"][-1]["train_loss"] < LEFT * math.log(row["data"]["classes"])


def next_runs(options: Options) -> list[Job]:
    """The search, and then every activation with all weights."""
    jobs, rate = search(options)
    if rate is None:
        return jobs
    data = study.subset(options.folders[0], EVERY)
    jobs = []
    for seed in range(options.seeds):
        for activation, own in {**RATES, SIGMOID: rate}.items():
            for start in STARTS:
                changes = (f"model.activation={activation}", f"model.init={start}", f"optim.lr={own:g}")
                name = f"{activation}, {start}"
                jobs.append(options.job(data, RECIPE, name, (*NARROW, *CONSTANT, *changes), seed, views=(1,)))
    return jobs


if __name__ == "__main__":
    study.main(NAME, __doc__, ["cifar10"], [], SEEDS, rounds=next_runs)

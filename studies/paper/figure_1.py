"""Figure 1 of the paper: how many epochs to 25 % training error with ReLU, tanh and sigmoid?

python -m studies.paper.figure_1 CIFAR10 [--together 2]

CIFAR10 has train/ and test/ with class folders. The four-layer network of cuda-convnet without any regularisation
(recipe figure-1), on every fourth training image, batches of 128, the rate constant; which network the paper used is
not known. First the rate of each activation, by the search of studies/PLAN.md: the lowest training error after three
epochs. Then ten seeds of each until the training error is 25 %, 60 epochs at most (of sigmoid 30).
Training error is the paper's: the running error of the epoch, taken while the network learns.

About two hours and a half of one core.
"""

from alexnet.experiments.results import Row
from alexnet.experiments.runner import Job
from studies.paper import rates, study
from studies.paper.study import Options

NAME, RECIPE = "figure_1", "figure-1"
EVERY = {"train": 4, "test": 10}
MOST_EPOCHS = {"relu": 60, "tanh": 60, "sigmoid": 30}
SEARCH_EPOCHS = 3
ERROR = 0.25
SEEDS, SEARCH_SEED = 10, 1000
LOOK = "evaluate_every=10"


def job(
    options: Options, variant: str, activation: str, rate: float, epochs: int, seed: int, until: float | None = None
) -> Job:
    """A run with an activation and a rate."""
    changes = (f"model.activation={activation}", f"optim.lr={rate:g}", f"epochs={epochs}", LOOK)
    data = study.subset(options.folders[0], EVERY)
    return options.job(data, RECIPE, variant, changes, seed, until=until, views=(1,))


def search(options: Options, activation: str) -> tuple[list[Job], float | None]:
    """The short runs that try rates, and once all have a row, the rate."""

    def short(rate: float) -> list[Job]:
        return [job(options, f"{activation} at {rate:g}", activation, rate, SEARCH_EPOCHS, SEARCH_SEED)]

    return rates.search(options, short, train_error)


def train_error(row: Row) -> float:
    """The training error of the last epoch; of a run that diverged, that of chance."""
    if row["outcome"] != "finished":
        return 1 - 1 / int(row["data"]["classes"])
    return float(row["curve"][-1]["train_top1_error"])


def next_runs(options: Options) -> list[Job]:
    """The search, and then every activation at its own rate until the training error is low enough."""
    searches = {activation: search(options, activation) for activation in MOST_EPOCHS}
    chosen = {activation: rate for activation, (_, rate) in searches.items() if rate is not None}
    if len(chosen) < len(searches):
        return [short for jobs, _ in searches.values() for short in jobs]
    return [
        job(options, activation, activation, rate, MOST_EPOCHS[activation], seed, ERROR)
        for seed in range(options.seeds)
        for activation, rate in chosen.items()
    ]


if __name__ == "__main__":
    study.main(NAME, __doc__, ["cifar10"], [], SEEDS, rounds=next_runs)

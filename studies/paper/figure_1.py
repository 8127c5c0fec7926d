"""Figure 1 of the paper: how many epochs to 25 % training error with ReLU, tanh and the logistic function?

python -m studies.paper.figure_1 CIFAR10 [--together 2]

CIFAR10 has train/ and test/ with class folders. The four-layer network of cuda-convnet without any regularisation
(recipe figure-1), on every n-th training image, batches of 128, the rate constant. First each activation with each
rate of a grid, one seed and few epochs; the rate that had reached the lowest training error by then is its own. Then
three seeds with that rate until the training error is 25 %, or a cap. Training error is the paper's: the running
error of the epoch, taken while the network learns. Which network the paper used is not known.

About an hour of one core (Xeon, Sapphire Rapids).
"""

from alexnet.experiments.runner import Job
from studies.paper import study
from studies.paper.study import Options

EVERY = {"train": 4, "test": 10}
RATES = {
    "relu": (0.001, 0.003, 0.01),
    "tanh": (0.003, 0.01, 0.03, 0.1),
    "sigmoid": (0.01, 0.03, 0.1),
}
GRID_EPOCHS = 3
CAPS = {"relu": 30, "tanh": 60, "sigmoid": 20}  # epochs; one that is stopped by it counts as "at least"
ERROR = 0.25
LOOK = "evaluate_every=10"


def grid_job(options: Options, activation: str, rate: float) -> Job:
    """A short run that tries a rate."""
    changes = [f"model.activation={activation}", f"optim.lr={rate:g}", f"epochs={GRID_EPOCHS}", LOOK]
    data = study.subset(options.folders[0], EVERY)
    return options.job(data, "figure-1", f"{activation} at {rate:g}", changes, 0, views=(1,))


def grid(options: Options) -> list[Job]:
    """Every activation at every rate."""
    return [grid_job(options, activation, rate) for activation, rates in RATES.items() for rate in rates]


def own_rate(options: Options, activation: str) -> float:
    """The rate of lowest training error at the end of the short runs; of those that did not diverge."""
    found = {}
    for rate in RATES[activation]:
        for row in options.done([grid_job(options, activation, rate)]):
            if row["outcome"] == "finished":
                found[rate] = row["curve"][-1]["train_top1_error"]
    return min(found, key=lambda rate: found[rate])


def races(options: Options) -> list[Job]:
    """Every activation at its own rate, until the training error is low enough."""
    data = study.subset(options.folders[0], EVERY)
    rates = {activation: own_rate(options, activation) for activation in RATES}
    return [
        options.job(
            data,
            "figure-1",
            activation,
            [f"model.activation={activation}", f"optim.lr={rate:g}", f"epochs={CAPS[activation]}", LOOK],
            seed,
            until=ERROR,
            views=(1,),
        )
        for seed in range(options.seeds)
        for activation, rate in rates.items()
    ]


if __name__ == "__main__":
    study.main("figure_1", __doc__, ["cifar10"], [grid, races])

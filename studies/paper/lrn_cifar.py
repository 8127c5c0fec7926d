"""What response normalisation alone is worth on CIFAR-10 (section 3.3 of the paper: 13 % to 11 %).

python -m studies.paper.lrn_cifar CIFAR10 [--together 2]

CIFAR10 has train/ and test/ with class folders. Two nets of cuda-convnet, each with its normalisation and without,
nothing else changed, the same seeds, and a schedule far shorter than that of 2011 (the same rates, down to a tenth and
a hundredth at the end): cifar-18pct, with normalisation within the maps, on 12,500 training images, and cifar-11pct,
with normalisation across them, on 6,250; 8 epochs. The 13 % and 11 % of the paper belong to two nets that differ in
more than that. One view each: the 11 % was a mean of nine.

About 15 minutes of one core (Xeon, Sapphire Rapids).
"""

from alexnet.experiments.runner import Job
from studies.paper import study
from studies.paper.study import Options

EVERY = {"cifar-18pct": {"train": 4, "test": 2}, "cifar-11pct": {"train": 8, "test": 2}}
EPOCHS = 8
SCHEDULE = [f"epochs={EPOCHS}", "optim.drop_epochs=[7,8]", "optim.conv1_drop_epochs=[7,8]", "evaluate_every=4"]


def runs(options: Options) -> list[Job]:
    """Each net with and without."""
    data = {base: study.subset(options.folders[0], every) for base, every in EVERY.items()}
    return [
        options.job(data[base], base, variant, [*SCHEDULE, *changes], seed, views=(1,))
        for seed in range(options.seeds)
        for base in EVERY
        for variant, changes in (("base", []), ("no-lrn", ["model.norm=none"]))
    ]


if __name__ == "__main__":
    study.main("lrn_cifar", __doc__, ["cifar10"], [runs])

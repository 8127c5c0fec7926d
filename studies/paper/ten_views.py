"""What ten views gain over one (section 4.1 of the paper: 1.5 and 1.3 points).

python -m studies.paper.ten_views PHOTOS [--together 2]

PHOTOS has train/, validation/ and test/ with class folders. The network of 2012 an eighth as wide on photos prepared
at 256 pixels and windows of 224, as in the paper, with a short schedule; three seeds. The gain of every other network
that a study trained stands in the rows of that study, which the figure and docs/claims.md take too.

About 12 minutes of one core (Xeon, Sapphire Rapids).
"""

from alexnet.experiments.runner import Job
from studies.paper import study
from studies.paper.study import Options

EPOCHS = 10
CHANGES = [
    *("model.width=0.125", "model.init_scale=2.0", f"epochs={EPOCHS}", "optim.drop_epochs=[8,10]"),
    *("optim.conv1_drop_epochs=[8,10]", "evaluate_every=5"),
]


def runs(options: Options) -> list[Job]:
    """One network, several seeds."""
    return [
        options.job(options.folders[0], "alexnet-2012", "alexnet-2012, an eighth as wide", CHANGES, seed)
        for seed in range(options.seeds)
    ]


if __name__ == "__main__":
    study.main("ten_views", __doc__, ["photos"], [runs])

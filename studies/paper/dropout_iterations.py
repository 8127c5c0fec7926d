"""Does dropout double the iterations to converge (section 4.2)? Epochs to half of the first training loss.

python -m studies.paper.dropout_iterations CIFAR10 [--together 2]

CIFAR10 has train/ and test/ with class folders. The network of the evidence (`studies.paper.evidence`), its rate held
constant, with and without dropout, on every fifth training image. After each epoch the loss is looked at without
dropout and augmentation on those very images, which stand as "val" in the rows. Ten seeds of each, 50 epochs.

About two hours of one core.
"""

from alexnet.experiments.runner import Job
from alexnet.recipes.ingredients import BASE
from studies.paper import study
from studies.paper.evidence import NARROW, RECIPE
from studies.paper.study import Options

NAME = "dropout_iterations"
EVERY, EPOCHS, SEEDS, RATE = 5, 50, 10, 0.01
ARMS = {BASE: (), "no-dropout": ("model.dropout=0",)}
CONSTANT = (f"epochs={EPOCHS}", f"optim.lr={RATE:g}", "optim.schedule=constant", "evaluate_every=1")


def runs(options: Options) -> list[Job]:
    """Both arms with every seed."""
    data = study.itself(options.folders[0], EVERY)
    return [
        options.job(data, RECIPE, arm, (*NARROW, *CONSTANT, *changes), seed, views=(1,))
        for seed in range(options.seeds)
        for arm, changes in ARMS.items()
    ]


if __name__ == "__main__":
    study.main(NAME, __doc__, ["cifar10"], [runs], SEEDS)

"""All ingredients of AlexNet, one at a time, on a reduced AlexNet and CIFAR-10.

python -m studies.paper.ingredients_cifar CIFAR10 [--jobs 2]

CIFAR10 has train/ and test/ with class folders; every tenth training image (5,000) and every fourth test image
(2,500) of each class are taken. Recipe small-cifar, everything of 2012 an eighth as wide, with a short schedule;
three paired seeds.

About 45 minutes of one core (Xeon, Sapphire Rapids), half of them for the first phase.
"""

from alexnet.experiments.ablation import jobs_of
from alexnet.experiments.runner import Job
from alexnet.recipes.ingredients import variants_of
from studies.paper import study
from studies.paper.study import Options

EVERY = {"train": 10, "test": 4}
EPOCHS = 8
SCHEDULE = (f"epochs={EPOCHS}", "optim.drop_epochs=[7,8]", "optim.conv1_drop_epochs=[7,8]", "evaluate_every=4")
PAPER = (  # what the paper gives figures or reasons for; all seeds of these come first
    "tanh,no-dropout,no-lrn,plain-pooling,no-crops,no-flips,no-colour,no-augmentation,ten-views,half-net,no-conv3,no-conv4,"
    "no-conv5,init-paper,bias-0,no-decay,silent-towers"
)
OTHERS = (
    "sigmoid,dropout-before,lrn-paper,lrn-caffe-k,lrn-1-only,no-within-map,colour-paper,colour-lighting,one-tower,"
    "init-torch,init-kaiming,scalar-mean,chunk-32,mixup,fade"
)


VARIANTS = f"{PAPER},{OTHERS}"


def runs(options: Options, names: str) -> list[Job]:
    """The base and every variant."""
    data = study.subset(options.folders[0], EVERY)
    common = (*SCHEDULE, *options.changes)
    return jobs_of(
        data, "small-cifar", variants_of(names), range(options.seeds), common, study=options.name, keep=False
    )


def paper(options: Options) -> list[Job]:
    """The first phase."""
    return runs(options, PAPER)


def everything(options: Options) -> list[Job]:
    """The second."""
    return runs(options, VARIANTS)


if __name__ == "__main__":
    study.main("ingredients_cifar", __doc__, ["cifar10"], [paper, everything])

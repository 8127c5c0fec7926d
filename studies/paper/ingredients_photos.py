"""The ingredients that the paper gives figures for, one at a time, on a reduced AlexNet and a few thousand photos.

python -m studies.paper.ingredients_photos PHOTOS [--together 2]

PHOTOS has train/, validation/ and test/ with class folders. Recipe small-photos, everything of 2012 a quarter as
wide, on images of 64 pixels, with a short schedule; three seeds.

About 30 minutes of one core (Xeon, Sapphire Rapids).
"""

from alexnet.experiments.ablation import jobs_of
from alexnet.experiments.runner import Job
from alexnet.recipes.ingredients import variants_of
from studies.paper import study
from studies.paper.study import Options

EPOCHS = 12
SCHEDULE = (f"epochs={EPOCHS}", "optim.drop_epochs=[10,12]", "optim.conv1_drop_epochs=[10,12]", "evaluate_every=4")
FIRST = "tanh,no-dropout,no-lrn,plain-pooling,no-crops,no-color,no-augmentation,ten-views,half-net,no-conv4"
VARIANTS = f"{FIRST},no-flips,no-conv3,no-conv5,init-paper,bias-0,no-decay"


def runs(options: Options, names: str) -> list[Job]:
    """The base and every variant."""
    common, variants = (*SCHEDULE, *options.changes), variants_of(names)
    return jobs_of(
        options.folders[0], "small-photos", variants, range(options.seeds), common, study=options.name, keep=False
    )


def first(options: Options) -> list[Job]:
    """All seeds of some come before any of the others."""
    return runs(options, FIRST)


def everything(options: Options) -> list[Job]:
    """All of them."""
    return runs(options, VARIANTS)


if __name__ == "__main__":
    study.main("ingredients_photos", __doc__, ["photos"], [first, everything])

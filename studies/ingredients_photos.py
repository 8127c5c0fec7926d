"""The ingredients that the paper gives figures for, one at a time, on a reduced AlexNet and a few thousand photos.

python studies/ingredients_photos.py PHOTOS [--jobs 2]

PHOTOS has train/, validation/ and test/ with class folders. Recipe small-photos, everything of 2012 an eighth as
wide, on pictures of 64 pixels, with a short schedule; three paired seeds.
"""

import study
from study import Options

from alexnet.ablate import jobs_of
from alexnet.ingredients import variants_of
from alexnet.lab import Job

EPOCHS = 12
SCHEDULE = (f"epochs={EPOCHS}", "optim.drop_epochs=[10,12]", "optim.conv1_drop_epochs=[10,12]", "evaluate_every=4")
VARIANTS = (
    "tanh,no-dropout,no-lrn,plain-pooling,no-crops,no-flips,no-colour,no-augmentation,ten-views,half-net,no-conv3,no-conv4,"
    "no-conv5,init-paper,bias-0,no-decay"
)


def runs(options: Options) -> list[Job]:
    """The base and every variant."""
    common = (*SCHEDULE, *options.changes)
    variants = variants_of(VARIANTS)
    return jobs_of(
        options.folders[0], "small-photos", variants, range(options.seeds), common, study=options.name, keep=False
    )


if __name__ == "__main__":
    study.main("ingredients_photos", __doc__, ["photos"], [runs])

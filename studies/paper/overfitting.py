"""Training and test error against epochs, with and without dropout and augmentation (sections 4.1 and 4.2).

python -m studies.paper.overfitting PHOTOS [--together 2]

PHOTOS has train/, validation/ and test/ with class folders. Recipe small-photos, everything of 2012 a quarter as
wide, in batches of 32, the rate held constant, 30 epochs; three seeds.

About 20 minutes of one core (Xeon, Sapphire Rapids).
"""

from alexnet.experiments.runner import Job
from studies.paper import study
from studies.paper.study import Options

EPOCHS = 30
COMMON = [f"epochs={EPOCHS}", "batch_size=32", "optim.lr=0.005", "optim.schedule=constant", "evaluate_every=2"]
NO_AUGMENTATION = ["augment.view=center", "augment.flip=false", "augment.color_noise=0"]
NO_DROPOUT = ["model.dropout=0"]
VARIANTS = {
    "base": [],
    "no-dropout": NO_DROPOUT,
    "no-augmentation": NO_AUGMENTATION,
    "neither": [*NO_DROPOUT, *NO_AUGMENTATION],
}


def runs(options: Options) -> list[Job]:
    """The four of them."""
    return [
        options.job(options.folders[0], "small-photos", variant, [*COMMON, *changes], seed, views=(1,))
        for seed in range(options.seeds)
        for variant, changes in VARIANTS.items()
    ]


if __name__ == "__main__":
    study.main("overfitting", __doc__, ["photos"], [runs])

"""LeNet against AlexNet: parameters, multiply-adds, accuracy and time, on small gray images and on photos.

python -m studies.paper.lenet_alexnet CIFAR10 PHOTOS [--together 2]

Fashion-MNIST, which "Dive into Deep Learning" compares them on, is not at hand: its place is taken by CIFAR-10 in
gray, windows of 28 pixels, every fifth training image and every fourth test image. The photos are looked at in
gray too by LeNet, which has one channel, and in color by AlexNet; windows of 56 pixels. All networks get AdamW on
one cycle and the same number of epochs; the rates are those of the recipes lenet and demo. Three seeds.

About 10 minutes of one core (Xeon, Sapphire Rapids).
"""

from alexnet.experiments.runner import Job
from studies.paper import study
from studies.paper.study import Options

EVERY = {"train": 5, "test": 4}
EPOCHS = 15
COMMON = [f"epochs={EPOCHS}", "evaluate_every=15", "augment.flip=true"]
SMALL = ["prepare_size=32", "model.crop_size=28"]
LARGE = ["prepare_size=64", "model.crop_size=56"]
NETWORKS = {  # name -> recipe, changes on small images, changes on photos
    "LeNet, sigmoid": ("lenet", [], []),
    "LeNet, ReLU": (
        "lenet",
        ["model.activation=relu", "model.pooling=max"],
        ["model.activation=relu", "model.pooling=max"],
    ),
    "AlexNet": ("demo", ["model.in_channels=1"], ["model.conv1_kernel=7", "model.conv1_stride=2"]),
}


def runs(options: Options) -> list[Job]:
    """Every network on both."""
    cifar = study.subset(options.folders[0], EVERY)
    return [
        options.job(data, base, f"{name}, {kind}", [*COMMON, *size, *own], seed, views=(1,))
        for seed in range(options.seeds)
        for name, (base, small, large) in NETWORKS.items()
        for kind, data, size, own in (("grey 28", cifar, SMALL, small), ("photos 56", options.folders[1], LARGE, large))
    ]


if __name__ == "__main__":
    study.main("lenet_alexnet", __doc__, ["cifar10", "photos"], [runs])

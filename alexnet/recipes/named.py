"""The named recipes: those of this project, and the networks called AlexNet since 2012, as settings of the same code.

`alexnet diff A B` shows how two of them differ; docs/fidelity.md says where each setting comes from. The error rates in
the docstrings are published figures: top-1 / top-5 error in % on ILSVRC-2012 validation, unless stated otherwise. They
were not measured here, because that needs ImageNet and a GPU. Figures measured by this project are in the result files
that the docstrings name.
"""

import difflib
from collections.abc import Mapping
from dataclasses import replace

from alexnet.errors import UsageError
from alexnet.recipes.config import AlexNetConfig, AugmentConfig, LeNetConfig, OptimConfig
from alexnet.recipes.named_2012 import ALEXNET_2012, NET_145_HALF, NET_147, NET_148, NET_150, NET_167
from alexnet.recipes.named_small import (
    CIFAR_11PCT,
    CIFAR_13PCT,
    CIFAR_18PCT,
    CIFAR_19PCT,
    CIFAR_80SEC,
    FIGURE_1,
    SMALL_CIFAR,
    SMALL_PHOTOS,
)
from alexnet.recipes.recipe import Recipe, override

ALEXNET_PAPER = Recipe(
    name="alexnet-paper",
    model=AlexNetConfig(
        lrn_alpha=5e-4, lrn_per_tower=False, norm1="after-activation", within_map_norm=False, init="paper"
    ),
    augment=AugmentConfig(color_noise_until=None, color_shrink=False, color_scale="eigenvalue"),
    optim=OptimConfig(
        bias_lr_factor=1.0,
        decay_biases=True,
        conv1_drop_epochs=(25, 51, 79),
        conv1_freeze_epoch=None,
        biases_follow=True,
    ),
)
"""The text of the paper taken literally (sections 3 to 5).

alexnet train /data/ILSVRC2012 --recipe alexnet-paper

The paper does not say in which epochs the learning rate drops; these epochs are those of the notebook.
"""

CAFFE = Recipe(
    name="caffe",
    model=AlexNetConfig(
        crop_size=227,
        conv1_padding=0,
        lrn_k=1.0,
        lrn_per_tower=False,
        norm1="after-activation",
        within_map_norm=False,
        dropout_scale_at_test=False,
        init="caffe",
        bias=0.1,
    ),
    augment=AugmentConfig(color_noise=0.0),
    optim=OptimConfig(
        drop_epochs=(21, 41, 61, 81),
        conv1_drop_epochs=(21, 41, 61, 81),
        conv1_freeze_epoch=None,
        biases_follow=True,
    ),
    prepare_whole=True,
    batch_size=256,
    reshuffle=False,
)
"""BVLC AlexNet, models/bvlc_alexnet of Caffe: 42.9 / 19.8 with the center crop.

alexnet train /data/ILSVRC2012 --recipe caffe

Images are stretched to 256 x 256, as Caffe prepares those of ImageNet. One thing differs: Caffe subtracts the part of
the mean image at the position of the crop instead of its center.
"""

CAFFENET = override(replace(CAFFE, name="caffenet"), ["norm1=after-pool", "norm2=after-pool", "bias=1.0"])
"""BVLC reference CaffeNet: like `caffe`, but with pooling before LRN and biases of 1: 42.6 / 19.6 with the center crop.

alexnet train /data/ILSVRC2012 --recipe caffenet
"""

ALEXNET_OWT = Recipe(
    name="alexnet-owt",
    model=AlexNetConfig(
        channels=(64, 192, 384, 256, 256),
        towers=1,
        conv1_padding=2,
        pool_rounding="floor",
        pool5_grid=6,
        norm="none",
        within_map_norm=False,
        dropout_place="before",
        dropout_scale_at_test=False,
        init="torch",
        input_norm="standardise",
    ),
    augment=AugmentConfig(view="zoom", color_noise=0.0, min_area=0.08),
    optim=OptimConfig(
        algorithm="sgd",
        bias_lr_factor=1.0,
        weight_decay=1e-4,
        decay_biases=True,
        drop_epochs=(31, 61),
        conv1_drop_epochs=(31, 61),
        conv1_freeze_epoch=None,
        biases_follow=True,
    ),
    batch_size=256,
)
"""The one-tower network of 2014 ("One weird trick") in torchvision, with its reference training: 43.5 / 20.9.

alexnet train photos/ --recipe alexnet-owt
"""

ALEXNET_D2L = Recipe(
    name="alexnet-d2l",
    model=AlexNetConfig(
        num_classes=10,
        in_channels=1,
        towers=1,
        conv1_padding=1,
        pool_rounding="floor",
        norm="none",
        within_map_norm=False,
        dropout_scale_at_test=False,
        init="xavier",
        bias=0.0,
        input_norm="unit",
    ),
    augment=AugmentConfig(view="center", flip=False, color_noise=0.0),
    optim=OptimConfig(algorithm="sgd", bias_lr_factor=1.0, momentum=0.0, weight_decay=0.0, schedule="constant"),
    prepare_size=224,
    epochs=10,
)
"""AlexNet of "Dive into Deep Learning" (8.1), on Fashion-MNIST enlarged to 224 pixels; `in_channels=3` for color.

alexnet train fashion-mnist --recipe alexnet-d2l

The section is 7.1 in the Chinese edition of the book.
"""

LENET = Recipe(
    name="lenet",
    model=LeNetConfig(),
    augment=AugmentConfig(view="crop", flip=False, color_noise=0.0),
    optim=OptimConfig(algorithm="adamw", lr=0.004, bias_lr_factor=1.0, schedule="one-cycle", warmup=0.1),
    prepare_size=32,
    epochs=80,
    batch_size=64,
    evaluate_every=10,
)
"""LeNet-5 with the sigmoids and average pooling of 1998, on small gray images; one of the two networks of the demo.

alexnet train digits --recipe lenet

Measured: `networks.LeNet` in benchmarks/results/demo.json.
"""

FINETUNE = Recipe(
    name="finetune",
    model=ALEXNET_OWT.model,
    augment=AugmentConfig(view="zoom", color_noise=0.0, min_area=0.35),
    optim=OptimConfig(algorithm="nesterov", bias_lr_factor=1.0, old_lr_factor=0.1, schedule="one-cycle", warmup=0.1),
    weights="imagenet",
    epochs=15,
    batch_size=64,
)
"""Fine-tuning of pretrained weights on your classes: a new fc8 with the full learning rate, the rest with a tenth.

alexnet train photos/ --weights imagenet

In 2012 the network for 21,843 classes was fine-tuned to 1,000 classes in the same way (net 146). `--weights FILE` uses
the network of that file.
"""

PHOTOS = Recipe(
    name="photos",
    model=AlexNetConfig(
        crop_size=160,
        test_size=160,
        channels=(64, 192, 384, 256, 256),
        fc_features=(1024, 1024),
        towers=1,
        conv1_padding=2,
        pool5_grid=3,
        norm="batch",
        dropout=0.2,
        dropout_place="before",
        dropout_scale_at_test=False,
        init="kaiming",
        input_norm="standardise",
    ),
    augment=AugmentConfig(
        view="zoom",
        color_noise=0.1,
        color_noise_until=None,
        color_shrink=False,
        min_area=0.35,
        max_aspect=4 / 3,
        rotation=10.0,
        jitter=0.3,
        mixup=0.5,
        mixup_alpha=0.2,
        cutmix=0.5,
    ),
    optim=OptimConfig(
        algorithm="adamw", lr=0.002, bias_lr_factor=1.0, weight_decay=0.1, schedule="one-cycle", warmup=0.1
    ),
    prepare_size=192,
    prepare_whole=True,
    epochs=64,
    batch_size=64,
    label_smoothing=0.1,
    growing_crops=((0.0, 96), (0.4, 128), (0.8, 160)),
    average_decay=0.998,
    evaluate_every=4,
    fit="data",
    cues="mixed",
)
"""AlexNet as one trains it today on a few thousand images and a laptop; the default of `alexnet train PHOTOS`.

alexnet train photos/

Differences from 2012: batch normalization instead of LRN; one tower with the widths of 2014; narrow fully connected
layers on a 3x3 grid, so that crops of any size fit; less dropout; the initialization of He; AdamW with a one-cycle
learning-rate schedule; label smoothing; random parts of the image, resized, instead of crops of one size; mixup or
cutmix in every batch; crops that grow from 96 to 160 pixels; a moving average of the weights; whole images, stretched
to squares, in place of their central squares.

The fields are those for a few thousand photos in color and a quarter of an hour. `alexnet train` decides anew, for the
images and the time that there are, those that nobody has given (`alexnet.recipes.fitting`), and says why; the run keeps
the result. `fit=none` leaves them as they are here.

Measured with central squares and dropout 0.5 on 3,068 clothing photos of 10 classes: benchmarks/results/photos.json.
"""

DEMO = Recipe(
    name="demo",
    model=AlexNetConfig(
        crop_size=28,
        width=0.125,
        conv1_kernel=5,
        conv1_stride=1,
        conv1_padding=2,
        init="kaiming",
        input_norm="standardise",
        dropout_scale_at_test=False,
    ),
    augment=AugmentConfig(view="crop", flip=False, color_noise=0.0),
    optim=OptimConfig(algorithm="adamw", lr=0.002, bias_lr_factor=1.0, schedule="one-cycle", warmup=0.1),
    prepare_size=32,
    epochs=20,
    batch_size=64,
    evaluate_every=5,
)
"""AlexNet with all layers of 2012 at an eighth of the width, on crops of 28 pixels; the other network of the demo.

alexnet train digits --recipe demo

Measured: `networks.AlexNet` in benchmarks/results/demo.json.
"""

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        PHOTOS,
        FINETUNE,
        ALEXNET_2012,
        ALEXNET_PAPER,
        CAFFE,
        CAFFENET,
        ALEXNET_OWT,
        ALEXNET_D2L,
        LENET,
        NET_145_HALF,
        NET_147,
        NET_148,
        NET_150,
        NET_167,
        DEMO,
        CIFAR_80SEC,
        CIFAR_19PCT,
        CIFAR_18PCT,
        CIFAR_13PCT,
        CIFAR_11PCT,
        FIGURE_1,
        SMALL_CIFAR,
        SMALL_PHOTOS,
    )
}


def find_recipe(name: str) -> Recipe:
    """Returns the recipe of this name.

    Raises:
        UsageError: there is no such recipe; the message lists all names.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, list(RECIPES), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"no recipe {name!r}{hint}", fix=f"Recipes: {', '.join(RECIPES)}.", code="E210")
    return RECIPES[name]

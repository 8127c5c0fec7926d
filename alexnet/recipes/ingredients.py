"""The ingredients of AlexNet: the overrides that switch each one, what the paper says, what the notebook records.

`alexnet ablate --ingredients` shows this table. An ingredient consists only of overrides of the recipe, so `alexnet
train DATA --recipe RECIPE OVERRIDES` repeats any of its runs. Figures are percentage points that the change adds to the
error; those of 2012 are for ten views on ILSVRC-2012 validation unless stated otherwise. The notebook is the log at the
end of the parameter files of the released source, layers/layer-params-NET.cfg. The pairs that it compares differ in
more than the ingredient (`besides`), since the learning rates were lowered by eye; a pair of runs here does not. Some
texts also appear in docs/claims.md, which is generated; a test compares the two.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from alexnet.errors import UsageError

BASE = "base"  # name of the unchanged recipe
TEN_VIEWS = "ten-views"  # not trained: another evaluation of the base runs


@dataclass(frozen=True)
class Points:
    """What a change adds to the errors, in percentage points of all images."""

    top1: float | None
    top5: float | None = None


@dataclass(frozen=True)
class Ingredient:
    """One ingredient, and how it is switched."""

    name: str
    changes: tuple[str, ...]
    what: str
    claim: str = ""  # what the paper says, in our words
    section: str = ""  # of the paper
    paper: Points | None = None  # figures of the paper
    recorded: str = ""  # the notebook of 2012: net, errors, verdict
    notebook: Points | None = None  # figures of the notebook
    besides: str = ""  # in what else these two nets differ; in brackets the value of the one compared with


@dataclass(frozen=True)
class Variant:
    """One entry of `--vary`: a name and overrides. With `views` other than 1 it is an evaluation of the base."""

    name: str
    changes: tuple[str, ...]
    views: int = 1


_SATURATING = "saturating units learn several times more slowly; with four layers on CIFAR-10, six times (figure 1)"
_AUGMENTED = "without random crops and flips the network overfits substantially and would have to be much smaller"

INGREDIENTS: tuple[Ingredient, ...] = (
    Ingredient("relu", ("model.activation=relu",), "max(0, x)"),
    Ingredient("tanh", ("model.activation=tanh",), "tanh instead of ReLU", _SATURATING, "3.1"),
    Ingredient("sigmoid", ("model.activation=sigmoid",), "sigmoid instead of ReLU", _SATURATING, "3.1"),
    Ingredient(
        "no-dropout",
        ("model.dropout=0",),
        "no dropout in fc6 and fc7",
        "without dropout the network overfits substantially; dropout needs about twice the iterations",
        "4.2",
    ),
    Ingredient("dropout-before", ("model.dropout_place=before",), "dropout before fc6 and fc7, as in torchvision"),
    Ingredient(
        "no-lrn",
        ("model.norm=none",),
        "no normalization",
        "response normalisation lowers top-1 and top-5 error by 1.4 and 1.2 points",
        "3.3",
        Points(1.4, 1.2),
        "net 148: 42.03 / 19.36 against 40.66 / 18.21",
        Points(1.37, 1.15),
        "drops 22, 44, 86 (25, 51, 79), conv1 69 and frozen 73 (67, 72), color noise until 69 (67), 96 epochs (90)",
    ),
    Ingredient(
        "lrn-paper",
        (
            *("model.norm1=after-activation", "model.lrn_alpha=5e-4", "model.lrn_per_tower=false"),
            "model.within_map_norm=false",
        ),
        "LRN as in the paper: after ReLU, alpha not divided, across towers, no within-map normalization",
    ),
    Ingredient("lrn-after-relu", ("model.norm1=after-activation",), "LRN in layer 1 after ReLU instead of before it"),
    Ingredient(
        "lrn-caffe-k",
        ("model.lrn_k=1",),
        "k = 1 instead of 2, as in Caffe",
        recorded="net 135 against 131, k 2 against 1: 41.07 / 18.42 against 40.93 / 18.57",
        notebook=Points(-0.14, 0.15),
        besides="drops 20, 47, 81 (22, 46, 81), 95 epochs (99)",
    ),
    Ingredient(
        "lrn-1-only",
        ("model.norm2=none", "model.within_map_norm=false"),
        "no normalization in layer 2",
        recorded="net 167 against 170: 40.49 / 18.12 against 40.53 / 18.05, no loss",
        notebook=Points(-0.04, 0.07),
        besides="dexp to 1 / 1000 (1 / 250), color noise until 63 (68), conv1 frozen 73 (74)",
    ),
    Ingredient("lrn-2-only", ("model.norm1=none",), "no normalization in layer 1"),
    Ingredient(
        "no-within-map",
        ("model.within_map_norm=false",),
        "no within-map normalization in layer 2 (code only)",
    ),
    Ingredient(
        "plain-pooling",
        ("model.pooling=plain",),
        "max pooling without overlap: windows of 2 pixels instead of 3",
        "overlapping pooling lowers top-1 and top-5 error by 0.4 and 0.3 points",
        "3.4",
        Points(0.4, 0.3),
        "net 147: 41.06 / 18.51 against 40.66 / 18.21",
        Points(0.39, 0.30),
        "drops 23, 51, 79 (25, 51, 79), conv1 frozen 79 without a third drop (67, 72), color noise to the end (until "
        "67), biases at 0.2 of the weights' first rate (2), 89 epochs (90)",
    ),
    Ingredient("no-crops", ("augment.view=center",), "always the center crop", _AUGMENTED, "4.1"),
    Ingredient("no-flips", ("augment.flip=false",), "no horizontal flips", _AUGMENTED, "4.1"),
    Ingredient(
        "no-color",
        ("augment.color_noise=0",),
        "no color noise",
        "color noise lowers top-1 error by over 1 point",
        "4.1",
        Points(1.0),
    ),
    Ingredient(
        "color-paper",
        ("augment.color_scale=eigenvalue", "augment.color_shrink=false"),
        "color noise scaled by the eigenvalues, as in the paper, not by their square roots",
    ),
    Ingredient(
        "color-lighting",
        ("augment.color_scale=lighting", "augment.color_shrink=false"),
        "color noise as in the common Lighting transform, with its constants of ImageNet",
    ),
    Ingredient(
        "no-augmentation",
        ("augment.view=center", "augment.flip=false", "augment.color_noise=0"),
        "no random crops, no flips, no color noise",
        _AUGMENTED,
        "4.1",
    ),
    Ingredient(
        TEN_VIEWS,
        (),
        "the base evaluated with ten views instead of one; no training",
        "ten views against one: 37.5 / 17.0 against 39.0 / 18.3 on ILSVRC-2010",
        "4.1",
        Points(-1.5, -1.3),
        "net 145, 2010: 37.47 / 17.00 against 39.02 / 18.30; net 170, 2012: 40.53 / 18.05 against 42.34 / 19.58",
        Points(-1.55, -1.30),
    ),
    Ingredient("one-tower", ("model.towers=1",), "no towers: conv2, conv4, conv5 receive all channels"),
    Ingredient(
        "half-net",
        ("model.towers=1", "model.channels=[48,128,192,192,256]"),
        "one of the two towers, with conv5 and the fully connected layers of both",
        "two towers against one of half the kernels: 1.7 and 1.2 points lower",
        "3.2",
        Points(1.7, 1.2),
        "net 145-half, 2010: 39.17 / 18.23 against 37.47 / 17.00",
        Points(1.70, 1.23),
        "drops 20, 48, the third not dated (23, 51, 78), conv1 66 (68), color noise until 66 (68), last rate of most "
        "biases 0.02 (0.002), 95 epochs (92)",
    ),
    Ingredient(
        "silent-towers",
        ("model.towers_talk=false",),
        "towers that are joined only in fc8",
        recorded="net 150, with a wider conv2 and fc6: 41.83 / 19.33 against 40.66 / 18.21",
        notebook=Points(1.17, 1.12),
        besides="conv2 with 320 maps (256), fc6 with 8192 units (4096), drops 25, 49, 79 (25, 51, 79), conv1 66 (67), "
        "color noise until 66 (67), 91 epochs (90)",
    ),
    *(
        Ingredient(
            f"no-{layer}",
            (f"model.without={layer}",),
            f"{layer} removed",
            "removing any middle layer costs about 2 points of top-1 error",
            "7",
            Points(2.0),
        )
        for layer in ("conv3", "conv4", "conv5")
    ),
    Ingredient("init-paper", ("model.init=paper",), "sigma .01 in every layer", "sigma .01 and biases of 1", "5"),
    Ingredient("init-caffe", ("model.init=caffe",), "sigma .01, in fc6 and fc7 .005"),
    Ingredient("init-torch", ("model.init=torch",), "the initialization of PyTorch"),
    Ingredient("init-xavier", ("model.init=xavier",), "the initialization of Glorot"),
    Ingredient("init-kaiming", ("model.init=kaiming",), "the initialization of He"),
    Ingredient(
        "bias-0",
        ("model.bias=0",),
        "initial biases of 0",
        "biases of 1 speed up the early stages of learning",
        "5",
    ),
    Ingredient(
        "no-decay",
        ("optim.weight_decay=0",),
        "no weight decay",
        "the small weight decay is not only a regularizer: it lowers the training error",
        "5",
    ),
    Ingredient(
        "scalar-mean",
        ("model.input_norm=mean-pixel",),
        "the mean color subtracted instead of the mean image",
        recorded="net 136: no better",
    ),
    Ingredient("chunk-32", ("augment.chunk=32",), "one crop and flip for 32 images, as in the code"),
    Ingredient("mixup", ("augment.mixup=0.5",), "in half of the batches, images and labels are blended"),
    Ingredient(
        "fade",
        ("augment.fade=0.05",),
        "5 % of the chunks are blended: 3/4 of themselves, 1/4 of another, with their own labels",
        recorded="net 170 with fade: 40.25 / 18.12 against 40.53 / 18.05",
        notebook=Points(-0.28, 0.07),
        besides="color noise until 61 (68), conv1 frozen 76 (74)",
    ),
)

BY_NAME = {ingredient.name: ingredient for ingredient in INGREDIENTS}


def variants_of(text: str) -> list[Variant]:
    """Reads `--vary`: ingredients or overrides, joined with `+`, separated by commas outside of brackets.

    Raises:
        UsageError: an unknown ingredient, an empty list, or the same variant twice.
    """
    names = [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]
    if not names:
        raise UsageError(
            "--vary names nothing to change",
            fix="For example --vary no-lrn,tanh; alexnet ablate --ingredients shows all.",
            code="E290",
        )
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if repeated:
        raise UsageError(f"--vary names {repeated[0]!r} twice", fix="Name every variant once.", code="E291")
    return [_variant(name) for name in names]


def _variant(name: str) -> Variant:
    parts = re.split(r"\+(?=[a-z])", name)
    if TEN_VIEWS in parts:
        if len(parts) > 1:
            raise UsageError(
                f"{name!r}: {TEN_VIEWS} is an evaluation of the base and cannot be joined with a change",
                fix=f"Name {TEN_VIEWS} alone; the results of every run include ten views anyway.",
                code="E291",
            )
        return Variant(name, (), views=10)
    return Variant(name, tuple(change for part in parts for change in _changes(part)))


def _changes(part: str) -> Sequence[str]:
    if "=" in part:
        return (part,)
    if part not in BY_NAME:
        near = difflib.get_close_matches(part, list(BY_NAME), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"no ingredient {part!r}{hint}",
            fix=f"Ingredients: {', '.join(BY_NAME)}; or type field=value.",
            code="E290",
        )
    return BY_NAME[part].changes

"""The ingredients of AlexNet: what one would type to switch each, what the paper says of it, what the notebook records.

`alexnet ablate --list` shows this table. An ingredient is nothing but overrides of the recipe, so `alexnet train DATA
--recipe RECIPE OVERRIDES` repeats any of its runs. Figures are points of error (in %) that the change adds; those of
2012 are ten views on ILSVRC-2012 validation unless said otherwise. The notebook is the diary at the end of the
parameter files of the released source, layers/layer-params-NET.cfg.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from alexnet.errors import UsageError

BASE = "base"  # the name of the recipe that nothing was changed in
TEN_VIEWS = "ten-views"  # looked at, not trained: the runs of the base once more


@dataclass(frozen=True)
class Points:
    """What a change adds to the errors, in points (per cent of all pictures)."""

    top1: float | None
    top5: float | None = None


@dataclass(frozen=True)
class Ingredient:
    """One switch."""

    name: str
    changes: tuple[str, ...]
    what: str
    claim: str = ""  # of the paper, in our words
    section: str = ""  # of the paper
    paper: Points | None = None
    recorded: str = ""  # the 2012 notebook: net, errors, verdict
    notebook: Points | None = None


@dataclass(frozen=True)
class Variant:
    """What `--vary` asks for: a name and overrides; `views` other than 1 is an evaluation of the base."""

    name: str
    changes: tuple[str, ...]
    views: int = 1


_SATURATING = "saturating units learn several times more slowly; four layers on CIFAR-10: six times (figure 1)"
_AUGMENTED = "without crops and mirrors the network overfits substantially, and much smaller ones would be needed"

INGREDIENTS: tuple[Ingredient, ...] = (
    Ingredient("relu", ("model.activation=relu",), "max(0, x)"),
    Ingredient("tanh", ("model.activation=tanh",), "tanh in place of ReLU", _SATURATING, "3.1"),
    Ingredient("sigmoid", ("model.activation=sigmoid",), "the logistic function in place of ReLU", _SATURATING, "3.1"),
    Ingredient(
        "no-dropout",
        ("model.dropout=0",),
        "no dropout in fc6 and fc7",
        "without dropout the network overfits substantially; with it, about twice the iterations",
        "4.2",
    ),
    Ingredient("dropout-before", ("model.dropout_place=before",), "dropout before fc6 and fc7, as torchvision's"),
    Ingredient(
        "no-lrn",
        ("model.norm=none",),
        "no normalisation of any kind",
        "response normalisation lowers top-1 and top-5 error by 1.4 and 1.2 points",
        "3.3",
        Points(1.4, 1.2),
        "net 148: 42.03 / 19.36 against 40.66 / 18.21",
        Points(1.37, 1.15),
    ),
    Ingredient(
        "lrn-paper",
        (
            *("model.norm1=after-activation", "model.lrn_alpha=5e-4", "model.lrn_per_tower=false"),
            "model.within_map_norm=false",
        ),
        "LRN as the text has it: after ReLU, alpha undivided, all maps, nothing within a map",
    ),
    Ingredient("lrn-after-relu", ("model.norm1=after-activation",), "the first LRN after ReLU instead of before"),
    Ingredient(
        "lrn-caffe-k",
        ("model.lrn_k=1",),
        "k = 1 instead of 2, as in Caffe",
        recorded="net 135 against 131, k 2 against 1: 41.07 / 18.42 against 40.93 / 18.57",
        notebook=Points(-0.14, 0.15),
    ),
    Ingredient(
        "lrn-1-only",
        ("model.norm2=none", "model.within_map_norm=false"),
        "no normalisation in layer 2",
        recorded="net 167 against 170: 40.49 / 18.12 against 40.53 / 18.05, no loss",
        notebook=Points(-0.04, 0.07),
    ),
    Ingredient("lrn-2-only", ("model.norm1=none",), "no normalisation in layer 1"),
    Ingredient(
        "no-within-map", ("model.within_map_norm=false",), "without the second norm of layer 2, which only the code has"
    ),
    Ingredient(
        "plain-pooling",
        ("model.pooling=plain",),
        "windows of 2 instead of 3, which do not overlap",
        "overlapping pooling lowers top-1 and top-5 error by 0.4 and 0.3 points",
        "3.4",
        Points(0.4, 0.3),
        "net 147: 41.06 / 18.51 against 40.66 / 18.21",
        Points(0.39, 0.30),
    ),
    Ingredient("no-crops", ("augment.view=center",), "always the middle of the picture", _AUGMENTED, "4.1"),
    Ingredient("no-flips", ("augment.flip=false",), "no mirrored pictures", _AUGMENTED, "4.1"),
    Ingredient(
        "no-colour",
        ("augment.color_noise=0",),
        "no colour noise",
        "colour noise lowers top-1 error by over 1 point",
        "4.1",
        Points(1.0),
    ),
    Ingredient(
        "colour-paper",
        ("augment.color_scale=eigenvalue", "augment.color_shrink=false"),
        "colour noise scaled by eigenvalues, as the text has it, not by their square roots",
    ),
    Ingredient(
        "colour-lighting",
        ("augment.color_scale=lighting", "augment.color_shrink=false"),
        "the widespread Lighting transform with its constants of ImageNet",
    ),
    Ingredient(
        "no-augmentation",
        ("augment.view=center", "augment.flip=false", "augment.color_noise=0"),
        "no crops, no mirrors, no colour noise",
        _AUGMENTED,
        "4.1",
    ),
    Ingredient(
        TEN_VIEWS,
        (),
        "the base looked at in ten views instead of one; no training",
        "ten views against one: 37.5 / 17.0 against 39.0 / 18.3 on ILSVRC-2010",
        "4.1",
        Points(-1.5, -1.3),
        "net 145, 2010: 37.47 / 17.00 against 39.02 / 18.30; net 170, 2012: 40.53 / 18.05 against 42.34 / 19.58",
        Points(-1.55, -1.30),
    ),
    Ingredient("one-tower", ("model.towers=1",), "conv2, conv4 and conv5 see all maps: more weights, no towers"),
    Ingredient(
        "half-net",
        ("model.towers=1", "model.channels=[48,128,192,192,256]"),
        "one tower of the two, conv5 and fc layers of both",
        "two towers against one of half the kernels: 1.7 and 1.2 points lower",
        "3.2",
        Points(1.7, 1.2),
        "net 145-half, 2010: 39.17 / 18.23 against 37.47 / 17.00",
        Points(1.70, 1.23),
    ),
    Ingredient(
        "silent-towers",
        ("model.towers_talk=false",),
        "towers that meet only in fc8",
        recorded="net 150, with a wider conv2 and fc6: 41.83 / 19.33 against 40.66 / 18.21",
        notebook=Points(1.17, 1.12),
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
    Ingredient("init-caffe", ("model.init=caffe",), "sigma .01, fc6 and fc7 .005"),
    Ingredient("init-torch", ("model.init=torch",), "PyTorch's own start values"),
    Ingredient("init-xavier", ("model.init=xavier",), "Glorot's start values"),
    Ingredient("init-kaiming", ("model.init=kaiming",), "He's start values"),
    Ingredient(
        "bias-0",
        ("model.bias=0",),
        "biases start at 0",
        "biases of 1 speed up the early stages of learning",
        "5",
    ),
    Ingredient(
        "no-decay",
        ("optim.weight_decay=0",),
        "no weight decay",
        "the small decay is not only a regulariser: it lowers the training error",
        "5",
    ),
    Ingredient(
        "scalar-mean",
        ("model.input_norm=mean-pixel",),
        "one colour subtracted, not a mean image",
        recorded="net 136: no better",
    ),
    Ingredient("chunk-32", ("augment.chunk=32",), "one crop and mirror for 32 pictures, as in the code"),
    Ingredient("mixup", ("augment.mixup=0.5",), "half of the batches blended with themselves"),
    Ingredient(
        "fade",
        ("augment.fade=0.05",),
        "5 % of the chunks keep 3/4 of themselves and take 1/4 of another, label as before",
        recorded="net 170 with fade: 40.25 / 18.12 against 40.53 / 18.05",
        notebook=Points(-0.28, 0.07),
    ),
)

BY_NAME = {ingredient.name: ingredient for ingredient in INGREDIENTS}


def variants_of(text: str) -> list[Variant]:
    """What `--vary` names: ingredients or overrides, joined with `+`, listed with commas outside of brackets.

    Raises:
        UsageError: an unknown ingredient, nothing at all, or the same variant twice.
    """
    names = [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]
    if not names:
        raise UsageError(
            "--vary names nothing to change",
            fix="For example --vary no-lrn,tanh; alexnet ablate --list shows all ingredients.",
            code="E290",
        )
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise UsageError(f"--vary names {twice[0]!r} twice", fix="Name every variant once.", code="E291")
    return [_variant(name) for name in names]


def _variant(name: str) -> Variant:
    parts = re.split(r"\+(?=[a-z])", name)
    if TEN_VIEWS in parts:
        if len(parts) > 1:
            raise UsageError(
                f"{name!r}: {TEN_VIEWS} is an evaluation of the base and cannot be joined with a change",
                fix=f"Name {TEN_VIEWS} by itself; every run's row has its ten views anyway.",
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

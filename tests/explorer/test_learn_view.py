"""Every idea on every kind of network: an answer that JSON can hold, or the run is said not to have it."""

import json
from pathlib import Path

import numpy as np
import pytest

from alexnet.data.augment import ColorStatistics
from alexnet.evaluation.classifier import Classifier
from alexnet.explorer import learn_view
from alexnet.models.build import build_model
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import for_classes, override
from alexnet.runs.run import RunFolder
from alexnet.serving.models import ServedModel

NAMES = tuple("abcdefg")
SMALL = ["model.crop_size=56", "prepare_size=64", "model.width=0.0625"]
# What each lacks; all others it has.
NETWORKS = {
    "small-photos": ([], set()),
    "alexnet-2012": (SMALL, set()),
    "alexnet-paper": (SMALL, set()),
    "caffenet": (SMALL, set()),
    "photos": (["model.crop_size=56", "prepare_size=64", "model.width=0.125"], {"lrn"}),
    "alexnet-owt": (["model.crop_size=96", "prepare_size=100", "model.width=0.0625"], {"lrn", "towers"}),
    "net-150": (SMALL, set()),
    "demo": ([], set()),
    "lenet": ([], {"lrn", "dropout", "towers"}),
    "cifar-18pct": ([], {"lrn", "dropout", "towers"}),
    "cifar-11pct": ([], {"dropout", "towers"}),
}


def served_of(name: str) -> tuple[ServedModel, np.ndarray]:
    changes, _ = NETWORKS[name]
    recipe = for_classes(override(RECIPES[name], changes), len(NAMES))
    model = build_model(recipe.model, seed=3).eval()
    classifier = Classifier(model, NAMES, recipe.prepare_size)
    side = recipe.prepare_size
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3)).astype(np.uint8)
    return ServedModel(name, RunFolder(Path(name), recipe, NAMES, {}), classifier, "id"), image


@pytest.mark.parametrize("name", NETWORKS)
def test_each_idea_is_shown_on_each_of_its_layers(name):
    served, image = served_of(name)
    found = learn_view.ideas_of(served.model)
    lacking = {idea for idea, layers in found.items() if not layers}
    assert lacking - {"towers", "lrn"} == NETWORKS[name][1] - {"towers", "lrn"}
    views = []
    for layer in found["activation"][::3]:
        views += [learn_view.activation_view(served, image, layer, everywhere) for everywhere in (False, True)]
    for layer in found["convolution"]:
        views.append(learn_view.convolution_view(served, image, layer, None, 1, 0))
    for layer in found["pooling"]:
        views.append(learn_view.pooling_view(served, image, layer, None))
    for layer in found["lrn"]:
        constants = {"size": None, "alpha": 1.0, "beta": None, "k": 0.5}
        views.append(learn_view.lrn_view(served, image, layer, None, (None, 2), constants))
    if found["dropout"]:
        views.append(learn_view.dropout_view(served, image, None, 1, 20))
    if found["towers"]:
        views += [learn_view.towers_view(served, image, cut) for cut in ([], found["towers"])]
    colors = ColorStatistics(served.model.input_mean.detach(), np.array([5.0, 9.0, 60.0]), np.eye(3))
    for has in (colors, None):
        views.append(
            learn_view.augmentation_view(
                served, image, has, 4, dict.fromkeys(("crop", "flip", "noise"), True), [1, 0, -1]
            )
        )
    for view in views:
        json.dumps(view, allow_nan=False)
    assert all(view["input"] and view["ways"] for view in views if "ways" in view)

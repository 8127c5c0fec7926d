"""Every part of training, evaluation and explanation with every tensor on another device; see `harness.elsewhere`."""

import json
import sys

import pytest

from alexnet.recipes.named import RECIPES
from harness import forking

# What the named recipes do not have, on a small network.
ALSO = (
    "demo;optim.algorithm=adamw;average_decay=0.9",
    "demo;optim.algorithm=nesterov;class_weights=balanced",
    "demo;model.norm=batch;augment.mixup=0.5;augment.cutmix=0.3",
    "demo;model.pool5_grid=2",
    "demo;model.pool_ties=all;label_smoothing=0.1",
)


def told(tmp_path_factory, *command: str) -> list[list[str]]:
    """What a process of its own says of each recipe: its name, and what went wrong."""
    said = forking.run([sys.executable, *command], tmp_path_factory.mktemp("elsewhere") / "said")
    return [json.loads(line) for line in said.splitlines() if line.startswith("[")]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, str]:
    """What went wrong with each recipe; empty where nothing did."""
    return dict(told(tmp_path_factory, "-m", "harness.elsewhere", *RECIPES, *ALSO))


@pytest.mark.parametrize("recipe", [*RECIPES, *ALSO])
def test_every_part_of_a_recipe_runs_elsewhere(found, recipe):
    assert found[recipe] == ""


FAULTS = {
    "a counter of AdamW on the CPU": (
        "from alexnet.training import state\n"
        "def load(model, optimizer, tensors):\n"
        "    for p in model.parameters():\n"
        "        optimizer.state[p] = {'step': __import__('torch').zeros(())}\n"
        "state._load_optimizer = load\n",
        "demo;optim.algorithm=adamw",
    ),
    "numpy of a device tensor": (
        "from alexnet.training import trainer\n"
        "old = trainer.Trainer.on_device\n"
        "trainer.Trainer.on_device = lambda self, images: (old(self, images).numpy(), old(self, images))[1]\n",
        "demo",
    ),
    "images left on the CPU": (
        "from alexnet.training import trainer\ntrainer.Trainer.on_device = lambda self, images: images\n",
        "demo",
    ),
    "float64 on the device": (
        "from alexnet.training import trainer\n"
        "old = trainer.Trainer.on_device\n"
        "trainer.Trainer.on_device = lambda self, images: old(self, images).double().float()\n",
        "demo",
    ),
    "sums of what cues say in float64": (
        "from alexnet.models.cue_branch import CueBranch\n"
        "CueBranch._answers = lambda self, name, features: features.double()[:, :3].float()\n",
        "demo;model.pool5_grid=2",
    ),
    "pooling over a grid as on the CPU": (
        "from alexnet.models import layers\nlayers.GridPool.forward = layers.nn.AdaptiveAvgPool2d.forward\n",
        "demo;model.pool5_grid=2",
    ),
}


ONE_BY_ONE = """
import json, sys
from alexnet.models.cue_branch import CueBranch
from alexnet.models.layers import GridPool
from alexnet.training import state, trainer
from harness.elsewhere import main
whole = state._load_optimizer, trainer.Trainer.on_device, GridPool.forward, CueBranch._answers
def broken():
    for code, recipe in json.loads(sys.argv[1]):
        exec(code)
        yield recipe
        state._load_optimizer, trainer.Trainer.on_device, GridPool.forward, CueBranch._answers = whole
main(broken())
"""


def test_a_fault_of_each_kind_shows(tmp_path_factory):
    faults = "\n".join(["import sys", f"sys.argv = ['', {json.dumps(list(FAULTS.values()))!r}]", ONE_BY_ONE])
    found = told(tmp_path_factory, "-c", faults)
    assert [recipe for recipe, _ in found] == [recipe for _, recipe in FAULTS.values()]
    assert [fault for fault, (_, wrong) in zip(FAULTS, found, strict=True) if not wrong] == []

"""Every part of training, evaluation and explanation with every tensor on another device; see `harness.elsewhere`."""

import json
import subprocess
import sys

import pytest

from alexnet.recipes.named import RECIPES
from harness import ROOT

# What the named recipes do not have, on a small network.
ALSO = (
    "demo;optim.algorithm=adamw;average_decay=0.9",
    "demo;optim.algorithm=nesterov;class_weights=balanced",
    "demo;model.norm=batch;augment.mixup=0.5;augment.cutmix=0.3",
    "demo;model.pool5_grid=2",
    "demo;model.pool_ties=all;label_smoothing=0.1",
)


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """What went wrong with each recipe, in a process of its own; empty where nothing did."""
    command = [sys.executable, "-W", "ignore", "-m", "harness.elsewhere", *RECIPES, *ALSO]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return dict(json.loads(line) for line in ended.stdout.splitlines())


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


def test_a_fault_of_each_kind_shows():
    command = [sys.executable, "-W", "ignore", "-c", ONE_BY_ONE, json.dumps(list(FAULTS.values()))]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [recipe for recipe, _ in found] == [recipe for _, recipe in FAULTS.values()]
    assert [fault for fault, (_, wrong) in zip(FAULTS, found, strict=True) if not wrong] == []

"""What lesson 7 counts by hand is what the engine counts for processes that do it."""

import pytest

import alexnet
from alexnet.distributed.cost import step_cost
from alexnet.lessons.execute import needed
from alexnet.lessons.lesson import find_lesson


@pytest.fixture(scope="module")
def counted() -> dict:
    return needed(find_lesson("7"), ["setup", "network", "bytes", "schemes"])


def test_the_layers_that_talk_are_those_of_the_paper(counted):
    assert counted["joint"] == ["conv3", "fc6", "fc7", "fc8"]  # section 3.2, and figure 2


@pytest.mark.parametrize(
    ("scheme", "way"), [("data", "sent_data"), ("towers", "sent_towers"), ("hybrid", "sent_hybrid")]
)
@pytest.mark.parametrize("batch", [2, 64, 128, 1024])
def test_the_bytes_of_a_step_are_those_that_processes_send(counted, scheme, way, batch):
    recipe = alexnet.recipe("alexnet-2012", batch_size=batch)
    assert counted[way](batch) == step_cost(recipe, scheme, 2).bytes_sent


def test_forward_a_tower_sends_what_the_engine_gathers(counted):
    sent = step_cost(alexnet.recipe("alexnet-2012"), "towers", 2).sent
    assert sum(counted["crossing"].values()) == sent["gradients of activations"]

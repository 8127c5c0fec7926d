"""The differences of two recipes in words: all of them, and nothing else."""

import dataclasses

import pytest

from alexnet.recipes.config import LeNetConfig
from alexnet.recipes.field_notes import NOTES, explain
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import flat, override

FIELDS = set().union(*(flat(recipe) for recipe in RECIPES.values())) - {"name"}


def test_every_field_of_a_recipe_has_a_note_and_no_note_is_left_over():
    assert set(NOTES) == FIELDS
    assert all(consequence and source for consequence, source in NOTES.values())


def test_the_paper_differs_from_its_source_in_what_the_source_says_otherwise():
    # Position of LRN in layer 1, undivided alpha, border, within-map normalization, sigma; then training.
    found = {d.field for d in explain(RECIPES["alexnet-2012"], RECIPES["alexnet-paper"])}
    assert {f for f in found if f.startswith("model.")} == {
        "model.norm1", "model.lrn_alpha", "model.lrn_per_tower", "model.within_map_norm", "model.init",
    }  # fmt: skip
    assert found - {f for f in found if f.startswith("model.")} == {
        "augment.chunk", "augment.color_noise_until", "augment.color_shrink", "augment.color_scale",
        "optim.bias_lr_factor", "optim.decay_biases", "optim.conv1_drop_epochs", "optim.conv1_freeze_epoch",
        "optim.biases_follow", "reshuffle",
    }  # fmt: skip


def test_a_difference_shows_both_values_in_the_order_asked_for():
    one = override(RECIPES["demo"], ["dropout=0.25"])
    (difference,) = explain(one, RECIPES["demo"])
    assert (difference.field, difference.first, difference.second) == ("model.dropout", 0.25, 0.5)
    assert "overfits" in difference.consequence


def test_two_kinds_of_network_are_not_compared_field_by_field():
    demo = RECIPES["demo"]
    other = dataclasses.replace(demo, model=LeNetConfig())
    (difference,) = explain(demo, other)
    assert (difference.first, difference.second) == ("alexnet", "lenet")


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_differs_from_itself(name):
    assert explain(RECIPES[name], RECIPES[name]) == []


def test_diff_prints_field_values_consequence_and_source(alexnet):
    outcome = alexnet("diff", "alexnet-2012", "net-147")
    assert outcome.code == 0
    assert all(text in outcome.out for text in ("model.pooling", "overlapping", "plain", "0.4 / 0.3", "net 147"))
    assert "model.norm1" not in outcome.out
    assert "same" in alexnet("diff", "photos", "photos").out


def test_diff_knows_recipes_and_run_folders_only(alexnet, trained):
    assert "model.width" in alexnet("diff", "photos", trained / "run").out
    outcome = alexnet("diff", "photos", "phots")
    assert outcome.code == 2
    assert "did you mean 'photos'" in outcome.err

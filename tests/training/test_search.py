"""Successive halving: how many settings go on, what it costs, that it repeats, and that the best one wins."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from alexnet.api.fitting import Fitting
from alexnet.data.parts import divided_training
from alexnet.errors import UsageError
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import flat, override
from alexnet.training import search as searching
from alexnet.training.search import declared_settings, rungs, search

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("settings", "epochs", "expected"),
    [
        (2, 64, [(2, 16)]),
        (4, 64, [(4, 4), (2, 8)]),
        (8, 64, [(8, 1), (4, 2), (2, 4)]),
        (8, 150, [(8, 3), (4, 6), (2, 12)]),
        (3, 60, [(3, 5), (2, 10)]),
        (5, 150, [(5, 5), (3, 10), (2, 20)]),
        (4, 2, [(4, 1), (2, 2)]),
    ],
)
def test_the_better_half_goes_on_with_twice_the_epochs(settings, epochs, expected):
    assert rungs(settings, epochs) == expected


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("changes", [[], ["mixup=0", "cutmix=0", "jitter=0"], ["min_area=0.7", "dropout=0.2"]])
def test_every_setting_changes_something_and_the_plan_itself_is_the_first(count, changes):
    recipe = override(find_recipe("photos"), changes)
    found = declared_settings(recipe, count)
    assert next(iter(found)) == "as planned"
    assert len(found) <= count
    for fields in list(found.values())[1:]:
        assert any(flat(recipe)[name] != value for name, value in fields.items())


def test_fields_that_were_given_are_not_tried_and_other_settings_take_their_place():
    recipe = find_recipe("photos")
    names = [*declared_settings(recipe, 8)]
    mixing, _, parts, _, color, decay = names[1:]
    assert [*declared_settings(recipe, 4, {"optim.lr"})] == ["as planned", mixing, parts, color]
    assert [*declared_settings(recipe, 8, {"augment.cutmix", "epochs"})] == [name for name in names if name != mixing]
    given = {"augment.mixup", "optim.lr", "augment.min_area", "augment.jitter"}
    assert [*declared_settings(recipe, 8, given)] == ["as planned", decay]


@pytest.mark.parametrize(("view", "there"), [("zoom", True), ("crop", False), ("center", False)])
def test_parts_of_images_are_tried_where_there_are_any(view, there):
    found = declared_settings(override(find_recipe("photos"), [f"view={view}"]), 8)
    assert any("augment.min_area" in fields for fields in found.values()) == there


def test_the_settings_of_a_search_are_used_as_they_were_tried(prepared, tiny, monkeypatch):
    monkeypatch.setattr(searching, "score", lambda recipe, *_: (abs(math.log(recipe.optim.lr / tiny.optim.lr)), 1.0))
    free, bound = Fitting(frozenset(), tries=4), Fitting(frozenset({"optim.lr"}), tries=4)
    assert free.after(tiny, prepared, CPU).optim.lr in (tiny.optim.lr / 2, tiny.optim.lr * 2)
    found = bound.after(tiny, prepared, CPU)
    assert {row["setting"] for row in bound.rows} >= {"as planned", "dropout 0.2"}
    assert all("optim.lr" not in row["fields"] for row in bound.rows)
    assert found == tiny  # of equal settings the first


def test_where_everything_is_given_nothing_is_trained(prepared, tiny, monkeypatch):
    monkeypatch.setattr(searching, "score", None)
    given = {"augment.mixup", "optim.lr", "model.dropout", "augment.jitter", "optim.weight_decay"}
    fitting = Fitting(frozenset(given), tries=8)
    assert fitting.after(tiny, prepared, CPU) == tiny
    assert fitting.rows == ()
    assert fitting.lines()["search"].startswith("nothing to try")


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_network_whose_answers_are_not_finite_has_failed(prepared, tiny, monkeypatch, loss):
    found = SimpleNamespace(top1_error=0.0, log_loss=loss)
    monkeypatch.setattr(searching, "evaluate", lambda *_, **__: found)
    assert searching.score(override(tiny, ["epochs=1"]), prepared, CPU) == (0.0, math.inf)


@pytest.mark.parametrize("count", [-1, 1, 9, 100])
def test_other_numbers_are_refused(count):
    with pytest.raises(UsageError, match="E2024"):
        declared_settings(find_recipe("photos"), count)


def test_the_training_images_are_divided_again_and_the_validation_images_are_not_there(prepared):
    parts = divided_training(prepared, 0.2, 1)
    names = [set(parts.splits[name].names) for name in ("train", "val")]
    assert set(parts.splits) == {"train", "val"}
    assert names[0] | names[1] == set(prepared.splits["train"].names)
    assert not names[0] & names[1]
    whole = {name: i for i, name in enumerate(prepared.splits["train"].names)}
    for split in parts.splits.values():
        rows = [whole[name] for name in split.names]
        assert np.array_equal(split.read(np.arange(len(split))), prepared.splits["train"].read(rows))
        assert np.array_equal(split.labels, prepared.splits["train"].labels[rows])
        with pytest.raises(IndexError):
            split.read([len(split)])


def test_it_chooses_the_best_of_the_last_rung_and_counts_every_run(prepared, tiny, monkeypatch):
    scores = {0.01: 0.5, 0.005: 0.9, 0.02: 0.2}
    monkeypatch.setattr(searching, "score", lambda recipe, *_: (scores[recipe.optim.lr], 1.0))
    tried = {"as planned": {}, "half": {"optim.lr": 0.005}, "twice": {"optim.lr": 0.02}}
    monkeypatch.setattr(searching, "declared_settings", lambda *_: tried)
    found = search(tiny, prepared, CPU, 3)
    assert (found.name, found.fields) == ("half", {"optim.lr": 0.005})
    assert [(row["rung"], row["setting"]) for row in found.rows] == [
        (1, "as planned"),
        (1, "half"),
        (1, "twice"),
        (2, "half"),
        (2, "as planned"),
    ]
    assert "half is best of 3 settings in 5 short runs" in found.line()


def test_it_repeats_to_the_bit(prepared, tiny):
    first, second = (search(tiny, prepared, CPU, 2).rows for _ in range(2))
    assert first == second
    assert all(0 <= row["accuracy"] <= 1 for row in first)

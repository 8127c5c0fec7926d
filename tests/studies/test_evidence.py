"""The study of the plan: what it runs next, from the rows that are there, and that it is what the plan says."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from alexnet.experiments import answers
from alexnet.models.build import outline
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import override, to_json
from harness import ROOT
from studies.paper import evidence, rates, study

PLAN = (ROOT / "studies/PLAN.md").read_text()


def test_the_arms_are_those_of_the_plan_and_each_is_another_network():
    rows = re.findall(r"^\| ([a-z0-9, -]+) \| ", PLAN, re.M)
    names = [name for row in rows if row not in ("arm", "---") for name in row.split(", ")]
    assert names == list(evidence.ARMS)
    base = override(find_recipe(evidence.RECIPE), (*evidence.NARROW, *evidence.shape(6)))
    recipes = [override(base, changes) for changes in evidence.ARMS.values()]
    assert len({to_json(recipe) for recipe in [base, *recipes]}) == 15
    for recipe in recipes:
        outline(recipe.model)  # raises where maps are too small for it
    for number in (
        "0.3 points",
        "0.6 points",
        "4 of the base",
        "n >= 6",
        "30 at most",
        "6, 8, 11, 15, 20",
        *evidence.NARROW,
    ):
        assert number in PLAN


@pytest.mark.parametrize(("epochs", "drops"), [(6, (4, 5)), (12, (8, 11)), (16, (11, 14)), (30, (21, 27))])
def test_the_shape_of_a_schedule(epochs, drops):
    assert evidence.drops(epochs) == drops
    recipe = override(find_recipe(evidence.RECIPE), evidence.shape(epochs))
    assert recipe.optim.drop_epochs == recipe.optim.conv1_drop_epochs == drops
    assert recipe.augment.color_noise_until == drops[1]
    if epochs == 30:
        assert recipe == find_recipe(evidence.RECIPE)  # it is the recipe's own


@pytest.mark.parametrize(
    ("best", "tried", "chosen"),
    [
        (0.01, (0.003, 0.01, 0.03, 0.1), 0.01),
        (0.1, (0.003, 0.01, 0.03, 0.1, 0.3), 0.1),
        (1.0, (0.003, 0.01, 0.03, 0.1, 0.3, 1.0), 1.0),
        (0.003, (0.001, 0.003, 0.01, 0.03, 0.1), 0.003),
        (0.0003, (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1), 0.0003),
    ],
)
def test_the_search_goes_on_where_an_end_is_the_best(best, tried, chosen):
    errors: dict[float, float] = {}
    for _ in range(6):
        errors |= {rate: abs(np.log(rate / best)) for rate in rates.tried(errors)}
    assert tuple(rates.tried(errors)) == tried
    assert rates.best_rate({rate: errors[rate] for rate in tried}) == chosen


def test_a_rate_is_as_good_as_the_best_of_its_runs():
    losses = {(0.003, "a"): 3, (0.003, "b"): 3, (0.01, "a"): 1, (0.01, "b"): 4, (0.03, "a"): 2, (0.03, "b"): 2}
    options = SimpleNamespace(done=lambda jobs: [losses[job] for job in jobs if job in losses])

    def found():
        return rates.search(options, lambda rate: [(rate, "a"), (rate, "b")], float)

    losses[0.1, "a"] = 0  # of two runs one is there, so nothing is chosen
    jobs, rate = found()
    assert jobs == [(rate, name) for rate in (0.003, 0.01, 0.03, 0.1) for name in "ab"]
    assert rate is None
    losses |= {(0.1, "a"): 3, (0.1, "b"): 3}
    assert found() == (jobs, 0.01)


def curve(*errors: float):
    return {"results": {"val": {}}, "curve": [{"epoch": i, "val_top1_error": e} for i, e in enumerate(errors, 1)]}


def test_more_epochs_while_the_error_still_falls_after_the_last_drop():
    flat, steep = [0.5] * 10 + [0.300, 0.298], [0.5] * 10 + [0.300, 0.295]
    assert not evidence.still_falls([curve(*flat), curve(*flat)], 12)
    assert evidence.still_falls([curve(*steep), curve(*steep)], 12)
    assert evidence.still_falls([curve(*flat), curve(*steep)], 12)  # 0.35 in the mean


@pytest.mark.parametrize("spread", [0.001, 0.004, 0.006, 0.01, 0.05])
def test_how_many_rounds_come_first(spread):
    n = evidence.first_rounds(spread)

    def half(n: int) -> float:
        return float(stats.t.ppf(0.975, 5 * n - 2) * spread * np.sqrt(1.25 / n))

    assert n == 30 or half(n) <= 0.005
    assert n == 6 or half(n - 1) > 0.005


def rows_of(spread: dict[str, float], rounds: dict[str, int], effect: float = 0.0):
    rng = np.random.default_rng(0)
    images = rng.random(10_000)
    out = []
    for variant, seed in evidence.in_rounds(rounds):
        error = 0.3 + spread.get(variant, 0.001) * rng.standard_normal() + effect * (variant == "no-lrn")
        wrong = images < error
        values = {"top1_error": float(wrong.mean()), answers.WRONG: answers.pack(wrong)}
        out.append(
            {
                "variant": variant,
                "seed": seed,
                "results": {"val": {"1": values}},
                "data": {"classes": 10, "pictures": {"val": 10_000}},
                "settings": {},
                "environment": {"processor": "A"},
            }
        )
    return out


def test_only_arms_whose_interval_is_wide_get_more_rounds(monkeypatch):
    monkeypatch.setattr(evidence, "ARMS", {name: evidence.ARMS[name] for name in ("tanh", "no-lrn")})
    first = dict.fromkeys(evidence.ARMS, 6)
    assert evidence.wanted_rounds([], 6) == first
    rows = rows_of({"tanh": 0.03}, first)
    assert evidence.wanted_rounds(rows, 6) == {**first, "tanh": 8}
    assert evidence.wanted_rounds(rows[:-1], 6) == first  # the last round is not complete
    assert evidence.wanted_rounds(rows_of({"tanh": 0.03}, first, effect=0.02), 6) == {**first, "tanh": 8}
    huge = rows_of({}, first, effect=0.3)  # 3,000 of 10,000 images: half-width 0.9 by the images alone
    assert evidence.wanted_rounds(huge, 6) == first
    everything = dict.fromkeys(evidence.ARMS, 30)
    assert evidence.wanted_rounds(rows_of({"tanh": 0.2}, {**everything, "no-lrn": 6}), 6)["tanh"] == 30


def test_the_order_of_the_runs_is_balanced():
    order = evidence.in_rounds({"a": 2, "b": 1})
    assert order == [
        ("a", 0),
        ("b", 0),
        *(("base", s) for s in range(4)),
        ("a", 1),
        *(("base", s) for s in range(4, 8)),
    ]


def test_the_images_that_choose_are_the_last_of_each_class(photos, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train").symlink_to(photos)
    out = Path(study.held_back(str(tmp_path / "set"), 2))
    every = sorted(p.name for p in (photos / "red").iterdir())
    assert sorted(p.name for p in (out / "val/red").iterdir()) == every[-2:]
    assert sorted(p.name for p in (out / "train/red").iterdir()) == every[:-2]
    assert study.held_back(str(tmp_path / "set"), 2) == str(out)


def test_every_run_is_of_the_network_of_the_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "held_back", lambda folder, last: folder)
    options = study.Options("trial", (str(tmp_path),), 1, (), 1, tmp_path / "rows.jsonl", tmp_path)
    made = [
        evidence.search_job(options, evidence.TANH, 0.01),
        evidence.pilot_job(options, 0.01, 6, 0),
        *(
            evidence.final_job(options, arm, 0, {evidence.RELU: 0.01, evidence.TANH: 0.03}, 6)
            for arm in ("base", *evidence.ARMS)
        ),
    ]
    for job in made:
        recipe = override(find_recipe(job.base), job.changes)
        assert (recipe.batch_size, recipe.model.init_scale, recipe.prepare_size) == (128, 2.8, 32)
        assert recipe.model.width == 0.125
        assert recipe.model.crop_size == 24

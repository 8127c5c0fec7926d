"""The studies: their plans, the verdicts of made-up rows, and that what is committed is what the rows give."""

import importlib
from pathlib import Path

import pytest

from alexnet.evaluation.intervals import mean_interval
from alexnet.recipes.ingredients import variants_of
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import override, to_json
from harness import ROOT
from studies.claims import claims, figures, measures, verdicts
from studies.paper import study


def test_the_claims_are_those_of_the_rows():
    assert (ROOT / "docs/claims.md").read_text() == claims.document(measures.load(ROOT / "results"))


def test_the_figures_are_those_of_the_rows():
    drawn = figures.draw(ROOT / "results")
    assert {path.name for path in (ROOT / "results").glob("*.svg")} == set(drawn)
    for name, content in drawn.items():
        assert (ROOT / "results" / name).read_text() == content, name


def test_no_row_names_a_place_on_a_machine():
    for path in (ROOT / "results").glob("*.jsonl"):
        assert '"/' not in path.read_text(), path  # no value is an absolute path


@pytest.mark.parametrize(
    ("values", "direction", "verdict"),
    [
        ([1.0, 1.1, 1.2], 1, verdicts.REPRODUCED),
        ([1.0, 1.1, 1.2], -1, verdicts.OPPOSITE),
        ([-1.0, -1.1, -1.2], -1, verdicts.REPRODUCED),
        ([-1.0, -1.1, -1.2], 1, verdicts.OPPOSITE),
        ([-1.0, 0.1, 1.2], 1, verdicts.NOT),
        ([1.0], 1, verdicts.WAITING),
        ([], 1, verdicts.WAITING),
    ],
)
def test_the_rule_of_the_verdicts(values, direction, verdict):
    value = mean_interval(values) if values else None
    assert verdicts.signed(value, direction, "text")[1] == verdict


def race_rows(**epochs: tuple[int, ...]):
    """Rows of figure_1 in which an activation gets to 25 % in so many epochs, one for each seed; 0: never, of 20."""
    out = []
    for name, needed in epochs.items():
        for seed, at in enumerate(needed):
            curve = [{"epoch": e, "train_top1_error": 0.2 if e == at else 0.5} for e in range(1, (at or 20) + 1)]
            out.append(
                {"variant": name, "seed": seed, "until_train_error": 0.25, "settings": {"epochs": 20}, "curve": curve}
            )
    return out


def test_how_many_times_as_many_epochs():
    found = measures.race_ratio(race_rows(relu=(2, 4), tanh=(12, 16)), "tanh")
    assert found is not None
    assert found[0].mean == pytest.approx((6 * 4) ** 0.5)
    assert found[1]
    studies = {"figure_1": race_rows(relu=(3, 3, 3), tanh=(18, 17, 19))}
    assert verdicts.race("tanh")(studies)[1] == verdicts.REPRODUCED
    assert verdicts.six_times(studies)[1] == verdicts.REPRODUCED
    assert verdicts.six_times({"figure_1": race_rows(relu=(3, 3, 3), tanh=(6, 6, 7))})[1] == verdicts.NOT
    capped = {"figure_1": race_rows(relu=(3, 3, 3), tanh=(0, 0, 0))}
    assert verdicts.six_times(capped)[1] == verdicts.UNTESTABLE
    assert "at least 7.00" in verdicts.race("tanh")(capped)[0]


@pytest.mark.parametrize("name", ["ingredients_cifar", "ingredients_photos"])
def test_every_variant_of_a_study_changes_its_base(name):
    module = importlib.import_module(f"studies.paper.{name}")
    base = override(find_recipe(name.replace("ingredients", "small").replace("_", "-")), module.SCHEDULE)
    recipes = {v.name: override(base, v.changes) for v in variants_of(module.VARIANTS) if v.views == 1}
    assert all(recipe != base for recipe in recipes.values())
    assert len(set(map(to_json, recipes.values()))) == len(recipes)


def test_a_subset_is_every_nth_image_of_a_class_and_is_made_once(photos, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "set" / split).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / split).symlink_to(photos)
    out = Path(study.subset(str(tmp_path / "set"), {"train": 3, "test": 5}))
    assert sorted(p.name for p in (out / "train/red").iterdir()) == ["0.png", "3.png", "6.png", "9.png"]
    assert sorted(p.name for p in (out / "test/blue").iterdir()) == ["0.png", "5.png"]
    assert study.subset(str(tmp_path / "set"), {"train": 3, "test": 5}) == str(out)


def test_every_claim_names_a_section_and_a_verdict_of_the_rule():
    allowed = {verdicts.REPRODUCED, verdicts.NOT, verdicts.UNTESTABLE, verdicts.WAITING}
    nothing = {name: [] for name in measures.NAMES}
    for claim in claims.CLAIMS:
        assert claim.section
        assert claim.judge(nothing)[1] in allowed
    settled = {c.text: c.judge(nothing) for c in claims.CLAIMS if not c.command.startswith("`make") and c.command}
    assert [found[1] for found in settled.values()].count(verdicts.REPRODUCED) == 1
    assert settled["crops and mirrors multiply the training set by 2,048"][0].startswith("33 x 33 x 2 = 2,178")
    assert "conv3 1.45 %" in settled["each convolution holds no more than 1 % of the parameters"][0]

"""The studies: their plans, the verdicts of made-up rows, and that what is committed is what the rows give."""

import re
from pathlib import Path

import pytest

from alexnet.experiments import answers
from alexnet.experiments.verdicts import Verdict
from alexnet.recipes.ingredients import variants_of
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import override, to_json
from harness import ROOT
from harness.claims_page import PAGE, by_arm, lines_of
from studies.claims import claims, figures, leading, measures, verdicts
from studies.paper import evidence, ingredients_photos, photos_folds, study


def test_the_claims_are_those_of_the_rows():
    assert claims.document(measures.load(ROOT / "results")) == PAGE


def test_the_figures_are_those_of_the_rows():
    drawn = figures.draw(ROOT / "results")
    assert {path.name for path in (ROOT / "results").glob("*.svg")} == set(drawn)
    for name, content in drawn.items():
        assert (ROOT / "results" / name).read_text() == content, name


def test_no_row_names_a_place_on_a_machine():
    packed = re.compile(rf'"{answers.WRONG}": "[A-Za-z0-9+/=]*"')  # bits of images, which may begin with a slash
    for path in (ROOT / "results").glob("*.jsonl"):
        assert '"/' not in packed.sub("", path.read_text()), path  # no value is an absolute path


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
    assert found.value == 14 / 3
    six = {"figure_1": race_rows(relu=(3, 3, 3), tanh=(18, 17, 19))}
    assert verdicts.six_times(six)[1].startswith(Verdict.SUPPORTED)
    few = {"figure_1": race_rows(relu=(3, 3, 3), tanh=(6, 6, 7))}
    assert verdicts.six_times(few)[1].startswith(Verdict.CONTRADICTED)


def told(claim: claims.Claim, studies):
    return claims.found_for(claim, studies, {})


def test_a_race_is_decided_by_interval_and_test_together():
    ten = {"figure_1": race_rows(relu=(3, 4) * 5, tanh=(9, 10) * 5)}
    text, verdict = told(verdicts.race("tanh"), ten)
    assert verdict == Verdict.SUPPORTED
    assert text == "2.71 [2.25, 3.33] times the epochs, by medians; 10 against 10 runs, log-rank p < 0.001"
    assert told(verdicts.race("sigmoid"), ten) == ("", Verdict.NOT_MEASURED)
    two = {"figure_1": race_rows(relu=(3, 4), tanh=(9, 10))}
    assert told(verdicts.race("tanh"), two)[1] == Verdict.UNDECIDED  # two runs against two prove nothing
    turned = {"figure_1": race_rows(relu=(9, 10) * 5, tanh=(3, 4) * 5)}
    assert told(verdicts.race("tanh"), turned)[1] == Verdict.CONTRADICTED
    same = {"figure_1": race_rows(relu=(9,) * 10, tanh=(9,) * 10)}
    assert told(verdicts.race("tanh"), same)[1] == Verdict.TOO_SMALL


def test_a_run_that_ends_before_the_goal_gives_a_bound():
    capped = {"figure_1": race_rows(relu=(3,) * 10, tanh=(0,) * 10)}
    text, verdict = told(verdicts.race("tanh"), capped)
    assert verdict == Verdict.SUPPORTED
    assert text == (
        "at least 7.00 [7.00, endless] times the epochs, by medians; 10 against 10 runs, log-rank p < 0.001; "
        "10 of the slow ended before"
    )
    assert verdicts.six_times(capped)[1].startswith(Verdict.CONTRADICTED)  # it is more
    near = {"figure_1": race_rows(relu=(5,) * 10, tanh=(0,) * 10)}
    assert verdicts.six_times(near)[1].startswith(Verdict.UNDECIDED)  # at least 4.2, so perhaps six
    assert measures.race_ratio(race_rows(relu=(0, 3), tanh=(9, 9)), "tanh") is None  # nothing is known of the ratio


def test_whether_dropout_takes_twice_the_epochs():
    def row(variant: str, at: int):
        curve = [{"epoch": e, "val_loss": 1.1 if e >= at else 1.2} for e in range(1, 51)]  # half of ln 10 is 1.15
        return {"variant": variant, "curve": curve, "data": {"classes": 10}, "settings": {"epochs": 50}}

    rows = [row("base", at) for at in (20, 21, 22)] + [row("no-dropout", at) for at in (10, 11, 10)]
    text, verdict = verdicts.doubled({"dropout_iterations": rows})
    assert text.startswith("2.10 [1.82, 2.20] times the epochs")
    assert verdict == "supported, for this network and these rates"
    drawn = figures.dropout_iterations({"dropout_iterations": rows})
    assert drawn.count("<polyline") == len(rows)
    assert all(name in drawn for name in ("no-dropout", "base"))
    assert verdicts.doubled({"dropout_iterations": []}) == ("", Verdict.NOT_MEASURED)


def test_which_train_is_counted_with_its_interval():
    rows = [
        {
            "variant": f"relu, {start}",
            "outcome": outcome,
            "curve": [{"train_loss": 3.0}, {"train_loss": loss}],
            "data": {"classes": 10},
        }
        for start, loss, outcome in (  # 90 % of ln 10 is 2.07
            *(("source", 2.0, "finished"), ("source", 2.1, "finished")),
            *(("paper", 2.2, "finished"), ("paper", 1.0, "diverged")),
        )
    ]
    choosing = {"variant": "choice: sigmoid at 0.1", "curve": [], "data": {"classes": 10}}
    text, verdict = verdicts.which_train({"which_train": [choosing, *rows]})
    # Clopper and Pearson, 1 of 2: 1 - 0.975 ** (1 / 2) = 0.013 from either end; 0 of 2: 1 - 0.025 ** (1 / 2) = 0.842.
    assert text == "relu: source 1 of 2 [1, 99] %, paper 0 of 2 [0, 84] %"
    assert verdict == "counted, no test"
    assert verdicts.which_train({"which_train": []}) == ("", Verdict.NOT_MEASURED)


def test_every_variant_of_a_study_changes_its_base():
    base = override(find_recipe("small-photos"), ingredients_photos.SCHEDULE)
    variants = variants_of(ingredients_photos.VARIANTS)
    recipes = {v.name: override(base, v.changes) for v in variants if v.views == 1}
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


def test_without_rows_nothing_is_judged_but_what_is_counted():
    nothing = {name: [] for name in measures.NAMES}
    judged = verdicts.family_of(nothing, {c.text: c.test for c in claims.CLAIMS if c.test})
    found = {claim.text: claims.found_for(claim, nothing, judged) for claim in claims.CLAIMS}
    assert len(found) == len(claims.CLAIMS)  # no text twice
    assert all(claim.section for claim in claims.CLAIMS)
    counted = {
        text: verdict
        for text, (_, verdict) in found.items()
        if verdict not in (Verdict.NOT_MEASURED, Verdict.UNTESTABLE)
    }
    assert counted == {
        "60 million parameters, 650,000 neurons": Verdict.SUPPORTED,
        "each convolution holds no more than 1 % of the parameters": Verdict.CONTRADICTED,
        "crops and flips multiply the training set by 2,048": Verdict.CONTRADICTED,
    }
    assert found["crops and flips multiply the training set by 2,048"][0].startswith("33 x 33 x 2 = 2,178")
    assert "conv3 1.45 %" in found["each convolution holds no more than 1 % of the parameters"][0]
    assert all(line[6] == "not measured yet" for line in lines_of(leading.table(nothing), 7)[1:])
    assert "not reproduced" not in claims.document(nothing)


def test_rows_of_uncommitted_sources_are_counted_where_they_are_used():
    rows = (ROOT / "results/overfitting.jsonl").read_text()
    changed = rows.count('-dirty"')
    assert changed > 0
    assert f"{changed} of the study's {len(rows.splitlines())} rows are of uncommitted sources" in PAGE


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_intervals_of_the_readme_are_those_of_the_claims(name):
    found = {" ".join(f.split()) for f in re.findall(r"[+-]?\d+\.\d\d\s+\[[^\]]+\]", (ROOT / name).read_text())}
    ingredients = {f"{line[2]} {line[3]}" for line in by_arm(PAGE).values() if line[3].startswith("[")}
    assert len(ingredients) == len(evidence.ARMS) + 1  # and ten views
    photos = set(re.findall(r"\| photos in five folds: .*\| ([+-]\S+ \[[^\]]+\]) points", PAGE))
    assert len(photos) == len(photos_folds.CHANGES) - 1
    assert ingredients | photos <= found  # what is found of each is said
    assert len(found - ingredients - photos) == 3
    assert all(figure in PAGE for figure in found - ingredients)

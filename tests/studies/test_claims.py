"""The studies: their plans, the verdicts of made-up rows, and that what is committed is what the rows give."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from alexnet.experiments import answers
from alexnet.experiments.verdicts import Verdict
from alexnet.recipes.ingredients import variants_of
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import override, to_json
from harness import ROOT
from studies.claims import claims, figures, leading, measures, secondary, verdicts
from studies.paper import evidence, ingredients_photos, study

PAGE = (ROOT / "docs/claims.md").read_text()


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


def lines_of(page: str, columns: int) -> list[list[str]]:
    """The cells of the tables of so many columns."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [row for row in rows if len(row) == columns and set(row[0]) != {"-"}]


def photo_errors(variant: str) -> list[float]:
    """Straight from the file: top-1 errors on the test images, one view."""
    rows = map(json.loads, (ROOT / "results/ingredients_photos.jsonl").read_text().splitlines())
    return [row["results"]["test"]["1"]["top1_error"] for row in rows if row["variant"] == variant]


@pytest.mark.filterwarnings("ignore:Precision loss occurred")  # tanh: three runs that never learn have one error
def test_intervals_and_verdicts_of_the_page_again_with_scipy():
    """The study of photos as a family: Welch's test and interval, Holm's correction, and the rule, none of ours."""
    mine = [(line, re.search(r"\(([a-z0-9-]+), photos\)", line[0])) for line in lines_of(PAGE, 6)]
    named = {name[1]: line for line, name in mine if name and name[1] not in ("no-decay",)}
    assert len(named) == 11
    family = [claim for claim in claims.CLAIMS if claim.test and claim.test.study == "ingredients_photos"]
    others = [
        measures_p(c) for c in family if not (m := re.search(r"\(([a-z0-9-]+), photos\)", c.text)) or m[1] not in named
    ]
    tests = {name: stats.ttest_ind(photo_errors(name), photo_errors("base"), equal_var=False) for name in named}
    ordered = sorted([*(t.pvalue for t in tests.values()), *others])
    assert len(ordered) == len(family)
    for name, line in named.items():
        found, ends = tests[name], tests[name].confidence_interval()
        effect = np.mean(photo_errors(name)) - np.mean(photo_errors("base"))
        shown = re.match(r"([+-][\d.]+) \[([+-][\d.]+), ([+-][\d.]+)\] points, 3 against 3 runs", line[4])
        assert shown, line
        assert [float(v) for v in shown.groups()] == pytest.approx(
            100 * np.array([effect, ends.low, ends.high]), abs=0.0051
        )
        corrected = max(min(1, (len(ordered) - i) * p) for i, p in enumerate(ordered) if p <= found.pvalue)
        if corrected < 0.05:
            verdict = "supported" if effect > 0 else "contradicted"
        else:
            verdict = "too small to matter here" if ends.low >= -0.01 and ends.high <= 0.01 else "undecided"
        assert line[5].startswith(verdict), line


def measures_p(claim):
    """The p value of a claim on another figure than the test error."""
    found = claim.test.estimate(measures.load(ROOT / "results")["ingredients_photos"])
    return found.p


def made_up(seeds: int = 8, images: int = 2_000, effect: float = 0.0, arms=tuple(evidence.ARMS)):
    """Rows of the plan's study in which one arm is worse by `effect` and all others are as the base."""
    rng = np.random.default_rng(18)
    difficulty = rng.standard_normal(images)
    out = []
    for variant, count in [("base", 4 * seeds), *((arm, seeds) for arm in arms)]:
        for seed in range(count):
            wrong = difficulty + 0.5 * rng.standard_normal(images) > 0.5
            if variant == "no-lrn":
                wrong |= rng.random(images) < effect / 0.67
            both = {"top1_error": float(wrong.mean()), answers.WRONG: answers.pack(wrong)}
            found = {"val": {"1": both, "10": both}, "train": {"1": {"top1_error": 0.2}}}
            out.append(
                {
                    "base": "small-cifar",
                    "variant": variant,
                    "seed": seed,
                    "outcome": "finished",
                    "results": found,
                    "data": {"classes": 10, "pictures": {"val": images}},
                    "settings": {},
                    "environment": {"processor": "A"},
                    "curve": [{"epoch": 1, "train_loss": 2.0}],
                    "until_train_error": None,
                    "commit": "1234567",
                }
            )
    return out


def recomputed(rows) -> dict[str, tuple[float, float, float]]:
    """Arm -> effect, half of the analytic interval and p value, by NumPy and SciPy alone; machines are blocks."""

    def masks(variant: str, machine: str) -> np.ndarray:
        mine = [row for row in rows if row["variant"] == variant and row["environment"]["processor"] == machine]
        chance = np.full(mine[0]["data"]["pictures"]["val"] if mine else 0, 0.9)  # of a run that diverged
        return np.array([answers.wrong_of(row, "val") if row["results"] else chance for row in mine], float)

    machines = sorted({row["environment"]["processor"] for row in rows})
    out = {}
    for arm in evidence.ARMS:
        blocks = [(masks(arm, machine), masks("base", machine)) for machine in machines]
        blocks = [(a, b) for a, b in blocks if len(a) and len(b)]
        if not blocks:
            continue
        counts = np.array([[len(y) for y in block] for block in blocks])
        freedom = counts.sum(0) - len(blocks)
        spread = np.array([[((y.mean(1) - y.mean()) ** 2).sum() for y in block] for block in blocks]).sum(0) / freedom
        weights = 1 / (spread / counts).sum(1)
        weights /= weights.sum()
        share = (weights[:, None] ** 2 / counts).sum(0)
        on_images = weights @ np.array([a.mean(0) - b.mean(0) for a, b in blocks])
        images = len(on_images)
        rest = np.array(
            [[((y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()) ** 2).sum() for y in block] for block in blocks]
        ).sum(0)
        noise = (share * rest / freedom / (images - 1)).sum() / images
        parts = np.array([*(spread * share), max(0.0, on_images.var(ddof=1) / images - noise)])
        f = parts.sum() ** 2 / (parts**2 / [*freedom, images - 1]).sum()
        error, effect = np.sqrt(parts.sum()), on_images.mean()
        out[arm] = (effect, stats.t.ppf(0.975, f) * error, 2 * stats.t.sf(abs(effect) / error, f))
    return out


def by_arm(page: str, columns: int = 7, named: int = 1) -> dict[str, list[str]]:
    """Arm -> its line of the leading table, or of another that names it in another column."""
    return {line[named].split(" (")[-1].strip(")"): line for line in lines_of(page, columns)}


def check_leading(table: dict[str, list[str]], rows) -> int:
    """Effect, interval, Holm over fourteen and verdict of every line that has one; says how many have."""
    expected = recomputed(rows)
    ordered = sorted(p for _, _, p in expected.values())
    judged = 0
    for arm, (effect, half, p) in expected.items():
        line = table[arm]
        runs = [sum(row["variant"] == name for row in rows) for name in (arm, "base")]
        assert float(line[2]) == pytest.approx(100 * effect, abs=0.0051)
        assert line[4] == f"{runs[0]} / {runs[1]}"
        if runs[0] < 8:
            assert line[6] == "not measured yet"
            continue
        judged += 1
        low, high = (float(v) for v in line[3].strip("[]").split(", "))
        assert (low, high) == pytest.approx((100 * (effect - half), 100 * (effect + half)), abs=15 * half)
        corrected = max(min(1, (14 - i) * q) for i, q in enumerate(ordered) if q <= p)
        if corrected < 0.05 and low * high > 0:
            verdict = "supported" if effect > 0 else "contradicted"
        else:
            verdict = "too small to matter here" if max(-low, high) <= 1 else "undecided"
        assert line[6].startswith(verdict), line
    return judged


def test_the_leading_table_again_with_scipy():
    """The rows of the plan, made up: the effect, the analytic interval, Holm over fourteen, and the verdict."""
    rows = made_up(effect=0.05)
    studies = {name: [] for name in measures.NAMES} | {leading.STUDY: rows}
    table = by_arm(leading.table(studies))
    assert check_leading(table, rows) == 14
    assert table["no-lrn"][4] == "8 / 32"
    assert table["no-lrn"][6].startswith("supported")
    assert "does not hold the value of 2012" in table["no-lrn"][6]  # 5 points, not 1.4
    assert table["ten-views"][6].startswith("beside the family; the interval does not hold")


def test_the_leading_table_of_the_page_again_with_scipy():
    """The same of the committed rows and the committed page."""
    rows = [json.loads(line) for line in (ROOT / "results/evidence_cifar.jsonl").read_text().splitlines()]
    final = [row for row in rows if not row["variant"].startswith(evidence.CHOICE)]
    assert check_leading(by_arm(PAGE), final) == len(evidence.ARMS)


def test_what_stands_beside_the_verdicts_again_with_scipy():
    """Of the rows of one machine: Welch's interval of every secondary measure, taken from the rows by name."""
    rows = [json.loads(line) for line in (ROOT / "results/evidence_cifar.jsonl").read_text().splitlines()]
    machine = rows[0]["environment"]["processor"]
    rows = [row for row in rows if row["environment"]["processor"] == machine and row["results"]]
    table = by_arm(secondary.table({name: [] for name in measures.NAMES} | {leading.STUDY: rows}), 6, 0)

    def values(arm: str) -> np.ndarray:
        """A column for each measure: points, nats, points, points, nats."""
        out = []
        for row in rows:
            if row["variant"] == arm:
                test, train = (row["results"][split]["1"] for split in ("val", "train"))
                gap = test["top1_error"] - train["top1_error"]
                points = [100 * v for v in (test["top5_error"], train["top1_error"], gap)]
                out.append([points[0], test["log_loss"], *points[1:], row["curve"][0]["train_loss"]])
        return np.array(out)

    for arm in evidence.ARMS:
        found = stats.ttest_ind(values(arm), values("base"), equal_var=False)
        ends = found.confidence_interval()
        effect = values(arm).mean(0) - values("base").mean(0)
        for cell, *expected in zip(table[arm][1:], effect, ends.low, ends.high, strict=True):
            assert [float(v) for v in re.findall(r"[+-][\d.]+", cell)] == pytest.approx(expected, abs=0.0051)


def test_nothing_is_said_of_an_arm_before_the_first_look_of_the_plan():
    studies = {name: [] for name in measures.NAMES} | {leading.STUDY: made_up(seeds=7, images=200, effect=0.5)}
    lines = lines_of(leading.table(studies), 7)
    assert {line[6] for line in lines[:-1]} <= {"verdict", "---", "not measured yet"}


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
    assert ingredients <= found  # what is found of each is said
    assert len(found - ingredients) == 3
    assert all(figure in PAGE for figure in found - ingredients)

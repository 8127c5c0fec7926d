"""Ablations end to end on tiny images: what is run and recorded, and what comes out of it."""

import hashlib
import json
import shlex
import shutil

import pytest
import torch
from scipy import stats

from alexnet.data.open import open_images
from alexnet.errors import UsageError
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments import answers, results, runner
from alexnet.experiments.ablation import effects, jobs_of, remarks
from alexnet.experiments.runner import Job
from alexnet.experiments.together import run_jobs
from alexnet.experiments.verdicts import Verdict
from alexnet.recipes.ingredients import variants_of
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import Recipe, override
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import open_run
from alexnet.storage.files import append
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from harness import ROOT
from harness.small_runs import TINY, write_photos

COMMON = [*TINY, "optim.schedule=constant", "epochs=2"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return str(write_photos(tmp_path_factory.mktemp("lab") / "photos"))


def job(dataset, *changes: str, seed: int = 0, **options) -> Job:
    return Job(dataset, "photos", "v", (*COMMON, *changes), seed, **options)


def made_up(variant: str, seed: int, top1: float, train: float = 0.1, ten: float = 0.2, **more):
    measured = {"test": {"1": {"top1_error": top1, "top5_error": None}, "10": {"top1_error": ten}}}
    measured["train"] = {"1": {"top1_error": train}}
    row = {
        "variant": variant,
        "seed": seed,
        "outcome": "finished",
        "results": measured,
        "start_values": {"a": "1", "b": "2"},
        "settings": {},
        "data": {"classes": 3, "pictures": {"test": 100}},
    }
    return row | more


def test_an_effect_is_the_difference_of_the_means_by_scipy():
    errors = {"base": (0.3, 0.4, 0.5), "tanh": (0.31, 0.42, 0.56)}
    found = [made_up("base", seed, error) for seed, error in enumerate(errors["base"])]
    found += [made_up("tanh", s, error, start_values={"a": "1", "b": "3"}) for s, error in enumerate(errors["tanh"])]
    found += [made_up("no-lrn", 0, 0.35), made_up("no-lrn", 1, 0.9, results={}, outcome="diverged")]
    tanh, no_lrn, ten = effects(found, variants_of("tanh,no-lrn,ten-views"), "test")
    expected = stats.ttest_ind(errors["tanh"], errors["base"], equal_var=False)
    top1 = tanh.found["top1_error"]
    assert top1.effect == pytest.approx(0.03)
    assert (top1.low, top1.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert top1.counts == (3, 3)
    assert tanh.judged.verdict == Verdict.UNDECIDED
    assert tanh.judged.adjusted_p == pytest.approx(min(1, 2 * expected.pvalue))  # the second of three
    assert tanh.same_start == 0.5
    assert "top5_error" not in tanh.found  # three classes
    assert no_lrn.diverged == 1
    assert no_lrn.found["top1_error"].effect == pytest.approx((0.35 + 2 / 3) / 2 - 0.4)  # it counts with chance
    assert no_lrn.found["train_error"].counts == (1, 3)
    one = stats.ttest_1samp([0.2 - 0.3, 0.2 - 0.4, 0.2 - 0.5], 0)
    assert ten.found["top1_error"].effect == pytest.approx(-0.2)
    assert ten.found["top1_error"].low == pytest.approx(one.confidence_interval().low)
    assert "train_error" not in ten.found  # training images are looked at with one view


def test_runs_of_different_machines_are_said_to_be_so():
    here, there = ({"environment": {"processor": name}} for name in "AB")
    found = [made_up("base", seed, 0.3, **here) for seed in (0, 1)] + [made_up("tanh", 0, 0.4, **there)]
    tanh, sigmoid, ten = effects(found, variants_of("tanh,sigmoid,ten-views"), "test")
    assert "top1_error" not in tanh.found
    assert remarks(tanh).startswith("base and tanh were computed on different machines")
    assert (remarks(sigmoid), remarks(ten)) == ("", "")  # it has no runs; its runs are those of the base
    (both,) = effects([*found, made_up("base", 0, 0.3, **there)], variants_of("tanh"), "test")
    assert remarks(both) == ""
    assert both.found["top1_error"].counts == (1, 1)


@pytest.mark.parametrize(
    ("variant", "errors", "verdict"),
    [
        ("ten-views", {}, Verdict.SUPPORTED),  # of 2012: 1.5 points less
        ("no-lrn", {"no-lrn": 0.35}, Verdict.SUPPORTED),  # of 2012: 1.4 points more
        ("no-lrn", {"no-lrn": 0.25}, Verdict.CONTRADICTED),
        ("no-decay", {"no-decay": 0.35}, Verdict.SUPPORTED),  # 2012 has no figure: taking out what was there costs
    ],
)
def test_the_sign_that_is_judged_is_that_of_2012(variant, errors, verdict):
    luck = (-0.002, 0.0, 0.001)
    found = [made_up(name, s, e + luck[s]) for name, e in {"base": 0.3, **errors}.items() for s in range(3)]
    assert effects(found, variants_of(variant), "test")[0].judged.verdict == verdict


def test_variants_share_seeds_and_the_same_run_is_wanted_once(dataset, tmp_path):
    jobs = jobs_of(dataset, "photos", variants_of("relu,no-flips,augment.flip=false"), range(2), COMMON)
    assert [(j.variant, j.seed) for j in jobs[:4]] == [
        ("base", 0),
        ("relu", 0),
        ("no-flips", 0),
        ("augment.flip=false", 0),
    ]
    left = runner.waiting(jobs, tmp_path / "none.jsonl")
    assert [(j.variant, j.seed) for j in left] == [("base", 0), ("no-flips", 0), ("base", 1), ("no-flips", 1)]


def test_initial_weights_of_a_seed_are_shared_as_far_as_they_are_drawn_alike():
    base = Recipe(model=override(Recipe(), ["width=0.0625", "crop_size=64"]).model)
    mine = runner.initial_weight_hashes(base)
    assert set(mine.values()) == set(
        runner.initial_weight_hashes(override(base, ["activation=tanh", "norm=none"])).values()
    )
    assert mine != runner.initial_weight_hashes(override(base, ["seed=1"]))
    one = runner.initial_weight_hashes(
        override(base, ["towers=1"])
    )  # conv2 has other shapes: what is drawn after it differs
    assert one["conv1.weight"] == mine["conv1.weight"]
    assert one["conv3.weight"] != mine["conv3.weight"]


def test_a_row_is_complete_and_the_run_is_the_one_that_train_does(dataset, tmp_path, alexnet):
    row = runner.run_job(job(dataset, "augment.flip=false"), tmp_path / "runs", CPU)
    assert row is not None
    for name in ("settings", "recipe_sha256", "seed", "data", "environment", "commit", "curve", "results", "seconds"):
        assert name in row
    assert [epoch["epoch"] for epoch in row["curve"]] == [1, 2]
    assert set(row["results"]) == {"train", "val"}
    assert set(row["results"]["val"]) == {"1"}  # a network that saw no mirror images is not tested on them
    assert row["data"]["pictures"] == {"train": 24, "val": 6}
    (run,) = (tmp_path / "runs").iterdir()
    trained = open_run(run)
    seen = evaluate(
        load_model(trained, "last"), open_images(dataset, 24, whole=True), "val", class_names=trained.class_names
    )
    right = [name for name, wrong in zip(seen.names, answers.wrong_of(row, "val"), strict=True) if not wrong]
    assert right == [n for n, p, y in zip(seen.names, seen.probabilities, seen.labels, strict=True) if p.argmax() == y]
    assert answers.wrong_of(row, "train") is None
    assert str(tmp_path) not in json.dumps(row)
    typed = shlex.split(row["command"])
    assert typed[:3] == ["alexnet", "train", "DATA"]
    outcome = alexnet("train", dataset, *shlex.split(row["command"])[3:], "--out", tmp_path / "typed")
    assert outcome.code == 0, outcome.err
    (folder,) = (tmp_path / "runs").iterdir()
    mine, theirs = (load_model(open_run(f), "last").state_dict() for f in (folder, tmp_path / "typed"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_what_has_a_row_is_not_run_again_and_what_was_interrupted_is_resumed(dataset, tmp_path, monkeypatch):
    file, runs = tmp_path / "rows.jsonl", tmp_path / "runs"
    jobs = [job(dataset, seed=seed, keep=seed == 0) for seed in range(2)]
    assert run_jobs(jobs[:1], file, runs)
    assert runner.waiting(jobs, file) == jobs[1:]
    recipe, prepared = runner.planned(jobs[1])
    started = runner._opened(jobs[1], recipe, prepared, runs)
    with pytest.raises(Interrupted):
        train(started, prepared, device=CPU, max_steps=3)
    seen = []
    assert run_jobs(runner.waiting(jobs, file), file, runs, tell=lambda row, left: seen.append((row["seed"], left)))
    assert seen == [(1, 0)]
    assert runner.waiting(jobs, file) == []
    assert [folder.name[:7] for folder in runs.iterdir()] == ["v-seed0"]  # the other was not to be kept
    whole = runner.run_job(jobs[1], tmp_path / "whole", CPU)
    assert whole is not None
    assert whole["results"] == results.read(file)[1]["results"]
    with file.open("a") as torn:
        torn.write('{"torn')
    append(file, whole)
    assert [row["seed"] for row in results.read(file)] == [0, 1, 1]


def test_a_run_stops_at_the_end_of_the_epoch_that_is_good_enough(dataset, tmp_path):
    long = runner.run_job(job(dataset, "epochs=6", views=(1,)), tmp_path / "long", CPU)
    assert long is not None
    errors = [epoch["train_top1_error"] for epoch in long["curve"]]
    wanted = sorted(set(errors))[-2] + 1e-4  # rows are rounded
    first = next(i for i, error in enumerate(errors) if error <= wanted)
    row = runner.run_job(job(dataset, "epochs=6", views=(1,), until=wanted), tmp_path / "short", CPU)
    assert row is not None
    assert [e["train_top1_error"] for e in row["curve"]] == errors[: first + 1]
    assert results.row_key(row) != results.row_key(long)


def test_a_run_that_diverges_has_a_row_that_says_so(dataset, tmp_path):
    wild = [
        "optim.algorithm=sgd",
        "optim.lr=1e9",
        "average_decay=0",
        "augment.mixup=0",
        "augment.cutmix=0",
        "model.norm=none",
    ]
    row = runner.run_job(job(dataset, *wild), tmp_path, CPU)
    assert row is not None
    assert (row["outcome"], row["results"]) == ("diverged", {})


def test_the_verb_runs_reports_and_does_nothing_twice(dataset, tmp_path, alexnet):
    out = tmp_path / "out"
    typed = ["ablate", dataset, *COMMON, "epochs=1", "--vary", "no-flips,ten-views,relu", "--seeds", "2", "--out", out]
    plan = alexnet(*typed, "--dry-run")
    assert (plan.code, out.exists()) == (0, False), plan.err
    assert "4 runs of photos, 4 to do" in plan.out
    assert plan.out.count("alexnet train DATA") == 4
    first = alexnet(*typed)
    assert first.code == 0, first.err
    assert "relu: photos is so already" in first.out
    assert len(results.read(out / "rows.jsonl")) == 4
    page = (out / "report.html").read_text()
    assert "no-flips" in page
    assert "network overfits" in page
    shutil.rmtree(out / "runs")
    again = alexnet(*typed)
    assert "4 runs of photos, 0 to do" in again.out
    assert len(results.read(out / "rows.jsonl")) == 4
    assert not (out / "runs").exists()


def test_a_table_of_labels_names_the_classes_as_for_train(tmp_path, alexnet):
    """Images without class folders; a run, its record and its command know the table."""
    photos = write_photos(tmp_path / "photos", 6)
    flat, lines = tmp_path / "flat", ["filename,label"]
    flat.mkdir()
    for path in sorted(photos.rglob("*.png")):
        name = f"{path.parent.name}{path.name}"
        shutil.copy(path, flat / name)
        lines.append(f"{name},{path.parent.name}")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(lines))
    out = tmp_path / "out"
    typed = ["ablate", flat, *COMMON, "epochs=1", "--vary", "no-flips", "--seeds", "1", "--labels", table, "--out", out]
    done = alexnet(*typed)
    assert done.code == 0, done.err
    row = results.read(out / "rows.jsonl")[0]
    run = sorted((out / "runs").iterdir())[0]
    assert row["data"]["classes"] == 3
    assert f"--labels {table}" in row["command"]
    assert json.loads((run / "classes.json").read_bytes()) == ["blue", "green", "red"]
    assert json.loads((run / "data.json").read_bytes())["labels"] == str(table)
    assert "2 runs of photos, 0 to do" in alexnet(*typed).out
    typed[typed.index(table)] = tmp_path / "none.csv"
    refused = alexnet(*typed)
    assert (refused.code, refused.err.split()[1]) == (3, "E369")


def test_two_processes_give_the_rows_of_one(dataset, tmp_path):
    jobs = [job(dataset, "epochs=1", seed=seed) for seed in range(2)]
    assert run_jobs(jobs, tmp_path / "two.jsonl", tmp_path / "two", together=2)
    assert run_jobs(jobs, tmp_path / "one.jsonl", tmp_path / "one")
    both = [{row["seed"]: row["results"] for row in results.read(tmp_path / f"{n}.jsonl")} for n in ("one", "two")]
    assert both[0] == both[1]


def test_mistakes_are_named(dataset, alexnet):
    assert "E290" in alexnet("ablate", dataset, "--vary", "no-lnr").err
    assert "E298" in alexnet("ablate", dataset, "--vary", "tanh", "--seeds", "0").err
    assert alexnet("ablate", dataset, "--vary", "tanh", "--base", "nobody").code == 2
    with pytest.raises(UsageError):
        run_jobs([], None, None, together=0)  # type: ignore[arg-type]
    shown = alexnet("ablate", "--ingredients").out
    assert "model.norm=none" in shown
    assert "+1.4 / +1.2" in shown


def test_settings_do_not_change_with_the_name_but_with_the_seed():
    recipe = override(Recipe(), ["dropout=0.25"])
    assert results.settings(recipe) == {"model.dropout": 0.25}
    assert results.key_of(recipe, "f") != results.key_of(override(recipe, ["seed=1"]), "f")
    assert results.key_of(recipe, "f") != results.key_of(recipe, "g")
    assert results.recipe_sha256(recipe) != results.recipe_sha256(Recipe())


def test_rows_of_a_card_and_of_a_cpu_are_other_runs_and_those_without_a_device_are_of_a_cpu():
    recipe = find_recipe("demo")
    row = {"settings": results.settings(recipe), "data": {"fingerprint": "f"}, "environment": {"torch": "2"}}
    keys = {results.key_of(recipe, "f")}
    assert results.row_key(row) in keys
    assert results.row_key({**row, "environment": {"device": "cpu", "card": None, "precision": "float32"}}) in keys
    for place in (("cuda", "NVIDIA H100"), ("cuda", "NVIDIA A100"), ("mps", None)):
        made = {"device": place[0], "card": place[1]}
        assert results.row_key({**row, "environment": made}) == results.key_of(recipe, "f", place=place)
        assert results.key_of(recipe, "f", place=place) not in keys
        keys.add(results.key_of(recipe, "f", place=place))
    for precision in ("tf32", "bfloat16"):
        keys.add(results.key_of(override(recipe, [f"precision={precision}"]), "f"))
    assert len(keys) == 6


def test_keys_of_committed_rows_are_what_they_were():
    # As this function computed them before it knew of devices.
    for file in sorted((ROOT / "results").glob("*.jsonl"))[:3]:
        for row in results.read(file)[:5]:
            if "settings" in row and "data" in row:
                parts = [row["settings"], row["data"]["fingerprint"], row.get("until_train_error")]
                assert results.row_key(row) == hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

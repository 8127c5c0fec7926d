"""The command line as a user meets it: what it leaves behind, what it prints, and how it answers every mistake."""

import errno
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.cli.main import _with_choices
from alexnet.recipes.named import RECIPES
from alexnet.recipes.recipe import differences, flat, from_json, override
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import open_run
from alexnet.storage.files import new_folder
from alexnet.text import clock, duration, percent
from alexnet.training.monitor import Interrupted
from harness.small_runs import TINY

VERBS = (
    *("demo", "learn", "prepare", "train", "resume", "evaluate", "predict", "report", "doctor"),
    *("summary", "recipes", "diff", "check", "bench", "identify", "import"),
    *("ablate", "compare", "ensemble"),
    *("filters", "features", "similar", "why", "export", "parity"),
    *("serve", "explore", "verify"),
)


def in_files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def row_of(table: str, name: str) -> list[str]:
    """The cells of the row of a printed table that begins with `name`."""
    (line,) = (line for line in table.splitlines() if line.split()[:1] == [name])
    return re.split(r"\s{2,}", line.strip())


# --- help and imports ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_at_least_two_examples_to_copy(alexnet, verb):
    outcome = alexnet(verb, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    command = f"alexnet {verb}"
    lines = [line.strip(" │") for line in outcome.out.splitlines()]
    examples = [line for line in lines if re.match(rf"(\S.* \| )?{command}( |$)", line)]
    assert len(examples) >= 2, outcome.out


def test_the_root_help_names_every_verb(alexnet):
    shown = alexnet("--help").out
    assert all(re.search(rf"^\W*{verb} ", shown, re.M) for verb in VERBS)


def test_the_command_alone_shows_the_verbs_by_what_they_are_for_on_one_screen(alexnet):
    lines = alexnet().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert set(VERBS) <= {word for line in lines for word in line.split()}


def test_help_needs_no_torch():
    code = "import sys, alexnet.cli.main; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "alexnet", "frobnicate"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "frobnicate" in done.stderr
    assert "Traceback" not in done.stderr


AUGMENTED = ("min_area", "max_aspect", "rotation", "color_noise", "jitter", "mixup", "cutmix", "flip")

# --- the whole way -------------------------------------------------------------------------------------------------


def test_a_run_folder_holds_the_complete_record(trained):
    run = trained / "run"
    assert in_files(run) >= {
        *("recipe.json", "environment.json", "classes.json", "data.json", "metrics.jsonl"),
        *("LAST", "BEST", "calibration.json", "evaluation.json", "report.html"),
    }
    last = run / "checkpoints" / (run / "LAST").read_text().split()[0]
    whole = {"model.safetensors", "training.safetensors", "state.json", "metrics.jsonl", "SHA256SUMS"}
    assert in_files(last) == whole
    recipe = from_json((run / "recipe.json").read_text())
    decided = set(differences(recipe, override(RECIPES["photos"], [*TINY, "num_classes=3"])))  # for these images
    assert recipe.fit == "none"
    assert decided <= {
        *("fit", "average_decay", "model.dropout", "model.test_size"),
        *(f"augment.{name}" for name in AUGMENTED),
    }
    assert json.loads((run / "classes.json").read_text()) == ["blue", "green", "red"]
    assert [row["epoch"] for row in read_metrics(open_run(run))] == [1, 2]
    assert "train" in json.loads((run / "environment.json").read_text())["command"]
    assert "<html" in (run / "report.html").read_text()


@pytest.mark.parametrize("views", [1, 10])
def test_evaluate_prints_what_the_run_folder_holds(trained, alexnet, views):
    outcome = alexnet("evaluate", trained / "run", "--format", "json", "--views", views)
    assert (outcome.code, outcome.err) == (0, "")
    stored = json.loads((trained / "run" / "evaluation.json").read_text())
    (expected,) = (e for e in stored if e["views"] == views and e["split"] == "val")
    assert json.loads(outcome.out) == expected
    assert expected["images"] == 6
    table = alexnet("evaluate", trained / "run", "--views", views).out
    assert f"top-1 error {100 * expected['top1_error']:.1f} %" in table
    for name, figures in expected["classes"].items():
        assert row_of(table, name) == [name, "2", f"{100 * figures['top1_error']:.1f} %"]


def test_other_images_can_be_evaluated_and_their_classes_are_found_by_name(trained, alexnet, photos):
    shutil.rmtree(photos / "green")
    outcome = alexnet("evaluate", trained / "run", photos, "--format", "json")
    facts = json.loads(outcome.out)
    assert {name: c["images"] for name, c in facts["classes"].items()} == {"blue": 10, "green": 0, "red": 10}
    assert facts["split"] == "all"  # a folder without train/ is looked at as a whole
    shutil.move(photos / "red", photos / "cat")
    outcome = alexnet("evaluate", trained / "run", photos)
    assert outcome.code == 3
    assert "does not know these classes" in outcome.err
    assert ": cat\n" in outcome.err


def test_report_writes_the_same_figures_anew(trained, alexnet, tmp_path):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    (run / "report.html").unlink()
    figures = (run / "evaluation.json").read_text()
    (run / "evaluation.json").write_text("[]")
    assert alexnet("report", run).code == 0
    assert (run / "evaluation.json").read_text() == figures
    assert (run / "report.html").is_file()


def test_resuming_a_finished_run_changes_no_weight(trained, alexnet, tmp_path):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    before = {p: p.read_bytes() for p in (run / "checkpoints").rglob("*") if p.is_file()}
    assert alexnet("resume", run).code == 0
    assert {p: p.read_bytes() for p in (run / "checkpoints").rglob("*") if p.is_file()} == before


def test_a_prepared_folder_is_trained_on_and_the_run_gets_a_name_of_its_own(alexnet, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = alexnet("prepare", photos, tmp_path / "small", "--size", "24")
    assert first.code == 0
    assert [row_of(first.out, name) for name in ("red", "green", "blue")] == [
        [name, "8", "2"] for name in ("red", "green", "blue")
    ]
    assert f"Next: alexnet train {tmp_path / 'small'}" in first.out
    before = in_files(tmp_path / "small")
    assert alexnet("prepare", photos, tmp_path / "small", "--size", "24").code == 0
    outcome = alexnet("train", "small", *TINY, "epochs=1")
    assert outcome.code == 0, outcome.err
    (run,) = (path for path in (tmp_path / "runs").iterdir() if not path.is_symlink())
    assert (tmp_path / "runs" / "last").resolve() == run
    assert alexnet("evaluate", "runs/last", "--format", "json").code == 0
    assert run.name.endswith("-small")
    assert f"run folder: runs/{run.name}" in outcome.out
    assert in_files(tmp_path / "small") == before


def test_new_runs_get_names_that_nobody_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []
    for _ in range(3):
        folder = new_folder("runs", "/data/Meine Bilder!/")
        folder.mkdir(parents=True)
        made.append(folder)
    assert len(set(made)) == 3
    assert all(re.fullmatch(r"runs/\d{4}-\d\d-\d\d-\d{4}-Meine-Bilder(-\d)?", str(folder)) for folder in made)


def test_a_dry_run_shows_the_plan_and_leaves_nothing(alexnet, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = in_files(tmp_path)
    outcome = alexnet("train", photos, *TINY, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "3 classes, 24 train, 6 val" in outcome.out
    assert "2 epochs of 3 steps of 8 images" in outcome.out
    assert f"epochs=2 (was {RECIPES['photos'].epochs})" in " ".join(outcome.out.split())
    assert in_files(tmp_path) == before
    assert not (tmp_path / "runs").exists()


def test_images_are_prepared_once_for_all_runs(alexnet, photos, tmp_path, cache):
    first = alexnet("train", photos, *TINY, "--dry-run")
    again = alexnet("train", photos, *TINY, "--dry-run")
    assert "prepared 30 images" in first.out
    assert "prepared before" in again.out
    assert str(cache) in again.out


def test_a_run_whose_images_were_changed_is_not_gone_on_with(alexnet, photos, tmp_path, monkeypatch):
    run, cache = tmp_path / "run", tmp_path / "cache"
    monkeypatch.setenv("ALEXNET_CACHE", str(cache))
    assert alexnet("train", photos, *TINY, "epochs=1", "--out", run).code == 0
    shutil.rmtree(cache)
    assert alexnet("evaluate", run, "--format", "json").code == 0  # prepared anew
    shutil.copy(photos / "red" / "0.png", photos / "red" / "1.png")
    with_cache = alexnet("resume", run)
    assert with_cache.code == 3
    assert "no longer holds the images" in with_cache.err
    assert "(another image: red/1.png)" in with_cache.err
    evaluated = alexnet("evaluate", run, "--format", "json")
    assert evaluated.code == 0
    assert json.loads(evaluated.out)["images"]
    assert "note:" in evaluated.err
    assert "now holds other images (another image: red/1.png)" in evaluated.err
    shutil.rmtree(cache)
    outcome = alexnet("resume", run)
    assert outcome.code == 3
    assert "no longer holds the images" in outcome.err
    assert alexnet("resume", run, "epochs=2").code == 2
    outcome = alexnet("resume", run, "--allow-inexact")
    assert outcome.code == 0
    assert "inexact: the rest of this run cannot be exact: images" in outcome.out


def test_the_demo_compares_both_networks_on_the_digits(alexnet, tmp_path, monkeypatch):
    short = ["epochs=1", "model.width=0.05", "evaluate_every=1"]
    monkeypatch.setitem(RECIPES, "lenet", override(RECIPES["lenet"], ["epochs=1"]))
    monkeypatch.setitem(RECIPES, "demo", override(RECIPES["demo"], short))
    outcome = alexnet("demo", "--out", tmp_path / "demo")
    assert outcome.code == 0, outcome.err
    assert "61,706" in outcome.out
    assert f"alexnet explore {tmp_path / 'demo/alexnet'} {tmp_path / 'demo/lenet'}" in outcome.out
    for name in ("lenet", "alexnet"):
        (figures,) = (
            e
            for e in json.loads((tmp_path / "demo" / name / "evaluation.json").read_text())
            if (e["split"], e["views"]) == ("test", 1)
        )
        assert f"{100 - 100 * figures['top1_error']:.1f} %" in outcome.out


# --- what is known -------------------------------------------------------------------------------------------------


def test_the_summary_of_2012_has_the_known_figures(alexnet):
    shown = alexnet("summary").out
    assert row_of(shown, "parameters") == ["parameters", "60,965,224", "60,965,224"]
    assert row_of(shown, "multiply-adds") == ["multiply-adds", "724,406,816", "724,406,816"]
    assert row_of(shown, "neurons") == ["neurons", "659,272", "659,272"]
    assert all(text in " ".join(shown.split()) for text in ("253,440", "622,312", "60 million", "650,000"))
    assert row_of(shown, "conv1")[1:4] == ["96 x 55 x 55", "34,944", "105,415,200"]
    assert row_of(shown, "fc6")[1:4] == ["4096", "37,752,832", "37,748,736"]


def test_the_summary_of_a_change_of_lenet_and_of_a_run(alexnet, trained):
    assert row_of(alexnet("summary", "lenet").out, "parameters")[1] == "61,706"
    assert row_of(alexnet("summary", "lenet", "num_classes=3").out, "parameters")[1] == "61,111"  # 7 * 85 fewer
    assert row_of(alexnet("summary", trained / "run").out, "fc8")[1] == "3"


def test_recipes_lists_and_shows(alexnet):
    listed = alexnet("recipes").out
    assert row_of(listed, "alexnet-2012") == ["alexnet-2012", "alexnet", "90", "224"]
    assert all(name in listed for name in RECIPES)
    shown = alexnet("recipes", "demo").out
    for name, value in flat(RECIPES["demo"]).items():
        assert row_of(shown, name) == [name, str(value)]


def test_times_and_shares_are_written_for_people():
    assert [clock(s) for s in (0, 7.4, 59.6, 754, 3599.6, 3723)] == [
        "0:00",
        "0:07",
        "1:00",
        "12:34",
        "1:00:00",
        "1:02:03",
    ]
    assert [duration(s) for s in (4, 90, 120, 5400, 9000)] == [
        "4 seconds",
        "90 seconds",
        "2 minutes",
        "90 minutes",
        "2.5 hours",
    ]
    assert [percent(p) for p in (None, 0.0, 0.1234, 1.0)] == ["-", "0.0 %", "12.3 %", "100.0 %"]


# --- mistakes ------------------------------------------------------------------------------------------------------


def one_clear_message(outcome, code: int, *parts: str) -> None:
    assert outcome.code == code, outcome
    message = " ".join(outcome.err.split())
    for part in parts:
        assert part in message, outcome.err
    assert "Traceback" not in outcome.err
    assert 1 <= len(outcome.err.splitlines()) <= 4, outcome.err


# Words in capitals are folders that the test makes.
MISTAKES = {
    "unknown verb": ("frobnicate", 2, "E200 unknown command 'frobnicate'"),
    "verb with a slip": ("evalute RUN", 2, "Did you mean 'evaluate'?"),
    "unknown flag with a slip": ("evaluate RUN --view 10", 2, "--view", "Did you mean --views"),
    "missing path": ("train", 2, "needs DATA", "alexnet train --help"),
    "missing folder for preparing": ("prepare PHOTOS", 2, "needs OUT"),
    "missing images": ("predict RUN", 2, "no images given"),
    "path that is not there": ("train NOWHERE", 3, "does not exist", "one sub-folder per class"),
    "one class": ("train ONE", 3, "single class", "at least two"),
    "no images": ("train EMPTY", 3, "no images"),
    "a file": ("train PHOTOS/red/0.png", 3, "not a folder"),
    "unknown recipe": ("train PHOTOS --recipe phots", 2, "no recipe 'phots'; did you mean 'photos'?"),
    "unknown field": ("train PHOTOS epoch=3", 2, "no field 'epoch' in the recipe; did you mean 'epochs'?"),
    "unknown field as a flag": ("train PHOTOS --epoch 3", 2, "did you mean 'epochs'?"),
    "wrong type": ("train PHOTOS epochs=many", 2, "epochs='many'", "integer"),
    "out of range": ("train PHOTOS --batch-size 0", 2, "batch_size=0", "greater than or equal to 1"),
    "no value": ("train PHOTOS --epochs", 2, "'--epochs' is not a change"),
    "unknown device": ("train SMALL prepare_size=24 model.crop_size=20 growing_crops=[] --device tpu", 2, "tpu"),
    "device that is not here": ("evaluate RUN --device cuda:99", 2, "cuda:99", "auto"),
    "prepared at another size": ("train SMALL prepare_size=48", 2, "prepared at 24 pixels", "--size 48"),
    "crops too large": ("train SMALL prepare_size=24 crop_size=64", 2, "64", "24"),
    "no run": ("evaluate PHOTOS", 2, "not a run folder"),
    "no run to go on with": ("resume NOWHERE", 2, "not a run folder"),
    "no run to report": ("report PHOTOS", 2, "not a run folder"),
    "run that has not begun": ("evaluate UNTRAINED", 2, "no checkpoint yet", "alexnet resume"),
    "out is taken": ("train SMALL TINY --out RUN", 2, "exists and is not empty", "alexnet resume"),
    "strict": ("prepare BROKEN OUT --size 24 --strict", 3, "bad.png"),
    "no such split": ("evaluate RUN --split test", 3, "no split 'test'", "train, val"),
    "views": ("evaluate RUN --views 5", 2, "E203", '"5" for --views', "1, 10"),
    "k": ("predict RUN PHOTOS --k 0", 2, "E263", "k=0"),
    "image that is not there": ("predict RUN NOWHERE", 3, "no such file"),
    "choice": ("predict RUN PHOTOS --format xml", 2, "xml"),
    "number": ("prepare PHOTOS OUT --size big", 2, "big"),
    "size": ("prepare PHOTOS OUT --size 0", 2, "size"),
    "threads": ("prepare PHOTOS OUT --threads=-1", 2, "threads"),
    "unknown recipe to show": ("recipes demoo", 2, "did you mean 'demo'?"),
    "unknown network": ("summary alexnett", 2, "did you mean"),
    "demo on top of other files": ("demo --out PHOTOS", 2, "holds other files", "--out"),
    "demo on a file": ("demo --out PHOTOS/red/0.png", 2, "0.png"),
    "divergence": ("train SMALL TINY lr=1e30 schedule=constant average_decay=0 --out OUT", 4, "the loss became", "lr="),
    # 276 TB for conv2: more than an address space, so no system promises it.
    "too large for any memory": ("train SMALL TINY model.width=15000 --out OUT", 5, "memory"),
}


@pytest.mark.parametrize(
    ("command", "code", "parts"), [(m[0], m[1], m[2:]) for m in MISTAKES.values()], ids=list(MISTAKES)
)
def test_a_mistake_gets_one_clear_message(alexnet, trained, start, photos, tmp_path, monkeypatch, command, code, parts):
    monkeypatch.chdir(tmp_path)
    places = {
        "PHOTOS": photos,
        "RUN": trained / "run",
        "SMALL": open_run(trained / "run").data["prepared"],
        "NOWHERE": tmp_path / "nowhere",
        "OUT": tmp_path / "out",
    }
    for name in ("ONE", "EMPTY"):
        places[name] = tmp_path / name.lower()
        places[name].mkdir()
    if "ONE" in command:
        shutil.copytree(photos / "red", places["ONE"] / "red")
    if "UNTRAINED" in command:
        places["UNTRAINED"] = start("untrained").folder
    if "BROKEN" in command:
        places["BROKEN"] = shutil.copytree(photos, tmp_path / "broken")
        (places["BROKEN"] / "red" / "bad.png").write_text("no image")
    before = in_files(photos)
    words = re.sub(r"\b[A-Z]{2,}\b", lambda m: str(places.get(m[0], m[0])), command).split()
    words = [part for word in words for part in (TINY if word == "TINY" else [word])]
    one_clear_message(alexnet(*words), code, *parts)
    assert in_files(photos) == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "change", ["model.dropout=1.5", "model.towers=0", "model.crop_size=4", "growing_crops=[[0, 2]]"]
)
def test_a_recipe_that_cannot_be_trained_leaves_no_run_folder(alexnet, trained, tmp_path, change):
    small = open_run(trained / "run").data["prepared"]
    outcome = alexnet("train", small, *TINY, change, "--out", tmp_path / "out")
    one_clear_message(outcome, 2)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_as_such(alexnet, trained, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    small = open_run(trained / "run").data["prepared"]
    outcome = alexnet("train", small, *TINY, "--out", tmp_path / "out")
    one_clear_message(outcome, 5, "disk full while", "Make room")


@pytest.mark.parametrize("verb", ["evaluate", "resume", "predict"])
def test_damaged_weights_are_refused(alexnet, trained, photos, tmp_path, verb):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    for path in run.rglob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    outcome = alexnet(verb, run, *([photos] if verb == "predict" else []))
    one_clear_message(outcome, 6, "is damaged: its bytes are not the ones that were written")


def test_ctrl_c_while_preparing_is_no_traceback(alexnet, photos, tmp_path, monkeypatch):
    def stopped(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("alexnet.api.dataset"), "prepare_source", stopped)
    one_clear_message(alexnet("prepare", photos, tmp_path / "out", "--size", "24"), 130, "stopped")


def test_a_flipped_bit_in_prepared_images_is_found_when_asked(alexnet, photos, tmp_path):
    out = tmp_path / "small"
    whole = alexnet("prepare", photos, out, "--size", "24", "--verify")
    assert (whole.code, "every file is as it was written" in whole.out) == (0, True)
    shard = out / "train-0000.npy"
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1
    shard.write_bytes(content)
    assert alexnet("prepare", photos, out, "--size", "24").code == 0
    one_clear_message(alexnet("prepare", photos, out, "--size", "24", "--verify"), 3, "train-0000.npy")


def test_a_prepared_folder_brings_its_size_into_the_recipe(alexnet, photos, tmp_path):
    assert alexnet("prepare", photos, tmp_path / "small", "--size", "24").code == 0
    tiny = [change for change in TINY if not change.startswith("prepare_size")]
    outcome = alexnet("train", tmp_path / "small", *tiny, "--out", tmp_path / "run", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert open_run(tmp_path / "run").recipe.prepare_size == 24


def test_named_sets_are_downloaded_into_the_cache_whatever_the_verb(alexnet, tmp_path, cache, monkeypatch):
    asked = []

    def noting(name, folder, load):
        asked.append(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("alexnet.data.public_sets"), "_downloaded", noting)
    alexnet("train", "cifar10")
    alexnet("prepare", "cifar10", tmp_path / "out")
    assert asked == [cache / "downloads"] * 2


def test_a_run_folder_that_exists_is_refused_before_anything_is_prepared(alexnet, photos, tmp_path, cache):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").touch()
    before = sorted(cache.rglob("*"))
    outcome = alexnet("train", photos, "--out", tmp_path / "run")
    one_clear_message(outcome, 2, "E252", "alexnet resume")
    assert sorted(cache.rglob("*")) == before


def test_a_replay_that_is_stopped_says_so(alexnet, monkeypatch, trained):
    def stopped(*arguments, **named):
        raise Interrupted(3, 15)

    monkeypatch.setattr("alexnet.api.run.replay", stopped)
    outcome = alexnet("verify", trained / "run", "--replay")
    assert (outcome.code, outcome.err) == (143, "alexnet: stopped\n")


def test_a_demo_that_is_stopped_says_so(alexnet, monkeypatch, tmp_path):
    def stopped(*arguments, **named):
        raise Interrupted(3, 15)

    monkeypatch.setattr("alexnet.train", stopped)
    outcome = alexnet("demo", "--out", tmp_path / "demo")
    assert (outcome.code, outcome.err) == (143, "alexnet: stopped; alexnet demo starts again\n")


@pytest.mark.parametrize(
    ("four", "five"),
    [
        ('value for --views: unable to convert "5" into one of {1, 10}', 'value "5" for --views. Choose from: 1, 10'),
        (
            "value for --format: unable to convert \"jsn\" into one of {'table', 'json'}",
            'value "jsn" for --format. Choose from: "table", "json". Did you mean "json"?',
        ),
        ("value for --to: unable to convert \"x y\" into one of {'hf'}", 'value "x y" for --to. Choose from: "hf"'),
        ("value for LANGUAGE: unable to convert \"\" into one of {'en'}", 'value "" for LANGUAGE. Choose from: "en"'),
        ('value for --k: unable to convert "many" into int', None),
        ('value "5" for --views. Choose from: 1, 10', None),
    ],
)
def test_a_value_that_is_none_of_a_few_is_said_alike_by_both_versions_of_cyclopts(four, five):
    assert _with_choices(f"invalid {four}") == f"invalid {five or four}"

"""Predictions: the same path as evaluation, every image answered or listed with its reason."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alexnet.api.model import load
from alexnet.data.dataset import open_prepared
from alexnet.errors import DataError
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.predict import find_images, predict
from alexnet.kernels import ways
from alexnet.models.network import fingerprint
from alexnet.runs.checkpoint import load_model
from alexnet.runs.run import open_run
from harness import ROOT


def answers_of(trained, views=1, split="val", checkpoint="best"):
    """What `evaluate` says of each image of a split, with the temperature of the run: path -> class -> probability."""
    run = open_run(trained / "run")
    prepared = open_prepared(Path(run.data["prepared"]))
    model = load_model(run, checkpoint)
    result = evaluate(model, prepared, split, class_names=run.class_names, views=views)
    stored = json.loads((trained / "run/calibration.json").read_text())
    temperature = stored["views"][str(views)]["temperature"] if stored["weights"] == fingerprint(model) else 1
    powers = result.probabilities.astype(np.float64) ** (1 / temperature)
    return {
        trained / "photos" / name: dict(zip(run.class_names, row.tolist(), strict=True))
        for name, row in zip(result.names, powers / powers.sum(1, keepdims=True), strict=True)
    }


def from_json_lines(text):
    """path -> class -> probability, in the order of the lines."""
    lines = [json.loads(line) for line in text.splitlines()]
    return {Path(line["path"]): {top["class"]: top["probability"] for top in line["top"]} for line in lines}


def agree(got, expected, places=6):
    assert set(got) == set(expected)
    for path, row in got.items():
        assert row == {name: pytest.approx(p, abs=10**-places) for name, p in expected[path].items()}
        assert list(row.values()) == sorted(row.values(), reverse=True)  # most probable first


# --- the same answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 10])
def test_a_prediction_is_what_evaluation_says_of_the_image(trained, alexnet, views):
    expected = answers_of(trained, views)
    assert len(expected) == 6
    outcome = alexnet("predict", trained / "run", *expected, "--views", views, "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    agree(from_json_lines(outcome.out), expected)


def test_a_folder_and_a_pattern_are_answered_alike(trained, alexnet):
    photos = trained / "photos"
    expected = answers_of(trained) | answers_of(trained, split="train")
    ways = {
        "folder": alexnet("predict", trained / "run", photos, "--format", "json"),
        "pattern": alexnet("predict", trained / "run", photos / "*" / "?.png", "--format", "json"),
    }
    for outcome in ways.values():
        assert outcome.code == 0
        agree(from_json_lines(outcome.out), expected)
    assert list(from_json_lines(ways["folder"].out)) == sorted(expected)


def test_a_list_of_paths_on_standard_input_is_answered_in_its_order(trained, alexnet):
    expected = answers_of(trained)
    outcome = alexnet("predict", trained / "run", "-", "--format", "json", stdin="\n".join(map(str, expected)) + "\n")
    assert outcome.code == 0, outcome.err
    agree(from_json_lines(outcome.out), expected)
    assert list(from_json_lines(outcome.out)) == list(expected)


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX only")
def test_names_on_standard_input_need_not_be_utf8(trained, alexnet, tmp_path):
    expected = answers_of(trained)
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    try:
        shutil.copy(next(iter(expected)), name)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    outcome = alexnet("predict", trained / "run", "-", "--format", "json", stdin=name + b"\n")
    assert outcome.code == 0, outcome.err
    (answer,) = from_json_lines(outcome.out).values()
    agree({"": answer}, {"": next(iter(expected.values()))})


def test_csv_and_table_tell_the_same_as_json(trained, alexnet):
    expected = answers_of(trained)
    table = list(csv.reader(alexnet("predict", trained / "run", *expected, "--format", "csv").out.splitlines()))
    assert table[0] == ["path", "rank", "class", "probability", "error"]
    got = {}
    for path, rank, name, probability, error in table[1:]:
        row = got.setdefault(Path(path), {})
        row[name] = float(probability)
        assert (int(rank), error) == (len(row), "")
    agree(got, expected, places=5)
    path, row = next(iter(expected.items()))
    shown = alexnet("predict", trained / "run", path, "-k", 1).out
    name = max(row, key=lambda name: row[name])
    assert name in shown
    assert f"{100 * row[name]:.1f} %" in shown
    assert not any(other in shown.replace(str(path), "") for other in set(row) - {name})


def test_last_and_best_answer_with_their_own_weights(trained, alexnet):
    expected = answers_of(trained, checkpoint="last")
    outcome = alexnet("predict", trained / "run", *expected, "--checkpoint", "last", "--format", "json")
    agree(from_json_lines(outcome.out), expected)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_the_batch_size_changes_nothing_and_the_best_k_are_named(trained, batch_size):
    run = open_run(trained / "run")
    expected = answers_of(trained)
    got = predict(load(run.folder, device="cpu").classifier, list(expected), k=2, batch_size=batch_size)
    for prediction, (path, row) in zip(got, expected.items(), strict=True):
        assert prediction.path == path
        best = sorted(row, key=lambda name: -row[name])[:2]
        assert [name for name, _ in prediction.top] == best
        assert [p for _, p in prediction.top] == pytest.approx([row[name] for name in best], abs=1e-6)


# --- images that cannot be read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_unreadable_images_are_listed_and_the_others_answered(trained, alexnet, tmp_path, form):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><p>not found</p>")
    good = trained / "photos" / "red" / "0.png"
    outcome = alexnet("predict", trained / "run", tmp_path / "empty.png", good, tmp_path / "page.jpg", "--format", form)
    assert outcome.code == 3
    assert outcome.err.startswith("alexnet: E352 2 of 3 images could not be read")
    assert "empty" in outcome.out
    assert "a web page" in outcome.out
    if form == "json":
        lines = [json.loads(line) for line in outcome.out.splitlines()]
        assert [bool(line["error"]) for line in lines] == [True, False, True]
        assert [len(line["top"]) for line in lines] == [0, 3, 0]
        expected = (answers_of(trained) | answers_of(trained, split="train"))[good]
        assert {t["class"]: t["probability"] for t in lines[1]["top"]} == pytest.approx(expected, abs=1e-6)
    if form == "csv":
        rows = list(csv.DictReader(outcome.out.splitlines()))
        assert [bool(row["error"]) for row in rows] == [True, False, False, False, True]


def test_only_unreadable_images_are_all_listed(trained, alexnet, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    outcome = alexnet("predict", trained / "run", tmp_path, "--format", "json")
    assert (outcome.code, json.loads(outcome.out)["top"]) == (3, [])


# --- finding them --------------------------------------------------------------------------------------------------


def test_folders_are_searched_recursively_in_order_for_images_only(tmp_path):
    for name in ("b/z.png", "b/deep/er/a.JPG", "a.webp", "notes.txt", "b/film.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [p.relative_to(tmp_path).as_posix() for p in find_images([str(tmp_path)])]
    assert found == ["a.webp", "b/deep/er/a.JPG", "b/z.png"]


def test_arguments_keep_their_order_and_an_image_named_twice_is_found_once(photos):
    first, second = photos / "red" / "1.png", photos / "blue" / "0.png"
    found = find_images([str(first), str(second), str(photos / "blue"), str(photos / "re*" / "1.png")])
    assert found == [first, second, *(photos / "blue" / f"{i}.png" for i in range(1, 10))]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    odd = tmp_path / "cat [1].png"
    odd.touch()
    assert find_images([str(odd)]) == [odd]


@pytest.mark.parametrize("pattern", ["*", "**", "r*"])
def test_folders_that_a_pattern_matches_are_searched_like_folders_that_are_named(photos, pattern):
    expected = {p for p in photos.rglob("*.png") if pattern != "r*" or p.parent.name == "red"}
    assert set(find_images([str(photos / pattern)])) == expected


@pytest.mark.parametrize("name", ["missing.png", "*.gif", "empty"])
def test_what_names_no_image_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no such file|no images"):
        find_images([str(tmp_path / name)])


def test_the_training_images_of_the_fixture_are_told_apart(trained):
    # Otherwise the agreements above would be agreements on one constant answer.
    rows = np.array([list(row.values()) for row in answers_of(trained).values()])
    assert np.ptp(rows, axis=0).max() > 1e-4


# --- few images ------------------------------------------------------------------------------------------------------

IN_ORDER = """
import sys
from pathlib import Path
import alexnet
from alexnet.kernels.ways import FEW
model = alexnet.load(sys.argv[1])
image = Path(sys.argv[2]).read_bytes()
(alone,) = model.predict([image])
print("numba" in sys.modules)
among, *_ = model.predict([image] * FEW)
print("numba" in sys.modules)
(again,) = model.predict([image])
assert again.top == alone.top
for (name, one), (same, other) in zip(sorted(alone.top), sorted(among.top), strict=True):
    assert name == same and abs(one - other) < 1e-5, (one, other)
"""


def test_few_images_do_not_wait_for_the_loops_and_have_the_same_bits_at_any_time(trained):
    pytest.importorskip("numba")
    command = [sys.executable, "-c", IN_ORDER, trained / "run", next((trained / "photos").rglob("*.png"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\nTrue\n"), done.stderr


def test_a_way_that_was_asked_for_stays():
    assert ways.are_few(ways.FEW - 1)
    assert not ways.are_few(ways.FEW)
    with ways.chains("compiled"):
        assert not ways.are_few(1)

"""What a plan decides: where pretrained weights lie stays true when the run has begun."""

import json
from pathlib import Path

import pytest

import alexnet as face
from harness.small_runs import TINY


@pytest.mark.parametrize(
    "named",
    [{"weights": "runs/last"}, {"weights": Path("runs/last")}, {"changes": [*TINY, "weights=runs/last"]}],
    ids=["text", "path", "field"],
)
def test_weights_of_the_last_run_are_still_those_when_this_one_is_the_last(
    trained, photos, tmp_path, monkeypatch, named
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "last").symlink_to(trained / "run")
    plan = face.plan(photos, recipe="photos", device="cpu", cues=False, **{"changes": TINY, **named})
    run = plan.start()
    assert (tmp_path / "runs" / "last").resolve() == run.folder.resolve()
    stored = json.loads((run.folder / "recipe.json").read_text())
    assert stored["weights"] == str((trained / "run").resolve())


def test_the_name_of_published_weights_is_no_path(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = face.plan(photos, recipe="photos", weights="imagenet", device="cpu", cues=False, changes=TINY)
    assert plan.recipe.weights == "imagenet"

"""The run folder: what is written comes back, what is damaged is refused, what fails leaves the state before it."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from alexnet.errors import ResourceError, UntrustedFileError, UsageError
from alexnet.recipes.recipe import override
from alexnet.runs.environment import environment
from alexnet.runs.metrics import append_metrics, read_metrics
from alexnet.runs.run import create_run, open_run, sealing
from alexnet.storage.checksums import broken

# --- the folder ----------------------------------------------------------------------------------------------------


def test_a_new_run_comes_back_when_it_is_opened(start):
    run = start("run", "lr=0.125", "drop_epochs=[1, 2]")
    again = open_run(run.folder)
    assert again == run
    assert again.recipe.optim.drop_epochs == (1, 2)
    assert again.class_names == ("red", "green", "blue")
    assert json.loads((run.folder / "environment.json").read_text())["torch"] == torch.__version__


def test_names_of_classes_in_any_language_come_back(tiny, tmp_path):
    names = ("Äpfel", "猫", 'a "b" \n c')
    create_run(tmp_path / "run", tiny, names, {"source": "Bücher"})
    again = open_run(tmp_path / "run")
    assert again.class_names == names
    assert again.data == {"source": "Bücher"}


def test_an_empty_folder_is_taken_and_a_full_one_is_refused_untouched(tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    create_run(tmp_path / "empty", tiny, ("a", "b"), {})
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="exists and is not empty\nResume it: alexnet resume"):
        create_run(full, tiny, ("a", "b"), {})
    assert [p.name for p in full.iterdir()] == ["thesis.txt"]
    with pytest.raises(UsageError, match="exists"):
        create_run(full / "thesis.txt", tiny, ("a", "b"), {})
    assert (full / "thesis.txt").read_text() == "years of work"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=r"not a run folder: it has no recipe\.json"):
            open_run(folder)


@pytest.mark.parametrize("name", ["recipe.json", "classes.json", "data.json", "environment.json", "SHA256SUMS"])
@pytest.mark.parametrize("content", [None, b"", b'{"epochs": ', b"\xff\xfe\x00"])
def test_damaged_and_missing_small_files_are_refused_by_name(start, name, content):
    run = start("run")
    if content is None and name == "recipe.json":
        pytest.skip("without it the folder is no run")
    (run.folder / name).unlink()
    if content is not None:
        (run.folder / name).write_bytes(content)
    with pytest.raises(UntrustedFileError, match=rf"E65\d .*{name}"):
        open_run(run.folder)


def test_a_recipe_edited_by_hand_is_refused(start):
    path = start("run").folder / "recipe.json"
    path.write_text(path.read_text().replace('"width": 0.0625', '"width": 0.125'))
    with pytest.raises(UntrustedFileError, match=r"E651 .*recipe\.json is not as it was written.*\n.*start a new run"):
        open_run(path.parent)


def test_the_checksums_are_those_of_sha256sum(start):
    run = start("run")
    listed = (run.folder / "SHA256SUMS").read_text().splitlines()
    expected = subprocess.run(
        ["sha256sum", "classes.json", "data.json", "environment.json", "recipe.json"],
        cwd=run.folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert listed == expected


def test_results_are_sealed_and_a_crash_between_them_leaves_nothing_that_looks_damaged(start):
    run = start("run")
    (run.folder / "evaluation.json").write_text("old")
    with sealing(run, "evaluation.json"):
        (run.folder / "evaluation.json").write_text("new")
    assert broken(run.folder) == []
    with suppress(KeyboardInterrupt), sealing(run, "evaluation.json"):
        (run.folder / "evaluation.json").write_text("half")
        raise KeyboardInterrupt
    assert broken(run.folder) == []
    with sealing(run, "evaluation.json"):
        (run.folder / "evaluation.json").write_text("newer")
    (run.folder / "evaluation.json").write_text("other")
    assert broken(run.folder) == [
        f"{run.folder / 'evaluation.json'} is damaged: its bytes are not the ones that were written"
    ]


def test_a_folder_that_cannot_be_made_is_told_as_it_is(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="while making the run folder"):
        create_run(tmp_path / "file" / "run", tiny, ("a", "b"), {})


# --- metrics -------------------------------------------------------------------------------------------------------


def rows_of(steps):
    return [{"kind": "epoch", "epoch": step // 4, "step": step, "train_loss": 1 / step} for step in steps]


def test_rows_come_back_in_order(start):
    run = start("run")
    assert read_metrics(run) == []
    for row in rows_of([4, 8, 12]):
        append_metrics(run, row)
    assert read_metrics(run) == rows_of([4, 8, 12])


@pytest.mark.parametrize("length", [1, 10, -2])
def test_a_last_line_torn_by_a_crash_is_ignored(start, length):
    run = start("run")
    for row in rows_of([4, 8, 12]):
        append_metrics(run, row)
    path: Path = run.folder / "metrics.jsonl"
    *whole, last = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole) + last[:length])
    assert read_metrics(run) == rows_of([4, 8])


@pytest.mark.parametrize(
    ("device", "recorded"), [(torch.device("cpu"), ("cpu", None, "tf32")), (None, (None, None, None))]
)
def test_the_environment_knows_what_computes_and_how(tiny, tmp_path, device, recorded):
    create_run(tmp_path / "run", override(tiny, ["precision=tf32"]), ("a", "b", "c"), {}, device)
    written = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert tuple(written.get(name) for name in ("device", "card", "precision")) == recorded


def test_a_card_is_recorded_by_name_with_the_versions_of_its_libraries(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    written = environment(torch.device("cuda"), "bfloat16")
    assert [written[name] for name in ("device", "card", "precision")] == ["cuda", "NVIDIA H100", "bfloat16"]
    assert {"cuda", "cudnn"} <= written.keys()

"""Several processes train through the command line: every scheme, a run that changes its scheme, errors."""

import json
import os
import signal
import sys
from types import SimpleNamespace

import pytest
import torch

from alexnet.distributed.launch import ENDED
from alexnet.distributed.rendezvous import final_errors
from alexnet.errors import ResourceError, UsageError
from alexnet.runs.run import create_run
from alexnet.storage.files import read_rows
from harness.groups import farthest
from harness.job_faults import ALEXNET, job, saved, torchrun, wait_for
from harness.small_runs import call, write_photos

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

SMALL = (
    *("--recipe", "small-photos", "--device", "cpu", "prepare_size=24", "model.crop_size=20", "model.test_size=none"),
    *("model.width=0.0625", "model.conv1_kernel=5", "model.conv1_stride=1", "model.conv1_padding=2"),
    *("model.pool5_grid=1", "model.init=kaiming", "batch_size=8"),
)
EPOCHS = 2
COMPLETE = {
    *("recipe.json", "classes.json", "data.json", "environment.json", "SHA256SUMS", "metrics.jsonl"),
    *("LAST", "BEST", "checkpoints", "conv1", "calibration.json", "evaluation.json", "report.html"),
}


@pytest.fixture(autouse=True)
def _what_is_started_has_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder with photos/, plain/ trained by one process, and tuned/ that was fine-tuned from plain/."""
    root = tmp_path_factory.mktemp("alone")
    photos = write_photos(root / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALEXNET_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        plain = call("train", photos, *SMALL, f"epochs={EPOCHS}", "--out", root / "plain")
        assert plain.code == 0, plain.err
        weights = ("--weights", root / "plain")
        tuned = call("train", photos, *SMALL, f"epochs={EPOCHS}", *weights, "--out", root / "tuned")
        assert tuned.code == 0, tuned.err
    return root


@pytest.mark.parametrize(
    ("scheme", "start", "like"),
    [("hybrid", "nproc", "plain"), ("data", "torchrun", "tuned")],
)
def test_a_scheme_makes_the_run_folder_of_one_process(alone, tmp_path, scheme, start, like):
    run, photos = tmp_path / "run", alone / "photos"
    options = (*SMALL, f"epochs={EPOCHS}", "--out", run, "--parallel", scheme)
    options += ("--weights", alone / "plain") if like == "tuned" else ()
    if start == "torchrun":
        command = torchrun("train", photos, *options)
    else:
        command = (*ALEXNET, "train", photos, *options, "--nproc", 2)
    with job(*command, said=tmp_path / "said", real=start == "torchrun") as started:
        assert started.end() == 0, started.said()
        said = started.said()
    assert said.count("report.html") == 1  # printed by one of them
    assert {path.name for path in run.iterdir()} >= COMPLETE
    assert sorted(path.name for path in (run / "conv1").glob("*.npy")) == sorted(
        path.name for path in (alone / like / "conv1").glob("*.npy")
    )
    assert call("verify", run).code == 0
    assert farthest(alone / like, run) < 2e-4
    ours, theirs = (read_rows(path / "metrics.jsonl")[0] for path in (alone / like, run))
    assert [row["kind"] for row in ours] == [row["kind"] for row in theirs]
    losses = [[row["train_loss"] for row in rows if row["kind"] == "epoch"] for rows in (ours, theirs)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    evaluations = [json.loads((path / "evaluation.json").read_text()) for path in (alone / like, run)]
    log_losses = [[part["log_loss"] for part in each] for each in evaluations]
    assert log_losses[1] == pytest.approx(log_losses[0], rel=1e-5)
    looked = [call("predict", photos / "red/0.png", "--run", path, "--format", "json") for path in (alone / like, run)]
    assert looked[1].code == 0, looked[1].err
    answers = [{top["class"]: top["probability"] for top in json.loads(each.out)["top"]} for each in looked]
    assert answers[1] == pytest.approx(answers[0], rel=1e-5)


def test_a_run_goes_from_towers_to_one_process_to_hybrid_to_data(alone, tmp_path):
    """It is stopped in between, and ends like the run of one process."""
    photos, run, whole = alone / "photos", tmp_path / "run", tmp_path / "whole"
    # At ten times the rate a unit that dies by another rounding makes it another network.
    long = (*SMALL, "epochs=20", "evaluate_every=20", "optim.lr=0.001")
    ended = call("train", photos, *long, "--out", whole)
    assert ended.code == 0, ended.err
    on = ("resume", run, "--device", "cpu", "--allow-inexact")
    legs = [
        ("train", photos, *long, "--out", run, "--parallel", "towers", "--nproc", 2),
        on,
        (*on, "--parallel", "hybrid", "--nproc", 2),
        (*on, "--parallel", "data", "--nproc", 2),
    ]
    for leg in legs[:-1]:
        before = saved(run)
        with job(*ALEXNET, *leg, "--save-seconds", 0.02, said=tmp_path / "said") as started:
            wait_for(lambda before=before: saved(run) > before + 2, f"steps after {before}")
            os.kill(started.pid, signal.SIGTERM)
            assert started.end() == 143, started.said()
    with job(*ALEXNET, *legs[-1], said=tmp_path / "said") as started:
        assert started.end() == 0, started.said()
    notes = [row["text"] for row in read_rows(run / "metrics.jsonl")[0] if row["kind"] == "note"]
    crossings = [note.partition("processes ")[2] for note in notes if note.startswith("inexact")]
    assert crossings == ["2, towers -> 1", "1 -> 2, hybrid", "2, hybrid -> 2, data"]
    assert farthest(whole, run) < 1e-3
    assert {path.name for path in run.iterdir()} >= COMPLETE


def test_missing_images_are_reported_once(prepared, tiny, tmp_path):
    """The first process looks for them while the other waits; the agent does not restart them."""
    about = {"source": str(tmp_path / "gone"), "prepared": str(tmp_path / "gone"), "fingerprint": "0" * 64}
    run = create_run(tmp_path / "run", tiny, prepared.class_names, about).folder
    words = ["resume", str(run), "--parallel", "data", "--device", "cpu"]
    code = f"import sys, alexnet.distributed.launch as l; sys.exit(l.launch({words}, 2, max_restarts=3, exact=False))"
    with job(sys.executable, "-c", code, said=tmp_path / "said") as started:
        assert started.end() == 3, started.said()
    assert started.said().count("alexnet: E") == 1, started.said()


def test_an_error_of_all_processes_is_reported_by_the_first(tmp_path, monkeypatch, capsys):
    """An error that a restart may solve is passed to the agent; once the run has ended, the others exit."""
    ended = tmp_path / "ended"
    monkeypatch.setenv(ENDED, str(ended))
    with pytest.raises(ResourceError), final_errors(SimpleNamespace(rank=0)):
        raise ResourceError("it is gone", fix="Do it.", code="E510")
    assert not ended.exists()
    one, other = final_errors(SimpleNamespace(rank=1)), final_errors(SimpleNamespace(rank=0))
    one.__enter__(), other.__enter__()  # both are running when the error occurs
    error = UsageError("no such run", fix="Make it.", code="E253")
    for process in (one, other):
        with pytest.raises(SystemExit) as leaving:
            process.__exit__(UsageError, error, None)
        assert leaving.value.code == 0  # so that the agent does not restart it
    assert ended.read_text() == "2"
    assert capsys.readouterr().err == "alexnet: E253 no such run\nMake it.\n"


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs, for NCCL")
@pytest.mark.parametrize("scheme", ["data", "hybrid"])
def test_two_gpus_train_what_one_trains(alone, tmp_path, scheme):
    """Convolutions of cuDNN round to TF32, so only losses are compared, to three digits."""
    options = ("train", alone / "photos", *("cuda" if o == "cpu" else o for o in SMALL), f"epochs={EPOCHS}")
    one = call(*options, "--out", tmp_path / "one")
    assert one.code == 0, one.err
    group = ("--out", tmp_path / "group", "--parallel", scheme, "--nproc", 2)
    with job(*ALEXNET, *options, *group, said=tmp_path / "said") as started:
        assert started.end() == 0, started.said()
    rows = [read_rows(tmp_path / name / "metrics.jsonl")[0] for name in ("one", "group")]
    losses = [[row["train_loss"] for row in each if row["kind"] == "epoch"] for each in rows]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)

"""Processes of a run are killed, stopped, asked to end, or lost with their machine: it resumes and ends the same."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from alexnet.distributed.launch import SHARE_STORE, launch, process_group_of, settings_of, worker_environment
from alexnet.errors import UsageError
from alexnet.runs.environment import check_conditions, conditions
from alexnet.runs.metrics import read_metrics
from alexnet.runs.run import IDENTITY, create_run, open_run
from alexnet.storage.checksums import SUMS
from alexnet.training.loop import train
from harness.groups import start_team
from harness.job_faults import ALEXNET, agent, alive, final, job, saved, torchrun, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

# 4 steps an epoch: long enough for two faults, and without checkpoints except those by --save-seconds.
LONG = ("epochs=15", "evaluate_every=100")
STEPS = 60
OPTIONS = ("--device", "cpu", "--save-seconds", "0.02")


@pytest.fixture(autouse=True)
def _what_is_started_has_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def goes_on(run: Path, started) -> None:
    """Waits until two more steps are saved."""
    before = saved(run)
    wait_for(lambda: saved(run) > before + 1, f"steps after {before}")
    assert started.process.poll() is None, started.said()


def disturb(started, rank: int, number: int) -> None:
    """Sends a worker a signal and waits until new processes have replaced all workers."""
    workers = started.workers()
    os.kill(workers[rank], number)
    wait_for(lambda: len(now := started.workers()) == 2 and not set(now.values()) & set(workers.values()), "others")


def test_a_killed_and_a_stopped_worker_come_back_and_change_no_bit(start, prepared, tmp_path):
    run, whole = start("run", *LONG), start("whole", *LONG)
    train(
        whole,
        prepared,
        device=torch.device("cpu"),
        group=process_group_of(whole.recipe, "data", 0, 1, exact=True),
    )
    # On a busy machine a process is late now and then; each time all start again and no bit changes.
    restarts = ("--hang-seconds", 2, "--max-restarts", 30)
    options = ("--parallel", "data", "--nproc", 2, "--exact", *restarts, *OPTIONS)
    with job(*ALEXNET, "resume", run.folder, *options, said=tmp_path / "said") as started:
        goes_on(run.folder, started)
        disturb(started, 1, signal.SIGKILL)
        goes_on(run.folder, started)
        assert "E510 another process is gone" in started.said()
        disturb(started, 0, signal.SIGSTOP)
        assert started.end() == 0, started.said()
        assert "E510 another process did not answer in time" in started.said()
    assert final(run.folder) == final(whole.folder)


def test_towers_leave_nobody_behind_when_torchrun_dies(start, prepared, tmp_path):
    """The same command resumes the run, which ends as without the interruption."""
    run = start("run", *LONG)
    (tmp_path / "prepared").symlink_to(prepared.folder)
    start_team(tmp_path, 2, [{"name": "whole", "recipe": "run", "scheme": "towers", "exact": False}])
    command = torchrun("resume", run.folder, "--parallel", "towers", *OPTIONS)
    with job(*command, said=tmp_path / "said") as started:
        goes_on(run.folder, started)
        workers = started.workers().values()
        os.kill(started.pid, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, workers)), "the end of all workers")
    assert 0 < saved(run.folder) < STEPS
    with job(*command, said=tmp_path / "said") as started:
        assert started.end() == 0, started.said()
    assert final(run.folder) == final(tmp_path / "whole")


def test_the_launcher_passes_signals_on_and_ends_as_one_process_would(start, tmp_path):
    run = start("run", "epochs=100000", "evaluate_every=100000")
    options = ("--parallel", "data", "--nproc", 2, "--device", "cpu", "--save-seconds", 100000)
    with job(*ALEXNET, "resume", run.folder, *options, said=tmp_path / "said") as started:
        wait_for(lambda: read_metrics(run), "an epoch")
        workers = started.workers().values()
        assert saved(run.folder) == 0
        os.kill(started.pid, signal.SIGUSR1)
        requested = wait_for(lambda: saved(run.folder), "a checkpoint")
        os.kill(started.pid, signal.SIGTERM)
        assert started.end() == 143, started.said()
        assert not any(map(alive, workers))
    assert saved(run.folder) > requested
    assert f"stopped and saved at step {saved(run.folder)}; resume it with: alexnet resume" in started.said()


def test_the_other_node_finishes_after_the_node_of_the_main_process_dies(start, prepared, tmp_path):
    whole = start("whole", *LONG)
    train(
        whole,
        prepared,
        device=torch.device("cpu"),
        group=process_group_of(whole.recipe, "data", 0, 1, exact=True),
    )
    run = start("run", *LONG)
    command = agent(tmp_path / "rendezvous", "resume", run.folder, "--parallel", "data", "--exact", *OPTIONS)
    real = {"real": True}  # what two agents say to each other begins with their start
    with job(*command, said=tmp_path / "a", **real) as one, job(*command, said=tmp_path / "b", **real) as other:
        wait_for(lambda: {*one.workers(), *other.workers()} == {0, 1}, "two nodes")
        goes_on(run.folder, one)
        main, remaining = (one, other) if 0 in one.workers() else (other, one)
        main.kill()
        assert remaining.end() == 0, remaining.said()
    assert "E510" in remaining.said()
    assert final(run.folder) == final(whole.folder)


# --- the parts, in this process --------------------------------------------------------------------------------------


def test_workers_have_a_store_of_their_own(tmp_path):
    """With the store of the agent, restarts with gloo sometimes fail."""
    given = worker_environment(2, exact=False, ended=tmp_path)
    assert SHARE_STORE == "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
    assert given[SHARE_STORE] == "1"
    assert given["ALEXNET_LAUNCHER"] == str(os.getpid())


def test_the_agent_gives_workers_time_to_save(monkeypatch):
    """By default it kills them 30 seconds after it has asked them to stop."""
    given = []

    def agent_of(config, program):
        given.append(config.shutdown_timeout)
        return lambda *arguments: None

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", agent_of)
    assert launch(["resume", "run"], 2, max_restarts=0, exact=False) == 0
    assert given == [600]


@pytest.mark.parametrize(("started", "told"), [({"RANK": "1"}, "done\n"), ({}, "done\ncleaned up\n")])
@pytest.mark.parametrize("code", [7, 0, None])
def test_only_a_worker_ends_without_the_clean_up_of_the_interpreter(code, started, told):
    program = (
        "import atexit, sys\nfrom alexnet.distributed.process import exit_without_cleanup\n"
        "atexit.register(print, 'cleaned up')\n"
        f"with exit_without_cleanup():\n    print('done')\n    sys.exit({code})"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RANK"} | started
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code or 0, told, "")


def test_processes_with_other_threads_are_not_the_same(tiny, prepared):
    def settings() -> dict:
        return settings_of(tiny, "data", 1, conditions(prepared, torch.device("cpu")))

    ours, threads = settings(), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        theirs = settings()
    finally:
        torch.set_num_threads(threads)
    assert {name for name in ours if ours[name] != theirs[name]} == {"threads"}


def test_a_run_folder_whose_making_was_killed_can_be_made_again(tiny, tmp_path):
    whole = create_run(tmp_path / "whole", tiny, ("a", "b", "c"), {})
    half = tmp_path / "half"
    (half / "checkpoints").mkdir(parents=True)
    for name in (SUMS, *IDENTITY[1:]):
        (half / name).write_bytes(b"")
    (half / ".recipe.json.tmp").write_bytes(b"{")
    again = create_run(half, tiny, ("a", "b", "c"), {})
    assert (half / "recipe.json").read_bytes() == (whole.folder / "recipe.json").read_bytes()
    assert open_run(half).recipe == again.recipe
    (half / "recipe.json").unlink()
    (half / "checkpoints/step-00000001").mkdir()
    with pytest.raises(UsageError, match="E252"):
        create_run(half, tiny, ("a", "b", "c"), {})


def test_only_the_conditions_that_are_named_may_change():
    was, now = {"processes": "2, data", "torch": "2.10"}, {"processes": "1", "torch": "2.10"}
    told = check_conditions(was, now, allow=("processes",))
    assert told == "the rest of this run cannot be exact: processes 2, data -> 1"
    with pytest.raises(UsageError, match=r"torch 2\.10 -> 2\.11"):
        check_conditions(was, {**now, "torch": "2.11"}, allow=("processes",))
    with pytest.raises(UsageError, match="E255"):
        check_conditions(was, now, allow=())

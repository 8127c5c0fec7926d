"""One of several processes never trains a run of its own without notice; and what only looks like one is let alone."""

import subprocess
import sys

import pytest

from alexnet.distributed import launch as launching
from alexnet.distributed.launchers import LAUNCHERS, check_launcher, started_by_torchrun
from alexnet.distributed.rendezvous import Division, join_rendezvous
from alexnet.errors import AlexNetError
from harness.job_faults import job, torchrun
from harness.small_runs import TINY, call, write_photos

MEET = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
TWO = {"RANK": "1", "WORLD_SIZE": "2"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}
HYDRA = {"PMI_RANK": "3", "PMI_SIZE": "4"}
SRUN = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "8"}


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No variable of a launcher, whoever started the tests."""
    for name in (*MEET, *(name for _, *names, unless in LAUNCHERS for name in (*names, *unless))):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "parallel", "code"),
    [
        # torchrun, accelerate, a job of Kubernetes
        ({**TWO, **MEET, "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "none"}, None, "E270"),
        ({**TWO, **MEET}, None, "E270"),
        ({"RANK": "0", "WORLD_SIZE": "16", **MEET}, None, "E270"),
        (TWO, None, "E270"),
        (TWO, "data", "E512"),
        ({**TWO, "MASTER_ADDR": "a.org"}, "hybrid", "E512"),
        # mpirun of Open MPI, of MPICH and Intel
        (OPEN_MPI, None, "E270"),
        (OPEN_MPI, "data", "E512"),
        ({**OPEN_MPI, "RANK": "0"}, None, "E270"),
        (HYDRA, None, "E270"),
        (HYDRA, "towers", "E512"),
        # srun
        (SRUN, None, "E270"),
        (SRUN, "data", "E512"),
        ({**SRUN, "PMI_RANK": "0", "PMI_SIZE": "8"}, None, "E270"),
    ],
)
def test_one_of_several_processes_is_refused(monkeypatch, variables, parallel, code):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AlexNetError) as refused:
        join_rendezvous(Division(parallel=parallel))
    assert refused.value.code == code
    size = next(value for name, value in variables.items() if name.endswith(("SIZE", "NUM_TASKS")))
    assert f"started {size} processes" in refused.value.what
    assert "unset " in refused.value.fix


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "0"},
        {"RANK": "3", **MEET},
        {"WORLD_SIZE": "4"},
        {"RANK": "0", "WORLD_SIZE": "1", **MEET},
        {"RANK": "0", "WORLD_SIZE": ""},
        {"RANK": "first", "WORLD_SIZE": "several"},
        MEET,
        {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
        {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"PMI_RANK": "0", "PMI_SIZE": "1"},
        # the batch script of a job of eight tasks, one srun of a single task, and a shell that srun opened
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"},
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"},
        {**SRUN, "SLURM_PTY_PORT": "40000"},
        {**SRUN, "SLURM_PTY_PORT": "40000", "PMI_RANK": "0", "PMI_SIZE": "8"},
        # the nearest launcher decides: torchrun for one process, within srun
        {**SRUN, "RANK": "0", "WORLD_SIZE": "1", **MEET},
    ],
)
def test_a_process_alone_trains_whatever_is_left_over_around_it(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert join_rendezvous(Division()) is None


@pytest.mark.parametrize("variables", [{**TWO, **MEET}, {**SRUN, **TWO, **MEET}, {**OPEN_MPI, **TWO, **MEET}])
def test_processes_that_can_meet_and_know_how_to_divide_are_let_through(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert started_by_torchrun()
    check_launcher("data")


@pytest.mark.skipif(sys.platform != "linux", reason="starts torchrun")
def test_torchrun_without_a_scheme_makes_no_run(tmp_path, monkeypatch):
    photos = write_photos(tmp_path / "photos", 4)
    monkeypatch.chdir(tmp_path)
    options = (*TINY, "--device", "cpu")
    with job(*torchrun("train", photos, *options, restarts=0), said=tmp_path / "said") as started:
        assert started.end() != 0
        assert "alexnet: E270 torchrun" in started.said()
    assert not (tmp_path / "runs").exists()


def test_resume_is_refused_as_well(monkeypatch, tmp_path):
    for name, value in {**TWO, **MEET}.items():
        monkeypatch.setenv(name, value)
    # Without exit_without_cleanup, which ends a worker at once.
    monkeypatch.delenv("ALEXNET_ENDED", raising=False)
    outcome = call("resume", tmp_path)
    assert (outcome.code, outcome.err.split()[1]) == (2, "E270")


ALONE = {"ablate": ("DATA", "--vary", "tanh"), "demo": (), "verify": ("RUN", "--replay")}


@pytest.mark.parametrize("verb", ALONE)
@pytest.mark.parametrize("variables", [{**TWO, **MEET}, SRUN, OPEN_MPI], ids=["torchrun", "srun", "mpirun"])
def test_what_one_process_does_alone_is_refused_to_several(monkeypatch, tmp_path, trained, verb, variables):
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    named = {"DATA": trained / "photos", "RUN": trained / "run"}
    outcome = call(verb, *(named.get(each, each) for each in ALONE[verb]))
    assert (outcome.code, outcome.err.split()[1]) == (2, "E270")
    assert "Start it as one process" in outcome.err
    assert "--parallel" not in outcome.err
    assert list(tmp_path.iterdir()) == []


# --- where they meet -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interfaces", "given", "expected"),
    [
        ([(1, "lo"), (2, "eth0")], None, "lo"),
        ([(1, "lo0"), (2, "en0")], None, "lo0"),
        ([(1, "lo"), (2, "eth0")], "eth0", "eth0"),
        ([(2, "eth0")], None, None),
    ],
)
def test_processes_of_one_machine_meet_on_its_loopback(monkeypatch, tmp_path, interfaces, given, expected):
    monkeypatch.setattr(launching.socket, "if_nameindex", lambda: interfaces)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    if given is not None:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", given)
    variables = launching.worker_environment(2, exact=False, ended=tmp_path / "ended")
    assert variables.get("GLOO_SOCKET_IFNAME") == expected


def test_the_rendezvous_asks_for_no_name(monkeypatch):
    import torch.distributed.launcher.api as api

    seen = []
    monkeypatch.setattr(api, "elastic_launch", lambda config, program: lambda *words: seen.append(config))
    assert launching.launch(["resume", "run"], 2, max_restarts=0, exact=False) == 0
    assert (seen[0].local_addr, seen[0].rdzv_endpoint) == ("127.0.0.1", "127.0.0.1:0")


def _may_rename() -> bool:
    try:
        command = ["unshare", "--uts", "hostname", "mac-book.local"]
        return subprocess.run(command, capture_output=True, timeout=10).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux" or not _may_rename(), reason="may not give this machine another name")
def test_a_machine_whose_name_resolves_to_nothing_trains_with_two_processes(tmp_path):
    photos, out = write_photos(tmp_path / "photos"), tmp_path / "r"
    train = (sys.executable, "-m", "alexnet", "train", photos, *TINY, "--device", "cpu", "--out", out)
    options = ("--parallel", "data", "--nproc", 2, "--max-restarts", 0, "--hang-seconds", 30)
    renamed = ("unshare", "--uts", "sh", "-c", 'hostname mac-book.local; exec "$@"', "sh")
    with job(*renamed, *train, *options, said=tmp_path / "said") as started:
        assert started.end() == 0, started.said()
        assert "mac-book.local" not in started.said()
        assert "cannot be retrieved" not in started.said()
    assert (out / "report.html").exists()

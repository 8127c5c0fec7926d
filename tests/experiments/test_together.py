"""Several runs at the same time give the rows that they give alone, and stop and go on as one would."""

import os
import signal

import pytest
import torch

from alexnet.errors import DataError, ResourceError
from alexnet.experiments import results, runner, together
from alexnet.experiments.runner import Job
from alexnet.experiments.together import in_turns, rows_of, run_jobs
from alexnet.training.monitor import Requests
from harness.forking import preload
from harness.small_runs import TINY, write_photos

CPU = torch.device("cpu")
SAME = ("settings", "outcome", "results", "curve", "start_values")
TIMES = ("images_per_second", "seconds")


@pytest.fixture(scope="module", autouse=True)
def _server():
    preload()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Runs of several lengths and kinds; the fourth diverges, the fifth stops early."""
    photos = str(write_photos(tmp_path_factory.mktemp("lab") / "photos"))
    common = (*TINY, "optim.schedule=constant")
    wild = ("optim.algorithm=sgd", "optim.lr=1e9", "average_decay=0", "mixup=0", "cutmix=0", "model.norm=none")
    return [
        Job(photos, "photos", "short", (*common, "epochs=1"), 0),
        Job(photos, "photos", "long", (*common, "epochs=4", "dropout=0.5"), 0),
        Job(photos, "photos", "other", (*common, "epochs=2", "model.norm=none"), 1),
        Job(photos, "photos", "wild", (*common, *wild), 0),
        Job(photos, "photos", "until", (*common, "epochs=9"), 0, until=0.99, views=(1,)),
    ]


@pytest.fixture(scope="module")
def alone(jobs, tmp_path_factory):
    """Variant -> what must be the same, of the runs one by one."""
    runs = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALEXNET_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return {job.variant: same(runner.run_job(job, runs, CPU)) for job in jobs}


def same(row):
    assert row is not None
    return {name: row[name] for name in SAME}


class After(Requests):
    """Asks to stop when it has been looked at so often."""

    def __init__(self, looks):
        self.looks = looks

    @property
    def stop(self):
        self.looks -= 1
        return signal.SIGINT if self.looks < 0 else None

    @stop.setter
    def stop(self, value):
        self.looks = 0


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(together, "_cores", lambda: 2)


@pytest.mark.parametrize("number", [2, 9])
def test_runs_in_turns_give_the_rows_that_they_give_alone(jobs, alone, tmp_path, number):
    rows = list(in_turns(jobs, tmp_path, CPU, number, Requests()))
    assert {row["variant"]: same(row) for row in rows} == alone


def test_turns_go_round(jobs, tmp_path, monkeypatch):
    """With two at a time the first two take steps one after the other."""
    order = []

    def steps(job, *rest):
        for _ in range(3):
            order.append(job.variant)
            yield
        return {"variant": job.variant}

    monkeypatch.setattr(together, "job_steps", steps)
    rows = [row["variant"] for row in in_turns(jobs[:3], tmp_path, CPU, 2, Requests())]
    assert order == ["short", "long"] * 3 + ["other"] * 3
    assert rows == ["short", "long", "other"]


@pytest.mark.parametrize("looks", [0, 9])
def test_runs_in_turns_stop_where_they_are_and_go_on(jobs, alone, tmp_path, looks):
    first = list(in_turns(jobs[:3], tmp_path, CPU, 2, After(looks)))
    assert len(first) < 3
    rest = [job for job in jobs[:3] if job.variant not in {row["variant"] for row in first}]
    rows = [*first, *in_turns(rest, tmp_path, CPU, 3, Requests())]
    assert {row["variant"]: same(row) for row in rows} == {job.variant: alone[job.variant] for job in jobs[:3]}


def test_when_one_cannot_go_on_the_others_save(jobs, tmp_path, monkeypatch):
    real = together.job_steps

    def steps(job, *rest):
        if job.variant != "short":
            return (yield from real(job, *rest))
        for _ in range(4):
            yield
        raise DataError("the images are gone", fix="Bring them back.", code="E310")

    monkeypatch.setattr(together, "job_steps", steps)
    with pytest.raises(DataError, match="E310"):
        list(in_turns(jobs[:2], tmp_path, CPU, 2, Requests()))
    (run,) = tmp_path.iterdir()
    assert (run / "LAST").read_text().startswith("step-")


@pytest.mark.usefixtures("two_cores")
def test_processes_stop_together_and_give_the_rows_that_the_runs_give_alone(jobs, alone, tmp_path):
    """Ctrl-C when the first row is there: what was going has saved, nothing new has begun, the same call goes on."""
    file, wanted = tmp_path / "rows.jsonl", [jobs[0], jobs[1], jobs[2]]
    seen = []

    def interrupt(row, left):
        seen.append(left)
        if len(seen) == 1:  # the second Ctrl-C stops at once
            os.kill(os.getpid(), signal.SIGINT)

    before = torch.get_num_threads()
    assert not run_jobs(runner.waiting(wanted, file), file, tmp_path / "runs", together=2, tell=interrupt)
    left = runner.waiting(wanted, file)
    assert len(left) == seen[-1] > 0
    assert run_jobs(left, file, tmp_path / "runs", together=2)
    assert {row["variant"]: same(row) for row in results.read(file)} == {j.variant: alone[j.variant] for j in wanted}
    assert torch.get_num_threads() == before


class Clock:
    """A clock whose every look is a second later; `monotonic` as of the module time."""

    def __init__(self):
        self.now = 0

    def monotonic(self):
        self.now += 1
        return self.now


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(("end", "begun"), [(1, False), (0, False), (9, True)])
def test_when_the_time_is_over_what_has_begun_is_saved_and_goes_on(
    jobs, alone, tmp_path, monkeypatch, number, end, begun
):
    monkeypatch.setattr(together, "time", Clock())
    monkeypatch.setattr(together, "processes", lambda wanted, count: 1)
    threads, requests = torch.get_num_threads(), Requests()
    first = list(rows_of(jobs[1:3], tmp_path, requests, together=number, end=end))
    assert first == []
    assert requests.stop == signal.SIGTERM
    saved = [run for run in tmp_path.iterdir() if (run / "LAST").is_file()]
    assert bool(saved) is begun
    rows = list(rows_of(jobs[1:3], tmp_path, Requests(), together=number, end=1e9))
    assert {row["variant"]: same(row) for row in rows} == {job.variant: alone[job.variant] for job in jobs[1:3]}
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("two_cores")
def test_processes_begin_nothing_when_the_time_is_over(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(together, "time", Clock())
    assert list(rows_of(jobs[:3], tmp_path / "runs", Requests(), together=2, end=1)) == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("two_cores")
def test_a_process_that_is_killed_is_named_and_nothing_is_lost(jobs, alone, tmp_path):
    from multiprocessing import active_children

    def kill(row, left):
        for child in active_children():
            child.kill()

    file, runs, wanted = tmp_path / "rows.jsonl", tmp_path / "runs", [jobs[0], jobs[1]]
    with pytest.raises(ResourceError, match="E510"):
        run_jobs(runner.waiting(wanted, file), file, runs, together=2, tell=kill)
    assert run_jobs(runner.waiting(wanted, file), file, runs)
    assert {row["variant"]: same(row) for row in results.read(file)} == {j.variant: alone[j.variant] for j in wanted}


@pytest.mark.parametrize(
    ("wanted", "jobs", "cores", "expected"),
    [(1, 9, 8, 1), (2, 9, 8, 2), (8, 9, 2, 2), (4, 3, 8, 3), (3, 3, 1, 1), (5, 0, 4, 1), (100, 100, 64, 64)],
)
def test_there_are_never_more_processes_than_cores_or_runs(monkeypatch, wanted, jobs, cores, expected):
    monkeypatch.setattr(together, "_cores", lambda: cores)
    assert together.processes(wanted, jobs) == expected


@pytest.mark.parametrize(("threads", "count", "share"), [(8, 2, 4), (8, 3, 2), (2, 2, 1), (1, 2, 1), (16, 5, 3)])
def test_threads_are_shared(monkeypatch, threads, count, share):
    given = []

    class Pool:
        def __init__(self, number, *, mp_context, initializer, initargs):
            given.append((number, initargs[1], os.environ["OMP_NUM_THREADS"]))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(together, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert list(together.in_processes([], None, count, Requests())) == []
    assert given == [(count, share, str(share))]
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_run_that_was_begun_with_other_threads_goes_on_with_as_many(jobs, alone, tmp_path):
    """Otherwise it would be refused, because sums of other threads have other bits."""
    threads = torch.get_num_threads()
    list(in_turns(jobs[1:2], tmp_path, CPU, 1, After(6)))
    torch.set_num_threads(threads + 1)
    try:
        row = runner.run_job(jobs[1], tmp_path, CPU)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert same(row) == alone["long"]

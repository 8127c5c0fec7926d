"""Executes many runs, each once, several at a time, and appends a row per run to a results file.

It can be stopped at any time, and the same call goes on. Every run gives the row that it would give alone: on the CPU
each has a process with its share of the threads; on a GPU trainers take turns in one process, each on a stream of its
own, because the work of a small network fills neither a card nor the time that it takes to start it.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from alexnet.errors import AlexNetError, ResourceError, UsageError
from alexnet.experiments.runner import CPU, Job, job_steps
from alexnet.kernels.precision import reproducible
from alexnet.storage.files import append
from alexnet.training.monitor import Requests, stop_signals

LOOKS = 0.1  # seconds between two looks at what was asked for by signals

Row = dict[str, Any]


def run_jobs(
    jobs: Sequence[Job],
    file: Path,
    runs: Path,
    *,
    together: int = 1,
    device: torch.device | None = None,
    tell: Callable[[Row, int], None] = lambda row, left: None,
) -> bool:
    """Executes the runs and appends a row for each when it ends.

    Args:
        runs: the folder of the run folders; interrupted runs in it are resumed.
        together: number of runs at the same time; on the CPU at most one for each core.
        tell: called with every new row and the number of runs left.

    Returns:
        False if Ctrl-C or SIGTERM stopped it; finished work is saved.

    Raises:
        UsageError: less than one at a time.
        ResourceError: the process of a run was ended from outside.
    """
    if together < 1:
        raise UsageError(
            f"--together {together}: at least one run at a time", fix="Leave it out, or use --together 2.", code="E298"
        )
    left = len(jobs)
    with stop_signals() as requests:
        for row in rows_of(jobs, runs, requests, together=together, device=device):
            left -= 1
            append(file, row)
            tell(row, left)
    return left == 0


def rows_of(
    jobs: Sequence[Job],
    runs: Path,
    requests: Requests,
    *,
    together: int = 1,
    device: torch.device | None = None,
    end: float | None = None,
) -> Iterator[Row]:
    """Executes the runs and yields the row of each when it ends.

    Args:
        runs, together, device: as for `run_jobs`.
        requests: asks the runs to save and stop.
        end: when `time.monotonic` has reached it, it is asked to stop: what has begun is saved, nothing new begins.
    """
    chosen, threads = device or CPU, torch.get_num_threads()
    _look(requests, end)
    try:
        if chosen == CPU and (count := processes(together, len(jobs))) > 1:
            yield from in_processes(jobs, runs, count, requests, end)
        else:
            yield from in_turns(jobs, runs, chosen, 1 if chosen == CPU else together, requests, end)
    finally:
        torch.set_num_threads(threads)


def _look(requests: Requests, end: float | None) -> None:
    """Asks to stop if the time is over."""
    if end is not None and time.monotonic() >= end:
        requests.stop = requests.stop or signal.SIGTERM


def processes(together: int, jobs: int) -> int:
    """How many processes do the runs on the CPU: more than cores only slow each other down very much."""
    return max(1, min(together, jobs, _cores()))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_turns(
    jobs: Sequence[Job],
    runs: Path,
    device: torch.device,
    together: int,
    requests: Requests,
    end: float | None = None,
) -> Iterator[Row]:
    """Does the runs in this process, `together` of them step by step in turns; yields the rows as they end."""
    threads, waiting = torch.get_num_threads(), deque(jobs)
    going: deque[tuple[Iterator[None], Any]] = deque()
    try:
        with reproducible(device):
            while waiting or going:
                _look(requests, end)
                while waiting and len(going) < together and requests.stop is None:
                    begun = job_steps(waiting.popleft(), runs, device, requests, threads)
                    going.append((begun, _stream_on(device)))
                if not going:
                    return
                steps, stream = going.popleft()
                try:
                    with _on(stream):
                        next(steps)
                    going.append((steps, stream))
                except StopIteration as ended:
                    if ended.value is not None:
                        yield ended.value
    except AlexNetError:
        requests.stop = requests.stop or signal.SIGTERM  # the others save what they have
        for other, stream in going:
            with _on(stream):
                deque(other, maxlen=0)
        raise


def _stream_on(device: torch.device) -> Any:
    """A new stream of a card; None elsewhere."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


@contextmanager
def _on(stream: Any) -> Iterator[None]:
    """Works on a stream of a card for the block, after what threads that load batches have asked of the card."""
    if stream is not None:
        stream.wait_stream(torch.cuda.default_stream(stream.device))
    with nullcontext() if stream is None else torch.cuda.stream(stream):
        yield


# --- processes -------------------------------------------------------------------------------------------------------


def in_processes(
    jobs: Sequence[Job], runs: Path, count: int, requests: Requests, end: float | None = None
) -> Iterator[Row]:
    """Does the runs on the CPU in `count` processes that share the threads of this one; yields the rows as they end.

    Raises:
        ResourceError: a process was ended from outside.
    """
    context = _start_method()
    asked, share = context.RawValue("b", requests.stop is not None), max(1, torch.get_num_threads() // count)
    with (
        _threads_of_children(share),
        ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(asked, share, _places())) as pool,
    ):
        try:
            pending: set[Future[Row | None]] = {pool.submit(_work, job, runs) for job in jobs}
            while pending:
                ended, pending = wait(pending, LOOKS, FIRST_COMPLETED)
                for row in [future.result() for future in ended]:
                    if row is not None:
                        yield row
                    elif requests.stop is None:
                        requests.stop = signal.SIGTERM  # only that process was asked to stop
                _look(requests, end)
                asked.value = requests.stop is not None
        except BrokenProcessPool:
            raise ResourceError(
                "another process is gone: one that did a run was killed, or the memory did not suffice",
                fix="The same command goes on with what is left; a smaller --together takes less memory.",
                code="E510",
            ) from None
        except KeyboardInterrupt:  # a second Ctrl-C
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        finally:
            asked.value = True  # what is still going saves; nothing new begins


def _start_method() -> Any:
    """How processes are started: on Linux as copies of one that has imported PyTorch, which takes seconds."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["alexnet.experiments.together", "torch._dynamo"])
    return context


def _places() -> dict[str, str]:
    """What the environment says now of folders and language: that of a server of copies is of when it was started."""
    return {name: value for name, value in os.environ.items() if name.startswith(("ALEXNET_", "XDG_"))}


@contextmanager
def _threads_of_children(share: int) -> Iterator[None]:
    """Lets processes that are started in the block have so many threads from the beginning."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = str(share)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _Worker:
    """What a process of `in_processes` knows."""

    requests = Requests()
    asked: Any = None  # a byte that is 1 when all are to stop
    parent = 0  # ends with the process that wants the rows
    threads = 1


def _begin(asked: Any, threads: int, places: Mapping[str, str]) -> None:
    """Ctrl-C in a terminal reaches every process: only the first answers to it, so that all are asked once."""
    os.environ.update(places)
    _Worker.asked, _Worker.parent, _Worker.threads = asked, os.getppid(), threads
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: _ask())
    torch.set_num_threads(threads)


def _ask() -> None:
    _Worker.requests.stop = signal.SIGTERM


def _work(job: Job, runs: Path) -> Row | None:
    """Does a run; None when it was asked to stop, or is alone because the process that started it is gone."""
    steps: Any = None
    while True:
        if _Worker.asked.value or os.getppid() != _Worker.parent:
            _ask()
        if steps is None:
            if _Worker.requests.stop is not None:
                return None
            steps = job_steps(job, runs, CPU, _Worker.requests, _Worker.threads)
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]

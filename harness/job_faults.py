"""Jobs of several processes, and what disturbs them. Linux only."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from alexnet.distributed.launch import SHARE_STORE
from alexnet.errors import AlexNetError
from alexnet.runs.checkpoint import checkpoint_name
from alexnet.runs.run import open_run
from alexnet.storage.checksums import read_sums

T = TypeVar("T")

ALEXNET = (sys.executable, "-m", "alexnet")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
# A node counts as dead after five seconds: after two, one that waits for its turn on a busy machine did, too.
QUICK = "last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=5,join_timeout=60"
DEADLINE = 400.0  # seconds after which a condition that does not come true is a failure


def wait_for(condition: Callable[[], T | None], what: str, deadline: float = DEADLINE) -> T:
    """What the condition gives, once it gives something."""
    end = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"in vain: {what}")
        time.sleep(0.02)
    return found


def torchrun(*arguments: Any, restarts: int = 3) -> tuple[Any, ...]:
    """torchrun on one machine with two processes of alexnet."""
    return (*TORCHRUN, "--nproc-per-node=2", f"--max-restarts={restarts}", "-m", "alexnet", *arguments)


def agent(meeting: Path, *arguments: Any, restarts: int = 3) -> tuple[Any, ...]:
    """torchrun as one of one or two nodes that meet in a file, with one process of alexnet."""
    where = ("--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}", f"--rdzv-conf={QUICK},store_type=file")
    nodes = ("--nnodes=1:2", "--nproc-per-node=1", "--rdzv-id=job", "--local-addr=127.0.0.1")
    return (*TORCHRUN, *nodes, *where, f"--max-restarts={restarts}", "-m", "alexnet", *arguments)


class Job:
    """A command with all that it starts, and what it says in a file."""

    def __init__(self, command: tuple[str, ...], said: Path, environment: Mapping[str, str] | None = None):
        self.path = said
        with said.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env={**os.environ, SHARE_STORE: "1", **(environment or {})},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return self.path.read_text(errors="replace")

    def workers(self) -> dict[int, int]:
        """Rank -> process id of the processes it has started."""
        return {rank: pid for pid, rank, parent in processes() if parent == self.pid}

    def worker(self, rank: int) -> int:
        """The process id of a worker, once it is there."""
        return wait_for(lambda: self.workers().get(rank), f"worker {rank} of {self.said()}")

    def kill(self) -> None:
        """Kills it and its workers, as a machine that fails."""
        for pid in (self.pid, *self.workers().values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self, deadline: float = DEADLINE) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end: {self.said()}") from None


@contextmanager
def job(*command: Any, said: Path, environment: Mapping[str, str] | None = None) -> Iterator[Job]:
    """A job of which nothing is left afterwards."""
    started = Job(tuple(map(str, command)), said, environment)
    try:
        yield started
    finally:
        started.kill()


def processes() -> Iterator[tuple[int, int, int]]:
    """Process id, rank and parent of all workers on this machine, dead ones that nobody has buried left out."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            variables = (folder / "environ").read_bytes().split(b"\0")
            rank = next((v for v in variables if v.startswith(b"RANK=")), b"")
            if rank and state != "Z":
                yield int(folder.name), int(rank.removeprefix(b"RANK=")), int(parent)


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def saved(run: Path) -> int:
    """The step of the last checkpoint, 0 before the first."""
    try:
        name = checkpoint_name(open_run(run), "LAST")
    except (AlexNetError, OSError):  # it is being made
        return 0
    return int(name.removeprefix("step-")) if name else 0


def final(run: Path) -> dict[str, str]:
    """Checksums of the last network and of all that training needs."""
    sums = read_sums(run / "checkpoints" / str(checkpoint_name(open_run(run), "LAST")))
    return {name: sums[name] for name in ("model.safetensors", "training.safetensors")}

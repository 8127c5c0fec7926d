"""Jobs of several processes, and the faults that tests inject into them. Linux only."""

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
from harness.forking import NAMED, Copy, can_copy

T = TypeVar("T")

ALEXNET = (sys.executable, "-m", "alexnet")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
# A node counts as dead after five seconds. With two seconds, nodes on a busy machine counted as dead too.
QUICK = "last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=5,join_timeout=60"
DEADLINE = 400.0  # seconds after which a condition that is still false is a failure


def wait_for(condition: Callable[[], T | None], what: str, deadline: float = DEADLINE) -> T:
    """Waits until the condition returns a true value, and returns this value."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for: {what}")
        time.sleep(0.02)
    return value


def torchrun(*arguments: Any, restarts: int = 3) -> tuple[Any, ...]:
    """The command for torchrun with two processes of alexnet on one machine."""
    return (*TORCHRUN, "--nproc-per-node=2", f"--max-restarts={restarts}", "-m", "alexnet", *arguments)


def agent(rendezvous: Path, *arguments: Any, restarts: int = 3) -> tuple[Any, ...]:
    """The command for torchrun on one of one or two nodes with one process each; the rendezvous is in a file."""
    backend = ("--rdzv-backend=c10d", f"--rdzv-endpoint={rendezvous}", f"--rdzv-conf={QUICK},store_type=file")
    nodes = ("--nnodes=1:2", "--nproc-per-node=1", "--rdzv-id=job", "--local-addr=127.0.0.1")
    return (*TORCHRUN, *nodes, *backend, f"--max-restarts={restarts}", "-m", "alexnet", *arguments)


class Job:
    """A running command with all processes that it starts; its output is in a file.

    Args:
        real: let the system start it, and it its workers, instead of copies; see `harness.forking`.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        said: Path,
        environment: Mapping[str, str] | None = None,
        *,
        real: bool = False,
    ):
        self.path, env = said, {**os.environ, SHARE_STORE: "1", **(environment or {})}
        self.process: Any
        with said.open("wb") as file:
            if can_copy(command) and not real:
                self.process = Copy(command, said, env)
            else:
                self.process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=env)

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def said(self) -> str:
        return self.path.read_text(errors="replace")

    def workers(self) -> dict[int, int]:
        """Rank -> process id of the workers that it has started."""
        return {rank: pid for pid, rank, parent in processes() if parent == self.pid}

    def worker(self, rank: int) -> int:
        """Waits until a worker runs, and returns its process id."""
        return wait_for(lambda: self.workers().get(rank), f"worker {rank} of {self.said()}")

    def kill(self) -> None:
        """Kills the command and its workers, as if the machine failed."""
        for pid in (self.pid, *self.workers().values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self, deadline: float = DEADLINE) -> int:
        """Waits until the command has ended, and returns its exit code."""
        try:
            return int(self.process.wait(deadline))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end: {self.said()}") from None


@contextmanager
def job(*command: Any, said: Path, environment: Mapping[str, str] | None = None, real: bool = False) -> Iterator[Job]:
    """Runs a job during the block and kills what is left of it afterwards."""
    started = Job(tuple(map(str, command)), said, environment, real=real)
    try:
        yield started
    finally:
        started.kill()


def processes() -> Iterator[tuple[int, int, int]]:
    """Process id, rank and parent of all workers on this machine, without zombies."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            variables = (folder / "environ").read_bytes().split(b"\0")
            rank = next((v.decode() for v in variables if v.startswith(b"RANK=")), "").removeprefix("RANK=")
            name = (folder / "comm").read_text().strip()
            rank = name.removeprefix(NAMED) if name.startswith(NAMED) else rank
            if rank and state != "Z":
                yield int(folder.name), int(rank), int(parent)


def alive(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def saved(run: Path) -> int:
    """The step of the last checkpoint, 0 before the first."""
    try:
        name = checkpoint_name(open_run(run), "LAST")
    except (AlexNetError, OSError):  # the run folder is being created
        return 0
    return int(name.removeprefix("step-")) if name else 0


def final(run: Path) -> dict[str, str]:
    """Checksums of the last network and of the state of training."""
    sums = read_sums(run / "checkpoints" / str(checkpoint_name(open_run(run), "LAST")))
    return {name: sums[name] for name in ("model.safetensors", "training.safetensors")}

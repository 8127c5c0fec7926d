"""Behavior of a worker process: stop with the launcher, exit without interpreter clean-up, wake stopped workers.

It also receives signals: a request to save is forwarded to the main process, which alone writes checkpoints.
"""

import os
import platform
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LAUNCHER = "ALEXNET_LAUNCHER"  # the process id of `alexnet train --nproc`
POLL = 0.5  # seconds between two checks whether the parent still runs
MAIN_WORKER = "main-worker"  # file next to the one that ALEXNET_ENDED names: the process id of the main process

ProcessLocation = tuple[str, int]  # name of the machine, process id


def process_location() -> ProcessLocation:
    """Machine and id of this process."""
    return platform.node(), os.getpid()


def end_with_parent() -> None:
    """Sends SIGTERM to this process, so that it saves and stops, when the process that started it is gone.

    torchrun gives every worker its own session, so nothing else would end a worker when the agent is killed.
    """
    parent = int(os.environ.get(LAUNCHER, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(POLL)
        os.kill(os.getpid(), signal.SIGTERM)

    if os.name == "posix":
        threading.Thread(target=watch, daemon=True, name="end with parent").start()


@contextmanager
def exit_without_cleanup() -> Iterator[None]:
    """Ends a worker of torchrun directly after the block, without the clean-up of the interpreter.

    With PyTorch loaded this clean-up takes more than a second, and the agent waits for it. It can hang in threads that
    wait for a process that is gone, or be aborted by a gloo thread that still holds tensors (pytorch/pytorch#190489).
    Files are closed and locks are released before.
    """
    code: Any = None
    try:
        yield
    except SystemExit as error:
        code = error.code
    if "RANK" not in os.environ or not isinstance(code, int | None):
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


def ignore_save_requests() -> None:
    """Ignores SIGUSR1, which would end this process, until training handles it."""
    if hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def wake_stopped(locations: Iterable[ProcessLocation]) -> None:
    """Continues stopped processes on this machine, so that they notice that the others are gone.

    It has no effect on a running process. Without it, torchrun's agent waits 30 seconds before it kills a stopped one.
    """
    this_machine, own_pid = process_location()
    for machine, pid in locations:
        if machine == this_machine and pid != own_pid and hasattr(signal, "SIGCONT"):
            with suppress(OSError):
                os.kill(pid, signal.SIGCONT)


def register_main_worker(folder: Path) -> None:
    """Writes the id of this process, the main one, for the launcher."""
    temporary = folder / f"{MAIN_WORKER}.{os.getpid()}"
    temporary.write_text(str(os.getpid()))
    temporary.replace(folder / MAIN_WORKER)


def signal_main_worker(folder: Path, number: int) -> None:
    """Sends a signal to the main process; does nothing if there is none."""
    with suppress(OSError, ValueError):
        os.kill(int((folder / MAIN_WORKER).read_text()), number)

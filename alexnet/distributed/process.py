"""What a process that others started owes them: ends when they are gone, and fast, hears signals, wakes the stopped."""

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
POLL = 0.5  # seconds between two looks at whether the parent is still there
LEADER = "leader"  # file next to the one that ALEXNET_ENDED names: the process id of the worker that saves

ProcessLocation = tuple[str, int]  # machine and process id


def process_location() -> ProcessLocation:
    """Where this process is."""
    return platform.node(), os.getpid()


def end_with_parent() -> None:
    """Asks this process to save and stop, as SIGTERM does, once the one that started it is gone.

    torchrun gives every worker a session of its own, so that nothing else would end it when the agent is killed.
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
    """Within it a process that torchrun started, and that is done or leaves with a code, ends without more ado.

    The interpreter's own clean-up takes more than a second with PyTorch loaded, while the agent waits for it, and can
    be held up by threads that wait for a process that is gone, or aborted by gloo's, which may still hold tensors
    (pytorch/pytorch#190489). Files are closed and locks given back before.
    """
    leaving: Any = None
    try:
        yield
    except SystemExit as error:
        leaving = error.code
    if "RANK" not in os.environ or not isinstance(leaving, int | None):
        sys.exit(leaving)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(leaving or 0)


def ignore_save_requests() -> None:
    """Makes SIGUSR1, which would end this process, say nothing until training listens to it."""
    if hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def wake_stopped(places: Iterable[ProcessLocation]) -> None:
    """Lets the processes on this machine that were stopped run, so that they notice that the others have left.

    A process that runs does not notice. Without it torchrun's agent waits 30 seconds before it kills a stopped one.
    """
    here, own = process_location()
    for machine, pid in places:
        if machine == here and pid != own and hasattr(signal, "SIGCONT"):
            with suppress(OSError):
                os.kill(pid, signal.SIGCONT)


def register_main_worker(folder: Path) -> None:
    """Tells the launcher which process saves."""
    temporary = folder / f"{LEADER}.{os.getpid()}"
    temporary.write_text(str(os.getpid()))
    temporary.replace(folder / LEADER)


def signal_main_worker(folder: Path, number: int) -> None:
    """Sends the worker that saves a signal; nothing if there is none."""
    with suppress(OSError, ValueError):
        os.kill(int((folder / LEADER).read_text()), number)

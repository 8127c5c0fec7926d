"""Processes that start at once: copies of one that has imported PyTorch and alexnet already, which takes seconds.

They are processes like others: they can be killed, stopped and waited for, and have their own environment and output.
What differs from a program that the system starts is only what happened before its first line. Where that matters, a
test starts a real one. Linux only.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NoReturn

CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
PRELOADED = (
    "harness.missing_packages",  # first: copies do without what the tests do without
    *("alexnet.cli.main", "alexnet.cli.train", "alexnet.training.loop", "alexnet.training.replay"),
    *("alexnet.experiments.together", "alexnet.api.train", "alexnet.report.run_report", "matplotlib.figure"),
    *("harness.warm_loops", "torch._dynamo"),  # which the first optimizer imports, longer than all else
    *("torch.distributed.run", "torch.distributed.launcher.api", "harness.killed_training", "harness.group_worker"),
)
NAMED = "rank "  # how a worker is called in /proc/PID/comm, with its rank; its /proc/PID/environ is not its own


def preload() -> None:
    """Starts the server that all copies come from, unless it runs, and says what they have imported.

    Before the library starts processes of its own, which come from the same server.
    """
    CONTEXT.set_forkserver_preload(list(PRELOADED))
    if sys.platform == "linux":
        forkserver.ensure_running()


class Copy:
    """A running copy, with the interface of `subprocess.Popen`.

    Args:
        command: PYTHON [-W ignore] -m MODULE ... or -c CODE.
        output: the file that gets stdout and stderr.
        env: its environment.
    """

    def __init__(self, command: Sequence[str], output: str | Path, env: Mapping[str, str]):
        preload()
        self._process = CONTEXT.Process(target=_run, args=(list(command), str(output), dict(env), os.getcwd()))
        self._process.start()

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("copy", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()


def run(command: Sequence[str], output: Path, **environment: str) -> str:
    """Runs a program in a copy, or as the system starts it where there are none; it must end well; what it said."""
    given = {**os.environ, **environment}
    if can_copy(command):
        ended = Copy(command, output, given).wait()
    else:
        with output.open("wb") as file:
            ended = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=given).returncode
    said = output.read_text()
    assert ended == 0, said
    return said


def can_copy(command: Sequence[str]) -> bool:
    """Whether a command is a Python program that a copy can run."""
    return sys.platform == "linux" and command[0] == sys.executable and command[1] in ("-m", "-c")


def _run(command: list[str], output: str, env: dict[str, str], folder: str) -> None:
    with open(output, "ab", buffering=0) as file, open(os.devnull, "rb") as nothing:
        for number, place in ((nothing.fileno(), 0), (file.fileno(), 1), (file.fileno(), 2)):
            os.dup2(number, place)
    os.chdir(folder)
    _begin(env)
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

    SubprocessHandler._popen = lambda handler, args, env: _Worker(args, env)  # type: ignore[assignment]
    _program(command[1:])


def _begin(env: Mapping[str, str]) -> None:
    """Gives this process an environment, and what its libraries read from it when they are loaded."""
    import torch

    os.environ.clear()
    os.environ.update(env)
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115


def _program(arguments: list[str]) -> None:
    """Runs -m MODULE ... or -c CODE, as the interpreter does."""
    kind, what, *rest = arguments
    sys.argv = [what, *rest]
    if kind == "-c":
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
        return
    warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning)  # that is the point of a copy
    runpy.run_module(what, run_name="__main__", alter_sys=True)


class _Worker:
    """A worker of torchrun's agent: a copy of the agent, which is its parent as it would be of a real one."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]):
        self.args, self.returncode = command, None
        sys.stdout.flush(), sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(list(command), env)

    def _become(self, command: list[str], env: Mapping[str, str]) -> NoReturn:
        code: Any = 1
        try:
            os.setsid()
            Path("/proc/self/comm").write_text(f"{NAMED}{env['RANK']}")
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.closerange(3, 256)  # the sockets of the agent
            _begin(env)
            _program([word for word in command[1:] if word != "-u"])
            code = 0
        except SystemExit as error:
            code = error.code
        finally:
            os._exit(code if isinstance(code, int) else int(code is not None))

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (timeout if timeout is not None else 1e9)
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

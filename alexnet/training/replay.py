"""Proof that a run resumes exactly: trains a few steps twice, once interrupted by `kill -9`, and compares.

`python -m alexnet.training.replay RUN PREPARED STEP DEVICE THREADS` is the process that kills itself at that step.
"""

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from alexnet.data.dataset import Prepared
from alexnet.data.remote import open_location
from alexnet.errors import ResourceError
from alexnet.runs.checkpoint import MODEL, TRAINING, load_checkpoint, name_of
from alexnet.runs.run import RunFolder, create_run, open_run
from alexnet.storage.checksums import read_sums
from alexnet.training.loop import train
from alexnet.training.monitor import Monitor, Progress, planned_end

STEPS = 8


@dataclass(frozen=True)
class Replay:
    """The result of a replay."""

    steps: int
    killed_at: int  # the last step before the kill; it was not saved
    resumed_from: int  # the step of the checkpoint
    different: tuple[str, ...]  # files of the last checkpoint that are not bit-identical


class _Killer(Monitor):
    """A monitor that kills its own process after a step, before it is saved."""

    def __init__(self, at: int):
        self.at = at

    def step(self, progress: Progress) -> None:
        if progress.step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def replay(run: RunFolder, prepared: Prepared, device: torch.device, steps: int = STEPS) -> Replay:
    """Trains the first steps of a recipe twice, once without interruption and once killed and resumed, and compares.

    Raises:
        ResourceError: the process to be killed ended in another way.
    """
    with tempfile.TemporaryDirectory(prefix="alexnet-replay-") as folder:
        data = dict(run.data)
        uninterrupted, killed = (create_run(Path(folder) / n, run.recipe, run.class_names, data) for n in ("a", "b"))
        _some_steps(uninterrupted, prepared, device, steps)
        steps = _last_step(uninterrupted)  # fewer, where the run has fewer or ran out of patience
        kill_at = steps // 2 + 1
        command = [sys.executable, "-m", "alexnet.training.replay", str(killed.folder), prepared.location, str(kill_at)]
        command += [str(device), str(torch.get_num_threads())]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode != -signal.SIGKILL:
            messages = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
            raise ResourceError(
                f"the process to be killed ended by itself: {messages[-1]}",
                fix="Run the recipe by hand to see why: alexnet train DATA.",
                code="E503",
            )
        resumed_from = _last_step(killed)
        _some_steps(killed, prepared, device, steps - resumed_from)
        sums = [read_sums(each.folder / "checkpoints" / name_of(steps)) for each in (uninterrupted, killed)]
    return Replay(steps, kill_at, resumed_from, tuple(n for n in (MODEL, TRAINING) if sums[0][n] != sums[1][n]))


def _some_steps(run: RunFolder, prepared: Prepared, device: torch.device, steps: int) -> None:
    with planned_end():
        train(run, prepared, device=device, max_steps=steps)


def _last_step(run: RunFolder) -> int:
    stored = load_checkpoint(run)
    return 0 if stored is None else stored.state.step


def _main(folder: str, prepared: str, at: str, device: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    train(
        open_run(Path(folder)),
        open_location(prepared),
        device=torch.device(device),
        monitor=_Killer(int(at)),
        save_seconds=0.0,
    )


if __name__ == "__main__":
    _main(*sys.argv[1:])

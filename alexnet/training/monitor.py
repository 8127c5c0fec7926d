"""What training tells while it goes on, and the signals that it answers between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from alexnet.runs.checkpoint import TrainingState
from alexnet.training.schedule import Clock, Moment
from alexnet.training.step import StepResult


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step, for whoever shows it."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # of the whole run, counted from 1
    steps: int
    steps_per_epoch: int
    loss: float  # running mean over the epoch
    top1_error: float  # on the augmented training images, in [0, 1]
    lr: float
    images_per_second: float

    @classmethod
    def of(cls, state: TrainingState, clock: Clock, at: Moment, result: StepResult, seconds: float) -> "Progress":
        """The progress after the step `at`, which took so many seconds."""
        return cls(
            epoch=at.epoch,
            epochs=clock.epochs,
            step=at.step + 1,
            steps=clock.steps,
            steps_per_epoch=clock.steps_per_epoch,
            loss=state.loss_sum / state.images,
            top1_error=state.errors / state.images,
            lr=result.lr,
            images_per_second=result.count / seconds,
        )


class Monitor(Protocol):
    """What training tells while it goes on."""

    def step(self, progress: Progress) -> None:
        """After every step."""

    def epoch(self, row: dict[str, Any]) -> None:
        """After every epoch: its row of metrics.jsonl, errors in [0, 1]."""

    def note(self, text: str) -> None:
        """What the watchdog found, what was damaged, what is not exact."""


class Silent:
    """A monitor that shows nothing."""

    def step(self, progress: Progress) -> None:
        """Shows nothing."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        """Shows nothing; notes stand in the metrics too."""


SILENT = Silent()  # the default of everything that trains


class Interrupted(Exception):
    """Training was asked to stop and has saved where it stands."""

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"stopped at step {step}")
        self.step = step
        self.signal_number = signal_number


@dataclass
class Requests:
    """What signals have requested since training began."""

    stop: int | None = None  # the number of the signal
    save: bool = False

    def take_save(self) -> bool:
        """Whether a checkpoint was requested since this was last called."""
        save, self.save = self.save, False
        return save


@contextmanager
def stop_signals() -> Iterator[Requests]:
    """Within it, Ctrl-C and SIGTERM ask to save and stop, SIGUSR1 to save; a second Ctrl-C leaves at once."""
    requests = Requests()

    def stop(number: int, frame: FrameType | None) -> None:
        if requests.stop is not None:
            raise KeyboardInterrupt
        requests.stop = number

    def save(number: int, frame: FrameType | None) -> None:
        requests.save = True

    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    handlers: dict[int, Any] = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        handlers[signal.SIGUSR1] = save
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Signals while training goes on: they only ask, and training answers between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol


@dataclass
class Asked:
    """What signals have asked for since training began."""

    stop: int | None = None  # the number of the signal
    save: bool = False

    def saving(self) -> bool:
        """Whether a checkpoint was asked for since this was last called."""
        save, self.save = self.save, False
        return save


@contextmanager
def stop_signals() -> Iterator[Asked]:
    """Within it, Ctrl-C and SIGTERM ask to save and stop, SIGUSR1 to save; a second Ctrl-C leaves at once."""
    asked = Asked()

    def stop(number: int, frame: FrameType | None) -> None:
        if asked.stop is not None:
            raise KeyboardInterrupt
        asked.stop = number

    def save(number: int, frame: FrameType | None) -> None:
        asked.save = True

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    handlers: dict[int, Any] = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        handlers[signal.SIGUSR1] = save
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # of the whole run, counted from 1
    steps: int
    steps_per_epoch: int
    loss: float  # running mean over the epoch
    top1_error: float  # on the augmented training pictures, in [0, 1]
    lr: float
    images_per_second: float


class Monitor(Protocol):
    """What training tells while it goes on."""

    def step(self, progress: Progress) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...

    def note(self, text: str) -> None: ...


class Interrupted(Exception):
    """Training was asked to stop and has saved where it stands."""

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"stopped at step {step}")
        self.step = step
        self.signal_number = signal_number


class Silent:
    """A monitor that shows nothing."""

    def step(self, progress: Progress) -> None:
        """Shows nothing."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Shows nothing."""

    def note(self, text: str) -> None:
        """Shows nothing; notes stand in the metrics."""

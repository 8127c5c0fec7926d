"""Signals while training goes on: they only ask, and training answers between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any


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

"""Progress that training reports while it runs, and the signals that it handles between two steps."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from alexnet.errors import UsageError

if TYPE_CHECKING:
    from alexnet.runs.checkpoint import TrainingState
    from alexnet.training.schedule import Clock, Moment
    from alexnet.training.step import StepResult


@dataclass(frozen=True)
class Progress:
    """The progress of a run after a step, to be displayed.

    >>> import alexnet
    >>> class Steps(alexnet.Monitor):
    ...     def step(self, progress: alexnet.Progress) -> None:
    ...         print(f"{progress.step} of {progress.steps}: loss {progress.loss:.2f}")
    """

    epoch: int  # counted from 1
    epochs: int
    step: int  # of the whole run, counted from 1
    steps: int
    steps_per_epoch: int
    loss: float  # mean over the epoch so far
    top1_error: float  # on the augmented training images, in [0, 1]
    lr: float
    images_per_second: float

    @classmethod
    def of(
        cls, state: "TrainingState", clock: "Clock", at: "Moment", result: "StepResult", seconds: float
    ) -> "Progress":
        """The progress after the step `at`, which took `seconds`."""
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


class Monitor:
    """What training tells while it runs; every method does nothing, so a callback writes only those it needs.

    >>> import alexnet
    >>> class Losses(alexnet.Monitor):
    ...     def epoch(self, row):
    ...         print(row["epoch"], row["train_loss"])
    """

    def step(self, progress: Progress) -> None:
        """Called after every step."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Called after every epoch with its row of metrics.jsonl; errors are in [0, 1]."""

    def note(self, text: str) -> None:
        """Called with every note: a warning of the watchdog, a damaged checkpoint, or why a run is not exact."""


SILENT = Monitor()  # the default of all functions that train; the metrics have the notes too


class Monitors(Monitor):
    """Tells several monitors, in order."""

    def __init__(self, monitors: Sequence[Monitor]):
        self._monitors = tuple(monitors)

    def step(self, progress: Progress) -> None:
        """Passes on the progress."""
        for each in self._monitors:
            each.step(progress)

    def epoch(self, row: dict[str, Any]) -> None:
        """Passes on the row."""
        for each in self._monitors:
            each.epoch(row)

    def note(self, text: str) -> None:
        """Passes on the note."""
        for each in self._monitors:
            each.note(text)


class TensorBoard(Monitor):
    """Writes loss, errors and learning rate for TensorBoard: of every step, and of every epoch.

    Args:
        folder: where the event files go; `tensorboard --logdir FOLDER` shows them.

    Raises:
        UsageError: the package tensorboard is not installed.

    >>> import alexnet
    >>> run = alexnet.train("photos/", callbacks=[alexnet.TensorBoard("logs")])  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "writing for TensorBoard needs the package tensorboard, which is not installed",
                fix="Install it: pip install 'alexnet[tensorboard]'",
                code="E226",
            ) from None
        self._writer = SummaryWriter(str(folder))
        self._step = 0

    def step(self, progress: Progress) -> None:
        """Writes step/loss, step/top1_error, step/lr and step/images_per_second."""
        self._step = progress.step
        for name in ("loss", "top1_error", "lr", "images_per_second"):
            self._writer.add_scalar(f"step/{name}", getattr(progress, name), progress.step)

    def epoch(self, row: dict[str, Any]) -> None:
        """Writes every number of the row, as epoch/NAME."""
        for name, value in row.items():
            if name != "epoch" and isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(f"epoch/{name}", value, row["epoch"])
        self._writer.flush()

    def note(self, text: str) -> None:
        """Writes the note at the last step."""
        self._writer.add_text("note", text, self._step)
        self._writer.flush()


class Interrupted(Exception):
    """Training was asked to stop and has saved a checkpoint.

    >>> import alexnet
    >>> try:
    ...     run = alexnet.resume("runs/last")
    ... except alexnet.Interrupted as stopped:
    ...     print(f"saved at step {stopped.step}")
    """

    def __init__(self, step: int, signal_number: int, *, asked: bool = True):
        super().__init__(f"stopped at step {step}")
        self.step = step
        self.signal_number = signal_number
        self.asked = asked  # by a signal; False: it has taken the steps that it was to take


@contextmanager
def planned_end() -> Iterator[None]:
    """Lets training in the block end after `max_steps`; where a signal asked for the end, it is still told."""
    try:
        yield
    except Interrupted as stopped:
        if stopped.asked:
            raise


@dataclass
class Requests:
    """Requests by signals since training began."""

    stop: int | None = None  # the number of the signal
    save: bool = False

    def take_save(self) -> bool:
        """Whether a checkpoint was requested since this was last called."""
        save, self.save = self.save, False
        return save


@contextmanager
def stop_signals() -> Iterator[Requests]:
    """Handles signals in the block: Ctrl-C and SIGTERM save and stop, SIGUSR1 saves, a second Ctrl-C stops at once."""
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

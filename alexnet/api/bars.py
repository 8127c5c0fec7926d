"""Progress for people: bars on a terminal, plain lines in a file or a pipe, one bar that is redrawn in a notebook."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from html import escape
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from alexnet.language.speak import said
from alexnet.progress import ProgressCallback, silent
from alexnet.text import clock, wrapped
from alexnet.training.monitor import Monitor
from alexnet.training.monitor import Progress as TrainingProgress

PIPE_WIDTH = 160  # columns where there is no terminal to ask
PROSE_WIDTH = 80
PLAIN_SECONDS = 30.0  # between two plain lines inside an epoch
REDRAW_SECONDS = 0.2  # between two drawings in a notebook
HEAD = "epoch    time crop      lr |  training: loss   error | validation: loss   error"


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or 160 columns in a file or a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else PIPE_WIDTH)


def prose_width(out: Console) -> int:
    """Columns of text: those of the terminal, or 80 in a file or a pipe, where tables may be wider."""
    return out.width if out.is_terminal else PROSE_WIDTH


def progress_callback(progress: bool | ProgressCallback) -> AbstractContextManager[ProgressCallback]:
    """What a caller asked for as `progress=`: True shows bars, False nothing, a function is called itself."""
    if isinstance(progress, bool):
        return bars() if progress else nullcontext(silent)
    return nullcontext(progress)


@contextmanager
def bars() -> Iterator[ProgressCallback]:
    """Shows a bar for each stage of the work, or a line now and then where nothing can be redrawn."""
    out = console(stderr=True)
    redraw = notebook_display()
    if redraw is not None:
        yield _in_notebook(redraw)
    elif not out.is_terminal:
        yield _plain_lines(out)
    else:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
        with Progress(*columns, console=out, transient=True) as shown:
            tasks: dict[str, TaskID] = {}

            def tell(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = shown.add_task(said(stage), total=None)
                shown.update(tasks[stage], completed=done, total=total)

            yield tell


class Remaining(ProgressColumn):
    """The time that is left, from the mean speed of this call."""

    def render(self, task: Task) -> Text:
        """Dashes until something is done."""
        done = task.completed - task.fields.get("first", 0)
        if not done or task.elapsed is None or task.total is None:
            return Text("ETA --:--", style="cyan")
        return Text(f"ETA {clock(task.elapsed / done * (task.total - task.completed))}", style="cyan")


class TrainingBars(Monitor):
    """Shows a run: a bar with its ETA and one line an epoch, within 80 columns."""

    def __init__(self) -> None:
        self.out = console()
        self.redraw = notebook_display()
        self.bars: Progress | None = None
        self.started = time.monotonic()
        self.first_step: int | None = None
        self.last_line = self.started
        self.lines: list[str] = []

    def __enter__(self) -> "TrainingBars":
        if self.redraw is None and self.out.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(12),
                TextColumn("{task.percentage:>3.0f}%"),
                Remaining(),
            )
            self.bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=self.out, transient=True)
            self.bars.start()
            self.epoch_task = self.bars.add_task(said("epoch"), total=None, note="")
            self.run_task = self.bars.add_task(said("run"), total=None, note="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bars is not None:
            self.bars.stop()
        if self.redraw is not None:
            self.redraw(f"<pre>{escape(chr(10).join(self.lines))}</pre>")

    def step(self, progress: TrainingProgress) -> None:
        """Moves the bars, or prints a plain line now and then."""
        if self.first_step is None:
            self.first_step = progress.step - 1
            self.started = time.monotonic()
        figures = said(f"loss {progress.loss:.3f}  error {100 * progress.top1_error:.1f}%")
        inside = (progress.step - 1) % progress.steps_per_epoch + 1
        name = said(f"epoch {progress.epoch}/{progress.epochs}")
        if self.bars is not None:
            if inside == 1:
                self.bars.reset(self.epoch_task, total=progress.steps_per_epoch)
            self.bars.update(
                self.epoch_task, completed=inside, total=progress.steps_per_epoch, description=name, note=figures
            )
            speed = said(f"{progress.images_per_second:.0f} images/s")
            self.bars.update(
                self.run_task, completed=progress.step, total=progress.steps, first=self.first_step, note=speed
            )
            return
        pause = PLAIN_SECONDS if self.redraw is None else REDRAW_SECONDS
        if time.monotonic() - self.last_line <= pause:
            return
        self.last_line = time.monotonic()
        left = (self.last_line - self.started) / (progress.step - self.first_step) * (progress.steps - progress.step)
        step = said(f"step {inside}/{progress.steps_per_epoch}")
        line = f"{name} {step}  {figures}  ETA {clock(left)}"
        if self.redraw is None:
            self.out.print(line)
        else:
            shown = escape("\n".join(self.lines))
            self.redraw(_html_bar(line, progress.step, progress.steps) + f"<pre>{shown}</pre>")

    def epoch(self, row: dict[str, Any]) -> None:
        """Prints the line of an epoch that ended with an evaluation on the validation split."""
        self.last_line = time.monotonic()
        if "val_top1_error" in row:
            if not self.lines:
                self._print(said(HEAD))
            self._print(
                f"{row['epoch']:>5} {clock(row['seconds']):>7} {row['crop_size']:>4} {row['lr']:>7.1e} | "
                f"{row['train_loss']:>15.3f} {100 * row['train_top1_error']:>6.1f}% | "
                f"{row['val_loss']:>16.3f} {100 * row['val_top1_error']:>6.1f}%"
            )

    def note(self, text: str) -> None:
        """Prints what the watchdog found, on a line of its own."""
        self.last_line = time.monotonic()
        self._print(said(f"note: {text}"))

    def _print(self, line: str) -> None:
        self.lines.append(line)
        if self.redraw is None:
            self.out.print(Text(wrapped(line, prose_width(self.out), len("note: "))), soft_wrap=True)


def notebook_display() -> Callable[[str], None] | None:
    """In a notebook a function that shows HTML in one place, again and again; elsewhere None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import HTML, display

    handle: Any = None

    def redraw(html: str) -> None:
        nonlocal handle
        if handle is None:
            handle = display(HTML(html), display_id=True)
        else:
            handle.update(HTML(html))

    return redraw


def in_notebook() -> bool:
    """Whether what is shown goes into a notebook."""
    return notebook_display() is not None


def _in_notebook(redraw: Callable[[str], None]) -> ProgressCallback:
    last = 0.0

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > REDRAW_SECONDS or done == total:
            redraw(_html_bar(f"{stage}: {done} of {total}", done, total))
            last = time.monotonic()

    return tell


def _html_bar(text: str, done: int, total: int) -> str:
    return f'<progress value="{done}" max="{max(total, 1)}" style="width:20em"></progress> {escape(text)}'


def _plain_lines(out: Console) -> ProgressCallback:
    last = time.monotonic()

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > PLAIN_SECONDS:
            out.print(said(f"{stage}: {done} of {total}"))
            last = time.monotonic()

    return tell

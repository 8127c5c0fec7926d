"""What a person sees while it works: bars with ETAs on a terminal, plain lines elsewhere, and tables."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
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
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from alexnet.progress import ProgressCallback
from alexnet.text import clock, printable
from alexnet.training.monitor import Progress as TrainingProgress

PIPE_WIDTH = 160  # columns where there is no terminal to ask
PLAIN_SECONDS = 30.0  # between two plain lines inside an epoch


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or 160 columns in a file or a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else PIPE_WIDTH)


class Remaining(ProgressColumn):
    """The time that is left, from the mean speed of this call."""

    def render(self, task: Task) -> Text:
        """Dashes until something is done."""
        done = task.completed - task.fields.get("first", 0)
        if not done or task.elapsed is None or task.total is None:
            return Text("ETA --:--", style="cyan")
        left = task.elapsed / done * (task.total - task.completed)
        return Text(f"ETA {clock(left)}", style="cyan")


@contextmanager
def bars() -> Iterator[ProgressCallback]:
    """A progress callback that shows a bar for each stage on a terminal, and a line every now and then elsewhere."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield _plain_lines(out)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out, transient=True) as shown:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=None)
            shown.update(tasks[stage], completed=done, total=total)

        yield tell


def _plain_lines(out: Console) -> ProgressCallback:
    last = time.monotonic()

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > PLAIN_SECONDS:
            out.print(f"{stage}: {done} of {total}")
            last = time.monotonic()

    return tell


class TrainingMonitor:
    """Shows a run: two bars with ETAs (epoch and whole run) and one line an epoch."""

    def __init__(self) -> None:
        self.out = console()
        self.bars: Progress | None = None
        self.started = time.monotonic()
        self.first_step: int | None = None
        self.last_line = self.started
        self.headed = False

    def __enter__(self) -> "TrainingMonitor":
        if self.out.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(24),
                TextColumn("{task.percentage:>3.0f}%"),
                Remaining(),
            )
            self.bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=self.out, transient=True)
            self.bars.start()
            self.epoch_task = self.bars.add_task("epoch", total=None, note="")
            self.run_task = self.bars.add_task("run", total=None, note="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bars is not None:
            self.bars.stop()

    def step(self, progress: TrainingProgress) -> None:
        """Moves the bars, or prints a plain line now and then."""
        if self.first_step is None:
            self.first_step = progress.step - 1
            self.started = time.monotonic()
        figures = (
            f"loss {progress.loss:.3f}  top-1 error {100 * progress.top1_error:.1f} %  "
            f"rate {progress.lr:.2g}  {progress.images_per_second:.0f} images/s"
        )
        inside = (progress.step - 1) % progress.steps_per_epoch + 1
        if self.bars is not None:
            if inside == 1:
                self.bars.reset(self.epoch_task, total=progress.steps_per_epoch)
            self.bars.update(
                self.epoch_task,
                completed=inside,
                total=progress.steps_per_epoch,
                description=f"epoch {progress.epoch}/{progress.epochs}",
                note=figures,
            )
            self.bars.update(self.run_task, completed=progress.step, total=progress.steps, first=self.first_step)
        elif time.monotonic() - self.last_line > PLAIN_SECONDS:
            self.last_line = time.monotonic()
            per_step = (time.monotonic() - self.started) / (progress.step - self.first_step)
            epoch_left = per_step * (progress.steps_per_epoch - inside)
            run_left = per_step * (progress.steps - progress.step)
            self.out.print(
                f"epoch {progress.epoch}/{progress.epochs} step {inside}/{progress.steps_per_epoch}  {figures}  "
                f"ETA epoch {clock(epoch_left)} run {clock(run_left)}"
            )

    def epoch(self, row: dict[str, Any]) -> None:
        """Prints the line of an epoch that ended with a look at the held-out pictures."""
        self.last_line = time.monotonic()
        if "val_top1_error" not in row:
            return
        if not self.headed:
            self.headed = True
            self.out.print(" epoch     time  crop      rate   train: loss  top-1 error   held out: loss  top-1 error")
        self.out.print(
            f"{row['epoch']:>6} {clock(row['seconds']):>8} {row['crop_size']:>5} {row['lr']:>9.2g} "
            f"{row['train_loss']:>13.3f} {100 * row['train_top1_error']:>10.1f} % "
            f"{row['val_loss']:>16.3f} {100 * row['val_top1_error']:>10.1f} %"
        )

    def note(self, text: str) -> None:
        """Prints what the guard found, on a line of its own."""
        self.last_line = time.monotonic()
        self.out.print(Text(f"note: {text}"))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Prints a table; the first `left` columns are text, the others figures."""
    table = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console().print(table)

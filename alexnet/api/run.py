"""A run after or while it trains: its folder, metrics, curves and report, and proof that nothing in it has changed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from alexnet.api.bars import progress_callback
from alexnet.cues.store import verdict_lines
from alexnet.data.dataset import verify as verify_images
from alexnet.data.prepare import PrepareReport
from alexnet.distributed.launchers import refuse_several
from alexnet.errors import AlexNetError, DivergedError, ResourceError, UntrustedFileError
from alexnet.evaluation.evaluate import Evaluation
from alexnet.kernels.device import choose_device, failure_of
from alexnet.progress import ProgressCallback
from alexnet.recipes.recipe import Recipe
from alexnet.report.run_report import report_run
from alexnet.runs.damage import damage_of
from alexnet.runs.metrics import read_epochs
from alexnet.runs.run import RunFolder, open_run
from alexnet.runs.start import images_of_run
from alexnet.storage.files import disk_errors, user_path
from alexnet.training.replay import Replay, replay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from alexnet.api.model import Model


class Run:
    """A run folder: `alexnet.train` gives one, and `alexnet.Run.open` opens one that is there.

    >>> import alexnet
    >>> run = alexnet.Run.open("runs/last")
    >>> [row["epoch"] for row in run.metrics]
    [1, 2]
    """

    def __init__(self, record: RunFolder):
        self.record = record

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Opens a run folder; `runs/last` is the newest.

        Raises:
            UsageError: it is none.
            UntrustedFileError: its files are damaged.
        """
        return cls(open_run(user_path(folder)))

    @property
    def folder(self) -> Path:
        """Where everything of the run lies."""
        return self.record.folder

    @property
    def recipe(self) -> Recipe:
        """All that decided what the run did."""
        return self.record.recipe

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the outputs."""
        return self.record.class_names

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One row for each epoch so far: losses, errors in [0, 1], learning rate, seconds since the start."""
        return read_epochs(self.folder / "metrics.jsonl")[0]

    def load(self, checkpoint: str = "best", device: str = "auto") -> "Model":
        """The trained network; see `alexnet.load`."""
        from alexnet.api.model import load

        return load(self.folder, checkpoint=checkpoint, device=device)

    def plot(self) -> "Figure":
        """Loss and top-1 error over the epochs, training and validation, as a matplotlib figure."""
        from alexnet.api.notebook import learning_curves

        return learning_curves(self.metrics)

    def report(
        self,
        *,
        progress: bool | ProgressCallback = False,
        on_prepared: Callable[[PrepareReport], None] | None = None,
        device: str = "auto",
    ) -> Path:
        """Evaluates the best network and writes report.html; gives its path.

        Args:
            device: that evaluates, as for `alexnet.load`.

        Raises:
            DataError: the images of the run are gone or have changed.
        """
        return self.evaluate_and_report(progress=progress, on_prepared=on_prepared, device=device)[1]

    def evaluate_and_report(
        self,
        *,
        progress: bool | ProgressCallback = False,
        on_prepared: Callable[[PrepareReport], None] | None = None,
        on_changed: Callable[[str], None] | None = None,
        allow_changed: bool = False,
        device: str | torch.device = "auto",
    ) -> tuple[Sequence[Evaluation], Path]:
        """The evaluations that the report shows, and its path; see `report`.

        Args:
            on_changed: is given a sentence if the folder of the images now holds others than those of the run.
            device: that evaluates, as for `alexnet.load`.
            allow_changed: other images of the same classes will do, as after `resume(allow_inexact=True)`.

        Raises:
            DataError: the images of the run are gone or have changed.
            DivergedError: E403, something unforeseen went wrong; the trained network is untouched.
        """
        place = choose_device(str(device))
        with progress_callback(progress) as told:
            prepared = images_of_run(
                self.record, tell=on_prepared, progress=told, allow_changed=allow_changed, on_changed=on_changed
            )
            try:
                return report_run(self.record, prepared, device=place, progress=told)
            except (AlexNetError, MemoryError, BrokenPipeError):
                raise
            except Exception as error:
                if failure := failure_of(error):
                    raise failure from error
                raise self._without_report(error) from error

    def verdict_lines(self, evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
        """How the network stands against the baseline of simple cues, and what to try if it is not clearly better."""
        return verdict_lines(self.record, evaluations)

    def _without_report(self, error: Exception) -> AlexNetError:
        """What to raise where a report could not be made: the mistake in words, which never is the network's."""
        if isinstance(error, OSError):
            try:
                with disk_errors(f"making the report of {self.folder}"):
                    raise error
            except ResourceError as told:
                return told
        return DivergedError(
            f"the report of {self.folder} could not be made: {type(error).__name__}: {error}",
            fix=f"This is a defect, of alexnet or of a library: please report it. The trained network is untouched: "
            f"alexnet evaluate {self.folder} and alexnet predict {self.folder} IMAGE.jpg use it.",
            code="E403",
        )

    def verify(
        self,
        *,
        replayed: bool = False,
        device: str = "auto",
        progress: bool | ProgressCallback = False,
        on_prepared: Callable[[PrepareReport], None] | None = None,
    ) -> Replay | None:
        """Reads every file of the run, and the images it was trained on, and compares them with their checksums.

        Args:
            replayed: also train the recipe for a few steps twice, once killed in the middle and resumed, and compare.

        Raises:
            UntrustedFileError: E656, a file of the run is damaged.
            DataError: an image is not as it was prepared.
            DivergedError: E404, the replay ended with other bytes.
            UsageError: E270, several processes were started to replay it; E256, it was imported, and not trained here.
        """
        if replayed:
            refuse_several("replay the run")
        if damage := damage_of(self.record):
            raise UntrustedFileError(
                "\n".join(damage),
                fix=f"alexnet resume {self.folder} resumes from the newest intact checkpoint and repairs what it can.",
                code="E656",
            )
        if "imported" in self.record.data and not replayed:
            return None
        with progress_callback(progress) as told:
            prepared = images_of_run(self.record, tell=on_prepared, progress=told)
            verify_images(prepared, told)
        if not replayed:
            return None
        result = replay(self.record, prepared, choose_device(device))
        if result.different:
            raise DivergedError(
                f"not the same: {result.steps} steps, and again with kill -9 at step {result.killed_at}, resumed from "
                f"{result.resumed_from}: {', '.join(result.different)} differ",
                fix="Please report it with environment.json.",
                code="E404",
            )
        return result

    def __repr__(self) -> str:
        rows = self.metrics
        last = f"epoch {rows[-1]['epoch']} of {self.recipe.epochs}" if rows else "no epoch yet"
        error = (
            f", validation error {100 * rows[-1]['val_top1_error']:.1f} %"
            if rows and "val_top1_error" in rows[-1]
            else ""
        )
        return f"Run({self.folder}: {self.recipe.name}, {last}{error})"

    def _repr_html_(self) -> str:
        from alexnet.api.notebook import run_curves

        return run_curves(repr(self), self.metrics)

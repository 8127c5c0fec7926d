"""What the command line needs to train with several processes: start them, join the group, report the end once."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from alexnet.distributed.launchers import check_launcher, started_by_torchrun
from alexnet.distributed.process import (
    end_with_parent,
    ignore_save_requests,
    process_location,
    register_main_worker,
    wake_stopped,
)
from alexnet.errors import AlexNetError, ResourceError, UsageError
from alexnet.kernels.device import check_processes

if TYPE_CHECKING:
    from alexnet.data.dataset import Prepared
    from alexnet.distributed.collectives import ProcessGroup
    from alexnet.runs.run import RunFolder


T = TypeVar("T")


@dataclass(frozen=True)
class Division:
    """How the work is divided among processes.

    Parameters
    ----------
    parallel
        Divide the images of a step among processes (data), give each tower its own process (towers, as in 2012), or
        divide the images up to pool5 and the units of the layers after it (hybrid, as in 2014). The result is that of
        one process up to the order of sums.
    nproc
        How many processes to start on this machine; leave it out under torchrun, which starts them itself.
    exact
        Sum gradients over micro-batches in a fixed order: bit-identical with 1, 2, 4 or 8 processes, but slower.
    max_restarts
        How many times to resume from the last checkpoint after a process died.
    hang_seconds
        Seconds after which a process that does not answer counts as dead.
    """

    parallel: Literal["data", "towers", "hybrid"] | None = None
    nproc: int = 1
    exact: bool = False
    max_restarts: int = 3
    hang_seconds: float = 120.0

    @property
    def scheme(self) -> Any:
        """The scheme of the process group."""
        return self.parallel or "none"


ALONE = Division()


def starts_workers(division: Division) -> bool:
    """Whether this process only starts the processes that train."""
    return division.nproc > 1 and not started_by_torchrun()


def started_by_alexnet() -> bool:
    """Whether `train_in_workers` started this process."""
    from alexnet.distributed.launch import ENDED

    return ENDED in os.environ


def train_in_workers(folder: Path, division: Division, device: str, save_seconds: float, *options: str) -> int:
    """Starts the processes that train a run folder, under the agent of torchrun; returns their exit code."""
    from alexnet.distributed.launch import launch

    arguments = ["resume", str(folder), "--parallel", division.scheme, "--device", device]
    arguments += ["--save-seconds", str(save_seconds), "--hang-seconds", str(division.hang_seconds)]
    arguments += [*(["--exact"] if division.exact else []), *options]
    return launch(arguments, division.nproc, max_restarts=division.max_restarts, exact=division.exact)


def join_rendezvous(division: Division) -> "Rendezvous | None":
    """Joins the rendezvous of the processes of torchrun; None for a single process.

    Raises:
        AlexNetError: E270, E512, this is one of several processes, and each would train a run of its own.
    """
    check_launcher(division.parallel)
    return Rendezvous() if division.parallel and started_by_torchrun() else None


def device_of_rank(device: Any, rendezvous: "Rendezvous | None") -> Any:
    """The device of this process: `cuda` without a number becomes the GPU of its local rank."""
    import torch

    if rendezvous is None or device.type != "cuda" or device.index is not None:
        return device
    check_processes(device, rendezvous.node_rank + 1)
    own_device = torch.device("cuda", rendezvous.node_rank)
    torch.cuda.set_device(own_device)
    return own_device


def world_size_of(rendezvous: "Rendezvous | None", division: Division) -> int:
    """How many processes train: those of torchrun, or as many as requested."""
    return division.nproc if rendezvous is None else rendezvous.size


def is_speaker(rendezvous: "Rendezvous | None") -> bool:
    """Whether this process prints messages."""
    return rendezvous is None or rendezvous.rank == 0


def silent(*arguments: object) -> None:
    """Prints nothing; for processes that are not the main one."""


class Rendezvous:
    """The store through which the processes of torchrun communicate before they form a process group."""

    def __init__(self) -> None:
        from torch.distributed.rendezvous import rendezvous

        from alexnet.distributed.launch import PATIENCE, rendezvous_errors

        end_with_parent()
        ignore_save_requests()
        with rendezvous_errors():
            self.store, self.rank, self.size = next(rendezvous("env://", timeout=timedelta(seconds=120)))
        self.store.set_timeout(PATIENCE)
        self.node_rank = int(os.environ.get("LOCAL_RANK", self.rank))

    def first_on_each_machine(self, make: Callable[[], T]) -> T:
        """Calls `make` in one process of each machine first, then in the others; returns its result."""
        from alexnet.distributed.launch import rendezvous_errors

        key = f"made-{os.environ.get('GROUP_RANK', '0')}"
        if self.node_rank > 0:
            with rendezvous_errors():
                self.store.wait([key])
            if self.store.get(key) != b"made":
                sys.exit(0)  # the first process reports the error
        outcome = "failed"
        try:
            result = make()
            outcome = "made"
        finally:
            if self.node_rank == 0:
                with rendezvous_errors():
                    self.store.set(key, outcome)
        return result


@contextmanager
def joined_group(
    run: "RunFolder", prepared: "Prepared", device: Any, division: Division, rendezvous: Rendezvous | None
) -> Iterator[tuple["RunFolder", "ProcessGroup"]]:
    """Makes this process a member of the process group that trains a run, for the block.

    Yields:
        The run folder that this process writes to, and the process group.

    Raises:
        UsageError: the processes differ in a setting, or the recipe cannot be divided in this way.
    """
    from alexnet.distributed.launch import (
        check_same_settings,
        check_scheme,
        joined_process_group,
        process_group_of,
        run_of_rank,
        settings_of,
    )
    from alexnet.runs.environment import conditions

    if rendezvous is None:
        check_scheme(run.recipe, division.scheme, 1, exact=division.exact)
        yield run, process_group_of(run.recipe, division.scheme, 0, 1, exact=division.exact)
        return
    check_scheme(run.recipe, division.scheme, rendezvous.size, exact=division.exact)
    membership = {"store": rendezvous.store, "rank": rendezvous.rank, "size": rendezvous.size}
    with joined_process_group(device, division.hang_seconds, **membership) as (rank, size):
        group = process_group_of(run.recipe, division.scheme, rank, size, exact=division.exact)
        locations = group.all_gather_objects(process_location())
        settings = settings_of(
            run.recipe, division.scheme, group.micro_batch, conditions(prepared, device, recipe=run.recipe)
        )
        check_same_settings(group, settings)
        try:
            with run_of_rank(run, group) as own_run:
                yield own_run, group
        except ResourceError as error:
            if error.code == "E510":
                wake_stopped(locations)
            raise


@contextmanager
def final_errors(rendezvous: Rendezvous | None) -> Iterator[None]:
    """Ends the run on an error that a restart would repeat; only one process prints its message.

    This applies to processes that `train_in_workers` started; in others the block changes nothing.

    Raises:
        ResourceError: another process is gone; the agent restarts all of them.
    """
    from alexnet.distributed.launch import ENDED

    end_file = os.environ.get(ENDED)
    if rendezvous is None or end_file is None:  # if torchrun was typed by hand, every process prints its error
        yield
        return
    if Path(end_file).exists():
        sys.exit(0)
    if rendezvous.rank == 0:
        register_main_worker(Path(end_file).parent)
    try:
        yield
    except AlexNetError as error:
        if isinstance(error, ResourceError) and error.code in ("E510", "E516"):
            if Path(end_file).exists():  # the others are gone because the run is over
                sys.exit(0)
            raise
        if _write_exit_code(end_file, error.exit_code):
            print(f"alexnet: {error}", file=sys.stderr)
        sys.exit(0)
    except SystemExit as error:
        if rendezvous.rank == 0 and error.code:
            _write_exit_code(end_file, int(error.code))
        sys.exit(0)


def _write_exit_code(path: str, code: int) -> bool:
    """Writes the exit code of the run to a file; whether this process is the first to do so."""
    try:
        with Path(path).open("x") as file:
            file.write(str(code))
    except FileExistsError:
        return False
    return True


def check_out(out: Path | None) -> Path:
    """The run folder, which all processes of torchrun must name in the same way.

    Raises:
        UsageError: no folder was named.
    """
    if out is None:
        raise UsageError(
            "several processes need one run folder, and each would choose its own name for it",
            fix="Name it: torchrun ... -m alexnet train DATA --out RUN. The same command resumes the run.",
            code="E274",
        )
    return out

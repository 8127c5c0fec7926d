"""A run trained by several processes, from the side of the command line: started, joined, and its end told once."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from alexnet.distributed.process import (
    end_with_parent,
    ignore_save_requests,
    process_location,
    register_main_worker,
    wake_stopped,
)
from alexnet.errors import AlexNetError, ResourceError, UsageError

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
        Divide the pictures of a step among processes (data), give each tower of the network one (towers, as in 2012),
        or divide the pictures up to pool5 and the units of the layers after it (hybrid, as in 2014). The result is that
        of one process up to the order of sums.
    nproc
        How many processes to start on this machine; torchrun starts them itself.
    exact
        Sum gradients over micro-batches in one order: the same bits for 1, 2, 4 or 8 processes, at some cost of time.
    max_restarts
        How often to go on from the last checkpoint after a process died.
    hang_seconds
        After which a process that does not answer counts as dead.
    """

    parallel: Literal["data", "towers", "hybrid"] | None = None
    nproc: int = 1
    exact: bool = False
    max_restarts: int = 3
    hang_seconds: float = 120.0

    @property
    def scheme(self) -> Any:
        """The scheme of the team."""
        return self.parallel or "none"


Divided = Annotated[Division, Parameter(name="*", group="Parallel training")]
ALONE = Division()


def starts_workers(division: Division) -> bool:
    """Whether this process only starts those that train."""
    from alexnet.distributed.launch import started_by_torchrun

    return division.nproc > 1 and not started_by_torchrun()


def started_by_alexnet() -> bool:
    """Whether `train_in_workers` started this process."""
    from alexnet.distributed.launch import ENDED

    return ENDED in os.environ


def train_in_workers(folder: Path, division: Division, device: str, save_seconds: float, *options: str) -> int:
    """Lets torchrun's agent start the processes that train a run folder; the exit code."""
    from alexnet.distributed.launch import launch

    arguments = ["resume", str(folder), "--parallel", division.scheme, "--device", device]
    arguments += ["--save-seconds", str(save_seconds), "--hang-seconds", str(division.hang_seconds)]
    arguments += [*(["--exact"] if division.exact else []), *options]
    return launch(arguments, division.nproc, max_restarts=division.max_restarts, exact=division.exact)


def join_rendezvous(division: Division) -> "Rendezvous | None":
    """Where this process meets the others of torchrun; None if it is alone."""
    from alexnet.distributed.launch import started_by_torchrun

    return Rendezvous() if division.parallel and started_by_torchrun() else None


def device_of_rank(device: Any, rendezvous: "Rendezvous | None") -> Any:
    """The device of this process: a GPU without a number is that of its place on the machine."""
    import torch

    if rendezvous is None or device.type != "cuda" or device.index is not None:
        return device
    own = torch.device("cuda", rendezvous.node_rank)
    torch.cuda.set_device(own)
    return own


def world_size_of(rendezvous: "Rendezvous | None", division: Division) -> int:
    """How many processes train: as torchrun started them, or as was asked for."""
    return division.nproc if rendezvous is None else rendezvous.size


def is_speaker(rendezvous: "Rendezvous | None") -> bool:
    """Whether this process tells what goes on."""
    return rendezvous is None or rendezvous.rank == 0


def silent(*told: object) -> None:
    """Keeps to itself what it is told."""


class Rendezvous:
    """Where the processes of torchrun meet before they are a group, for as long as it takes."""

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
        """What `make` gives, made by one process of each machine first, by the others when it is there."""
        from alexnet.distributed.launch import rendezvous_errors

        done = f"made-{os.environ.get('GROUP_RANK', '0')}"
        if self.node_rank > 0:
            with rendezvous_errors():
                self.store.wait([done])
            if self.store.get(done) != b"made":
                sys.exit(0)  # the first one says what is wrong
        outcome = "nothing"
        try:
            made = make()
            outcome = "made"
        finally:
            if self.node_rank == 0:
                with rendezvous_errors():
                    self.store.set(done, outcome)
        return made


@contextmanager
def joined_group(
    run: "RunFolder", prepared: "Prepared", device: Any, division: Division, rendezvous: Rendezvous | None
) -> Iterator[tuple["RunFolder", "ProcessGroup"]]:
    """Within it this process is one of the team that trains a run; gives the run to write to, and the team.

    Raises:
        UsageError: the processes differ in a setting, or the recipe cannot be divided so.
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
    at = {"store": rendezvous.store, "rank": rendezvous.rank, "size": rendezvous.size}
    with joined_process_group(device, division.hang_seconds, **at) as (rank, size):
        group = process_group_of(run.recipe, division.scheme, rank, size, exact=division.exact)
        places = group.all_gather_objects(process_location())
        settings = settings_of(run.recipe, division.scheme, group.micro_batch, conditions(prepared, device))
        check_same_settings(group, settings)
        try:
            with run_of_rank(run, group) as mine:
                yield mine, group
        except ResourceError as error:
            if error.code == "E510":
                wake_stopped(places)
            raise


@contextmanager
def final_errors(rendezvous: Rendezvous | None) -> Iterator[None]:
    """Within it a mistake that another start would repeat ends the run instead, with its message told by one process.

    For a process that `train_in_workers` started; for others it is nothing.

    Raises:
        ResourceError: another process is gone; the agent starts all of them again.
    """
    from alexnet.distributed.launch import ENDED

    ended = os.environ.get(ENDED)
    if rendezvous is None or ended is None:  # where torchrun was typed by hand every process tells its mistake
        yield
        return
    if Path(ended).exists():
        sys.exit(0)
    if rendezvous.rank == 0:
        register_main_worker(Path(ended).parent)
    try:
        yield
    except AlexNetError as error:
        if isinstance(error, ResourceError) and error.code in ("E510", "E516"):
            if Path(ended).exists():  # the others have left since the run is over
                sys.exit(0)
            raise
        if _end(ended, error.exit_code):
            print(f"alexnet: {error}", file=sys.stderr)
        sys.exit(0)
    except SystemExit as leaving:
        if rendezvous.rank == 0 and leaving.code:
            _end(ended, int(leaving.code))
        sys.exit(0)


def _end(path: str, code: int) -> bool:
    """Leaves the exit code of the run; whether this process is the first to do so."""
    try:
        with Path(path).open("x") as file:
            file.write(str(code))
    except FileExistsError:
        return False
    return True


def check_out(out: Path | None) -> Path:
    """The run folder that all processes of torchrun name alike.

    Raises:
        UsageError: none was named.
    """
    if out is None:
        raise UsageError(
            "several processes cannot each choose a name for the run folder",
            fix="Name it: torchrun ... -m alexnet train DATA --out RUN; the same command again goes on with it.",
            code="E274",
        )
    return out

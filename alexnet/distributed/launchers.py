"""Finds out whether other programs (torchrun, mpirun, srun) started this process as one of several.

Only torch's own variables say where the processes meet. Those of the others are read so that a command that is started
N times is not N runs without notice.
"""

import os
from typing import NamedTuple

from alexnet.errors import ResourceError, UsageError

TORCH = ("RANK", "WORLD_SIZE")
MEETING = ("MASTER_ADDR", "MASTER_PORT")
# Who sets them, the number of this process, how many there are, and what says that the two do not count.
LAUNCHERS = (
    ("torchrun or a program like it", *TORCH, ()),
    ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", ()),
    # Slurm sets these as well, also for a single process.
    ("mpirun", "PMI_RANK", "PMI_SIZE", ("SLURM_JOB_ID",)),
    # Of the step, not of the job: a batch script is one process of a job of many. With --pty only the first one lives.
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", ("SLURM_PTY_PORT",)),
)


class Launched(NamedTuple):
    """Who started this process, as one of how many, and the variable that says so."""

    by: str
    size: int
    variable: str


def _own(found: Launched) -> str:
    return f"To train one run in each process, unset {found.variable}."


def launched() -> Launched | None:
    """The nearest launcher of this process, or None; variables that do not make a whole are left over, and ignored."""
    for by, rank, size, unless in LAUNCHERS:
        number, count = (os.environ.get(name, "") for name in (rank, size))
        if number.isdecimal() and count.isdecimal() and not any(name in os.environ for name in unless):
            return Launched(by, int(count), size)
    return None


def started_by_torchrun() -> bool:
    """Whether the agent of torchrun, or a program that sets the same variables, started this process."""
    return {*TORCH, *MEETING} <= set(os.environ)


def check_launcher(parallel: str | None) -> None:
    """Refuses a process that is one of several, but would train a run of its own.

    Args:
        parallel: the scheme of --parallel, None where it was not given.

    Raises:
        UsageError: E270, nothing says how to divide the work.
        ResourceError: E512, nothing says where the processes meet.
    """
    found = launched()
    if found is None or found.size < 2 or (parallel is not None and started_by_torchrun()):
        return
    own = _own(found)
    if parallel is None:
        raise UsageError(
            f"{found.by} started {found.size} processes, and each of them would train a run of its own: --parallel is "
            "missing, which says how to divide the work",
            fix=f"Add --parallel data. {own}",
            code="E270",
        )
    missing = ", ".join(name for name in (*TORCH, *MEETING) if name not in os.environ)
    raise ResourceError(
        f"{found.by} started {found.size} processes, and nothing tells them where to meet (no {missing})",
        fix=f"Start them with torchrun --nproc-per-node={found.size}, or with --nproc {found.size}. {own}",
        code="E512",
    )


def refuse_several(what: str) -> None:
    """Refuses a process that is one of several, for what a single process does, or divides by itself.

    Args:
        what: each of them would do: "train every run of the ablation".

    Raises:
        UsageError: E270.
    """
    found = launched()
    if found is not None and found.size > 1:
        raise UsageError(
            f"{found.by} started {found.size} processes, and each of them would {what}",
            fix=f"Start it as one process. {_own(found)}",
            code="E270",
        )

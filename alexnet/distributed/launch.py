"""Processes that train one run together: how one joins the others, and how they are started.

`torchrun --nproc-per-node=N -m alexnet train DATA --parallel data` and `alexnet train DATA --parallel data --nproc N`
do the same: the second prepares the pictures and makes the run folder, then lets torchrun's agent start N processes of
`alexnet resume RUN`. So a process that is started again after another died goes on from the last checkpoint.
"""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from alexnet.distributed.collectives import ProcessGroup, Scheme
from alexnet.distributed.data_parallel import has_batch_norm, sync_batch_norm
from alexnet.distributed.hybrid import check_hybrid, divide_hybrid
from alexnet.distributed.process import LAUNCHER, signal_main_worker
from alexnet.distributed.towers import check_towers, divide_towers
from alexnet.errors import ResourceError, UsageError
from alexnet.models.build import build_model
from alexnet.models.network import Network
from alexnet.recipes.recipe import Recipe, flat
from alexnet.runs.run import RunFolder

MICRO_BATCHES = 8  # micro-batches of a full batch in the exact mode: as many processes as can share them
ENDED = "ALEXNET_ENDED"  # names a file: the exit code of a run that ended for a reason that starting again cannot mend
SHARE_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
SAVING_SECONDS = 600  # that workers have to finish a step and save, once they are asked to stop
PATIENCE = timedelta(hours=24)  # for the pictures to be prepared by one process while the others wait


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun's agent started."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ)


def check_scheme(recipe: Recipe, scheme: Scheme, size: int, *, exact: bool) -> None:
    """Refuses what cannot be divided so.

    Raises:
        UsageError: too many processes for the batch, or batch norm in the exact mode.
    """
    if scheme == "none" and (size > 1 or exact):
        raise UsageError(
            "more than one process, or the exact mode, and nothing said of how to divide the work",
            fix="Add --parallel data.",
            code="E270",
        )
    pieces = min(MICRO_BATCHES, recipe.batch_size) if exact else recipe.batch_size
    if size < 1 or (scheme in ("data", "hybrid") and size > pieces):
        raise UsageError(
            f"{size} processes cannot share {pieces} {'micro-batches' if exact else 'pictures'} of a batch of "
            f"{recipe.batch_size}",
            fix=f"Choose 1 to {pieces} processes with --nproc, or a larger batch_size.",
            code="E272",
        )
    if exact and scheme in ("towers", "hybrid"):
        raise UsageError(
            f"the exact mode divides pictures only, and --parallel {scheme} divides layers",
            fix="Use --parallel data with --exact, or leave --exact out.",
            code="E299",
        )
    if scheme == "towers":
        check_towers(recipe.model, size)
    elif scheme == "hybrid":
        with torch.device("meta"):
            check_hybrid(build_model(recipe.model))
    if exact:
        with torch.device("meta"):
            if has_batch_norm(build_model(recipe.model)):
                raise UsageError(
                    "the exact mode cannot train a network with batch norm: a micro-batch has another mean than its "
                    "batch",
                    fix="Leave --exact out, or use model.norm=lrn or model.norm=none.",
                    code="E273",
                )


def process_group_of(recipe: Recipe, scheme: Scheme, rank: int, size: int, *, exact: bool) -> ProcessGroup:
    """The team of a run in which this process has that rank."""
    micro_batch = -(-recipe.batch_size // MICRO_BATCHES) if exact else 0
    return ProcessGroup(scheme, rank, size, micro_batch=micro_batch)


def divide(model: Network, group: ProcessGroup) -> frozenset[str]:
    """Leaves of a network what this process of a group has of it; changed in place.

    Returns:
        The names of the layers of which that is a part.
    """
    return {"towers": divide_towers, "hybrid": divide_hybrid}.get(group.scheme, sync_batch_norm)(model, group)


def check_same_settings(group: ProcessGroup, settings: Mapping[str, Any]) -> None:
    """Refuses processes that would not train the same.

    Args:
        settings: by name; small values.

    Raises:
        UsageError: the first setting in which a process differs from the leader.
    """
    everyone = group.all_gather_objects({name: str(value) for name, value in settings.items()})
    for rank, theirs in enumerate(everyone):
        for name in sorted(everyone[0].keys() | theirs.keys()):
            ours, other = everyone[0].get(name, "none"), theirs.get(name, "none")
            if ours != other:
                raise UsageError(
                    f"{name} is {_short(ours)} in process 0 and {_short(other)} in process {rank}",
                    fix="Start all processes with the same command, versions and pictures.",
                    code="E271",
                )


def settings_of(recipe: Recipe, scheme: Scheme, piece: int, here: Mapping[str, str]) -> dict[str, Any]:
    """All that must be the same in every process; `here` is of `exact.conditions`."""
    same = {name: value for name, value in here.items() if name != "processor"}
    return {**flat(recipe), "--parallel": scheme, "--exact": piece > 0, **same}


@contextmanager
def joined_process_group(
    device: torch.device, hang_seconds: float, *, store: Any = None, rank: int = -1, size: int = -1
) -> Iterator[tuple[int, int]]:
    """Within it torch.distributed has its default group: gloo for CPUs, NCCL for GPUs; gives (rank, size).

    Args:
        hang_seconds: after which a process that does not answer counts as dead.
        store: of torch.distributed, where they meet, with rank and size; None: as torchrun says.
    """
    # What processes agree on lies in the memory of the CPU and goes through gloo, also where they train on GPUs.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "cpu:gloo"
    options: dict[str, Any] = {"timeout": timedelta(seconds=hang_seconds)}
    if store is not None:
        options |= {"store": store, "rank": rank, "world_size": size}
    with rendezvous_errors():
        dist.init_process_group(backend, **options)
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()


@contextmanager
def rendezvous_errors() -> Iterator[None]:
    """Within it processes that do not come together are a mistake with a name.

    Raises:
        ResourceError: one of them is gone, or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        who = f"process {os.environ.get('RANK', '0')} of {os.environ.get('WORLD_SIZE', '1')}"
        raise ResourceError(
            f"the processes of this run did not come together ({who}): {str(error).splitlines()[0]}",
            fix="If one of them died, --max-restarts brings all of them back. Between machines: the address that "
            "torchrun was told must be reached from all of them; GLOO_SOCKET_IFNAME names the network interface.",
            code="E516",
        ) from error


@contextmanager
def run_of_rank(run: RunFolder, group: ProcessGroup) -> Iterator[RunFolder]:
    """The run for the leader; for others one with the same recipe and data in a folder that goes away."""
    data = group.broadcast(dict(run.data))  # what the run is to start from, see `weights.check_fingerprint`
    if group.is_main:
        yield run
        return
    with tempfile.TemporaryDirectory(prefix="alexnet-") as folder:
        (Path(folder) / "checkpoints").mkdir()
        yield replace(run, folder=Path(folder), data=data)


def worker_environment(size: int, *, exact: bool, ended: Path) -> dict[str, str]:
    """What the processes must find in their environment, besides what is there."""
    threads = 1 if exact else max(1, (os.cpu_count() or 1) // size)
    return {
        # With the store shared between agent and workers, restarts on gloo fail now and then.
        SHARE_STORE: "1",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SAVING_SECONDS),
        LAUNCHER: str(os.getpid()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        ENDED: str(ended),
    }


def launch(arguments: Sequence[str], size: int, *, max_restarts: int, exact: bool) -> int:
    """Runs `python -m alexnet ARGUMENTS` in `size` processes under torchrun's agent and gives their exit code.

    Raises:
        ResourceError: a process died, once more than `max_restarts`.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="alexnet-") as folder:
        ended = Path(folder) / "ended"
        before = dict(os.environ)
        os.environ.update(worker_environment(size, exact=exact, ended=ended))
        try:
            # It reads how long workers may take to save from the environment.
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=size,
                run_id=f"alexnet-{os.getpid()}",
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                max_restarts=max_restarts,
                monitor_interval=0.1,
            )
            with _passing_on(Path(folder)):
                elastic_launch(config, sys.executable)("-m", "alexnet", *arguments)
        except SignalException as stopped:
            return int(ended.read_text()) if ended.exists() else 128 + int(stopped.sigval)
        except ChildFailedError as failed:
            if not ended.exists():
                rank, first = failed.get_first_failure()
                died = f"by signal {-first.exitcode}" if first.exitcode < 0 else f"with exit code {first.exitcode}"
                raise ResourceError(
                    f"process {rank} of {size} ended {died}, and {max_restarts} restarts were not enough",
                    fix="What was saved stays: alexnet resume RUN goes on. The message above it says more, if there "
                    "is one; signal 9 is often the system, out of memory.",
                    code="E511",
                ) from None
        finally:
            os.environ.clear()
            os.environ.update(before)
        return int(ended.read_text()) if ended.exists() else 0


@contextmanager
def _passing_on(folder: Path) -> Iterator[None]:
    """Within it SIGUSR1 reaches the worker that saves; torchrun's agent passes on those that end a process."""
    if not hasattr(signal, "SIGUSR1") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR1, lambda number, frame: signal_main_worker(folder, number))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:37]}..."

"""Launching the processes that train one run, and joining them into a process group.

`torchrun --nproc-per-node=N -m alexnet train DATA --parallel data` and `alexnet train DATA --parallel data --nproc N`
do the same. The second prepares the images, creates the run folder, and lets the agent of torchrun start N processes of
`alexnet resume RUN`. So a process that is restarted after another one died resumes from the last checkpoint.
"""

import os
import signal
import socket
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

MICRO_BATCHES = 8  # micro-batches of a full batch in the exact mode, and the largest world size there
ENDED = "ALEXNET_ENDED"  # path of a file: the exit code of a run that must not be restarted
GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"
SHARE_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
THIS_MACHINE = "127.0.0.1"  # not its name: that may resolve to nothing, or to an address that it no longer has
LOOPBACK_INTERFACES = ("lo", "lo0")
SAVING_SECONDS = 600  # for workers to finish a step and save, after they are asked to stop
PATIENCE = timedelta(hours=24)  # for one process to prepare the images while the others wait


def check_scheme(recipe: Recipe, scheme: Scheme, size: int, *, exact: bool) -> None:
    """Refuses a recipe that cannot be divided among processes in this way.

    Raises:
        UsageError: no scheme, too many processes for the batch, layers that the scheme cannot divide, or batch
            normalization in the exact mode.
    """
    if scheme == "none" and (size > 1 or exact):
        raise UsageError(
            "more than one process and the exact mode need --parallel, which says how to divide the work",
            fix="Add --parallel data.",
            code="E270",
        )
    largest_size = min(MICRO_BATCHES, recipe.batch_size) if exact else recipe.batch_size
    if size < 1 or (scheme in ("data", "hybrid") and size > largest_size):
        batch = f"{recipe.batch_size} images" + (f" ({largest_size} micro-batches)" if exact else "")
        raise UsageError(
            f"a batch of {batch} cannot be divided among {size} processes",
            fix=f"Choose 1 to {largest_size} processes with --nproc, or a larger batch_size.",
            code="E272",
        )
    if exact and scheme in ("towers", "hybrid"):
        raise UsageError(
            f"the exact mode divides only images, and --parallel {scheme} divides layers",
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
                    "the exact mode cannot train a network with batch normalization: the mean of a micro-batch is not "
                    "the mean of its batch",
                    fix="Leave --exact out, or use model.norm=lrn or model.norm=none.",
                    code="E273",
                )


def process_group_of(recipe: Recipe, scheme: Scheme, rank: int, size: int, *, exact: bool) -> ProcessGroup:
    """The process group of a run, as seen by the process of this rank."""
    micro_batch = -(-recipe.batch_size // MICRO_BATCHES) if exact else 0
    return ProcessGroup(scheme, rank, size, micro_batch=micro_batch)


def divide(model: Network, group: ProcessGroup) -> frozenset[str]:
    """Keeps the part of a network that this process has; changes it in place.

    Returns:
        The names of the layers that are divided among processes.
    """
    return {"towers": divide_towers, "hybrid": divide_hybrid}.get(group.scheme, sync_batch_norm)(model, group)


def check_same_settings(group: ProcessGroup, settings: Mapping[str, Any]) -> None:
    """Refuses processes that would not train the same run.

    Args:
        settings: by name; small values.

    Raises:
        UsageError: a process differs from the main process; names the first setting that differs.
    """
    all_settings = group.all_gather_objects({name: str(value) for name, value in settings.items()})
    for rank, others in enumerate(all_settings):
        for name in sorted(all_settings[0].keys() | others.keys()):
            expected, actual = all_settings[0].get(name, "none"), others.get(name, "none")
            if expected != actual:
                raise UsageError(
                    f"{name} is {_short(expected)} in process 0 and {_short(actual)} in process {rank}",
                    fix="Start all processes with the same command, versions and images.",
                    code="E271",
                )


def settings_of(recipe: Recipe, scheme: Scheme, micro_batch: int, conditions: Mapping[str, str]) -> dict[str, Any]:
    """Everything that must be the same in every process; for `conditions` see `runs.environment.conditions`."""
    shared = {name: value for name, value in conditions.items() if name != "processor"}
    return {**flat(recipe), "--parallel": scheme, "--exact": micro_batch > 0, **shared}


@contextmanager
def joined_process_group(
    device: torch.device, hang_seconds: float, *, store: Any = None, rank: int = -1, size: int = -1
) -> Iterator[tuple[int, int]]:
    """Initializes the default process group of torch.distributed for the block: gloo for CPUs, NCCL for GPUs.

    Args:
        hang_seconds: after this time a process that does not answer counts as dead.
        store: the store of the rendezvous; needs rank and size. None: all three from the environment of torchrun.

    Yields:
        Rank and world size.
    """
    # Settings and signals lie in CPU memory and go through gloo, also when the network trains on GPUs.
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
    """Turns a failed rendezvous inside the block into an error with a code.

    Raises:
        ResourceError: a process is gone, or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        process = f"process {os.environ.get('RANK', '0')} of {os.environ.get('WORLD_SIZE', '1')}"
        raise ResourceError(
            f"the rendezvous of the processes of this run failed ({process}): {str(error).splitlines()[0]}",
            fix="If a process died, --max-restarts starts all of them again. On several machines, all must reach the "
            "address that was given to torchrun; GLOO_SOCKET_IFNAME names the network interface.",
            code="E516",
        ) from error


@contextmanager
def run_of_rank(run: RunFolder, group: ProcessGroup) -> Iterator[RunFolder]:
    """Gives the run to the main process, and to the others a copy of it in a temporary folder."""
    data = group.broadcast(dict(run.data))  # includes the fingerprint of the pretrained weights, which all must check
    if group.is_main:
        yield run
        return
    with tempfile.TemporaryDirectory(prefix="alexnet-") as folder:
        (Path(folder) / "checkpoints").mkdir()
        yield replace(run, folder=Path(folder), data=data)


def worker_environment(size: int, *, exact: bool, ended: Path) -> dict[str, str]:
    """Variables to add to the environment of the worker processes."""
    threads = 1 if exact else max(1, (os.cpu_count() or 1) // size)
    loopback = _loopback_interface()
    # Otherwise gloo looks up the name of the machine, to find the address at which the others reach it.
    interface = {GLOO_INTERFACE: os.environ.get(GLOO_INTERFACE, loopback)} if loopback else {}
    return {
        **interface,
        # If agent and workers share one store, restarts with gloo sometimes fail.
        SHARE_STORE: "1",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SAVING_SECONDS),
        LAUNCHER: str(os.getpid()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        ENDED: str(ended),
    }


def launch(arguments: Sequence[str], size: int, *, max_restarts: int, exact: bool) -> int:
    """Runs `python -m alexnet ARGUMENTS` in `size` processes under the agent of torchrun; returns their exit code.

    Raises:
        ResourceError: processes died more than `max_restarts` times.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="alexnet-") as folder:
        ended = Path(folder) / "ended"
        before = dict(os.environ)
        os.environ.update(worker_environment(size, exact=exact, ended=ended))
        try:
            # It reads from the environment how long workers may take to save.
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=size,
                run_id=f"alexnet-{os.getpid()}",
                rdzv_backend="c10d",
                rdzv_endpoint=f"{THIS_MACHINE}:0",
                local_addr=THIS_MACHINE,
                max_restarts=max_restarts,
                monitor_interval=0.1,
            )
            with _forward_save_requests(Path(folder)):
                elastic_launch(config, sys.executable)("-m", "alexnet", *arguments)
        except SignalException as stopped:
            return int(ended.read_text()) if ended.exists() else 128 + int(stopped.sigval)
        except ChildFailedError as failed:
            if not ended.exists():
                rank, failure = failed.get_first_failure()
                code = failure.exitcode
                reason = f"by signal {-code}" if code < 0 else f"with exit code {code}"
                raise ResourceError(
                    f"process {rank} of {size} ended {reason}, and {max_restarts} restarts were not enough",
                    fix="The saved checkpoints are kept. Resume with alexnet resume RUN. A message above may say "
                    "more; signal 9 often means that the system ran out of memory.",
                    code="E511",
                ) from None
        finally:
            os.environ.clear()
            os.environ.update(before)
        return int(ended.read_text()) if ended.exists() else 0


@contextmanager
def _forward_save_requests(folder: Path) -> Iterator[None]:
    """Forwards SIGUSR1 to the main process during the block; the agent itself forwards signals that end a process."""
    if not hasattr(signal, "SIGUSR1") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR1, lambda number, frame: signal_main_worker(folder, number))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _loopback_interface() -> str:
    """The name of the network interface of this machine to itself; empty where the system does not name it."""
    try:
        names = {name for _, name in socket.if_nameindex()}
    except (OSError, AttributeError):  # not on Windows
        return ""
    return next((name for name in LOOPBACK_INTERFACES if name in names), "")


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:37]}..."

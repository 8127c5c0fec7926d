"""One process of a process group, started by `harness.groups`: python -m harness.group_worker RANK FOLDER."""

import faulthandler
import json
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist

from alexnet.data.dataset import open_prepared
from alexnet.distributed.launch import check_same_settings, joined_process_group, process_group_of, run_of_rank
from alexnet.distributed.process import exit_without_cleanup
from alexnet.errors import AlexNetError
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import override
from alexnet.runs.run import RunFolder, create_run, open_run
from alexnet.training.loop import train
from alexnet.training.monitor import Interrupted
from harness.gradients import follow

CPU = torch.device("cpu")
PATIENCE = 600.0  # seconds; the processes of a larger group wait until the smaller group has finished


def bytes_sent() -> int:
    """Bytes that this process has sent over TCP so far, as counted by the kernel."""
    total = 0
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{entry}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry))) as s:
                if s.type == socket.SOCK_STREAM and s.family in (socket.AF_INET, socket.AF_INET6):
                    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    total += struct.unpack_from("Q", info, 200)[0]
    return total


def trained(folder: Path, name: str, recipe: str, scheme: str, rank: int, size: int, exact: bool, **options) -> dict:
    """Trains the run FOLDER/name with the recipe of the run FOLDER/recipe, from the beginning or from a checkpoint."""
    template, out = open_run(folder / recipe), folder / name
    if rank == 0 and not out.exists():
        create_run(out, template.recipe, template.class_names, template.data)
    group = process_group_of(template.recipe, scheme, rank, size, exact=exact)
    group.all_reduce_max(0)  # a barrier: the run folder exists
    data = template.data if group.is_main else {}  # as `alexnet train` under torchrun
    with run_of_rank(RunFolder(out, template.recipe, template.class_names, data), group) as run:
        before = bytes_sent()
        with suppress(Interrupted):
            train(run, open_prepared(folder / "prepared"), device=CPU, group=group, **options)
        return {"sent": dict(group.sent), "tcp": bytes_sent() - before}


def do_job(folder: Path, rank: int, size: int, job: dict) -> dict:
    """Does one job as one of `size` processes; returns its result, or the error."""
    try:
        if "follow" in job:
            recipe = override(find_recipe(job["follow"]), job["changes"])
            group = process_group_of(recipe, job["scheme"], rank, size, exact=False)
            return follow(group, recipe, job["counts"], double=job["double"])
        if "same" in job:
            group = process_group_of(open_run(folder / job["same"]).recipe, "data", rank, size, exact=False)
            check_same_settings(group, {"epochs": 3, "optim.lr": (rank + 1) / 100})
            return {}
        return trained(folder, rank=rank, size=size, **job)
    except AlexNetError as error:
        return {"error": str(error)}


def main() -> None:
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    for size, jobs in json.loads((folder / "jobs.json").read_text()):
        if rank >= size:
            continue
        store = dist.FileStore(str(folder / f"store-{size}"), size)
        with joined_process_group(CPU, PATIENCE, store=store, rank=rank, size=size):
            out = [do_job(folder, rank, size, job) for job in jobs]
        (folder / f"results-{size}-{rank}.json").write_text(json.dumps(out))


if __name__ == "__main__":
    faulthandler.enable()
    with exit_without_cleanup():
        main()

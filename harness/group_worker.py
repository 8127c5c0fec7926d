"""One process of a team, started by test_parallel.py: python team_worker.py JOB STORE RANK SIZE FOLDER."""

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
PATIENCE = 600.0  # seconds; a larger team waits until the smaller one is done


def bytes_sent() -> int:
    """Bytes that left this process through TCP so far, as the kernel counts them."""
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
    """Trains FOLDER/name of that recipe (by a run folder), from the start or on."""
    like, out = open_run(folder / recipe), folder / name
    if rank == 0 and not out.exists():
        create_run(out, like.recipe, like.class_names, like.data)
    group = process_group_of(like.recipe, scheme, rank, size, exact=exact)
    group.all_reduce_max(0)  # the run folder is there
    data = like.data if group.is_main else {}  # as `alexnet train` under torchrun
    with run_of_rank(RunFolder(out, like.recipe, like.class_names, data), group) as run:
        before = bytes_sent()
        with suppress(Interrupted):
            train(run, open_prepared(folder / "prepared"), device=CPU, group=group, **options)
        return {"sent": dict(group.sent), "tcp": bytes_sent() - before}


def answer(folder: Path, rank: int, size: int, job: dict) -> dict:
    """Does one job as one of `size` processes; what came of it, or the mistake."""
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
            out = [answer(folder, rank, size, job) for job in jobs]
        (folder / f"said-{size}-{rank}.json").write_text(json.dumps(out))


if __name__ == "__main__":
    faulthandler.enable()
    os.environ["RANK"] = sys.argv[1]  # ends as a worker of torchrun does
    with exit_without_cleanup():
        main()

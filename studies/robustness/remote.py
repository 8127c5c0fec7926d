"""Training from an address on a server that fails on purpose, and whether it ends with the weights of a local folder.

    python -m studies.robustness.remote

200 faults of every kind that passes are planted, then one shard of another set is left bad for good. Writes
results/remote.json; docs/reliability.md has the figures. About two minutes on one core.
"""

import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.data.dataset import Prepared, open_prepared
from alexnet.data.prepare import prepare
from alexnet.data.remote import open_location
from alexnet.data.samples import Samples, Source
from alexnet.errors import AlexNetError
from alexnet.storage.checksums import read_sums
from alexnet.storage.download import Patience
from alexnet.training.loop import train
from harness import ROOT
from harness.faulty_server import LASTING, PASSING, serving
from studies.robustness.recording import record
from studies.robustness.reliability import final, new_run

FAULTS, SEED, EPOCHS = 200, 0, 3
COUNTS = {"train": 320, "val": 64}
SHARD_IMAGES = 8
# As long as a test may take: the defaults wait half a minute for a silent server.
PATIENCE = Patience(silence=0.3, bytes_per_second=1e6, first_pause=0.01)


def pictures(folder: Path) -> Prepared:
    """Noise in two classes, 48 shards."""
    splits = {}
    for seed, (name, count) in enumerate(COUNTS.items()):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3)).astype(np.uint8)
        names = tuple(f"{name}/{i}" for i in range(count))
        splits[name] = Samples(names, np.arange(count, dtype=np.int64) % 2, arrays=pixels)
    prepare(Source("noise", ("a", "b"), splits), folder, size=24, shard_images=SHARD_IMAGES)
    return open_prepared(folder)


def planned(folder: Path) -> dict[str, list[str]]:
    """200 faults over all files, every kind as often as any other, two or three for a file: fewer than are too many."""
    chance = random.Random(SEED)
    files = sorted(path.name for path in folder.iterdir() if path.suffix in (".npy", ".json"))
    kinds = [PASSING[i % len(PASSING)] for i in range(FAULTS)]
    chance.shuffle(kinds)
    plan: dict[str, list[str]] = {name: [] for name in files}
    for number, kind in enumerate(kinds):
        plan[files[number % len(files)]].append(kind)
    return plan


def trained(folder: Path, prepared: Prepared) -> dict[str, str]:
    """Checksums of the last network and of all that training needs."""
    run = new_run(folder, prepared, f"epochs={EPOCHS}")
    train(run, prepared, device=torch.device("cpu"))
    return final(run)


def lasting(folder: Path, name: str) -> dict[str, str]:
    """What is said of a shard that cannot be had, by kind of fault: the first words of the message."""
    said = {}
    for kind in (*LASTING, "500", "silent", "one bit"):
        with tempfile.TemporaryDirectory() as cache, serving(folder, {name: [kind] * 99}) as server:
            os.environ["ALEXNET_CACHE"] = cache
            try:
                open_location(server.address, PATIENCE).splits["train"].read([0])
                said[kind] = "nothing"
            except AlexNetError as error:
                said[kind] = error.code if name in error.what else f"{error.code} without the name"
    return said


def main() -> None:
    """Everything, and the record of it."""
    torch.set_num_threads(1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        local = pictures(here / "prepared")
        os.environ["ALEXNET_CACHE"] = str(here / "cache")
        plan = planned(local.folder)
        with serving(local.folder, plan) as server:
            far = trained(here / "far", open_location(server.address, PATIENCE))
            left = sum(len(faults) for faults in server.faults.values())
            met: Counter[str] = server.planted
            requests = sum(server.requests.values())
        found: dict[str, Any] = {
            "files": len(plan),
            "faults": met.total(),
            "faults_not_met": left,
            "kinds": dict(sorted(met.items())),
            "requests": requests,
            "equal": far == trained(here / "local", local),
            "lasting": lasting(local.folder, "train-0000.npy"),
        }
        assert read_sums(here / "far")
    seconds = round(time.monotonic() - started, 1)
    record(ROOT / "results/remote.json", ("torch", "fsspec", "aiohttp"), seed=SEED, seconds=seconds, **found)
    print(found)


if __name__ == "__main__":
    main()

"""How speed and memory grow with the number of images and of classes, and whether a set must fit into memory.

    python benchmarks/growth.py [--quick] [--out FILE]

Images are random pixels of 32 x 32, prepared by `prepare`. For each number of images (in 2 classes) and of classes
(with 20,000 images) a process of its own opens the prepared folder, compares every shard with its checksum, which the
first epoch does, and then makes training batches of 64 crops of 24 as `small-cifar` does. Memory is what the process
has beyond files mapped into it (RssAnon), less what it had before.

"not in memory" trains `small-cifar` on images of 128 pixels, from 1.5 GB of shards that the system's file cache has
been told to forget (posix_fadvise) just before, beside the same steps with them in the cache, in turns.

Writes benchmarks/results/growth.json and growth.svg.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import RESULTS, report

from alexnet.data.augment import ColorStatistics
from alexnet.data.dataset import Prepared, open_prepared
from alexnet.data.loader import PREFETCHED, Loader, prefetch
from alexnet.data.prepare import prepare
from alexnet.data.samples import Samples, Source
from alexnet.models.build import build_model
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import override
from alexnet.report.plotting import matplotlib, new_figure

IMAGES, CLASSES, OF_CLASSES = (1_000, 10_000, 100_000, 1_000_000), (2, 100, 1_000, 10_000), 20_000
SIDE, LARGE_SIDE, LARGE = 32, 128, 30_000
SECONDS = 4.0


def made(folder: Path, images: int, classes: int, side: int = SIDE) -> float:
    """Prepares random images; returns how many a second."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), np.uint8)
    labels = np.arange(images) % classes
    samples = Samples(tuple(f"{i:07d}.png" for i in range(images)), labels, arrays=pixels)
    source = Source("noise", tuple(f"{i:05d}" for i in range(classes)), {"train": samples})
    begin = time.perf_counter()
    prepare(source, folder, size=side, encoding="raw")
    return images / (time.perf_counter() - begin)


def loader_of(prepared: Prepared, *changes: str) -> Loader:
    """The batches of `small-cifar` on this set."""
    recipe = override(find_recipe("small-cifar"), changes)
    mean = build_model(recipe.model).input_mean
    colors = ColorStatistics(mean, prepared.color_stdevs, prepared.color_vectors)
    return Loader(prepared.splits["train"], recipe, colors)


def compare_all(loader: Loader) -> None:
    """Looks at every shard, which compares it with its checksum, as the first epoch does."""
    list(loader.split.places(np.arange(0, len(loader.split), 512)))


def own_memory() -> float:
    """MiB of this process that are no file."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


def grown(folder: str) -> dict[str, float]:
    """What one process needs for a prepared folder."""
    crop = find_recipe("small-cifar").model.crop_size
    before, begin = own_memory(), time.perf_counter()
    prepared = open_prepared(Path(folder))
    opened = time.perf_counter()
    loader = loader_of(prepared, f"model.num_classes={len(prepared.class_names)}")
    whole = chain.from_iterable(([samples, epoch] for samples in loader.epoch(epoch)) for epoch in range(1, 1000))
    for _ in range(20):  # compiles the loop
        samples, epoch = next(whole)
        loader.batch(samples, epoch=epoch, step=0, size=crop)
    compare_all(loader)
    start, times = time.perf_counter(), []
    while time.perf_counter() - start < SECONDS:
        samples, epoch = next(whole)
        one = time.perf_counter()
        loader.batch(samples, epoch=epoch, step=0, size=crop)
        times.append((time.perf_counter() - one) / len(samples))
    return {
        "images_per_second": 1 / statistics.median(times),
        "seconds_to_open": opened - begin,
        "memory_mib": own_memory() - before,
    }


def forget(folder: Path) -> None:
    """Lets the system forget what it keeps of these files in memory."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def from_disk(folder: Path, steps: int, rounds: int) -> tuple[float, float]:
    """Training steps a second with the shards forgotten before, and in memory."""
    prepared = open_prepared(folder)
    loader = loader_of(prepared)
    model = build_model(loader.recipe.model).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    compare_all(loader)
    batches, size = loader.epoch(1), loader.recipe.model.crop_size

    def run(first: int) -> float:
        coming = [batches[(first + k) % len(batches)] for k in range(steps)]
        begin = time.perf_counter()
        with prefetch((loader.batch(each, epoch=1, step=0, size=size) for each in coming), PREFETCHED) as made:
            for images, targets in made:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(images), targets).backward()
                optimizer.step()
        return steps / (time.perf_counter() - begin)

    run(0)
    cold, warm = [], []
    for number in range(rounds):
        forget(folder)
        cold.append(run(number * steps))
        warm.append(run(number * steps))
    return statistics.median(cold), statistics.median(warm)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Images a second and memory, against images and against classes."""
    matplotlib().rcParams["svg.fonttype"] = "none"
    figure = new_figure(8, 5)
    for column, kind in enumerate(("images", "classes")):
        chosen = [row for row in rows if row["kind"] == kind]
        for line, (field, label) in enumerate(
            (("images_per_second", "images a second"), ("memory_mib", "memory, MiB"))
        ):
            axes = figure.add_subplot(2, 2, 2 * line + column + 1)
            axes.plot([row["count"] for row in chosen], [row[field] for row in chosen], marker="o", color="tab:blue")
            top = 1.1 * max(row[field] for row in chosen)
            axes.set(xscale="log", xlabel=f"number of {kind}", ylabel=label, ylim=(0, top))
            axes.grid(alpha=0.3)
    figure.set_layout_engine("constrained")
    figure.savefig(path, format="svg", metadata={"Date": None})


def measure(images: tuple[int, ...], classes: tuple[int, ...], large: int, steps: int) -> list[dict[str, Any]]:
    """The rows of the table."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for kind, count in [*(("images", n) for n in images), *(("classes", n) for n in classes)]:
            folder = Path(scratch) / f"{kind}-{count}"
            pair = (count, 2) if kind == "images" else (max(OF_CLASSES, count), count)
            prepared = made(folder, *pair)
            command = [sys.executable, __file__, "--open", str(folder)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            rows.append({"what": f"batches of {count:,} {kind}", "kind": kind, "count": count} | found)
            rows[-1]["prepared_per_second"] = prepared
        for kind in ("images", "classes"):
            of_kind = [row for row in rows if row["kind"] == kind]
            for row in of_kind:
                row |= {"against": of_kind[0]["what"], "target": 0.8 if row is not of_kind[0] else ""}
                row["ratio"] = row["images_per_second"] / of_kind[0]["images_per_second"]
        made(Path(scratch) / "large", large, 2, LARGE_SIDE)
        cold, warm = from_disk(Path(scratch) / "large", steps, 3)
    empty = dict.fromkeys(rows[0], "")
    told = {"what": "training, not in memory", "kind": "disk", "against": "training, in memory", "target": 0.9}
    rows.append(empty | told | {"ratio": cold / warm})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sets, to see that it runs")
    parser.add_argument("--open", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(grown(options.open)))
        sys.exit()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    out = options.out or (Path(tempfile.gettempdir()) if options.quick else RESULTS) / "growth.json"
    sizes = ((1_000, 4_000), (2, 100), 2_000, 10) if options.quick else (IMAGES, CLASSES, LARGE, 300)
    rows = measure(*sizes)
    report("growth", rows, out)
    draw(rows, out.with_suffix(".svg"))

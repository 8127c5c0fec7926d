"""A training step and a prediction of alexnet-2012 beside the same network written plainly, and torchvision's.

    python benchmarks/step.py [--quick] [--threads 2] [--batches 128 32] [--out FILE]

"plain" is nn.LocalResponseNorm, NCHW, torch.optim.SGD, nothing else; "torchvision" is its alexnet (another network:
64 maps in conv1, no norms). Each variant lives in a process of its own, because the allocator's settings hold for a
whole process; the processes take turns. "keeps memory" is `alexnet.kernels.device`, which our command line
uses; the bare variants run as they are found.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring import interleaved, report
from torch import Tensor, nn
from torchvision.models import alexnet as torchvision_alexnet

from alexnet.kernels.device import keep_memory
from alexnet.models.build import build_model
from alexnet.recipes.config import AlexNetConfig, OptimConfig
from alexnet.training.optim import build_optimizer

STEP_GFLOP = 4.136  # per image, of alexnet-2012: forward, backward without the gradient of the image
# How many times as long the others take.
TARGETS = {("training", "plain"): 2.4, ("training", "torchvision, keeps memory"): 1.15}
VARIANTS = ("plain", "plain, keeps memory", "torchvision", "torchvision, keeps memory", "ours, keeps memory")


class MapNorm(nn.Module):
    """Within-map norm as its formula."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x * (1 + 0.001 * F.avg_pool2d(x * x, 5, 1, 2)) ** -0.75


class Towers(nn.Module):
    """nn.LocalResponseNorm on each half of the maps."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        n, c, h, w = x.shape
        return F.local_response_norm(x.reshape(2 * n, c // 2, h, w), 5, 1e-4, 0.75, 2.0).reshape(n, c, h, w)


def plain_network(units: int = 4096) -> nn.Module:
    """Net 145 as one would write it down.

    Args:
        units: of the fully connected layers; fewer for a trial.
    """

    def fc(inputs: int) -> list[nn.Module]:
        return [nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(0.5)]

    return nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), Towers(), nn.MaxPool2d(3, 2), nn.ReLU(),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), Towers(), MapNorm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.MaxPool2d(3, 2), nn.ReLU(),
        nn.Flatten(), *fc(9216), *fc(units), nn.Linear(units, 1000),
    )  # fmt: skip


def worker(variant: str, kind: str, batch: int, threads: int) -> None:
    """Reads a line, does a step or some predictions, prints the seconds of one; until the lines end."""
    if variant.endswith("keeps memory"):
        keep_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    run = gemm() if variant == "sgemm" else task(variant, kind, batch)
    # Of small batches so many a turn that it does not only warm the caches.
    repeats = max(1, 32 // batch) if kind == "prediction" and variant != "sgemm" else 1
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        print((time.perf_counter() - start) / repeats, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def gemm() -> Callable[[], Any]:
    """What the machine reaches at most: a product of 4096 x 4096 matrices."""
    a, b = torch.randn(4096, 4096), torch.randn(4096, 4096)
    return lambda: a @ b


def task(variant: str, kind: str, batch: int) -> Callable[[], Any]:
    """One training step or one prediction of a variant."""
    images, labels = torch.rand(batch, 3, 224, 224) * 255, torch.randint(0, 1000, (batch,))
    model: nn.Module
    if variant.startswith("ours"):
        model = build_model(AlexNetConfig()).to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
        optimizer = build_optimizer(model, OptimConfig())
    else:
        model = plain_network() if variant.startswith("plain") else torchvision_alexnet()
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=0.0005)
        images = images / 255
    model.train(kind == "training")

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    def predict() -> None:
        with torch.inference_mode():
            model(images)

    return train if kind == "training" else predict


def measure(kind: str, batch: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Starts a process for every variant and lets them take turns."""
    children = {}
    for variant in (*VARIANTS, "sgemm"):
        command = [sys.executable, __file__, "--worker", variant, kind, str(batch), str(threads)]
        children[variant] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def once(child: subprocess.Popen[str]) -> Callable[[], float]:
        assert child.stdin is not None
        assert child.stdout is not None
        write, read = child.stdin, child.stdout

        def turn() -> float:
            write.write("go\n")
            write.flush()
            return float(read.readline())

        return turn

    seconds = interleaved({variant: once(child) for variant, child in children.items()}, rounds)
    memory = {}
    for variant, child in children.items():
        rest, _ = child.communicate()
        memory[variant] = int(rest.split()[-1])
    peak = 2 * 4096**3 / seconds.pop("sgemm") / 1e9
    rows = []
    for variant, time_taken in seconds.items():
        ours = seconds["ours, keeps memory"]
        line = {"what": kind, "batch": batch, "variant": variant, "ms": time_taken * 1e3, "img/s": batch / time_taken}
        line |= {"ours is faster by": time_taken / ours, "sgemm GFLOP/s": peak}
        share = STEP_GFLOP * batch / time_taken / peak if kind == "training" and "torchvision" not in variant else ""
        target = TARGETS.get((kind, variant), "")
        rows.append(line | {"share of sgemm": share, "peak MiB": memory[variant], "target": target})
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batch 8 and 2 rounds, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 32], help="of training")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = [("prediction", 1), ("prediction", 64), *(("training", batch) for batch in options.batches)]
    cases = [("prediction", 1), ("training", 8)] if options.quick else cases
    rows: list[dict[str, Any]] = []
    for kind, batch in cases:
        rows += measure(kind, batch, options.threads, 2 if options.quick else 7)
        report("step", rows, options.out)  # after every case, for all of them take some minutes

"""Two programs at once on the same cores: how much each of two trainings slows the other, and a training alone.

    python benchmarks/sharing.py [--quick] [--seconds 6] [--rounds 5] [--out FILE]

Each process trains recipe `small-cifar` on random images with as many threads as there are cores. "waits as PyTorch
does" is OpenMP's own setting; ours is that of `alexnet.kernels.device.wait_politely`, as in every process of the
command line. In turns, in every round: one alone and two at once, with each setting.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import report

from alexnet.kernels.device import SPIN_COUNT, SPINS

TRAIN = """
import sys, time, torch
from alexnet.kernels.device import keep_memory
from alexnet.models.build import build_model
from alexnet.recipes.named import find_recipe
keep_memory()
recipe = find_recipe("small-cifar")
model = build_model(recipe.model).to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
side = recipe.model.crop_size
images = torch.randint(0, 256, (recipe.batch_size, 3, side, side), dtype=torch.uint8)
labels = torch.randint(0, 10, (recipe.batch_size,))
def step():
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
for _ in range(3): step()
print("ready", flush=True)
sys.stdin.readline()
begin, steps = time.perf_counter(), 0
while time.perf_counter() - begin < float(sys.argv[1]):
    step()
    steps += 1
print(steps / (time.perf_counter() - begin), flush=True)
"""
THEIRS, OURS = "waits as PyTorch does", "ours"
TARGETS = {1: 0.98, 2: 1.5}  # by the number of processes
SETTINGS = {THEIRS: None, OURS: str(SPINS)}


def speeds(setting: str | None, number: int, seconds: float) -> float:
    """Steps per second of each of so many processes at once, in the mean."""
    environment = {name: value for name, value in os.environ.items() if name not in (SPIN_COUNT, "OMP_NUM_THREADS")}
    if setting is not None:
        environment[SPIN_COUNT] = setting
    command = [sys.executable, "-c", TRAIN, str(seconds)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(number)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return statistics.mean(float(process.communicate()[0]) for process in processes)


def measure(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """The rows of the table."""
    found: dict[tuple[str, int], list[float]] = {(name, number): [] for name in SETTINGS for number in (1, 2)}
    for _ in range(rounds):
        for name, number in found:
            found[name, number].append(speeds(SETTINGS[name], number, seconds))
    medians = {case: statistics.median(each) for case, each in found.items()}
    rows = []
    for number, what in ((1, "a training alone"), (2, "two trainings at once, each")):
        for name in SETTINGS:
            steps, theirs = medians[name, number], medians[THEIRS, number]
            row = {"what": f"{what}, {name}", "against": f"{what}, {THEIRS}", "steps_per_second": steps}
            row |= {"ratio": steps / theirs, "of_alone": steps / medians[name, 1]}
            rows.append(row | {"target": TARGETS[number] if name == OURS else ""})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a second each, to see that it runs")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    rows = measure(1 if options.quick else options.rounds, 1.0 if options.quick else options.seconds)
    out = Path(tempfile.gettempdir()) / "sharing.json" if options.quick and not options.out else options.out
    report("sharing", rows, out)

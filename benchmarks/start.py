"""How long the command line takes to start: `alexnet --help`, and a cold `alexnet predict` of one image.

    python benchmarks/start.py [--quick] [--out FILE]

`predict` is set beside a process that imports torch, reads the weights of the same network from the same file, and runs
it once. Fresh processes in turns, medians; the compiled loops lie in numba's cache, as after any earlier call.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import interleaved, report
from PIL import Image

from alexnet.models.build import build_model
from alexnet.recipes.config import AlexNetConfig
from alexnet.recipes.recipe import Recipe
from alexnet.runs.checkpoint import TrainingState, save_checkpoint
from alexnet.runs.run import create_run

BARE = """
import sys, torch
from safetensors.torch import load_file
from torch import nn
def norm(): return nn.LocalResponseNorm(5, 1e-4, .75, 2.)
def fc(i, o): return [nn.Linear(i, o), nn.ReLU()]
with torch.device("meta"):
    net = nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), norm(), nn.MaxPool2d(3, 2), nn.ReLU(),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.MaxPool2d(3, 2), nn.ReLU(), nn.Flatten(),
        *fc(9216, 4096), *fc(4096, 4096), nn.Linear(4096, 1000))
stored = load_file(sys.argv[1])
names = [f"layers.{layer}.{part}" for layer in sys.argv[2:] for part in ("weight", "bias")]
net.load_state_dict(dict(zip(net.state_dict(), (stored[name] for name in names), strict=True)), assign=True)
with torch.inference_mode():
    print(net(torch.rand(1, 3, 224, 224) * 255).argmax())
"""
LEARNED = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def timed(*command: str) -> Callable[[], float]:
    """Seconds of a fresh process."""

    def once() -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    return once


def measure(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Makes a run folder of the network of 2012 and an image, and starts processes on them."""
    classes = tuple(str(i) for i in range(1000))
    run = create_run(folder / "run", Recipe(model=AlexNetConfig()), classes, {"fingerprint": ""})
    save_checkpoint(run, build_model(run.recipe.model), {}, TrainingState(step=0), best=True)
    (weights,) = run.folder.rglob("model.safetensors")
    picture = folder / "picture.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8)
    Image.fromarray(noise).save(picture)
    alexnet = (sys.executable, "-m", "alexnet")
    commands = {
        "help": timed(*alexnet, "--help"),
        "predict": timed(*alexnet, "predict", str(run.folder), str(picture)),
        "bare": timed(sys.executable, "-c", BARE, str(weights), *LEARNED),
    }
    seconds = interleaved(commands, rounds)
    bare, predict = seconds["bare"], seconds["predict"]
    rows = [
        ("alexnet --help", "", seconds["help"], "", "", 0.3),
        ("alexnet predict, cold", "import torch, read the weights, run once", predict, bare, predict / bare, 1.3),
    ]
    columns = ("what", "against", "seconds", "other seconds", "ratio", "at most")
    return [dict(zip(columns, row, strict=True)) for row in rows]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one process each, to see that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(Path(temporary), 1 if options.quick else 5)
    out = Path(tempfile.gettempdir()) / "start.json" if options.quick and not options.out else options.out
    report("start", rows, out)

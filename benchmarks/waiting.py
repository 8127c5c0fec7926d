"""What a person waits for without a bar, beside the arithmetic of it: doctor, a first index, `why`, `explore`.

    python benchmarks/waiting.py PHOTOS [--rounds 3] [--quick] [--out FILE]

PHOTOS is a folder of images, to its bottom. Each verb is a fresh process of the command line, beside a fresh process
that does only what cannot be left out, with Pillow, NumPy and the same network in PyTorch: reads every image, hashes
file and pixels, resizes and measures (histogram, Laplacian, small gray images; no cues, no comparison of all with all);
reads and resizes all and runs the network on batches of 64; runs it on every covered copy of one image; imports torch
and reads the weights. In turns, medians. The network is that of the recipe photos, untrained; the cache is a new one
every time. `explore` is measured until its page is there.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measuring import interleaved, report

from alexnet.data.image_files import EXTENSIONS
from alexnet.models.build import build_model
from alexnet.recipes.named import PHOTOS
from alexnet.recipes.recipe import for_classes
from alexnet.runs.checkpoint import TrainingState, save_checkpoint
from alexnet.runs.run import create_run

READ = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
def square(path):
    with Image.open(path) as image:
        return image.convert("RGB").resize((192, 192), Image.Resampling.BICUBIC)
def squares(paths):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(square, paths)
"""
NETWORK = """
import torch
from safetensors.torch import load_file
from alexnet.models.build import build_model
from alexnet.recipes.named import PHOTOS
from alexnet.recipes.recipe import for_classes
with torch.device("meta"):
    network = build_model(for_classes(PHOTOS, 10).model)
network.load_state_dict(load_file(sys.argv[1]), assign=True)
network.eval().to(memory_format=torch.channels_last)
"""
MEASURE = """
import hashlib, os, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from PIL import Image
def measure(path):
    with open(path, "rb") as file:
        sums = [hashlib.sha256(file.read())]
    with Image.open(path) as image:
        pixels = image.convert("RGB")
    sums.append(hashlib.sha256(pixels.tobytes()))
    square = pixels.resize((256, 256), Image.Resampling.BICUBIC)
    square.histogram()
    gray = square.convert("F")
    y = np.asarray(gray)
    (y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:] - 4 * y[1:-1, 1:-1]).var()
    return sums, *(gray.resize(size, Image.Resampling.BOX) for size in ((9, 8), (8, 9))), square.resize((16, 16))
with ThreadPoolExecutor(os.cpu_count()) as pool:
    for _ in pool.map(measure, sys.argv[2:]): pass
"""
INDEX = (
    READ
    + "import numpy as np"
    + NETWORK
    + """
batch = []
def run():
    with torch.inference_mode():
        images = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)[:, :, 16:176, 16:176]
        network(images.to(torch.float32, memory_format=torch.channels_last))
    batch.clear()
for image in squares(sys.argv[2:]):
    batch.append(np.asarray(image))
    if len(batch) == 64:
        run()
if batch:
    run()
"""
)
WHY = (
    "import sys"
    + NETWORK
    + """
side, patch = 160, 160 // 7
places = len({*range(0, side - patch + 1, patch // 2), side - patch}) ** 2
image = torch.rand(1, 3, side, side) * 255
with torch.inference_mode():
    for start in range(0, places, 64):
        network(image.repeat(min(64, places - start), 1, 1, 1).contiguous(memory_format=torch.channels_last))
for _ in range(2):
    network(image.clone().requires_grad_())[0, 0].backward()
"""
)
LOAD = "import sys" + NETWORK


def timed(command: Sequence[str], scratch: Path) -> Callable[[], float]:
    """Seconds of a fresh process with an empty cache."""

    def once() -> float:
        with tempfile.TemporaryDirectory(dir=scratch) as cache:
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=cache, env=_environment(cache))
            return time.perf_counter() - start

    return once


def until_answered(command: Sequence[str], scratch: Path) -> Callable[[], float]:
    """Seconds until a server that the command starts has sent its page."""

    def once() -> float:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with tempfile.TemporaryDirectory(dir=scratch) as cache:
            start = time.perf_counter()
            server = subprocess.Popen(
                [*command, "--port", str(port)], stdout=subprocess.DEVNULL, cwd=cache, env=_environment(cache)
            )
            try:
                while server.poll() is None:
                    try:
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
                        return time.perf_counter() - start
                    except OSError:
                        time.sleep(0.02)
                raise SystemExit(f"{command[3]} ended by itself")
            finally:
                server.terminate()
                server.wait()

    return once


def _environment(cache: str) -> dict[str, str]:
    root = str(Path(__file__).parent.parent)
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": paths, "ALEXNET_CACHE": cache}


def measure(photos: Path, scratch: Path, rounds: int, most: int | None) -> list[dict[str, Any]]:
    """Makes a run folder and starts processes on it and the photos."""
    images = [str(path) for path in sorted(photos.rglob("*")) if path.suffix.lower() in EXTENSIONS]
    images = images[:: len(images) // most] if most else images
    data = scratch / "photos"
    for path in images:
        place = data / Path(path).relative_to(photos)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(Path(path).resolve())
    recipe = for_classes(PHOTOS, 10)
    run = create_run(scratch / "run", recipe, tuple("abcdefghij"), {"fingerprint": ""})
    save_checkpoint(run, build_model(recipe.model), {}, TrainingState(step=0), best=True)
    (weights,) = (str(path) for path in run.folder.rglob("model.safetensors"))
    alexnet = (sys.executable, "-m", "alexnet")
    bare = (sys.executable, "-c")
    folder = str(run.folder)
    explore = (*alexnet, "explore", folder, "--no-browser")
    verbs = {
        f"alexnet doctor, {len(images):,} images": (
            timed((*alexnet, "doctor", str(data), "--out", "found"), scratch),
            "every image read, hashed, resized and measured",
            timed((*bare, MEASURE, weights, *images), scratch),
        ),
        f"alexnet similar, first index of {len(images):,}": (
            timed((*alexnet, "similar", folder, images[0], "--index", str(data)), scratch),
            "every image read and resized, and the network on batches of 64",
            timed((*bare, INDEX, weights, *images), scratch),
        ),
        "alexnet why": (
            timed((*alexnet, "why", folder, images[0], "--out", "why.png"), scratch),
            "import torch, the network on all covered copies, two gradients",
            timed((*bare, WHY, weights), scratch),
        ),
        "alexnet explore, until its page is there": (
            until_answered(explore, scratch),
            "import torch, read the weights",
            timed((*bare, LOAD, weights), scratch),
        ),
    }
    parts = {
        name: once for name, (ours, _, theirs) in verbs.items() for name, once in ((name, ours), ("/" + name, theirs))
    }
    seconds = interleaved(parts, rounds)
    return [
        {
            "what": name,
            "against": against,
            "seconds": seconds[name],
            "other seconds": seconds["/" + name],
            "ratio": seconds[name] / seconds["/" + name],
            "at most": 2.0,
        }
        for name, (_, against, _) in verbs.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="sixty images, once, to see that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        count = 60 if options.quick else None
        rows = measure(options.photos, Path(temporary), 1 if options.quick else options.rounds, count)
    out = Path(tempfile.gettempdir()) / "waiting.json" if options.quick and not options.out else options.out
    report("waiting", rows, out)

"""Shared by the parts of the study of the service: networks, and what can be measured of a server from outside."""

import os
import re
from pathlib import Path

import httpx

from alexnet.models.build import build_model
from alexnet.recipes.named import find_recipe
from alexnet.recipes.recipe import for_classes
from alexnet.runs.checkpoint import TrainingState, save_checkpoint
from alexnet.runs.run import create_run
from harness.openapi_bodies import picture
from harness.service_process import Process

PHOTO = picture(500, 375, 0, "JPEG")
CPU = ("--device", "cpu")


def new_run(folder: Path, recipe: str, classes: int = 10) -> Path:
    """A run folder with the initial weights of a recipe."""
    made = for_classes(find_recipe(recipe), classes)
    run = create_run(folder, made, tuple(f"class {i}" for i in range(classes)), {"source": "none"})
    save_checkpoint(run, build_model(made.model, seed=0), {}, TrainingState(step=0), best=True)
    return folder


def small(folder: Path) -> Path:
    """The small network."""
    return new_run(folder / "small", "demo")


def of_2012(folder: Path) -> Path:
    """The network of 2012 with its thousand classes."""
    return new_run(folder / "alexnet", "alexnet-2012", 1000)


def megabytes(server: Process) -> float:
    """Resident memory of a server."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def files(server: Process) -> int:
    """Its open files and sockets."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def counted(server: Process, name: str) -> float:
    """The sum of a counter over its labels."""
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))

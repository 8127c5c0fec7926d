"""What a bit-identical run depends on besides its recipe: the images, the machine, the versions, the number of threads.

If all of these are the same, a resumed run ends bit-identical to a run that was never interrupted.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from alexnet import __version__
from alexnet.data.dataset import Prepared
from alexnet.errors import UsageError
from alexnet.kernels.momentum import update_trial
from alexnet.kernels.operators import chain_trial, compiled
from alexnet.kernels.precision import FAST, algorithms
from alexnet.kernels.triton_choice import described
from alexnet.recipes.recipe import Recipe

MASKS = "a function of seed, step, layer, row and unit"
# What earlier versions did, which did not write it down.
BEFORE = {"masks": "of the random numbers of the device"}


def conditions(
    prepared: Prepared,
    device: torch.device,
    processes: str = "1",
    *,
    recipe: Recipe | None = None,
    fast: bool = False,
) -> dict[str, str]:
    """Returns the conditions that must stay the same for exact resuming, by name.

    Args:
        processes: how the work is divided among processes; see `ProcessGroup.described`.
        recipe: says how exactly is computed, and whether there is dropout.
        fast: whether algorithms are allowed that give other bytes each time.
    """
    return {
        "pictures": prepared.fingerprint,
        "alexnet": __version__,
        "torch": torch.__version__,
        "numba": installed("numba") or "none",
        "numpy": installed("numpy") or "none",
        "pillow": installed("pillow") or "none",
        "loops": "compiled" if compiled() is not None else "PyTorch",
        "processor": processor_name() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": card_name(device) or device.type,
        "precision": "float32" if recipe is None else recipe.precision,
        "algorithms": algorithms(device, fast),
        **(_card_versions(device) if device.type == "cuda" else {}),
        **({"masks": MASKS} if recipe is not None and getattr(recipe.model, "dropout", 0.0) > 0 else {}),
        "threads": str(torch.get_num_threads()),
        "processes": processes,
    }


def card_name(device: torch.device) -> str | None:
    """The name of a CUDA card, as its driver gives it; None for other devices."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def _card_versions(device: torch.device) -> dict[str, str]:
    cudnn: Any = torch.backends.cudnn
    kernels = described(device, chain_trial, update_trial)
    return {"cuda": str(torch.version.cuda), "cudnn": str(cudnn.version()), "kernels": kernels}


_WORDS = {"pictures": "images", "masks": "dropout masks"}  # names in checkpoints that people read otherwise


def check_conditions(was: Mapping[str, str], now: Mapping[str, str], *, allow: bool | Collection[str]) -> str | None:
    """Compares the conditions of a checkpoint with those of this process; returns the differences in words, or None.

    Args:
        was: the conditions of the checkpoint; empty if it was not made by training.
        now: the conditions of this process.
        allow: whether differences are only reported and not refused, or the names of those that are only reported.

    Raises:
        UsageError: a condition differs that must not.
    """
    was = {**{name: value for name, value in BEFORE.items() if was and name in now}, **was}
    changed = {
        name: f"{_WORDS.get(name, name)} {_short(was[name])} -> {_short(now.get(name, 'none'))}"
        for name in was
        if was[name] != now.get(name)
    }
    if not changed:
        return None
    message = f"the rest of this run cannot be exact: {', '.join(changed.values())}"
    if not (allow if isinstance(allow, bool) else changed.keys() <= set(allow)):
        raise UsageError(
            message,
            fix="Resume it on the same machine with the same settings (threads: OMP_NUM_THREADS), or add "
            "--allow-inexact; the run then records the difference.",
            code="E255",
        )
    return message


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value  # a fingerprint is shortened


def trained_fast(was: Mapping[str, str]) -> bool:
    """Whether a checkpoint with these conditions was made with algorithms that give other bytes each time."""
    return was.get("algorithms") == FAST


def environment(device: torch.device | None = None, precision: str | None = None) -> dict[str, Any]:
    """Returns the versions, the machine and the command of this process, and on what and how it computes.

    Args:
        device: None: nothing is computed.
        precision: that of the recipe.
    """
    from alexnet import __version__

    computing = {} if device is None else {"device": device.type, "card": card_name(device), "precision": precision}
    if device is not None and device.type == "cuda":
        computing |= _card_versions(device)

    return {
        "alexnet": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": installed("torchvision"),
        "numba": installed("numba"),
        "platform": platform.platform(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        **computing,
        "command": " ".join(["alexnet", *sys.argv[1:]]),
    }


@cache
def installed(package: str) -> str | None:
    """The installed version of a package, without importing it; None if it is missing. Asked of the disk once."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor_name() -> str:
    """The model name of the processor, as the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def commit(apart_from: Sequence[str] = ()) -> str | None:
    """The git commit of this program, with -dirty if files were changed.

    Args:
        apart_from: paths in the repository that may be changed: results that the program itself is writing.

    Outside a repository it is what the environment variable ALEXNET_COMMIT says, for copies that were carried to
    another machine; None if it says nothing.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return os.environ.get("ALEXNET_COMMIT") or None
    git = ["git", "-C", str(root)]
    name, changes = [*git, "describe", "--always", "--exclude", "*"], [*git, "diff", "--name-only", "HEAD", "--", "."]
    changes += [f":(exclude){path}" for path in apart_from]
    try:
        found, changed = (
            subprocess.run(each, capture_output=True, text=True, check=True).stdout.strip() for each in (name, changes)
        )
        return found + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None

"""Where something was measured: the card, its clocks and driver, versions, and the commit of a copy without `.git`.

`pack` writes what a carried copy needs to know its commit: `.gpu/commit`, and `.gpu/files` with the hash that git has
of every file but results. A copy whose files are not those says so with -dirty, as git would.
"""

import hashlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from alexnet.runs.environment import commit, installed, processor_name
from harness import ROOT

CARRIED = ".gpu"
COMMIT, FILES = "commit", "files"
VERSIONS = ("torchvision", "triton", "numba", "numpy", "pillow", "safetensors", "pydantic", "cyclopts")
CLOCKS = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu"


def know_commit() -> str | None:
    """The commit of this tree; in a copy that `pack` made it is set for all who ask, unless ALEXNET_COMMIT says one."""
    if not (ROOT / ".git").exists() and not os.environ.get("ALEXNET_COMMIT") and (packed := packed_commit(ROOT)):
        os.environ["ALEXNET_COMMIT"] = packed
    return commit()


def packed_commit(root: Path) -> str | None:
    """The commit that `pack` wrote, with -dirty if files have changed since; None if it wrote none."""
    path = root / CARRIED / COMMIT
    return path.read_text().strip() + "-dirty" * bool(changed_files(root)) if path.is_file() else None


def changed_files(root: Path) -> list[str]:
    """Files that are not as they were when `pack` listed them, or are missing."""
    out = []
    for line in (root / CARRIED / FILES).read_text().splitlines():
        expected, _, name = line.partition(" ")
        path = root / name
        if not path.is_file() or blob_hash(path.read_bytes()) != expected:
            out.append(name)
    return out


def blob_hash(content: bytes) -> str:
    """The hash that git gives a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def place(device: torch.device) -> dict[str, Any]:
    """Everything that a figure depends on, by the names that rows and tables use."""
    facts: dict[str, Any] = {"device": device.type, "card": card(device)}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "memory GiB": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": str(torch.backends.cudnn.version()),
            **clocks(device),
        }
    return {
        **facts,
        "cpu": processor_name() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: installed(name) for name in VERSIONS},
        "commit": know_commit(),
    }


def card(device: torch.device) -> str | None:
    """The name of a CUDA card; None for other devices."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def clocks(device: torch.device) -> dict[str, str]:
    """Driver and clocks as nvidia-smi gives them; nothing where it is not installed or does not answer."""
    command = ["nvidia-smi", f"--id={device.index or 0}", f"--query-gpu={CLOCKS}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    names = ("driver", "clock", "memory clock", "highest clock", "highest memory clock", "power limit", "temperature")
    return dict(zip(names, (value.strip() for value in answer.splitlines()[0].split(",")), strict=False))

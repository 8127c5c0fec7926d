"""What the bits of a run hang on besides its recipe: the pictures, the machine, the versions, the number of threads.

Where all of it is the same, a resumed run ends with the same bytes as one that ran through.
"""

import platform
import subprocess
import sys
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from alexnet import __version__
from alexnet.data.dataset import Prepared
from alexnet.errors import UsageError
from alexnet.kernels.operators import compiled


def conditions(prepared: Prepared, device: torch.device, processes: str = "1") -> dict[str, str]:
    """What must stay the same, by name.

    Args:
        processes: how the work is divided; see `ProcessGroup.described`.
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
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": str(torch.get_num_threads()),
        "processes": processes,
    }


def check_conditions(was: Mapping[str, str], now: Mapping[str, str], *, allow: bool | Collection[str]) -> str | None:
    """What differs between where a run stopped and here, in words; None if nothing does.

    Args:
        was: of the checkpoint; empty where it was not made by training.
        allow: whether a difference is told, not refused; or the names of those of which it is.

    Raises:
        UsageError: something differs that is not allowed to.
    """
    changed = {
        name: f"{name} {_short(was[name])} -> {_short(now.get(name, 'none'))}"
        for name in was
        if was[name] != now.get(name)
    }
    if not changed:
        return None
    told = f"the rest of this run cannot be exact: {', '.join(changed.values())}"
    if not (allow if isinstance(allow, bool) else changed.keys() <= set(allow)):
        raise UsageError(
            told,
            fix="Resume it where and as it was started (threads: OMP_NUM_THREADS), or add --allow-inexact; "
            "the run then keeps a record of it.",
            code="E255",
        )
    return told


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value  # a fingerprint


def environment() -> dict[str, Any]:
    """Versions, machine and command of this process."""
    from alexnet import __version__

    return {
        "alexnet": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": installed("torchvision"),
        "numba": installed("numba"),
        "platform": platform.platform(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "command": " ".join(["alexnet", *sys.argv[1:]]),
    }


def installed(package: str) -> str | None:
    """The installed version, without importing the package; None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor_name() -> str:
    """The model name of the processor, as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def commit() -> str | None:
    """The commit of this program, with -dirty if files were changed; None where it is no repository."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None

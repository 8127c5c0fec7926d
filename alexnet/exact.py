"""What the bits of a run hang on besides its recipe: the pictures, the machine, the versions, the number of threads.

Where all of it is the same, a resumed run ends with the same bytes as one that ran through.
"""

import platform
from collections.abc import Collection, Mapping

import torch

from alexnet import __version__
from alexnet.dataset import Prepared
from alexnet.errors import UsageError
from alexnet.kernels import compiled
from alexnet.run import installed, processor_name


def conditions(prepared: Prepared, device: torch.device, processes: str = "1") -> dict[str, str]:
    """What must stay the same, by name.

    Args:
        processes: how the work is divided; see `Team.described`.
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

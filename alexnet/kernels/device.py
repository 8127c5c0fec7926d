"""The device that computes, and the memory of the process.

glibc returns every large block as soon as it is freed. Each step then asks for the same pages again, and the operating
system fills them with zeros again; `keep_memory` keeps them. Measured: "plain" and "ours", each with and without
"keeps memory", in benchmarks/results/step.json.
"""

import ctypes
import platform
from typing import TYPE_CHECKING

from alexnet.errors import UsageError

if TYPE_CHECKING:
    import torch

# Parameters of mallopt(3): how many blocks may be mapped individually (none, so all come from the heap), how many free
# bytes at the end of the heap make it shrink, and by how many bytes more than needed it grows.
M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD = -4, -1, -2
TRAINING_SETTINGS = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 256 * 2**20))

# For a service, in which one large image would otherwise enlarge the process permanently: all threads share one heap,
# and large blocks are returned as soon as they are free. Pillow stores images in blocks of 16 MiB.
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
SERVICE_SETTINGS = (
    *((M_ARENA_MAX, 1), (M_MMAP_MAX, 65536), (M_MMAP_THRESHOLD, 8 * 2**20)),
    *((M_TRIM_THRESHOLD, 32 * 2**20), (M_TOP_PAD, 4 * 2**20)),
)


def choose_device(name: str = "auto") -> "torch.device":
    """Returns a torch device by name; "auto" takes a GPU if the machine has one.

    Raises:
        UsageError: the device is not available.
    """
    import torch  # not needed by a command that only shows help

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {name!r} is not available: {str(error).splitlines()[0]}",
            fix="--device auto chooses one.",
            code="E250",
        ) from None
    return device


def finish(device: "torch.device") -> None:
    """Waits until a device has finished all work that was submitted to it."""
    if device.type != "cpu":
        import torch

        torch.accelerator.synchronize(device)


def keep_memory() -> bool:
    """Makes glibc keep freed memory; with another C library or allocator it does nothing.

    The process then never becomes smaller again. So only programs call this; importing the library does not.

    Returns:
        Whether glibc accepted all settings.
    """
    return _set_options(TRAINING_SETTINGS)


def stay_small() -> bool:
    """Makes glibc return freed memory early, for a service; called before threads start. See `keep_memory`."""
    return _set_options(SERVICE_SETTINGS)


def _set_options(settings: tuple[tuple[int, int], ...]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(option, value) == 1 for option, value in settings])

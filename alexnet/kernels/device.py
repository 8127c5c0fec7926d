"""The device that computes, and the memory and the waiting threads of the process.

glibc returns every large block as soon as it is freed. Each step then asks for the same pages again, and the operating
system fills them with zeros again; `keep_memory` keeps them. Measured: "plain" and "ours", each with and without
"keeps memory", in benchmarks/results/step.json.

GNU's OpenMP, with which PyTorch computes on Linux, lets a thread that waits for another run in a loop for about a
millisecond. Where a second program shares the processors, the loop takes the very time that the other thread needs.
`wait_politely` lets it sleep after some microseconds. Measured: benchmarks/results/sharing.json. OpenBLAS, with which
NumPy computes, waits like this for about thirty milliseconds.
"""

import ctypes
import os
import platform
from typing import TYPE_CHECKING

from alexnet.errors import AlexNetError, ResourceError, UsageError

if TYPE_CHECKING:
    import torch

SPIN_COUNT = "GOMP_SPINCOUNT"
SPINS = 1000  # turns of the loop; by default 300,000, and 1,000 where there are more threads than processors
BLAS_TIMEOUT, BLAS_TICKS = "OPENBLAS_THREAD_TIMEOUT", 12  # 2 ** 12 ticks of the processor's clock, a microsecond or two

# What PyTorch, CUDA, cuBLAS, cuDNN, Metal and ROCm say where there is not enough memory. Most other sentences with the
# word memory say something else: an address that no tensor owns, a layout, a file that cannot be mapped.
TOO_LITTLE = (
    "out of memory",
    "not enough memory",
    "cannot allocate memory",
    "can't allocate memory",
    "unable to allocate",
    "failed to allocate",
    "_status_alloc_failed",
    "invalid buffer size",
    "bad_alloc",
)
# What they say where the card or its driver failed, which no setting of a recipe causes.
FAULTS = (
    "cuda error",
    "cuda driver error",
    "hip error",
    "cublas_status_",
    "cudnn_status_",
    "cusolver_status_",
    "nccl error",
    "unspecified launch failure",
    "command buffer exited with error",
)
LONGEST_FAULT = 200  # characters of what they say; PyTorch adds lines of advice for developers

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
    if name.startswith("cuda"):
        from alexnet.kernels.precision import fix_cublas

        fix_cublas()  # before anything uses the card
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


def check_processes(device: "torch.device", count: int) -> None:
    """Refuses more processes on this machine than the device can have: one for each card, and one on a Mac's GPU.

    Raises:
        UsageError: there are more.
    """
    import torch

    if count < 2 or device.type == "cpu":
        return
    cards = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    if count > cards:
        has = f"device '{device}' is one card" if cards == 1 else f"this machine has {cards} cards"
        fewer = f"Use --nproc {cards}" if cards > 1 else "Leave --nproc and --parallel out"
        raise UsageError(
            f"{count} processes need a card each, and {has}",
            fix=f"{fewer}, or let them compute on the processor: --device cpu.",
            code="E250",
        )


def failure_of(error: BaseException) -> AlexNetError | None:
    """Returns what to raise in the place of an error of PyTorch that is no defect of this program; None if it may be.

    PyTorch says most of it only in the words of a RuntimeError.
    """
    import torch

    text = " ".join(str(error).split())
    lower = text.lower()
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if memory or (isinstance(error, RuntimeError) and any(words in lower for words in TOO_LITTLE)):
        return ResourceError(
            "not enough memory", fix="Use a smaller batch_size, model.width or crop_size.", code="E542"
        )
    if isinstance(error, RuntimeError) and any(words in lower for words in FAULTS):
        said = text if len(text) <= LONGEST_FAULT else f"{text[:LONGEST_FAULT]}..."
        return ResourceError(
            f"the GPU or its driver failed: {said}",
            fix="Saved checkpoints are intact: alexnet resume RUN goes on. If it fails again, --device cpu tells "
            "whether it is the card.",
            code="E543",
        )
    return None


def memory_format(device: "torch.device") -> "torch.memory_format":
    """Returns the layout in which a network and its images are fastest on a device, and right.

    The channels of a pixel are adjacent, but not on a Mac's GPU: there the gradients of batch normalization are wrong
    in that layout (pytorch/pytorch#175189).
    """
    import torch

    return torch.contiguous_format if device.type == "mps" else torch.channels_last


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


def wait_politely() -> None:
    """Lets threads that wait for others leave the processor soon, in this process and those that it starts.

    It must be called before torch and numpy are imported, because OpenMP and OpenBLAS read it when they are loaded. An
    environment that says how threads shall wait (GOMP_SPINCOUNT, OMP_WAIT_POLICY, OPENBLAS_THREAD_TIMEOUT) is left as
    it is.
    """
    os.environ.setdefault(BLAS_TIMEOUT, str(BLAS_TICKS))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(SPIN_COUNT, str(SPINS))


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

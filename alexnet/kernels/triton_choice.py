"""Whether a card computes with our Triton kernels: only where Triton is, and where they answer as their twins do.

Each kind of kernel is tried once in a process, on a small input, before it is used. A card or a version of Triton on
which it cannot be compiled, or answers otherwise, computes with PyTorch; the conditions of a run name which it was.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor

Trial = Callable[[torch.device], float]
LARGEST = 1e-5  # difference to the twin in float64, as a share of its size
_found: dict[tuple[str, str], bool] = {}


def trusted(device: torch.device, trial: Trial) -> bool:
    """Whether kernels may be used on a device.

    Args:
        trial: runs them there and returns how far they are from the answer of their twin, as a share of it.
    """
    if device.type != "cuda" or torch.compiler.is_compiling():
        return False
    key = (str(device), f"{trial.__module__}.{trial.__qualname__}")
    if key not in _found:
        try:
            # The first use may be a prediction, in which nothing has a gradient.
            with torch.cuda.device(device), torch.inference_mode(False), torch.enable_grad():
                _found[key] = trial(device) <= LARGEST
        except Exception:  # whatever a compiler of kernels raises, the twin computes the same
            _found[key] = False
    return _found[key]


def difference(found: Tensor, expected: Tensor) -> float:
    """Returns the norm of the difference as a share of that of what is expected."""
    exact = expected.detach().double().cpu()
    return float((found.detach().double().cpu() - exact).norm() / exact.norm())


def described(device: torch.device, *trials: Trial) -> str:
    """Returns in words what computes there: Triton and its version, or PyTorch."""
    if not all([trusted(device, trial) for trial in trials]):
        return "PyTorch"
    try:
        return f"Triton {version('triton')}"
    except PackageNotFoundError:
        return "Triton"

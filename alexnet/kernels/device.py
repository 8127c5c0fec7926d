"""Chooses the device that computes, and waits until it has finished."""

import torch

from alexnet.errors import UsageError


def choose_device(name: str = "auto") -> torch.device:
    """Returns a torch device by name; "auto" takes a GPU if the machine has one.

    Raises:
        UsageError: the device is not available.
    """
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


def finish(device: torch.device) -> None:
    """Waits until a device has finished all work that was submitted to it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

"""Which device computes, and waiting until it has finished."""

import torch

from alexnet.errors import UsageError


def choose_device(name: str = "auto") -> torch.device:
    """A torch device by name; "auto" takes a GPU where there is one.

    Raises:
        UsageError: if the device is not there.
    """
    if name == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"no device {name!r} here: {str(error).splitlines()[0]}", fix="--device auto chooses one.", code="E250"
        ) from None
    return device


def finish(device: torch.device) -> None:
    """Waits until a device has done what it was told."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)

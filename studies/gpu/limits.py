"""`env`: what is here, and what the device reaches at most: a copy, and matrix products in every precision.

First of all commands of a day: where an import fails or a card is slow, the rest need not be begun.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from studies.gpu.session import Session, attempt, timed

COLUMNS = ("what", "measured", "unit")
NEEDED = ("numba", "triton", "pydantic", "cyclopts", "rich_rst", "safetensors", "torchvision", "PIL", "pytest")
ROUNDS = 7


@contextmanager
def matmul_precision(device: torch.device, precision: str) -> Iterator[None]:
    """Context in which float32 products are rounded as `float32` or `tf32` say, in matmuls and convolutions."""
    if device.type != "cuda":
        yield
        return
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, conv.allow_tf32
    matmul.allow_tf32 = conv.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, conv.allow_tf32 = before


def best(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The shortest seconds of a call over some rounds, after one that does not count: a limit is what can be had."""
    turn = timed(call, device, repeats)
    turn()
    return min(turn() for _ in range(ROUNDS))


def copy_rate(device: torch.device, tiny: bool) -> float:
    """TB/s of a copy on the device, bytes read and written."""
    count = 2**20 if tiny else 2**30
    source, target = torch.ones(count, device=device), torch.empty(count, device=device)
    return 2 * source.nbytes / best(lambda: target.copy_(source), device, 4) / 1e12


def gemm_rate(device: torch.device, precision: str, tiny: bool) -> float:
    """TFLOP/s of a product of square matrices of random numbers; zeros would need less power."""
    side = 256 if tiny else 8192
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    with matmul_precision(device, precision):
        return 2 * side**3 / best(lambda: a @ b, device, 8 if device.type == "cuda" else 1) / 1e12


def transfer_rate(device: torch.device, pinned: bool, tiny: bool) -> float:
    """GB/s from the memory of the host to the device."""
    source = torch.ones(2**20 if tiny else 2**28, dtype=torch.uint8, pin_memory=pinned)
    return source.nbytes / best(lambda: source.to(device, non_blocking=pinned), device, 1) / 1e9


def measure(session: Session) -> tuple[str, ...]:
    """Adds a row for every import, and one for every limit."""
    device, tiny = session.device, session.tiny
    for name in NEEDED:
        attempt(
            session, f"import {name}", lambda name=name: session.row(what=f"import {name}", measured=_version(name))
        )
    parts: list[tuple[str, str, Callable[[], float]]] = [
        ("copy on the device", "TB/s", lambda: copy_rate(device, tiny)),
        ("matrix product, bfloat16", "TFLOP/s", lambda: gemm_rate(device, "bfloat16", tiny)),
        ("matrix product, float32", "TFLOP/s", lambda: gemm_rate(device, "float32", tiny)),
    ]
    if device.type == "cuda":
        parts += [
            ("matrix product, tf32", "TFLOP/s", lambda: gemm_rate(device, "tf32", tiny)),
            ("host to device, pinned", "GB/s", lambda: transfer_rate(device, True, tiny)),
            ("host to device, not pinned", "GB/s", lambda: transfer_rate(device, False, tiny)),
        ]
    for what, unit, call in parts:
        if session.over():
            break
        rate = attempt(session, what, call)
        if rate is not None:
            session.row(what=what, measured=rate, unit=unit)
    return COLUMNS


def _version(name: str) -> str:
    return str(getattr(importlib.import_module(name), "__version__", "there"))

"""How exactly a device computes: the precision of a recipe, and whether the same input gives the same bytes.

PyTorch keeps both in settings of the process. By default a CUDA card computes convolutions in TF32 and matrix products
in float32, and some sums in an order that differs from run to run; nothing in a result says so. Here the settings hold
for a block, and are put back.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_VALUES = (":4096:8", ":16:8")  # the two with which cuBLAS always adds in the same order
DETERMINISTIC, FAST = "deterministic", "fast"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Returns the context of a forward pass: with bfloat16, convolutions and matrix products take bfloat16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def bfloat16_units(device: torch.device) -> str:
    """Returns what this processor multiplies bfloat16 with, AMX or AVX512-BF16; "" if it would only imitate it."""
    if device.type != "cpu":
        return ""
    for name, has in (("AMX", "_is_amx_tile_supported"), ("AVX512-BF16", "_is_avx512_bf16_supported")):
        if getattr(torch.cpu, has, lambda: False)():
            return name
    return ""


@contextmanager
def rounding(device: torch.device, precision: str) -> Iterator[None]:
    """Makes the float32 convolutions and matrix products of a card exactly that for the block, or TF32 if so asked.

    Both passes of a step belong into the block. Other devices than CUDA have no such setting and are left alone.
    """
    if device.type != "cuda":
        yield
        return
    wanted = "tf32" if precision == "tf32" else "ieee"
    cudnn: Any = torch.backends.cudnn
    places: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv)
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = wanted
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


def algorithms(device: torch.device, fast: bool) -> str:
    """Returns in a word which algorithms `reproducible` allows there: deterministic or fast."""
    return FAST if fast and device.type == "cuda" else DETERMINISTIC


@contextmanager
def reproducible(device: torch.device, *, fast: bool = False) -> Iterator[None]:
    """Allows only algorithms that give the same bytes each time for the block, or with `fast` any.

    Only CUDA has both kinds: on a CPU every algorithm is of the first.
    """
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    filling: Any = torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        filling.fill_uninitialized_memory,
    )
    try:
        if not fast:
            fix_cublas()
        torch.use_deterministic_algorithms(not fast)
        cudnn.deterministic, cudnn.benchmark = not fast, fast
        # Memory that is written before it is read need not be filled; that costs a pass over every tensor.
        filling.fill_uninitialized_memory = False
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = before[2:]


def fix_cublas() -> None:
    """Sets the workspace with which cuBLAS adds in a fixed order; it is read when a process first uses cuBLAS.

    That is why it is set as soon as a card is chosen, and stays.
    """
    if os.environ.get(CUBLAS) not in CUBLAS_VALUES:
        os.environ[CUBLAS] = CUBLAS_VALUES[0]

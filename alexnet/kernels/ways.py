"""In which way chains of layers are computed: as is best, or for a comparison in one that is asked for.

"kernels" is the default: compiled loops and Triton where they are. "plain" are the operations of PyTorch, "compiled"
the same as one region of `torch.compile`. All give the same values, up to rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Literal

import torch

Way = Literal["kernels", "plain", "compiled"]
FEW = 64  # images of a call, from which on loading the compiled loops pays
_chosen: ContextVar[tuple[Way, str]] = ContextVar("chains", default=("kernels", "inductor"))


@contextmanager
def chains(way: Way, backend: str = "inductor") -> Iterator[None]:
    """Computes the chains of the block in one way.

    Args:
        backend: of `torch.compile`, where the way is "compiled".
    """
    token = _chosen.set((way, backend))
    try:
        yield
    finally:
        _chosen.reset(token)


def are_few(images: int) -> bool:
    """Whether a call for so many images is better computed in the way "plain", unless a way was asked for.

    Compiled loops take longer to load than they save. It depends on nothing that happened before, so that a call gives
    the same bits whenever it is made.
    """
    return images < FEW and _chosen.get()[0] == "kernels"


def chosen(plain: Callable[..., Any]) -> Callable[..., Any] | None:
    """Returns what computes a chain if a way was asked for; None for the best one.

    Args:
        plain: the operations of PyTorch.
    """
    way, backend = _chosen.get()
    return {"kernels": None, "plain": plain}[way] if way != "compiled" else _region(plain, backend)


@lru_cache
def _region(plain: Callable[..., Any], backend: str) -> Callable[..., Any]:
    # The sizes of a run are few, and code for one size is faster than code for all.
    return torch.compile(plain, backend=backend, dynamic=False)

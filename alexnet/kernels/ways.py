"""In which way chains of layers are computed: as is best, or for a comparison in one that is asked for.

"kernels" is the default: compiled loops and Triton where they are. "plain" are the operations of PyTorch, "compiled"
the same as one region of `torch.compile`. All give the same values, up to rounding.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import count, islice
from typing import Any, Literal

import torch

Way = Literal["kernels", "plain", "compiled"]
LOOPS = "alexnet.kernels.norm_pool_loops"
FEW = 64  # images of a process, for which loading the loops takes longer than they save
_asked = count()
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
    """Whether so many images more are better computed with the operations of PyTorch, in the way "plain".

    The first `FEW` images that a process is asked about do not make it load the compiled loops, which takes longer than
    all else that it does with one image. Not where the loops are loaded, or another way was asked for.
    """
    *_, last = -1, *islice(_asked, images)
    return LOOPS not in sys.modules and _chosen.get()[0] == "kernels" and last < FEW


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

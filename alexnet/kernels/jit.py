"""Compiles loops with numba.

Importing this module is slow, so `operators` imports it only when the first batch arrives. numba, because it was faster
than nn.LocalResponseNorm, than the closed form in PyTorch, and than that under torch.compile, which also needs a C++
compiler on the user's machine. Measured: docs/log.md ("Speed") and benchmarks/results/kernels.json.

The code is compiled once, which takes some seconds, and is stored in the first folder that numba may write to:
NUMBA_CACHE_DIR, __pycache__ beside the source, ~/.cache/numba.
"""

from collections.abc import Callable, Set
from typing import Any

import numba


def compiled(*, parallel: bool, fast: Set[str] = frozenset()) -> Callable[[Any], Any]:
    """Returns numba.njit with the settings of this module; without a cache on disk where no folder is writable.

    Args:
        fast: fast-math flags. Without any, every operation is rounded as written, so that the results are bit-identical
            to those of PyTorch. The flags must be defined in the file of the loop, because numba's cache detects
            changes of that file only.
    """

    def decorate(function: Any) -> Any:
        njit: Any = numba.njit  # numba's own type hints lack some options
        options = {"parallel": parallel, "fastmath": set(fast), "error_model": "numpy", "nogil": True}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # numba: "cannot cache function: no locator available"
            return njit(**options)(function)

    return decorate

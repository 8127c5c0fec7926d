"""How loops are compiled. Importing this takes half a second: `operators` does when the first batch arrives.

Why numba: LRN forward and backward, (32, 96, 55, 55) and (32, 256, 27, 27), two cores of a Sapphire Rapids Xeon, freed
memory kept, all in one process: nn.LocalResponseNorm 200 and 119 ms, the closed form in PyTorch 131 and 76 (159 and 95
on channels_last), that under torch.compile, which needs a C++ compiler on the user's machine, 30 and 28 (154 and 98),
numba 14 and 9. The code is compiled once, in a quarter of a minute, and kept where numba may write: NUMBA_CACHE_DIR,
else __pycache__ beside the source, else ~/.cache/numba.
"""

from collections.abc import Callable, Set
from typing import Any

import numba


def compiled(*, parallel: bool, fast: Set[str] = frozenset()) -> Callable[[Any], Any]:
    """numba.njit with this module's settings, without the cache on disk where no folder can be written.

    Args:
        fast: liberties of fast-math; without any, every operation is rounded as written, so that the results are those
            of PyTorch's, bit for bit. They belong into the file of the loop: numba's cache notices when that changes.
    """

    def decorate(function: Any) -> Any:
        njit: Any = numba.njit  # its own types do not know what it accepts
        options = {"parallel": parallel, "fastmath": set(fast), "error_model": "numpy", "nogil": True}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # numba: "cannot cache function: no locator available"
            return njit(**options)(function)

    return decorate

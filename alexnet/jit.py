"""How loops are compiled. Importing this takes half a second: `alexnet.kernels` does when the first batch arrives.

Why numba: of what pip alone installs it is the fastest. Closed forms in plain PyTorch take 4 to 7 times as long, and
torch.compile needs a C++ compiler on the user's machine. The code is compiled once, in half a minute, and kept where
numba may write: NUMBA_CACHE_DIR, else __pycache__ beside the source, else ~/.cache/numba.
"""

from collections.abc import Callable
from typing import Any

import numba

# Of fast-math, only what lets sums be vectorised and roots be approximated to the last bit or two: NaN and infinity
# must pass through, for they are how a diverging run is noticed.
FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}


def compiled(*, parallel: bool) -> Callable[[Any], Any]:
    """numba.njit with this module's settings, without the cache on disk where no folder can be written."""

    def decorate(function: Any) -> Any:
        njit: Any = numba.njit  # its own types do not know what it accepts
        options = {"parallel": parallel, "fastmath": FAST, "error_model": "numpy", "nogil": True}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # numba: "cannot cache function: no locator available"
            return njit(**options)(function)

    return decorate

"""How loops are compiled. Importing this takes half a second: `alexnet.kernels` does when the first batch arrives.

Why numba: LRN forward and backward, (32, 96, 55, 55) and (32, 256, 27, 27), two cores of a Sapphire Rapids Xeon, freed
memory kept, all in one process: nn.LocalResponseNorm 200 and 119 ms, the closed form in PyTorch 131 and 76 (159 and 95
on channels_last), that under torch.compile, which needs a C++ compiler on the user's machine, 30 and 28 (154 and 98),
numba 14 and 9. The code is compiled once, in a quarter of a minute, and kept where numba may write: NUMBA_CACHE_DIR,
else __pycache__ beside the source, else ~/.cache/numba.
"""

from collections.abc import Callable
from typing import Any

import numba

# Of fast-math, only what lets products be fused and roots be approximated to the last bit or two. NaN and infinity must
# pass through, for they are how a diverging run is noticed. Sums stay in their order: with "reassoc" the code that is
# kept on the disk differed in the last bits from what ran in the process that had compiled it, and so did a run that
# was started by the one and resumed by the other.
FAST = {"contract", "arcp", "afn", "nsz"}


def compiled(*, parallel: bool, exact: bool = False) -> Callable[[Any], Any]:
    """numba.njit with this module's settings, without the cache on disk where no folder can be written.

    Args:
        exact: every operation is rounded as written, so that the results are those of PyTorch's, bit for bit.
    """

    def decorate(function: Any) -> Any:
        njit: Any = numba.njit  # its own types do not know what it accepts
        options = {"parallel": parallel, "fastmath": False if exact else FAST, "error_model": "numpy", "nogil": True}
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # numba: "cannot cache function: no locator available"
            return njit(**options)(function)

    return decorate
